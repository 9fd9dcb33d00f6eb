/* A model's architecture from config.json, by a table of families (docs/add-a-model.md). Whatever a
 * config says that changes the arithmetic and that this program does not know is an error. */
#ifndef EQ_MODEL_CONFIG_H
#define EQ_MODEL_CONFIG_H
#include "base/err.h"

typedef enum {
    EQ_ROPE_PLAIN,
    EQ_ROPE_LINEAR,
    EQ_ROPE_DYNAMIC,
    EQ_ROPE_LLAMA3,
    EQ_ROPE_YARN
} eq_rope_kind;

typedef struct {
    char family[16]; /* model_type: "llama", "mistral", "qwen2", "qwen3" */
    char dtype[16];  /* torch_dtype as written, "" when absent */
    int64_t D, F, L, V, NH, NKV, HD;
    int64_t T_max;  /* max_position_embeddings */
    int64_t window; /* sliding window, 0: none */
    double eps;
    bool tied, qkv_bias, o_bias, mlp_bias, qk_norm;
    struct {
        eq_rope_kind kind;
        double theta, factor, low_freq, high_freq;
        double ramp_low, ramp_high; /* yarn: pairs of dimensions between which it blends */
        double scale;               /* of cosines and sines: yarn's attention factor, else 1 */
        int64_t original_T;
    } rope;
    int64_t bos, eos; /* -1: none */
    /* quantization_config; bits == 0: full precision */
    int bits;
    int64_t G;    /* group size as configured, -1: a whole row */
    bool gptq_v1; /* zeros are stored minus one */
} eq_config;

eq_status eq_config_load(eq_config *c, const char *dir, eq_err *err);
int64_t eq_config_params(const eq_config *c);        /* all parameters */
int64_t eq_config_linear_params(const eq_config *c); /* of the linears inside the blocks */

/* cos, sin [T, HD/2] for positions 0 .. T-1, rope_scaling applied (T decides for "dynamic"). */
void eq_rope_tables(const eq_config *c, int64_t T, float *cos, float *sin);
#endif

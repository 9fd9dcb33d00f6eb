/* A model's architecture from config.json, by a table of families (docs/add-a-model.md). Whatever a
 * config says that changes the arithmetic and that this program does not know is an error. */
#ifndef EQ_MODEL_CONFIG_H
#define EQ_MODEL_CONFIG_H
#include "backend/backend.h"
#include "quant/scheme.h"

typedef enum {
    EQ_ROPE_PLAIN,
    EQ_ROPE_LINEAR,
    EQ_ROPE_DYNAMIC,
    EQ_ROPE_LLAMA3,
    EQ_ROPE_YARN,
    EQ_ROPE_LONG /* longrope: a divisor for each pair, one set for short windows, one for long */
} eq_rope_kind;

/* How quantized linears lie in files (model/layouts.h). */
typedef enum {
    EQ_LAYOUT_GPTQ_V2,       /* FORMATS, "GPTQ" */
    EQ_LAYOUT_GPTQ_V1,       /* zero points are stored minus one */
    EQ_LAYOUT_GPTQ_V1_WORDS, /* ... subtracted from whole words, as GPTQModel does: 0 may be there
                              */
    EQ_LAYOUT_ROWS,    /* eqat's own, for what GPTQ's words cannot hold: qweight U32 as rows of
                          quant/pack.h, qzeros U8 and scales [O, I / G], no g_idx */
    EQ_LAYOUT_AWQ,     /* the GEMM order */
    EQ_LAYOUT_CT_SYM,  /* compressed-tensors, pack-quantized */
    EQ_LAYOUT_CT_ASYM, /* ... with zero points */
    EQ_LAYOUTS
} eq_layout;

enum { EQ_MAX_HEAD = 1024, EQ_MAX_LAYERS = 1 << 12 };

/* How positions turn a head: its first `dim` elements in pairs. */
typedef struct {
    eq_rope_kind kind;
    int64_t dim;
    double theta, factor, low_freq, high_freq;
    double ramp_low, ramp_high; /* yarn: pairs of dimensions between which it blends */
    double scale;               /* of cosines and sines: yarn's and longrope's, else 1 */
    int64_t original_T;         /* what the frequencies were trained for */
    /* queries at position t are scaled by 1 + beta log(1 + floor(t / original_T)); 0: they are not
     */
    double query_beta;
    float short_factor[EQ_MAX_HEAD / 2], long_factor[EQ_MAX_HEAD / 2];
} eq_rope_spec;

/* Where a block's norms stand: before attention and MLP, behind them (before the residual is added
 * to), or both. */
typedef enum { EQ_NORMS_BEFORE, EQ_NORMS_BEHIND, EQ_NORMS_AROUND } eq_norm_place;
/* Of queries and keys: none, each head by itself, the whole row. */
typedef enum { EQ_QK_PLAIN, EQ_QK_HEAD, EQ_QK_ROW } eq_qk_norm;
/* How a family's files name and join tensors: the tables of model/weights.h. */
typedef enum { EQ_FILES_LLAMA, EQ_FILES_GEMMA, EQ_FILES_PHI3, EQ_FILES_INTERNLM2 } eq_files;
/* What a layer can be, as bits. */
enum { EQ_LAYER_SLIDING = 1, EQ_LAYER_NO_ROPE = 2 };

typedef struct {
    char family[16]; /* model_type: "llama", "mistral", ... */
    char dtype[16];  /* torch_dtype as written, "" when absent */
    int64_t D, F, L, V, NH, NKV, HD;
    int64_t T_max; /* max_position_embeddings */
    double eps;
    /* the block */
    eq_files files;
    eq_norm_place norms;
    bool norm_plus_one; /* norms multiply with 1 + weight */
    bool norm_center;   /* LayerNorm: rows lose their mean, norms have biases */
    eq_qk_norm qk_norm;
    bool tied, qkv_bias, o_bias, mlp_bias;
    eq_act act;
    double attn_scale, attn_cap; /* of scores; cap 0: none */
    double embed_scale, residual_scale, logit_scale, logit_cap;
    /* layers */
    int64_t window; /* of the layers that slide; 0: none does */
    eq_rope_spec rope;
    bool two_ropes; /* layers that slide turn by rope_sliding */
    eq_rope_spec rope_sliding;
    uint8_t layer[EQ_MAX_LAYERS]; /* EQ_LAYER_* */
    int64_t bos, eos;             /* -1: none */
    eq_schemes schemes;           /* quantization_config; all.bits == 0: full precision */
    eq_layout layout;
    int64_t fp8[2]; /* rows and columns of a block that shares a scale, 0: no fp8 source */
} eq_config;

eq_status eq_config_load(eq_config *c, const char *dir, eq_err *err); /* eq_config_free it */
void eq_config_free(eq_config *c);
static inline bool eq_config_quantized(const eq_config *c) { return c->schemes.all.bits != 0; }
/* A Llama block of the shapes that c has: scales of 1, scores by 1 / sqrt(HD), all of a head turned
 * with theta 10000. What parsing starts from. */
void eq_config_plain(eq_config *c);
int64_t eq_config_params(const eq_config *c);        /* all parameters */
int64_t eq_config_linear_params(const eq_config *c); /* of the linears inside the blocks */

const char *eq_rope_name(eq_rope_kind kind); /* as config.json has it */

/* Layer i's window (0: all before it) and rope (NULL: none). */
int64_t eq_layer_window(const eq_config *c, int64_t i);
const eq_rope_spec *eq_layer_rope(const eq_config *c, int64_t i);

/* cos, sin [T, dim/2] for positions 0 .. T-1, scaling applied; for "dynamic" and "longrope" those
 * of a text of `text` tokens. */
void eq_rope_tables(const eq_config *c, const eq_rope_spec *r, int64_t T, int64_t text, float *cos,
                    float *sin);
/* Whether texts of a and of b tokens have the same angles. */
bool eq_rope_same(const eq_config *c, int64_t a, int64_t b);
#endif

/* THE name table, and a model folder opened, checked and mapped. */
#ifndef EQ_MODEL_WEIGHTS_H
#define EQ_MODEL_WEIGHTS_H
#include "base/str.h"
#include "format/safetensors.h"
#include "model/config.h"

/* X(id, Hugging Face name below "model.layers.N.", rows O, columns I, has a bias), c an
 * eq_config */
#define EQ_LINEARS(X) \
    X(Q, "self_attn.q_proj", c->NH * c->HD, c->D, c->qkv_bias) \
    X(K, "self_attn.k_proj", c->NKV * c->HD, c->D, c->qkv_bias) \
    X(V, "self_attn.v_proj", c->NKV * c->HD, c->D, c->qkv_bias) \
    X(O, "self_attn.o_proj", c->D, c->NH * c->HD, c->o_bias) \
    X(GATE, "mlp.gate_proj", c->F, c->D, c->mlp_bias) \
    X(UP, "mlp.up_proj", c->F, c->D, c->mlp_bias) \
    X(DOWN, "mlp.down_proj", c->D, c->F, c->mlp_bias)
/* X(id, name, length, exists) */
#define EQ_NORMS(X) \
    X(IN, "input_layernorm", c->D, true) \
    X(POST, "post_attention_layernorm", c->D, true) \
    X(QH, "self_attn.q_norm", c->HD, c->qk_norm) \
    X(KH, "self_attn.k_norm", c->HD, c->qk_norm)

typedef enum {
#define EQ_ID(id, ...) EQ_LIN_##id,
    EQ_LINEARS(EQ_ID)
#undef EQ_ID
        EQ_LINS
} eq_lin;
typedef enum {
#define EQ_ID(id, ...) EQ_NORM_##id,
    EQ_NORMS(EQ_ID)
#undef EQ_ID
        EQ_NORM_COUNT
} eq_norm;

typedef struct {
    const char *name;
    int64_t O, I;
    bool bias;
} eq_lin_spec;
typedef struct {
    const char *name;
    int64_t n;
    bool exists;
} eq_norm_spec;
eq_lin_spec eq_lin_of(const eq_config *c, eq_lin l);
eq_norm_spec eq_norm_of(const eq_config *c, eq_norm n);
/* The group size in force for a linear: g, or I for -1. */
static inline int64_t eq_group(int64_t g, int64_t I) { return g < 0 ? I : g; }

typedef struct {
    const eq_tensor *weight[EQ_LINS]; /* full precision [O, I]; NULL when quantized */
    const eq_tensor *qweight[EQ_LINS], *qzeros[EQ_LINS], *scales[EQ_LINS], *g_idx[EQ_LINS];
    const eq_tensor *state_s[EQ_LINS], *state_z[EQ_LINS]; /* EQ_STATE_NAME: F32 [O, I/G] or NULL */
    const eq_tensor *bias[EQ_LINS];                       /* NULL: none */
    const eq_tensor *norm[EQ_NORM_COUNT];                 /* NULL: none */
} eq_block_tensors;

/* What training needs to go on from a quantized folder: fp32 steps and real zero points. A
 * safetensors file, but not by its name: some loaders take every *.safetensors of a folder. */
#define EQ_STATE_NAME "eqat.state"

typedef struct {
    char *dir;
    eq_config cfg;
    eq_str config;                        /* config.json as it was read */
    eq_st *st;                            /* the model's tensors */
    eq_st *state;                         /* EQ_STATE_NAME beside them, or NULL */
    eq_block_tensors *blocks;             /* [L] */
    const eq_tensor *embed, *head, *norm; /* [V, D], [V, D] (the same tensor when tied), [D] */
    char read[33];                        /* what eq_weights_read_through found, "": not yet */
} eq_weights;

/* Every tensor the config promises must be there with that shape and a float type (or the GPTQ
 * types), and no other tensor may be (rotary inv_freq buffers are passed over). */
eq_status eq_weights_open(eq_weights **w, const char *dir, eq_err *err);
void eq_weights_close(eq_weights *w);
/* EQ_EINPUT naming the tensor and the first index that is NaN or infinite. Threaded. */
eq_status eq_tensor_check_finite(const eq_tensor *t, eq_err *err);
/* Reads all tensor files once: hex is their fingerprint and that of config.json, byte for byte;
 * EQ_EINPUT names the first tensor with a number that is NaN or infinite, EQ_EINTR: the observer
 * asked to stop. Threaded, with progress. */
eq_status eq_weights_read_through(eq_weights *w, const eq_observer *obs, char hex[33], eq_err *err);
/* EQ_EINPUT names the first tensor file that was written to since it was opened. Where size and
 * time alone would say so and all was read through, the bytes decide: a touched file is the same.
 */
eq_status eq_weights_unchanged(const eq_weights *w, eq_err *err);
#endif

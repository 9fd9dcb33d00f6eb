/* THE name table, and a model folder opened, checked and mapped. */
#ifndef EQ_MODEL_WEIGHTS_H
#define EQ_MODEL_WEIGHTS_H
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
    const eq_tensor *state_s[EQ_LINS],
        *state_z[EQ_LINS];                /* eqat.safetensors: F32 [O, I/G] or NULL */
    const eq_tensor *bias[EQ_LINS];       /* NULL: none */
    const eq_tensor *norm[EQ_NORM_COUNT]; /* NULL: none */
} eq_block_tensors;

typedef struct {
    char *dir;
    eq_config cfg;
    eq_st *st;                            /* the model's tensors */
    eq_st *state;                         /* eqat.safetensors beside them, or NULL */
    eq_block_tensors *blocks;             /* [L] */
    const eq_tensor *embed, *head, *norm; /* [V, D], [V, D] (the same tensor when tied), [D] */
} eq_weights;

/* Every tensor the config promises must be there with that shape and a float type (or the GPTQ
 * types), and no other tensor may be (rotary inv_freq buffers are passed over). */
eq_status eq_weights_open(eq_weights **w, const char *dir, eq_err *err);
void eq_weights_close(eq_weights *w);
/* EQ_EINPUT naming the tensor and the first index that is NaN or infinite. Threaded. */
eq_status eq_tensor_check_finite(const eq_tensor *t, eq_err *err);
/* Over config.json and all tensor files, byte for byte, as hex. */
eq_status eq_weights_fingerprint(const eq_weights *w, char hex[33], eq_err *err);
#endif

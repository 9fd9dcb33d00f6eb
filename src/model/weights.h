/* THE name table, and a model folder opened, checked and mapped. */
#ifndef EQ_MODEL_WEIGHTS_H
#define EQ_MODEL_WEIGHTS_H
#include "base/str.h"
#include "format/safetensors.h"
#include "model/config.h"

/* X(id, name below "model.layers.N.", rows O, columns I, has a bias), c an eq_config. The names are
 * those of Hugging Face's Llama, and of our own files in every family. */
#define EQ_LINEARS(X) \
    X(Q, "self_attn.q_proj", c->NH * c->HD, c->D, c->qkv_bias) \
    X(K, "self_attn.k_proj", c->NKV * c->HD, c->D, c->qkv_bias) \
    X(V, "self_attn.v_proj", c->NKV * c->HD, c->D, c->qkv_bias) \
    X(O, "self_attn.o_proj", c->D, c->NH * c->HD, c->o_bias) \
    X(GATE, "mlp.gate_proj", c->F, c->D, c->mlp_bias) \
    X(UP, "mlp.up_proj", c->F, c->D, c->mlp_bias) \
    X(DOWN, "mlp.down_proj", c->D, c->F, c->mlp_bias)
/* Where a family's files hold a linear under another name, or as rows of a wider one: X(files, id,
 * name in files, rows of that tensor, first, run, step): row o of the linear is row first + o / run
 * * step + o % run there. Groups of weights run along columns, so rows may be parted and joined. */
#define EQ_LINEARS_IN_FILES(X) \
    X(PHI3, Q, "self_attn.qkv_proj", EQ_QKV_ROWS, 0, c->NH * c->HD, 0) \
    X(PHI3, K, "self_attn.qkv_proj", EQ_QKV_ROWS, c->NH * c->HD, c->NKV * c->HD, 0) \
    X(PHI3, V, "self_attn.qkv_proj", EQ_QKV_ROWS, (c->NH + c->NKV) * c->HD, c->NKV * c->HD, 0) \
    X(PHI3, GATE, "mlp.gate_up_proj", 2 * c->F, 0, c->F, 0) \
    X(PHI3, UP, "mlp.gate_up_proj", 2 * c->F, c->F, c->F, 0) \
    X(INTERNLM2, Q, "attention.wqkv", EQ_QKV_ROWS, 0, EQ_SHARED * c->HD, (EQ_SHARED + 2) * c->HD) \
    X(INTERNLM2, K, "attention.wqkv", EQ_QKV_ROWS, EQ_SHARED * c->HD, c->HD, \
      (EQ_SHARED + 2) * c->HD) \
    X(INTERNLM2, V, "attention.wqkv", EQ_QKV_ROWS, (EQ_SHARED + 1) * c->HD, c->HD, \
      (EQ_SHARED + 2) * c->HD) \
    X(INTERNLM2, O, "attention.wo", c->D, 0, c->D, 0) \
    X(INTERNLM2, GATE, "feed_forward.w1", c->F, 0, c->F, 0) \
    X(INTERNLM2, UP, "feed_forward.w3", c->F, 0, c->F, 0) \
    X(INTERNLM2, DOWN, "feed_forward.w2", c->D, 0, c->D, 0)
#define EQ_QKV_ROWS ((c->NH + 2 * c->NKV) * c->HD)
#define EQ_SHARED (c->NH / c->NKV) /* query heads of a key head */

/* X(id, name, length, exists, in front of what it norms) */
#define EQ_NORMS(X) \
    X(IN, "input_layernorm", c->D, c->norms != EQ_NORMS_BEHIND) \
    X(POST, "post_attention_layernorm", c->D, c->norms != EQ_NORMS_BEHIND) /* before the MLP */ \
    X(QH, "self_attn.q_norm", c->qk_norm == EQ_QK_ROW ? c->NH * c->HD : c->HD, c->qk_norm) \
    X(KH, "self_attn.k_norm", c->qk_norm == EQ_QK_ROW ? c->NKV * c->HD : c->HD, c->qk_norm) \
    X(ATT_OUT, "attention_out_norm", c->D, c->norms != EQ_NORMS_BEFORE) \
    X(MLP_OUT, "post_feedforward_layernorm", c->D, c->norms != EQ_NORMS_BEFORE)
/* X(files, id, name) where it is another */
#define EQ_NORMS_IN_FILES(X) \
    X(GEMMA, POST, "pre_feedforward_layernorm") \
    X(GEMMA, ATT_OUT, "post_attention_layernorm") \
    X(INTERNLM2, IN, "attention_norm") \
    X(INTERNLM2, POST, "ffn_norm")

/* Outside of the blocks: X(id, name), X(files, id, name) */
#define EQ_ENDS(X) \
    X(EMBED, "model.embed_tokens.weight") \
    X(NORM, "model.norm.weight") \
    X(NORM_BIAS, "model.norm.bias") \
    X(HEAD, "lm_head.weight")
#define EQ_ENDS_IN_FILES(X) \
    X(INTERNLM2, EMBED, "model.tok_embeddings.weight") X(INTERNLM2, HEAD, "output.weight")

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
typedef enum {
#define EQ_ID(id, ...) EQ_END_##id,
    EQ_ENDS(EQ_ID)
#undef EQ_ID
        EQ_END_COUNT
} eq_end;

typedef struct {
    const char *name; /* ours */
    int64_t O, I;
    bool bias;
    const char *file;         /* its name in the model's files, of a tensor of */
    int64_t rows;             /* these rows, among which it has */
    int64_t first, run, step; /* those that EQ_LINEARS_IN_FILES says */
} eq_lin_spec;
typedef struct {
    const char *name; /* in the model's files */
    int64_t n;
    bool exists;
} eq_norm_spec;
eq_lin_spec eq_lin_of(const eq_config *c, eq_lin l);
eq_norm_spec eq_norm_of(const eq_config *c, eq_norm n);
const char *eq_end_of(const eq_config *c, eq_end e);
/* Whether files hold l as rows of a tensor with others; and whether it is the first of them. */
static inline bool eq_lin_joined(const eq_lin_spec *s) { return s->rows != s->O; }
static inline int64_t eq_lin_row(const eq_lin_spec *s, int64_t o) {
    return s->first + o / s->run * s->step + o % s->run;
}
/* How linear l of a block is quantized. */
static inline eq_scheme eq_scheme_at(const eq_schemes *t, int64_t block, eq_lin l) {
    return t->at ? t->at[block * EQ_LINS + (int64_t)l] : t->all;
}
/* The group size in force for a linear: g, or I for -1. */
static inline int64_t eq_group(int64_t g, int64_t I) { return g < 0 ? I : g; }

typedef struct {
    /* As they lie in the files: joined linears share a tensor, whose rows eq_lin_of tells. */
    const eq_tensor *weight[EQ_LINS]; /* full precision [rows, I]; NULL when quantized */
    const eq_tensor *scale8[EQ_LINS]; /* of blocks of an fp8 weight; NULL: none */
    /* By the parts of the folder's layout (model/layouts.h); NULL where it has no such tensor. */
    const eq_tensor *qweight[EQ_LINS], *qzeros[EQ_LINS], *scales[EQ_LINS], *g_idx[EQ_LINS],
        *shape[EQ_LINS];
    const eq_tensor *state_s[EQ_LINS], *state_z[EQ_LINS]; /* EQ_STATE_NAME: F32 [O, I/G] or NULL */
    const eq_tensor *bias[EQ_LINS];                       /* NULL: none */
    const eq_tensor *norm[EQ_NORM_COUNT], *norm_bias[EQ_NORM_COUNT]; /* NULL: none */
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
    const eq_tensor *norm_bias;           /* [D], NULL: none */
    char read[33];                        /* what eq_weights_read_through found, "": not yet */
} eq_weights;

/* Every tensor the config promises must be there with that shape and a float type (or the GPTQ
 * types), and no other tensor may be (rotary inv_freq buffers are passed over). */
eq_status eq_weights_open(eq_weights **w, const char *dir, eq_err *err);
/* Of the same folder config.json alone, no tensor: for what asks about shapes. */
eq_status eq_weights_shapes(eq_weights **w, const char *dir, eq_err *err);
void eq_weights_close(eq_weights *w);
/* EQ_EINPUT names the first number of rows [row, row + rows) of linear l of block i that is not
 * finite. */
eq_status eq_weights_check_rows(const eq_weights *w, int64_t i, eq_lin l, int64_t row, int64_t rows,
                                eq_err *err);
/* They, or l's bias, to the backend. */
void eq_weights_put_rows(const eq_weights *w, int64_t i, eq_lin l, int64_t row, int64_t rows,
                         eq_backend *be, eq_mut dst);
/* One row of it, as fp32, on the host. */
void eq_weights_row(const eq_weights *w, int64_t i, eq_lin l, int64_t row, float *out);
void eq_weights_put_bias(const eq_weights *w, int64_t i, eq_lin l, eq_backend *be, eq_mut dst);
/* Row `id` of the embeddings times the config's scale, to n elements of the host. */
void eq_embed_row(void *to, eq_dtype dt, const eq_tensor *embed, int64_t id, int64_t n,
                  double scale);
/* Who has read a quantized block to the end lets go of its pages (eq_st_drop). */
void eq_weights_drop(const eq_weights *w, int64_t block);
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

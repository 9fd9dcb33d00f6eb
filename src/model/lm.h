/* The whole language model over token windows: embedding, blocks, head, loss, and its backward pass
 * with block inputs kept and everything else recomputed (METHOD section 3).
 *
 * Weights lie in one slot in the compute type, one linear at a time. Full precision fills it from
 * the mapped files; a quantized model keeps integers, s and z of all blocks in backend memory and
 * dequantizes into it. */
#ifndef EQ_MODEL_LM_H
#define EQ_MODEL_LM_H
#include "model/block.h"
#include "model/checkpoint.h"

typedef struct {
    int64_t B, T;            /* the largest batch */
    int64_t places, longest; /* of windows that share rows, for eq_lm_forward_shared, which takes up
                                to B * T rows; 0: it is never called */
    eq_dtype ct;             /* BF16 or F32 */
    bool backward;           /* keep block inputs, make room for gradients */
    bool taught;             /* room for the predictions of a full-precision model, which
                                eq_lm_teacher_fwd makes */
    const eq_weights *teacher; /* that one, with this one's embeddings, final norm and head */
    bool masters;              /* codes are free: the quantized blocks' weights are kept in fp32 and
                                  fake-quantized              (equations 1, 2), from the teacher's, as near as
                                  the start's              codes let them be */
    eq_schemes schemes;        /* of the quantized blocks; all.bits == 0: full precision, from the
                                  weights */
    eq_qblock_source source;   /* gives the quantized blocks */
    void *ctx;
    const eq_hints *hints; /* of the backend, for eq_lm_bytes */
    int64_t context;       /* room for keys and values of one sequence, whose tokens come in pieces;
                              all weights then stay (lm_resident.h). 0: whole windows */
    bool z_on_host;        /* z lies on the host, in the backend room for one block's; no masters */
    bool as_written; /* s rounded to fp16 and z to integers, as runtimes will read them; else both
                        as they were trained */
} eq_lm_opts;

/* All blocks' quantization parameters, contiguous, linear behind linear and block behind block. */
typedef struct {
    int64_t group, word, weight;
} eq_lm_place;
typedef struct {
    eq_lm_place *at; /* [L, EQ_LINS]: where a linear's begin; NULL: full precision */
    int64_t norms;   /* per block */
    int64_t norm_at[EQ_NORM_COUNT];
    eq_mut rows;          /* U32; with masters none */
    int64_t groups, most; /* of the model; of a block at most */
    eq_mut s, z;          /* F32, every group of the model; z with z_host: of block z_of */
    float *z_host;        /* [groups], with opts.z_on_host */
    int64_t z_of;         /* -1: none */
    eq_mut norm;          /* F32 [L, norms] */
    eq_mut W;             /* F32, with masters every weight of the model */
    eq_mut used;          /* where steps are trained on the grid of a K type: of the largest
                             linear, as used */
    eq_mut one_s, one_z, one_rows; /* with masters, of the largest linear: scratch */
} eq_lm_quant;

typedef struct {
    eq_backend *be;
    const eq_weights *src;
    const eq_config *cfg;
    eq_lm_opts opts;
    eq_dtype st; /* stream type: what flows from block to block */
    eq_arena model, step;
    eq_lm_quant q;
    eq_mut head, norm,
        norm_bias; /* ct [V, D], F32 [D] as rows are multiplied with, F32 [D] or none */
    eq_rope rope;
    eq_block_w w;
    int64_t block;   /* the current one, whose weights w makes */
    int64_t kept;    /* the one whose weights w holds, where it holds all of a block; -1: none */
    int64_t checked; /* full precision: blocks before this one are known to be finite */
    eq_block_acts acts;
    eq_block_shared shared; /* with opts.places */
    int64_t acts_of;        /* the block that filled them for its backward pass, -1: none */
    eq_mut *x; /* [L + 1] block inputs st [N, D]; without backward two that alternate */
    eq_mut xc; /* what the final norm reads: F32 [N, D] without its mean, or the last of x */
    eq_mut hn, rstd, logits, dlogits, dhn, dy, targets, losses, picked;
    eq_mut teacher_hn, teacher_logits; /* with opts.taught: what its head reads, ct [N, D]; F32 */
    bool taught;                       /* teacher_hn is that of the rows on their way */
    bool teaching;                     /* the current block is the teacher's */
    int64_t chunk;                     /* rows of logits at once */
    struct {                           /* with a context */
        eq_block_w *layers;            /* [L] */
        eq_packed head;                /* in the place of `head`, where it is rounded to 8 bits */
        eq_mut k, v;                   /* ct [L, context, NKV * HD] */
        eq_mut at;                     /* I32 [1]: past, for operations */
        int64_t past;        /* tokens before those of the next forward pass, at most context - T */
        bool warm, no_graph; /* one token's operations have run before; cannot be recorded */
        void *graph;         /* of one token (backend.h); NULL: not recorded */
    } res;
    void *host; /* embedded rows on their way to the backend */
} eq_lm;

eq_status eq_lm_open(eq_lm **lm, eq_backend *be, const eq_weights *src, const eq_lm_opts *o,
                     eq_err *err);
void eq_lm_close(eq_lm *lm);
/* Backend memory that eq_lm_open takes, from the same code; -1: memory is out. */
int64_t eq_lm_bytes(const eq_config *c, const eq_lm_opts *o);

static inline bool eq_lm_quantized(const eq_lm *lm) { return lm->opts.schemes.all.bits != 0; }
/* The quantized linear l of block i as seen by operations. */
eq_qshape eq_lm_qshape(const eq_lm *lm, int64_t i, eq_lin l);
/* Steps of some rows of a linear as they are used: those of q.s, or where they are trained on the
 * grid of a K type what that makes of them, then good until the next call. */
eq_view eq_lm_steps(const eq_lm *lm, int64_t i, eq_lin l, int64_t row, int64_t rows);
/* Of s, z, or gradients: all groups', or room of one block's, which is block i then. */
eq_mut eq_lm_groups(const eq_lm *lm, eq_mut all, int64_t i, eq_lin l);
/* F32 values of all groups: in the backend's memory, or on the host with room there for a block. */
typedef struct {
    eq_mut m;    /* with host: [q.most] */
    float *host; /* [q.groups]; NULL: all in m */
} eq_lm_values;
eq_mut eq_lm_block_values(const eq_lm *lm, const eq_lm_values *v, int64_t i); /* of block i */
/* z of a linear to the host, there when sync comes back. */
void eq_lm_get_z(const eq_lm *lm, int64_t i, eq_lin l, float *z);
/* Where they lie on the host: into the room; back, there when sync comes back. */
void eq_lm_bring(const eq_lm *lm, const eq_lm_values *v, int64_t i);
void eq_lm_keep(const eq_lm *lm, const eq_lm_values *v, int64_t i);
eq_mut eq_lm_norm_of(const eq_lm *lm, eq_mut all, int64_t i,
                     eq_norm n); /* of q.norm, or gradients */
/* With masters: the linear as it would be written, codes by equation (1), z as used. s, z [groups]
 * and rows to the host. */
eq_status eq_lm_codes(eq_lm *lm, int64_t i, eq_lin l, float *s, float *z, uint32_t *rows,
                      eq_err *err);
/* Elements of what can be trained. */
typedef struct {
    int64_t groups, weights, norms;
} eq_lm_counts;
eq_lm_counts eq_lm_count(const eq_config *c, const eq_schemes *t);

/* Windows ids[B, T] through all blocks. */
eq_status eq_lm_forward(eq_lm *lm, const int32_t *ids, int64_t B, int64_t T, eq_err *err);
/* The same in pieces, with nothing waited for: the embeddings into x[0], block i from x[i] to
 * x[i + 1]. */
void eq_lm_embed(eq_lm *lm, const int32_t *ids, int64_t B, int64_t T);
eq_status eq_lm_block_fwd(eq_lm *lm, int64_t i, eq_err *err);
/* Before a forward pass with opts.taught, behind eq_lm_embed: the teacher's block i from x[i] to
 * x[i + 1]. Behind the last one its predictions are kept and the embeddings have to be made anew;
 * the next eq_lm_loss or eq_lm_loss_of then is the divergence from them, sum p log(p / q) a target,
 * instead of the cross-entropy. */
eq_status eq_lm_teacher_fwd(eq_lm *lm, int64_t i, eq_err *err);
/* The final norm of rows x into hn (and rstd, xc). */
void eq_lm_norm(eq_lm *lm, eq_view x, int64_t rows);
/* After a forward pass: losses of the T - 1 next-token predictions, nll[B] = mean of each window.
 * With backward room and scale > 0: leaves the gradient of scale * sum(losses) in lm->dy. */
eq_status eq_lm_loss(eq_lm *lm, const int32_t *ids, int64_t B, int64_t T, float scale, double *nll,
                     eq_err *err);
/* The same where only some targets carry loss: learn [B, T], 1 where an id does as the next one;
 * nll[B]: sum over those of a window. */
eq_status eq_lm_loss_of(eq_lm *lm, const int32_t *ids, const uint8_t *learn, int64_t B, int64_t T,
                        float scale, double *nll, eq_err *err);
/* Windows that share rows: row r holds ids[r] and stands at the places p of place[B, T] with
 * place[p] == r, at the same position of every window; -1 behind a window's end. Every row has a
 * place. What is computed for a row is what every window that it stands in would have there. */
typedef struct {
    int64_t rows, B, T;
    const int32_t *ids, *place;
} eq_lm_shared;
eq_status eq_lm_forward_shared(eq_lm *lm, const eq_lm_shared *s, eq_err *err);
/* After a forward pass without backward room: nll[i] = -log p(target[i] | everything up to row[i]),
 * rows counted through the batch. first (NULL: not wanted): no token is likelier, the first of
 * equals counts. */
eq_status eq_lm_score(eq_lm *lm, const int32_t *row, const int32_t *target, int64_t n, float *nll,
                      bool *first, eq_err *err);
/* After a forward pass: logits of rows [row, row + n), F32 [n, V] to the host; n is at most
 * eq_lm_logit_rows(). */
int64_t eq_lm_logit_rows(const eq_lm *lm);
eq_status eq_lm_logits(eq_lm *lm, int64_t row, int64_t n, float *logits, eq_err *err);
/* logits[n, V] of n normed rows, windows (or parts of one) of T, with nothing waited for. */
void eq_lm_head(const eq_lm *lm, eq_mut logits, eq_view hn, int64_t n, int64_t T);
/* Gradients of a batch under way, F32 of every group each, n == 0: not wanted. They begin at zero;
 * when all windows have gone through, in order, the totals are their sums as window_sum.h says. */
typedef struct {
    eq_mut ds, dz, dW, dnorm;                     /* the totals; dW with masters */
    eq_mut part_ds, part_dz, part_dW, part_dnorm; /* the part under way; needed when
                                                     eq_chain_windows(batch) < batch */
    int64_t batch, done; /* windows of the batch, and of those the ones that went through */
} eq_lm_grads;

/* After eq_lm_loss with a scale: the backward pass of the same windows, which are the next ones of
 * the batch. g->done is moved on. */
eq_status eq_lm_backward(eq_lm *lm, eq_lm_grads *g, eq_err *err);
/* Block i's part of it, from the last block to the first, with nothing waited for: reads x[i],
 * lm->dy becomes the gradient of x[i]. */
eq_status eq_lm_block_bwd(eq_lm *lm, int64_t i, const eq_lm_grads *g, eq_err *err);
#endif

/* One transformer block, forward and backward by hand, through the operation table. It sees compute
 * weights only: full precision, fake-quantized and packed weights all arrive as the same matrices
 * (`eq_block_w`), all there or made one at a time in one slot, and the gradient of each leaves
 * through a sink a few rows at a time, so this file knows no quantizer.
 *
 * Letters as in backend.h; N = B * T rows. ct: the compute type (BF16 or F32). The block input has
 * the stream type (st), everything that is summed into the residual is F32. */
#ifndef EQ_MODEL_BLOCK_H
#define EQ_MODEL_BLOCK_H
#include "backend/backend.h"
#include "model/weights.h"
#include "model/window_sum.h"

/* A linear as prepare_q left it (backend.h); q.n == 0: none. */
typedef struct {
    eq_mut q, s, z;
    eq_qshape shape;
} eq_packed;

typedef struct {
    int64_t layer;             /* which block of the model it is: its window, its rope */
    eq_mut w[EQ_LINS];         /* ct [O, I]; with `make` all in the same place */
    eq_packed packed[EQ_LINS]; /* where there, in the place of w; forward only */
    int act8;                  /* those meet activations of 8 bits */
    eq_mut bias[EQ_LINS];      /* F32 [O], n == 0: none */
    eq_mut
        norm[EQ_NORM_COUNT]; /* F32: what rows are multiplied with (eq_norm_weight); n == 0: none */
    eq_mut norm_bias[EQ_NORM_COUNT]; /* F32, n == 0: none */
    /* Writes linear l into w just before a product reads it: once in the forward pass, once more in
     * the backward, where l's dX comes before its dW. NULL: the weights are all there. */
    void (*make)(void *ctx, eq_lin l, eq_mut w);
    void *ctx;
} eq_block_w;

/* THE list of a block's activations: X(field, type, elements, part). Types: CT, or F32. Parts: FWD
 * is written by the forward pass and read by the backward, BWD exists for the backward pass only;
 * those of the feed-forward half (MLP) are dead when the backward pass comes to attention, whose
 * gradients (ATT_BWD) then take their place. */
#define EQ_BLOCK_ACTS(X) \
    X(h1, CT, N * c->D, FWD)                        /* normed input */ \
    X(xc1, F32, c->norm_center ? N * c->D : 0, FWD) /* it without its mean, before it is normed */ \
    X(rstd1, F32, N, FWD) \
    X(q_raw, CT, c->qk_norm ? N * c->NH * c->HD : 0, FWD) /* before their norm */ \
    X(k_raw, CT, c->qk_norm ? N * c->NKV * c->HD : 0, FWD) \
    X(rstd_q, F32, c->qk_norm ? N *(c->qk_norm == EQ_QK_ROW ? 1 : c->NH) : 0, FWD) \
    X(rstd_k, F32, c->qk_norm ? N *(c->qk_norm == EQ_QK_ROW ? 1 : c->NKV) : 0, FWD) \
    X(q, CT, N * c->NH * c->HD, FWD) /* turned by RoPE */ \
    X(k, CT, N * c->NKV * c->HD, FWD) \
    X(v, CT, N * c->NKV * c->HD, FWD) \
    X(att, CT, N * c->NH * c->HD, FWD) \
    X(lse, F32, N * c->NH, FWD) \
    X(o, CT, c->norms ? N * c->D : 0, \
      FWD) /* attention's and the MLP's result, before their norm */ \
    X(m, CT, c->norms ? N * c->D : 0, FWD) \
    X(rstd_o, F32, c->norms ? N : 0, FWD) \
    X(rstd_m, F32, c->norms ? N : 0, FWD) \
    X(part, CT, eq_block_adds_part(c) ? N * c->D : 0, \
      FWD)                    /* either as it is added; its gradient */ \
    X(x1, F32, N * c->D, FWD) /* input + attention */ \
    X(h2, CT, N * c->D, FWD) \
    X(xc2, F32, c->norm_center ? N * c->D : 0, FWD) \
    X(rstd2, F32, N, FWD) \
    X(g, CT, N * c->F, MLP)   /* gate; the backward pass puts its gradient here */ \
    X(u, CT, N * c->F, MLP)   /* up; likewise */ \
    X(a, CT, N * c->F, MLP)   /* act(g) * u */ \
    X(y, F32, N * c->D, FWD)  /* the block's output; the backward pass puts dh here */ \
    X(dyc, CT, N * c->D, BWD) /* residual gradient in the compute type */ \
    X(da, CT, N * c->F, MLP_BWD) \
    X(datt, CT, N * c->NH * c->HD, ATT_BWD) \
    X(dq, CT, N * c->NH * c->HD, ATT_BWD) \
    X(dk, CT, N * c->NKV * c->HD, ATT_BWD) \
    X(dv, CT, N * c->NKV * c->HD, ATT_BWD) \
    X(dw, F32, eq_block_dw_elements(c, a->hints), \
      BWD) /* some rows of one linear's weight gradient */ \
    X(dnorm_part, F32, eq_chain_windows(B) < B ? eq_block_longest_norm(c) : 0, BWD)

/* Windows that share rows: what several of them begin with stands there once, and everything but
 * attention goes by rows; for attention q, k and v are laid out in whole windows. Forward only. */
typedef struct {
    int64_t B, T;      /* windows, as attention sees them; a->B x a->T counts the rows */
    eq_mut place;      /* I32 [B, T]: the row that stands there; -1: none, behind a window's end */
    eq_mut row;        /* I32 [rows]: one of its places */
    eq_mut q, k, v, o; /* ct, of all places */
    eq_mut lse;        /* F32 [B, NH, T] */
} eq_block_shared;

/* Keys and values of one sequence, for generation: rows [0, at) hold those of the tokens before
 * these, a block's forward pass writes [at, at + T). */
typedef struct {
    eq_mut k, v; /* ct [room, NKV * HD] */
    eq_mut at;   /* I32 [1] */
} eq_kv;

typedef struct {
    int64_t B, T;
    eq_kv kv; /* k.n == 0: none, as eq_block_acts_bind leaves it. Forward only, B 1 */
    const eq_block_shared *shared; /* NULL: every window has rows of its own */
    eq_mut dnorm[EQ_NORM_COUNT];   /* F32, where the norm is and a backward pass */
#define EQ_FIELD(name, ...) eq_mut name;
    EQ_BLOCK_ACTS(EQ_FIELD)
#undef EQ_FIELD
} eq_block_acts;

/* What is added to the residual is not what a product gives: it is normed or scaled first. */
static inline bool eq_block_adds_part(const eq_config *c) {
    return c->norms != EQ_NORMS_BEFORE || c->residual_scale != 1;
}
int64_t eq_block_longest_norm(const eq_config *c);

/* Turning angles for positions 0 .. T-1 on the backend: F32 [T, dim/2]; of queries where those are
 * scaled by their position, else the same. */
typedef struct {
    eq_mut cos, sin, q_cos, q_sin;
    int64_t half; /* dim / 2 */
} eq_rope_table;
typedef struct {
    eq_rope_table all, sliding; /* sliding: where the config has two */
    int64_t T;
} eq_rope;
/* Layer i's, NULL: it has none. */
const eq_rope_table *eq_rope_of(const eq_rope *r, const eq_config *c, int64_t i);

/* Of the rows of dW that exist at once; hints may be NULL. */
int64_t eq_block_dw_elements(const eq_config *c, const eq_hints *hints);

/* make NULL: every linear has room of its own; else one room for all, filled by make(ctx, ...). */
void eq_block_w_bind(eq_block_w *w, eq_arena *a, const eq_config *c, eq_dtype ct,
                     void (*make)(void *ctx, eq_lin l, eq_mut w), void *ctx);
/* The biases and norms alone; no linear has room. */
void eq_block_small_bind(eq_block_w *w, eq_arena *a, const eq_config *c);
void eq_block_acts_bind(eq_block_acts *acts, eq_arena *a, const eq_config *c, eq_dtype ct,
                        int64_t B, int64_t T, bool backward);
/* Room for B x T places and as many rows. */
void eq_block_shared_bind(eq_block_shared *s, eq_arena *a, const eq_config *c, eq_dtype ct,
                          int64_t B, int64_t T, int64_t rows);
void eq_rope_bind(eq_rope *r, eq_arena *a, const eq_config *c, int64_t T);
/* The angles of a text of `text` tokens (eq_rope_same). */
eq_status eq_rope_fill(eq_rope *r, eq_backend *be, const eq_config *c, int64_t text, eq_err *err);

/* Uploads block i of a full-precision model (weights to ct, biases and norms to F32) after a look
 * for NaN and infinity. Needs room for every linear. */
eq_status eq_block_w_upload(eq_block_w *w, eq_backend *be, const eq_weights *src, int64_t i,
                            eq_err *err);
/* The biases and norms alone; w becomes block i's. */
void eq_block_small_upload(eq_block_w *w, eq_backend *be, const eq_weights *src, int64_t i);
/* What rows are multiplied with, from a norm's weights as files hold them (backend memory). */
void eq_norm_weight(eq_backend *be, const eq_config *c, eq_mut to, eq_view file);

/* x: st [N, D] with N = acts->B * acts->T. Result in acts->y. */
void eq_block_fwd(eq_backend *be, const eq_config *c, const eq_block_w *w, const eq_rope *rope,
                  eq_block_acts *acts, eq_view x);

/* Called with the gradient F32 [rows, I] of linear l's weights from row `row` on, for all its rows
 * in rising order; valid until it returns, it may overwrite dw. What `make` writes for l may change
 * from here on, that for the linears still to come (and weights that are all there) may not.
 * The gradient is the sum over all windows (window_sum.h; window is then -1), or that of one: then
 * each run of rows comes once for every window, in rising order. */
typedef void (*eq_dw_sink)(void *ctx, eq_lin l, int64_t row, int64_t rows, int64_t window,
                           eq_mut dw);

/* The same of norm k, of one window: F32 [n], valid until it returns. */
typedef void (*eq_dnorm_sink)(void *ctx, eq_norm k, int64_t window, eq_mut dw);

typedef struct {
    eq_dw_sink sink;
    eq_dnorm_sink norm_sink; /* with norms and windows */
    void *ctx;
    bool windows; /* each window's gradient by itself */
    bool norms;   /* the norms' gradients too: left in acts->dnorm, or, by windows, to norm_sink */
    bool dx;      /* the gradient of x is wanted */
} eq_block_grads;

/* dy: F32 [N, D], the gradient of acts->y; when g->dx is set it becomes the gradient of x, else it
 * is used up. Reads what eq_block_fwd left in acts. */
void eq_block_bwd(eq_backend *be, const eq_config *c, const eq_block_w *w, const eq_rope *rope,
                  eq_block_acts *acts, eq_view x, eq_mut dy, const eq_block_grads *g);

#endif

/* The block's arithmetic (Llama: pre-norm, rotary grouped-query attention, SwiGLU), forward and
 * backward side by side. Invariant: a gradient has the type its forward value has, except along the
 * residual, which stays F32. */
#include "model/block.h"

#include <math.h>

#include "base/mem.h"

enum { DW_ROWS = 256 }; /* at least */

int64_t eq_block_dw_elements(const eq_config *c, const eq_hints *hints) {
    int64_t all = 0, least = 0, wanted = (hints ? hints : &eq_host_hints)->dw_elements;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, l);
        int64_t rows = s.O < DW_ROWS ? s.O : DW_ROWS;
        if (s.O * s.I > all) all = s.O * s.I;
        if (rows * s.I > least) least = rows * s.I;
    }
    return all < wanted ? all : least > wanted ? least : wanted;
}

/* Rows of dW at a time where `room` elements exist: whole steps of the backend. */
static int64_t dw_rows(eq_lin_spec s, int64_t room, const eq_hints *hints) {
    int64_t most = room / s.I, step = (hints ? hints : &eq_host_hints)->dw_step;
    return most >= s.O ? s.O : most < step ? most : most / step * step;
}

/* ---- buffers --------------------------------------------------------------------------------- */

void eq_block_small_bind(eq_block_w *w, eq_arena *a, const eq_config *c) {
    *w = (eq_block_w){0};
    for (eq_lin l = 0; l < EQ_LINS; l++)
        w->bias[l] = eq_lin_of(c, l).bias ? eq_take(a, EQ_F32, eq_lin_of(c, l).O) : EQ_NONE_MUT;
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        eq_norm_spec s = eq_norm_of(c, n);
        w->norm[n] = s.exists ? eq_take(a, EQ_F32, s.n) : EQ_NONE_MUT;
    }
}

void eq_block_w_bind(eq_block_w *w, eq_arena *a, const eq_config *c, eq_dtype ct,
                     void (*make)(void *ctx, eq_lin l, eq_mut w), void *ctx) {
    int64_t most = 0;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, l);
        if (s.O * s.I > most) most = s.O * s.I;
    }
    eq_mut slot = make ? eq_take(a, ct, most) : EQ_NONE_MUT;
    eq_block_small_bind(w, a, c);
    w->make = make, w->ctx = ctx;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, l);
        w->w[l] = make ? eq_mut_at(slot, 0, s.O * s.I) : eq_take(a, ct, s.O * s.I);
    }
}

void eq_block_acts_bind(eq_block_acts *acts, eq_arena *a, const eq_config *c, eq_dtype ct,
                        int64_t B, int64_t T, bool backward) {
    enum { FWD, BWD, MLP, MLP_BWD, ATT_BWD, PARTS };
    const eq_dtype CT = ct, F32 = EQ_F32;
    int64_t N = B * T, mlp = 0, mlp_end = 0;
    acts->B = B, acts->T = T, acts->kv = (eq_kv){0};
    for (int pass = FWD; pass < PARTS; pass++) {
        bool wanted = pass == FWD || pass == MLP || backward;
        if (pass == MLP) mlp = a->used;
        if (pass == ATT_BWD) mlp_end = a->used, a->used = mlp;
#define EQ_BIND(name, type, count, part) \
    if ((part) == pass) acts->name = wanted ? eq_take(a, type, count) : EQ_NONE_MUT;
        EQ_BLOCK_ACTS(EQ_BIND)
#undef EQ_BIND
    }
    if (a->used < mlp_end) a->used = mlp_end;
}

void eq_block_shared_bind(eq_block_shared *s, eq_arena *a, const eq_config *c, eq_dtype ct,
                          int64_t B, int64_t T, int64_t rows) {
    int64_t places = B * T;
    s->B = B, s->T = T;
    s->place = eq_take(a, EQ_I32, places);
    s->row = eq_take(a, EQ_I32, rows);
    s->q = eq_take(a, ct, places * c->NH * c->HD);
    s->k = eq_take(a, ct, places * c->NKV * c->HD);
    s->v = eq_take(a, ct, places * c->NKV * c->HD);
    s->o = eq_take(a, ct, places * c->NH * c->HD);
    s->lse = eq_take(a, EQ_F32, places * c->NH);
}

void eq_rope_bind(eq_rope *r, eq_arena *a, const eq_config *c, int64_t T) {
    r->T = T;
    r->cos = eq_take(a, EQ_F32, T * (c->HD / 2));
    r->sin = eq_take(a, EQ_F32, T * (c->HD / 2));
}

eq_status eq_rope_fill(eq_rope *r, eq_backend *be, const eq_config *c, eq_err *err) {
    float *host = eq_calloc(2 * r->cos.n, sizeof *host);
    if (!host) return eq_nomem(err, "the rotary tables", 8 * r->cos.n);
    eq_rope_tables(c, r->T, host, host + r->cos.n);
    be->upload(be, r->cos, host, EQ_F32);
    be->upload(be, r->sin, host + r->cos.n, EQ_F32);
    eq_free(host);
    return EQ_OK;
}

static void upload(eq_backend *be, eq_mut dst, const eq_tensor *t) {
    if (dst.n && t) be->upload(be, dst, t->data, t->dt);
}

void eq_block_small_upload(eq_block_w *w, eq_backend *be, const eq_weights *src, int64_t i) {
    const eq_block_tensors *b = &src->blocks[i];
    for (eq_lin l = 0; l < EQ_LINS; l++) upload(be, w->bias[l], b->bias[l]);
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) upload(be, w->norm[n], b->norm[n]);
}

eq_status eq_block_w_upload(eq_block_w *w, eq_backend *be, const eq_weights *src, int64_t i,
                            eq_err *err) {
    const eq_block_tensors *b = &src->blocks[i];
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        EQ_TRY(eq_tensor_check_finite(b->weight[l], err));
        upload(be, w->w[l], b->weight[l]);
    }
    eq_block_small_upload(w, be, src, i);
    return EQ_OK;
}

/* ---- one linear ------------------------------------------------------------------------------ */

static eq_view weight(const eq_block_w *w, eq_lin l) {
    if (w->make) w->make(w->ctx, l, w->w[l]);
    return eq_ro(w->w[l]);
}

/* y = x W^T + b, or y += x W^T + b (y then F32) */
static void linear(eq_backend *be, const eq_config *c, const eq_block_w *w, eq_lin l,
                   const eq_block_acts *a, eq_mut y, eq_mut x, int acc) {
    eq_lin_spec s = eq_lin_of(c, l);
    int64_t N = a->B * a->T;
    const eq_packed *p = &w->packed[l];
    if (p->q.n)
        EQ_DO(be, matvec_q, y, eq_ro(x), eq_ro(p->q), eq_ro(p->s), eq_ro(p->z), N, p->shape,
              w->act8, acc);
    else
        EQ_DO(be, matmul_nt, y, eq_ro(x), weight(w, l), N, s.O, s.I, a->T, acc);
    if (w->bias[l].n) EQ_DO(be, bias_add, y, eq_ro(w->bias[l]), N, s.O);
}

/* dx = dy W, or dx += dy W */
static void linear_dx(eq_backend *be, const eq_config *c, const eq_block_w *w, eq_lin l,
                      const eq_block_acts *a, eq_mut dx, eq_mut dy, int acc) {
    eq_lin_spec s = eq_lin_of(c, l);
    EQ_DO(be, matmul_nn, dx, eq_ro(dy), weight(w, l), a->B * a->T, s.I, s.O, a->T, acc);
}

/* Rows [row, row + rows) of dW = dy^T x of n windows from b on; acc: added to what is there. */
static void dw_part(eq_backend *be, const eq_block_acts *a, eq_lin_spec s, eq_mut dw, eq_mut dy,
                    eq_mut x, int64_t row, int64_t rows, int64_t b, int64_t n, int acc) {
    int64_t N = n * a->T, from = b * a->T;
    eq_view columns = eq_view_at(eq_ro(dy), from * s.O + row, (N - 1) * s.O + rows);
    eq_view in = eq_view_at(eq_ro(x), from * s.I, N * s.I);
    EQ_DO(be, matmul_tn, dw, columns, in, rows, s.I, N, a->T, s.O, acc);
}

/* dW, handed to the sink some rows at a time. After linear_dx of the same linear: the sink may
 * change what its weights are made from. */
static void linear_dw(eq_backend *be, const eq_config *c, eq_lin l, eq_block_acts *a, eq_mut dy,
                      eq_mut x, const eq_block_grads *g) {
    if (!g->sink) return;
    eq_lin_spec s = eq_lin_of(c, l);
    int64_t step = dw_rows(s, a->dw.n, be->hints), chain = g->windows ? 1 : eq_chain_windows(a->B);
    for (int64_t row = 0, rows; row < s.O; row += rows) {
        rows = s.O - row < step ? s.O - row : step;
        eq_mut dw = eq_mut_at(a->dw, 0, rows * s.I);
        for (int64_t b = 0; b < a->B; b += chain) {
            int64_t n = a->B - b < chain ? a->B - b : chain;
            dw_part(be, a, s, dw, dy, x, row, rows, b, n, b && !g->windows);
            if (g->windows) g->sink(g->ctx, l, row, rows, b, dw);
        }
        if (!g->windows) g->sink(g->ctx, l, row, rows, -1, dw);
    }
}

/* ---- one norm's way back --------------------------------------------------------------------- */

static eq_mut mut_part(eq_mut m, int64_t from, int64_t n) {
    return m.n ? eq_mut_at(m, from, n) : m;
}

/* dx (n == 0: not wanted; + dx if acc) and dw (n == 0: not wanted), the sum over the windows, of
 * a norm over D with `heads` rows a token. */
static void norm_bwd(eq_backend *be, const eq_block_acts *a, eq_mut dx, eq_mut dw, eq_view dy,
                     eq_view x, eq_view w, eq_view rstd, int64_t heads, int64_t D, int acc) {
    int64_t per = a->T * heads, chain = eq_chain_windows(a->B);
    for (int64_t b = 0; b < a->B; b += chain) {
        int64_t n = a->B - b < chain ? a->B - b : chain, from = b * per, rows = n * per;
        eq_mut sum = b && dw.n ? eq_mut_at(a->dnorm_part, 0, D) : dw;
        EQ_DO(be, rmsnorm_bwd, mut_part(dx, from * D, rows * D), sum,
              eq_view_at(dy, from * D, rows * D), eq_view_at(x, from * D, rows * D), w,
              eq_view_at(rstd, from, rows), rows, D, per, acc);
        if (b && dw.n) EQ_DO(be, add, dw, eq_ro(dw), eq_ro(sum));
    }
}

/* ---- attention half -------------------------------------------------------------------------- */

static eq_attn_shape attn_shape(const eq_config *c, int64_t B, int64_t T, int64_t past) {
    return (eq_attn_shape){.B = B,
                           .T = T,
                           .NH = c->NH,
                           .NKV = c->NKV,
                           .HD = c->HD,
                           .window = c->window,
                           .scale = (float)(1.0 / sqrt((double)c->HD)),
                           .past = past};
}

static void turn(eq_backend *be, const eq_config *c, const eq_rope *r, int64_t B, int64_t T,
                 int64_t past, eq_mut q, eq_mut k, int sign) {
    int64_t half = T * (c->HD / 2), from = past * (c->HD / 2);
    eq_view cos = eq_ro(eq_mut_at(r->cos, from, half)), sin = eq_ro(eq_mut_at(r->sin, from, half));
    EQ_DO(be, rope, q, cos, sin, B, T, c->NH, c->HD, sign);
    EQ_DO(be, rope, k, cos, sin, B, T, c->NKV, c->HD, sign);
}

/* Attention of windows that share rows: laid out, computed, brought back to the rows. */
static void attend_shared(eq_backend *be, const eq_config *c, const eq_rope *rope,
                          eq_block_acts *a) {
    const eq_block_shared *s = a->shared;
    int64_t places = s->B * s->T, wide = c->NH * c->HD, narrow = c->NKV * c->HD;
    EQ_DO(be, gather, s->q, eq_ro(a->q), eq_ro(s->place), places, wide);
    EQ_DO(be, gather, s->k, eq_ro(a->k), eq_ro(s->place), places, narrow);
    EQ_DO(be, gather, s->v, eq_ro(a->v), eq_ro(s->place), places, narrow);
    turn(be, c, rope, s->B, s->T, 0, s->q, s->k, 1);
    EQ_DO(be, attn_fwd, s->o, s->lse, eq_ro(s->q), eq_ro(s->k), eq_ro(s->v),
          attn_shape(c, s->B, s->T, 0));
    EQ_DO(be, gather, a->att, eq_ro(s->o), eq_ro(s->row), a->B * a->T, wide);
}

/* New keys and values go to their place in the sequence. */
static void use_kv(const eq_config *c, eq_block_acts *a) {
    int64_t row = c->NKV * c->HD, from = a->kv.past * row, n = a->B * a->T * row;
    if (!a->kv.k.n) return;
    a->k = eq_mut_at(a->kv.k, from, n), a->v = eq_mut_at(a->kv.v, from, n);
}
static eq_view seen(const eq_config *c, const eq_block_acts *a, eq_mut all, eq_mut own) {
    return eq_ro(all.n ? eq_mut_at(all, 0, (a->kv.past + a->T) * c->NKV * c->HD) : own);
}

/* From q, k, v to att. */
static void attend(eq_backend *be, const eq_config *c, const eq_rope *rope, eq_block_acts *a) {
    if (a->shared) {
        attend_shared(be, c, rope, a);
        return;
    }
    turn(be, c, rope, a->B, a->T, a->kv.past, a->q, a->k, 1);
    EQ_DO(be, attn_fwd, a->att, a->lse, eq_ro(a->q), seen(c, a, a->kv.k, a->k),
          seen(c, a, a->kv.v, a->v), attn_shape(c, a->B, a->T, a->kv.past));
}

static void attention_fwd(eq_backend *be, const eq_config *c, const eq_block_w *w,
                          const eq_rope *rope, eq_block_acts *a, eq_view x) {
    int64_t N = a->B * a->T;
    float eps = (float)c->eps;
    use_kv(c, a);
    EQ_DO(be, rmsnorm_fwd, a->h1, a->rstd1, x, eq_ro(w->norm[EQ_NORM_IN]), N, c->D, eps);
    linear(be, c, w, EQ_LIN_Q, a, c->qk_norm ? a->q_raw : a->q, a->h1, 0);
    linear(be, c, w, EQ_LIN_K, a, c->qk_norm ? a->k_raw : a->k, a->h1, 0);
    linear(be, c, w, EQ_LIN_V, a, a->v, a->h1, 0);
    if (c->qk_norm) {
        EQ_DO(be, rmsnorm_fwd, a->q, a->rstd_q, eq_ro(a->q_raw), eq_ro(w->norm[EQ_NORM_QH]),
              N * c->NH, c->HD, eps);
        EQ_DO(be, rmsnorm_fwd, a->k, a->rstd_k, eq_ro(a->k_raw), eq_ro(w->norm[EQ_NORM_KH]),
              N * c->NKV, c->HD, eps);
    }
    attend(be, c, rope, a);
    EQ_DO(be, cast, a->x1, x);
    linear(be, c, w, EQ_LIN_O, a, a->x1, a->att, 1);
}

static void attention_bwd(eq_backend *be, const eq_config *c, const eq_block_w *w,
                          const eq_rope *rope, eq_block_acts *a, eq_view x, eq_mut dy,
                          const eq_block_grads *g) {
    eq_mut dh = a->y;
    EQ_DO(be, cast, a->dyc, eq_ro(dy));
    linear_dx(be, c, w, EQ_LIN_O, a, a->datt, a->dyc, 0);
    linear_dw(be, c, EQ_LIN_O, a, a->dyc, a->att, g);
    EQ_DO(be, attn_bwd, a->dq, a->dk, a->dv, eq_ro(a->datt), eq_ro(a->q), eq_ro(a->k), eq_ro(a->v),
          eq_ro(a->att), eq_ro(a->lse), attn_shape(c, a->B, a->T, 0));
    turn(be, c, rope, a->B, a->T, 0, a->dq, a->dk, -1);
    if (c->qk_norm) {
        eq_mut none = EQ_NONE_MUT;
        norm_bwd(be, a, a->dq, g->norms ? a->dnorm_qh : none, eq_ro(a->dq), eq_ro(a->q_raw),
                 eq_ro(w->norm[EQ_NORM_QH]), eq_ro(a->rstd_q), c->NH, c->HD, 0);
        norm_bwd(be, a, a->dk, g->norms ? a->dnorm_kh : none, eq_ro(a->dk), eq_ro(a->k_raw),
                 eq_ro(w->norm[EQ_NORM_KH]), eq_ro(a->rstd_k), c->NKV, c->HD, 0);
    }
    if (g->norms || g->dx) {
        linear_dx(be, c, w, EQ_LIN_Q, a, dh, a->dq, 0);
        linear_dx(be, c, w, EQ_LIN_K, a, dh, a->dk, 1);
        linear_dx(be, c, w, EQ_LIN_V, a, dh, a->dv, 1);
        norm_bwd(be, a, g->dx ? dy : EQ_NONE_MUT, g->norms ? a->dnorm_in : EQ_NONE_MUT, eq_ro(dh),
                 x, eq_ro(w->norm[EQ_NORM_IN]), eq_ro(a->rstd1), 1, c->D, 1);
    }
    linear_dw(be, c, EQ_LIN_Q, a, a->dq, a->h1, g);
    linear_dw(be, c, EQ_LIN_K, a, a->dk, a->h1, g);
    linear_dw(be, c, EQ_LIN_V, a, a->dv, a->h1, g);
}

/* ---- feed-forward half ----------------------------------------------------------------------- */

static void mlp_fwd(eq_backend *be, const eq_config *c, const eq_block_w *w, eq_block_acts *a) {
    int64_t N = a->B * a->T;
    EQ_DO(be, rmsnorm_fwd, a->h2, a->rstd2, eq_ro(a->x1), eq_ro(w->norm[EQ_NORM_POST]), N, c->D,
          (float)c->eps);
    linear(be, c, w, EQ_LIN_GATE, a, a->g, a->h2, 0);
    linear(be, c, w, EQ_LIN_UP, a, a->u, a->h2, 0);
    EQ_DO(be, swiglu_fwd, a->a, eq_ro(a->g), eq_ro(a->u));
    EQ_DO(be, cast, a->y, eq_ro(a->x1));
    linear(be, c, w, EQ_LIN_DOWN, a, a->y, a->a, 1);
}

/* dy is the gradient of y and becomes that of x1 */
static void mlp_bwd(eq_backend *be, const eq_config *c, const eq_block_w *w, eq_block_acts *a,
                    eq_mut dy, const eq_block_grads *g) {
    eq_mut dh = a->y;
    EQ_DO(be, cast, a->dyc, eq_ro(dy));
    linear_dx(be, c, w, EQ_LIN_DOWN, a, a->da, a->dyc, 0);
    linear_dw(be, c, EQ_LIN_DOWN, a, a->dyc, a->a, g);
    EQ_DO(be, swiglu_bwd, a->g, a->u, eq_ro(a->da), eq_ro(a->g), eq_ro(a->u));
    linear_dx(be, c, w, EQ_LIN_GATE, a, dh, a->g, 0);
    linear_dx(be, c, w, EQ_LIN_UP, a, dh, a->u, 1);
    linear_dw(be, c, EQ_LIN_GATE, a, a->g, a->h2, g);
    linear_dw(be, c, EQ_LIN_UP, a, a->u, a->h2, g);
    norm_bwd(be, a, dy, g->norms ? a->dnorm_post : EQ_NONE_MUT, eq_ro(dh), eq_ro(a->x1),
             eq_ro(w->norm[EQ_NORM_POST]), eq_ro(a->rstd2), 1, c->D, 1);
}

void eq_block_fwd(eq_backend *be, const eq_config *c, const eq_block_w *w, const eq_rope *rope,
                  eq_block_acts *acts, eq_view x) {
    attention_fwd(be, c, w, rope, acts, x);
    mlp_fwd(be, c, w, acts);
}

void eq_block_bwd(eq_backend *be, const eq_config *c, const eq_block_w *w, const eq_rope *rope,
                  eq_block_acts *acts, eq_view x, eq_mut dy, const eq_block_grads *g) {
    mlp_bwd(be, c, w, acts, dy, g);
    attention_bwd(be, c, w, rope, acts, x, dy, g);
}

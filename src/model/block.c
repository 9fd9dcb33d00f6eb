/* The block's arithmetic, forward and backward side by side: two branches, attention and a gated
 * MLP, each normed on its way in, on its way out or both, scaled and added to the residual, as the
 * config says. Invariant: a gradient has the type its forward value has, except along the residual,
 * which stays F32. */
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
        w->norm_bias[n] = s.exists && c->norm_center ? eq_take(a, EQ_F32, s.n) : EQ_NONE_MUT;
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

int64_t eq_block_longest_norm(const eq_config *c) {
    int64_t most = 0;
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        eq_norm_spec s = eq_norm_of(c, n);
        if (s.exists && s.n > most) most = s.n;
    }
    return most;
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
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        eq_norm_spec s = eq_norm_of(c, n);
        acts->dnorm[n] = s.exists && backward ? eq_take(a, EQ_F32, s.n) : EQ_NONE_MUT;
    }
}

/* ---- rotary tables --------------------------------------------------------------------------- */

static void bind_table(eq_rope_table *t, eq_arena *a, const eq_rope_spec *s, int64_t T) {
    t->half = s->dim / 2;
    t->cos = eq_take(a, EQ_F32, T * t->half), t->sin = eq_take(a, EQ_F32, T * t->half);
    t->q_cos = t->cos, t->q_sin = t->sin;
    if (s->query_beta == 0) return;
    t->q_cos = eq_take(a, EQ_F32, T * t->half), t->q_sin = eq_take(a, EQ_F32, T * t->half);
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
    *r = (eq_rope){.T = T};
    bind_table(&r->all, a, &c->rope, T);
    if (c->two_ropes) bind_table(&r->sliding, a, &c->rope_sliding, T);
}

static eq_status fill_table(const eq_rope_table *t, eq_backend *be, const eq_config *c,
                            const eq_rope_spec *s, int64_t T, int64_t text, eq_err *err) {
    int64_t n = T * t->half;
    float *cos = eq_calloc(2 * n, sizeof *cos), *sin = cos + n;
    if (!cos) return eq_nomem(err, "the rotary tables", 8 * n);
    eq_rope_tables(c, s, T, text, cos, sin);
    be->upload(be, t->cos, cos, EQ_F32);
    be->upload(be, t->sin, sin, EQ_F32);
    for (int64_t i = 0; s->query_beta != 0 && i < n; i++) {
        double far = floor((double)(i / t->half) / (double)s->original_T);
        float scale = (float)(1 + s->query_beta * log(1 + far));
        cos[i] *= scale, sin[i] *= scale;
    }
    if (s->query_beta != 0) {
        be->upload(be, t->q_cos, cos, EQ_F32);
        be->upload(be, t->q_sin, sin, EQ_F32);
    }
    eq_free(cos);
    return EQ_OK;
}

eq_status eq_rope_fill(eq_rope *r, eq_backend *be, const eq_config *c, int64_t text, eq_err *err) {
    EQ_TRY(fill_table(&r->all, be, c, &c->rope, r->T, text, err));
    return c->two_ropes ? fill_table(&r->sliding, be, c, &c->rope_sliding, r->T, text, err) : EQ_OK;
}

const eq_rope_table *eq_rope_of(const eq_rope *r, const eq_config *c, int64_t i) {
    const eq_rope_spec *s = eq_layer_rope(c, i);
    return s == &c->rope ? &r->all : s ? &r->sliding : NULL;
}

/* ---- weights --------------------------------------------------------------------------------- */

void eq_norm_weight(eq_backend *be, const eq_config *c, eq_mut to, eq_view file) {
    if (c->norm_plus_one)
        EQ_DO(be, affine, to, file, 1.0f, 1.0f);
    else
        EQ_DO(be, cast, to, file);
}

void eq_block_small_upload(eq_block_w *w, eq_backend *be, const eq_weights *src, int64_t i) {
    const eq_block_tensors *b = &src->blocks[i];
    w->layer = i;
    for (eq_lin l = 0; l < EQ_LINS; l++)
        if (w->bias[l].n) eq_weights_put_bias(src, i, l, be, w->bias[l]);
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        if (!w->norm[n].n) continue;
        be->upload(be, w->norm[n], b->norm[n]->data, b->norm[n]->dt);
        eq_norm_weight(be, &src->cfg, w->norm[n], eq_ro(w->norm[n]));
        if (w->norm_bias[n].n)
            be->upload(be, w->norm_bias[n], b->norm_bias[n]->data, b->norm_bias[n]->dt);
    }
}

eq_status eq_block_w_upload(eq_block_w *w, eq_backend *be, const eq_weights *src, int64_t i,
                            eq_err *err) {
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        EQ_TRY(eq_weights_check_rows(src, i, l, 0, eq_lin_of(&src->cfg, l).O, err));
        eq_weights_put_rows(src, i, l, 0, eq_lin_of(&src->cfg, l).O, be, w->w[l]);
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

/* dx (n == 0: not wanted; + dx if acc) and, where g wants it, dw of norm k, the sum over the
 * windows or each window's to the sink, of a norm over D with `heads` rows a token. */
static void norm_bwd(eq_backend *be, const eq_block_acts *a, const eq_block_grads *g, eq_norm k,
                     eq_mut dx, eq_view dy, eq_view x, eq_view w, eq_view rstd, int64_t heads,
                     int64_t D, int acc) {
    bool each = g->norms && g->windows;
    int64_t per = a->T * heads, chain = each ? 1 : eq_chain_windows(a->B);
    eq_mut dw = g->norms ? a->dnorm[k] : EQ_NONE_MUT;
    for (int64_t b = 0; b < a->B; b += chain) {
        int64_t n = a->B - b < chain ? a->B - b : chain, from = b * per, rows = n * per;
        eq_mut sum = b && dw.n && !each ? eq_mut_at(a->dnorm_part, 0, D) : dw;
        EQ_DO(be, rmsnorm_bwd, mut_part(dx, from * D, rows * D), sum,
              eq_view_at(dy, from * D, rows * D), eq_view_at(x, from * D, rows * D), w,
              eq_view_at(rstd, from, rows), rows, D, per, acc);
        if (each)
            g->norm_sink(g->ctx, k, b, sum);
        else if (b && dw.n)
            EQ_DO(be, add, dw, eq_ro(dw), eq_ro(sum));
    }
}

/* ---- into a branch and out of it ---------------------------------------------------------------
 */

/* What one branch, attention or MLP, has beside its products. */
typedef struct {
    eq_norm in, out;
    eq_mut h, xc, rstd_in; /* its input as products read it; see EQ_BLOCK_ACTS */
    eq_mut y, rstd_out;    /* what its last product gave */
} branch;
static branch attention_of(const eq_block_acts *a) {
    return (branch){EQ_NORM_IN, EQ_NORM_ATT_OUT, a->h1, a->xc1, a->rstd1, a->o, a->rstd_o};
}
static branch mlp_of(const eq_block_acts *a) {
    return (branch){EQ_NORM_POST, EQ_NORM_MLP_OUT, a->h2, a->xc2, a->rstd2, a->m, a->rstd_m};
}

static void enter_fwd(eq_backend *be, const eq_config *c, const eq_block_w *w,
                      const eq_block_acts *a, branch b, eq_view x) {
    int64_t N = a->B * a->T;
    if (c->norms == EQ_NORMS_BEHIND) {
        EQ_DO(be, cast, b.h, x);
        return;
    }
    if (c->norm_center) EQ_DO(be, center, b.xc, x, N, c->D);
    EQ_DO(be, rmsnorm_fwd, b.h, b.rstd_in, c->norm_center ? eq_ro(b.xc) : x, eq_ro(w->norm[b.in]),
          N, c->D, (float)c->eps);
    if (c->norm_center) EQ_DO(be, bias_add, b.h, eq_ro(w->norm_bias[b.in]), N, c->D);
}

/* dh: the gradient of b.h, used up; dy (n == 0: not wanted) += that of x. */
static void enter_bwd(eq_backend *be, const eq_config *c, const eq_block_w *w, eq_block_acts *a,
                      branch b, eq_view x, eq_mut dh, eq_mut dy, const eq_block_grads *g) {
    eq_view weight = eq_ro(w->norm[b.in]), rstd = eq_ro(b.rstd_in);
    if (c->norms != EQ_NORMS_BEHIND && !c->norm_center) {
        norm_bwd(be, a, g, b.in, dy, eq_ro(dh), x, weight, rstd, 1, c->D, 1);
        return;
    }
    if (c->norm_center) {
        norm_bwd(be, a, g, b.in, dh, eq_ro(dh), eq_ro(b.xc), weight, rstd, 1, c->D, 0);
        EQ_DO(be, center, dh, eq_ro(dh), a->B * a->T, c->D);
    }
    if (dy.n) EQ_DO(be, add, dy, eq_ro(dy), eq_ro(dh));
}

/* to = x + the branch, whose last linear is l of h. */
static void leave_fwd(eq_backend *be, const eq_config *c, const eq_block_w *w,
                      const eq_block_acts *a, branch b, eq_lin l, eq_mut h, eq_mut to, eq_view x) {
    if (!eq_block_adds_part(c)) {
        EQ_DO(be, cast, to, x);
        linear(be, c, w, l, a, to, h, 1);
        return;
    }
    linear(be, c, w, l, a, c->norms ? b.y : a->part, h, 0);
    if (c->norms)
        EQ_DO(be, rmsnorm_fwd, a->part, b.rstd_out, eq_ro(b.y), eq_ro(w->norm[b.out]), a->B * a->T,
              c->D, (float)c->eps);
    if (c->residual_scale != 1)
        EQ_DO(be, affine, a->part, eq_ro(a->part), (float)c->residual_scale, 0.0f);
    EQ_DO(be, add, to, x, eq_ro(a->part));
}

/* a->dyc = the gradient of what the last linear gave, from dy, that of the sum. */
static void leave_bwd(eq_backend *be, const eq_config *c, const eq_block_w *w, eq_block_acts *a,
                      branch b, eq_mut dy, const eq_block_grads *g) {
    eq_mut to = c->norms ? a->part : a->dyc;
    if (c->residual_scale != 1)
        EQ_DO(be, affine, to, eq_ro(dy), (float)c->residual_scale, 0.0f);
    else
        EQ_DO(be, cast, to, eq_ro(dy));
    if (c->norms)
        norm_bwd(be, a, g, b.out, a->dyc, eq_ro(to), eq_ro(b.y), eq_ro(w->norm[b.out]),
                 eq_ro(b.rstd_out), 1, c->D, 0);
}

/* ---- attention ---------------------------------------------------------------------------------
 */

static eq_attn_shape attn_shape(const eq_config *c, const eq_block_w *w, int64_t B, int64_t T) {
    return (eq_attn_shape){.B = B,
                           .T = T,
                           .NH = c->NH,
                           .NKV = c->NKV,
                           .HD = c->HD,
                           .window = eq_layer_window(c, w->layer),
                           .scale = (float)c->attn_scale,
                           .cap = (float)c->attn_cap};
}

static void turn(eq_backend *be, const eq_config *c, const eq_rope *rope, const eq_block_w *w,
                 int64_t B, int64_t T, eq_mut at, eq_mut q, eq_mut k, int sign) {
    const eq_rope_table *r = eq_rope_of(rope, c, w->layer);
    if (!r) return;
    EQ_DO(be, rope, q, eq_ro(r->q_cos), eq_ro(r->q_sin), eq_ro(at), B, T, c->NH, c->HD, 2 * r->half,
          sign);
    EQ_DO(be, rope, k, eq_ro(r->cos), eq_ro(r->sin), eq_ro(at), B, T, c->NKV, c->HD, 2 * r->half,
          sign);
}

/* Attention of windows that share rows: laid out, computed, brought back to the rows. */
static void attend_shared(eq_backend *be, const eq_config *c, const eq_block_w *w,
                          const eq_rope *rope, eq_block_acts *a) {
    const eq_block_shared *s = a->shared;
    int64_t places = s->B * s->T, wide = c->NH * c->HD, narrow = c->NKV * c->HD;
    EQ_DO(be, gather, s->q, eq_ro(a->q), eq_ro(s->place), places, wide);
    EQ_DO(be, gather, s->k, eq_ro(a->k), eq_ro(s->place), places, narrow);
    EQ_DO(be, gather, s->v, eq_ro(a->v), eq_ro(s->place), places, narrow);
    turn(be, c, rope, w, s->B, s->T, EQ_NONE_MUT, s->q, s->k, 1);
    EQ_DO(be, attn_fwd, s->o, s->lse, eq_ro(s->q), eq_ro(s->k), eq_ro(s->v), EQ_NONE_VIEW,
          attn_shape(c, w, s->B, s->T));
    EQ_DO(be, gather, a->att, eq_ro(s->o), eq_ro(s->row), a->B * a->T, wide);
}

/* From q, k, v to att. */
static void attend(eq_backend *be, const eq_config *c, const eq_block_w *w, const eq_rope *rope,
                   eq_block_acts *a) {
    if (a->shared) {
        attend_shared(be, c, w, rope, a);
        return;
    }
    const eq_kv *kv = &a->kv;
    eq_mut k = a->k, v = a->v;
    turn(be, c, rope, w, a->B, a->T, kv->at, a->q, a->k, 1);
    if (kv->k.n) {
        EQ_DO(be, put_rows, kv->k, eq_ro(k), eq_ro(kv->at), a->T, c->NKV * c->HD);
        EQ_DO(be, put_rows, kv->v, eq_ro(v), eq_ro(kv->at), a->T, c->NKV * c->HD);
        k = kv->k, v = kv->v;
    }
    EQ_DO(be, attn_fwd, a->att, a->lse, eq_ro(a->q), eq_ro(k), eq_ro(v), eq_ro(kv->at),
          attn_shape(c, w, a->B, a->T));
}

/* Rows of the norm of queries or keys of one token, and how long they are. */
typedef struct {
    int64_t heads, D;
} qk_rows;
static qk_rows rows_of(const eq_config *c, int64_t heads) {
    return c->qk_norm == EQ_QK_ROW ? (qk_rows){1, heads * c->HD} : (qk_rows){heads, c->HD};
}

static void attention_fwd(eq_backend *be, const eq_config *c, const eq_block_w *w,
                          const eq_rope *rope, eq_block_acts *a, eq_view x) {
    int64_t N = a->B * a->T;
    float eps = (float)c->eps;
    enter_fwd(be, c, w, a, attention_of(a), x);
    linear(be, c, w, EQ_LIN_Q, a, c->qk_norm ? a->q_raw : a->q, a->h1, 0);
    linear(be, c, w, EQ_LIN_K, a, c->qk_norm ? a->k_raw : a->k, a->h1, 0);
    linear(be, c, w, EQ_LIN_V, a, a->v, a->h1, 0);
    if (c->qk_norm) {
        qk_rows q = rows_of(c, c->NH), k = rows_of(c, c->NKV);
        EQ_DO(be, rmsnorm_fwd, a->q, a->rstd_q, eq_ro(a->q_raw), eq_ro(w->norm[EQ_NORM_QH]),
              N * q.heads, q.D, eps);
        EQ_DO(be, rmsnorm_fwd, a->k, a->rstd_k, eq_ro(a->k_raw), eq_ro(w->norm[EQ_NORM_KH]),
              N * k.heads, k.D, eps);
    }
    attend(be, c, w, rope, a);
    leave_fwd(be, c, w, a, attention_of(a), EQ_LIN_O, a->att, a->x1, x);
}

static void attention_bwd(eq_backend *be, const eq_config *c, const eq_block_w *w,
                          const eq_rope *rope, eq_block_acts *a, eq_view x, eq_mut dy,
                          const eq_block_grads *g) {
    eq_mut dh = a->y;
    leave_bwd(be, c, w, a, attention_of(a), dy, g);
    linear_dx(be, c, w, EQ_LIN_O, a, a->datt, a->dyc, 0);
    linear_dw(be, c, EQ_LIN_O, a, a->dyc, a->att, g);
    EQ_DO(be, attn_bwd, a->dq, a->dk, a->dv, eq_ro(a->datt), eq_ro(a->q), eq_ro(a->k), eq_ro(a->v),
          eq_ro(a->att), eq_ro(a->lse), attn_shape(c, w, a->B, a->T));
    turn(be, c, rope, w, a->B, a->T, EQ_NONE_MUT, a->dq, a->dk, -1);
    if (c->qk_norm) {
        qk_rows q = rows_of(c, c->NH), k = rows_of(c, c->NKV);
        norm_bwd(be, a, g, EQ_NORM_QH, a->dq, eq_ro(a->dq), eq_ro(a->q_raw),
                 eq_ro(w->norm[EQ_NORM_QH]), eq_ro(a->rstd_q), q.heads, q.D, 0);
        norm_bwd(be, a, g, EQ_NORM_KH, a->dk, eq_ro(a->dk), eq_ro(a->k_raw),
                 eq_ro(w->norm[EQ_NORM_KH]), eq_ro(a->rstd_k), k.heads, k.D, 0);
    }
    if (g->norms || g->dx) {
        linear_dx(be, c, w, EQ_LIN_Q, a, dh, a->dq, 0);
        linear_dx(be, c, w, EQ_LIN_K, a, dh, a->dk, 1);
        linear_dx(be, c, w, EQ_LIN_V, a, dh, a->dv, 1);
        enter_bwd(be, c, w, a, attention_of(a), x, dh, g->dx ? dy : EQ_NONE_MUT, g);
    }
    linear_dw(be, c, EQ_LIN_Q, a, a->dq, a->h1, g);
    linear_dw(be, c, EQ_LIN_K, a, a->dk, a->h1, g);
    linear_dw(be, c, EQ_LIN_V, a, a->dv, a->h1, g);
}

/* ---- MLP
 * ----------------------------------------------------------------------------------------- */

static void mlp_fwd(eq_backend *be, const eq_config *c, const eq_block_w *w, eq_block_acts *a) {
    enter_fwd(be, c, w, a, mlp_of(a), eq_ro(a->x1));
    linear(be, c, w, EQ_LIN_GATE, a, a->g, a->h2, 0);
    linear(be, c, w, EQ_LIN_UP, a, a->u, a->h2, 0);
    EQ_DO(be, glu_fwd, a->a, eq_ro(a->g), eq_ro(a->u), c->act);
    leave_fwd(be, c, w, a, mlp_of(a), EQ_LIN_DOWN, a->a, a->y, eq_ro(a->x1));
}

/* dy is the gradient of y and becomes that of x1 */
static void mlp_bwd(eq_backend *be, const eq_config *c, const eq_block_w *w, eq_block_acts *a,
                    eq_mut dy, const eq_block_grads *g) {
    eq_mut dh = a->y;
    leave_bwd(be, c, w, a, mlp_of(a), dy, g);
    linear_dx(be, c, w, EQ_LIN_DOWN, a, a->da, a->dyc, 0);
    linear_dw(be, c, EQ_LIN_DOWN, a, a->dyc, a->a, g);
    EQ_DO(be, glu_bwd, a->g, a->u, eq_ro(a->da), eq_ro(a->g), eq_ro(a->u), c->act);
    linear_dx(be, c, w, EQ_LIN_GATE, a, dh, a->g, 0);
    linear_dx(be, c, w, EQ_LIN_UP, a, dh, a->u, 1);
    linear_dw(be, c, EQ_LIN_GATE, a, a->g, a->h2, g);
    linear_dw(be, c, EQ_LIN_UP, a, a->u, a->h2, g);
    enter_bwd(be, c, w, a, mlp_of(a), eq_ro(a->x1), dh, dy, g);
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

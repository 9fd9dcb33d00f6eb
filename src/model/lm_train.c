/* See lm_train.h. Gradients go window by window into totals, or into the part under way, as
 * window_sum.h says. Invariant: masters begin with the codes, steps and zero points that the model
 * was opened with, so the first pass sees the same weights with them as without. */
#include "model/lm_train.h"

#include "base/mem.h"
#include "base/par.h"
#include "model/schemes.h"
#include "quant/kgrid.h"
#include "quant/pack.h"

/* Groups of the linear that has most of them. */
static int64_t most_groups(const eq_lm *lm) {
    int64_t most = 0;
    for (int64_t k = 0; k < lm->cfg->L * EQ_LINS; k++) {
        eq_qshape q = eq_lm_qshape(lm, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
        most = eq_most(most, q.O * (q.I / q.G));
    }
    return most;
}

/* ---- steps ----------------------------------------------------------------------------------- */

void eq_lm_steps_bind(eq_lm *lm, eq_arena *a) {
    bool held = lm->opts.backward && eq_k_grid(lm->opts.schemes.all.grid);
    lm->q.used = eq_take(a, EQ_F32, held ? most_groups(lm) : 0);
}

eq_view eq_lm_steps(const eq_lm *lm, int64_t i, eq_lin l, int64_t row, int64_t rows) {
    eq_qshape q = eq_lm_qshape(lm, i, l);
    int64_t NG = q.I / q.G;
    eq_view s = eq_ro(eq_mut_at(eq_lm_groups(lm, lm->q.s, i, l), row * NG, rows * NG)), w = {0};
    if (!lm->q.used.n) return s;
    eq_mut used = eq_mut_at(lm->q.used, 0, s.n);
    if (lm->opts.masters)
        w = eq_ro(eq_mut_at(eq_lm_weights(lm, lm->q.W, i, l), row * q.I, rows * q.I));
    q.O = rows;
    EQ_DO(lm->be, fq_steps, used, s, w, q);
    return eq_ro(used);
}

/* ---- masters --------------------------------------------------------------------------------- */

eq_lm_counts eq_lm_count(const eq_config *c, const eq_schemes *t) {
    eq_lm_counts n = {eq_schemes_count(t, c).groups, eq_config_linear_params(c), 0};
    for (eq_norm k = 0; k < EQ_NORM_COUNT; k++) {
        eq_norm_spec s = eq_norm_of(c, k);
        n.norms += s.exists ? c->L * s.n : 0;
    }
    return n;
}

void eq_lm_masters_bind(eq_lm *lm, eq_arena *a, int64_t weights) {
    int64_t groups = most_groups(lm), words = 0;
    for (int64_t k = 0; k < lm->cfg->L * EQ_LINS; k++) {
        eq_qshape q = eq_lm_qshape(lm, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
        words = eq_most(words, q.O * eq_pack_words(q.I, q.bits));
    }
    lm->q.W = eq_take(a, EQ_F32, weights);
    lm->q.one_s = eq_take(a, EQ_F32, groups), lm->q.one_z = eq_take(a, EQ_F32, groups);
    lm->q.one_rows = eq_take(a, EQ_U32, words);
}

typedef struct {
    const eq_qlinear *q;
    float *w;
    uint8_t *code;
} start_job;

/* Away from the edges of a cell by this share of a step, which no rounding of fp32 bridges. */
static const float EDGE = 0.5f - 1.0f / 64;

static void start_row(void *ctx, int64_t o, int thread) {
    (void)thread;
    const start_job *j = ctx;
    const eq_qlinear *q = j->q;
    float *w = j->w + o * q->I, top = eq_q_max(q->bits);
    uint8_t *code = j->code + o * q->I;
    int64_t NG = q->I / q->G;
    eq_unpack_row(code, q->rows + o * eq_pack_words(q->I, q->bits), q->I, q->bits);
    for (int64_t i = 0; i < q->I; i++) {
        float s = q->s[o * NG + i / q->G], c = (float)code[i],
              at = c - eq_z_used(q->z[o * NG + i / q->G], q->bits, q->grid);
        if (c > 0 && w[i] < (at - EDGE) * s) w[i] = (at - EDGE) * s;
        if (c < top && w[i] > (at + EDGE) * s) w[i] = (at + EDGE) * s;
    }
}

eq_status eq_lm_masters_start(eq_lm *lm, int64_t i, eq_lin l, const eq_qlinear *q, eq_err *err) {
    eq_mut W = eq_lm_weights(lm, lm->q.W, i, l);
    eq_backend *be = lm->be;
    start_job j = {q, eq_calloc(W.n, sizeof *j.w), eq_calloc(W.n, 1)};
    eq_status st = j.w && j.code ? EQ_OK : eq_nomem(err, "masters of a linear", 5 * W.n);
    if (st == EQ_OK) st = eq_weights_check_rows(lm->opts.teacher, i, l, 0, q->O, err);
    if (st == EQ_OK) {
        eq_weights_put_rows(lm->opts.teacher, i, l, 0, q->O, be, W);
        be->download(be, j.w, EQ_F32, eq_ro(W));
        st = be->sync(be, err);
    }
    if (st == EQ_OK) {
        eq_par_for(q->O, start_row, &j);
        be->upload(be, W, j.w, EQ_F32);
        st = be->sync(be, err);
    }
    eq_free(j.w), eq_free(j.code);
    return st;
}

eq_status eq_lm_codes(eq_lm *lm, int64_t i, eq_lin l, float *s, float *z, uint32_t *rows,
                      eq_err *err) {
    eq_backend *be = lm->be;
    eq_qshape q = eq_lm_qshape(lm, i, l);
    int64_t groups = q.O * (q.I / q.G);
    eq_mut ms = eq_mut_at(lm->q.one_s, 0, groups), mz = eq_mut_at(lm->q.one_z, 0, groups);
    eq_mut mr = eq_mut_at(lm->q.one_rows, 0, q.O * eq_pack_words(q.I, q.bits));
    EQ_DO(be, cast, ms, eq_lm_steps(lm, i, l, 0, q.O));
    EQ_DO(be, cast, mz, eq_ro(eq_lm_groups(lm, lm->q.z, i, l)));
    EQ_DO(be, fq_pack, mr, ms, mz, eq_ro(eq_lm_weights(lm, lm->q.W, i, l)), q);
    be->download(be, s, EQ_F32, eq_ro(ms));
    be->download(be, z, EQ_F32, eq_ro(mz));
    be->download(be, rows, EQ_U32, eq_ro(mr));
    return be->sync(be, err);
}

/* ---- the way back ---------------------------------------------------------------------------- */

typedef struct {
    eq_lm *lm;
    const eq_lm_grads *g;
} grads_job;

/* A gradient of some elements: its total, and what a window's is added to. */
typedef struct {
    eq_mut total, to;
} sum;

static sum sum_of(const eq_lm_grads *g, eq_mut total, eq_mut part) {
    bool parts = total.n && eq_chain_windows(g->batch) < g->batch;
    return (sum){total, parts ? part : total};
}
/* What belongs to some rows of linear l of the current block. */
static eq_mut groups_of_rows(const eq_lm *lm, eq_mut all, eq_lin l, int64_t row, int64_t rows) {
    eq_qshape q = eq_lm_qshape(lm, lm->block, l);
    eq_mut m = eq_lm_groups(lm, all, lm->block, l);
    return m.n ? eq_mut_at(m, row * (q.I / q.G), rows * (q.I / q.G)) : m;
}
static eq_mut weights_of_rows(const eq_lm *lm, eq_mut all, eq_lin l, int64_t row, int64_t rows) {
    int64_t I = eq_lin_of(lm->cfg, l).I;
    if (!all.n) return all;
    return eq_mut_at(eq_lm_weights(lm, all, lm->block, l), row * I, rows * I);
}
static void add_to(eq_backend *be, sum s, eq_mut gradient) {
    if (s.to.n) EQ_DO(be, add, s.to, eq_ro(s.to), eq_ro(gradient));
}
/* Behind a window that ends its part, the part goes to the total. */
static void end_window(const grads_job *j, int64_t window, sum s) {
    const eq_lm_grads *g = j->g;
    eq_backend *be = j->lm->be;
    if (s.to.p == s.total.p || !eq_chain_ends(g->done + window, g->batch)) return;
    EQ_DO(be, add, s.total, eq_ro(s.total), eq_ro(s.to));
    EQ_DO(be, fill, s.to, 0.0f);
}

static void to_linears(void *ctx, eq_lin l, int64_t row, int64_t rows, int64_t window, eq_mut dw) {
    const grads_job *j = ctx;
    const eq_lm_grads *g = j->g;
    eq_lm *lm = j->lm;
    eq_backend *be = lm->be;
    eq_qshape q = eq_lm_qshape(lm, lm->block, l);
    int64_t words = eq_pack_words(q.I, q.bits), n = rows * (q.I / q.G);
    eq_view s = eq_lm_steps(lm, lm->block, l, row, rows),
            z = eq_ro(groups_of_rows(lm, lm->q.z, l, row, rows));
    sum ds = sum_of(g, groups_of_rows(lm, g->ds, l, row, rows),
                    groups_of_rows(lm, g->part_ds, l, row, rows));
    sum dz = sum_of(g, groups_of_rows(lm, g->dz, l, row, rows),
                    groups_of_rows(lm, g->part_dz, l, row, rows));
    sum dW = sum_of(g, weights_of_rows(lm, g->dW, l, row, rows),
                    weights_of_rows(lm, g->part_dW, l, row, rows));
    q.O = rows;
    if (lm->opts.masters) {
        eq_mut one_s = ds.to.n ? eq_mut_at(lm->q.one_s, 0, n) : EQ_NONE_MUT;
        eq_mut one_z = dz.to.n ? eq_mut_at(lm->q.one_z, 0, n) : EQ_NONE_MUT;
        EQ_DO(be, fq_bwd, dw, one_s, one_z, eq_ro(dw),
              eq_ro(weights_of_rows(lm, lm->q.W, l, row, rows)), s, z, q);
        add_to(be, ds, one_s), add_to(be, dz, one_z), add_to(be, dW, dw);
    } else {
        eq_mut codes = eq_mut_at(eq_lm_words(lm, lm->block, l), row * words, rows * words);
        EQ_DO(be, dequant_bwd, ds.to, dz.to, eq_ro(dw), eq_ro(codes), s, z, q);
    }
    end_window(j, window, ds), end_window(j, window, dz), end_window(j, window, dW);
}

static void to_norms(void *ctx, eq_norm k, int64_t window, eq_mut dw) {
    const grads_job *j = ctx;
    eq_lm *lm = j->lm;
    eq_mut part = j->g->part_dnorm;
    sum d = sum_of(j->g, eq_lm_norm_of(lm, j->g->dnorm, lm->block, k),
                   part.n ? eq_lm_norm_of(lm, part, lm->block, k) : part);
    add_to(lm->be, d, dw);
    end_window(j, window, d);
}

eq_status eq_lm_block_bwd(eq_lm *lm, int64_t i, const eq_lm_grads *g, eq_err *err) {
    eq_backend *be = lm->be;
    grads_job job = {.lm = lm, .g = g};
    EQ_TRY(eq_lm_enter(lm, i, err));
    /* The last block's activations are still those of the forward pass. */
    if (lm->acts_of != i) eq_block_fwd(be, lm->cfg, &lm->w, &lm->rope, &lm->acts, eq_ro(lm->x[i]));
    lm->acts_of = -1;
    eq_block_grads to = {.sink = to_linears,
                         .norm_sink = to_norms,
                         .ctx = &job,
                         .windows = true,
                         .norms = g->dnorm.n > 0,
                         .dx = i > 0};
    eq_block_bwd(be, lm->cfg, &lm->w, &lm->rope, &lm->acts, eq_ro(lm->x[i]), lm->dy, &to);
    return EQ_OK;
}

eq_status eq_lm_backward(eq_lm *lm, eq_lm_grads *g, eq_err *err) {
    for (int64_t i = lm->cfg->L - 1; i >= 0; i--) EQ_TRY(eq_lm_block_bwd(lm, i, g, err));
    g->done += lm->acts.B;
    return lm->be->sync(lm->be, err);
}

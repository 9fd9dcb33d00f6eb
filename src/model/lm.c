/* See lm.h. Invariant: between blocks the residual is rounded to the stream type, in the forward
 * pass and in the recomputation alike, so that both see the same numbers. */
#include "model/lm.h"

#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/lm_resident.h"
#include "quant/number.h"
#include "quant/pack.h"

/* KEEP_BYTES: of a block whose weights are all kept at once at most, where the backend wants that.
 */
enum { EMBED_ROWS = 64, KEEP_BYTES = 1 << 30 };

static void make_weight(void *ctx, eq_lin l, eq_mut w);

/* ---- memory: one bind function measures, allocates and plans --------------------------------- */

/* Fills the table of places; *groups, *words: of the model. */
static void quant_layout(eq_lm_quant *q, const eq_config *c, const eq_schemes *t, int64_t *groups,
                         int64_t *words) {
    *groups = *words = 0;
    for (int64_t k = 0; k < c->L * EQ_LINS; k++) {
        eq_lin_spec s = eq_lin_of(c, (eq_lin)(k % EQ_LINS));
        eq_scheme of = eq_scheme_at(t, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
        q->at[k] = (eq_lm_place){*groups, *words};
        *groups += s.O * (s.I / eq_group(of.group, s.I));
        *words += s.O * eq_pack_words(s.I, of.bits);
    }
    q->norms = 0;
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        eq_norm_spec s = eq_norm_of(c, n);
        q->norm_at[n] = q->norms;
        q->norms += s.exists ? s.n : 0;
    }
}

/* Rows of logits at once: some windows, or a part of one. */
static int64_t logit_rows(const eq_config *c, const eq_hints *hints, int64_t B, int64_t T) {
    int64_t rows = (hints ? hints : &eq_host_hints)->logits_bytes / (4 * c->V) / 16 * 16;
    if (rows < 16) rows = 16;
    if (rows < T) return rows;
    return rows / T < B ? rows / T * T : B * T;
}

/* The same within a model that was opened for larger windows: more whole ones of narrow windows may
 * go into the same room, but not beyond it. */
static int64_t step_rows(const eq_lm *lm, const eq_hints *hints, int64_t B, int64_t T) {
    int64_t rows = logit_rows(lm->cfg, hints, B, T);
    int64_t room = logit_rows(lm->cfg, hints, lm->opts.B, lm->opts.T);
    return rows <= room ? rows : room / T * T;
}

static bool keeps_weights(const eq_lm *lm, const eq_hints *hints) {
    const eq_config *c = lm->cfg;
    int64_t block = eq_config_linear_params(c) / c->L * eq_dtype_size(lm->opts.ct);
    return hints && hints->keep_weights && block <= KEEP_BYTES;
}

static void bind_model(eq_lm *lm, eq_arena *a) {
    const eq_config *c = lm->cfg;
    eq_lm_quant *q = &lm->q;
    lm->norm = eq_take(a, EQ_F32, c->D);
    lm->norm_bias = c->norm_center ? eq_take(a, EQ_F32, c->D) : EQ_NONE_MUT;
    const eq_lm_opts *o = &lm->opts;
    eq_rope_bind(&lm->rope, a, c, o->context ? o->context : o->places ? o->longest : o->T);
    if (lm->opts.context) {
        eq_resident_bind(lm, a);
        return;
    }
    if (eq_lm_quantized(lm)) {
        int64_t groups, all_words;
        quant_layout(q, c, &lm->opts.schemes, &groups, &all_words);
        q->rows = eq_take(a, EQ_U32, all_words);
        q->s = eq_take(a, EQ_F32, groups);
        q->z = eq_take(a, EQ_F32, groups);
        q->norm = eq_take(a, EQ_F32, c->L * q->norms);
    }
    lm->head = eq_take(a, lm->opts.ct, c->V * c->D);
    eq_block_w_bind(&lm->w, a, c, lm->opts.ct, keeps_weights(lm, a->hints) ? NULL : make_weight,
                    lm);
    lm->kept = -1;
}

static void bind_step(eq_lm *lm, eq_arena *a, int64_t B, int64_t T) {
    const eq_config *c = lm->cfg;
    const eq_lm_opts *o = &lm->opts;
    int64_t N = B * T;
    a->used = 0;
    if (o->places) eq_block_shared_bind(&lm->shared, a, c, o->ct, 1, o->places, o->B * o->T);
    lm->chunk = step_rows(lm, a->hints, B, T);
    for (int64_t i = 0; i <= c->L; i++)
        lm->x[i] = o->backward || i < 2 ? eq_take(a, lm->st, N * c->D) : lm->x[i % 2];
    lm->hn = eq_take(a, o->ct, N * c->D);
    lm->xc = c->norm_center ? eq_take(a, EQ_F32, N * c->D) : lm->x[c->L];
    lm->rstd = eq_take(a, EQ_F32, N);
    lm->logits = eq_take(a, EQ_F32, lm->chunk * c->V);
    lm->targets = eq_take(a, EQ_I32, N);
    lm->losses = eq_take(a, EQ_F32, N);
    lm->picked = o->backward ? EQ_NONE_MUT : eq_take(a, EQ_I32, N);
    if (o->backward) {
        lm->dlogits = o->ct == EQ_F32 ? lm->logits : eq_take(a, o->ct, lm->chunk * c->V);
        lm->dhn = eq_take(a, EQ_F32, lm->chunk * c->D);
        lm->dy = eq_take(a, EQ_F32, N * c->D);
    }
    eq_block_acts_bind(&lm->acts, a, c, o->ct, B, T, o->backward);
}

static eq_status lm_init(eq_lm *lm, const eq_config *c, const eq_lm_opts *o, eq_err *err) {
    lm->cfg = c, lm->opts = *o, lm->st = o->ct;
    lm->x = eq_calloc(c->L + 1, sizeof *lm->x);
    if (eq_lm_quantized(lm)) lm->q.at = eq_calloc(c->L * EQ_LINS, sizeof *lm->q.at);
    if (lm->x && o->context) lm->res.layers = eq_calloc(c->L, sizeof *lm->res.layers);
    bool ok = lm->x && (!o->context || lm->res.layers) && (!eq_lm_quantized(lm) || lm->q.at);
    if (ok) return EQ_OK;
    return eq_nomem(err, "a model", c->L * (int64_t)sizeof *lm->res.layers);
}

int64_t eq_lm_bytes(const eq_config *c, const eq_lm_opts *o) {
    eq_lm lm = {0};
    eq_arena model = {.hints = o->hints}, step = model;
    bool ok = lm_init(&lm, c, o, NULL) == EQ_OK;
    if (ok) bind_model(&lm, &model), bind_step(&lm, &step, o->B, o->T);
    eq_free(lm.x), eq_free(lm.q.at), eq_free(lm.res.layers);
    return ok ? model.used + step.used : -1;
}

/* ---- open ------------------------------------------------------------------------------------ */

eq_qshape eq_lm_qshape(const eq_lm *lm, int64_t i, eq_lin l) {
    eq_lin_spec s = eq_lin_of(lm->cfg, l);
    eq_scheme q = eq_scheme_at(&lm->opts.schemes, i, l);
    return (eq_qshape){s.O, s.I, eq_group(q.group, s.I), q.bits, q.grid};
}
static eq_lm_place place_of(const eq_lm *lm, int64_t i, eq_lin l) {
    return lm->q.at[i * EQ_LINS + (int64_t)l];
}
eq_mut eq_lm_groups(const eq_lm *lm, eq_mut all, int64_t i, eq_lin l) {
    if (!all.n) return EQ_NONE_MUT;
    eq_qshape s = eq_lm_qshape(lm, i, l);
    return eq_mut_at(all, place_of(lm, i, l).group, s.O * (s.I / s.G));
}
static eq_mut words(const eq_lm *lm, int64_t i, eq_lin l) {
    eq_qshape s = eq_lm_qshape(lm, i, l);
    return eq_mut_at(lm->q.rows, place_of(lm, i, l).word, s.O * eq_pack_words(s.I, s.bits));
}
static eq_mut norm_of(const eq_lm *lm, int64_t i, eq_norm n) {
    eq_norm_spec s = eq_norm_of(lm->cfg, n);
    return eq_mut_at(lm->q.norm, i * lm->q.norms + lm->q.norm_at[n], s.n);
}

/* s and z on their way to the backend, as GPTQ tensors hold them. */
static void round_as_written(float *s, float *z, int64_t n, const eq_qlinear *q) {
    for (int64_t j = 0; j < n; j++) {
        s[j] = eq_f16_to_f32(eq_f32_to_f16(s[j]));
        z[j] = eq_z_used(z[j], q->bits, q->grid);
    }
}

static eq_status upload_qblock(eq_lm *lm, int64_t i, const eq_qblock *b, eq_err *err) {
    eq_backend *be = lm->be;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &b->lin[l];
        eq_mut s = eq_lm_groups(lm, lm->q.s, i, l), z = eq_lm_groups(lm, lm->q.z, i, l);
        float *host = eq_calloc(2 * s.n, sizeof *host);
        if (!host) return eq_nomem(err, "steps and zero points", 8 * s.n);
        memcpy(host, q->s, (size_t)s.n * sizeof *host);
        memcpy(host + s.n, q->z, (size_t)s.n * sizeof *host);
        if (lm->opts.as_written) round_as_written(host, host + s.n, s.n, q);
        be->upload(be, words(lm, i, l), q->rows, EQ_U32);
        be->upload(be, s, host, EQ_F32);
        be->upload(be, z, host + s.n, EQ_F32);
        eq_free(host);
    }
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++)
        if (b->norm[n]) be->upload(be, norm_of(lm, i, n), b->norm[n], EQ_F32);
    return EQ_OK;
}

/* Logits are scaled by what their rows are multiplied with. */
static void put_final_norm(const eq_lm *lm) {
    eq_backend *be = lm->be;
    const eq_weights *src = lm->src;
    float scale = (float)lm->cfg->logit_scale;
    be->upload(be, lm->norm, src->norm->data, src->norm->dt);
    eq_norm_weight(be, lm->cfg, lm->norm, eq_ro(lm->norm));
    if (scale != 1) EQ_DO(be, affine, lm->norm, eq_ro(lm->norm), scale, 0.0f);
    if (!lm->norm_bias.n) return;
    be->upload(be, lm->norm_bias, src->norm_bias->data, src->norm_bias->dt);
    if (scale != 1) EQ_DO(be, affine, lm->norm_bias, eq_ro(lm->norm_bias), scale, 0.0f);
}

static eq_status open_in(eq_lm *lm, eq_err *err) {
    eq_backend *be = lm->be;
    bind_model(lm, &lm->model);
    EQ_TRY(eq_arena_alloc(&lm->model, be, "the model", err));
    bind_model(lm, &lm->model);
    bind_step(lm, &lm->step, lm->opts.B, lm->opts.T);
    EQ_TRY(eq_arena_alloc(&lm->step, be, "the activations", err));
    bind_step(lm, &lm->step, lm->opts.B, lm->opts.T);
    EQ_TRY(eq_tensor_check_finite(lm->src->embed, err));
    EQ_TRY(eq_tensor_check_finite(lm->src->head, err));
    EQ_TRY(eq_tensor_check_finite(lm->src->norm, err));
    if (lm->src->norm_bias) EQ_TRY(eq_tensor_check_finite(lm->src->norm_bias, err));
    put_final_norm(lm);
    EQ_TRY(eq_rope_fill(&lm->rope, be, lm->cfg, lm->rope.T, err));
    if (lm->opts.context) return eq_resident_fill(lm, err);
    be->upload(be, lm->head, lm->src->head->data, lm->src->head->dt);
    for (int64_t i = 0; eq_lm_quantized(lm) && i < lm->cfg->L; i++) {
        const eq_qblock *b;
        EQ_TRY(lm->opts.source(lm->opts.ctx, i, &b, err));
        EQ_TRY(upload_qblock(lm, i, b, err));
    }
    return be->sync(be, err);
}

eq_status eq_lm_open(eq_lm **out, eq_backend *be, const eq_weights *src, const eq_lm_opts *o,
                     eq_err *err) {
    *out = NULL;
    const eq_config *c = &src->cfg;
    eq_lm *lm = eq_calloc(1, sizeof *lm);
    int64_t host;
    if (!lm || !eq_mul(o->B * o->T, c->D * eq_dtype_size(o->ct), &host)) {
        eq_free(lm);
        return eq_nomem(err, "the model", sizeof *lm);
    }
    lm->be = be, lm->src = src;
    lm->model.hints = lm->step.hints = be->hints;
    eq_status st = lm_init(lm, c, o, err);
    if (st == EQ_OK && !(lm->host = eq_calloc(host, 1))) st = eq_nomem(err, "embedded rows", host);
    if (st == EQ_OK) st = open_in(lm, err);
    if (st != EQ_OK) {
        eq_lm_close(lm);
        return st;
    }
    *out = lm;
    return EQ_OK;
}

void eq_lm_close(eq_lm *lm) {
    if (!lm) return;
    eq_arena_free(&lm->model), eq_arena_free(&lm->step);
    eq_free(lm->x), eq_free(lm->q.at), eq_free(lm->host), eq_free(lm->res.layers), eq_free(lm);
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* Linear l of the current block, for eq_block_w. */
static void make_weight(void *ctx, eq_lin l, eq_mut w) {
    const eq_lm *lm = ctx;
    int64_t i = lm->block;
    if (!eq_lm_quantized(lm)) {
        eq_weights_put_rows(lm->src, i, l, 0, eq_lin_of(lm->cfg, l).O, lm->be, w);
    } else {
        EQ_DO(lm->be, dequant, w, eq_ro(words(lm, i, l)), eq_ro(eq_lm_groups(lm, lm->q.s, i, l)),
              eq_ro(eq_lm_groups(lm, lm->q.z, i, l)), eq_lm_qshape(lm, i, l));
    }
}

/* Makes block i the current one. */
static eq_status enter_block(eq_lm *lm, int64_t i, eq_err *err) {
    eq_backend *be = lm->be;
    if (lm->opts.context) {
        eq_resident_enter(lm, i);
        return EQ_OK;
    }
    for (eq_lin l = 0; !eq_lm_quantized(lm) && i >= lm->checked && l < EQ_LINS; l++)
        EQ_TRY(eq_weights_check_rows(lm->src, i, l, 0, eq_lin_of(lm->cfg, l).O, err));
    if (i >= lm->checked) lm->checked = i + 1;
    lm->block = i;
    for (eq_lin l = 0; !lm->w.make && lm->kept != i && l < EQ_LINS; l++)
        make_weight(lm, l, lm->w.w[l]);
    lm->kept = i;
    eq_block_small_upload(&lm->w, be, lm->src, i);
    for (eq_norm n = 0; eq_lm_quantized(lm) && n < EQ_NORM_COUNT; n++)
        if (lm->w.norm[n].n) eq_norm_weight(be, lm->cfg, lm->w.norm[n], eq_ro(norm_of(lm, i, n)));
    return EQ_OK;
}

typedef struct {
    const eq_lm *lm;
    const int32_t *ids;
    int64_t N;
} embed_job;
static void embed_rows(void *ctx, int64_t item, int thread) {
    (void)thread;
    const embed_job *j = ctx;
    const eq_tensor *t = j->lm->src->embed;
    int64_t D = j->lm->cfg->D, out = eq_dtype_size(j->lm->st);
    int64_t from = item * EMBED_ROWS, to = from + EMBED_ROWS < j->N ? from + EMBED_ROWS : j->N;
    for (int64_t r = from; r < to; r++)
        eq_embed_row((char *)j->lm->host + r * D * out, j->lm->st, t, j->ids[r], D,
                     j->lm->cfg->embed_scale);
}

void eq_lm_embed(eq_lm *lm, const int32_t *ids, int64_t B, int64_t T) {
    embed_job job = {lm, ids, B * T};
    bind_step(lm, &lm->step, B, T);
    eq_par_for((job.N + EMBED_ROWS - 1) / EMBED_ROWS, embed_rows, &job);
    lm->be->upload(lm->be, lm->x[0], lm->host, lm->st);
    lm->acts_of = lm->kept = -1; /* s and z may have moved since */
}

eq_status eq_lm_block_fwd(eq_lm *lm, int64_t i, eq_err *err) {
    eq_backend *be = lm->be;
    EQ_TRY(enter_block(lm, i, err));
    eq_block_fwd(be, lm->cfg, &lm->w, &lm->rope, &lm->acts, eq_ro(lm->x[i]));
    EQ_DO(be, cast, lm->x[i + 1], eq_ro(lm->acts.y));
    lm->acts_of = i;
    return EQ_OK;
}

eq_status eq_lm_forward(eq_lm *lm, const int32_t *ids, int64_t B, int64_t T, eq_err *err) {
    eq_lm_embed(lm, ids, B, T);
    for (int64_t i = 0; i < lm->cfg->L; i++) EQ_TRY(eq_lm_block_fwd(lm, i, err));
    return EQ_OK;
}

/* Row r of window b predicts the token behind it where that is learned; the last row of a window
 * predicts nothing. */
static void next_tokens(int32_t *targets, const int32_t *ids, const uint8_t *learn, int64_t B,
                        int64_t T) {
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0, r = b * T; t < T; t++, r++)
            targets[r] = t + 1 < T && (!learn || learn[r + 1]) ? ids[r + 1] : -1;
}

void eq_lm_head(const eq_lm *lm, eq_mut logits, eq_view hn, int64_t n, int64_t T) {
    const eq_packed *p = &lm->res.head;
    if (p->q.n)
        EQ_DO(lm->be, matvec_q, logits, hn, eq_ro(p->q), eq_ro(p->s), eq_ro(p->z), n, p->shape, 1,
              0);
    else
        EQ_DO(lm->be, matmul_nt, logits, hn, eq_ro(lm->head), n, lm->cfg->V, lm->cfg->D, T, 0);
    float cap = (float)lm->cfg->logit_cap;
    if (cap > 0) EQ_DO(lm->be, softcap, logits, eq_ro(logits), cap);
}

/* Rows [r, r + n) through the head: losses, and the gradient of the normed rows added to lm->dy. */
static void head_chunk(eq_lm *lm, int64_t r, int64_t n, int64_t T, float scale) {
    eq_backend *be = lm->be;
    int64_t D = lm->cfg->D, V = lm->cfg->V;
    float cap = (float)lm->cfg->logit_cap;
    if (T > n) T = n;
    eq_view hn = eq_ro(eq_mut_at(lm->hn, r * D, n * D));
    eq_mut logits = eq_mut_at(lm->logits, 0, n * V);
    eq_mut dlogits = scale > 0 ? eq_mut_at(lm->dlogits, 0, n * V) : EQ_NONE_MUT;
    eq_lm_head(lm, logits, hn, n, T);
    EQ_DO(be, cross_entropy, eq_mut_at(lm->losses, r, n), dlogits, eq_ro(logits),
          eq_ro(eq_mut_at(lm->targets, r, n)), n, V, scale, cap);
    if (scale <= 0) return;
    eq_mut dhn = eq_mut_at(lm->dhn, 0, n * D);
    EQ_DO(be, matmul_nn, dhn, eq_ro(dlogits), eq_ro(lm->head), n, D, V, T, 0);
    eq_mut dy = eq_mut_at(lm->dy, r * D, n * D);
    EQ_DO(be, rmsnorm_bwd, dy, EQ_NONE_MUT, eq_ro(dhn), eq_ro(eq_mut_at(lm->xc, r * D, n * D)),
          eq_ro(lm->norm), eq_ro(eq_mut_at(lm->rstd, r, n)), n, D, n, 0);
    if (lm->cfg->norm_center) EQ_DO(be, center, dy, eq_ro(dy), n, D);
}

/* All windows through the head. A chunk never holds the end of one window and the beginning of the
 * next, so that a window's rows always meet in the same products. */
static void head(eq_lm *lm, int64_t B, int64_t T, float scale) {
    int64_t span = lm->chunk < T ? T : B * T;
    for (int64_t from = 0; from < B * T; from += span)
        for (int64_t r = 0, n; r < span; r += n) {
            n = span - r < lm->chunk ? span - r : lm->chunk;
            head_chunk(lm, from + r, n, T, scale);
        }
}

void eq_lm_norm(eq_lm *lm, eq_view x, int64_t rows) {
    const eq_config *c = lm->cfg;
    eq_mut hn = eq_mut_at(lm->hn, 0, rows * c->D), rstd = eq_mut_at(lm->rstd, 0, rows);
    if (c->norm_center) {
        eq_mut xc = eq_mut_at(lm->xc, 0, rows * c->D);
        EQ_DO(lm->be, center, xc, x, rows, c->D);
        x = eq_ro(xc);
    }
    EQ_DO(lm->be, rmsnorm_fwd, hn, rstd, x, eq_ro(lm->norm), rows, c->D, (float)c->eps);
    if (c->norm_center) EQ_DO(lm->be, bias_add, hn, eq_ro(lm->norm_bias), rows, c->D);
}

eq_status eq_lm_loss_of(eq_lm *lm, const int32_t *ids, const uint8_t *learn, int64_t B, int64_t T,
                        float scale, double *nll, eq_err *err) {
    eq_backend *be = lm->be;
    int64_t N = B * T;
    float *host = eq_calloc(N, sizeof *host);
    if (!host) return eq_nomem(err, "losses", 4 * N);
    next_tokens((int32_t *)host, ids, learn, B, T);
    be->upload(be, lm->targets, host, EQ_I32);
    eq_lm_norm(lm, eq_ro(lm->x[lm->cfg->L]), N);
    head(lm, B, T, scale);
    be->download(be, host, EQ_F32, eq_ro(lm->losses));
    eq_status st = be->sync(be, err);
    for (int64_t b = 0; b < B; b++) {
        double sum = 0;
        for (int64_t t = 0; t + 1 < T; t++) sum += host[b * T + t];
        nll[b] = sum;
    }
    eq_free(host);
    return st;
}

eq_status eq_lm_loss(eq_lm *lm, const int32_t *ids, int64_t B, int64_t T, float scale, double *nll,
                     eq_err *err) {
    EQ_TRY(eq_lm_loss_of(lm, ids, NULL, B, T, scale, nll, err));
    for (int64_t b = 0; b < B; b++) nll[b] /= (double)(T - 1);
    return EQ_OK;
}

typedef struct {
    eq_lm *lm;
    const eq_lm_grads *g;
} grads_job;
/* What belongs to some rows of linear l of the current block. */
static eq_mut groups_of_rows(const eq_lm *lm, eq_mut all, eq_lin l, int64_t row, int64_t rows) {
    eq_qshape q = eq_lm_qshape(lm, lm->block, l);
    eq_mut m = eq_lm_groups(lm, all, lm->block, l);
    return m.n ? eq_mut_at(m, row * (q.I / q.G), rows * (q.I / q.G)) : m;
}
/* A part that is complete goes to the total. */
static void end_part(eq_backend *be, eq_mut total, eq_mut part) {
    if (!total.n) return;
    EQ_DO(be, add, total, eq_ro(total), eq_ro(part));
    EQ_DO(be, fill, part, 0.0f);
}
static void to_steps(void *ctx, eq_lin l, int64_t row, int64_t rows, int64_t window, eq_mut dw) {
    const grads_job *j = ctx;
    const eq_lm_grads *g = j->g;
    eq_lm *lm = j->lm;
    eq_qshape q = eq_lm_qshape(lm, lm->block, l);
    int64_t row_words = eq_pack_words(q.I, q.bits);
    bool parts = eq_chain_windows(g->batch) < g->batch;
    eq_mut ds = groups_of_rows(lm, g->ds, l, row, rows),
           dz = groups_of_rows(lm, g->dz, l, row, rows);
    eq_mut part_ds = parts && ds.n ? groups_of_rows(lm, g->part_ds, l, row, rows) : ds;
    eq_mut part_dz = parts && dz.n ? groups_of_rows(lm, g->part_dz, l, row, rows) : dz;
    q.O = rows;
    EQ_DO(lm->be, dequant_bwd, part_ds, part_dz, eq_ro(dw),
          eq_ro(eq_mut_at(words(lm, lm->block, l), row * row_words, rows * row_words)),
          eq_ro(groups_of_rows(lm, lm->q.s, l, row, rows)),
          eq_ro(groups_of_rows(lm, lm->q.z, l, row, rows)), q);
    if (parts && eq_chain_ends(g->done + window, g->batch))
        end_part(lm->be, ds, part_ds), end_part(lm->be, dz, part_dz);
}

eq_status eq_lm_block_bwd(eq_lm *lm, int64_t i, const eq_lm_grads *g, eq_err *err) {
    eq_backend *be = lm->be;
    grads_job job = {.lm = lm, .g = g};
    EQ_TRY(enter_block(lm, i, err));
    /* The last block's activations are still those of the forward pass. */
    if (lm->acts_of != i) eq_block_fwd(be, lm->cfg, &lm->w, &lm->rope, &lm->acts, eq_ro(lm->x[i]));
    lm->acts_of = -1;
    eq_block_grads to = {.sink = to_steps, .ctx = &job, .windows = true, .dx = i > 0};
    eq_block_bwd(be, lm->cfg, &lm->w, &lm->rope, &lm->acts, eq_ro(lm->x[i]), lm->dy, &to);
    return EQ_OK;
}

eq_status eq_lm_backward(eq_lm *lm, eq_lm_grads *g, eq_err *err) {
    for (int64_t i = lm->cfg->L - 1; i >= 0; i--) EQ_TRY(eq_lm_block_bwd(lm, i, g, err));
    g->done += lm->acts.B;
    return lm->be->sync(lm->be, err);
}

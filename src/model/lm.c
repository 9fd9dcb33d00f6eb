/* See lm.h. Invariant: between blocks the residual is rounded to the stream type, in the forward
 * pass and in the recomputation alike, so that both see the same numbers. */
#include "model/lm.h"

#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/lm_resident.h"
#include "model/lm_train.h"
#include "quant/number.h"
#include "quant/pack.h"

/* KEEP_BYTES: of a block whose weights are all kept at once at most, where the backend wants that.
 */
enum { EMBED_ROWS = 64, KEEP_BYTES = 1 << 30 };

static void make_weight(void *ctx, eq_lin l, eq_mut w);

/* ---- memory: one bind function measures, allocates and plans --------------------------------- */

/* Fills the table of places; *end: behind the last linear. */
static void quant_layout(eq_lm_quant *q, const eq_config *c, const eq_schemes *t,
                         eq_lm_place *end) {
    int64_t begin = 0;
    *end = (eq_lm_place){0};
    q->most = 0;
    for (int64_t k = 0; k < c->L * EQ_LINS; k++) {
        eq_lin_spec s = eq_lin_of(c, (eq_lin)(k % EQ_LINS));
        eq_scheme of = eq_scheme_at(t, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
        if (k % EQ_LINS == 0) begin = end->group;
        q->at[k] = *end;
        end->group += s.O * (s.I / eq_group(of.group, s.I));
        end->word += s.O * eq_pack_words(s.I, of.bits);
        end->weight += s.O * s.I;
        if (end->group - begin > q->most) q->most = end->group - begin;
    }
    q->groups = end->group;
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
        eq_lm_place end;
        quant_layout(q, c, &lm->opts.schemes, &end);
        q->rows = eq_take(a, EQ_U32, lm->opts.masters ? 0 : end.word);
        q->s = eq_take(a, EQ_F32, end.group);
        q->z = eq_take(a, EQ_F32, lm->opts.z_on_host ? q->most : end.group);
        q->norm = eq_take(a, EQ_F32, c->L * q->norms);
        eq_lm_steps_bind(lm, a);
        if (lm->opts.masters) eq_lm_masters_bind(lm, a, end.weight);
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
    lm->teacher_hn = o->taught ? eq_take(a, o->ct, N * c->D) : EQ_NONE_MUT;
    lm->teacher_logits = o->taught ? eq_take(a, EQ_F32, lm->chunk * c->V) : EQ_NONE_MUT;
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
eq_mut eq_lm_weights(const eq_lm *lm, eq_mut all, int64_t i, eq_lin l) {
    eq_lin_spec s = eq_lin_of(lm->cfg, l);
    return eq_mut_at(all, place_of(lm, i, l).weight, s.O * s.I);
}
eq_mut eq_lm_groups(const eq_lm *lm, eq_mut all, int64_t i, eq_lin l) {
    if (!all.n) return EQ_NONE_MUT;
    eq_qshape s = eq_lm_qshape(lm, i, l);
    int64_t from = all.n == lm->q.groups ? 0 : place_of(lm, i, 0).group;
    return eq_mut_at(all, place_of(lm, i, l).group - from, s.O * (s.I / s.G));
}
eq_mut eq_lm_words(const eq_lm *lm, int64_t i, eq_lin l) {
    eq_qshape s = eq_lm_qshape(lm, i, l);
    return eq_mut_at(lm->q.rows, place_of(lm, i, l).word, s.O * eq_pack_words(s.I, s.bits));
}
eq_mut eq_lm_norm_of(const eq_lm *lm, eq_mut all, int64_t i, eq_norm n) {
    eq_norm_spec s = eq_norm_of(lm->cfg, n);
    return eq_mut_at(all, i * lm->q.norms + lm->q.norm_at[n], s.n);
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
        if (!lm->opts.masters) be->upload(be, eq_lm_words(lm, i, l), q->rows, EQ_U32);
        be->upload(be, s, host, EQ_F32);
        if (lm->q.z_host)
            memcpy(lm->q.z_host + place_of(lm, i, l).group, host + s.n, (size_t)s.n * sizeof *host);
        else
            be->upload(be, z, host + s.n, EQ_F32);
        eq_free(host);
        if (lm->opts.masters) EQ_TRY(eq_lm_masters_start(lm, i, l, q, err));
    }
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++)
        if (b->norm[n]) be->upload(be, eq_lm_norm_of(lm, lm->q.norm, i, n), b->norm[n], EQ_F32);
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
    lm->q.z_of = -1;
    if (lm->opts.z_on_host && !(lm->q.z_host = eq_calloc(lm->q.groups, sizeof(float))))
        return eq_nomem(err, "zero points", 4 * lm->q.groups);
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
    eq_resident_close(lm);
    eq_arena_free(&lm->model), eq_arena_free(&lm->step);
    eq_free(lm->x), eq_free(lm->q.at), eq_free(lm->host), eq_free(lm->res.layers);
    eq_free(lm->q.z_host), eq_free(lm);
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* Where the current block comes from: as it is in files, the model's or its teacher's. */
static bool from_files(const eq_lm *lm) { return lm->teaching || !eq_lm_quantized(lm); }
static const eq_weights *files_of(const eq_lm *lm) {
    return lm->teaching ? lm->opts.teacher : lm->src;
}

/* Linear l of the current block, for eq_block_w. */
static void make_weight(void *ctx, eq_lin l, eq_mut w) {
    const eq_lm *lm = ctx;
    int64_t i = lm->block;
    if (from_files(lm)) {
        eq_weights_put_rows(files_of(lm), i, l, 0, eq_lin_of(lm->cfg, l).O, lm->be, w);
        return;
    }
    eq_view s = eq_lm_steps(lm, i, l, 0, eq_lin_of(lm->cfg, l).O);
    if (lm->opts.masters) {
        EQ_DO(lm->be, fq_fwd, w, eq_ro(eq_lm_weights(lm, lm->q.W, i, l)), s,
              eq_ro(eq_lm_groups(lm, lm->q.z, i, l)), eq_lm_qshape(lm, i, l));
    } else {
        EQ_DO(lm->be, dequant, w, eq_ro(eq_lm_words(lm, i, l)), s,
              eq_ro(eq_lm_groups(lm, lm->q.z, i, l)), eq_lm_qshape(lm, i, l));
    }
}

eq_status eq_lm_enter(eq_lm *lm, int64_t i, eq_err *err) {
    eq_backend *be = lm->be;
    if (lm->opts.context) {
        eq_resident_enter(lm, i);
        return EQ_OK;
    }
    for (eq_lin l = 0; from_files(lm) && i >= lm->checked && l < EQ_LINS; l++)
        EQ_TRY(eq_weights_check_rows(files_of(lm), i, l, 0, eq_lin_of(lm->cfg, l).O, err));
    if (from_files(lm) && i >= lm->checked) lm->checked = i + 1;
    lm->block = i;
    if (lm->q.z_of != i) eq_lm_bring(lm, &(eq_lm_values){lm->q.z, lm->q.z_host}, i);
    lm->q.z_of = i;
    for (eq_lin l = 0; !lm->w.make && lm->kept != i && l < EQ_LINS; l++)
        make_weight(lm, l, lm->w.w[l]);
    lm->kept = i;
    eq_block_small_upload(&lm->w, be, files_of(lm), i);
    for (eq_norm n = 0; !from_files(lm) && n < EQ_NORM_COUNT; n++)
        if (lm->w.norm[n].n)
            eq_norm_weight(be, lm->cfg, lm->w.norm[n], eq_ro(eq_lm_norm_of(lm, lm->q.norm, i, n)));
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
    lm->acts_of = lm->kept = lm->q.z_of = -1; /* s and z may have moved since */
}

eq_status eq_lm_block_fwd(eq_lm *lm, int64_t i, eq_err *err) {
    eq_backend *be = lm->be;
    EQ_TRY(eq_lm_enter(lm, i, err));
    eq_block_fwd(be, lm->cfg, &lm->w, &lm->rope, &lm->acts, eq_ro(lm->x[i]));
    EQ_DO(be, cast, lm->x[i + 1], eq_ro(lm->acts.y));
    lm->acts_of = i;
    return EQ_OK;
}

eq_status eq_lm_teacher_fwd(eq_lm *lm, int64_t i, eq_err *err) {
    const eq_config *c = lm->cfg;
    lm->teaching = true, lm->kept = -1;
    eq_status st = eq_lm_block_fwd(lm, i, err);
    lm->teaching = false, lm->acts_of = lm->kept = -1;
    if (st != EQ_OK || i + 1 < c->L) return st;
    int64_t N = lm->acts.B * lm->acts.T;
    eq_lm_norm(lm, eq_ro(lm->x[c->L]), N);
    EQ_DO(lm->be, cast, lm->teacher_hn, eq_ro(eq_mut_at(lm->hn, 0, N * c->D)));
    lm->taught = true;
    return EQ_OK;
}

eq_status eq_lm_forward(eq_lm *lm, const int32_t *ids, int64_t B, int64_t T, eq_err *err) {
    eq_lm_embed(lm, ids, B, T);
    if (lm->opts.context) return eq_resident_forward(lm, err);
    for (int64_t i = 0; i < lm->cfg->L; i++) EQ_TRY(eq_lm_block_fwd(lm, i, err));
    return EQ_OK;
}

/* See e2e_qp.h. Invariant: the saved state (s, z, moments, step, rate scale) and the data determine
 * every later step, so a resumed run writes the bytes of an uninterrupted one.
 *
 * There are two files: the newest state, and the last good one, whose loss and gradient were seen
 * to be finite. The newest becomes the good one by a rename, when the step behind it has shown what
 * it is. */
#include "train/e2e_qp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "train/schedule.h"

enum { MAX_ROLLBACKS = 5, MICRO_TOKENS = 4096 };

typedef struct {
    const char *name;
    eq_mut p, m, v, g; /* F32 over all groups of the model; m.n == 0: not trained */
    eq_mut part;       /* of g, where a batch is added up in parts */
} trained;

struct eq_e2e {
    eq_backend *be;
    eq_e2e_setup setup;
    eq_lm *lm;
    eq_arena arena;
    trained par[2]; /* s, z */
    eq_mut total;   /* F64 [1] */
    int64_t step;   /* updates done */
    double scale;   /* of the rate, halved by every roll-back; 0: no rate is left to try */
    char *good;     /* path of the last good state */
};

static eq_lm_opts lm_opts(const eq_e2e_setup *s, int64_t T) {
    return (eq_lm_opts){.B = s->qp.micro_batch,
                        .T = T,
                        .backward = true,
                        .bits = s->bits,
                        .ct = s->precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16,
                        .group = s->group,
                        .source = s->source,
                        .ctx = s->ctx};
}

static void bind(eq_e2e *j, eq_arena *a, int64_t groups) {
    const unsigned bit[2] = {EQ_TRAIN_S, EQ_TRAIN_Z};
    int64_t batch = j->setup.qp.batch_size;
    bool parts = eq_chain_windows(batch) < batch;
    for (int k = 0; k < 2; k++) {
        int64_t n = j->setup.qp.train & bit[k] ? groups : 0;
        j->par[k].m = eq_take(a, EQ_F32, n);
        j->par[k].v = eq_take(a, EQ_F32, n);
        j->par[k].g = eq_take(a, EQ_F32, n);
        j->par[k].part = eq_take(a, EQ_F32, parts ? n : 0);
    }
    j->total = eq_take(a, EQ_F64, 1);
}

int64_t eq_e2e_micro_batch(int64_t batch, int64_t T) {
    int64_t m = MICRO_TOKENS / T;
    return m < 1 ? 1 : m < batch ? m : batch;
}

int64_t eq_e2e_bytes(const eq_config *c, const eq_e2e_setup *s, int64_t T) {
    eq_e2e j = {.setup = *s};
    eq_arena a = {0};
    eq_lm_opts o = lm_opts(s, T);
    int64_t groups = 0;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec q = eq_lin_of(c, l);
        groups += c->L * q.O * (q.I / eq_group(s->group, q.I));
    }
    bind(&j, &a, groups);
    return eq_lm_bytes(c, &o) + a.used;
}

/* ---- saved state ----------------------------------------------------------------------------- */

static eq_status put(eq_e2e *j, eq_stw *w, eq_mut t, float *host, eq_err *err) {
    j->be->download(j->be, host, EQ_F32, eq_ro(t));
    EQ_TRY(j->be->sync(j->be, err));
    return eq_stw_put(w, host, 4 * t.n, err);
}

static eq_status write_state(eq_e2e *j, eq_stw *w, float *host, eq_err *err) {
    char text[64];
    eq_stw_seal(w);
    snprintf(text, sizeof text, "%lld", (long long)j->step);
    EQ_TRY(eq_stw_meta(w, "step", text, err));
    snprintf(text, sizeof text, "%.17g", j->scale);
    EQ_TRY(eq_stw_meta(w, "rate_scale", text, err));
    for (int k = 0; k < 2; k++) {
        char name[8];
        const char *part[] = {"", "_m", "_v"};
        for (int i = 0; j->par[k].m.n && i < 3; i++) {
            snprintf(name, sizeof name, "%s%s", j->par[k].name, part[i]);
            EQ_TRY(eq_stw_tensor(w, name, EQ_F32, 1, &j->par[k].p.n, err));
        }
    }
    EQ_TRY(eq_stw_begin(w, err));
    for (int k = 0; k < 2; k++) {
        if (!j->par[k].m.n) continue;
        EQ_TRY(put(j, w, j->par[k].p, host, err));
        EQ_TRY(put(j, w, j->par[k].m, host, err));
        EQ_TRY(put(j, w, j->par[k].v, host, err));
    }
    return EQ_OK;
}

static eq_status save(eq_e2e *j, const char *path, eq_err *err) {
    eq_stw *w = NULL;
    float *host = eq_calloc(j->par[0].p.n, sizeof *host);
    if (!host) return eq_nomem(err, "the state to save", 4 * j->par[0].p.n);
    eq_status st = eq_stw_new(&w, path, err);
    if (st == EQ_OK && (st = write_state(j, w, host, err)) != EQ_OK) eq_stw_abort(w), w = NULL;
    if (w && st == EQ_OK) st = eq_stw_end(w, err);
    eq_free(host);
    return st;
}

static eq_status get(eq_e2e *j, const eq_st *st, const char *path, const char *name, eq_mut to,
                     eq_err *err) {
    const eq_tensor *t = eq_st_find(st, name);
    if (!t || t->dt != EQ_F32 || t->n != to.n)
        return eq_fail(err, EQ_EINPUT, "%s: expected tensor %s with %lld F32 values, found %lld",
                       path, name, (long long)to.n, (long long)(t ? t->n : 0));
    j->be->upload(j->be, to, t->data, EQ_F32);
    return EQ_OK;
}

static eq_status read_state(eq_e2e *j, const eq_st *st, const char *path, eq_err *err) {
    const char *step = eq_st_meta(st, "step"), *scale = eq_st_meta(st, "rate_scale");
    if (!step || !scale)
        return eq_fail(err, EQ_EINPUT, "%s: expected metadata step and rate_scale", path);
    j->step = strtoll(step, NULL, 10);
    j->scale = strtod(scale, NULL);
    for (int k = 0; k < 2; k++) {
        const trained *p = &j->par[k];
        char m[8], v[8];
        if (!p->m.n) continue;
        snprintf(m, sizeof m, "%s_m", p->name);
        snprintf(v, sizeof v, "%s_v", p->name);
        EQ_TRY(get(j, st, path, p->name, p->p, err));
        EQ_TRY(get(j, st, path, m, p->m, err));
        EQ_TRY(get(j, st, path, v, p->v, err));
    }
    return j->be->sync(j->be, err);
}

static eq_status load(eq_e2e *j, const char *path, eq_err *err) {
    eq_st *st;
    EQ_TRY(eq_st_open_sealed(&st, path, err));
    eq_status s = read_state(j, st, path, err);
    eq_st_close(st);
    return s;
}

/* ---- open ------------------------------------------------------------------------------------ */

static eq_status open_in(eq_e2e *j, const eq_weights *src, int64_t T, eq_err *err) {
    eq_lm_opts o = lm_opts(&j->setup, T);
    EQ_TRY(eq_lm_open(&j->lm, j->be, src, &o, err));
    bind(j, &j->arena, j->lm->q.s.n);
    EQ_TRY(eq_arena_alloc(&j->arena, j->be, "the moments of E2E-QP", err));
    bind(j, &j->arena, j->lm->q.s.n);
    j->par[0].name = "s", j->par[0].p = j->lm->q.s;
    j->par[1].name = "z", j->par[1].p = j->lm->q.z;
    j->scale = 1;
    for (int k = 0; k < 2; k++) {
        if (!j->par[k].m.n) continue;
        EQ_DO(j->be, fill, j->par[k].m, 0.0f);
        EQ_DO(j->be, fill, j->par[k].v, 0.0f);
    }
    if (!(j->good = eq_sprintf("%s.good", j->setup.state_path)))
        return eq_nomem(err, "a path", 256);
    if (eq_exists(j->setup.state_path)) return load(j, j->setup.state_path, err);
    return eq_exists(j->good) ? load(j, j->good, err) : save(j, j->good, err);
}

eq_status eq_e2e_open(eq_e2e **out, eq_backend *be, const eq_weights *src, const eq_e2e_setup *s,
                      int64_t T, eq_err *err) {
    *out = NULL;
    eq_e2e *j = eq_calloc(1, sizeof *j);
    if (!j) return eq_nomem(err, "an E2E-QP job", sizeof *j);
    j->be = be, j->setup = *s;
    eq_status st = open_in(j, src, T, err);
    if (st != EQ_OK) {
        eq_e2e_close(j);
        return st;
    }
    *out = j;
    return EQ_OK;
}

void eq_e2e_close(eq_e2e *j) {
    if (!j) return;
    eq_arena_free(&j->arena);
    eq_lm_close(j->lm);
    eq_free(j->good);
    eq_free(j);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Gradients of windows [from, from + n) and their mean loss; nll: room for the loss of each. */
static eq_status sum_gradients(eq_e2e *j, const eq_windows *w, int64_t from, int64_t n, double *nll,
                               eq_err *err) {
    const trained *s = &j->par[0], *z = &j->par[1];
    float scale = (float)(1.0 / ((double)n * (double)(w->T - 1)));
    eq_lm_grads g = {.ds = s->g, .dz = z->g, .part_ds = s->part, .part_dz = z->part, .batch = n};
    const eq_mut zero[] = {g.ds, g.dz, g.part_ds, g.part_dz};
    for (int k = 0; k < 4; k++)
        if (zero[k].n) EQ_DO(j->be, fill, zero[k], 0.0f);
    while (g.done < n) {
        int64_t left = n - g.done,
                B = left < j->setup.qp.micro_batch ? left : j->setup.qp.micro_batch;
        const int32_t *ids = w->ids + (from + g.done) * w->T;
        EQ_TRY(eq_lm_forward(j->lm, ids, B, w->T, err));
        EQ_TRY(eq_lm_loss(j->lm, ids, B, w->T, scale, nll + g.done, err));
        EQ_TRY(eq_lm_backward(j->lm, &g, err));
    }
    return EQ_OK;
}

static eq_status gradients(eq_e2e *j, const eq_windows *w, int64_t from, int64_t n, double *loss,
                           eq_err *err) {
    double *nll = eq_calloc(n, sizeof *nll);
    if (!nll) return eq_nomem(err, "losses", n * 8);
    eq_status st = sum_gradients(j, w, from, n, nll, err);
    *loss = eq_window_sum(nll, n) / (double)n;
    eq_free(nll);
    return st;
}

static eq_status grad_norm(eq_e2e *j, double *norm, eq_err *err) {
    double total = 0;
    j->be->upload(j->be, j->total, &total, EQ_F64);
    for (int k = 0; k < 2; k++)
        if (j->par[k].g.n) EQ_DO(j->be, sumsq, j->total, eq_ro(j->par[k].g));
    j->be->download(j->be, &total, EQ_F64, eq_ro(j->total));
    *norm = sqrt(total);
    return j->be->sync(j->be, err);
}

static void update(eq_e2e *j, double lr, double norm) {
    double clip = j->setup.qp.clip, scale = clip > 0 ? clip / (norm + 1e-6) : 1;
    eq_adamw a = eq_adamw_at(lr, ++j->step, scale < 1 ? scale : 1);
    for (int k = 0; k < 2; k++) {
        const trained *p = &j->par[k];
        if (p->m.n) EQ_DO(j->be, adamw, p->p, p->m, p->v, eq_ro(p->g), a);
    }
}

/* ---- what is not finite ---------------------------------------------------------------------- */

/* Can s be written as fp16 and z at all? */
static eq_status writable(eq_e2e *j, bool *yes, eq_err *err) {
    int64_t n = j->par[0].p.n;
    float *host = eq_calloc(n, sizeof *host);
    if (!host) return eq_nomem(err, "a look at the state", 4 * n);
    eq_status st = EQ_OK;
    for (int k = 0; k < 2 && st == EQ_OK; k++) {
        j->be->download(j->be, host, EQ_F32, eq_ro(j->par[k].p));
        st = j->be->sync(j->be, err);
        for (int64_t i = 0; i < n && *yes; i++)
            *yes = isfinite(eq_f16_to_f32(eq_f32_to_f16(host[i])));
    }
    eq_free(host);
    return st;
}

/* The state is where the loss is not finite: back to the last good one, at half the rate. When no
 * rate is left to try, that state is the result. The newest state goes first, so that a kill in
 * between cannot bring it back. */
static eq_status roll_back(eq_e2e *j, const eq_observer *obs, eq_err *err) {
    int64_t bad = j->step;
    EQ_TRY(eq_remove_tree(j->setup.state_path, err));
    EQ_TRY(load(j, j->good, err));
    /* The very first step fails before any update: lower rates would meet the same state again. */
    bool over = bad == j->step || j->scale <= ldexp(1, -MAX_ROLLBACKS);
    double scale = over ? j->scale : j->scale / 2;
    j->scale = over ? 0 : scale;
    if (over)
        eq_note(obs, "E2E-QP: not finite at step %lld; it ends with the state of step %lld",
                (long long)bad, (long long)j->step);
    else
        eq_note(obs, "E2E-QP: not finite at step %lld; back to step %lld with the rate x %g",
                (long long)bad, (long long)j->step, scale);
    eq_event(obs,
             "{\"event\":\"rollback\",\"phase\":\"e2e-qp\",\"step\":%lld,\"to\":%lld,\"rate_"
             "scale\":%g,\"last\":%s}",
             (long long)bad, (long long)j->step, scale, over ? "true" : "false");
    return save(j, j->good, err);
}

/* ---- the run --------------------------------------------------------------------------------- */

static void say(const eq_e2e *j, const eq_windows *w, const eq_observer *obs, int64_t steps,
                double loss, double norm, double lr) {
    eq_event(obs,
             "{\"event\":\"e2e_step\",\"step\":%lld,\"loss\":%.9g,\"grad_norm\":%.9g,\"lr\":%.6g}",
             (long long)(j->step - 1), loss, norm, lr);
    int64_t per_step = j->setup.qp.batch_size * w->T;
    eq_progress p = {.phase = "e2e-qp",
                     .done = j->step * per_step,
                     .total = steps * per_step,
                     .tokens = true,
                     .loss = loss};
    eq_progress_say(obs, &p);
}

/* Loss of the next step and its gradient's norm. Behind the last step the loss of the first
 * windows, without a gradient: enough to see whether the result is finite. */
static eq_status evaluate(eq_e2e *j, const eq_windows *w, bool end, double *loss, double *norm,
                          eq_err *err) {
    const eq_e2e_opts *o = &j->setup.qp;
    if (end) {
        *norm = 0;
        EQ_TRY(eq_lm_forward(j->lm, w->ids, 1, w->T, err));
        return eq_lm_loss(j->lm, w->ids, 1, w->T, 0, loss, err);
    }
    int64_t per_epoch = (w->n + o->batch_size - 1) / o->batch_size;
    int64_t from = j->step % per_epoch * o->batch_size;
    int64_t n = w->n - from < o->batch_size ? w->n - from : o->batch_size;
    EQ_TRY(gradients(j, w, from, n, loss, err));
    return grad_norm(j, norm, err);
}

eq_status eq_e2e_run(eq_e2e *j, const eq_windows *w, const eq_observer *obs, eq_err *err) {
    const eq_e2e_opts *o = &j->setup.qp;
    const char *newest = j->setup.state_path;
    int64_t per_epoch = (w->n + o->batch_size - 1) / o->batch_size, steps = o->epochs * per_epoch;
    while (j->scale > 0) {
        if (eq_stopped(obs)) {
            EQ_TRY(save(j, newest, err));
            return eq_fail(err, EQ_EINTR, "stopped on request");
        }
        bool end = j->step >= steps, due = j->step % o->save_every == 0;
        double loss = NAN, norm = NAN,
               lr = j->scale * eq_lr_warmup_cosine(o->lr, o->warmup, j->step, steps);
        EQ_TRY(evaluate(j, w, end, &loss, &norm, err));
        bool good = isfinite(loss) && isfinite(norm);
        if (good && (due || end)) EQ_TRY(writable(j, &good, err));
        if (!good) {
            EQ_TRY(roll_back(j, obs, err));
            continue;
        }
        if (end) return EQ_OK;
        if (due && eq_exists(newest)) EQ_TRY(eq_rename_durable(newest, j->good, err));
        update(j, lr, norm);
        say(j, w, obs, steps, loss, norm, lr);
        if (j->step % o->save_every == 0 || j->step == steps) EQ_TRY(save(j, newest, err));
    }
    return EQ_OK;
}

eq_status eq_e2e_apply(eq_e2e *j, int64_t i, eq_qblock *b, eq_err *err) {
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        j->be->download(j->be, b->lin[l].s, EQ_F32, eq_ro(eq_lm_groups(j->lm, j->lm->q.s, i, l)));
        j->be->download(j->be, b->lin[l].z, EQ_F32, eq_ro(eq_lm_groups(j->lm, j->lm->q.z, i, l)));
    }
    return j->be->sync(j->be, err);
}

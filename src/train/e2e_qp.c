/* See e2e_qp.h. Invariant: the saved state (s, z, moments, step, rate scale) and the data determine
 * every later step, so a resumed run writes the bytes of an uninterrupted one.
 *
 * There are two states: the newest, and the last good one, whose loss and gradient were seen to be
 * finite. Every GOOD_STEPS steps the newest becomes the good one by a rename, when the step behind
 * it has shown what it is; so what a roll-back goes back to does not depend on when states are
 * saved. */
#include <math.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "model/schemes.h"
#include "quant/number.h"
#include "train/e2e_job.h"
#include "train/schedule.h"

enum { MAX_ROLLBACKS = 5, GOOD_STEPS = 8 };

/* ---- open ------------------------------------------------------------------------------------ */

static eq_status open_in(eq_e2e *j, const eq_weights *src, int64_t T, eq_err *err) {
    EQ_TRY(eq_e2e_take_memory(j, src, T, err));
    j->scale = 1, j->newest = j->proven = -1, j->saved = eq_now();
    j->nll = eq_calloc(j->setup.qp.batch_size, sizeof *j->nll);
    j->good = eq_sprintf("%s.good", j->setup.state_path);
    j->best_path = eq_sprintf("%s.best", j->setup.state_path);
    j->step_path = eq_sprintf("%s.step", j->setup.state_path);
    if (!j->nll || !j->good || !j->step_path || !j->best_path)
        return eq_nomem(err, "an E2E-QP job", 4096);
    EQ_TRY(j->be->sync(j->be, err));
    j->whole = true;
    if (eq_exists(j->setup.state_path)) return eq_e2e_load(j, j->setup.state_path, err);
    return eq_exists(j->good) ? eq_e2e_load(j, j->good, err) : eq_e2e_save(j, j->good, err);
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
    eq_e2e_free_memory(j);
    eq_free(j->nll), eq_free(j->good), eq_free(j->step_path), eq_free(j->best_path);
    eq_e2e_room_close(&j->room);
    eq_free(j);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static eq_status grad_norm(eq_e2e *j, double *norm, eq_err *err) {
    double total = 0;
    j->be->upload(j->be, j->total, &total, EQ_F64);
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++) {
        const eq_lm_values *g = &j->par[k].g;
        if (!eq_e2e_by_groups(k) && g->m.n) EQ_DO(j->be, sumsq, j->total, eq_ro(g->m));
        for (int64_t i = 0; eq_e2e_by_groups(k) && g->m.n && i < j->lm->cfg->L; i++) {
            eq_lm_bring(j->lm, g, i);
            EQ_DO(j->be, sumsq, j->total, eq_ro(eq_lm_block_values(j->lm, g, i)));
        }
    }
    j->be->download(j->be, &total, EQ_F64, eq_ro(j->total));
    *norm = sqrt(total);
    return j->be->sync(j->be, err);
}

/* Block i of s or z. What is on the host is back there before its room is used again. */
static eq_status update_block(eq_e2e *j, const eq_e2e_param *p, int64_t i, eq_adamw a,
                              eq_err *err) {
    const eq_lm *lm = j->lm;
    const eq_lm_values *all[] = {&p->p, &p->m, &p->v, &p->g};
    eq_mut at[4];
    for (int k = 0; k < 4; k++) {
        eq_lm_bring(lm, all[k], i);
        at[k] = eq_lm_block_values(lm, all[k], i);
    }
    EQ_DO(j->be, adamw, at[0], at[1], at[2], eq_ro(at[3]), a);
    for (int k = 0; k < 3; k++) eq_lm_keep(lm, all[k], i);
    return p->m.host ? j->be->sync(j->be, err) : EQ_OK;
}

/* Half of it done is of no use: see j->whole. */
static eq_status update(eq_e2e *j, double lr, double norm, eq_err *err) {
    const eq_e2e_opts *o = &j->setup.qp;
    double clip = o->clip, scale = clip > 0 ? clip / (norm + 1e-6) : 1;
    double slower = o->lr > 0 ? o->weight_lr / o->lr : 1;
    j->whole = false;
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++) {
        const eq_e2e_param *p = &j->par[k];
        double rate = k == EQ_E2E_W || k == EQ_E2E_NORM ? lr * slower : lr;
        eq_adamw a = eq_adamw_at(rate, j->step + 1, scale < 1 ? scale : 1);
        if (!p->m.m.n) continue;
        if (!eq_e2e_by_groups(k)) EQ_DO(j->be, adamw, p->p.m, p->m.m, p->v.m, eq_ro(p->g.m), a);
        for (int64_t i = 0; eq_e2e_by_groups(k) && i < j->lm->cfg->L; i++)
            EQ_TRY(update_block(j, p, i, a, err));
    }
    EQ_TRY(j->be->sync(j->be, err));
    j->step++, j->at = (eq_e2e_place){0};
    j->whole = true;
    return EQ_OK;
}

/* ---- what is not finite ---------------------------------------------------------------------- */

/* Weights and norms: a sum of squares is finite when all of them are. */
static eq_status finite_masters(eq_e2e *j, bool *yes, eq_err *err) {
    double total = 0;
    j->be->upload(j->be, j->total, &total, EQ_F64);
    for (int k = EQ_E2E_W; k < EQ_E2E_PARAM_COUNT; k++)
        if (j->par[k].m.m.n) EQ_DO(j->be, sumsq, j->total, eq_ro(j->par[k].p.m));
    j->be->download(j->be, &total, EQ_F64, eq_ro(j->total));
    EQ_TRY(j->be->sync(j->be, err));
    *yes = *yes && isfinite(total);
    return EQ_OK;
}

/* All values of s or z on the host: where they lie, or in room. */
static eq_status seen(eq_e2e *j, const eq_lm_values *v, float *room, const float **all,
                      eq_err *err) {
    *all = v->host ? v->host : room;
    if (!v->host) j->be->download(j->be, room, EQ_F32, eq_ro(v->m));
    return j->be->sync(j->be, err);
}

/* Can s be written as fp16 and z at all, and are codes made of numbers? */
static eq_status writable(eq_e2e *j, bool *yes, eq_err *err) {
    int64_t n = j->lm->q.groups;
    if (j->par[EQ_E2E_W].m.m.n || j->par[EQ_E2E_NORM].m.m.n) EQ_TRY(finite_masters(j, yes, err));
    float *room = eq_calloc(n, sizeof *room);
    if (!room) return eq_nomem(err, "a look at the state", 4 * n);
    eq_status st = EQ_OK;
    for (int k = 0; k < 2 && st == EQ_OK; k++) {
        const float *all;
        st = seen(j, &j->par[k].p, room, &all, err);
        for (int64_t i = 0; i < n && *yes; i++)
            *yes = isfinite(eq_f16_to_f32(eq_f32_to_f16(all[i])));
    }
    eq_free(room);
    return st;
}

/* The state is where the loss is not finite: back to the last good one, at half the rate. When no
 * rate is left to try, that state is the result. The newest state goes first, so that a kill in
 * between cannot bring it back. */
static eq_status roll_back(eq_e2e *j, const eq_observer *obs, eq_err *err) {
    int64_t bad = j->step, rollbacks = j->rollbacks + 1;
    EQ_TRY(eq_remove_tree(j->setup.state_path, err));
    j->newest = -1;
    EQ_TRY(eq_e2e_load(j, j->good, err));
    j->rollbacks = rollbacks;
    /* The very first step fails before any update: lower rates would meet the same state again. */
    bool over = bad == j->step || j->scale <= ldexp(1, -MAX_ROLLBACKS);
    double scale = over ? j->scale : j->scale / 2;
    j->scale = over ? 0 : scale;
    EQ_TRY(eq_e2e_best_forget(j, err));
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
    return eq_e2e_save(j, j->good, err);
}

/* ---- the run --------------------------------------------------------------------------------- */

static int64_t steps_of(const eq_e2e *j, const eq_windows *w) {
    const eq_e2e_opts *o = &j->setup.qp;
    if (o->max_steps) return o->max_steps;
    return o->epochs * ((w->n + o->batch_size - 1) / o->batch_size);
}

void eq_e2e_say(const eq_e2e *j, const eq_windows *w, double windows, double loss,
                const eq_observer *obs) {
    double per_step = (double)(j->setup.qp.batch_size * w->T);
    double of_step = windows * (double)w->T; /* the last batch of an epoch may be smaller */
    eq_progress p = {.phase = "e2e-qp",
                     .done = (int64_t)((double)j->step * per_step + of_step),
                     .total = (int64_t)((double)steps_of(j, w) * per_step),
                     .tokens = true,
                     .loss = loss};
    eq_progress_say(obs, &p);
}

/* Loss of the next step and its gradient's norm. Behind the last step the loss of the first
 * window, without a gradient: enough to see whether the result is finite. */
static eq_status evaluate(eq_e2e *j, const eq_windows *w, bool end, double *loss, double *norm,
                          const eq_observer *obs, eq_err *err) {
    *norm = 0;
    if (end) return eq_e2e_first_loss(j, w, loss, obs, err);
    EQ_TRY(eq_e2e_gradients(j, w, loss, obs, err));
    return grad_norm(j, norm, err);
}

/* One step, or at the end the last look. *over: that was fine. */
static eq_status step(eq_e2e *j, const eq_windows *w, bool *over, const eq_observer *obs,
                      eq_err *err) {
    const eq_e2e_opts *o = &j->setup.qp;
    const char *newest = j->setup.state_path;
    int64_t steps = steps_of(j, w);
    bool end = j->step >= steps, due = j->step % GOOD_STEPS == 0;
    EQ_TRY(eq_e2e_look(j, end, obs, err));
    double loss = NAN, norm = NAN,
           lr = j->scale * eq_lr_warmup_cosine(o->lr, o->warmup, j->step, steps);
    EQ_TRY(evaluate(j, w, end, &loss, &norm, obs, err));
    bool good = isfinite(loss) && isfinite(norm);
    if (good && (due || end)) EQ_TRY(writable(j, &good, err));
    if (!good) return roll_back(j, obs, err);
    *over = end;
    if (end) return EQ_OK;
    if (due && j->newest == j->step) {
        EQ_TRY(eq_rename_durable(newest, j->good, err));
        j->proven = j->step, j->newest = -1;
    }
    EQ_TRY(update(j, lr, norm, err));
    eq_event(obs,
             "{\"event\":\"e2e_step\",\"step\":%lld,\"loss\":%.9g,\"grad_norm\":%.9g,\"lr\":%.6g}",
             (long long)(j->step - 1), loss, norm, lr);
    eq_e2e_say(j, w, 0, loss, obs);
    due = j->step % GOOD_STEPS == 0 || j->step % o->save_every == 0 || j->step == steps;
    return due ? eq_e2e_save(j, newest, err) : EQ_OK;
}

/* What was interrupted in a backward pass or an update is lost, back to what was saved last. */
static eq_status stopped(eq_e2e *j, const eq_windows *w, eq_err *err) {
    long long step = (long long)j->step, steps = (long long)steps_of(j, w);
    eq_err why = {0};
    if (j->whole && eq_e2e_save_place(j, &why) != EQ_OK) {
        if (err) *err = why;
        return why.status;
    }
    if (err) *err = (eq_err){0}; /* more than "stopped on request" */
    if (j->whole)
        return eq_fail(err, EQ_EINTR,
                       "stopped on request in E2E-QP at step %lld of %lld, saved up to there", step,
                       steps);
    return eq_fail(err, EQ_EINTR,
                   "stopped on request in E2E-QP within a backward pass or an update of step %lld "
                   "of %lld; %.0f seconds of work since the last save are done again",
                   step, steps, eq_now() - j->saved);
}

/* How many of n trained zero points are not what is written for them, and by how much in all. */
static void count_off(const float *z, int64_t n, eq_qshape q, int64_t *other, double *off) {
    for (int64_t i = 0; i < n; i++) {
        double by = fabs((double)z[i] - (double)eq_z_used(z[i], q.bits, q.grid));
        *off += by;
        *other += by > 0;
    }
}

/* What the GPTQ tensors lose of trained zero points (METHOD section 3: they are real numbers). */
static eq_status say_rounding(eq_e2e *j, const eq_observer *obs, eq_err *err) {
    int64_t other = 0, all = j->lm->q.groups;
    double off = 0;
    const float *at;
    if (!j->par[EQ_E2E_Z].m.m.n || j->par[EQ_E2E_W].m.m.n) return EQ_OK;
    float *room = eq_calloc(all, sizeof *room);
    if (!room) return eq_nomem(err, "a look at the zero points", 4 * all);
    eq_status st = seen(j, &j->par[EQ_E2E_Z].p, room, &at, err);
    for (int64_t k = 0; k < j->lm->cfg->L * EQ_LINS; k++) {
        eq_qshape q = eq_lm_qshape(j->lm, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
        int64_t n = q.O * (q.I / q.G);
        count_off(at, n, q, &other, &off);
        at += n;
    }
    eq_free(room);
    if (st != EQ_OK) return st;
    off /= (double)all;
    eq_note(
        obs,
        "E2E-QP: %lld of %lld trained zero points are no integers (%.2g off on average); eqat's "
        "own state keeps them, GPTQ tensors hold them rounded (ppl --as-written)",
        (long long)other, (long long)all, off);
    eq_event(obs, "{\"event\":\"zero_points\",\"real\":%lld,\"of\":%lld,\"off\":%.6g}",
             (long long)other, (long long)all, off);
    return EQ_OK;
}

eq_status eq_e2e_run(eq_e2e *j, const eq_windows *w, const eq_observer *obs, eq_err *err) {
    bool over = false;
    eq_e2e_room_close(&j->room);
    EQ_TRY(eq_e2e_room_open(&j->room, w, j->setup.qp.micro_batch, err));
    EQ_TRY(eq_e2e_best_known(j, err));
    EQ_TRY(eq_e2e_load_place(j, w, obs, err));
    while (j->scale > 0 && !over) {
        eq_status st = eq_stopped(obs) ? eq_fail(err, EQ_EINTR, "stopped on request")
                                       : step(j, w, &over, obs, err);
        if (st == EQ_EINTR) return stopped(j, w, err);
        EQ_TRY(st);
    }
    EQ_TRY(eq_e2e_take_best(j, obs, err));
    return say_rounding(j, obs, err);
}

int64_t eq_e2e_rollbacks(const eq_e2e *j) { return j->rollbacks; }

eq_status eq_e2e_apply(eq_e2e *j, int64_t i, eq_qblock *b, eq_err *err) {
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_qlinear *q = &b->lin[l];
        if (j->par[EQ_E2E_W].m.m.n) {
            EQ_TRY(eq_lm_codes(j->lm, i, l, q->s, q->z, q->rows, err));
            continue;
        }
        j->be->download(j->be, b->lin[l].s, EQ_F32, eq_lm_steps(j->lm, i, l, 0, q->O));
        eq_lm_get_z(j->lm, i, l, b->lin[l].z);
    }
    for (eq_norm n = 0; j->par[EQ_E2E_NORM].m.m.n && n < EQ_NORM_COUNT; n++)
        if (b->norm[n])
            j->be->download(j->be, b->norm[n], EQ_F32,
                            eq_ro(eq_lm_norm_of(j->lm, j->lm->q.norm, i, n)));
    return j->be->sync(j->be, err);
}

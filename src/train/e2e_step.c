/* One step of E2E-QP as a walk of micro-batches through the model, a block at a time, so that it
 * can be left, saved and gone on with at every block: a step of a 7B model takes a slow CPU a day.
 * Invariant: place, block inputs, the gradient on its way down and the sums of windows that went
 * through determine the rest of the step. */
#include <math.h>

#include "base/mem.h"
#include "base/observe.h"
#include "train/e2e_job.h"

int64_t eq_e2e_batch(const eq_e2e *j, const eq_windows *w, int64_t *n) {
    int64_t most = j->setup.qp.batch_size, per_epoch = (w->n + most - 1) / most;
    int64_t from = j->step % per_epoch * most;
    *n = w->n - from < most ? w->n - from : most;
    return from;
}

static int64_t pieces(const eq_e2e *j) { return eq_e2e_lessons(j) + 2 * j->lm->cfg->L + 1; }

/* Zero gradients, no window through. */
static void begin(eq_e2e *j, int64_t n) {
    eq_e2e_clear_gradients(j);
    for (int64_t i = 0; i < n; i++) j->nll[i] = NAN;
    j->at = (eq_e2e_place){.n = n};
}

/* Piece p of m: below 0 a block of the teacher, behind whose last one the embeddings come again. */
static eq_status forward(eq_e2e *j, int64_t p, const eq_e2e_micro *m, eq_err *err) {
    if (p >= 0) return eq_lm_block_fwd(j->lm, p, err);
    EQ_TRY(eq_lm_teacher_fwd(j->lm, p + eq_e2e_lessons(j), err));
    if (p == -1) eq_lm_embed(j->lm, m->ids, m->B, m->T);
    return EQ_OK;
}

/* Block i backwards. Sums that lie on the host are brought for it, and are back there when sync
 * comes back. */
static eq_status backwards(eq_e2e *j, int64_t i, eq_err *err) {
    eq_lm *lm = j->lm;
    const eq_e2e_param *s = &j->par[EQ_E2E_S], *z = &j->par[EQ_E2E_Z], *W = &j->par[EQ_E2E_W],
                       *norm = &j->par[EQ_E2E_NORM];
    const eq_lm_values *const sums[] = {&s->g, &s->part, &z->g, &z->part};
    eq_lm_grads g = {.ds = s->g.m,
                     .dz = z->g.m,
                     .dW = W->g.m,
                     .dnorm = norm->g.m,
                     .part_ds = s->part.m,
                     .part_dz = z->part.m,
                     .part_dW = W->part.m,
                     .part_dnorm = norm->part.m,
                     .batch = j->at.n,
                     .done = j->at.done};
    for (int k = 0; k < 4; k++) eq_lm_bring(lm, sums[k], i);
    EQ_TRY(eq_lm_block_bwd(lm, i, &g, err));
    for (int k = 0; k < 4; k++) eq_lm_keep(lm, sums[k], i);
    return EQ_OK;
}

/* The next piece of the micro-batch on its way, or the first of the next one. */
static eq_status piece(eq_e2e *j, const eq_windows *w, int64_t from, eq_err *err) {
    eq_lm *lm = j->lm;
    eq_e2e_place *at = &j->at;
    int64_t L = lm->cfg->L, left = at->n - at->done, most = j->setup.qp.micro_batch;
    int64_t B = at->B ? at->B : left < most ? left : most, p = at->piece - eq_e2e_lessons(j);
    eq_e2e_micro m = eq_e2e_take(&j->room, w, from + at->done, B, eq_e2e_width(w, from, at->n));
    int64_t targets = eq_e2e_targets(w, from, at->n);
    float scale = (float)(1.0 / (double)(targets > 0 ? targets : 1));
    if (!at->B) eq_lm_embed(lm, m.ids, B, m.T);
    j->whole = p <= L; /* backwards, gradients are added to and the one on its way is replaced */
    if (p < L)
        EQ_TRY(forward(j, p, &m, err));
    else if (p == L && m.learn)
        EQ_TRY(eq_lm_loss_of(lm, m.ids, m.learn, B, m.T, scale, j->nll + at->done, err));
    else if (p == L)
        EQ_TRY(eq_lm_loss(lm, m.ids, B, m.T, scale, j->nll + at->done, err));
    else
        EQ_TRY(backwards(j, 2 * L - p, err));
    EQ_TRY(j->be->sync(j->be, err));
    j->whole = true;
    at->B = B, at->piece++;
    if (at->piece == pieces(j)) at->done += B, at->B = at->piece = 0;
    return EQ_OK;
}

/* Windows done, those on their way by the cost of their pieces: backwards thrice forwards. */
static double windows_done(const eq_e2e *j) {
    const eq_e2e_place *at = &j->at;
    double L = (double)j->lm->cfg->L + (double)eq_e2e_lessons(j), p = (double)at->piece;
    double part = p <= L ? p : L + 3 * (p - L - 1);
    return (double)at->done + (double)at->B * part / (L + 3 * (double)j->lm->cfg->L);
}

/* A mean over windows of their means; over targets where only some of them count. */
static double loss_so_far(const eq_e2e *j, const eq_windows *w, int64_t from) {
    int64_t n = w->learn ? eq_e2e_targets(w, from, j->at.done) : j->at.done;
    return n ? eq_window_sum(j->nll, j->at.done) / (double)n : NAN;
}

eq_status eq_e2e_gradients(eq_e2e *j, const eq_windows *w, double *loss, const eq_observer *obs,
                           eq_err *err) {
    int64_t n, from = eq_e2e_batch(j, w, &n);
    if (!j->at.n) begin(j, n);
    while (j->at.done < n) {
        if (eq_stopped(obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        EQ_TRY(piece(j, w, from, err));
        if (j->at.done < n) eq_e2e_say(j, w, windows_done(j), loss_so_far(j, w, from), obs);
        if (eq_now() - j->saved >= j->setup.save_seconds) EQ_TRY(eq_e2e_save_place(j, err));
    }
    *loss = loss_so_far(j, w, from);
    return EQ_OK;
}

eq_status eq_e2e_first_loss(eq_e2e *j, const eq_windows *w, double *loss, const eq_observer *obs,
                            eq_err *err) {
    eq_e2e_micro m = eq_e2e_take(&j->room, w, 0, 1, eq_e2e_width(w, 0, 1));
    eq_lm_embed(j->lm, m.ids, 1, m.T);
    for (int64_t i = 0; i < j->lm->cfg->L; i++) {
        if (eq_stopped(obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        EQ_TRY(eq_lm_block_fwd(j->lm, i, err));
        EQ_TRY(j->be->sync(j->be, err));
        eq_e2e_say(j, w, 0, NAN, obs);
    }
    if (!m.learn) return eq_lm_loss(j->lm, m.ids, 1, m.T, 0, loss, err);
    EQ_TRY(eq_lm_loss_of(j->lm, m.ids, m.learn, 1, m.T, 0, loss, err));
    *loss /= (double)eq_e2e_targets(w, 0, 1);
    return EQ_OK;
}

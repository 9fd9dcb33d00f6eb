/* Held-out loss of E2E-QP: looked at every so many steps and behind the last one; the state in
 * which it was lowest is the result. Its file says its step and loss, so that a resumed run knows
 * as much as the one that was killed; one from a step that has not come yet is written again when
 * it comes.
 */
#include <math.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "train/e2e_job.h"

/* Mean over all targets that count, of windows of every width. */
static eq_status held_out(eq_e2e *j, double *loss, const eq_observer *obs, eq_err *err) {
    const eq_windows *w = j->setup.val;
    double sum = 0, nll;
    eq_e2e_room room;
    EQ_TRY(eq_e2e_room_open(&room, w, 1, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < w->n && st == EQ_OK; i++) { /* one by one: each is as wide as it is */
        eq_e2e_micro m = eq_e2e_take(&room, w, i, 1, eq_e2e_width(w, i, 1));
        st = eq_stopped(obs) ? eq_fail(err, EQ_EINTR, "stopped on request")
                             : eq_lm_forward(j->lm, m.ids, 1, m.T, err);
        if (st == EQ_OK) st = eq_lm_loss_of(j->lm, m.ids, m.learn, 1, m.T, 0, &nll, err);
        if (st == EQ_OK) sum += nll;
        eq_progress_say(obs, &(eq_progress){.phase = "e2e-qp",
                                            .part = "validation",
                                            .done = (i + 1) * w->T,
                                            .total = w->n * w->T,
                                            .tokens = true,
                                            .loss = NAN});
    }
    *loss = sum / (double)eq_e2e_targets(w, 0, w->n);
    eq_e2e_room_close(&room);
    return st;
}

eq_status eq_e2e_look(eq_e2e *j, bool end, const eq_observer *obs, eq_err *err) {
    double loss;
    bool due = j->setup.val && (end || j->step % j->setup.eval_every == 0);
    if (!due || j->looked == j->step || j->at.n) return EQ_OK;
    EQ_TRY(held_out(j, &loss, obs, err));
    j->looked = j->step;
    bool best = isfinite(loss) && loss < j->best;
    eq_event(obs, "{\"event\":\"held_out\",\"step\":%lld,\"loss\":%.9g,\"best\":%s}",
             (long long)j->step, loss, best ? "true" : "false");
    if (!best) return EQ_OK;
    j->best = loss, j->best_step = j->step;
    return eq_e2e_save_best(j, err);
}

eq_status eq_e2e_best_known(eq_e2e *j, eq_err *err) {
    int64_t step;
    double loss;
    j->best = INFINITY, j->best_step = j->looked = -1;
    if (!j->setup.val || !eq_exists(j->best_path)) return EQ_OK;
    EQ_TRY(eq_e2e_load_best(j, false, &step, &loss, err));
    if (step <= j->step) j->best = loss, j->best_step = step;
    return EQ_OK;
}

eq_status eq_e2e_best_forget(eq_e2e *j, eq_err *err) {
    if (j->best_step <= j->step) return EQ_OK;
    j->best = INFINITY, j->best_step = -1;
    return eq_remove_tree(j->best_path, err);
}

eq_status eq_e2e_take_best(eq_e2e *j, const eq_observer *obs, eq_err *err) {
    int64_t step;
    double loss;
    if (!j->setup.val || j->best_step < 0) return EQ_OK;
    if (j->best_step != j->step) {
        EQ_TRY(eq_e2e_load_best(j, true, &step, &loss, err));
        eq_note(obs, "E2E-QP: the held-out loss was lowest at step %lld: its state is the result",
                (long long)j->best_step);
    }
    eq_event(obs, "{\"event\":\"best\",\"step\":%lld,\"loss\":%.9g}", (long long)j->best_step,
             j->best);
    return EQ_OK;
}

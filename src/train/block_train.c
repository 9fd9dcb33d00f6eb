/* The training of one block (METHOD section 2), as a walk over places: a batch of training, a batch
 * of validation, or the end of an epoch takes it from one to the next. Invariant: the student and
 * the place determine everything that follows, so a run that goes on from a saved pair ends in the
 * bytes of an undisturbed one.
 *
 * In the work folder lie, while block N is trained: block-N.now, the newest pair, saved by time and
 * when the caller asks for a stop; block-N.good, that of the last finished epoch, whose validation
 * loss and masters are finite: what is not goes back to it; block-N.best, the finished block of the
 * best epoch where that is to be kept. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "train/block_job.h"
#include "train/schedule.h"
#include "train/snapshot.h"

enum { TAIL_STEPS = 64, MAX_ROLLBACKS = 5 };

/* Where the training is; saved as it is, so every field has 8 bytes. */
typedef struct {
    int64_t epoch, window; /* windows of the epoch: trained on, then validated */
    int64_t step;          /* updates done, of all epochs */
    int64_t rollbacks;
    int64_t worse, best_epoch; /* epochs since the best one; -1: none yet */
    double scale;              /* of both rates, lowered by every roll-back */
    double best;               /* validation loss */
    double first, val;         /* of this epoch: first loss, sum of the validation losses */
    double power, val_power;   /* sums of squares of the targets met in this epoch */
    double tail[TAIL_STEPS];   /* its newest losses, in a ring */
} place;
_Static_assert(sizeof(place) == 8 * (12 + TAIL_STEPS), "a place is saved as it is");

typedef struct {
    eq_block_ap *j;
    int64_t block, steps; /* steps: of all epochs */
    place at;
    bool whole;  /* the student is that of `at`: false while an update is under way */
    bool broken; /* a loss or a master was not finite */
    bool over;
    double saved; /* when */
    char *now, *good, *best;
    const eq_observer *obs;
} run;

static bool holds_out(const run *r) { return r->j->n_val > 0; }
static bool keeps_best(const run *r) { return r->j->setup.ap.keep_best && holds_out(r); }
static int64_t val_windows(const run *r) {
    int64_t from;
    return eq_block_job_val(r->j, &from);
}

/* ---- saved states ---------------------------------------------------------------------------- */

static eq_snapshot file_of(run *r, const char *path) {
    return (eq_snapshot){.path = path,
                         .run = r->j->setup.run,
                         .block = r->block,
                         .at = &r->at,
                         .at_bytes = sizeof r->at};
}

static eq_status save(run *r, const char *path, eq_err *err) {
    eq_snapshot s = file_of(r, path);
    EQ_TRY(eq_snapshot_save(&s, &r->j->student, err));
    r->saved = eq_now();
    return EQ_OK;
}

static eq_status load(run *r, const char *path, eq_err *err) {
    eq_snapshot s = file_of(r, path);
    r->whole = false;
    EQ_TRY(eq_snapshot_load(&s, &r->j->student, err));
    r->j->student.step = r->at.step;
    r->whole = true;
    return EQ_OK;
}

/* What going on from here may have to read later: the state to go back to and the best epoch. */
static eq_status look_back(run *r, eq_err *err) {
    eq_qblock b = {0};
    const eq_block_ap_setup *s = &r->j->setup;
    place at;
    eq_snapshot good = file_of(r, r->good);
    good.at = &at;
    if (r->at.epoch) EQ_TRY(eq_snapshot_look(&good, &r->j->student, err));
    if (!keeps_best(r) || r->at.best_epoch < 0) return EQ_OK;
    eq_status st = eq_qblock_load(&b, r->j->cfg, &s->schemes, r->block, r->best, err);
    eq_qblock_free(&b);
    return st;
}

static eq_status start(run *r, eq_err *err) {
    eq_block_ap *j = r->j;
    r->whole = false;
    eq_start from = j->setup.ap.start;
    EQ_TRY(from == EQ_START_GPTQ  ? eq_block_job_gptq(j, r->block, r->obs, err)
           : from == EQ_START_AWQ ? eq_block_job_awq(j, r->block, r->obs, err)
                                  : eq_student_start(&j->student, j->src, r->block, err));
    EQ_TRY(eq_block_job_uploaded(j, err));
    r->at = (place){.scale = 1, .best = INFINITY, .best_epoch = -1};
    r->whole = true;
    return EQ_OK;
}

/* From the newest state that is whole, or from the start. */
static eq_status resume(run *r, eq_err *err) {
    const char *const from[] = {r->now, r->good};
    for (int k = 0; k < 2; k++) {
        eq_err why = {0};
        if (!eq_exists(from[k])) continue;
        eq_status st = load(r, from[k], &why);
        if (st == EQ_OK) st = look_back(r, &why);
        if (st == EQ_OK) {
            eq_note(r->obs, "block %lld goes on from step %lld of %lld", (long long)r->block,
                    (long long)r->at.step, (long long)r->steps);
            return EQ_OK;
        }
        if (st != EQ_EINPUT) return eq_fail(err, st, "%s", why.msg);
        eq_note(r->obs, "%s; block %lld goes on from an earlier state", why.msg,
                (long long)r->block);
    }
    return start(r, err);
}

/* ---- one batch ------------------------------------------------------------------------------- */

/* Queues the losses of windows [i, i + B) of the quantized stream against the targets, for
 * take_losses behind the next sync, and leaves the gradient of their mean in j->dy. */
static void queue_losses(eq_block_ap *j, int64_t i, int64_t B, bool grad) {
    eq_backend *be = j->be;
    eq_mut loss = eq_mut_at(j->loss, 0, B);
    double zero = 0;
    eq_student_show(&j->student, &j->w);
    eq_block_job_forward(j, &j->w, eq_stream_at(&j->q, i), eq_stream_at(&j->fp, i), B);
    be->upload(be, j->power, &zero, EQ_F64);
    EQ_DO(be, sumsq, j->power, eq_ro(j->target));
    EQ_DO(be, mse, loss, grad ? j->dy : EQ_NONE_MUT, eq_ro(j->acts.y), eq_ro(j->target));
    be->download_behind(be, j->loss32, EQ_F32, eq_ro(loss));
    be->download_behind(be, &j->power64, EQ_F64, eq_ro(j->power));
}

/* The batch behind windows [i, i + B) in the same range, brought during this one. */
static void bring_next(eq_block_ap *j, int64_t i, int64_t B, int64_t end) {
    int64_t next = i + B;
    if (next < end)
        eq_block_job_ahead(j, eq_stream_at(&j->q, next), eq_stream_at(&j->fp, next),
                           eq_block_job_batch(j, next, end));
}

/* Into j->losses; power: sum of squares of the targets. */
static eq_status take_losses(eq_block_ap *j, int64_t B, double *power, eq_err *err) {
    EQ_TRY(j->be->sync(j->be, err));
    for (int64_t b = 0; b < B; b++) j->losses[b] = j->loss32[b];
    *power = j->power64;
    return EQ_OK;
}

/* The loss as a share of the mean square of its targets, so that blocks compare. */
static double share(const eq_block_ap *j, double loss, double power, int64_t windows) {
    double mean = power / ((double)(windows * j->T) * (double)j->cfg->D);
    return mean > 0 ? loss / mean : 0;
}

/* Queues backward pass and update. Half of it done is of no use: see run.whole. */
static eq_status update(run *r, eq_rates lr, eq_err *err) {
    eq_block_ap *j = r->j;
    bool norms = j->setup.ap.train & EQ_TRAIN_NORM;
    eq_block_grads g = {.sink = eq_student_sink, .ctx = &j->student, .norms = norms};
    if (eq_stopped(r->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
    r->whole = false;
    eq_student_step(&j->student, lr);
    eq_block_bwd(j->be, j->cfg, &j->w, &j->rope, &j->acts, eq_ro(j->x), j->dy, &g);
    if (norms) eq_student_norms(&j->student, &j->acts);
    return EQ_OK;
}

/* At this place. */
static double rate(const run *r, double lr) {
    return r->at.scale * eq_lr_cosine(lr, r->j->setup.ap.min_lr_factor, r->at.step, r->steps);
}

static void say_step(const run *r, const eq_rates *lr, double loss, double part) {
    unsigned train = r->j->setup.ap.train;
    char learned[96] = "";
    int n = 0;
    if (train & EQ_TRAIN_CLIP) n = snprintf(learned, sizeof learned, ",\"clip_lr\":%.6g", lr->clip);
    if (train & EQ_TRAIN_ROUND)
        snprintf(learned + n, sizeof learned - (size_t)n, ",\"round_lr\":%.6g", lr->offset);
    eq_event(r->obs,
             "{\"event\":\"block_step\",\"block\":%lld,\"step\":%lld,\"loss\":%.9g,\"share\":%.6g,"
             "\"quant_lr\":%.6g,\"weight_lr\":%.6g%s}",
             (long long)r->block, (long long)r->at.step, loss, part, lr->quant, lr->weight,
             learned);
}

/* Nothing waits between the loss and its update: an update from a loss that is not finite goes with
 * the roll-back. */
static eq_status train_batch(run *r, eq_err *err) {
    eq_block_ap *j = r->j;
    const eq_block_ap_opts *o = &j->setup.ap;
    place *at = &r->at;
    int64_t B = eq_block_job_batch(j, at->window, j->n_train), per_epoch = r->steps / o->epochs;
    eq_rates lr = {rate(r, o->quant_lr), rate(r, o->weight_lr), rate(r, o->clip_lr),
                   rate(r, o->round_lr)};
    double loss, power;
    queue_losses(j, at->window, B, true);
    EQ_TRY(update(r, lr, err));
    bring_next(j, at->window, B, j->n_train);
    EQ_TRY(take_losses(j, B, &power, err));
    loss = eq_window_sum(j->losses, B) / (double)B;
    r->broken = !isfinite(loss);
    if (r->broken) return EQ_OK;
    r->whole = true;
    say_step(r, &lr, loss, share(j, loss, power, B));
    int64_t k = at->step++ % per_epoch;
    if (!k) at->first = loss;
    at->tail[k % TAIL_STEPS] = loss;
    at->power += power;
    at->window += B;
    return EQ_OK;
}

static eq_status validate_batch(run *r, eq_err *err) {
    eq_block_ap *j = r->j;
    int64_t from, n = eq_block_job_val(j, &from), i = r->at.window - j->n_train;
    int64_t B = eq_block_job_batch(j, i, n);
    double power;
    queue_losses(j, from + i, B, false);
    bring_next(j, from + i, B, from + n);
    EQ_TRY(take_losses(j, B, &power, err));
    for (int64_t b = 0; b < B; b++) r->at.val += j->losses[b];
    r->at.val_power += power;
    r->at.window += B;
    return EQ_OK;
}

/* ---- the end of an epoch --------------------------------------------------------------------- */

static void say_epoch(const run *r, double val) {
    const eq_block_ap *j = r->j;
    const place *at = &r->at;
    int64_t n = r->steps / j->setup.ap.epochs;
    double tail = 0;
    char held_out[96] = "\"val_loss\":null";
    if (n > TAIL_STEPS) n = TAIL_STEPS;
    for (int64_t k = 0; k < n; k++) tail += at->tail[k] / (double)n;
    if (holds_out(r))
        snprintf(held_out, sizeof held_out, "\"val_loss\":%.9g,\"val_share\":%.6g", val,
                 share(j, val, at->val_power, j->n_val));
    eq_event(r->obs,
             "{\"event\":\"block_epoch\",\"block\":%lld,\"epoch\":%lld,\"first_loss\":%.9g,"
             "\"train_loss\":%.9g,\"train_share\":%.6g,\"target_power\":%.6g,%s}",
             (long long)r->block, (long long)at->epoch, at->first, tail,
             share(j, tail, at->power, j->n_train),
             at->power / ((double)(j->n_train * j->T) * (double)j->cfg->D), held_out);
}

/* Is this epoch the best one? Then its block is kept, where that is wanted. */
static eq_status rank(run *r, double val, eq_qblock *out, eq_err *err) {
    eq_block_ap *j = r->j;
    place *at = &r->at;
    const eq_block_ap_opts *o = &j->setup.ap;
    bool better = !holds_out(r) || val < at->best, last = at->epoch + 1 == o->epochs;
    if (better && keeps_best(r) && !last) {
        EQ_TRY(eq_student_finalise(&j->student, out, err));
        EQ_TRY(eq_qblock_save(out, j->cfg, r->best, err));
    }
    at->worse = better ? 0 : at->worse + 1;
    if (better) at->best = val, at->best_epoch = at->epoch;
    r->over = o->early_stop && at->worse >= o->early_stop;
    if (r->over)
        eq_note(r->obs,
                "block %lld: validation loss %.4g has not improved for %lld epochs, going on",
                (long long)r->block, at->best, (long long)at->worse);
    return EQ_OK;
}

static eq_status end_epoch(run *r, eq_qblock *out, eq_err *err) {
    place *at = &r->at;
    bool finite;
    double val = at->val / (double)val_windows(r);
    EQ_TRY(eq_student_finite(&r->j->student, &finite, err));
    r->broken = !finite || !isfinite(val);
    if (r->broken) return EQ_OK;
    EQ_TRY(rank(r, val, out, err));
    say_epoch(r, val);
    at->epoch++, at->window = 0;
    at->val = at->power = at->val_power = 0;
    r->over = r->over || at->epoch == r->j->setup.ap.epochs;
    if (r->over) return EQ_OK;
    EQ_TRY(save(r, r->good, err));
    return eq_remove_tree(r->now, err); /* older */
}

/* ---- what is not finite ---------------------------------------------------------------------- */

/* Back to the last good state, the end of the epoch before or the block's start, at half the rates.
 * Over: no rate is left to try, the block ends with that state. */
static eq_status roll_back(run *r, eq_err *err) {
    int64_t bad = r->at.step, rollbacks = r->at.rollbacks + 1;
    double scale = r->at.scale;
    bool from_start = r->at.epoch == 0;
    EQ_TRY(from_start ? start(r, err) : load(r, r->good, err));
    int64_t to = r->at.step;
    /* A first step fails before any update: lower rates would meet the same state again. */
    r->over = bad == to || scale <= ldexp(1, -MAX_ROLLBACKS);
    r->broken = false;
    r->at.rollbacks = rollbacks;
    r->at.scale = r->over ? scale : scale / 2;
    if (r->over)
        eq_note(r->obs, "block %lld: not finite at step %lld; it keeps the state of step %lld%s",
                (long long)r->block, (long long)bad, (long long)to,
                from_start ? ", round-to-nearest" : "");
    else
        eq_note(r->obs, "block %lld: not finite at step %lld; back to step %lld with rates x %g",
                (long long)r->block, (long long)bad, (long long)to, r->at.scale);
    eq_event(r->obs,
             "{\"event\":\"rollback\",\"phase\":\"block-ap\",\"block\":%lld,\"step\":%lld,\"to\":%"
             "lld,\"rate_scale\":%g,\"last\":%s}",
             (long long)r->block, (long long)bad, (long long)to, r->at.scale,
             r->over ? "true" : "false");
    return r->over ? EQ_OK : save(r, r->now, err);
}

/* ---- all epochs ------------------------------------------------------------------------------ */

static void say(const run *r, double loss) {
    const eq_block_ap *j = r->j;
    const place *at = &r->at;
    double val = (double)val_windows(r) / 3, trained = (double)at->window;
    if (at->window > j->n_train)
        trained = (double)j->n_train + (double)(at->window - j->n_train) / 3;
    double before =
        (double)(j->n_train + j->n_val) / 3 + (double)at->epoch * ((double)j->n_train + val);
    eq_block_job_say(j, r->block, before + trained, loss, r->obs);
}

static double newest_loss(const run *r) {
    int64_t per_epoch = r->steps / r->j->setup.ap.epochs;
    return r->at.step ? r->at.tail[(r->at.step - 1) % per_epoch % TAIL_STEPS] : NAN;
}

/* To the next place. */
static eq_status advance(run *r, eq_qblock *out, eq_err *err) {
    int64_t n = r->j->n_train, v = val_windows(r);
    if (r->at.window < n) return train_batch(r, err);
    if (r->at.window < n + v) return validate_batch(r, err);
    return end_epoch(r, out, err);
}

/* The best epoch, where that is to be kept and is not the newest one, else the student as it is. */
static eq_status finish(run *r, eq_qblock *out, eq_err *err) {
    eq_block_ap *j = r->j;
    const eq_block_ap_setup *s = &j->setup;
    if (keeps_best(r) && r->at.best_epoch >= 0 && r->at.best_epoch != r->at.epoch - 1)
        EQ_TRY(eq_qblock_load(out, j->cfg, &s->schemes, r->block, r->best, err));
    else
        EQ_TRY(eq_student_finalise(&j->student, out, err));
    out->rollbacks = r->at.rollbacks;
    out->untrained = r->at.epoch == 0 && s->ap.epochs > 0;
    return EQ_OK;
}

static eq_status epochs(run *r, eq_qblock *out, eq_err *err) {
    EQ_TRY(resume(r, err));
    eq_block_small_upload(&r->j->w, r->j->be, r->j->src, r->block);
    EQ_TRY(eq_block_job_uploaded(r->j, err));
    r->over = r->at.epoch >= r->j->setup.ap.epochs; /* none asked for */
    while (!r->over) {
        EQ_TRY(advance(r, out, err));
        if (r->broken) EQ_TRY(roll_back(r, err));
        if (r->over) break;
        say(r, newest_loss(r));
        if (eq_stopped(r->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        if (eq_now() - r->saved >= r->j->setup.save_seconds) EQ_TRY(save(r, r->now, err));
    }
    return finish(r, out, err);
}

/* An interrupted update is lost, back to the newest saved state; of everything else the place where
 * it was is saved. */
static eq_status stopped(run *r, eq_err *err) {
    eq_err why = {0};
    if (r->whole && save(r, r->now, &why) != EQ_OK) {
        if (err) *err = why;
        return why.status;
    }
    if (err) *err = (eq_err){0};      /* more than "stopped on request" */
    if (r->whole || r->at.scale == 0) /* saved, or not begun */
        return eq_fail(err, EQ_EINTR,
                       "stopped on request in block %lld at step %lld of %lld, saved up to there",
                       (long long)r->block, (long long)r->at.step, (long long)r->steps);
    return eq_fail(err, EQ_EINTR,
                   "stopped on request in block %lld within the update of step %lld of %lld; %.0f "
                   "seconds of work since the last save are done again",
                   (long long)r->block, (long long)r->at.step, (long long)r->steps,
                   eq_now() - r->saved);
}

static eq_status paths(run *r, const eq_block_ap *j, eq_err *err) {
    const char *const name[] = {"now", "good", "best"};
    char **const to[] = {&r->now, &r->good, &r->best};
    for (int k = 0; k < 3; k++) {
        *to[k] = eq_sprintf("%s/block-%05lld.%s", j->setup.work_dir, (long long)r->block, name[k]);
        if (!*to[k]) return eq_nomem(err, "a path", 256);
    }
    return EQ_OK;
}
static void free_paths(run *r) { eq_free(r->now), eq_free(r->good), eq_free(r->best); }

eq_status eq_block_job_train(eq_block_ap *j, int64_t i, eq_qblock *out, const eq_observer *obs,
                             eq_err *err) {
    const eq_block_ap_opts *o = &j->setup.ap;
    int64_t per_epoch = (j->n_train + o->batch_size - 1) / o->batch_size;
    run r = {.j = j, .block = i, .steps = o->epochs * per_epoch, .obs = obs, .saved = eq_now()};
    eq_status st = paths(&r, j, err);
    eq_student_turn(&j->student, i);
    if (st == EQ_OK) st = epochs(&r, out, err);
    if (st == EQ_EINTR) st = stopped(&r, err);
    free_paths(&r);
    return st;
}

eq_status eq_block_job_forget(eq_block_ap *j, int64_t i, eq_err *err) {
    run r = {.block = i};
    eq_status st = paths(&r, j, err);
    if (st == EQ_OK) st = eq_remove_tree(r.now, err);
    if (st == EQ_OK) st = eq_remove_tree(r.good, err);
    if (st == EQ_OK) st = eq_remove_tree(r.best, err);
    free_paths(&r);
    return st;
}

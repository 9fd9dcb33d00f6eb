/* The loop of Block-AP; the trainable state lives in student.c. Invariant: before block i both
 * streams hold the inputs of block i; after it, those of block i + 1. */
#include "train/block_ap.h"

#include <math.h>
#include <stdio.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "train/schedule.h"
#include "train/stream.h"
#include "train/student.h"

enum { TAIL_STEPS = 64, MAX_ROLLBACKS = 5 };

struct eq_block_ap {
    eq_backend *be;
    const eq_weights *src;
    const eq_config *cfg;
    eq_block_ap_setup setup;
    int64_t n_train, n_val, T;
    eq_dtype ct;
    eq_arena model, step;
    eq_student student;
    eq_block_w w;
    eq_rope rope;
    eq_block_acts acts;
    eq_mut x, target, dy, loss;
    eq_stream fp, q; /* train windows, then validation windows */
};

/* ---- memory --------------------------------------------------------------------------------------------- */

static void bind_model(eq_block_ap *j, eq_arena *a) {
    eq_student_bind(&j->student, a, j->cfg, j->setup.bits, j->setup.group, j->setup.ap.train);
    eq_block_w_bind(&j->w, a, j->cfg, j->ct);
    eq_rope_bind(&j->rope, a, j->cfg, j->T);
    j->loss = eq_take(a, EQ_F32, 1);
}
static void bind_step(eq_block_ap *j, eq_arena *a, int64_t B) {
    int64_t n = B * j->T * j->cfg->D;
    a->used = 0;
    j->x = eq_take(a, j->ct, n);
    j->target = eq_take(a, j->ct, n);
    j->dy = eq_take(a, EQ_F32, n);
    eq_block_acts_bind(&j->acts, a, j->cfg, j->ct, B, j->T, true);
}
static void setup(eq_block_ap *j, const eq_config *c, const eq_block_ap_setup *s, int64_t T) {
    j->cfg = c, j->setup = *s, j->T = T;
    j->ct = s->precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16;
}

int64_t eq_block_ap_bytes(const eq_config *c, const eq_block_ap_setup *s, int64_t T) {
    eq_block_ap j = {0};
    eq_arena model = {0}, step = {0};
    setup(&j, c, s, T);
    bind_model(&j, &model);
    bind_step(&j, &step, s->ap.batch_size);
    return model.used + step.used;
}

static eq_status open_stream(eq_block_ap *j, eq_stream *s, const char *name, eq_err *err) {
    char *path = NULL;
    if (j->setup.cache_dir) {
        EQ_TRY(eq_mkdir(j->setup.cache_dir, err));
        if (!(path = eq_path(j->setup.cache_dir, name))) return eq_nomem(err, "a path", 256);
    }
    eq_status st = eq_stream_open(s, j->n_train + j->n_val, j->T, j->cfg->D, j->ct, path, err);
    eq_free(path);
    return st;
}

static eq_status open_in(eq_block_ap *j, const eq_windows *train, const eq_windows *val, eq_err *err) {
    bind_model(j, &j->model);
    EQ_TRY(eq_arena_alloc(&j->model, j->be, "the block's training state", err));
    bind_model(j, &j->model);
    bind_step(j, &j->step, j->setup.ap.batch_size);
    EQ_TRY(eq_arena_alloc(&j->step, j->be, "the block's activations", err));
    EQ_TRY(eq_rope_fill(&j->rope, j->be, j->cfg, err));
    EQ_TRY(open_stream(j, &j->fp, "stream-full.bin", err));
    EQ_TRY(open_stream(j, &j->q, "stream-quantized.bin", err));
    EQ_TRY(eq_tensor_check_finite(j->src->embed, err));
    eq_stream *both[] = {&j->fp, &j->q};
    for (int k = 0; k < 2; k++) {
        eq_stream_embed(both[k], 0, train, j->src->embed);
        if (j->n_val) eq_stream_embed(both[k], j->n_train, val, j->src->embed);
    }
    return EQ_OK;
}

eq_status eq_block_ap_open(eq_block_ap **out, eq_backend *be, const eq_weights *src,
                           const eq_block_ap_setup *s, const eq_windows *train, const eq_windows *val,
                           eq_err *err) {
    *out = NULL;
    eq_block_ap *j = eq_calloc(1, sizeof *j);
    if (!j) return eq_nomem(err, "a Block-AP job", sizeof *j);
    setup(j, &src->cfg, s, train->T);
    j->be = j->student.be = be, j->src = src;
    j->n_train = train->n, j->n_val = val->n;
    eq_status st = open_in(j, train, val, err);
    if (st != EQ_OK) {
        eq_block_ap_close(j);
        return st;
    }
    *out = j;
    return EQ_OK;
}

void eq_block_ap_close(eq_block_ap *j) {
    if (!j) return;
    eq_stream_close(&j->fp), eq_stream_close(&j->q);
    eq_arena_free(&j->step), eq_arena_free(&j->model);
    eq_free(j);
}

/* ---- passes over windows ---------------------------------------------------------------------------------- */

static int64_t batch_at(const eq_block_ap *j, int64_t from, int64_t to) {
    int64_t most = j->setup.ap.batch_size;
    return to - from < most ? to - from : most;
}

static void forward(eq_block_ap *j, const eq_stream *s, int64_t window, int64_t B) {
    bind_step(j, &j->step, B);
    j->be->upload(j->be, j->x, eq_stream_at(s, window), s->dt);
    eq_block_fwd(j->be, j->cfg, &j->w, &j->rope, &j->acts, eq_ro(j->x));
}

/* Replaces every window of the stream by the block's output, with the weights in j->w. */
static eq_status pass(eq_block_ap *j, eq_stream *s, const eq_observer *obs, eq_err *err) {
    for (int64_t i = 0; i < s->n; i += j->setup.ap.batch_size) {
        if (eq_stopped(obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        forward(j, s, i, batch_at(j, i, s->n));
        j->be->download(j->be, eq_stream_at(s, i), s->dt, eq_ro(j->acts.y));
        EQ_TRY(j->be->sync(j->be, err));
    }
    return EQ_OK;
}

/* Loss of windows [i, i + B) of the quantized stream against the targets, its gradient in j->dy. */
static eq_status loss_of(eq_block_ap *j, int64_t i, int64_t B, bool grad, double *loss, eq_err *err) {
    float v;
    forward(j, &j->q, i, B);
    j->be->upload(j->be, j->target, eq_stream_at(&j->fp, i), j->fp.dt);
    EQ_DO(j->be, mse, j->loss, grad ? j->dy : EQ_NONE_MUT, eq_ro(j->acts.y), eq_ro(j->target));
    j->be->download(j->be, &v, EQ_F32, eq_ro(j->loss));
    EQ_TRY(j->be->sync(j->be, err));
    *loss = v;
    return EQ_OK;
}

static eq_status validate(eq_block_ap *j, double *loss, eq_err *err) {
    double sum = 0, one;
    int64_t end = j->n_train + j->n_val;
    eq_student_weights(&j->student, &j->w);
    for (int64_t i = j->n_train, B; i < end; i += B) {
        B = batch_at(j, i, end);
        EQ_TRY(loss_of(j, i, B, false, &one, err));
        sum += one * (double)B;
    }
    *loss = j->n_val ? sum / (double)j->n_val : NAN;
    return EQ_OK;
}

/* ---- training one block ------------------------------------------------------------------------------------ */

typedef struct {
    int64_t block, step, steps; /* steps: of all epochs */
    double scale;               /* of both rates, lowered by every roll-back */
    double first, tail, val;    /* losses of the epoch */
    bool broken;                /* a loss or a master was not finite */
    const eq_observer *obs;
} run;

static void say_step(const eq_block_ap *j, const run *r, double loss, int64_t tokens) {
    int64_t per_block = j->setup.ap.epochs * j->n_train * j->T;
    eq_progress p = {.phase = "block-ap", .block = r->block, .blocks = j->cfg->L, .tokens = true,
                     .done = r->block * per_block + tokens, .total = j->cfg->L * per_block, .loss = loss};
    eq_progress_say(r->obs, &p);
}

static eq_status step(eq_block_ap *j, run *r, int64_t i, int64_t B, double *loss, eq_err *err) {
    const eq_block_ap_opts *o = &j->setup.ap;
    double q = r->scale * eq_lr_cosine(o->quant_lr, o->min_lr_factor, r->step, r->steps);
    double w = r->scale * eq_lr_cosine(o->weight_lr, o->min_lr_factor, r->step, r->steps);
    eq_student_weights(&j->student, &j->w);
    EQ_TRY(loss_of(j, i, B, true, loss, err));
    if (!isfinite(*loss)) {
        r->broken = true;
        return EQ_OK;
    }
    bool norms = o->train & EQ_TRAIN_NORM;
    eq_block_grads g = {.sink = eq_student_sink, .ctx = &j->student, .norms = norms};
    eq_student_step(&j->student, q, w);
    eq_block_bwd(j->be, j->cfg, &j->w, &j->rope, &j->acts, eq_ro(j->x), j->dy, &g);
    if (norms) eq_student_norms(&j->student, &j->acts);
    eq_event(r->obs, "{\"event\":\"block_step\",\"block\":%lld,\"step\":%lld,\"loss\":%.9g,\"quant_lr\":%.6g,\"weight_lr\":%.6g}",
             (long long)r->block, (long long)r->step, *loss, q, w);
    r->step++;
    return EQ_OK;
}

static eq_status epoch(eq_block_ap *j, run *r, int e, eq_err *err) {
    double ring[TAIL_STEPS] = {0}, loss = NAN;
    int64_t k = 0;
    for (int64_t i = 0, B; i < j->n_train; i += B, k++) {
        if (eq_stopped(r->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        B = batch_at(j, i, j->n_train);
        EQ_TRY(step(j, r, i, B, &loss, err));
        if (r->broken) return EQ_OK;
        if (!k) r->first = loss;
        ring[k % TAIL_STEPS] = loss;
        say_step(j, r, loss, (e * j->n_train + i + B) * j->T);
    }
    r->tail = 0;
    int64_t n = k < TAIL_STEPS ? k : TAIL_STEPS;
    for (int64_t t = 0; t < n; t++) r->tail += ring[t] / (double)n;
    EQ_TRY(validate(j, &r->val, err));
    bool finite;
    EQ_TRY(eq_student_finite(&j->student, &finite, err));
    r->broken = !finite || (j->n_val && !isfinite(r->val));
    return EQ_OK;
}

static void say_epoch(const run *r, int e) {
    char val[32] = "null";
    if (isfinite(r->val)) snprintf(val, sizeof val, "%.9g", r->val);
    eq_event(r->obs, "{\"event\":\"block_epoch\",\"block\":%lld,\"epoch\":%d,\"first_loss\":%.9g,\"train_loss\":%.9g,\"val_loss\":%s}",
             (long long)r->block, e, r->first, r->tail, val);
}

/* All epochs; *out is the last state, or the best one when that is to be kept. */
static eq_status epochs(eq_block_ap *j, run *r, eq_qblock *out, eq_err *err) {
    const eq_block_ap_opts *o = &j->setup.ap;
    double best = INFINITY;
    int worse = 0;
    bool have = false;
    for (int e = 0; e < o->epochs; e++) {
        EQ_TRY(epoch(j, r, e, err));
        if (r->broken) return EQ_OK;
        say_epoch(r, e);
        bool better = !j->n_val || r->val < best;
        if (better) best = r->val, worse = 0;
        else worse++;
        if (better || !o->keep_best || !have) {
            EQ_TRY(eq_student_finalise(&j->student, out, err));
            have = true;
        }
        if (o->early_stop && worse >= o->early_stop) {
            eq_note(r->obs, "block %lld: validation loss %.4g has not improved for %d epochs, going on",
                    (long long)r->block, best, worse);
            break;
        }
    }
    return have ? EQ_OK : eq_student_finalise(&j->student, out, err);
}

/* A loss that is not finite rolls the block back to its start, which is finite, at half the rate. */
static eq_status train_from_start(eq_block_ap *j, run *r, eq_qblock *out, eq_err *err) {
    for (int tries = 0;; tries++) {
        EQ_TRY(eq_student_start(&j->student, j->src, r->block, err));
        eq_block_small_upload(&j->w, j->be, j->src, r->block);
        r->step = 0, r->broken = false;
        if (tries == MAX_ROLLBACKS) {
            eq_note(r->obs, "block %lld: the loss stays non-finite; it keeps its round-to-nearest start",
                    (long long)r->block);
            return eq_student_finalise(&j->student, out, err);
        }
        EQ_TRY(epochs(j, r, out, err));
        if (!r->broken) return EQ_OK;
        r->scale /= 2;
        eq_note(r->obs, "block %lld: the loss is not finite after step %lld; back to the block's start with rates x %g",
                (long long)r->block, (long long)r->step, r->scale);
        eq_event(r->obs, "{\"event\":\"rollback\",\"block\":%lld,\"step\":%lld,\"rate_scale\":%g}",
                 (long long)r->block, (long long)r->step, r->scale);
    }
}

static eq_status advance_quantized(eq_block_ap *j, int64_t i, const eq_qblock *b, const eq_observer *obs,
                                   eq_err *err) {
    if (i + 1 == j->cfg->L) return EQ_OK; /* nobody reads the last block's output */
    eq_block_small_upload(&j->w, j->be, j->src, i);
    eq_student_load(&j->student, b, &j->w);
    return pass(j, &j->q, obs, err);
}

eq_status eq_block_ap_train(eq_block_ap *j, int64_t i, eq_qblock *out, const eq_observer *obs,
                            eq_err *err) {
    const eq_block_ap_opts *o = &j->setup.ap;
    EQ_TRY(eq_block_w_upload(&j->w, j->be, j->src, i, err));
    EQ_TRY(pass(j, &j->fp, obs, err));
    int64_t per_epoch = (j->n_train + o->batch_size - 1) / o->batch_size;
    run r = {.block = i, .steps = o->epochs * per_epoch, .scale = 1, .obs = obs};
    EQ_TRY(train_from_start(j, &r, out, err));
    return advance_quantized(j, i, out, obs, err);
}

eq_status eq_block_ap_pass(eq_block_ap *j, int64_t i, const eq_qblock *done, const eq_observer *obs,
                           eq_err *err) {
    EQ_TRY(eq_block_w_upload(&j->w, j->be, j->src, i, err));
    EQ_TRY(pass(j, &j->fp, obs, err));
    return advance_quantized(j, i, done, obs, err);
}

/* The loop of Block-AP; the trainable state lives in student.c. Invariant: the quantized stream
 * leaves the inputs of block i only when the block is saved, so a killed run finds them or can make
 * them. */
#include "train/block_ap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "train/schedule.h"
#include "train/snapshot.h"
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
    eq_snapshot good; /* the student after the last finished epoch; none before the first ends */
    eq_block_w w;     /* the student's */
    eq_block_w room;  /* of a whole block before and after its training */
    eq_rope rope;
    eq_block_acts acts;
    eq_mut x, target, dy, loss;
    eq_stream fp, q; /* train windows, then validation windows */
};

/* ---- memory ---------------------------------------------------------------------------------- */

static void bind_model(eq_block_ap *j, eq_arena *a) {
    eq_student_bind(&j->student, a, j->cfg, j->setup.bits, j->setup.group, j->setup.ap.train);
    eq_block_w_bind(&j->w, a, j->cfg, j->ct, eq_student_make, &j->student);
    j->room = eq_student_room(&j->student, &j->w, j->ct);
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

int64_t eq_block_ap_snapshot_bytes(const eq_config *c, const eq_block_ap_setup *s) {
    eq_student st = {0};
    eq_arena a = {0};
    eq_student_bind(&st, &a, c, s->bits, s->group, s->ap.train);
    return s->ap.epochs > 1 ? eq_snapshot_bytes(&st) : 0;
}

/* ---- streams --------------------------------------------------------------------------------- */

static char *stream_path(const eq_block_ap_setup *s, const char *name) {
    eq_digest run = eq_hash_bytes(s->run, (int64_t)strlen(s->run));
    return eq_sprintf("%s/stream-%s-%s.bin", s->cache_dir, run.hex, name);
}
static const char *const stream_names[] = {"full", "quantized"};

bool eq_block_ap_has_files(const eq_block_ap_setup *s) {
    char *path = stream_path(s, stream_names[0]);
    bool yes = path && eq_exists(path);
    eq_free(path);
    return yes;
}

eq_status eq_block_ap_remove_files(const eq_block_ap_setup *s, eq_err *err) {
    eq_status st = EQ_OK;
    for (int k = 0; k < 2 && st == EQ_OK; k++) {
        char *path = stream_path(s, stream_names[k]);
        st = path ? eq_remove_tree(path, err) : eq_nomem(err, "a path", 256);
        eq_free(path);
    }
    return st;
}

/* most: blocks it can have passed when the first `done` are finished. */
static eq_status open_stream(eq_block_ap *j, eq_stream *s, const char *name, int64_t most,
                             eq_err *err) {
    char *path = NULL;
    *s = (eq_stream){.n = j->n_train + j->n_val,
                     .B = j->setup.ap.batch_size,
                     .T = j->T,
                     .D = j->cfg->D,
                     .dt = j->ct};
    if (j->setup.cache_dir) {
        EQ_TRY(eq_mkdir(j->setup.cache_dir, err));
        if (!(path = stream_path(&j->setup, name))) return eq_nomem(err, "a path", 256);
    }
    eq_status st = eq_stream_open(s, path, most, err);
    eq_free(path);
    return st;
}

int64_t eq_block_ap_behind(const eq_block_ap *j) {
    int64_t fp = eq_stream_level(&j->fp), q = eq_stream_level(&j->q), done = j->setup.done;
    /* A run killed after it saved a block has the quantized stream's pass over it still to do. */
    if (fp >= done && q >= done - 1) return 0;
    return done - (fp < q ? fp : q);
}

static eq_status open_in(eq_block_ap *j, const eq_windows *train, const eq_windows *val,
                         eq_err *err) {
    bind_model(j, &j->model);
    EQ_TRY(eq_arena_alloc(&j->model, j->be, "the block's training state", err));
    bind_model(j, &j->model);
    bind_step(j, &j->step, j->setup.ap.batch_size);
    EQ_TRY(eq_arena_alloc(&j->step, j->be, "the block's activations", err));
    EQ_TRY(eq_rope_fill(&j->rope, j->be, j->cfg, err));
    EQ_TRY(open_stream(j, &j->fp, stream_names[0], j->setup.done + 1, err));
    EQ_TRY(open_stream(j, &j->q, stream_names[1], j->setup.done, err));
    EQ_TRY(eq_tensor_check_finite(j->src->embed, err));
    if (eq_stream_level(&j->fp) < 0) eq_stream_embed(&j->fp, train, val, j->src->embed);
    if (eq_stream_level(&j->q) < 0) eq_stream_embed(&j->q, train, val, j->src->embed);
    return EQ_OK;
}

eq_status eq_block_ap_open(eq_block_ap **out, eq_backend *be, const eq_weights *src,
                           const eq_block_ap_setup *s, const eq_windows *train,
                           const eq_windows *val, eq_err *err) {
    *out = NULL;
    eq_block_ap *j = eq_calloc(1, sizeof *j);
    if (!j) return eq_nomem(err, "a Block-AP job", sizeof *j);
    setup(j, &src->cfg, s, train->T);
    j->good.dir = s->work_dir;
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
    eq_snapshot_drop(&j->good);
    eq_stream_close(&j->fp), eq_stream_close(&j->q);
    eq_arena_free(&j->step), eq_arena_free(&j->model);
    eq_free(j);
}

/* ---- passes over windows --------------------------------------------------------------------- */

static int64_t batch_at(const eq_block_ap *j, int64_t from, int64_t to) {
    int64_t most = j->setup.ap.batch_size;
    return to - from < most ? to - from : most;
}

/* The block with weights w on B windows. */
static void forward(eq_block_ap *j, const eq_block_w *w, const void *x, int64_t B) {
    bind_step(j, &j->step, B);
    j->be->upload(j->be, j->x, x, j->ct);
    eq_block_fwd(j->be, j->cfg, w, &j->rope, &j->acts, eq_ro(j->x));
}

/* Brings every window of the stream that is not there yet behind block i, with the weights in
 * j->room. */
static eq_status pass(eq_block_ap *j, eq_stream *s, int64_t i, const eq_observer *obs,
                      eq_err *err) {
    int64_t windows = 0;
    while (eq_stream_level(s) <= i) {
        if (eq_stopped(obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        eq_stream_batch b = eq_stream_next(s);
        forward(j, &j->room, b.in, b.n);
        j->be->download(j->be, b.out, s->dt, eq_ro(j->acts.y));
        EQ_TRY(j->be->sync(j->be, err));
        eq_stream_passed(s, &b);
        windows += b.n;
    }
    eq_event(obs, "{\"event\":\"pass\",\"block\":%lld,\"stream\":\"%s\",\"windows\":%lld}",
             (long long)i, stream_names[s == &j->q], (long long)windows);
    return EQ_OK;
}

/* Loss of windows [i, i + B) of the quantized stream against the targets, its gradient in j->dy. */
static eq_status loss_of(eq_block_ap *j, int64_t i, int64_t B, bool grad, double *loss,
                         eq_err *err) {
    float v;
    forward(j, &j->w, eq_stream_at(&j->q, i), B);
    j->be->upload(j->be, j->target, eq_stream_at(&j->fp, i), j->fp.dt);
    EQ_DO(j->be, mse, j->loss, grad ? j->dy : EQ_NONE_MUT, eq_ro(j->acts.y), eq_ro(j->target));
    j->be->download(j->be, &v, EQ_F32, eq_ro(j->loss));
    EQ_TRY(j->be->sync(j->be, err));
    *loss = v;
    return EQ_OK;
}

/* Mean loss over the validation windows, or where there are none over the first batch: enough to
 * see whether it is finite after the last step. */
static eq_status validate(eq_block_ap *j, double *loss, eq_err *err) {
    double sum = 0, one;
    int64_t from = j->n_val ? j->n_train : 0;
    int64_t end = j->n_val ? from + j->n_val : batch_at(j, 0, j->n_train);
    eq_student_show_norms(&j->student, &j->w);
    for (int64_t i = from, B; i < end; i += B) {
        B = batch_at(j, i, end);
        EQ_TRY(loss_of(j, i, B, false, &one, err));
        sum += one * (double)B;
    }
    *loss = sum / (double)(end - from);
    return EQ_OK;
}

/* ---- training one block ---------------------------------------------------------------------- */

typedef struct {
    int64_t block, step, per_epoch, steps; /* steps: of all epochs */
    double scale;                          /* of both rates, lowered by every roll-back */
    double first, tail, val;               /* losses of the epoch */
    bool broken;                           /* a loss or a master was not finite */
    const eq_observer *obs;
} run;

static void say_step(const eq_block_ap *j, const run *r, double loss, int64_t tokens) {
    int64_t per_block = j->setup.ap.epochs * j->n_train * j->T;
    eq_progress p = {.phase = "block-ap",
                     .block = r->block,
                     .blocks = j->cfg->L,
                     .tokens = true,
                     .done = r->block * per_block + tokens,
                     .total = j->cfg->L * per_block,
                     .loss = loss};
    eq_progress_say(r->obs, &p);
}

static eq_status step(eq_block_ap *j, run *r, int64_t i, int64_t B, double *loss, eq_err *err) {
    const eq_block_ap_opts *o = &j->setup.ap;
    double q = r->scale * eq_lr_cosine(o->quant_lr, o->min_lr_factor, r->step, r->steps);
    double w = r->scale * eq_lr_cosine(o->weight_lr, o->min_lr_factor, r->step, r->steps);
    eq_student_show_norms(&j->student, &j->w);
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
    eq_event(r->obs,
             "{\"event\":\"block_step\",\"block\":%lld,\"step\":%lld,\"loss\":%.9g,\"quant_lr\":%."
             "6g,\"weight_lr\":%.6g}",
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
    EQ_TRY(validate(j, &loss, err));
    bool finite;
    EQ_TRY(eq_student_finite(&j->student, &finite, err));
    r->broken = !finite || !isfinite(loss);
    r->val = j->n_val ? loss : NAN;
    return EQ_OK;
}

static void say_epoch(const run *r, int e) {
    char val[32] = "null";
    if (isfinite(r->val)) snprintf(val, sizeof val, "%.9g", r->val);
    eq_event(r->obs,
             "{\"event\":\"block_epoch\",\"block\":%lld,\"epoch\":%d,\"first_loss\":%.9g,\"train_"
             "loss\":%.9g,\"val_loss\":%s}",
             (long long)r->block, e, r->first, r->tail, val);
}

static eq_status start(eq_block_ap *j, const run *r, eq_err *err) {
    EQ_TRY(eq_student_start(&j->student, j->src, r->block, err));
    eq_block_small_upload(&j->w, j->be, j->src, r->block);
    return EQ_OK;
}

/* Epoch e met something that is not finite: back to the last good state, the end of the epoch
 * before or the block's start, at half the rates. *over: no rate is left to try, the block ends
 * with that state. */
static eq_status roll_back(eq_block_ap *j, run *r, int e, bool *over, eq_err *err) {
    int64_t bad = r->step;
    if (e)
        EQ_TRY(eq_snapshot_restore(&j->good, &j->student, err));
    else
        EQ_TRY(start(j, r, err));
    r->step = e * r->per_epoch, r->broken = false;
    /* A first step fails before any update: lower rates would meet the same state again. */
    *over = bad == r->step || r->scale <= ldexp(1, -MAX_ROLLBACKS);
    if (!*over) r->scale /= 2;
    if (*over)
        eq_note(r->obs, "block %lld: not finite at step %lld; it keeps the state of step %lld%s",
                (long long)r->block, (long long)bad, (long long)r->step,
                e ? "" : ", round-to-nearest");
    else
        eq_note(r->obs, "block %lld: not finite at step %lld; back to step %lld with rates x %g",
                (long long)r->block, (long long)bad, (long long)r->step, r->scale);
    eq_event(r->obs,
             "{\"event\":\"rollback\",\"phase\":\"block-ap\",\"block\":%lld,\"step\":%lld,\"to\":%"
             "lld,\"rate_scale\":%g,\"last\":%s}",
             (long long)r->block, (long long)bad, (long long)r->step, r->scale,
             *over ? "true" : "false");
    return EQ_OK;
}

/* All epochs; *out is the last good state, or the best one when that is to be kept. */
static eq_status epochs(eq_block_ap *j, run *r, eq_qblock *out, eq_err *err) {
    const eq_block_ap_opts *o = &j->setup.ap;
    double best = INFINITY;
    int worse = 0, e = 0;
    bool over = false;
    EQ_TRY(start(j, r, err));
    while (e < o->epochs && !over) {
        EQ_TRY(epoch(j, r, e, err));
        if (r->broken) {
            EQ_TRY(roll_back(j, r, e, &over, err));
            continue;
        }
        say_epoch(r, e);
        bool better = !j->n_val || r->val < best;
        if (better)
            best = r->val, worse = 0;
        else
            worse++;
        if (better || !o->keep_best) EQ_TRY(eq_student_finalise(&j->student, out, err));
        over = o->early_stop && worse >= o->early_stop;
        if (over)
            eq_note(r->obs,
                    "block %lld: validation loss %.4g has not improved for %d epochs, going on",
                    (long long)r->block, best, worse);
        if (++e < o->epochs && !over) EQ_TRY(eq_snapshot_keep(&j->good, &j->student, err));
    }
    eq_snapshot_drop(&j->good);
    return e ? EQ_OK : eq_student_finalise(&j->student, out, err);
}

/* The targets of block i are its full-precision outputs, which are also the next block's inputs. */
static eq_status pass_full(eq_block_ap *j, int64_t i, const eq_observer *obs, eq_err *err) {
    if (eq_stream_level(&j->fp) > i) return EQ_OK;
    EQ_TRY(eq_block_w_upload(&j->room, j->be, j->src, i, err));
    return pass(j, &j->fp, i, obs, err);
}

eq_status eq_block_ap_train(eq_block_ap *j, int64_t i, eq_qblock *out, const eq_observer *obs,
                            eq_err *err) {
    const eq_block_ap_opts *o = &j->setup.ap;
    EQ_TRY(pass_full(j, i, obs, err));
    int64_t per_epoch = (j->n_train + o->batch_size - 1) / o->batch_size;
    run r = {
        .block = i, .per_epoch = per_epoch, .steps = o->epochs * per_epoch, .scale = 1, .obs = obs};
    return epochs(j, &r, out, err);
}

eq_status eq_block_ap_pass(eq_block_ap *j, int64_t i, const eq_qblock *done, const eq_observer *obs,
                           eq_err *err) {
    EQ_TRY(pass_full(j, i, obs, err));
    /* Nobody reads what the quantized model puts out behind its last block. */
    if (i + 1 == j->cfg->L || eq_stream_level(&j->q) > i) return EQ_OK;
    eq_block_small_upload(&j->w, j->be, j->src, i);
    eq_student_load(&j->student, done, &j->room);
    return pass(j, &j->q, i, obs, err);
}

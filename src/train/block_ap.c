/* Block-AP's memory, streams and passes; the training of one block is block_train.c, the trainable
 * state student.c. Invariant: the quantized stream leaves the inputs of block i only when the block
 * is saved, so a killed run finds them or can make them. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "train/block_job.h"
#include "train/sinks.h"
#include "train/snapshot.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static void bind_model(eq_block_ap *j, eq_arena *a) {
    eq_student_bind(&j->student, a, j->cfg, &j->setup.schemes, j->setup.ap.train);
    j->student.range = j->setup.ap.range;
    bool keep = a->hints && a->hints->keep_weights;
    eq_block_w_bind(&j->w, a, j->cfg, j->ct, keep ? NULL : eq_student_make, &j->student);
    j->student.kept = keep ? &j->w : NULL;
    j->room = eq_student_room(&j->student, &j->w, j->ct);
    eq_rope_bind(&j->rope, a, j->cfg, j->T);
    j->loss = eq_take(a, EQ_F32, j->setup.ap.batch_size);
    j->power = eq_take(a, EQ_F64, 1);
}
static void bind_step(eq_block_ap *j, eq_arena *a, int64_t B) {
    int64_t n = B * j->T * j->cfg->D, most = j->setup.ap.batch_size * j->T * j->cfg->D;
    bool ahead = a->hints && a->hints->ahead;
    a->used = 0;
    for (int k = 0; k < 2; k++) /* where they are for every B: the next batch comes into them */
        for (int t = 0; t < 2; t++)
            j->slot[k][t] = k && !ahead ? j->slot[0][t] : eq_take(a, j->ct, most);
    j->dy = eq_take(a, EQ_F32, n);
    eq_block_acts_bind(&j->acts, a, j->cfg, j->ct, B, j->T, true);
}
static void setup(eq_block_ap *j, const eq_config *c, const eq_block_ap_setup *s, int64_t T) {
    j->cfg = c, j->setup = *s, j->T = T;
    j->ct = s->precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16;
}

int64_t eq_block_ap_bytes(const eq_config *c, const eq_block_ap_setup *s, int64_t T) {
    eq_block_ap j = {0};
    eq_arena model = {.hints = s->hints}, step = model;
    setup(&j, c, s, T);
    bind_model(&j, &model);
    bind_step(&j, &step, s->ap.batch_size);
    int64_t start = s->ap.start == EQ_START_GPTQ  ? eq_gptq_start_bytes(c)
                    : s->ap.start == EQ_START_AWQ ? eq_awq_start_bytes(c, s, T)
                                                  : 0;
    return model.used + step.used + start;
}

/* The newest one, the one that is being written, and that of the last finished epoch. */
int64_t eq_block_ap_snapshot_bytes(const eq_config *c, const eq_block_ap_setup *s) {
    eq_student st = {0};
    eq_arena a = {0};
    eq_student_bind(&st, &a, c, &s->schemes, s->ap.train);
    return eq_snapshot_bytes(&st) * (s->ap.epochs > 1 ? 3 : 2);
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
                             const eq_observer *obs, eq_err *err) {
    char *path = NULL;
    *s = (eq_stream){.n = j->n_train + j->n_val,
                     .B = j->setup.ap.batch_size,
                     .T = j->T,
                     .D = j->cfg->D,
                     .dt = j->ct,
                     .obs = obs};
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
                         const eq_observer *obs, eq_err *err) {
    j->losses = eq_calloc(j->setup.ap.batch_size, sizeof *j->losses);
    j->loss32 = eq_calloc(j->setup.ap.batch_size, sizeof *j->loss32);
    if (!j->losses || !j->loss32) return eq_nomem(err, "losses", 8 * j->setup.ap.batch_size);
    bind_model(j, &j->model);
    EQ_TRY(eq_arena_alloc(&j->model, j->be, "the block's training state", err));
    bind_model(j, &j->model);
    bind_step(j, &j->step, j->setup.ap.batch_size);
    EQ_TRY(eq_arena_alloc(&j->step, j->be, "the block's activations", err));
    EQ_TRY(eq_rope_fill(&j->rope, j->be, j->cfg, j->T, err));
    EQ_TRY(open_stream(j, &j->fp, stream_names[0], j->setup.done + 1, obs, err));
    EQ_TRY(open_stream(j, &j->q, stream_names[1], j->setup.done, obs, err));
    EQ_TRY(eq_tensor_check_finite(j->src->embed, err));
    eq_stream *const s[] = {&j->fp, &j->q};
    for (int k = 0; k < 2; k++)
        if (eq_stream_level(s[k]) < 0)
            EQ_TRY(eq_stream_embed(s[k], train, val, j->src->embed, j->cfg->embed_scale, err));
    return eq_weights_unchanged(j->src, err);
}

eq_status eq_block_ap_open(eq_block_ap **out, eq_backend *be, const eq_weights *src,
                           const eq_block_ap_setup *s, const eq_windows *train,
                           const eq_windows *val, const eq_observer *obs, eq_err *err) {
    *out = NULL;
    eq_block_ap *j = eq_calloc(1, sizeof *j);
    if (!j) return eq_nomem(err, "a Block-AP job", sizeof *j);
    setup(j, &src->cfg, s, train->T);
    j->be = j->student.be = be, j->src = src;
    j->model.hints = j->step.hints = be->hints;
    j->n_train = train->n, j->n_val = val->n;
    eq_status st = open_in(j, train, val, obs, err);
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
    eq_free(j->losses), eq_free(j->loss32);
    eq_free(j);
}

/* ---- passes over windows --------------------------------------------------------------------- */

int64_t eq_block_job_batch(const eq_block_ap *j, int64_t from, int64_t to) {
    int64_t most = j->setup.ap.batch_size;
    return to - from < most ? to - from : most;
}

int64_t eq_block_job_val(const eq_block_ap *j, int64_t *from) {
    *from = j->n_val ? j->n_train : 0;
    return j->n_val ? j->n_val : eq_block_job_batch(j, 0, j->n_train);
}

/* Into the slots whose turn it is. */
static void bring(eq_block_ap *j, const void *x, const void *target, int64_t B) {
    int64_t n = B * j->T * j->cfg->D;
    j->be->upload_ahead(j->be, eq_mut_at(j->slot[j->turn][0], 0, n), x, j->ct);
    if (target) j->be->upload_ahead(j->be, eq_mut_at(j->slot[j->turn][1], 0, n), target, j->ct);
    j->brought.x = x, j->brought.target = target, j->brought.B = B;
}

void eq_block_job_ahead(eq_block_ap *j, const void *x, const void *target, int64_t B) {
    if (j->step.hints && j->step.hints->ahead) bring(j, x, target, B);
}

void eq_block_job_forward(eq_block_ap *j, const eq_block_w *w, const void *x, const void *target,
                          int64_t B) {
    int64_t n = B * j->T * j->cfg->D;
    bind_step(j, &j->step, B);
    if (j->brought.x != x || j->brought.target != target || j->brought.B != B)
        bring(j, x, target, B);
    j->be->arrive(j->be);
    j->x = eq_mut_at(j->slot[j->turn][0], 0, n);
    j->target = eq_mut_at(j->slot[j->turn][1], 0, n);
    j->turn ^= 1, j->brought.x = NULL;
    eq_block_fwd(j->be, j->cfg, w, &j->rope, &j->acts, eq_ro(j->x));
}

/* Per block the windows of both passes, a third each, and of all epochs with their validation. */
static double per_block(const eq_block_ap *j) {
    int64_t from;
    double val = (double)eq_block_job_val(j, &from) / 3;
    return 2.0 / 3 * (double)(j->n_train + j->n_val) +
           (double)j->setup.ap.epochs * ((double)j->n_train + val);
}

void eq_block_job_say(const eq_block_ap *j, int64_t i, double windows, double loss,
                      const eq_observer *obs) {
    double T = (double)j->T, all = per_block(j);
    eq_progress p = {.phase = "block-ap",
                     .block = i,
                     .blocks = j->cfg->L,
                     .tokens = true,
                     .done = (int64_t)(((double)i * all + windows) * T),
                     .total = (int64_t)((double)j->cfg->L * all * T),
                     .loss = loss};
    eq_progress_say(obs, &p);
}

/* Behind a pass of the quantized stream; the full-precision one is at the same level. */
static eq_status copy_sinks(eq_block_ap *j, const eq_stream_batch *b, int64_t *sinks, eq_err *err) {
    int64_t window = j->T * j->cfg->D * eq_dtype_size(j->q.dt), n;
    for (int64_t k = 0; k < b->n; k++) {
        EQ_TRY(eq_sinks_copy((char *)b->out + k * window, eq_stream_at(&j->fp, b->from + k),
                             j->q.dt, j->T, j->cfg->D, &n, err));
        *sinks += n;
    }
    return EQ_OK;
}

/* Brings every window of the stream that is not there yet behind block i, with the weights in
 * j->room. */
static eq_status pass(eq_block_ap *j, eq_stream *s, int64_t i, const eq_observer *obs,
                      eq_err *err) {
    int64_t windows = 0, sinks = 0;
    bool copies = s == &j->q && j->setup.ap.exact_sinks;
    double all = (double)s->n / 3, begun = s == &j->q ? per_block(j) - all : 0;
    while (eq_stream_level(s) <= i) {
        if (eq_stopped(obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        eq_stream_batch b = eq_stream_next(s), next = eq_stream_next_but_one(s);
        eq_block_job_forward(j, &j->room, b.in, NULL, b.n);
        j->be->download_behind(j->be, b.out, s->dt, eq_ro(j->acts.y));
        if (next.n) eq_block_job_ahead(j, next.in, NULL, next.n);
        EQ_TRY(j->be->sync(j->be, err));
        if (copies) EQ_TRY(copy_sinks(j, &b, &sinks, err));
        eq_stream_passed(s, &b);
        windows += b.n;
        eq_block_job_say(j, i, begun + (double)windows / 3, NAN, obs);
    }
    eq_event(
        obs,
        "{\"event\":\"pass\",\"block\":%lld,\"stream\":\"%s\",\"windows\":%lld,\"sinks\":%lld}",
        (long long)i, stream_names[s == &j->q], (long long)windows, (long long)sinks);
    return EQ_OK;
}

eq_status eq_block_job_uploaded(const eq_block_ap *j, eq_err *err) {
    EQ_TRY(j->be->sync(j->be, err));
    return eq_weights_unchanged(j->src, err);
}

/* The targets of block i are its full-precision outputs, which are also the next block's inputs. */
static eq_status pass_full(eq_block_ap *j, int64_t i, const eq_observer *obs, eq_err *err) {
    if (eq_stream_level(&j->fp) > i) return EQ_OK;
    EQ_TRY(eq_block_w_upload(&j->room, j->be, j->src, i, err));
    EQ_TRY(eq_block_job_uploaded(j, err));
    return pass(j, &j->fp, i, obs, err);
}

eq_status eq_block_ap_train(eq_block_ap *j, int64_t i, eq_qblock *out, const eq_observer *obs,
                            eq_err *err) {
    EQ_TRY(pass_full(j, i, obs, err));
    return eq_block_job_train(j, i, out, obs, err);
}

eq_status eq_block_ap_pass(eq_block_ap *j, int64_t i, const eq_qblock *done, const eq_observer *obs,
                           eq_err *err) {
    EQ_TRY(eq_block_job_forget(j, i, err));
    EQ_TRY(pass_full(j, i, obs, err));
    /* Nobody reads what the quantized model puts out behind its last block. */
    if (i + 1 == j->cfg->L || eq_stream_level(&j->q) > i) return EQ_OK;
    eq_block_small_upload(&j->w, j->be, j->src, i);
    j->room.layer = i;
    eq_student_load(&j->student, done, &j->room);
    EQ_TRY(eq_block_job_uploaded(j, err));
    return pass(j, &j->q, i, obs, err);
}

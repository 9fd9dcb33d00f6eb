/* Stopping: between any two operations, at any event, with states saved always or never; what goes
 * on afterwards has the bits of what nobody stopped. A test backend leaves operations out from the
 * nth on, as eq_stop_wrap does, without its half second of grace. */
#include <math.h>

#include "backend/wrap.h"
#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "tiny_model.h"
#include "train/block_ap.h"
#include "train/e2e_qp.h"
#include "train/rtn.h"

enum { T = 16, TRAIN = 5, VAL = 3, BATCH = 2, EPOCHS = 3 };

/* ---- what stops, what is not finite ---------------------------------------------------------- */

static int64_t ops, stop_at; /* operations so far; from this one on they are left out. < 0: never */
static int64_t said, stop_said; /* likewise at this progress report */
static int64_t noted, stepped, rolled;
static int64_t poison_at; /* the loss of the nth step is not finite, once; < 0: none */
static volatile int stop_flag;
static int64_t events, stop_event; /* the flag is set at this event; < 0: never */

static bool before(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    (void)op, (void)args, (void)n;
    if (stop_at < 0 || ops++ < stop_at) return true;
    eq_wrap_error(w, EQ_EINTR, "stopped by the test");
    return false;
}
static void after(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    (void)n;
    if (op != EQ_OP_mse || !args[2].n || stepped != poison_at) return;
    poison_at = -1;
    float nan = NAN;
    eq_mut loss = {(void *)(uintptr_t)args[1].p, args[1].n, args[1].dt};
    w->in->upload(w->in, eq_mut_at(loss, 0, 1), &nan, EQ_F32);
}
static void on_event(void *ctx, const char *line) {
    (void)ctx;
    if (strstr(line, "_step\"")) stepped++;
    if (strstr(line, "\"rollback\"")) rolled++;
    if (events++ == stop_event) stop_flag = 1;
}
static void on_note(void *ctx, const char *line) {
    (void)ctx;
    if (strstr(line, "goes on from step")) noted++;
}
static void on_progress(void *ctx, const eq_progress *p) {
    (void)ctx;
    assert_true(p->done >= 0 && p->done <= p->total);
    if (said++ == stop_said) stop_flag = 1;
}
static const eq_observer observer = {
    .progress = on_progress, .event = on_event, .note = on_note, .stop = &stop_flag};

/* ---- a job on a tiny model ------------------------------------------------------------------- */

static char *model;
static char work[4096], now[4200], good[4200], best[4200];
static char state_path[4200], good_path[4300], step_path[4300];
static eq_weights *src;
static eq_backend *be;
static eq_windows train, val;
static eq_err err;

static void ok(eq_status st) {
    if (st != EQ_OK) fail_msg("%s", err.msg);
}
static eq_windows windows(int64_t n, int32_t first) {
    eq_windows w = {.ids = eq_calloc(n * T, sizeof(int32_t)), .n = n, .T = T};
    for (int64_t i = 0; i < n * T; i++) w.ids[i] = (int32_t)((first + i * i) % 50);
    return w;
}
static int set_up(void **state) {
    (void)state;
    eq_wrap *w;
    model = tiny_dir();
    tiny_write(model, tiny_config("qwen3", false), &(tiny_opts){.dt = EQ_F32, .seed = 5});
    ok(eq_weights_open(&src, model, &err));
    ok(eq_backend_open(&be, "cpu", NULL, &err));
    ok(eq_wrap_open(&be, "test:", &w, &err));
    w->before = before, w->after = after;
    train = windows(TRAIN, 3), val = windows(VAL, 11);
    snprintf(work, sizeof work, "%s", scratch_path("work"));
    snprintf(now, sizeof now, "%s/block-00000.now", work);
    snprintf(good, sizeof good, "%s/block-00000.good", work);
    snprintf(best, sizeof best, "%s/block-00000.best", work);
    snprintf(state_path, sizeof state_path, "%s/e2e.state", work);
    snprintf(good_path, sizeof good_path, "%s.good", state_path);
    snprintf(step_path, sizeof step_path, "%s.step", state_path);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    eq_windows_free(&train), eq_windows_free(&val);
    be->close(be);
    eq_weights_close(src);
    tiny_remove(model);
    return 0;
}

static eq_block_ap_setup settings(void) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    eq_block_ap_setup s = {.schemes = EQ_ONE_SCHEME(2, 32),
                           .precision = EQ_PREC_F32,
                           .ap = o.ap,
                           .save_seconds = 1e9,
                           .work_dir = work,
                           .run = "this run"};
    s.ap.batch_size = BATCH, s.ap.epochs = EPOCHS, s.ap.quant_lr = 1e-3, s.ap.weight_lr = 1e-3;
    return s;
}

/* One block in a job of its own, as a program would that is started (again). EQ_OK when it is
 * trained: a stop in the pass behind that loses nothing. */
static eq_status attempt(const eq_block_ap_setup *s, eq_qblock *out, bool pass) {
    eq_block_ap *job;
    eq_windows v = val;
    eq_status st = EQ_OK;
    err = (eq_err){0};
    events = 0;
    st = eq_block_ap_open(&job, be, src, s, &train, &v, &observer, &err);
    if (st != EQ_OK) return st;
    st = eq_block_ap_train(job, 0, out, &observer, &err);
    if (st == EQ_OK && pass) eq_block_ap_pass(job, 0, out, &observer, &err);
    eq_block_ap_close(job);
    return st;
}
/* Nothing stops the next attempt. */
static void calm(void) {
    stop_at = stop_event = stop_said = -1;
    ops = noted = 0;
    stop_flag = 0;
}
static eq_qblock room(void) {
    eq_qblock b = {0};
    ok(eq_qblock_alloc(&b, &src->cfg, &EQ_ONE_SCHEME(2, 32), &err));
    return b;
}
static bool same(const eq_qblock *a, const eq_qblock *b) {
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *p = &a->lin[l], *q = &b->lin[l];
        size_t groups = (size_t)(p->O * (p->I / p->G)) * 4,
               words = (size_t)(p->O * p->I * 2 / 32) * 4;
        if (memcmp(p->rows, q->rows, words) || memcmp(p->s, q->s, groups) ||
            memcmp(p->z, q->z, groups))
            return false;
    }
    return !memcmp(a->norm[0], b->norm[0], 64 * 4) && !memcmp(a->norm[1], b->norm[1], 64 * 4) &&
           a->rollbacks == b->rollbacks && a->untrained == b->untrained;
}
static void fresh_folder(void) {
    ok(eq_remove_tree(work, &err));
    ok(eq_mkdir(work, &err));
}
static void nothing_left(void) {
    bool empty;
    ok(eq_dir_is_empty(work, &empty, &err));
    assert_true(empty);
}

/* ---- Block-AP -------------------------------------------------------------------------------- */

static void begin(int64_t poison) {
    calm();
    poison_at = poison, stepped = rolled = 0;
}

/* Undisturbed; then stopped at every event, and between operations all over, once and twice. */
static void stopped_anywhere(eq_block_ap_setup s, int64_t poison) {
    eq_qblock whole = room(), again = room();
    fresh_folder();
    begin(poison);
    stop_at = INT64_MAX;
    ok(attempt(&s, &whole, true));
    nothing_left();
    int64_t all_ops = ops, all_events = events, all_steps = stepped;
    assert_int_equal(whole.rollbacks, poison >= 0);
    assert_int_equal(rolled, poison >= 0);
    assert_int_equal(whole.untrained, false);
    for (int64_t e = 0; e < all_events; e++) {
        begin(poison);
        stop_event = e;
        eq_status st = attempt(&s, &again, true);
        calm();
        if (st != EQ_OK) {
            assert_int_equal(st, EQ_EINTR);
            ok(attempt(&s, &again, true));
            assert_int_equal(noted, 1);
        }
        assert_int_equal(stepped, all_steps); /* none is lost, none is made twice */
        assert_true(same(&whole, &again));
        nothing_left();
    }
    for (int64_t n = 0; n < all_ops; n += 1 + all_ops / 12) {
        for (int k = 0; k < 2 && poison < 0; k++) {
            begin(-1);
            stop_at = n;
            eq_status st = attempt(&s, &again, true);
            calm();
            stop_at = all_ops / 3; /* the second time round, a later start is stopped as well */
            if (st != EQ_OK && k) st = attempt(&s, &again, true);
            calm();
            if (st != EQ_OK) ok(attempt(&s, &again, true));
            assert_true(same(&whole, &again));
            nothing_left();
        }
    }
    eq_qblock_free(&whole), eq_qblock_free(&again);
}
static void test_stops(void **state) {
    (void)state;
    stopped_anywhere(settings(), -1);
}
static void test_stops_saving_always(void **state) {
    (void)state;
    eq_block_ap_setup s = settings();
    s.save_seconds = 0;
    stopped_anywhere(s, -1);
}
static void test_stops_and_roll_backs(void **state) {
    (void)state;
    eq_block_ap_setup s = settings();
    stopped_anywhere(s, 1); /* in the first epoch: back to the start */
    stopped_anywhere(s, 4); /* in the second: back to the end of the first */
}
/* Rates at which the second epoch is the best one. */
static void test_stops_keeping_the_best(void **state) {
    (void)state;
    eq_block_ap_setup s = settings();
    eq_qblock last = room(), kept = room();
    s.ap.quant_lr = 2e-2, s.ap.weight_lr = 2e-2, s.ap.min_lr_factor = 1;
    begin(-1);
    fresh_folder();
    ok(attempt(&s, &last, true));
    s.ap.keep_best = true;
    ok(attempt(&s, &kept, true));
    assert_false(same(&last, &kept)); /* or the test shows nothing */
    stopped_anywhere(s, -1);
    s.save_seconds = 0;
    stopped_anywhere(s, -1);
    s.ap.early_stop = 1;
    stopped_anywhere(s, -1);
    eq_qblock_free(&last), eq_qblock_free(&kept);
}

/* A state that is damaged, of another run or another block is not gone on from. */
static void damage(const char *path) {
    eq_map m;
    ok(eq_map_open(&m, path, &err));
    char *copy = eq_calloc(m.size, 1);
    memcpy(copy, m.data, (size_t)m.size);
    copy[m.size / 2] ^= 4;
    ok(eq_write_file(path, copy, m.size, &err));
    eq_map_close(&m);
    eq_free(copy);
}
static void test_damaged_states(void **state) {
    (void)state;
    eq_block_ap_setup s = settings();
    s.ap.keep_best = true;
    eq_qblock whole = room(), again = room();
    fresh_folder();
    begin(-1);
    ok(attempt(&s, &whole, true));
    const char *const names[] = {now, good, best};
    for (int set = 0; set < 9; set++) { /* bit k: file k is damaged; 8: another run's */
        eq_block_ap_setup other = s;
        begin(-1);
        stop_event = 1 + 3 + 1; /* the pass, an epoch; at a step of the next */
        if (set == 8) other.run = "another run";
        assert_int_equal(attempt(&other, &again, false), EQ_EINTR);
        for (int k = 0; k < 3; k++) {
            assert_true(eq_exists(names[k]));
            if (set >> k & 1) damage(names[k]);
        }
        begin(-1);
        ok(attempt(&s, &again, true));
        assert_true(same(&whole, &again));
        /* now needs good and best; good needs best */
        const int64_t steps[] = {5, 6, 9, 9, 9, 9, 9, 9, 9};
        assert_int_equal(stepped, steps[set]);
        nothing_left();
    }
    eq_qblock_free(&whole), eq_qblock_free(&again);
}

/* Memory runs out and the disk fills while a state is saved or read: the run ends with that error,
 * and goes on. */
static void test_faults(void **state) {
    (void)state;
    eq_block_ap_setup s = settings();
    eq_qblock whole = room(), again = room();
    s.save_seconds = 0;
    fresh_folder();
    begin(-1);
    ok(attempt(&s, &whole, true));
    int64_t failed = 0;
    for (int64_t nth = 1;; nth += 41) {
        eq_io_fail_nth(nth);
        eq_status st = attempt(&s, &again, true);
        eq_io_fail_nth(0);
        if (st == EQ_OK) break;
        assert_int_equal(st, EQ_EIO);
        failed++;
        ok(attempt(&s, &again, true));
        assert_true(same(&whole, &again));
        nothing_left();
    }
    assert_true(failed > 10);
    eq_qblock_free(&whole), eq_qblock_free(&again);
}

/* ---- E2E-QP ---------------------------------------------------------------------------------- */

enum { E2E_STEPS = 4 }; /* two epochs of 3 and 2 windows */
typedef struct {
    float s[64 * 3], z[64 * 3]; /* of one linear */
    uint32_t rows[64 * 6];
    float norm[64];
    int64_t rollbacks;
} tuned;

static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *e) {
    int64_t stop = stop_at; /* it is the training that is to be stopped */
    stop_at = -1;
    *b = ctx;
    eq_status st = eq_rtn_block(be, src, i, EQ_RANGE_MINMAX, ctx, e);
    stop_at = stop;
    return st;
}

/* 17 windows a batch are added up in parts (window_sum.h); 3 are not. */
static eq_e2e_setup tuning(eq_qblock *rounded, int64_t batch, int64_t micro) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    eq_e2e_setup s = {.schemes = EQ_ONE_SCHEME(2, 32),
                      .precision = EQ_PREC_BF16,
                      .qp = o.qp,
                      .source = source,
                      .ctx = rounded,
                      .save_seconds = 1e9,
                      .run = "this run",
                      .state_path = state_path};
    s.qp.batch_size = batch, s.qp.micro_batch = micro, s.qp.epochs = 2, s.qp.save_every = 1000;
    s.qp.lr = 1e-3, s.qp.train = EQ_TRAIN_S | EQ_TRAIN_Z;
    return s;
}

static eq_status tune(const eq_e2e_setup *s, const eq_windows *w, tuned *out) {
    eq_e2e *job;
    err = (eq_err){0};
    events = said = 0;
    eq_status st = eq_e2e_open(&job, be, src, s, T, &err);
    if (st != EQ_OK) return st;
    st = eq_e2e_run(job, w, &observer, &err);
    out->rollbacks = eq_e2e_rollbacks(job);
    int64_t stop = stop_at; /* what was reached is looked at, also behind a stop */
    stop_at = -1;
    if (st == EQ_OK) ok(eq_e2e_apply(job, 1, s->ctx, &err));
    stop_at = stop;
    const eq_qblock *b = s->ctx;
    memcpy(out->s, b->lin[EQ_LIN_DOWN].s, sizeof out->s);
    memcpy(out->z, b->lin[EQ_LIN_DOWN].z, sizeof out->z);
    memcpy(out->rows, b->lin[EQ_LIN_DOWN].rows, sizeof out->rows);
    memcpy(out->norm, b->norm[EQ_NORM_POST], sizeof out->norm);
    eq_e2e_close(job);
    return st;
}

/* Stopped at every progress report and event, and between operations all over. Micro-batches change
 * from start to start. */
static void tuning_stopped_anywhere(int64_t batch, int64_t n, double save_seconds, bool taught) {
    eq_qblock rounded = room();
    eq_windows w = windows(n, 5);
    tuned whole, again;
    eq_e2e_setup s = tuning(&rounded, batch, 2);
    s.save_seconds = save_seconds;
    if (taught) {
        s.qp.loss = EQ_E2E_KL, s.teacher = src, s.qp.weight_lr = 1e-3;
        s.qp.train |= EQ_TRAIN_W | EQ_TRAIN_NORM;
    }
    fresh_folder();
    begin(-1);
    stop_at = INT64_MAX;
    ok(tune(&s, &w, &whole));
    int64_t all_ops = ops, all_said = said, all_steps = stepped;
    assert_int_equal(all_steps, E2E_STEPS);
    assert_true(all_said > E2E_STEPS * 5);
    for (int64_t k = 0; k < all_said; k += 1 + all_said / 14) {
        fresh_folder();
        begin(-1);
        stop_said = k;
        s.qp.micro_batch = 2;
        eq_status st = tune(&s, &w, &again);
        int64_t first = said;
        calm();
        s.qp.micro_batch = 2 + k % 2;
        if (st != EQ_OK) {
            assert_int_equal(st, EQ_EINTR);
            ok(tune(&s, &w, &again));
            /* A piece behind the other: none is made twice, but for the last look at the result. */
            if (k % 2 == 0) assert_in_range(first + said, all_said, all_said + 2);
        }
        assert_int_equal(stepped, all_steps);
        assert_memory_equal(&whole, &again, sizeof whole);
    }
    for (int64_t k = 0; k < all_ops; k += 1 + all_ops / 14) {
        fresh_folder();
        begin(-1);
        s.qp.micro_batch = 2;
        stop_at = k;
        eq_status st = tune(&s, &w, &again);
        calm();
        stop_at = all_ops / 3;
        if (st != EQ_OK && k % 2) st = tune(&s, &w, &again);
        calm();
        if (st != EQ_OK) ok(tune(&s, &w, &again));
        assert_memory_equal(&whole, &again, sizeof whole);
    }
    eq_windows_free(&w);
    eq_qblock_free(&rounded);
}
static void test_e2e_stops(void **state) {
    (void)state;
    tuning_stopped_anywhere(3, 5, 1e9, false);
}
static void test_e2e_stops_saving_always(void **state) {
    (void)state;
    tuning_stopped_anywhere(3, 5, 0, false);
}
/* By a teacher, everything trained, weights too. */
static void test_e2e_stops_taught(void **state) {
    (void)state;
    tuning_stopped_anywhere(3, 5, 1e9, true);
}
static void test_e2e_stops_taught_in_parts(void **state) {
    (void)state;
    tuning_stopped_anywhere(19, 21, 0, true);
}
static void test_e2e_stops_in_parts(void **state) {
    (void)state;
    tuning_stopped_anywhere(19, 21, 1e9, false);
}

/* A step that is damaged or of another state begins anew; a state that is damaged or of another run
 * is refused by name; a smaller micro-batch than the one under way has no room for it. */
static void test_e2e_damaged(void **state) {
    (void)state;
    eq_qblock rounded = room();
    eq_windows w = windows(5, 5);
    tuned whole, again;
    eq_e2e_setup s = tuning(&rounded, 3, 2);
    fresh_folder();
    begin(-1);
    ok(tune(&s, &w, &whole));
    for (int how = 0; how < 5; how++) {
        fresh_folder();
        begin(-1);
        s = tuning(&rounded, 3, 2);
        stop_said = 3; /* in the middle of the first micro-batch */
        assert_int_equal(tune(&s, &w, &again), EQ_EINTR);
        assert_true(eq_exists(step_path) && eq_exists(good_path));
        calm();
        if (how == 0) s.qp.micro_batch = 1;
        if (how == 1) damage(step_path);
        if (how == 2) damage(good_path);
        if (how == 3) s.run = "another run";
        if (how == 4) ok(eq_rename_durable(good_path, step_path, &err)); /* not a step */
        if (how == 2 || how == 3) {
            assert_int_equal(tune(&s, &w, &again), EQ_EINPUT);
            check_error(&err, EQ_EINPUT, "e2e.state.good", how == 2 ? "damaged" : "another run",
                        NULL);
            continue;
        }
        ok(tune(&s, &w, &again));
        assert_memory_equal(&whole, &again, sizeof whole);
    }
    eq_windows_free(&w);
    eq_qblock_free(&rounded);
}

/* ---- the wrapper itself ---------------------------------------------------------------------- */

static void test_wrapper(void **state) {
    (void)state;
    eq_backend *b;
    volatile int flag = 0;
    eq_observer obs = {.stop = &flag};
    ok(eq_backend_open(&b, "cpu", NULL, &err));
    const char *name = b->name;
    ok(eq_stop_wrap(&b, NULL, &err));
    ok(eq_stop_wrap(&b, &obs, &err));
    assert_string_equal(b->name, name);
    float host = 0;
    eq_mut y = {b->alloc(b, 4), 1, EQ_F32};
    EQ_DO(b, fill, y, 1);
    flag = 1;
    EQ_DO(b, fill, y, 2); /* within the half second */
    b->download(b, &host, EQ_F32, eq_ro(y));
    ok(b->sync(b, &err));
    assert_true(host == 2);
    while (b->sync(b, NULL) == EQ_OK) EQ_DO(b, fill, y, 2);
    EQ_DO(b, fill, y, 3); /* left out */
    b->download(b, &host, EQ_F32, eq_ro(y));
    assert_int_equal(b->sync(b, &err), EQ_EINTR);
    check_error(&err, EQ_EINTR, "stopped on request", NULL);
    assert_true(host == 2);
    err = (eq_err){0};
    ok(b->sync(b, &err)); /* said once: a state can be saved now */
    flag = 0;
    EQ_DO(b, fill, y, 4);
    b->download(b, &host, EQ_F32, eq_ro(y));
    ok(b->sync(b, &err));
    assert_true(host == 4);
    b->free_(b, y.p);
    b->close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_stops_saving_always),
        cmocka_unit_test(test_stops_and_roll_backs),
        cmocka_unit_test(test_stops_keeping_the_best),
        cmocka_unit_test(test_damaged_states),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_e2e_stops),
        cmocka_unit_test(test_e2e_stops_saving_always),
        cmocka_unit_test(test_e2e_stops_in_parts),
        cmocka_unit_test(test_e2e_stops_taught),
        cmocka_unit_test(test_e2e_stops_taught_in_parts),
        cmocka_unit_test(test_e2e_damaged),
        cmocka_unit_test(test_wrapper),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

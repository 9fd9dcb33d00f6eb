/* E2E-QP on windows of which only some targets carry loss: prompts and filling have no gradient,
 * the loss is over the targets of the batch, micro-batches and stops change no bit, and the state
 * with the lowest held-out loss is the result. */
#include <math.h>

#include "base/io.h"
#include "base/mem.h"
#include "tiny_train.h"
#include "train/e2e_batch.h"
#include "train/rtn.h"

enum { N = 11, BATCH = 4, LENGTH = 40 };

static eq_qblock rounded;

static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *e) {
    (void)ctx;
    *b = &rounded;
    return eq_rtn_block(tiny.be, tiny.src, i, EQ_RANGE_MINMAX, &rounded, e);
}

static int open_all(void **state) {
    (void)state;
    static eq_hints hints;
    tiny_train_open("llama", "cpu");
    /* logits of one row of the longest at once, of several narrow ones */
    hints = tiny.be->hints ? *tiny.be->hints : eq_host_hints;
    hints.logits_bytes = 4 * 50 * 64;
    tiny.be->hints = &hints;
    rounded = tiny_qblock();
    return 0;
}
static int close_all(void **state) {
    (void)state;
    eq_qblock_free(&rounded);
    tiny_train_close();
    return 0;
}

/* n rows of 6 to LENGTH ids, the first third of each a prompt. */
static eq_windows rows(int64_t n, int32_t first) {
    eq_windows w = {.n = n, .T = LENGTH};
    w.ids = eq_calloc(n * LENGTH, sizeof *w.ids);
    w.learn = eq_calloc(n, LENGTH), w.len = eq_calloc(n, sizeof *w.len);
    for (int64_t i = 0; i < n; i++) {
        w.len[i] = (int32_t)(6 + (i * 7 + first) % (LENGTH - 5));
        for (int32_t t = 0; t < w.len[i]; t++) {
            w.ids[i * LENGTH + t] = (int32_t)((first + i * i + t * 3 + t * t / 5) % 50);
            w.learn[i * LENGTH + t] = t >= 1 + w.len[i] / 3;
        }
    }
    return w;
}

typedef struct {
    float *s;
    int64_t n;
} trained;

static volatile int stop;
static int64_t reports, stop_at;
static void on_progress(void *ctx, const eq_progress *p) {
    (void)ctx, (void)p;
    if (++reports == stop_at) stop = 1;
}

static eq_status run(const eq_e2e_setup *s, const eq_windows *w, trained *out, eq_err *err) {
    eq_observer obs = tiny_observer;
    eq_e2e *job;
    obs.progress = on_progress, obs.stop = &stop;
    EQ_TRY(eq_e2e_open(&job, tiny.be, tiny.src, s, w->T, err));
    eq_status st = eq_e2e_run(job, w, &obs, err);
    out->n = 0;
    for (int64_t i = 0; st == EQ_OK && i < tiny.src->cfg.L; i++) {
        st = source(NULL, i, &(const eq_qblock *){NULL}, err);
        if (st == EQ_OK) st = eq_e2e_apply(job, i, &rounded, err);
        for (int l = 0; st == EQ_OK && l < EQ_LINS; l++) {
            eq_lin_spec q = eq_lin_of(&tiny.src->cfg, (eq_lin)l);
            int64_t n = q.O * (q.I / TINY_GROUP);
            out->s = eq_realloc(out->s, out->n + n, sizeof *out->s);
            memcpy(out->s + out->n, rounded.lin[l].s, (size_t)n * sizeof *out->s);
            out->n += n;
        }
    }
    eq_e2e_close(job);
    return st;
}

static void forget(void) {
    eq_err err = {0};
    tiny_e2e_forget_state();
    tiny_ok(eq_remove_tree(scratch_path("e2e.state.best"), &err), &err);
    tiny_train_forget();
    stop = 0, reports = 0, stop_at = 0;
}

static eq_e2e_setup setup(void) {
    eq_e2e_setup s = tiny_e2e(source, NULL);
    s.qp.batch_size = BATCH, s.qp.micro_batch = 2, s.qp.max_steps = 7;
    s.state_path = scratch_path("e2e.state");
    forget();
    return s;
}

static void trained_is(const trained *a, const trained *b, bool same) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(!memcmp(a->s, b->s, (size_t)a->n * sizeof *a->s), same);
}

/* Other ids behind a row, or targets of a prompt that the model cannot see, change nothing; what is
 * learned does. */
static void what_counts(void **state) {
    (void)state;
    eq_err err = {0};
    trained whole = {0}, again = {0};
    eq_windows w = rows(N, 3);
    eq_e2e_setup s = setup();
    tiny_ok(run(&s, &w, &whole, &err), &err);
    for (int64_t i = 0; i < N; i++)
        for (int64_t t = w.len[i]; t < LENGTH; t++) w.ids[i * LENGTH + t] = (int32_t)(t % 50);
    s = setup();
    tiny_ok(run(&s, &w, &again, &err), &err);
    trained_is(&whole, &again, true);
    w.learn[w.len[0] - 1] = 0;
    s = setup();
    tiny_ok(run(&s, &w, &again, &err), &err);
    trained_is(&whole, &again, false);
    eq_windows_free(&w);
    eq_free(whole.s), eq_free(again.s);
}

/* Rows of which nothing is learned add nothing to a step, not even its bits; nothing at all learned
 * leaves every step size as it was. */
static void prompts_alone(void **state) {
    (void)state;
    eq_err err = {0};
    trained one = {0}, other = {0}, none = {0};
    eq_windows w = rows(BATCH, 3), v = rows(BATCH, 3);
    w.len[1] = v.len[1] = w.len[3] = v.len[3] = 12;
    for (int64_t i = 1; i < BATCH; i += 2)
        for (int64_t t = 0; t < LENGTH; t++) {
            w.learn[i * LENGTH + t] = v.learn[i * LENGTH + t] = 0;
            w.ids[i * LENGTH + t] = (int32_t)t % 50, v.ids[i * LENGTH + t] = (int32_t)(7 * t % 50);
        }
    eq_e2e_setup s = setup();
    tiny_ok(run(&s, &w, &one, &err), &err);
    s = setup();
    tiny_ok(run(&s, &v, &other, &err), &err);
    trained_is(&one, &other, true);
    memset(w.learn, 0, (size_t)(BATCH * LENGTH));
    s = setup();
    eq_status st = run(&s, &w, &none, &err);
    assert_int_equal(st, EQ_OK);
    assert_int_equal(none.n, one.n);
    for (int64_t i = 0, at = 0; i < tiny.src->cfg.L; i++) {
        const eq_qblock *b;
        tiny_ok(source(NULL, i, &b, &err), &err);
        for (int l = 0; l < EQ_LINS; l++) {
            eq_lin_spec q = eq_lin_of(&tiny.src->cfg, (eq_lin)l);
            int64_t n = q.O * (q.I / TINY_GROUP);
            assert_memory_equal(none.s + at, b->lin[l].s, n * (int64_t)sizeof(float));
            at += n;
        }
    }
    eq_windows_free(&w), eq_windows_free(&v);
    eq_free(one.s), eq_free(other.s), eq_free(none.s);
}

/* The loss of a step is the sum over the targets of its batch, divided by their number. */
static void loss_of_a_step(void **state) {
    (void)state;
    eq_err err = {0};
    trained t = {0};
    eq_windows w = rows(N, 3);
    eq_e2e_setup s = setup();
    s.qp.max_steps = 1;
    tiny_ok(run(&s, &w, &t, &err), &err);
    double loss = tiny_number(tiny_event("e2e_step", 0), "loss"), sum = 0, nll;
    int64_t targets = eq_e2e_targets(&w, 0, BATCH);
    eq_lm *lm;
    eq_lm_opts o = {.B = 1,
                    .T = LENGTH,
                    .ct = EQ_F32,
                    .schemes = EQ_ONE_SCHEME(TINY_BITS, TINY_GROUP),
                    .source = source};
    tiny_ok(eq_lm_open(&lm, tiny.be, tiny.src, &o, &err), &err);
    for (int64_t i = 0; i < BATCH; i++) { /* each alone, as wide as it is */
        tiny_ok(eq_lm_forward(lm, w.ids + i * LENGTH, 1, w.len[i], &err), &err);
        tiny_ok(
            eq_lm_loss_of(lm, w.ids + i * LENGTH, w.learn + i * LENGTH, 1, w.len[i], 0, &nll, &err),
            &err);
        sum += nll;
    }
    assert_true(fabs(loss - sum / (double)targets) < 1e-5 * loss);
    eq_lm_close(lm);
    eq_windows_free(&w);
    eq_free(t.s);
}

/* Whatever goes through at once, and wherever a run is stopped. */
static void same_bytes(void **state) {
    (void)state;
    eq_err err = {0};
    trained whole = {0}, again = {0};
    eq_windows w = rows(N, 3), val = rows(3, 9);
    eq_e2e_setup s = setup();
    s.val = &val, s.eval_every = 2;
    tiny_ok(run(&s, &w, &whole, &err), &err);
    int64_t all = reports;
    for (int64_t micro = 1; micro <= BATCH; micro++) {
        s = setup();
        s.val = &val, s.eval_every = 2, s.qp.micro_batch = micro;
        tiny_ok(run(&s, &w, &again, &err), &err);
        trained_is(&whole, &again, true);
    }
    for (int64_t k = 1; k < all; k += 1 + all / 9) {
        s = setup();
        s.val = &val, s.eval_every = 2, s.save_seconds = k % 2 ? 0 : 1e9;
        stop_at = k;
        eq_status st = run(&s, &w, &again, &err);
        assert_true(st == EQ_EINTR || st == EQ_OK);
        err = (eq_err){0}, stop = 0, stop_at = 0;
        if (st == EQ_EINTR) tiny_ok(run(&s, &w, &again, &err), &err);
        trained_is(&whole, &again, true);
    }
    eq_windows_free(&w), eq_windows_free(&val);
    eq_free(whole.s), eq_free(again.s);
}

/* What is held out has other tokens than what is trained on, so every step makes it less likely:
 * the state before them is the result. */
static void best_state(void **state) {
    (void)state;
    eq_err err = {0};
    trained best = {0}, shorter = {0};
    eq_windows w = rows(N, 3), val = rows(5, 3);
    for (int64_t i = 0; i < w.n * LENGTH; i++) w.ids[i] %= 25;
    for (int64_t i = 0; i < val.n * LENGTH; i++) val.ids[i] = 25 + val.ids[i] % 25;
    eq_e2e_setup s = setup();
    s.val = &val, s.eval_every = 1, s.qp.lr = 0.03f, s.qp.max_steps = 6, s.qp.clip = 0;
    s.qp.warmup = 0;
    tiny_ok(run(&s, &w, &best, &err), &err);
    int n = tiny_count("held_out");
    double least = INFINITY;
    int at = -1;
    assert_int_equal(n, 7);
    for (int i = 0; i < n; i++) {
        double loss = tiny_number(tiny_event("held_out", i), "loss");
        assert_int_equal(tiny_number(tiny_event("held_out", i), "step"), i);
        if (loss < least) least = loss, at = i;
    }
    assert_int_equal(at, 0);
    assert_int_equal(tiny_number(tiny_event("best", 0), "step"), at);
    s = setup();
    s.val = &val, s.eval_every = 1, s.qp.lr = 0, s.qp.max_steps = 1;
    tiny_ok(run(&s, &w, &shorter, &err), &err);
    trained_is(&best, &shorter, true);
    eq_windows_free(&w), eq_windows_free(&val);
    eq_free(best.s), eq_free(shorter.s);
}

/* Windows are as wide as the longest of their batch. */
static void widths(void **state) {
    (void)state;
    eq_err err = {0};
    eq_windows w = rows(N, 3);
    eq_e2e_room room;
    tiny_ok(eq_e2e_room_open(&room, &w, 2, &err), &err);
    for (int64_t i = 0; i + 2 <= N; i++) {
        int64_t longest = w.len[i] > w.len[i + 1] ? w.len[i] : w.len[i + 1];
        int64_t T = eq_e2e_width(&w, i, 2);
        assert_true(T >= longest && T < longest + 16 && T <= LENGTH);
        eq_e2e_micro m = eq_e2e_take(&room, &w, i, 2, T);
        for (int64_t b = 0; b < 2; b++) {
            assert_memory_equal(m.ids + b * T, w.ids + (i + b) * LENGTH, T * 4);
            assert_memory_equal(m.learn + b * T, w.learn + (i + b) * LENGTH, T);
        }
    }
    eq_e2e_room_close(&room);
    eq_windows_free(&w);
}

/* Narrow windows take no more rows of logits at once than the widest ones have room for. */
static void room_for_logits(void **state) {
    (void)state;
    eq_err err = {0};
    eq_windows w = rows(4, 3);
    eq_lm *lm;
    eq_lm_opts o = {.B = 4,
                    .T = LENGTH,
                    .ct = EQ_F32,
                    .schemes = EQ_ONE_SCHEME(TINY_BITS, TINY_GROUP),
                    .source = source};
    tiny_ok(eq_lm_open(&lm, tiny.be, tiny.src, &o, &err), &err);
    int64_t most = lm->chunk;
    assert_int_equal(most, LENGTH);
    for (int64_t T = 2; T <= LENGTH; T++) {
        eq_lm_embed(lm, w.ids, 4, T);
        assert_true(lm->chunk > 0 && lm->chunk <= most && lm->chunk % T == 0);
    }
    eq_lm_close(lm);
    eq_windows_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths),         cmocka_unit_test(room_for_logits),
        cmocka_unit_test(what_counts),    cmocka_unit_test(prompts_alone),
        cmocka_unit_test(loss_of_a_step), cmocka_unit_test(same_bytes),
        cmocka_unit_test(best_state),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}

/* Sessions beside whole windows: the same logits however the tokens come, after going back, for
 * every family, full precision and packed; what is rounded in bf16 stays small; the same bytes for
 * any number of threads; limits and failing allocations. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/par.h"
#include "infer/session.h"
#include "model/lm_folder.h"
#include "scratch.h"
#include "tiny_model.h"

enum { V = 50, N = 31 };
static eq_backend *be;
static eq_err err;
static int32_t ids[N];

static void ok(eq_status st) {
    if (st != EQ_OK) fail_msg("%s", err.msg);
}
static const eq_compute_opts exact = {.backend = "cpu", .precision = EQ_PREC_F32};
static const eq_compute_opts fast = {.backend = "cpu", .precision = EQ_PREC_BF16};

/* A tiny folder; quantized by rounding where bits > 0. */
static char *folder(const char *family, int bits) {
    char *dir = tiny_dir();
    tiny_write(dir, tiny_config(family, false), &(tiny_opts){.dt = EQ_F32, .seed = 5});
    return bits ? tiny_rounded(dir, bits) : dir;
}

/* Logits [n, V] of a whole window, by products with whole matrices. */
static void whole(const char *dir, int64_t n, float *logits) {
    eq_weights *src;
    eq_lm *lm;
    ok(eq_weights_open(&src, dir, &err));
    ok(eq_lm_open_folder(&lm, be, src, &exact, true, 1, n, &err));
    ok(eq_lm_forward(lm, ids, 1, n, &err));
    ok(eq_lm_logits(lm, 0, n, logits, &err));
    eq_lm_close(lm);
    eq_weights_close(src);
}

typedef struct {
    eq_weights *src;
    eq_session *s;
    float logits[N * V];
    int64_t rows;
} run;
static void begin(run *r, const char *dir, const eq_compute_opts *compute) {
    *r = (run){0};
    ok(eq_weights_open(&r->src, dir, &err));
    ok(eq_session_open(&r->s, be, r->src, compute, N, &err));
}
static void end(run *r) {
    eq_session_close(r->s);
    eq_weights_close(r->src);
}
static void collect(void *ctx, int64_t at, const float *logits) {
    run *r = ctx;
    assert_true(at >= 0 && at < N);
    memcpy(r->logits + at * V, logits, V * sizeof *logits);
    r->rows++;
}
static void feed(run *r, int64_t n) {
    int64_t at = eq_session_at(r->s);
    ok(eq_session_feed(r->s, ids + at, n, collect, r, &err));
    assert_int_equal(eq_session_at(r->s), at + n);
}

/* Root of the mean squared difference over that of the logits. */
static double apart(const float *a, const float *b, int64_t n) {
    double e = 0, w = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        e += d * d, w += (double)b[i] * (double)b[i];
    }
    return sqrt(e / w);
}

/* fp32 sums in other orders: some 1e-6 after two blocks. */
static void same_logits(const char *family, int bits) {
    static float want[N * V];
    static const int cuts[][4] = {{31}, {1, 1, 29}, {9, 4, 17, 1}, {20, 11}};
    char *dir = folder(family, bits);
    whole(dir, N, want);
    for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
        run r;
        begin(&r, dir, &exact);
        for (int i = 0; i < 4 && cuts[k][i]; i++) feed(&r, cuts[k][i]);
        assert_int_equal(r.rows, N);
        double d = apart(r.logits, want, N * V);
        if (!(d < 1e-5))
            fail_msg("%s, %d bits, way %d: logits are %g apart", family, bits, (int)k, d);
        end(&r);
    }
    tiny_remove(dir);
}
static void whole_windows(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3"};
    for (int f = 0; f < 4; f++) same_logits(families[f], 0);
    for (int bits = 2; bits <= 4; bits++) same_logits("qwen3", bits);
    same_logits("mistral", 2);
}

/* What is rounded in bf16: activations to 8 bits of mantissa, and to 8-bit integers. */
/* Rows [from, n) of a session as those of a window of n tokens. */
static void as_window(const run *r, const char *dir, int64_t from, int64_t n) {
    static float want[N * V];
    whole(dir, n, want);
    double d = apart(r->logits + from * V, want + from * V, (n - from) * V);
    if (!(d < 1e-5)) fail_msg("%d of %d tokens: logits are %g apart", (int)from, (int)n, d);
}

/* Longrope: the angles are those of the text so far, whatever fits; 10 is the tiny model's last
 * length of the short ones. */
static void angles_of_the_text(void **state) {
    (void)state;
    char *dir = folder("phi3", 0);
    run r;
    begin(&r, dir, &exact);
    feed(&r, 8), as_window(&r, dir, 0, 8);
    feed(&r, 1), feed(&r, 1), as_window(&r, dir, 8, 10);
    feed(&r, 1), as_window(&r, dir, 10, 11);
    feed(&r, 6), as_window(&r, dir, 11, 17);
    eq_session_truncate(r.s, 4);
    feed(&r, 3), as_window(&r, dir, 4, 7);
    feed(&r, 20), as_window(&r, dir, 7, 27);
    end(&r);
    tiny_remove(dir);
}

static void rounded_logits(void **state) {
    (void)state;
    static float want[N * V];
    for (int bits = 0; bits <= 4; bits += 2) {
        char *dir = folder("llama", bits);
        run r;
        whole(dir, N, want);
        begin(&r, dir, &fast);
        feed(&r, 12);
        for (int i = 12; i < N; i++) feed(&r, 1);
        double d = apart(r.logits, want, N * V);
        if (!(d < 0.03)) fail_msg("%d bits: logits are %g apart", bits, d);
        assert_true(d > 1e-4); /* something was rounded */
        end(&r);
        tiny_remove(dir);
    }
}

static void going_back(void **state) {
    (void)state;
    char *dir = folder("mistral", 3);
    run once, twice;
    float last[V];
    begin(&once, dir, &exact);
    begin(&twice, dir, &exact);
    feed(&once, 10), feed(&once, 5);
    int32_t other[] = {7, 7, 7, 7, 7, 7, 7, 7};
    feed(&twice, 10);
    ok(eq_session_feed(twice.s, other, 8, NULL, NULL, &err));
    eq_session_truncate(twice.s, 10);
    assert_int_equal(eq_session_at(twice.s), 10);
    feed(&twice, 5);
    assert_memory_equal(once.logits, twice.logits, 15 * V * sizeof(float));
    ok(eq_session_logits(twice.s, last, &err));
    /* one row of the head at a time, or five: other sums */
    assert_true(apart(last, once.logits + 14 * V, V) < 1e-5);
    eq_session_truncate(twice.s, 0);
    feed(&twice, 10), feed(&twice, 5);
    assert_memory_equal(once.logits, twice.logits, 15 * V * sizeof(float));
    end(&once), end(&twice);
    tiny_remove(dir);
}

/* Greedy tokens, each from a session that grows and from the whole text again. */
static void with_and_without(void **state) {
    (void)state;
    char *dir = folder("llama", 2);
    run grows, again;
    int32_t text[N] = {3, 14, 15};
    begin(&grows, dir, &exact);
    ok(eq_session_feed(grows.s, text, 3, NULL, NULL, &err));
    for (int n = 3; n < N; n++) {
        float a[V], b[V];
        int best = 0, other = 0;
        ok(eq_session_logits(grows.s, a, &err));
        begin(&again, dir, &exact);
        ok(eq_session_feed(again.s, text, n, NULL, NULL, &err));
        ok(eq_session_logits(again.s, b, &err));
        end(&again);
        for (int i = 1; i < V; i++) {
            if (a[i] > a[best]) best = i;
            if (b[i] > b[other]) other = i;
        }
        assert_int_equal(best, other);
        text[n] = best;
        if (n + 1 < N) ok(eq_session_feed(grows.s, text + n, 1, NULL, NULL, &err));
    }
    end(&grows);
    tiny_remove(dir);
}

static void threads(void **state) {
    (void)state;
    static float first[N * V];
    for (int bits = 0; bits <= 3; bits += 3)
        for (int p = 0; p < 2; p++) {
            char *dir = folder("llama", bits);
            for (int t = 1; t <= 3; t++) {
                run r;
                eq_par_threads(t);
                begin(&r, dir, p ? &fast : &exact);
                feed(&r, 17), feed(&r, 1), feed(&r, 13);
                if (t == 1) memcpy(first, r.logits, sizeof first);
                assert_memory_equal(r.logits, first, sizeof first);
                end(&r);
            }
            tiny_remove(dir);
        }
}

static void limits(void **state) {
    (void)state;
    char *dir = folder("llama", 0);
    run r;
    eq_session *s;
    begin(&r, dir, &exact);
    feed(&r, 30);
    err = (eq_err){0};
    assert_int_equal(eq_session_feed(r.s, ids, 2, NULL, NULL, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "expected 1 to 1 more", "31", "found 2", NULL);
    assert_int_equal(eq_session_at(r.s), 30);
    int32_t bad[] = {3, V};
    eq_session_truncate(r.s, 5);
    err = (eq_err){0};
    assert_int_equal(eq_session_feed(r.s, bad, 2, NULL, NULL, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "token 1", "below 50", "found 50", NULL);
    bad[1] = -1, err = (eq_err){0};
    assert_int_equal(eq_session_feed(r.s, bad, 2, NULL, NULL, &err), EQ_EINPUT);
    err = (eq_err){0};
    assert_int_equal(eq_session_open(&s, be, r.src, &exact, 33, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, dir, "expected 1 to 32", "found 33", NULL);
    err = (eq_err){0};
    eq_compute_opts small = exact;
    small.memory_limit = 1 << 16;
    assert_int_equal(eq_session_open(&s, be, r.src, &small, 32, &err), EQ_ENOMEM);
    check_error(&err, EQ_ENOMEM, "context of 32", "limit", NULL);
    end(&r);
    tiny_remove(dir);
}

/* Every allocation of opening and feeding fails once; nothing stays behind. */
static void faults(void **state) {
    (void)state;
    char *dir = folder("llama", 2);
    run r = {0};
    bool through = false;
    ok(eq_weights_open(&r.src, dir, &err));
    for (int nth = 1; !through; nth++) {
        err = (eq_err){0};
        eq_mem_fail_nth(nth);
        eq_status st = eq_session_open(&r.s, be, r.src, &fast, N, &err);
        if (st == EQ_OK) st = eq_session_feed(r.s, ids, 3, collect, &r, &err);
        through = st == EQ_OK;
        eq_mem_fail_nth(0);
        if (!through) assert_int_equal(st, EQ_ENOMEM);
        eq_session_close(r.s);
        r.s = NULL;
        be->close(be); /* its scratch may have grown: the next one begins without */
        ok(eq_backend_open(&be, "cpu", NULL, &err));
        if (through) assert_true(nth > 10);
    }
    eq_weights_close(r.src);
    tiny_remove(dir);
}

static int set_up(void **state) {
    (void)state;
    for (int i = 0; i < N; i++) ids[i] = (i * i + 3 * i + 1) % V;
    return eq_backend_open(&be, "cpu", NULL, &err) == EQ_OK ? 0 : -1;
}
static int tear_down(void **state) {
    (void)state;
    be->close(be);
    eq_par_shutdown();
    return eq_mem_current() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_windows),    cmocka_unit_test(angles_of_the_text),
        cmocka_unit_test(rounded_logits),   cmocka_unit_test(going_back),
        cmocka_unit_test(with_and_without), cmocka_unit_test(threads),
        cmocka_unit_test(limits),           cmocka_unit_test(faults),
    };
    return cmocka_run_group_tests_name("sessions", tests, set_up, tear_down);
}

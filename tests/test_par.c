/* The thread pool: every item once, the same bits for every thread count, nesting, restarts. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <unistd.h>

#include "base/par.h"
#include "base/rng.h"
#include "scratch.h"

enum { N = 997 };

typedef struct {
    _Atomic int times[N];
    _Atomic int bad_thread;
    float out[N];
} job;

static void item(void *ctx, int64_t i, int thread) {
    job *j = ctx;
    atomic_fetch_add(&j->times[i], 1);
    if (thread < 0 || thread >= eq_par_count()) atomic_store(&j->bad_thread, 1);
    float sum = 0;
    for (uint64_t k = 0; k < 50; k++) sum += eq_rand_normal((uint64_t)i, k);
    j->out[i] = sum;
}

static job run(int threads) {
    job j = {0};
    if (threads) assert_int_equal(eq_par_threads(threads), threads);
    eq_par_for(N, item, &j);
    for (int i = 0; i < N; i++) assert_int_equal(j.times[i], 1);
    assert_int_equal(j.bad_thread, 0);
    return j;
}

static void same_bits(void **state) {
    (void)state;
    job one = run(1);
    for (int t = 2; t <= 9; t++) {
        job many = run(t);
        assert_memory_equal(one.out, many.out, sizeof one.out);
    }
}

static void sizes(void **state) {
    (void)state;
    eq_par_threads(3);
    for (int64_t n = -1; n < 8; n++) {
        job j = {0};
        eq_par_for(n, item, &j);
        for (int64_t i = 0; i < N; i++) assert_int_equal(j.times[i], i < n);
    }
    assert_in_range(eq_par_threads(0), 1, 512);
    assert_int_equal(eq_par_threads(100000), 512);
    eq_par_threads(2);
}

static void inner(void *ctx, int64_t i, int thread) {
    job *j = ctx;
    (void)thread;
    atomic_fetch_add(&j->times[i], 1);
}
static void outer(void *ctx, int64_t i, int thread) {
    (void)i, (void)thread;
    eq_par_for(5, inner, ctx);
}

static void nested(void **state) {
    (void)state;
    job j = {0};
    eq_par_threads(4);
    eq_par_for(20, outer, &j);
    for (int i = 0; i < 5; i++) assert_int_equal(j.times[i], 20);
}

/* A round calls no more threads than it has items: numbers beyond never come. */
static void highest(void *ctx, int64_t i, int thread) {
    _Atomic int *most = ctx;
    int seen = atomic_load(most);
    (void)i;
    while (thread > seen && !atomic_compare_exchange_weak(most, &seen, thread)) {
    }
    usleep(200);
}
static void few_items(void **state) {
    (void)state;
    eq_par_threads(9);
    for (int64_t n = 1; n < 12; n++) {
        _Atomic int most = 0;
        for (int k = 0; k < 5; k++) eq_par_for(n, highest, &most);
        assert_true(most < n && most < 9);
    }
}

/* Workers that look for the next round, that have gone to sleep, that are called off because the
 * caller was faster: every item once, and nobody is left behind when a round returns. */
static void sleepers(void **state) {
    (void)state;
    for (int threads = 2; threads < 20; threads += 4) {
        eq_par_threads(threads);
        for (int k = 0; k < 300; k++) {
            job j = {0};
            int64_t n = 1 + k * 7 % 40;
            if (k % 3 == 0) usleep((useconds_t)(k % 50));
            eq_par_for(n, inner, &j);
            for (int64_t i = 0; i < N; i++) assert_int_equal(j.times[i], i < n);
        }
    }
}

typedef struct {
    int64_t from, every; /* items that fail: from, from + every, ... */
    _Atomic int ran;
} failing;

static eq_status may_fail(void *ctx, int64_t i, eq_err *err) {
    failing *f = ctx;
    atomic_fetch_add(&f->ran, 1);
    if (i < f->from || (i - f->from) % f->every) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "item %lld", (long long)i);
}

/* Whichever thread fails first, the item that comes first is told, as a plain loop would. */
static void first_failure(void **state) {
    (void)state;
    for (int t = 1; t <= 5; t++) {
        eq_par_threads(t);
        for (int64_t from = 0; from < 12; from++) {
            failing f = {.from = from, .every = 3};
            eq_err err = {0};
            char line[32] = "";
            assert_int_equal(eq_par_try(10, may_fail, &f, &err), from < 10 ? EQ_EINPUT : EQ_OK);
            if (from < 10) snprintf(line, sizeof line, "item %d", (int)from);
            assert_string_equal(err.msg, line);
            assert_int_equal(f.ran, 10);
        }
    }
    eq_err err = {0};
    assert_int_equal(eq_par_try(0, may_fail, &(failing){.every = 1}, &err), EQ_OK);
}

static void restarts(void **state) {
    (void)state;
    job first = run(3);
    for (int k = 0; k < 50; k++) {
        eq_par_shutdown();
        job again = run(k % 2 ? 0 : 1 + k % 5);
        assert_memory_equal(first.out, again.out, sizeof first.out);
    }
    eq_par_threads(2);
    job j = {0};
    for (int k = 0; k < 2000; k++) eq_par_for(3, inner, &j); /* short rounds in quick succession */
    for (int i = 0; i < 3; i++) assert_int_equal(j.times[i], 2000);
    eq_par_shutdown();
    eq_par_shutdown();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),     cmocka_unit_test(sizes),    cmocka_unit_test(nested),
        cmocka_unit_test(first_failure), cmocka_unit_test(restarts), cmocka_unit_test(few_items),
        cmocka_unit_test(sleepers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

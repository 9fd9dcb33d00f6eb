/* A pool of POSIX threads (ThreadSanitizer understands it, unlike an OpenMP runtime built without
 * it). oneDNN brings its own OpenMP: each worker tells it to use one thread.
 *
 * A round calls only as many workers as it has items for, each through its own word of state, and a
 * worker passes the call on to two more, so that the caller pays for two. Who waits looks at the
 * word for a moment, as the next round of a training step is near, and then sleeps in the kernel.
 * A worker that has not begun when the items are gone is called off, so nobody waits for it.
 * Invariant: when eq_par_for returns, no worker runs and none is called. */
#define _GNU_SOURCE
#include "base/par.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 512, SPIN_NS = 20000, LOOKS = 64 };
void omp_set_num_threads(int); /* libgomp, which oneDNN is linked to; its setting is per thread */

/* What a worker is at. ASLEEP and WATCHED: somebody sleeps on the word, the worker or the caller.
 */
enum { IDLE, ASLEEP, CALLED, RUNNING, WATCHED, QUIT };
typedef struct {
    _Alignas(
        128) _Atomic uint32_t state; /* a line of its own, and the next one, which CPUs fetch */
    pthread_t id;
} slot;

static struct {
    slot worker[MAX_THREADS]; /* number k is thread k; 0 is the caller */
    int want, started;        /* threads with the caller; workers */
    bool spin;                /* every thread has a core */
    /* the round under way; a worker reads it between its call and its end */
    int called; /* workers that take part */
    eq_par_fn fn;
    void *ctx;
    int64_t n;
    _Alignas(128) _Atomic int64_t next;
} pool;

static _Thread_local int self = -1; /* thread number inside an item, -1 outside */

/* ---- waiting --------------------------------------------------------------------------------- */

static void sleep_on(_Atomic uint32_t *word, uint32_t while_) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_, NULL, NULL, 0);
}
static void wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Looks until the word is another one, or for SPIN_NS. */
static uint32_t look(_Atomic uint32_t *word, uint32_t while_) {
    uint32_t is = atomic_load(word);
    if (!pool.spin) return is;
    for (int64_t end = 0, t; is == while_; end = end ? end : t + SPIN_NS) {
        for (int i = 0; i < LOOKS && is == while_; i++) {
            __builtin_ia32_pause();
            is = atomic_load(word);
        }
        t = now_ns();
        if (end && t >= end) break;
    }
    return is;
}

/* From `while_` to what comes next: looking, then asleep as `asleep`. */
static uint32_t wait_for(_Atomic uint32_t *word, uint32_t while_, uint32_t asleep) {
    uint32_t is = look(word, while_);
    if (is != while_) return is;
    if (!atomic_compare_exchange_strong(word, &is, asleep)) return is;
    while ((is = atomic_load(word)) == asleep) sleep_on(word, asleep);
    return is;
}

/* ---- a worker -------------------------------------------------------------------------------- */

static void call(int k) {
    slot *w = &pool.worker[k];
    if (atomic_exchange(&w->state, CALLED) == ASLEEP) wake(&w->state);
}

/* Thread k's share of the round: its two calls, then items. */
static void work(int k, eq_par_fn fn, void *ctx, int64_t n, int called) {
    for (int next = 2 * k + 1; next <= 2 * k + 2 && next <= called; next++) call(next);
    self = k;
    for (int64_t i; (i = atomic_fetch_add(&pool.next, 1)) < n;) fn(ctx, i, k);
    self = -1;
}

static void *worker(void *arg) {
    int k = (int)(intptr_t)arg;
    slot *w = &pool.worker[k];
    omp_set_num_threads(1);
    for (;;) {
        uint32_t is = wait_for(&w->state, IDLE, ASLEEP);
        if (is == QUIT) return NULL;
        if (is != CALLED || !atomic_compare_exchange_strong(&w->state, &is, RUNNING)) continue;
        work(k, pool.fn, pool.ctx, pool.n, pool.called);
        if (atomic_exchange(&w->state, IDLE) == WATCHED) wake(&w->state);
    }
}

/* Worker k is called off, or has ended. What it would have called comes behind it. */
static void finish(int k) {
    slot *w = &pool.worker[k];
    uint32_t is = CALLED;
    if (atomic_compare_exchange_strong(&w->state, &is, IDLE) || is != RUNNING) return;
    wait_for(&w->state, RUNNING, WATCHED);
}

/* ---- the pool -------------------------------------------------------------------------------- */

int eq_par_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

static void start(void) {
    omp_set_num_threads(1);
    if (!pool.started) pool.spin = eq_par_count() <= eq_par_cores();
    while (pool.started < pool.want - 1) {
        int k = pool.started + 1;
        atomic_store(&pool.worker[k].state, IDLE);
        if (pthread_create(&pool.worker[k].id, NULL, worker, (void *)(intptr_t)k))
            break; /* fewer threads give the same result, later */
        pool.started = k;
    }
}

int eq_par_threads(int n) {
    eq_par_shutdown();
    omp_set_num_threads(1); /* its first call takes memory, and ends the program without any */
    pool.want = n < 1 ? eq_par_cores() : n > MAX_THREADS ? MAX_THREADS : n;
    return pool.want;
}

int eq_par_count(void) {
    if (!pool.want) pool.want = eq_par_cores();
    return pool.want;
}

static struct {
    void (*told)(void *ctx, int64_t items);
    void *ctx;
} counter;

void eq_par_count_items(void (*told)(void *ctx, int64_t items), void *ctx) {
    counter.told = told, counter.ctx = ctx;
}

void eq_par_for(int64_t n, eq_par_fn fn, void *ctx) {
    if (n <= 0) return;
    if (counter.told) {
        counter.told(counter.ctx, n);
        return;
    }
    if (self >= 0) {
        for (int64_t i = 0; i < n; i++) fn(ctx, i, self);
        return;
    }
    if (pool.started < eq_par_count() - 1) start();
    omp_set_num_threads(1); /* this thread may not be the one that started the pool */
    pool.fn = fn, pool.ctx = ctx, pool.n = n;
    pool.called = n - 1 < pool.started ? (int)(n - 1) : pool.started;
    atomic_store(&pool.next, 0);
    work(0, fn, ctx, n, pool.called);
    for (int k = 1; k <= pool.called; k++) finish(k);
}

typedef struct {
    eq_par_try_fn fn;
    void *ctx;
    pthread_mutex_t lock;
    int64_t first; /* failed item, n: none */
    eq_err err;
} try_job;

static void try_item(void *ctx, int64_t item, int thread) {
    try_job *j = ctx;
    eq_err e = {0};
    (void)thread;
    if (j->fn(j->ctx, item, &e) == EQ_OK) return;
    pthread_mutex_lock(&j->lock);
    if (item < j->first) j->first = item, j->err = e;
    pthread_mutex_unlock(&j->lock);
}

eq_status eq_par_try(int64_t n, eq_par_try_fn fn, void *ctx, eq_err *err) {
    try_job j = {.fn = fn, .ctx = ctx, .lock = PTHREAD_MUTEX_INITIALIZER, .first = n};
    eq_par_for(n, try_item, &j);
    return j.first >= n ? EQ_OK : eq_fail(err, j.err.status, "%s", j.err.msg);
}

void eq_par_shutdown(void) {
    for (int k = 1; k <= pool.started; k++) {
        slot *w = &pool.worker[k];
        if (atomic_exchange(&w->state, QUIT) == ASLEEP) wake(&w->state);
    }
    for (int k = 1; k <= pool.started; k++) pthread_join(pool.worker[k].id, NULL);
    pool.started = 0;
}

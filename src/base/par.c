/* A pool of POSIX threads (ThreadSanitizer understands it, unlike an OpenMP runtime built without
 * it). oneDNN brings its own OpenMP: each worker tells it to use one thread, see par_omp_single. */
#define _GNU_SOURCE
#include "base/par.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { MAX_THREADS = 512 };
void omp_set_num_threads(int); /* libgomp, which oneDNN is linked to; its setting is per thread */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t go, done;
    pthread_t id[MAX_THREADS];
    uint64_t born[MAX_THREADS]; /* the round in force when the worker was made: not its to take */
    int want, started, running;
    uint64_t round;
    bool quit;
    eq_par_fn fn;
    void *ctx;
    int64_t n;
    _Atomic int64_t next;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .go = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static _Thread_local int self = -1; /* thread number inside an item, -1 outside */

static void work(int thread, eq_par_fn fn, void *ctx, int64_t n) {
    self = thread;
    for (int64_t i; (i = atomic_fetch_add(&pool.next, 1)) < n;) fn(ctx, i, thread);
    self = -1;
}

static void *worker(void *arg) {
    int thread = (int)(intptr_t)arg;
    omp_set_num_threads(1);
    pthread_mutex_lock(&pool.lock);
    uint64_t seen = pool.born[thread - 1];
    for (;;) {
        while (!pool.quit && pool.round == seen) pthread_cond_wait(&pool.go, &pool.lock);
        if (pool.quit) break;
        seen = pool.round;
        eq_par_fn fn = pool.fn;
        void *ctx = pool.ctx;
        int64_t n = pool.n;
        pthread_mutex_unlock(&pool.lock);
        work(thread, fn, ctx, n);
        pthread_mutex_lock(&pool.lock);
        if (--pool.running == 0) pthread_cond_signal(&pool.done);
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

int eq_par_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

static void start(void) {
    if (!pool.want) pool.want = eq_par_cores();
    omp_set_num_threads(1);
    while (pool.started < pool.want - 1) {
        pool.born[pool.started] = pool.round;
        if (pthread_create(&pool.id[pool.started], NULL, worker,
                           (void *)(intptr_t)(pool.started + 1)))
            break; /* fewer threads give the same result, later */
        pool.started++;
    }
}

int eq_par_threads(int n) {
    eq_par_shutdown();
    pool.want = n < 1 ? eq_par_cores() : n > MAX_THREADS ? MAX_THREADS : n;
    return pool.want;
}

int eq_par_count(void) {
    if (!pool.want) pool.want = eq_par_cores();
    return pool.want;
}

void eq_par_for(int64_t n, eq_par_fn fn, void *ctx) {
    if (n <= 0) return;
    if (self >= 0) {
        for (int64_t i = 0; i < n; i++) fn(ctx, i, self);
        return;
    }
    if (pool.started < eq_par_count() - 1) start();
    atomic_store(&pool.next, 0);
    if (n == 1 || pool.started == 0) {
        omp_set_num_threads(1);
        work(0, fn, ctx, n);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    pool.fn = fn, pool.ctx = ctx, pool.n = n;
    pool.running = pool.started;
    pool.round++;
    pthread_cond_broadcast(&pool.go);
    pthread_mutex_unlock(&pool.lock);
    work(0, fn, ctx, n);
    pthread_mutex_lock(&pool.lock);
    while (pool.running) pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
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
    pthread_mutex_lock(&pool.lock);
    pool.quit = true;
    pthread_cond_broadcast(&pool.go);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < pool.started; i++) pthread_join(pool.id[i], NULL);
    pool.started = 0, pool.quit = false, pool.round = 0;
}

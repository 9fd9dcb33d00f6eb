/* Threads: one pool, one verb. The work is cut into `n` items by the caller, by shape alone, never
 * by the number of threads; items are independent, so any thread count gives the same bits. */
#ifndef EQ_BASE_PAR_H
#define EQ_BASE_PAR_H
#include "base/err.h"

typedef void (*eq_par_fn)(void *ctx, int64_t item, int thread);

/* Threads of the pool from now on; 0: one per core this process may use. Call from one thread,
 * outside eq_par_for. Returns the number in force. */
int eq_par_threads(int n);
int eq_par_count(void);
int eq_par_cores(void); /* that this process may use */
/* Calls fn(ctx, i, thread) for i in [0, n), thread in [0, eq_par_count()). Blocks until all are
 * done. Not reentrant: inside an item it runs serially on that item's thread. */
void eq_par_for(int64_t n, eq_par_fn fn, void *ctx);
/* For the benchmark, which counts: while told is set, eq_par_for runs nothing and tells the number
 * of items instead. */
void eq_par_count_items(void (*told)(void *ctx, int64_t items), void *ctx);
/* The same for items that can fail. All of them run; the first in order that failed speaks. */
typedef eq_status (*eq_par_try_fn)(void *ctx, int64_t item, eq_err *err);
eq_status eq_par_try(int64_t n, eq_par_try_fn fn, void *ctx, eq_err *err);
/* Ends the pool's threads (they start again by themselves). */
void eq_par_shutdown(void);
#endif

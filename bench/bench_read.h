/* The rate at which all threads of the pool read memory, measured again and again between what it
 * is set beside: on shared machines it changes from second to second. */
#ifndef EQ_BENCH_READ_H
#define EQ_BENCH_READ_H
#include "base/err.h"

typedef struct {
    uint64_t *from;
    int64_t at; /* where the next pass begins */
} eq_bench_reader;
enum { EQ_READ_BYTES = 32 << 20 }; /* of a pass */

eq_status eq_bench_reader_open(eq_bench_reader *r, eq_err *err);
void eq_bench_reader_close(eq_bench_reader *r);
/* Seconds of a pass, over bytes that no cache holds. */
double eq_bench_read(eq_bench_reader *r);
#endif

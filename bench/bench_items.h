/* Items of work of every operation of a training step, and what sixteen cores can make of them.
 * Counted, not measured: the same on every machine. */
#ifndef EQ_BENCH_ITEMS_H
#define EQ_BENCH_ITEMS_H
#include <stdio.h>

#include "base/err.h"

eq_status eq_bench_items(FILE *out, eq_err *err);
#endif

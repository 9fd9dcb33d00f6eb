/* Time of every operation beside the roofs of this machine, measured in the same run. */
#ifndef EQ_BENCH_OPS_H
#define EQ_BENCH_OPS_H
#include <stdio.h>

#include "backend/backend.h"

/* One line for each large row of the case table whose label contains `filter` (NULL: all): time,
 * GB/s or GFLOP/s, share of the roof (a threaded copy; oneDNN's bf16 and fp32 product of 2048 x
 * 4096 x 4096). ref not NULL: how much faster than it, where it takes under some seconds. */
void eq_bench_ops(eq_backend *ref_or_null, eq_backend *cpu, FILE *out, const char *filter);
#endif

/* Times of work on any backend, and the roofs it is held against; see bench_device.c. */
#ifndef EQ_BENCH_DEVICE_H
#define EQ_BENCH_DEVICE_H
#include "backend/backend.h"
#include "bench.h"

/* Median seconds of fn(ctx), which queues work on be, over runs of many calls, some `budget`
 * seconds in all; < 0 and a message in err when it fails. */
double eq_bench_seconds(eq_backend *be, void (*fn)(void *ctx), void *ctx, double budget,
                        eq_err *err);
/* The roofs that be is held against: those above for the CPU, a device's own products and copies
 * through its operations (on a GPU products are one call of its library). */
double eq_bench_product(eq_backend *be, eq_roof_kind kind, int64_t M, int64_t N, int64_t K,
                        bool bf16, bool f32_out, int threads);
double eq_bench_copy(eq_backend *be);
#endif

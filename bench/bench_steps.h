/* The sections of `eqat bench` that run training steps; see bench_steps.c. */
#ifndef EQ_BENCH_STEPS_H
#define EQ_BENCH_STEPS_H
#include "base/err.h"
#include "bench.h"

typedef struct {
    const char *name;
    int64_t D, F, NH, NKV, V, T;
} eq_bench_model;

/* Below the scratch folder; a section may rely on none of them existing but the model it made. */
typedef struct {
    char *model, *quantized, *out, *data;
} eq_bench_paths;

eq_status eq_bench_block_ap(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err);
eq_status eq_bench_e2e(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err);
eq_status eq_bench_threads(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err);
eq_status eq_bench_pack(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err);
#endif

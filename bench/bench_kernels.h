/* The sections of `eqat bench` about generation; see bench_kernels.c and bench_generate.c. */
#ifndef EQ_BENCH_KERNELS_H
#define EQ_BENCH_KERNELS_H
#include "bench_steps.h"

eq_status eq_bench_kernels(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err);
eq_status eq_bench_generate(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err);
#endif

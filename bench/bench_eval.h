/* The section of `eqat bench` about multiple choice; see bench_eval.c. */
#ifndef EQ_BENCH_EVAL_H
#define EQ_BENCH_EVAL_H
#include "bench_steps.h"

eq_status eq_bench_eval(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err);
#endif

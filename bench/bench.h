/* `eqat bench`: what the program reaches, as ratios to a roof or a peer measured in the same
 * run. */
#ifndef EQ_BENCH_H
#define EQ_BENCH_H
#include <stdio.h>

#include "eqat.h"

typedef struct {
    FILE *out;
    const char *filter;     /* run the sections whose name contains this; NULL: all */
    const char *make_model; /* program that writes random models (build/make-model) */
    const char *python;     /* interpreter with torch for the peer; NULL: no peer */
    const char *scratch;    /* folder for random models; NULL: one below /tmp, removed at the end */
    eq_compute_opts compute;
} eq_bench_opts;

/* Sections: "roof", "ops", "items", "kernels", "generate", "eval", "block-ap", "threads", "e2e-qp",
 * "pack". */
eq_status eq_bench_run(const eq_bench_opts *o, eq_err *err);

/* ---- roof.c: oneDNN itself, its own threads, one call for the whole product ------------------ */

typedef enum { EQ_ROOF_NT, EQ_ROOF_NN, EQ_ROOF_TN } eq_roof_kind;
/* Best FLOP/s of y[M, N] = op(a) op(b) over a few runs; bf16 operands (y F32 when f32_out; fp32's
 * figure where oneDNN has no bf16 on this CPU) or fp32. 0 when oneDNN cannot. */
double eq_roof_product(eq_roof_kind kind, int64_t M, int64_t N, int64_t K, bool bf16, bool f32_out,
                       int threads);
/* Bytes read + written per second of a large copy. */
double eq_roof_copy(void);

#endif

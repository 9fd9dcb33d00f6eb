/* The operation benchmark: median of repeated calls on the table's large rows.
 * Invariant: a ratio only ever compares two times of this run. */
#include "bench_ops.h"

#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "bench_device.h"
#include "op_cases.h"

static const double budget = 2.0; /* seconds a row may repeat for */

typedef struct {
    eq_case_buf bufs[EQ_CASE_BUFS];
    eq_mut mem[EQ_CASE_BUFS];
    eq_arena arena;
    int n;
} row;

static void bind(row *r) {
    for (int i = 0; i < r->n; i++)
        r->mem[i] = r->bufs[i].on >= 0 ? r->mem[r->bufs[i].on]
                                       : eq_take(&r->arena, r->bufs[i].dt, r->bufs[i].n);
}

static eq_status prepare(row *r, eq_backend *be, const eq_op_case *c, eq_err *err) {
    r->n = eq_case_describe(c, r->bufs);
    bind(r);
    EQ_TRY(eq_arena_alloc(&r->arena, be, "a benchmark", err));
    bind(r);
    for (int i = 0; i < r->n; i++) {
        const eq_case_buf *b = &r->bufs[i];
        if (!eq_case_filled(b)) continue;
        void *host = eq_calloc(b->n, eq_dtype_size(b->dt));
        if (!host) return eq_nomem(err, "a benchmark", b->n * eq_dtype_size(b->dt));
        eq_case_fill(c, r->bufs, i, host);
        be->upload(be, r->mem[i], host, b->dt);
        eq_free(host);
    }
    eq_case_prepare(be, c, r->mem);
    eq_case_own(be, c, r->mem);
    return be->sync(be, err);
}

typedef struct {
    eq_backend *be;
    const eq_op_case *c;
    const row *r;
} call;
static void run_call(void *ctx) {
    const call *k = ctx;
    eq_case_run(k->be, k->c, k->r->mem);
}

/* Median seconds, the first call not counted; < 0 and a message in err when the row cannot run. */
static double time_row(eq_backend *be, const eq_op_case *c, eq_err *err) {
    row r = {0};
    call k = {be, c, &r};
    double t =
        prepare(&r, be, c, err) == EQ_OK ? eq_bench_seconds(be, run_call, &k, budget, err) : -1;
    eq_arena_free(&r.arena);
    return t;
}

/* Bytes that must move: every buffer once, twice where it is read and written. */
static double bytes_of(const eq_op_case *c) {
    eq_case_buf b[EQ_CASE_BUFS];
    double sum = 0.0;
    for (int i = 0, n = eq_case_describe(c, b); i < n; i++)
        sum += (double)(b[i].n * eq_dtype_size(b[i].dt)) * (b[i].role == EQ_INOUT ? 2 : 1);
    return sum;
}

static void print_row(eq_backend *ref, eq_backend *cpu, FILE *out, const eq_op_case *c,
                      const char *label, const double roof[3]) {
    eq_err err = {0};
    double t = time_row(cpu, c, &err), flop = eq_case_flop(c), bytes = bytes_of(c);
    if (t < 0.0) {
        fprintf(out, "%-52s %s\n", label, err.msg);
        return;
    }
    double rate = (flop > 0.0 ? flop : bytes) / t;
    double top = roof[flop == 0.0 ? 0 : c->in == EQ_BF16 ? 1 : 2];
    fprintf(out, "%-52s %9.3f ms %9.1f %-7s %5.0f %% of roof", label, t * 1e3, rate * 1e-9,
            flop > 0.0 ? "GFLOP/s" : "GB/s", top > 0.0 ? 100.0 * rate / top : 0.0);
    /* The reference needs some 5 ns an element and product term. */
    if (ref && flop < 2e9 && bytes < 3e8) {
        double tr = time_row(ref, c, &err);
        if (tr > 0.0) fprintf(out, "  %6.0f x ref", tr / t);
    }
    fputc('\n', out);
    fflush(out);
}

void eq_bench_ops(eq_backend *ref, eq_backend *cpu, FILE *out, const char *filter) {
    int threads = eq_par_count();
    double roof[3] = {eq_bench_copy(cpu),
                      eq_bench_product(cpu, EQ_ROOF_NT, 2048, 4096, 4096, true, false, threads),
                      eq_bench_product(cpu, EQ_ROOF_NT, 2048, 4096, 4096, false, false, threads)};
    fprintf(out, "operations of %s (%s), %d threads\n", cpu->name, cpu->kernels, threads);
    fprintf(out,
            "roofs: copy %.1f GB/s read + written, %s a b^T of 2048 x 4096 x 4096 bf16 %.0f, fp32 "
            "%.0f GFLOP/s\n",
            roof[0] * 1e-9, cpu->device ? "the device's" : "oneDNN's", roof[1] * 1e-9,
            roof[2] * 1e-9);
    for (int i = 0; i < eq_op_case_count; i++) {
        char label[128];
        eq_case_label(&eq_op_cases[i], label, sizeof label);
        if (!eq_op_cases[i].bench || (filter && !strstr(label, filter))) continue;
        print_row(ref, cpu, out, &eq_op_cases[i], label, roof);
    }
}

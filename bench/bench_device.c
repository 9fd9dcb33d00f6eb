/* Times of work on a backend, and a device's roofs measured through its own operations.
 * Invariant: a time is of many calls queued behind each other, so that starting one is not in it.
 */
#include "bench_device.h"

#include "base/mem.h"
#include "base/observe.h"

enum { RUNS = 5, MOST = 200 };
static const double run_seconds = 0.02; /* of calls between two clock readings */

static double timed(eq_backend *be, void (*fn)(void *ctx), void *ctx, int calls, eq_err *err) {
    double t = eq_now();
    for (int i = 0; i < calls; i++) fn(ctx);
    if (be->sync(be, err) != EQ_OK) return -1;
    return (eq_now() - t) / calls;
}

double eq_bench_seconds(eq_backend *be, void (*fn)(void *ctx), void *ctx, double budget,
                        eq_err *err) {
    double t[RUNS], spent = 0, once;
    int n = 0, calls;
    if (timed(be, fn, ctx, 1, err) < 0 || (once = timed(be, fn, ctx, 1, err)) < 0) return -1;
    calls = once > run_seconds ? 1 : once * MOST > run_seconds ? (int)(run_seconds / once) : MOST;
    while (n < RUNS && (n == 0 || spent < budget)) {
        double x = timed(be, fn, ctx, calls, err);
        if (x < 0) return -1;
        int at = n++;
        for (; at > 0 && t[at - 1] > x; at--) t[at] = t[at - 1];
        t[at] = x;
        spent += x * calls;
    }
    return t[n / 2];
}

typedef struct {
    eq_backend *be;
    eq_roof_kind kind;
    int64_t M, N, K;
    eq_mut y, a, b;
} work;

static void product(void *ctx) {
    const work *w = ctx;
    if (w->kind == EQ_ROOF_NT)
        EQ_DO(w->be, matmul_nt, w->y, eq_ro(w->a), eq_ro(w->b), w->M, w->N, w->K, w->M, 0);
    else if (w->kind == EQ_ROOF_NN)
        EQ_DO(w->be, matmul_nn, w->y, eq_ro(w->a), eq_ro(w->b), w->M, w->N, w->K, w->M, 0);
    else
        EQ_DO(w->be, matmul_tn, w->y, eq_ro(w->a), eq_ro(w->b), w->M, w->N, w->K, w->K, w->M, 0);
}
static void copy(void *ctx) {
    const work *w = ctx;
    EQ_DO(w->be, cast, w->y, eq_ro(w->a));
}

/* Operands on the device, filled with numbers that are not all alike: zeros run faster. */
static double on_device(work *w, int64_t na, int64_t nb, int64_t ny, eq_dtype in, eq_dtype out,
                        void (*fn)(void *)) {
    enum { PATTERN = 1 << 16 };
    eq_arena a = {0};
    eq_err err = {0};
    float *host = eq_calloc(PATTERN, sizeof *host);
    for (int i = 0; host && i < PATTERN; i++) host[i] = (float)(i * 2654435761u % 4093u) / 2048 - 1;
    for (int pass = 0; pass < 2 && host; pass++) {
        w->a = eq_take(&a, in, na), w->b = eq_take(&a, in, nb), w->y = eq_take(&a, out, ny);
        if (!pass && eq_arena_alloc(&a, w->be, "a roof", &err) != EQ_OK) {
            eq_free(host);
            return 0;
        }
    }
    eq_mut operand[2] = {w->a, w->b};
    for (int k = 0; k < 2 && host; k++)
        for (int64_t at = 0; at < operand[k].n; at += PATTERN) {
            int64_t left = operand[k].n - at;
            w->be->upload(w->be, eq_mut_at(operand[k], at, left < PATTERN ? left : PATTERN), host,
                          EQ_F32);
        }
    double t = host ? eq_bench_seconds(w->be, fn, w, 1, &err) : -1;
    eq_free(host);
    eq_arena_free(&a);
    return t > 0 ? t : 0;
}

double eq_bench_product(eq_backend *be, eq_roof_kind kind, int64_t M, int64_t N, int64_t K,
                        bool bf16, bool f32_out, int threads) {
    if (!be->device) return eq_roof_product(kind, M, N, K, bf16, f32_out, threads);
    eq_dtype in = bf16 ? EQ_BF16 : EQ_F32, out = bf16 && !f32_out ? EQ_BF16 : EQ_F32;
    work w = {.be = be, .kind = kind, .M = M, .N = N, .K = K};
    double t = on_device(&w, M * K, N * K, M * N, in, out, product);
    return t > 0 ? 2.0 * (double)M * (double)N * (double)K / t : 0;
}

double eq_bench_copy(eq_backend *be) {
    enum { BYTES = 1 << 29 };
    if (!be->device) return eq_roof_copy();
    work w = {.be = be};
    double t = on_device(&w, BYTES / 4, 0, BYTES / 4, EQ_F32, EQ_F32, copy);
    return t > 0 ? 2.0 * BYTES / t : 0;
}

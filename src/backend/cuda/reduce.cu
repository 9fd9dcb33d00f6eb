/* Sums over whole tensors: mse, sumsq, sum. Every block adds up one part, a last block the parts.
 * Invariant: parts are cut by the number of elements alone, and kept in double. */
#include "backend/cuda/sums.cuh"
#include "backend/cuda/typed.cuh"

enum { MAX_PARTS = 1024, MSE = 0, SQUARES = 1, PLAIN = 2 };

static int64_t parts_of(int64_t n) { return eq_least(eq_unit_blocks(n), MAX_PARTS); }

/* part[b] = the sum of block b's units: b, b + blocks, ... */
template <int WHAT>
static __global__ void parts_kernel(double *part, eq_dev dy, eq_dev x, eq_dev t, int64_t n,
                                    float f) {
    double sum = 0.0;
    for (int64_t c = eq_unit(); c * EQ_UNIT < n; c += (int64_t)gridDim.x * blockDim.x) {
        int64_t left = n - c * EQ_UNIT;
        float v[EQ_UNIT], w[EQ_UNIT];
        eq_raw rx = eq_fetch(x, c, left), rt = rx;
        if (WHAT == MSE) rt = eq_fetch(t, c, left);
        eq_unpack(v, rx, x.dt);
        if (WHAT == MSE) eq_unpack(w, rt, t.dt);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) {
            if (WHAT == MSE) v[k] -= w[k];
            sum += WHAT == PLAIN ? (double)v[k] : (double)v[k] * (double)v[k];
            v[k] *= f;
        }
        if (WHAT == MSE && dy.p) eq_write(dy, c, left, v);
    }
    sum = eq_block_sum(sum);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

/* mean: *out = sum / n in fp32; else *out += sum in double. */
static __global__ void total_kernel(void *out, const double *part, int n, double mean) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += part[i];
    sum = eq_block_sum(sum);
    if (threadIdx.x != 0) return;
    if (mean > 0.0)
        *static_cast<float *>(out) = (float)(sum / mean);
    else
        *static_cast<double *>(out) += sum;
}

template <int WHAT>
static void reduce(eq_backend *be, const char *op, void *out, eq_mut dy, eq_view x, eq_view t,
                   float f) {
    int64_t blocks = parts_of(x.n);
    double *part = static_cast<double *>(eq_cuda_scratch(be, MAX_PARTS * (int64_t)sizeof(double)));
    if (!part) return;
    EQ_RUN(be, op, parts_kernel<WHAT>, blocks, EQ_THREADS, part, eq_dev_of(dy), eq_dev_of(x),
           eq_dev_of(t), x.n, f);
    EQ_RUN(be, op, total_kernel, 1, EQ_THREADS, out, part, (int)blocks,
           WHAT == MSE ? (double)x.n : 0.0);
}

static void mse(eq_backend *be, eq_mut loss, eq_mut dy, eq_view y, eq_view t) {
    int64_t n = y.n / loss.n;
    float f = (float)(2.0 / (double)y.n), *out = static_cast<float *>(loss.p);
    for (int64_t at = 0; at < y.n; at += n, out++)
        reduce<MSE>(be, "mse", out, dy.n ? eq_mut_at(dy, at, n) : dy, eq_view_at(y, at, n),
                    eq_view_at(t, at, n), f);
}
static void sumsq(eq_backend *be, eq_mut acc, eq_view x) {
    reduce<SQUARES>(be, "sumsq", acc.p, EQ_NONE_MUT, x, EQ_NONE_VIEW, 1.0f);
}
static void sum(eq_backend *be, eq_mut acc, eq_view x) {
    reduce<PLAIN>(be, "sum", acc.p, EQ_NONE_MUT, x, EQ_NONE_VIEW, 1.0f);
}

void eq_cuda_reduce(eq_ops *ops) {
    ops->mse = mse;
    ops->sumsq = sumsq;
    ops->sum = sum;
}

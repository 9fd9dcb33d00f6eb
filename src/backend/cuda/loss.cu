/* Cross-entropy, and divergence from a teacher: a block takes a row of logits, once for the largest
 * and the sum of exponentials together, once more for the gradient; the second time most of it is
 * in the L2 cache. Invariant: a thread owns the same units of 8 logits both times, so the gradient
 * may be written over the logits. */
#include "backend/cuda/sums.cuh"
#include "backend/cuda/typed.cuh"

#define LOG2E 1.4426950408889634f

static __device__ __forceinline__ eq_dev row_of(eq_dev x, int64_t row, int64_t V) {
    if (!x.p) return x;
    x.p = static_cast<char *>(x.p) + row * V * (x.dt == EQ_F32 ? 4 : 2);
    x.wide = (uintptr_t)x.p % 16 == 0;
    return x;
}

/* Takes 8 logits into the running maximum and the sum of 2^((v - top) log2 e). A NaN stays in sum.
 */
static __device__ __forceinline__ void take(float &top, float &sum, const float v[EQ_UNIT],
                                            int64_t left) {
    float most = v[0];
#pragma unroll
    for (int k = 1; k < EQ_UNIT; k++)
        if (k < left) most = fmaxf(most, v[k]);
    if (most > top) {
        sum *= eq_ptx_exp2((top - most) * LOG2E);
        top = most;
    }
    if (top == -INFINITY && most == -INFINITY) return;
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++)
        if (k < left) sum += eq_ptx_exp2((v[k] - top) * LOG2E);
}

static __device__ __forceinline__ float block_max(float v) {
    __shared__ float part[EQ_WARP];
    int lane = threadIdx.x % EQ_WARP, warp = threadIdx.x / EQ_WARP, warps = blockDim.x / EQ_WARP;
    for (int d = EQ_WARP / 2; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(EQ_ALL_LANES, v, d));
    if (lane == 0) part[warp] = v;
    __syncthreads();
    v = part[0];
    for (int i = 1; i < warps; i++) v = fmaxf(v, part[i]);
    return v;
}

static __device__ __forceinline__ void write_zeros(eq_dev d, int64_t V) {
    const float zeros[EQ_UNIT] = {0.0f};
    for (int64_t c = threadIdx.x; c * EQ_UNIT < V; c += blockDim.x)
        eq_write(d, c, V - c * EQ_UNIT, zeros);
}

/* log_p: of the target. p - 1 by expm1: near p = 1 the difference of two floats has no digits. */
static __device__ __forceinline__ void write_gradient(eq_dev d, eq_dev x, int64_t V, int64_t target,
                                                      float top, double sum, double log_p,
                                                      float scale, float cap) {
    float f = (float)((double)scale / sum), in = cap > 0.0f ? 1.0f / cap : 0.0f;
    for (int64_t c = threadIdx.x; c * EQ_UNIT < V; c += blockDim.x) {
        float v[EQ_UNIT];
        eq_read(v, x, c, V - c * EQ_UNIT);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) {
            float t = v[k] * in, slope = 1.0f - t * t; /* of the cap */
            v[k] = eq_ptx_exp2((v[k] - top) * LOG2E) * f;
            if (c * EQ_UNIT + k == target) v[k] = (float)(expm1(log_p) * (double)scale);
            v[k] *= slope;
        }
        eq_write(d, c, V - c * EQ_UNIT, v);
    }
}

static __global__ void __launch_bounds__(1024)
    cross_entropy_kernel(float *loss, eq_dev d, eq_dev logits, const int32_t *targets, int64_t V,
                         float scale, float cap) {
    int64_t row = blockIdx.x, target = targets[row];
    eq_dev x = row_of(logits, row, V);
    d = row_of(d, row, V);
    if (target < 0) {
        if (threadIdx.x == 0) loss[row] = 0.0f;
        if (d.p) write_zeros(d, V);
        return;
    }
    double at_target = (double)eq_get(x, target); /* before anything is written over it */
    float top = -INFINITY, sum = 0.0f;
    for (int64_t c = threadIdx.x; c * EQ_UNIT < V; c += blockDim.x) {
        float v[EQ_UNIT];
        eq_read(v, x, c, V - c * EQ_UNIT);
        take(top, sum, v, V - c * EQ_UNIT);
    }
    float mine = top;
    top = block_max(top);
    double total = eq_block_sum(
        mine == -INFINITY && sum == 0.0f ? 0.0 : (double)(sum * eq_ptx_exp2((mine - top) * LOG2E)));
    double log_p = at_target - (double)top - log(total);
    if (threadIdx.x == 0) loss[row] = (float)-log_p;
    if (d.p) write_gradient(d, x, V, target, top, total, log_p, scale, cap);
}

static void cross_entropy(eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits,
                          eq_view targets, int64_t rows, int64_t V, float scale, float cap) {
    int threads = V >= 8192 ? 1024 : 256;
    EQ_RUN(be, "cross_entropy", cross_entropy_kernel, rows, threads, static_cast<float *>(loss.p),
           eq_dev_of(dlogits), eq_dev_of(logits), static_cast<const int32_t *>(targets.p), V, scale,
           cap);
}

/* ---- divergence from a teacher ----------------------------------------------------------------
 */

/* Largest and sum of exponentials of a row; every thread gets them. */
static __device__ __forceinline__ void row_sums(eq_dev x, int64_t V, float &top, double &total) {
    float sum = 0.0f;
    top = -INFINITY;
    for (int64_t c = threadIdx.x; c * EQ_UNIT < V; c += blockDim.x) {
        float v[EQ_UNIT];
        eq_read(v, x, c, V - c * EQ_UNIT);
        take(top, sum, v, V - c * EQ_UNIT);
    }
    float mine = top;
    __syncthreads(); /* the last row's largest is read */
    top = block_max(top);
    total = eq_block_sum(
        mine == -INFINITY && sum == 0.0f ? 0.0 : (double)(sum * eq_ptx_exp2((mine - top) * LOG2E)));
}

typedef struct {
    float top_q, top_p, f_q, f_p; /* f: 1 / sum of exponentials */
    double apart;                 /* log(p / q) less (t - x) */
    float scale, cap;
} kl_row;

/* Returns a thread's part of sum p log(p / q), and writes the gradient where it is wanted. */
static __device__ __forceinline__ double kl_units(eq_dev d, eq_dev x, eq_dev t, int64_t V,
                                                  kl_row r) {
    float in = r.cap > 0.0f ? 1.0f / r.cap : 0.0f;
    double kl = 0.0;
    for (int64_t c = threadIdx.x; c * EQ_UNIT < V; c += blockDim.x) {
        float v[EQ_UNIT], w[EQ_UNIT];
        int64_t left = V - c * EQ_UNIT;
        eq_read(v, x, c, left);
        eq_read(w, t, c, left);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) {
            float p = eq_ptx_exp2((w[k] - r.top_p) * LOG2E) * r.f_p;
            float q = eq_ptx_exp2((v[k] - r.top_q) * LOG2E) * r.f_q;
            float slope = 1.0f - v[k] * in * (v[k] * in); /* of the cap */
            if (k < left && p > 0.0f) kl += (double)p * ((double)w[k] - (double)v[k] + r.apart);
            v[k] = (q - p) * r.scale * slope;
        }
        if (d.p) eq_write(d, c, left, v);
    }
    return kl;
}

static __global__ void __launch_bounds__(1024)
    divergence_kernel(float *loss, eq_dev d, eq_dev logits, eq_dev teacher, const int32_t *targets,
                      int64_t V, float scale, float cap) {
    int64_t row = blockIdx.x;
    eq_dev x = row_of(logits, row, V), t = row_of(teacher, row, V);
    d = row_of(d, row, V);
    if (targets[row] < 0) {
        if (threadIdx.x == 0) loss[row] = 0.0f;
        if (d.p) write_zeros(d, V);
        return;
    }
    kl_row r;
    double q, p;
    row_sums(x, V, r.top_q, q);
    row_sums(t, V, r.top_p, p);
    r.f_q = (float)(1.0 / q), r.f_p = (float)(1.0 / p);
    r.apart = ((double)r.top_q + log(q)) - ((double)r.top_p + log(p));
    r.scale = scale, r.cap = cap;
    double kl = eq_block_sum(kl_units(d, x, t, V, r));
    if (threadIdx.x == 0) loss[row] = (float)kl;
}

static void divergence(eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits, eq_view teacher,
                       eq_view targets, int64_t rows, int64_t V, float scale, float cap) {
    int threads = V >= 8192 ? 1024 : 256;
    EQ_RUN(be, "divergence", divergence_kernel, rows, threads, static_cast<float *>(loss.p),
           eq_dev_of(dlogits), eq_dev_of(logits), eq_dev_of(teacher),
           static_cast<const int32_t *>(targets.p), V, scale, cap);
}

void eq_cuda_loss(eq_ops *ops) {
    ops->cross_entropy = cross_entropy;
    ops->divergence = divergence;
}

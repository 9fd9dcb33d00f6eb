/* fill, cast, sums of tensors, caps, rows without their mean, gated activations.
 * Invariant: a thread reads its eight elements of every input before it writes one, so an output
 * may lie on an input. */
#include "backend/cuda/sums.cuh"
#include "backend/cuda/typed.cuh"

static __global__ void fill_kernel(eq_dev y, float f, int64_t n) {
    int64_t c = eq_unit();
    float v[EQ_UNIT] = {f, f, f, f, f, f, f, f};
    if (c * EQ_UNIT < n) eq_write(y, c, n - c * EQ_UNIT, v);
}
static void fill(eq_backend *be, eq_mut y, float f) {
    EQ_RUN(be, "fill", fill_kernel, eq_unit_blocks(y.n), EQ_THREADS, eq_dev_of(y), f, y.n);
}

static __global__ void cast_kernel(eq_dev y, eq_dev x, int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float v[EQ_UNIT];
    if (left <= 0) return;
    eq_read(v, x, c, left);
    eq_write(y, c, left, v);
}
static void cast(eq_backend *be, eq_mut y, eq_view x) {
    EQ_RUN(be, "cast", cast_kernel, eq_unit_blocks(y.n), EQ_THREADS, eq_dev_of(y), eq_dev_of(x),
           y.n);
}

static __global__ void add_kernel(eq_dev y, eq_dev a, eq_dev b, int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float va[EQ_UNIT], vb[EQ_UNIT];
    if (left <= 0) return;
    eq_raw ra = eq_fetch(a, c, left), rb = eq_fetch(b, c, left);
    eq_unpack(va, ra, a.dt), eq_unpack(vb, rb, b.dt);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) va[k] += vb[k];
    eq_write(y, c, left, va);
}
static void add(eq_backend *be, eq_mut y, eq_view a, eq_view b) {
    EQ_RUN(be, "add", add_kernel, eq_unit_blocks(y.n), EQ_THREADS, eq_dev_of(y), eq_dev_of(a),
           eq_dev_of(b), y.n);
}

/* Units run along the columns of one row; blockIdx.y is the row within a band of 65535. */
static __global__ void bias_add_kernel(eq_dev y, eq_dev b, int64_t first, int64_t cols) {
    int64_t c = eq_unit(), left = cols - c * EQ_UNIT, row = first + blockIdx.y;
    float vy[EQ_UNIT], vb[EQ_UNIT];
    if (left <= 0) return;
    eq_read(vb, b, c, left);
    y.p = static_cast<char *>(y.p) + row * cols * (y.dt == EQ_F32 ? 4 : 2);
    eq_read(vy, y, c, left);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) vy[k] += vb[k];
    eq_write(y, c, left, vy);
}
static void bias_add(eq_backend *be, eq_mut y, eq_view b, int64_t rows, int64_t cols) {
    eq_dev dy = eq_dev_of(y);
    dy.wide = dy.wide && cols % EQ_UNIT == 0;
    for (int64_t row = 0, n; row < rows; row += n) {
        n = eq_least(rows - row, 65535);
        EQ_LAUNCH(bias_add_kernel, dim3((unsigned)eq_unit_blocks(cols), (unsigned)n),
                  dim3(EQ_THREADS), 0, eq_cuda_of(be)->stream, dy, eq_dev_of(b), row, cols);
        eq_cuda_launched(be, "bias_add");
    }
}

static __global__ void affine_kernel(eq_dev y, eq_dev x, float mul, float plus, int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float v[EQ_UNIT];
    if (left <= 0) return;
    eq_read(v, x, c, left);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) v[k] = fmaf(mul, v[k], plus);
    eq_write(y, c, left, v);
}
static void affine(eq_backend *be, eq_mut y, eq_view x, float mul, float plus) {
    EQ_RUN(be, "affine", affine_kernel, eq_unit_blocks(y.n), EQ_THREADS, eq_dev_of(y), eq_dev_of(x),
           mul, plus, y.n);
}

static __global__ void softcap_kernel(eq_dev y, eq_dev x, float cap, int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float v[EQ_UNIT];
    if (left <= 0) return;
    eq_read(v, x, c, left);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) v[k] = cap * tanhf(v[k] / cap);
    eq_write(y, c, left, v);
}
static void softcap(eq_backend *be, eq_mut y, eq_view x, float cap) {
    EQ_RUN(be, "softcap", softcap_kernel, eq_unit_blocks(y.n), EQ_THREADS, eq_dev_of(y),
           eq_dev_of(x), cap, y.n);
}

/* A block a row; a thread owns the same units both times. */
static __global__ void center_kernel(eq_dev y, eq_dev x, int64_t D) {
    int64_t row = blockIdx.x;
    float v[EQ_UNIT];
    double sum = 0.0;
    x.p = static_cast<char *>(x.p) + row * D * (x.dt == EQ_F32 ? 4 : 2);
    y.p = static_cast<char *>(y.p) + row * D * (y.dt == EQ_F32 ? 4 : 2);
    for (int64_t c = threadIdx.x; c * EQ_UNIT < D; c += blockDim.x) {
        eq_read(v, x, c, D - c * EQ_UNIT); /* zeros beyond the end */
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) sum += (double)v[k];
    }
    float mean = (float)(eq_block_sum(sum) / (double)D);
    for (int64_t c = threadIdx.x; c * EQ_UNIT < D; c += blockDim.x) {
        eq_read(v, x, c, D - c * EQ_UNIT);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) v[k] -= mean;
        eq_write(y, c, D - c * EQ_UNIT, v);
    }
}
static void center(eq_backend *be, eq_mut y, eq_view x, int64_t rows, int64_t D) {
    eq_dev dy = eq_dev_of(y), dx = eq_dev_of(x);
    dy.wide = dy.wide && D % EQ_UNIT == 0, dx.wide = dx.wide && D % EQ_UNIT == 0;
    EQ_RUN(be, "center", center_kernel, rows, EQ_THREADS, dy, dx, D);
}

/* An activation is x p(x), p = sigmoid(u): u = x, or for gelu 2 sqrt(2/pi) (x + 0.044715 x^3).
 * slope: u'. */
template <int ACT> static __device__ __forceinline__ float gate(float x, float &slope) {
    const float a = 1.5957691216057308f, b = 1.5957691216057308f * 0.044715f;
    slope = ACT == EQ_ACT_SILU ? 1.0f : a + 3.0f * b * x * x;
    return 1.0f / (1.0f + expf(ACT == EQ_ACT_SILU ? -x : -x * (a + b * x * x)));
}

template <int ACT> static __global__ void glu_fwd_kernel(eq_dev h, eq_dev g, eq_dev u, int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float vg[EQ_UNIT], vu[EQ_UNIT], slope;
    if (left <= 0) return;
    eq_raw rg = eq_fetch(g, c, left), ru = eq_fetch(u, c, left);
    eq_unpack(vg, rg, g.dt), eq_unpack(vu, ru, u.dt);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) vg[k] = vg[k] * gate<ACT>(vg[k], slope) * vu[k];
    eq_write(h, c, left, vg);
}
static void glu_fwd(eq_backend *be, eq_mut h, eq_view g, eq_view u, eq_act act) {
    auto kernel =
        act == EQ_ACT_SILU ? glu_fwd_kernel<EQ_ACT_SILU> : glu_fwd_kernel<EQ_ACT_GELU_TANH>;
    EQ_RUN(be, "glu_fwd", kernel, eq_unit_blocks(h.n), EQ_THREADS, eq_dev_of(h), eq_dev_of(g),
           eq_dev_of(u), h.n);
}

/* (x p)' = p (1 + x (1 - p) u') */
template <int ACT>
static __global__ void glu_bwd_kernel(eq_dev dg, eq_dev du, eq_dev dh, eq_dev g, eq_dev u,
                                      int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float vd[EQ_UNIT], vg[EQ_UNIT], vu[EQ_UNIT], slope;
    if (left <= 0) return;
    eq_raw rd = eq_fetch(dh, c, left), rg = eq_fetch(g, c, left), ru = eq_fetch(u, c, left);
    eq_unpack(vd, rd, dh.dt), eq_unpack(vg, rg, g.dt), eq_unpack(vu, ru, u.dt);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) {
        float d = vd[k], x = vg[k], p = gate<ACT>(x, slope);
        vg[k] = d * vu[k] * p * (1.0f + x * (1.0f - p) * slope);
        vu[k] = d * x * p;
    }
    eq_write(dg, c, left, vg);
    eq_write(du, c, left, vu);
}
static void glu_bwd(eq_backend *be, eq_mut dg, eq_mut du, eq_view dh, eq_view g, eq_view u,
                    eq_act act) {
    auto kernel =
        act == EQ_ACT_SILU ? glu_bwd_kernel<EQ_ACT_SILU> : glu_bwd_kernel<EQ_ACT_GELU_TANH>;
    EQ_RUN(be, "glu_bwd", kernel, eq_unit_blocks(dg.n), EQ_THREADS, eq_dev_of(dg), eq_dev_of(du),
           eq_dev_of(dh), eq_dev_of(g), eq_dev_of(u), dg.n);
}

void eq_cuda_elementwise(eq_ops *ops) {
    ops->fill = fill;
    ops->cast = cast;
    ops->add = add;
    ops->bias_add = bias_add;
    ops->affine = affine;
    ops->softcap = softcap;
    ops->center = center;
    ops->glu_fwd = glu_fwd;
    ops->glu_bwd = glu_bwd;
}

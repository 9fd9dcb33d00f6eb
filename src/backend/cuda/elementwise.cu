/* fill, cast, sums of tensors, SwiGLU.
 * Invariant: a thread reads its eight elements of every input before it writes one, so an output
 * may lie on an input. */
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

static __device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static __global__ void swiglu_fwd_kernel(eq_dev h, eq_dev g, eq_dev u, int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float vg[EQ_UNIT], vu[EQ_UNIT];
    if (left <= 0) return;
    eq_raw rg = eq_fetch(g, c, left), ru = eq_fetch(u, c, left);
    eq_unpack(vg, rg, g.dt), eq_unpack(vu, ru, u.dt);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) vg[k] = vg[k] * sigmoid(vg[k]) * vu[k];
    eq_write(h, c, left, vg);
}
static void swiglu_fwd(eq_backend *be, eq_mut h, eq_view g, eq_view u) {
    EQ_RUN(be, "swiglu_fwd", swiglu_fwd_kernel, eq_unit_blocks(h.n), EQ_THREADS, eq_dev_of(h),
           eq_dev_of(g), eq_dev_of(u), h.n);
}

/* silu'(g) = sigmoid(g) (1 + g (1 - sigmoid(g))) */
static __global__ void swiglu_bwd_kernel(eq_dev dg, eq_dev du, eq_dev dh, eq_dev g, eq_dev u,
                                         int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float vd[EQ_UNIT], vg[EQ_UNIT], vu[EQ_UNIT];
    if (left <= 0) return;
    eq_raw rd = eq_fetch(dh, c, left), rg = eq_fetch(g, c, left), ru = eq_fetch(u, c, left);
    eq_unpack(vd, rd, dh.dt), eq_unpack(vg, rg, g.dt), eq_unpack(vu, ru, u.dt);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) {
        float d = vd[k], x = vg[k], p = sigmoid(x);
        vg[k] = d * vu[k] * p * (1.0f + x * (1.0f - p));
        vu[k] = d * x * p;
    }
    eq_write(dg, c, left, vg);
    eq_write(du, c, left, vu);
}
static void swiglu_bwd(eq_backend *be, eq_mut dg, eq_mut du, eq_view dh, eq_view g, eq_view u) {
    EQ_RUN(be, "swiglu_bwd", swiglu_bwd_kernel, eq_unit_blocks(dg.n), EQ_THREADS, eq_dev_of(dg),
           eq_dev_of(du), eq_dev_of(dh), eq_dev_of(g), eq_dev_of(u), dg.n);
}

void eq_cuda_elementwise(eq_ops *ops) {
    ops->fill = fill;
    ops->cast = cast;
    ops->add = add;
    ops->bias_add = bias_add;
    ops->swiglu_fwd = swiglu_fwd;
    ops->swiglu_bwd = swiglu_bwd;
}

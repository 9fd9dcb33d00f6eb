/* Rotary position embedding of R elements of a head, pairs (i, i + R/2). A thread turns eight pairs
 * of one head. Invariant: a pair is read and written by one thread. */
#include "backend/cuda/typed.cuh"

static __global__ void rope_kernel(eq_dev x, eq_dev cos, eq_dev sin, const int32_t *at,
                                   int64_t rows, int64_t T, int64_t NH, int64_t HD, int64_t half,
                                   float sign) {
    int64_t units = (half + EQ_UNIT - 1) / EQ_UNIT, i = eq_unit(), c = i % units,
            head = i / units % NH;
    int64_t row = i / units / NH, left = half - c * EQ_UNIT;
    if (row >= rows) return;
    int64_t angle = ((at ? *at : 0) + row % T) * half;
    float a[EQ_UNIT], b[EQ_UNIT], vc[EQ_UNIT], vs[EQ_UNIT];
    int size = x.dt == EQ_F32 ? 4 : 2;
    eq_dev lo = x, hi = x;
    lo.p = static_cast<char *>(x.p) + (row * NH + head) * HD * size;
    hi.p = static_cast<char *>(lo.p) + half * size;
    cos.p = static_cast<float *>(cos.p) + angle;
    sin.p = static_cast<float *>(sin.p) + angle;
    eq_raw ra = eq_fetch(lo, c, left), rb = eq_fetch(hi, c, left);
    eq_raw rc = eq_fetch(cos, c, left), rs = eq_fetch(sin, c, left);
    eq_unpack(a, ra, x.dt), eq_unpack(b, rb, x.dt);
    eq_unpack(vc, rc, cos.dt), eq_unpack(vs, rs, sin.dt);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) {
        float p = a[k], q = b[k], s = sign * vs[k];
        a[k] = p * vc[k] - q * s;
        b[k] = q * vc[k] + p * s;
    }
    eq_write(lo, c, left, a);
    eq_write(hi, c, left, b);
}

static void rope(eq_backend *be, eq_mut x, eq_view cos, eq_view sin, eq_view at, int64_t B,
                 int64_t T, int64_t NH, int64_t HD, int64_t R, int sign) {
    int64_t half = R / 2, units = B * T * NH * eq_ceil_div(half, EQ_UNIT);
    eq_dev dx = eq_dev_of(x), dc = eq_dev_of(cos), ds = eq_dev_of(sin);
    int whole = half % EQ_UNIT == 0;
    dx.wide = dx.wide && whole && HD % EQ_UNIT == 0, dc.wide = dc.wide && whole,
    ds.wide = ds.wide && whole;
    EQ_RUN(be, "rope", rope_kernel, eq_ceil_div(units, EQ_THREADS), EQ_THREADS, dx, dc, ds,
           static_cast<const int32_t *>(at.n ? at.p : nullptr), B * T, T, NH, HD, half,
           (float)sign);
}

void eq_cuda_rope(eq_ops *ops) { ops->rope = rope; }

/* The number format in training (METHOD section 1): start, forward, backward. The scalar rules are
 * quant/number.h's. A group belongs to 4, 8, 16 or 32 lanes of one warp.
 * Invariant: weight i of row o belongs to group o * (I / G) + i / G of s and z. */
#include "backend/cuda/groups.cuh"
#include "backend/cuda/number.cuh"

static __global__ void init_kernel(float *s, float *z, eq_dev w, int64_t groups, int64_t units,
                                   int lanes, int bits) {
    eq_group g = eq_my_group(groups, lanes);
    float v[EQ_UNIT], lo = INFINITY, hi = -INFINITY;
    for (int64_t u = g.lane; g.exists && u < units; u += lanes) {
        eq_read(v, w, g.index * units + u, EQ_UNIT);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) lo = fminf(lo, v[k]), hi = fmaxf(hi, v[k]);
    }
    for (int d = lanes / 2; d > 0; d /= 2) {
        lo = fminf(lo, __shfl_xor_sync(EQ_ALL_LANES, lo, d));
        hi = fmaxf(hi, __shfl_xor_sync(EQ_ALL_LANES, hi, d));
    }
    if (g.exists && g.lane == 0) eq_minmax_start(lo, hi, bits, &s[g.index], &z[g.index]);
}
static void fq_init(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    eq_grouping g = eq_grouping_of(&q);
    EQ_RUN(be, "fq_init", init_kernel, g.blocks, EQ_THREADS, static_cast<float *>(s.p),
           static_cast<float *>(z.p), eq_dev_of(w), g.groups, g.units, g.lanes, q.bits);
}

static __global__ void fwd_kernel(eq_dev w_hat, eq_dev w, const float *s, const float *z, int64_t n,
                                  unsigned units, int bits) {
    int64_t c = eq_unit();
    if (c >= n) return;
    eq_raw r = eq_fetch(w, c, EQ_UNIT);
    unsigned g = (unsigned)c / units;
    float su = eq_step_used(s[g], w, (int64_t)g * units, units), zu = eq_z_used(z[g], bits);
    float top = eq_q_max(bits), v[EQ_UNIT];
    eq_unpack(v, r, w.dt);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++)
        v[k] = (eq_clampf(eq_code(v[k], su, zu), 0.0f, top) - zu) * su;
    eq_write(w_hat, c, EQ_UNIT, v);
}
static void fq_fwd(eq_backend *be, eq_mut w_hat, eq_view w, eq_view s, eq_view z, eq_qshape q) {
    int64_t n = q.O * q.I / EQ_UNIT;
    EQ_RUN(be, "fq_fwd", fwd_kernel, eq_ceil_div(n, EQ_THREADS), EQ_THREADS, eq_dev_of(w_hat),
           eq_dev_of(w), static_cast<const float *>(s.p), static_cast<const float *>(z.p), n,
           (unsigned)(q.G / EQ_UNIT), q.bits);
}

/* dw may lie on dw_hat: a lane reads its unit before it writes it. */
static __global__ void bwd_kernel(eq_dev dw, float *ds, float *dz, eq_dev dw_hat, eq_dev w,
                                  const float *s, const float *z, int64_t groups, int64_t units,
                                  int lanes, int bits) {
    eq_group g = eq_my_group(groups, lanes);
    eq_fq_sums sums = {0.0f, 0.0f};
    float su = g.exists ? eq_step_used(s[g.index], w, g.index * units, units) : 1.0f;
    float zu = g.exists ? eq_z_used(z[g.index], bits) : 0.0f, top = eq_q_max(bits);
    for (int64_t u = g.lane; g.exists && u < units; u += lanes) {
        int64_t c = g.index * units + u;
        float d[EQ_UNIT], x[EQ_UNIT];
        eq_raw rd = eq_fetch(dw_hat, c, EQ_UNIT), rw = eq_fetch(w, c, EQ_UNIT);
        eq_unpack(d, rd, dw_hat.dt), eq_unpack(x, rw, w.dt);
        eq_fq_unit(d, x, su, zu, top, &sums);
        if (dw.p) eq_write(dw, c, EQ_UNIT, d);
    }
    sums.s = eq_lanes_sum(sums.s, lanes), sums.z = eq_lanes_sum(sums.z, lanes);
    if (!g.exists || g.lane) return;
    if (ds) ds[g.index] = sums.s;
    if (dz) dz[g.index] = -su * sums.z;
}
static void fq_bwd(eq_backend *be, eq_mut dw, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view w,
                   eq_view s, eq_view z, eq_qshape q) {
    eq_grouping g = eq_grouping_of(&q);
    EQ_RUN(be, "fq_bwd", bwd_kernel, g.blocks, EQ_THREADS, eq_dev_of(dw),
           static_cast<float *>(ds.n ? ds.p : nullptr), static_cast<float *>(dz.n ? dz.p : nullptr),
           eq_dev_of(dw_hat), eq_dev_of(w), static_cast<const float *>(s.p),
           static_cast<const float *>(z.p), g.groups, g.units, g.lanes, q.bits);
}

void eq_cuda_quantize(eq_ops *ops) {
    ops->fq_init = fq_init;
    ops->fq_fwd = fq_fwd;
    ops->fq_bwd = fq_bwd;
}

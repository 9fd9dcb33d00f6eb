/* The number format in training (METHOD section 1): start, forward, backward. The scalar rules are
 * quant/number.h's. A group belongs to 4, 8, 16 or 32 lanes of one warp.
 * Invariant: weight i of row o belongs to group o * (I / G) + i / G of s and z. */
#include "backend/cuda/adamw.cuh"
#include "backend/cuda/groups.cuh"

static __global__ void init_kernel(float *s, float *z, eq_dev w, int64_t groups, int64_t units,
                                   int lanes, int bits, eq_grid grid) {
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
    if (g.exists && g.lane == 0) eq_minmax_start(lo, hi, bits, grid, &s[g.index], &z[g.index]);
}
static void fq_init(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    if (eq_k_grid(q.grid)) return eq_cuda_k_start(be, s, z, w, q);
    if (eq_is_odd(&q)) return eq_odd_fq_init(be, s, z, w, q);
    eq_grouping g = eq_grouping_of(&q);
    EQ_RUN(be, "fq_init", init_kernel, g.blocks, EQ_THREADS, static_cast<float *>(s.p),
           static_cast<float *>(z.p), eq_dev_of(w), g.groups, g.units, g.lanes, q.bits, q.grid);
}

/* Unit c fake-quantized; s, z as used. */
static __device__ __forceinline__ void show(eq_dev w_hat, int64_t c, float v[EQ_UNIT], float s,
                                            float z, float top) {
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) v[k] = (eq_clampf(eq_code(v[k], s, z), 0.0f, top) - z) * s;
    eq_write(w_hat, c, EQ_UNIT, v);
}

static __global__ void fwd_kernel(eq_dev w_hat, eq_dev w, const float *s, const float *z, int64_t n,
                                  unsigned units, int bits, eq_grid grid) {
    int64_t c = eq_unit();
    if (c >= n) return;
    eq_raw r = eq_fetch(w, c, EQ_UNIT);
    unsigned g = (unsigned)c / units;
    float v[EQ_UNIT];
    eq_unpack(v, r, w.dt);
    float su = eq_step_used(s[g], w, (int64_t)g * units, units);
    show(w_hat, c, v, su, eq_z_used(z[g], bits, grid), eq_q_max(bits));
}
static void fq_fwd(eq_backend *be, eq_mut w_hat, eq_view w, eq_view s, eq_view z, eq_qshape q) {
    if (eq_is_odd(&q)) return eq_odd_fq_fwd(be, w_hat, w, s, z, q);
    int64_t n = q.O * q.I / EQ_UNIT;
    EQ_RUN(be, "fq_fwd", fwd_kernel, eq_ceil_div(n, EQ_THREADS), EQ_THREADS, eq_dev_of(w_hat),
           eq_dev_of(w), static_cast<const float *>(s.p), static_cast<const float *>(z.p), n,
           (unsigned)(q.G / EQ_UNIT), q.bits, q.grid);
}

/* dw may lie on dw_hat: a lane reads its unit before it writes it. */
static __global__ void bwd_kernel(eq_dev dw, float *ds, float *dz, eq_dev dw_hat, eq_dev w,
                                  const float *s, const float *z, int64_t groups, int64_t units,
                                  int lanes, int bits, eq_grid grid) {
    eq_group g = eq_my_group(groups, lanes);
    eq_fq_sums sums = {0.0f, 0.0f};
    float su = g.exists ? eq_step_used(s[g.index], w, g.index * units, units) : 1.0f;
    float zu = g.exists ? eq_z_used(z[g.index], bits, grid) : 0.0f, top = eq_q_max(bits);
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
    if (eq_is_odd(&q)) return eq_odd_fq_bwd(be, dw, ds, dz, dw_hat, w, s, z, q);
    eq_grouping g = eq_grouping_of(&q);
    EQ_RUN(be, "fq_bwd", bwd_kernel, g.blocks, EQ_THREADS, eq_dev_of(dw),
           static_cast<float *>(ds.n ? ds.p : nullptr), static_cast<float *>(dz.n ? dz.p : nullptr),
           eq_dev_of(dw_hat), eq_dev_of(w), static_cast<const float *>(s.p),
           static_cast<const float *>(z.p), g.groups, g.units, g.lanes, q.bits, q.grid);
}

/* ---- one pass over everything that a step changes -------------------------------------------- */

/* A parameter that may be trained; m NULL: it is not. */
typedef struct {
    float *p, *m, *v;
} step_param;
static step_param param(eq_mut p, eq_mut m, eq_mut v) {
    return step_param{static_cast<float *>(p.p), static_cast<float *>(m.n ? m.p : nullptr),
                      static_cast<float *>(m.n ? v.p : nullptr)};
}

/* Of a group's s or z: every lane has the old values and the gradient, and comes to the same new
 * ones; the first lane writes them. The shuffles of the sums lie between reading and writing. */
typedef struct {
    float p, m, v;
} step_value;
static __device__ __forceinline__ step_value step_read(const step_param &q, int64_t i) {
    step_value r = {q.p[i], 0.0f, 0.0f};
    if (q.m) r.m = q.m[i], r.v = q.v[i];
    return r;
}
static __device__ __forceinline__ float step_write(const step_param &q, int64_t i, step_value r,
                                                   float grad, const eq_adamw_rates &a,
                                                   bool writes) {
    if (!q.m) return r.p;
    eq_adamw_one(&r.p, &r.m, &r.v, grad, a);
    if (writes) q.p[i] = r.p, q.m[i] = r.m, q.v[i] = r.v;
    return r.p;
}

/* Unit c of w with its moments; d: dw_hat. Leaves the new weights in w. */
static __device__ __forceinline__ void step_unit(float w[EQ_UNIT], eq_dev dw, eq_dev of, eq_dev dm,
                                                 eq_dev dv, int64_t c, float s, float z, float top,
                                                 const eq_adamw_rates &a, eq_fq_sums *sums) {
    float d[EQ_UNIT], m[EQ_UNIT], v[EQ_UNIT];
    eq_raw rd = eq_fetch(dw, c, EQ_UNIT), rw = eq_fetch(of, c, EQ_UNIT), rm = rd, rv = rd;
    if (dm.p) rm = eq_fetch(dm, c, EQ_UNIT), rv = eq_fetch(dv, c, EQ_UNIT);
    eq_unpack(d, rd, EQ_F32), eq_unpack(w, rw, EQ_F32);
    eq_fq_unit(d, w, s, z, top, sums);
    if (!dm.p) return;
    eq_unpack(m, rm, EQ_F32), eq_unpack(v, rv, EQ_F32);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) eq_adamw_one(&w[k], &m[k], &v[k], d[k], a);
    eq_write(of, c, EQ_UNIT, w);
    eq_write(dm, c, EQ_UNIT, m);
    eq_write(dv, c, EQ_UNIT, v);
}

/* A group of at most one unit a lane keeps its new weights for w_hat, a longer one reads them
 * again. */
static __global__ void step_kernel(eq_dev w_hat, eq_dev w, eq_dev m, eq_dev v, step_param s,
                                   step_param z, eq_dev dw, eq_grouping q, int bits, eq_grid grid,
                                   eq_adamw_rates aw, eq_adamw_rates aq) {
    w.dt = m.dt = v.dt = dw.dt = EQ_F32; /* known, so that no unit asks */
    eq_group g = eq_my_group(q.groups, q.lanes);
    int64_t i = g.exists ? g.index : 0;
    step_value vs = step_read(s, i), vz = step_read(z, i);
    float su = g.exists ? eq_step_used(vs.p, w, i * q.units, q.units) : 1.0f;
    float zu = eq_z_used(vz.p, bits, grid), top = eq_q_max(bits), x[EQ_UNIT];
    eq_fq_sums sums = {0.0f, 0.0f};
    __syncwarp(); /* a low step looks at the whole group */
    for (int64_t u = g.lane; g.exists && u < q.units; u += q.lanes)
        step_unit(x, dw, w, m, v, i * q.units + u, su, zu, top, aw, &sums);
    sums.s = eq_lanes_sum(sums.s, q.lanes), sums.z = eq_lanes_sum(sums.z, q.lanes);
    if (!g.exists) return;
    float s1 = step_write(s, i, vs, sums.s, aq, g.lane == 0);
    s1 =
        eq_step_used(s1, w, i * q.units, q.units); /* new weights: the sums' shuffles lie between */
    float z1 = eq_z_used(step_write(z, i, vz, -su * sums.z, aq, g.lane == 0), bits, grid);
    for (int64_t u = g.lane; w_hat.p && u < q.units; u += q.lanes) {
        int64_t c = i * q.units + u;
        if (q.units > q.lanes) eq_read(x, w, c, EQ_UNIT);
        show(w_hat, c, x, s1, z1, top);
    }
}

static void fq_step(eq_backend *be, eq_mut w_hat, eq_mut w, eq_mut mw, eq_mut vw, eq_mut s,
                    eq_mut ms, eq_mut vs, eq_mut z, eq_mut mz, eq_mut vz, eq_mut dw, eq_mut ds,
                    eq_mut dz, eq_qshape q, eq_adamw aw, eq_adamw aq) {
    if (eq_is_odd(&q))
        return eq_odd_fq_step(be, w_hat, w, mw, vw, s, ms, vs, z, mz, vz, dw, ds, dz, q, aw, aq);
    (void)ds, (void)dz;
    eq_grouping g = eq_grouping_of(&q);
    EQ_RUN(be, "fq_step", step_kernel, g.blocks, EQ_THREADS, eq_dev_of(w_hat), eq_dev_of(w),
           eq_dev_of(mw), eq_dev_of(vw), param(s, ms, vs), param(z, mz, vz), eq_dev_of(dw), g,
           q.bits, q.grid, eq_adamw_rates_of(&aw), eq_adamw_rates_of(&aq));
}

void eq_cuda_quantize(eq_ops *ops) {
    ops->fq_init = fq_init;
    ops->fq_fwd = fq_fwd;
    ops->fq_bwd = fq_bwd;
    ops->fq_step = fq_step;
}

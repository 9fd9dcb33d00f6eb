/* Packed integers: writing them at the end of Block-AP, reading them in E2E-QP. A matrix is one
 * little-endian bit stream, because its rows are whole words.
 * Invariant: unit c's eight codes are the bits [8 c bits, 8 (c + 1) bits) of the stream. */
#include "backend/cuda/groups.cuh"

/* ---- writing --------------------------------------------------------------------------------- */

static __global__ void finalise_kernel(float *s, float *z, eq_dev w, int64_t groups, int64_t units,
                                       int bits, eq_grid grid) {
    int64_t g = eq_unit();
    if (g >= groups) return;
    s[g] = eq_step_used(s[g], w, g * units, units);
    z[g] = eq_z_used(z[g], bits, grid);
}

/* A thread makes the BITS words of 32 weights. */
template <int BITS>
static __global__ void pack_kernel(uint32_t *q, const float *s, const float *z, eq_dev w,
                                   int64_t runs, unsigned runs_of_group) {
    int64_t r = eq_unit();
    if (r >= runs) return;
    unsigned g = (unsigned)r / runs_of_group;
    float su = s[g], zu = z[g], top = eq_q_max(BITS);
    uint32_t word[BITS];
#pragma unroll
    for (int i = 0; i < BITS; i++) word[i] = 0;
#pragma unroll
    for (int u = 0; u < 32 / EQ_UNIT; u++) {
        float v[EQ_UNIT];
        eq_read(v, w, r * (32 / EQ_UNIT) + u, EQ_UNIT);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) {
            uint32_t code = (uint32_t)(int)eq_clampf(eq_code(v[k], su, zu), 0.0f, top);
            int bit = (u * EQ_UNIT + k) * BITS;
            word[bit / 32] |= code << bit % 32;
            if (bit % 32 + BITS > 32) word[bit / 32 + 1] |= code >> (32 - bit % 32);
        }
    }
#pragma unroll
    for (int i = 0; i < BITS; i++) q[r * BITS + i] = word[i];
}

template <int BITS>
static void pack(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_view w, const eq_qshape *qs) {
    int64_t runs = qs->O * qs->I / 32;
    EQ_RUN(be, "fq_pack", pack_kernel<BITS>, eq_ceil_div(runs, EQ_THREADS), EQ_THREADS,
           static_cast<uint32_t *>(q.p), static_cast<const float *>(s.p),
           static_cast<const float *>(z.p), eq_dev_of(w), runs, (unsigned)(qs->G / 32));
}

static void fq_pack(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_view w, eq_qshape qs) {
    if (eq_is_odd(&qs)) return eq_odd_fq_pack(be, q, s, z, w, qs);
    int64_t groups = qs.O * (qs.I / qs.G);
    EQ_RUN(be, "fq_pack", finalise_kernel, eq_ceil_div(groups, EQ_THREADS), EQ_THREADS,
           static_cast<float *>(s.p), static_cast<float *>(z.p), eq_dev_of(w), groups,
           qs.G / EQ_UNIT, qs.bits, qs.grid);
    switch (qs.bits) {
    case 2:
        return pack<2>(be, q, s, z, w, &qs);
    case 3:
        return pack<3>(be, q, s, z, w, &qs);
    case 4:
        return pack<4>(be, q, s, z, w, &qs);
    case 8:
        return pack<8>(be, q, s, z, w, &qs);
    default:
        eq_cuda_error(be, EQ_EDEVICE, "CUDA, fq_pack: %d bits", qs.bits);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Unit c as numbers: two words hold it at most. */
static __device__ __forceinline__ void unpack(float v[EQ_UNIT], const uint32_t *q, int64_t c,
                                              int bits) {
    int64_t bit = c * EQ_UNIT * bits;
    int shift = (int)(bit % 32), all = EQ_UNIT * bits;
    const uint32_t *at = q + bit / 32;
    uint32_t lo = at[0], hi = shift + all > 32 ? at[1] : 0, mask = (1u << bits) - 1;
    if (bits == 8) {
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++)
            v[k] = (float)(int)((k < 4 ? lo : hi) >> k % 4 * 8 & 255u);
        return;
    }
    lo = __funnelshift_r(lo, hi, shift);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) v[k] = (float)(int)(lo >> k * bits & mask);
}

/* Steps and zero points, as trained or as prepare_q has them. */
static __device__ __forceinline__ float step_of(float s) { return s; }
static __device__ __forceinline__ float step_of(uint16_t s) { return eq_ptx_f16(s); }
static __device__ __forceinline__ float zero_of(float z) { return z; }
static __device__ __forceinline__ float zero_of(uint8_t z) { return (float)(int)z; }

template <typename S, typename Z>
static __global__ void dequant_kernel(eq_dev w_hat, const uint32_t *q, const S *s, const Z *z,
                                      int64_t n, unsigned units, int bits) {
    int64_t c = eq_unit();
    if (c >= n) return;
    unsigned g = (unsigned)c / units;
    float su = step_of(s[g]), zu = zero_of(z[g]), v[EQ_UNIT];
    unpack(v, q, c, bits);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) v[k] = (v[k] - zu) * su;
    eq_write(w_hat, c, EQ_UNIT, v);
}
template <typename S, typename Z>
static void dequant_as(eq_backend *be, const char *op, eq_mut w_hat, eq_view q, eq_view s,
                       eq_view z, const eq_qshape *qs) {
    int64_t n = qs->O * qs->I / EQ_UNIT;
    EQ_RUN(be, op, (dequant_kernel<S, Z>), eq_ceil_div(n, EQ_THREADS), EQ_THREADS, eq_dev_of(w_hat),
           static_cast<const uint32_t *>(q.p), static_cast<const S *>(s.p),
           static_cast<const Z *>(z.p), n, (unsigned)(qs->G / EQ_UNIT), qs->bits);
}
static void dequant(eq_backend *be, eq_mut w_hat, eq_view q, eq_view s, eq_view z, eq_qshape qs) {
    if (eq_is_odd(&qs)) return eq_odd_dequant(be, w_hat, q, s, z, qs);
    dequant_as<float, float>(be, "dequant", w_hat, q, s, z, &qs);
}
void eq_cuda_dequant_prepared(eq_backend *be, eq_mut w_hat, eq_view q, eq_view s, eq_view z,
                              eq_qshape qs) {
    dequant_as<uint16_t, uint8_t>(be, "matvec_q", w_hat, q, s, z, &qs);
}

static __global__ void dequant_bwd_kernel(float *ds, float *dz, eq_dev dw_hat, const uint32_t *q,
                                          const float *s, const float *z, int64_t groups,
                                          int64_t units, int lanes, int bits) {
    eq_group g = eq_my_group(groups, lanes);
    float sum_s = 0.0f, sum_z = 0.0f, zu = g.exists ? z[g.index] : 0.0f;
    for (int64_t u = g.lane; g.exists && u < units; u += lanes) {
        int64_t c = g.index * units + u;
        float d[EQ_UNIT], v[EQ_UNIT];
        eq_read(d, dw_hat, c, EQ_UNIT);
        unpack(v, q, c, bits);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) sum_s += (v[k] - zu) * d[k], sum_z += d[k];
    }
    sum_s = eq_lanes_sum(sum_s, lanes), sum_z = eq_lanes_sum(sum_z, lanes);
    if (!g.exists || g.lane) return;
    if (ds) ds[g.index] += sum_s;
    if (dz) dz[g.index] -= s[g.index] * sum_z;
}
static void dequant_bwd(eq_backend *be, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view q, eq_view s,
                        eq_view z, eq_qshape qs) {
    if (eq_is_odd(&qs)) return eq_odd_dequant_bwd(be, ds, dz, dw_hat, q, s, z, qs);
    eq_grouping g = eq_grouping_of(&qs);
    EQ_RUN(be, "dequant_bwd", dequant_bwd_kernel, g.blocks, EQ_THREADS,
           static_cast<float *>(ds.n ? ds.p : nullptr), static_cast<float *>(dz.n ? dz.p : nullptr),
           eq_dev_of(dw_hat), static_cast<const uint32_t *>(q.p), static_cast<const float *>(s.p),
           static_cast<const float *>(z.p), g.groups, g.units, g.lanes, qs.bits);
}

void eq_cuda_pack(eq_ops *ops) {
    ops->fq_pack = fq_pack;
    ops->dequant = dequant;
    ops->dequant_bwd = dequant_bwd;
}

/* The number format where groups are no multiples of 32 weights, which only whole rows of odd sizes
 * are: a row's last word is then not full. A thread a group, an output where words are written;
 * right and slow. The scalar rules are quant/number.h's. Invariant: a group never crosses a row,
 * whose words begin at o * words. */
#include "backend/cuda/groups.cuh"
#include "quant/pack.h"

typedef struct {
    int64_t O, I, G, groups, words; /* words: of a row */
    int bits;
    eq_grid grid;
} odd_shape;
static odd_shape odd_of(const eq_qshape &q) {
    return odd_shape{q.O, q.I, q.G, q.O * (q.I / q.G), eq_pack_words(q.I, q.bits), q.bits, q.grid};
}
static float *floats(eq_mut m) { return static_cast<float *>(m.n ? m.p : nullptr); }
static const float *floats(eq_view v) { return static_cast<const float *>(v.p); }
#define ODD_RUN(be, op, kernel, n, ...) \
    EQ_RUN(be, op, kernel, eq_ceil_div(n, EQ_THREADS), EQ_THREADS, __VA_ARGS__)

static __device__ float step_of(float s, const float *w, int64_t n) {
    float most = 0.0f;
    for (int64_t i = 0; s < EQ_S_MIN && i < n; i++) most = fmaxf(most, fabsf(w[i]));
    return eq_s_used(s, most);
}
static __device__ float zero_of(float z, const odd_shape &h) {
    return eq_z_used(z, h.bits, h.grid);
}

/* The code of weight `at` of the matrix. */
static __device__ float code_of(const uint32_t *q, const odd_shape &h, int64_t at) {
    int64_t bit = at % h.I * h.bits;
    const uint32_t *w = q + at / h.I * h.words + bit / 32;
    int shift = (int)(bit % 32);
    uint32_t v = w[0] >> shift;
    if (shift + h.bits > 32) v |= w[1] << (32 - shift);
    return (float)(int)(v & ((1u << h.bits) - 1));
}

/* ---- training -------------------------------------------------------------------------------- */

static __global__ void init_kernel(float *s, float *z, const float *w, odd_shape h) {
    int64_t g = eq_unit();
    if (g >= h.groups) return;
    float lo, hi;
    eq_ends(w + g * h.G, h.G, &lo, &hi);
    eq_minmax_start(lo, hi, h.bits, h.grid, &s[g], &z[g]);
}
void eq_odd_fq_init(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    odd_shape h = odd_of(q);
    ODD_RUN(be, "fq_init", init_kernel, h.groups, floats(s), floats(z), floats(w), h);
}

static __global__ void fwd_kernel(eq_dev w_hat, const float *w, const float *s, const float *z,
                                  odd_shape h) {
    int64_t g = eq_unit();
    if (g >= h.groups) return;
    float su = step_of(s[g], w + g * h.G, h.G), zu = zero_of(z[g], h), top = eq_q_max(h.bits);
    for (int64_t i = g * h.G; i < (g + 1) * h.G; i++)
        eq_put(w_hat, i, (eq_clampf(eq_code(w[i], su, zu), 0.0f, top) - zu) * su);
}
void eq_odd_fq_fwd(eq_backend *be, eq_mut w_hat, eq_view w, eq_view s, eq_view z, eq_qshape q) {
    odd_shape h = odd_of(q);
    ODD_RUN(be, "fq_fwd", fwd_kernel, h.groups, eq_dev_of(w_hat), floats(w), floats(s), floats(z),
            h);
}

/* dw may lie on dw_hat: an element is read before it is written. */
static __global__ void bwd_kernel(float *dw, float *ds, float *dz, const float *dw_hat,
                                  const float *w, const float *s, const float *z, odd_shape h) {
    int64_t g = eq_unit();
    if (g >= h.groups) return;
    float su = step_of(s[g], w + g * h.G, h.G), zu = zero_of(z[g], h), top = eq_q_max(h.bits);
    float sum_s = 0.0f, sum_z = 0.0f;
    for (int64_t i = g * h.G; i < (g + 1) * h.G; i++) {
        float d = dw_hat[i], x = w[i] / su, r = rintf(x), t = r + zu;
        bool inside = t >= 0.0f && t <= top;
        sum_s += d * (inside ? r - x : t < 0.0f ? -zu : top - zu);
        sum_z += inside ? 0.0f : d;
        if (dw) dw[i] = inside ? d : 0.0f;
    }
    if (ds) ds[g] = sum_s;
    if (dz) dz[g] = -su * sum_z;
}
void eq_odd_fq_bwd(eq_backend *be, eq_mut dw, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view w,
                   eq_view s, eq_view z, eq_qshape q) {
    odd_shape h = odd_of(q);
    ODD_RUN(be, "fq_bwd", bwd_kernel, h.groups, floats(dw), floats(ds), floats(dz), floats(dw_hat),
            floats(w), floats(s), floats(z), h);
}

/* ---- packed integers ------------------------------------------------------------------------- */

static __global__ void finalise_kernel(float *s, float *z, const float *w, odd_shape h) {
    int64_t g = eq_unit();
    if (g >= h.groups) return;
    s[g] = step_of(s[g], w + g * h.G, h.G);
    z[g] = zero_of(z[g], h);
}
static __global__ void pack_kernel(uint32_t *q, const float *s, const float *z, const float *w,
                                   odd_shape h) {
    int64_t o = eq_unit(), to = o * h.words;
    if (o >= h.O) return;
    float top = eq_q_max(h.bits);
    uint64_t open = 0; /* codes that have filled no word yet */
    int used = 0;
    for (int64_t i = o * h.I; i < (o + 1) * h.I; i++) {
        int64_t g = i / h.G;
        uint32_t code = (uint32_t)(int)eq_clampf(eq_code(w[i], s[g], z[g]), 0.0f, top);
        open |= (uint64_t)code << used, used += h.bits;
        if (used < 32) continue;
        q[to++] = (uint32_t)open;
        open >>= 32, used -= 32;
    }
    if (used) q[to] = (uint32_t)open;
}
void eq_odd_fq_pack(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_view w, eq_qshape qs) {
    odd_shape h = odd_of(qs);
    ODD_RUN(be, "fq_pack", finalise_kernel, h.groups, floats(s), floats(z), floats(w), h);
    ODD_RUN(be, "fq_pack", pack_kernel, h.O, static_cast<uint32_t *>(q.p), floats(s), floats(z),
            floats(w), h);
}

static __global__ void dequant_kernel(eq_dev w_hat, const uint32_t *q, const float *s,
                                      const float *z, odd_shape h) {
    int64_t i = eq_unit(), g = i / h.G;
    if (i < h.O * h.I) eq_put(w_hat, i, (code_of(q, h, i) - z[g]) * s[g]);
}
void eq_odd_dequant(eq_backend *be, eq_mut w_hat, eq_view q, eq_view s, eq_view z, eq_qshape qs) {
    odd_shape h = odd_of(qs);
    ODD_RUN(be, "dequant", dequant_kernel, h.O * h.I, eq_dev_of(w_hat),
            static_cast<const uint32_t *>(q.p), floats(s), floats(z), h);
}

static __global__ void dequant_bwd_kernel(float *ds, float *dz, eq_dev dw_hat, const uint32_t *q,
                                          const float *s, const float *z, odd_shape h) {
    int64_t g = eq_unit();
    if (g >= h.groups) return;
    float sum_s = 0.0f, sum_z = 0.0f;
    for (int64_t i = g * h.G; i < (g + 1) * h.G; i++) {
        float d = eq_get(dw_hat, i);
        sum_s += (code_of(q, h, i) - z[g]) * d, sum_z += d;
    }
    if (ds) ds[g] += sum_s;
    if (dz) dz[g] -= s[g] * sum_z;
}
void eq_odd_dequant_bwd(eq_backend *be, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view q, eq_view s,
                        eq_view z, eq_qshape qs) {
    odd_shape h = odd_of(qs);
    ODD_RUN(be, "dequant_bwd", dequant_bwd_kernel, h.groups, floats(ds), floats(dz),
            eq_dev_of(dw_hat), static_cast<const uint32_t *>(q.p), floats(s), floats(z), h);
}

static __global__ void matvec_kernel(eq_dev y, eq_dev x, const uint32_t *q, const uint16_t *s,
                                     const uint8_t *z, int64_t rows, int acc, odd_shape h) {
    int64_t k = eq_unit(), r = k / h.O, o = k % h.O;
    if (k >= rows * h.O) return;
    float sum = 0.0f;
    for (int64_t i = 0; i < h.I; i++) {
        int64_t g = (o * h.I + i) / h.G;
        float w = (code_of(q, h, o * h.I + i) - (float)(int)z[g]) * eq_ptx_f16(s[g]);
        sum = fmaf(w, eq_get(x, r * h.I + i), sum);
    }
    eq_put(y, k, acc ? sum + eq_get(y, k) : sum);
}
void eq_odd_matvec_q(eq_backend *be, eq_mut y, eq_view x, eq_view q, eq_view s, eq_view z,
                     int64_t rows, eq_qshape qs, int acc) {
    odd_shape h = odd_of(qs);
    ODD_RUN(be, "matvec_q", matvec_kernel, rows * h.O, eq_dev_of(y), eq_dev_of(x),
            static_cast<const uint32_t *>(q.p), static_cast<const uint16_t *>(s.p),
            static_cast<const uint8_t *>(z.p), rows, acc, h);
}

/* By the operations above; the optimizer's does not look at groups. */
void eq_odd_fq_step(eq_backend *be, eq_mut w_hat, eq_mut w, eq_mut mw, eq_mut vw, eq_mut s,
                    eq_mut ms, eq_mut vs, eq_mut z, eq_mut mz, eq_mut vz, eq_mut dw, eq_mut ds,
                    eq_mut dz, eq_qshape q, eq_adamw aw, eq_adamw aq) {
    const eq_mut none = EQ_NONE_MUT;
    eq_odd_fq_bwd(be, mw.n ? dw : none, ms.n ? ds : none, mz.n ? dz : none, eq_ro(dw), eq_ro(w),
                  eq_ro(s), eq_ro(z), q);
    if (mw.n) EQ_DO(be, adamw, w, mw, vw, eq_ro(dw), aw);
    if (ms.n) EQ_DO(be, adamw, s, ms, vs, eq_ro(ds), aq);
    if (mz.n) EQ_DO(be, adamw, z, mz, vz, eq_ro(dz), aq);
    if (w_hat.n) eq_odd_fq_fwd(be, w_hat, eq_ro(w), eq_ro(s), eq_ro(z), q);
}

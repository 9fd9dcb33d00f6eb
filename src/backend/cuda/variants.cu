/* What Block-AP trains beside or instead of s, z and W (the paper's Table 5): clipped ranges, and
 * offsets before rounding; the grids of K types; shrunk ranges. Plain kernels, a thread a group, an
 * element or a block of 256 weights: the former are there for comparison, of the latter a step has
 * little to do beside its products. The scalar rules are those of quant/number.h, kgrid.h and
 * range.h.
 * Invariant: weight i belongs to group i / G, whatever rows are. */
#include "backend/cuda/number.cuh"
#include "backend/cuda/typed.cuh"
#include "quant/range.h"

typedef struct {
    int64_t groups, G;
    int bits;
    eq_grid grid;
} group_shape;
static group_shape shape_of(const eq_qshape &q) {
    return group_shape{q.O * (q.I / q.G), q.G, q.bits, q.grid};
}
static float *floats(eq_mut m) { return static_cast<float *>(m.n ? m.p : nullptr); }
static const float *floats(eq_view v) { return static_cast<const float *>(v.p); }
#define VARIANT_RUN(be, op, kernel, n, ...) \
    EQ_RUN(be, op, kernel, eq_ceil_div(n, EQ_THREADS), EQ_THREADS, __VA_ARGS__)

static __global__ void clip_kernel(float *s, float *z, const float *w, const float *clip,
                                   group_shape h) {
    int64_t g = eq_unit();
    float lo, hi;
    if (g >= h.groups) return;
    eq_ends(w + g * h.G, h.G, &lo, &hi);
    eq_clip_grid(lo, hi, clip + 2 * g, h.bits, h.grid, &s[g], &z[g]);
}
static void fq_clip(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_view clip, eq_qshape q) {
    group_shape h = shape_of(q);
    VARIANT_RUN(be, "fq_clip", clip_kernel, h.groups, floats(s), floats(z), floats(w), floats(clip),
                h);
}

static __global__ void clip_bwd_kernel(float *dclip, const float *ds, const float *dz,
                                       const float *w, const float *clip, group_shape h) {
    int64_t g = eq_unit();
    float lo, hi;
    if (g >= h.groups) return;
    eq_ends(w + g * h.G, h.G, &lo, &hi);
    eq_clip_grads(lo, hi, clip + 2 * g, h.bits, h.grid, ds[g], dz[g], dclip + 2 * g);
}
static void fq_clip_bwd(eq_backend *be, eq_mut dclip, eq_view ds, eq_view dz, eq_view w,
                        eq_view clip, eq_qshape q) {
    group_shape h = shape_of(q);
    VARIANT_RUN(be, "fq_clip_bwd", clip_bwd_kernel, h.groups, floats(dclip), floats(ds), floats(dz),
                floats(w), floats(clip), h);
}

static __global__ void offset_kernel(float *y, const float *w, const float *v, const float *s,
                                     group_shape h) {
    int64_t i = eq_unit(), g = i / h.G;
    if (g >= h.groups) return;
    y[i] = w[i] + eq_offset_used(v[i]) * eq_s_used_by(s[g], w + g * h.G, h.G);
}
static void fq_offset(eq_backend *be, eq_mut y, eq_view w, eq_view v, eq_view s, eq_qshape q) {
    group_shape h = shape_of(q);
    VARIANT_RUN(be, "fq_offset", offset_kernel, h.groups * h.G, floats(y), floats(w), floats(v),
                floats(s), h);
}

/* dv may lie on dy: an element is read before it is written. */
static __global__ void offset_bwd_kernel(float *dv, float *ds, const float *dy, const float *w,
                                         const float *v, const float *s, group_shape h) {
    int64_t g = eq_unit();
    if (g >= h.groups) return;
    float su = eq_s_used_by(s[g], w + g * h.G, h.G), sum = 0.0f;
    for (int64_t i = g * h.G; i < (g + 1) * h.G; i++) {
        float d = dy[i];
        sum += d * eq_offset_used(v[i]);
        dv[i] = eq_offset_grad(v[i], su, d);
    }
    if (ds) ds[g] += sum;
}
static void fq_offset_bwd(eq_backend *be, eq_mut dv, eq_mut ds, eq_view dy, eq_view w, eq_view v,
                          eq_view s, eq_qshape q) {
    group_shape h = shape_of(q);
    VARIANT_RUN(be, "fq_offset_bwd", offset_bwd_kernel, h.groups, floats(dv), floats(ds),
                floats(dy), floats(w), floats(v), floats(s), h);
}

/* y may be s: a thread reads its block's steps before it writes them. */
static __global__ void steps_kernel(float *y, const float *s, const float *w, int64_t blocks, int n,
                                    int bits) {
    int64_t b = eq_unit();
    if (b < blocks) eq_k_steps(y + b * n, s + b * n, w ? w + b * EQ_K_WEIGHTS : nullptr, n, bits);
}
static void fq_steps(eq_backend *be, eq_mut y, eq_view s, eq_view w, eq_qshape q) {
    int64_t blocks = q.O * q.I / EQ_K_WEIGHTS;
    VARIANT_RUN(be, "fq_steps", steps_kernel, blocks, floats(y), floats(s),
                w.n ? floats(w) : nullptr, blocks, (int)(EQ_K_WEIGHTS / q.G), q.bits);
}

static __global__ void k_start_kernel(float *s, float *z, const float *w, int64_t blocks, int n,
                                      eq_grid grid) {
    int64_t b = eq_unit();
    if (b < blocks) eq_k_start(s + b * n, z + b * n, w + b * EQ_K_WEIGHTS, n, grid);
}
void eq_cuda_k_start(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    int64_t blocks = q.O * q.I / EQ_K_WEIGHTS;
    VARIANT_RUN(be, "fq_init", k_start_kernel, blocks, floats(s), floats(z), floats(w), blocks,
                (int)(EQ_K_WEIGHTS / q.G), q.grid);
}

static __global__ void shrink_kernel(float *s, float *z, const float *w, int64_t starts, int n,
                                     group_shape h) {
    int64_t g = eq_unit() * n;
    if (eq_unit() >= starts) return;
    eq_shrunk_start(s + g, z + g, w + g * h.G, n, h.G, h.bits, h.grid);
}
static void fq_shrink(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    group_shape h = shape_of(q);
    int n = (int)eq_zero_groups(q.grid, q.G);
    VARIANT_RUN(be, "fq_shrink", shrink_kernel, h.groups / n, floats(s), floats(z), floats(w),
                h.groups / n, n, h);
}

void eq_cuda_variants(eq_ops *ops) {
    ops->fq_clip = fq_clip;
    ops->fq_clip_bwd = fq_clip_bwd;
    ops->fq_offset = fq_offset;
    ops->fq_offset_bwd = fq_offset_bwd;
    ops->fq_steps = fq_steps;
    ops->fq_shrink = fq_shrink;
}

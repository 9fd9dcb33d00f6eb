/* Reference: what Block-AP trains beside or instead of s, z and W (the paper's Table 5): clipped
 * ranges, and offsets before rounding; steps on a K type's grid; a start from shrunk ranges. The
 * scalar rules are those of quant/number.h, kgrid.h and range.h.
 * Invariant: as in ref_quantize.c, groups know nothing of each other. */
#include "backend/ref/ref.h"
#include "quant/range.h"

static int64_t groups(const eq_qshape *q) { return q->O * (q->I / q->G); }

static void fq_clip(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_view clip, eq_qshape q) {
    (void)be;
    for (int64_t g = 0; g < groups(&q); g++) {
        float lo, hi;
        eq_ends((const float *)w.p + g * q.G, q.G, &lo, &hi);
        eq_clip_grid(lo, hi, (const float *)clip.p + 2 * g, q.bits, q.grid, (float *)s.p + g,
                     (float *)z.p + g);
    }
}

static void fq_clip_bwd(eq_backend *be, eq_mut dclip, eq_view ds, eq_view dz, eq_view w,
                        eq_view clip, eq_qshape q) {
    (void)be;
    for (int64_t g = 0; g < groups(&q); g++) {
        float lo, hi;
        eq_ends((const float *)w.p + g * q.G, q.G, &lo, &hi);
        eq_clip_grads(lo, hi, (const float *)clip.p + 2 * g, q.bits, q.grid,
                      ((const float *)ds.p)[g], ((const float *)dz.p)[g], (float *)dclip.p + 2 * g);
    }
}

static void fq_offset(eq_backend *be, eq_mut y, eq_view w, eq_view v, eq_view s, eq_qshape q) {
    (void)be;
    const float *wp = w.p, *vp = v.p;
    for (int64_t g = 0; g < groups(&q); g++) {
        float su = eq_s_used_by(((const float *)s.p)[g], wp + g * q.G, q.G);
        for (int64_t i = g * q.G; i < (g + 1) * q.G; i++)
            ((float *)y.p)[i] = wp[i] + eq_offset_used(vp[i]) * su;
    }
}

static void fq_offset_bwd(eq_backend *be, eq_mut dv, eq_mut ds, eq_view dy, eq_view w, eq_view v,
                          eq_view s, eq_qshape q) {
    (void)be;
    const float *vp = v.p, *dp = dy.p;
    for (int64_t g = 0; g < groups(&q); g++) {
        float su = eq_s_used_by(((const float *)s.p)[g], (const float *)w.p + g * q.G, q.G);
        double sum = 0.0;
        for (int64_t i = g * q.G; i < (g + 1) * q.G; i++) {
            sum += (double)dp[i] * (double)eq_offset_used(vp[i]);
            ((float *)dv.p)[i] = eq_offset_grad(vp[i], su, dp[i]);
        }
        if (ds.n) ((float *)ds.p)[g] += (float)sum;
    }
}

static void fq_steps(eq_backend *be, eq_mut y, eq_view s, eq_view w, eq_qshape q) {
    (void)be;
    int64_t n = EQ_K_WEIGHTS / q.G;
    for (int64_t b = 0; b < groups(&q) / n; b++)
        eq_k_steps((float *)y.p + b * n, (const float *)s.p + b * n,
                   w.n ? (const float *)w.p + b * EQ_K_WEIGHTS : NULL, (int)n, q.bits);
}

static void fq_shrink(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    (void)be;
    int64_t n = eq_zero_groups(q.grid, q.G);
    for (int64_t g = 0; g < groups(&q); g += n)
        eq_shrunk_start((float *)s.p + g, (float *)z.p + g, (const float *)w.p + g * q.G, (int)n,
                        q.G, q.bits, q.grid);
}

void eq_ref_variants(eq_ops *ops) {
    ops->fq_clip = fq_clip;
    ops->fq_clip_bwd = fq_clip_bwd;
    ops->fq_offset = fq_offset;
    ops->fq_offset_bwd = fq_offset_bwd;
    ops->fq_steps = fq_steps;
    ops->fq_shrink = fq_shrink;
}

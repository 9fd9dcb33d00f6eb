/* The paper's number format (METHOD section 1), on scalars. Everything that quantizes, in any
 * backend, computes what these few functions say. */
#ifndef EQ_QUANT_NUMBER_H
#define EQ_QUANT_NUMBER_H
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "eqat.h"

/* The paper's bounds of a step. */
#define EQ_S_MIN 1e-4f
#define EQ_S_MAX 1e4f
/* Least step at all: eight of fp16's smallest numbers, which steps are written as. */
#define EQ_S_LEAST 0x1p-21f

static inline float eq_clampf(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }
static inline float eq_q_max(int bits) { return (float)((1 << bits) - 1); }
/* Floor of the step of a group whose largest |w| is `most`. The paper's 1e-4 turns weights below
 * half of it into 0, which is nothing beside larger ones in their group and everything where there
 * are none. So it is the power of two below most / 256 where that is smaller: a power, because then
 * rounding a step to fp16 cannot fall below it; 256, because no min-max start of up to 8 bits
 * (2 most / 255) is held up. Where even the least step keeps nothing, it is the paper's. */
static inline float eq_s_floor(float most) {
    float f = most * 0x1p-8f;
    uint32_t bits;
    if (!(f < EQ_S_MIN) || most < 0.5f * EQ_S_LEAST) return EQ_S_MIN;
    if (f < EQ_S_LEAST) return EQ_S_LEAST;
    memcpy(&bits, &f, sizeof bits);
    bits &= 0x7f800000u;
    memcpy(&f, &bits, sizeof f);
    return f;
}
/* s' and z' of the training forward; both clamps and the rounding pass gradients straight. `most`
 * decides only below EQ_S_MIN. */
static inline float eq_s_used(float s, float most) {
    return eq_clampf(s, s < EQ_S_MIN ? eq_s_floor(most) : EQ_S_MIN, EQ_S_MAX);
}
/* The same of the n weights of a group. */
static inline float eq_s_used_by(float s, const float *w, int64_t n) {
    float most = 0.0f;
    for (int64_t i = 0; s < EQ_S_MIN && i < n; i++) most = fmaxf(most, fabsf(w[i]));
    return eq_s_used(s, most);
}
/* Is this a floor? (A step that was not held up is one by an accident of 2^-23.) */
static inline bool eq_s_held(float s) {
    uint32_t bits;
    memcpy(&bits, &s, sizeof bits);
    return s == EQ_S_MIN || (s < EQ_S_MIN && !(bits & 0x7fffffu));
}
/* Zero points of a grid: every code, or the two in the middle, from which symmetric types of every
 * runtime hold the weights as they are: (q - z) s = ((Q - q) - (Q - z)) (-s), and Q - z is the
 * other of the two. */
static inline float eq_z_least(int bits, eq_grid grid) {
    return grid == EQ_GRID_FREE ? 0.0f : (float)((1 << (bits - 1)) - 1);
}
static inline float eq_z_most(int bits, eq_grid grid) {
    return eq_q_max(bits) - eq_z_least(bits, grid);
}
static inline float eq_z_used(float z, int bits, eq_grid grid) {
    return eq_clampf(rintf(z), eq_z_least(bits, grid), eq_z_most(bits, grid));
}
/* t = round(w / s') + z'; w_int = clamp(t, 0, Q) (1); w_hat = (w_int - z') s' (2). A true division:
 * a product with 1/s' lands on other integers. */
static inline float eq_code(float w, float s, float z) { return rintf(w / s) + z; }

/* Least and largest of n weights. */
static inline void eq_ends(const float *w, int64_t n, float *lo, float *hi) {
    *lo = *hi = w[0];
    for (int64_t i = 1; i < n; i++) {
        if (w[i] < *lo) *lo = w[i];
        if (w[i] > *hi) *hi = w[i];
    }
}

/* The min-max start of one group. Where the grid has no such zero point the nearest one is taken,
 * and the step that still reaches both ends from there. */
static inline void eq_minmax_start(float lo, float hi, int bits, eq_grid grid, float *s, float *z) {
    float most = -lo > hi ? -lo : hi, held;
    *s = eq_s_used((hi - lo) / eq_q_max(bits), most);
    *z = rintf(-eq_clampf(lo / *s, -1e4f, 1e4f));
    held = eq_z_used(*z, bits, grid);
    if (grid == EQ_GRID_FREE || *z == held) return;
    *z = held;
    *s = eq_s_used(fmaxf(-lo / held, hi / (eq_q_max(bits) - held)), most);
}

/* ---- what else may be learned (Table 5) ------------------------------------------------------ */

/* Learned clipping (OmniQuant, Shao et al., arXiv 2308.13137): the ends of a group's range count by
 * the shares sigmoid(c[0]), sigmoid(c[1]), and the grid follows from what is left as at the start.
 */
#define EQ_CLIP_START 4.0f /* shares of 0.982 */
static inline float eq_clip_share(float c) { return 1.0f / (1.0f + expf(-c)); }
static inline void eq_clip_grid(float lo, float hi, const float c[2], int bits, eq_grid grid,
                                float *s, float *z) {
    eq_minmax_start(eq_clip_share(c[0]) * lo, eq_clip_share(c[1]) * hi, bits, grid, s, z);
}
/* From the gradients by s and z that by c. s = (hi' - lo') / Q and z = -lo' / s, with rounding and
 * clamps of both passed straight; where a grid holds z, s = max(-lo' / z, hi' / (Q - z)). */
static inline void eq_clip_grads(float lo, float hi, const float c[2], int bits, eq_grid grid,
                                 float ds, float dz, float dc[2]) {
    float a = eq_clip_share(c[0]), b = eq_clip_share(c[1]), top = eq_q_max(bits);
    float from = a * lo, to = b * hi, s, z, by_from, by_to;
    eq_minmax_start(from, to, bits, EQ_GRID_FREE, &s, &z);
    float held = eq_z_used(z, bits, grid);
    if (grid == EQ_GRID_FREE || z == held) {
        float d = ds + dz * from / (s * s);
        by_from = -d / top - dz / s, by_to = d / top;
    } else {
        bool below = -from / held > to / (top - held);
        by_from = below ? -ds / held : 0.0f, by_to = below ? 0.0f : ds / (top - held);
    }
    dc[0] = by_from * lo * a * (1.0f - a), dc[1] = by_to * hi * b * (1.0f - b);
}

/* Learned rounding (AutoRound, Cheng et al., arXiv 2309.05516, whose offsets stay within half a
 * step): (1) becomes clamp(round(w / s + v) + z, 0, Q) with |v| < 1. */
#define EQ_OFFSET_MOST 0x1.fffffep-1f
static inline float eq_offset_used(float v) {
    return eq_clampf(v, -EQ_OFFSET_MOST, EQ_OFFSET_MOST);
}
/* The gradient by v from that by w + v s: none where v lies at its bound and would go on. */
static inline float eq_offset_grad(float v, float s, float dw) {
    bool out = dw < 0.0f ? v >= EQ_OFFSET_MOST : v <= -EQ_OFFSET_MOST;
    return out ? 0.0f : dw * s;
}

/* Bits per weight of an N-bit format with groups of g: N + (N + 16) / g (paper, appendix E). */
static inline double eq_bits_per_weight(int bits, int64_t g) {
    return bits + (double)(bits + 16) / (double)g;
}
#endif

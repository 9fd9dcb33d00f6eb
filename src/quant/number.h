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
    return grid == EQ_GRID_PORTABLE ? (float)((1 << (bits - 1)) - 1) : 0.0f;
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

/* Bits per weight of an N-bit format with groups of g: N + (N + 16) / g (paper, appendix E). */
static inline double eq_bits_per_weight(int bits, int64_t g) {
    return bits + (double)(bits + 16) / (double)g;
}
#endif

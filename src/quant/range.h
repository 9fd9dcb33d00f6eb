/* A start with fewer rounding errors than the min-max one, which gives the ends of a group's range
 * codes of their own however few weights lie there (llm-compressor's and GPTQ's "mse"). For every
 * zero point that comes into question: the least step that clips no weight, shrunk by fortieths;
 * the sum of |error|^3 decides, |error|^2 clips more than training makes good (SmolLM2-135M at 2
 * bits, block 2 after 256 windows of 512: training losses 0.72 from min-max, 0.67 by squares, 0.63
 * by cubes, 0.66 by fourth powers). */
#ifndef EQ_QUANT_RANGE_H
#define EQ_QUANT_RANGE_H
#include "quant/kgrid.h"

enum { EQ_SHRINK_PARTS = 40, EQ_SHRINK_LEAST = 12, EQ_ERROR_LANES = 8 };

/* t to the nearest integer, even in the middle, as rintf, for |t| < 2^22: without a call, so that
 * compilers make vectors of it for every x86-64. */
static inline float eq_nearest_small(float t) { return (t + 0x1.8p23f) - 0x1.8p23f; }

/* |error|^3 of the weight w, in units of 1 / unit; lo and hi are -z and Q - z. */
static inline float eq_error_cubed(float w, float s, float lo, float hi, float unit) {
    float e = (w - eq_nearest_small(eq_clampf(w / s, lo, hi)) * s) * unit;
    e = e < 0.0f ? -e : e;
    return e * e * e;
}

/* The sum of n weights, in EQ_ERROR_LANES sums that are added at the end. */
static inline float eq_errors_cubed(const float *w, int64_t n, float s, float z, int bits,
                                    float unit) {
    float lo = -z, hi = eq_q_max(bits) - z, sum[EQ_ERROR_LANES] = {0}, all = 0.0f;
    int64_t whole = n - n % EQ_ERROR_LANES;
    for (int64_t i = 0; i < whole; i += EQ_ERROR_LANES)
        for (int k = 0; k < EQ_ERROR_LANES; k++)
            sum[k] += eq_error_cubed(w[i + k], s, lo, hi, unit);
    for (int64_t i = whole; i < n; i++) all += eq_error_cubed(w[i], s, lo, hi, unit);
    for (int k = 0; k < EQ_ERROR_LANES; k++) all += sum[k];
    return all;
}

/* The step for the zero point z of G weights from lo to hi, and in *least its errors. */
static inline float eq_shrunk_step(const float *w, int64_t G, float lo, float hi, float z, int bits,
                                   float unit, float *least) {
    float most = -lo > hi ? -lo : hi, above = eq_q_max(bits) - z, top = 0.0f;
    if (z > 0.0f && -lo / z > top) top = -lo / z;
    if (above > 0.0f && hi / above > top) top = hi / above;
    float best = eq_s_used(top, most);
    *least = INFINITY;
    for (int p = EQ_SHRINK_PARTS; p >= EQ_SHRINK_LEAST; p--) {
        float s = eq_s_used(top * ((float)p / EQ_SHRINK_PARTS), most);
        float errors = eq_errors_cubed(w, G, s, z, bits, unit);
        if (errors < *least) *least = errors, best = s;
    }
    return best;
}

/* s [n] and z [n] of the n groups of G weights that share a zero point: 1, or what a block of a K
 * type has. */
static inline void eq_shrunk_start(float *s, float *z, const float *w, int n, int64_t G, int bits,
                                   eq_grid grid) {
    float lo[EQ_K_GROUPS], hi[EQ_K_GROUPS], tried[EQ_K_GROUPS], most = 0.0f;
    float from = eq_z_least(bits, grid), to = eq_z_most(bits, grid);
    for (int g = 0; g < n; g++) {
        eq_ends(w + g * G, G, &lo[g], &hi[g]);
        most = fmaxf(most, fmaxf(-lo[g], hi[g]));
    }
    if (grid == EQ_GRID_FREE) { /* the codes beside 0's place in the range */
        float code = lo[0] < 0.0f ? to : from;
        if (hi[0] > lo[0]) code = eq_clampf(-lo[0] / (hi[0] - lo[0]) * to, from, to);
        from = floorf(code), to = ceilf(code);
    }
    float unit = most > 0x1p-100f ? 1.0f / most : 1.0f, best = INFINITY;
    float at = from;
    do {
        float sum = 0.0f, errors;
        for (int g = 0; g < n; g++) {
            tried[g] = eq_shrunk_step(w + g * G, G, lo[g], hi[g], at, bits, unit, &errors);
            sum += errors;
        }
        if (at == from || sum < best) {
            best = sum;
            for (int g = 0; g < n; g++) s[g] = tried[g], z[g] = at;
        }
    } while ((at += 1.0f) <= to);
}
#endif

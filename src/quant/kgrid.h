/* Steps as GGUF's K types hold them, on scalars: 256 weights of a row have one fp16 number d, and
 * each of their groups a whole multiple of it, s = d sc, sc of 4 bits in Q2_K and of 6 in Q4_K.
 * With one zero point z for the 256 weights dmin = z d, and the whole range of sc is there for
 * steps. d has so few significant bits (11 - 4 and 11 - 6) that every multiple of it, and dmin, is
 * an fp16 number: the steps that GPTQ tensors keep are the very ones that were trained with, and
 * those of the blocks that export makes of them. z is one of the middle two codes, as symmetric
 * types want it. Invariant: steps on the grid stay as they are. */
#ifndef EQ_QUANT_KGRID_H
#define EQ_QUANT_KGRID_H
#include "quant/number.h"

enum { EQ_K_WEIGHTS = 256, EQ_K_GROUPS = 8 }; /* of a block: weights; groups at most */

static inline bool eq_k_grid(eq_grid grid) { return grid == EQ_GRID_Q2_K || grid == EQ_GRID_Q4_K; }
static inline int eq_k_bits(eq_grid grid) { return grid == EQ_GRID_Q2_K ? 2 : 4; }
/* Groups of G weights, rows of I: does a block hold whole ones, and a row whole blocks? */
static inline bool eq_k_fits(int64_t I, int64_t G) {
    return G >= EQ_K_WEIGHTS / EQ_K_GROUPS && EQ_K_WEIGHTS % G == 0 && I % EQ_K_WEIGHTS == 0;
}
/* Groups that share a zero point. */
static inline int64_t eq_zero_groups(eq_grid grid, int64_t G) {
    return eq_k_grid(grid) ? EQ_K_WEIGHTS / G : 1;
}

/* Largest sc; least that the largest step of a block gets, which is where the search for d ends;
 * significant bits of d. */
static inline float eq_k_most(int bits) { return bits == 2 ? 15.0f : 63.0f; }
static inline float eq_k_least(int bits) { return bits == 2 ? 12.0f : 32.0f; }
static inline int eq_k_digits(int bits) { return bits == 2 ? 7 : 5; }
/* Largest step. (EQ_S_MAX is on no grid.) */
#define EQ_K_S_MAX 8192.0f

/* The next number of so many digits from x on, x itself if it is one; then of fp16's range. */
static inline float eq_k_up(float x, int digits) {
    uint32_t b, low = (1u << (24 - digits)) - 1;
    memcpy(&b, &x, sizeof b);
    b = (b + low) & ~low;
    memcpy(&x, &b, sizeof x);
    return x;
}
static inline float eq_k_d(float x, int bits) {
    return fmaxf(eq_k_up(x, eq_k_digits(bits)), ceilf(x * 0x1p24f) * 0x1p-24f);
}
static inline float eq_k_next(float d, int bits) {
    uint32_t b;
    float x;
    memcpy(&b, &d, sizeof b);
    b += 1u << (24 - eq_k_digits(bits));
    memcpy(&x, &b, sizeof x);
    return fmaxf(x, d + 0x1p-24f);
}

/* The nearest multiple of d to s; the one above where the nearest could lie below a floor, the one
 * below where it lies beyond the largest step. */
static inline float eq_k_step(float s, float d, int bits) {
    float sc = eq_clampf(rintf(s / d), 1.0f, eq_k_most(bits));
    if (d * sc < EQ_S_MIN && d * sc < s) sc += 1.0f; /* within the range: s / d is */
    if (d * sc > EQ_K_S_MAX) sc -= 1.0f;
    return d * sc;
}

/* y from the steps s of a block of n groups, which may be y, as used by its weights w (NULL: no
 * floors): of the d that come into question the one with the least sum of squared differences. */
static inline void eq_k_steps(float *y, const float *s, const float *w, int n, int bits) {
    float used[EQ_K_GROUPS], top = EQ_S_LEAST, best = INFINITY;
    int64_t G = EQ_K_WEIGHTS / n;
    for (int g = 0; g < n; g++) {
        used[g] = eq_clampf(w ? eq_s_used_by(s[g], w + g * G, G) : s[g], EQ_S_LEAST, EQ_K_S_MAX);
        if (used[g] > top) top = used[g];
    }
    float first = eq_k_d(top / eq_k_most(bits), bits);
    if (first * eq_k_most(bits) < top) first = eq_k_next(first, bits);
    float chosen = first, d = first;
    do {
        float error = 0.0f;
        for (int g = 0; g < n; g++) {
            float e = used[g] - eq_k_step(used[g], d, bits);
            error += e * e;
        }
        if (error < best) best = error, chosen = d;
        d = eq_k_next(d, bits);
    } while (eq_k_step(top, d, bits) / d >= eq_k_least(bits));
    for (int g = 0; g < n; g++) y[g] = eq_k_step(used[g], chosen, bits);
}

/* The least step that rounds no weight from lo to hi by more than half of it. */
static inline float eq_k_reach(float lo, float hi, float zero, int bits) {
    return fmaxf(-lo / (zero + 0.5f), hi / (eq_q_max(bits) - zero + 0.5f));
}

/* The start of a block of n groups: its zero point, the one with the lesser sum of squared steps,
 * and the least steps that round no weight by more than half of one. */
static inline void eq_k_start(float *s, float *z, const float *w, int n, eq_grid grid) {
    float lo[EQ_K_GROUPS], hi[EQ_K_GROUPS], best = INFINITY;
    int bits = eq_k_bits(grid);
    int64_t G = EQ_K_WEIGHTS / n;
    float zero = eq_z_least(bits, grid);
    for (int g = 0; g < n; g++) eq_ends(w + g * G, G, &lo[g], &hi[g]);
    for (float at = eq_z_least(bits, grid); at <= eq_z_most(bits, grid); at += 1.0f) {
        float sum = 0.0f;
        for (int g = 0; g < n; g++) {
            float step = eq_k_reach(lo[g], hi[g], at, bits);
            sum += step * step;
        }
        if (sum < best) best = sum, zero = at;
    }
    for (int g = 0; g < n; g++) {
        s[g] = eq_s_used(eq_k_reach(lo[g], hi[g], zero, bits), fmaxf(-lo[g], hi[g]));
        z[g] = zero;
    }
}
#endif

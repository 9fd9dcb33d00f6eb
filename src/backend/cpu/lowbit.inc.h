/* The kernels of lowbit.h, once for every instruction set. The including file defines INLINE, LANES
 * (the rows that a vector holds), the types `vec` (32-bit lanes) and `vecf` (fp32), and:
 *     v_load(p)            4 * LANES bytes
 *     v_field(v, s, m)     (byte >> s) & m of every byte; s, m constants
 *     v_third(v, t)        bit t of every byte, at bit 2
 *     v_or(a, b)
 *     v_zeros(p)           LANES bytes, widened
 *     v_lanes_mul(v, n)    32-bit lanes times n
 *     v_sub(a, b)
 *     v_code(v, j)         byte j of every lane, widened
 *     SHARE                parts that meet one row of activations at once, as registers hold
 *     acc                  products with a row of activations, in SUMS(rows) sums by turns
 *     UP(bits, t, rows)    step t's codes may come times 2^UP, which spares a shift
 *     NARROW(bits, rows)   whether a sum holds 32 inputs, not 64, before a_widen
 *     a_zero, a_step(a, codes, x4, at, bits), a_widen(a, bits, rows), a_sum(a, bits, rows)
 *     f_zero, f_load, f_store, f_set(x), f_of(v), f_half(p) (LANES fp16), f_mul, f_add, f_sub
 *     f_fma(a, b, c)       a * b + c; only in the exact kernels, where its rounding is free
 *
 * Invariant: the act8 kernels compute what quant/act8.h says, operation by operation. */
#ifndef EQ_BACKEND_CPU_LOWBIT_INC_H
#define EQ_BACKEND_CPU_LOWBIT_INC_H
#include <string.h>

#include "backend/cpu/lowbit.h"

#ifdef LANES
/* A tile's parts of LANES rows. Where there is one row of activations up to SHARE parts of one or
 * two tiles go together: they share what is made of it. Several rows share the codes of one part
 * instead. AHEAD: bytes from codes to those that are asked for meanwhile, as one row waits for
 * memory. */
enum { PARTS = EQ_TILE / LANES, VECTOR = 4 * EQ_TILE, AHEAD = 1536 };

/* Codes of step t of the run that begins at q, for a part's rows, times 2^up. */
INLINE vec codes_of(const uint8_t *q, const int bits, const int t, const int up) {
    if (bits == 2) return v_field(v_load(q + t / 4 * VECTOR), t % 4 * 2 - up, 3 << up);
    if (bits == 3)
        return v_or(v_field(v_load(q + t / 4 * VECTOR), t % 4 * 2, 3),
                    v_third(v_load(q + 2 * VECTOR), t));
    if (bits == 4) return v_field(v_load(q + t / 2 * VECTOR), t % 2 * 4 - up, 15 << up);
    return v_load(q + t * VECTOR);
}

INLINE int32_t four(const int8_t *x) {
    int32_t v;
    memcpy(&v, x, sizeof v);
    return v;
}

#define EACH_STEP(STEP) STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)

/* a [parts * rows]; q: of the first part; the next tile's lie `tile` bytes on */
INLINE void act8_run(acc *a, const uint8_t *q, int64_t tile, const int8_t *x, const int bits,
                     const int parts, const int rows) {
#define STEP(t) \
    _Pragma("GCC unroll 4") for (int p = 0; p < parts; p++) { \
        vec c = \
            codes_of(q + p / PARTS * tile + p % PARTS * 4 * LANES, bits, t, UP(bits, t, rows)); \
        _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) \
            a_step(&a[p * rows + r], c, four(x + (t * rows + r) * 4), t % SUMS(rows), bits); \
    }
    EACH_STEP(STEP)
#undef STEP
}

INLINE void act8_widen(acc *a, const int bits, const int n, const int rows) {
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) a_widen(&a[i], bits, rows);
}

/* A group's products: two runs at a time, as that is what sums hold. */
INLINE void act8_group(acc *a, const uint8_t *q, int64_t tile, const int8_t *x, int64_t runs,
                       const int bits, const int parts, const int rows) {
    const int run = bits * VECTOR, width = EQ_RUN * rows;
    for (; runs > 0; runs -= 2, q += 2 * run, x += 2 * width) {
        for (int p = 0; rows == 1 && p < parts; p += PARTS)
#pragma GCC unroll 16
            for (int i = 0; i < 2 * run; i += 64)
                __builtin_prefetch(q + p / PARTS * tile + AHEAD + i);
        act8_run(a, q, tile, x, bits, parts, rows);
        if (NARROW(bits, rows)) act8_widen(a, bits, parts * rows, rows);
        if (runs > 1) act8_run(a, q + run, tile, x + width, bits, parts, rows);
        act8_widen(a, bits, parts * rows, rows);
    }
}

/* The end of a group: y of a part's rows for one row of activations. */
INLINE void act8_end(float *y, vecf s, vec z, float step, int32_t sum8, const acc *a,
                     const int bits, const int rows) {
    vec whole = v_sub(a_sum(a, bits, rows), v_lanes_mul(z, sum8));
    f_store(y, f_add(f_load(y), f_mul(f_of(whole), f_mul(s, f_set(step)))));
}

/* Group g of `parts` parts from part p on. */
INLINE void act8_parts(float *y, const eq_tile_in *t, int64_t g, int p, const int bits,
                       const int parts, const int rows) {
    const int64_t groups = t->I / t->G, runs = t->G / EQ_RUN, tile = t->I / EQ_RUN * bits * VECTOR;
    const uint8_t *q = t->q + p / PARTS * tile + g * runs * bits * VECTOR;
    acc a[EQ_BLOCK_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < parts * rows; i++) a[i] = a_zero();
    act8_group(a, q + p % PARTS * 4 * LANES, tile, t->x8 + g * t->G * rows, runs, bits, parts,
               rows);
#pragma GCC unroll 4
    for (int i = 0; i < parts; i++) {
        int64_t at = ((p + i) / PARTS * groups + g) * EQ_TILE + (p + i) % PARTS * LANES;
        vecf s = f_half(t->s + at);
        vec z = v_zeros(t->z + at);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            act8_end(y + r * EQ_TILE + (p + i) * LANES, s, z, t->step[g * rows + r],
                     t->sum8[g * rows + r], &a[i * rows + r], bits, rows);
    }
}

INLINE void act8_tile(float *y, const eq_tile_in *in, const int bits, const int rows,
                      const int tiles) {
    const int all = tiles * PARTS, parts = rows > 1 ? 1 : all < SHARE ? all : SHARE;
    const eq_tile_in t = *in; /* which y cannot be a part of */
    const int64_t groups = t.I / t.G;
    for (int i = 0; i < rows * tiles * EQ_TILE; i++) y[i] = 0.0f;
    for (int64_t g = 0; g < groups; g++)
        for (int p = 0; p < all; p += parts) act8_parts(y, &t, g, p, bits, parts, rows);
}

/* One row has four sums, so that an addition need not wait for the one before. */
INLINE void exact_run(vecf *a, const uint8_t *q, vecf z, const float *x, int64_t ldx,
                      const int bits, const int rows){
#define STEP(t) \
    { \
        vec c = codes_of(q, bits, t, 0); \
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) { \
            vecf w = f_sub(f_of(v_code(c, j)), z); \
            _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) { \
                vecf *to = &a[rows == 1 ? j : r]; \
                *to = f_fma(w, f_set(x[r * ldx + 4 * t + j]), *to); \
            } \
        } \
    }
    EACH_STEP(STEP)
#undef STEP
}

INLINE void exact_group(float *y, const eq_tile_in *t, int64_t g, const int bits, const int rows) {
    int64_t runs = t->G / EQ_RUN;
    for (int p = 0; p < PARTS; p++) {
        const uint8_t *q = t->q + g * runs * bits * VECTOR + p * 4 * LANES;
        vecf a[EQ_BLOCK_ROWS], s = f_half(t->s + g * EQ_TILE + p * LANES);
        vecf z = f_of(v_zeros(t->z + g * EQ_TILE + p * LANES));
#pragma GCC unroll 8
        for (int r = 0; r < EQ_BLOCK_ROWS; r++) a[r] = f_zero();
        for (int64_t i = 0; i < runs; i++)
            exact_run(a, q + i * bits * VECTOR, z, t->x + g * t->G + i * EQ_RUN, t->I, bits, rows);
        if (rows == 1) a[0] = f_add(f_add(a[0], a[1]), f_add(a[2], a[3]));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            float *to = y + r * EQ_TILE + p * LANES;
            f_store(to, f_fma(a[r], s, f_load(to)));
        }
    }
}

INLINE void exact_tile(float *y, const eq_tile_in *t, const int bits, const int rows) {
    const int64_t groups = t->I / t->G;
    for (int i = 0; i < rows * EQ_TILE; i++) y[i] = 0.0f;
    for (int64_t g = 0; g < groups; g++) exact_group(y, t, g, bits, rows);
}

INLINE void exact_tiles(float *y, const eq_tile_in *t, const int bits, const int rows,
                        const int tiles) {
    eq_tile_in one = *t;
    for (int i = 0; i < tiles; i++) {
        exact_tile(y + i * EQ_TILE, &one, bits, rows);
        one.q += t->I / EQ_RUN * bits * VECTOR;
        one.s += t->I / t->G * EQ_TILE, one.z += t->I / t->G * EQ_TILE;
    }
}

#define KERNEL(kind, bits, name, rows, tiles) \
    static void kind##_##bits##_##name(float *y, const eq_tile_in *t) { \
        kind(y, t, bits, rows, tiles); \
    }
#define KERNELS(kind, bits) \
    KERNEL(kind, bits, one, 1, 1) \
    KERNEL(kind, bits, pair, 1, 2) KERNEL(kind, bits, block, EQ_BLOCK_ROWS, 1)
KERNELS(act8_tile, 2)
KERNELS(act8_tile, 3)
KERNELS(act8_tile, 4)
KERNELS(act8_tile, 8)
KERNELS(exact_tiles, 2)
KERNELS(exact_tiles, 3)
KERNELS(exact_tiles, 4)
KERNELS(exact_tiles, 8)
#define ROW(kind, bits) \
    { kind##_##bits##_one, kind##_##bits##_pair, kind##_##bits##_block }
const eq_lowbit EQ_LOWBIT_TABLE = {
    EQ_LOWBIT_NAME,
    {ROW(act8_tile, 2), ROW(act8_tile, 3), ROW(act8_tile, 4), ROW(act8_tile, 8)},
    {ROW(exact_tiles, 2), ROW(exact_tiles, 3), ROW(exact_tiles, 4), ROW(exact_tiles, 8)},
};
#endif
#endif

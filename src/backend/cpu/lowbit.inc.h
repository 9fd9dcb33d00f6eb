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
 *     acc, a_zero, a_step(a, codes, x4, t), a_step8 (codes of 8 bits), a_run (after 32 inputs),
 * a_sum f_zero, f_load, f_store, f_set(x), f_of(v), f_half(p) (LANES fp16), f_mul, f_add, f_sub,
 *     f_fma(a, b, c)       a * b + c; only in the exact kernels, where its rounding is free
 * Invariant: the act8 kernels compute what quant/act8.h says, operation by operation. */
#ifndef EQ_BACKEND_CPU_LOWBIT_INC_H
#define EQ_BACKEND_CPU_LOWBIT_INC_H
#include <string.h>

#include "backend/cpu/lowbit.h"

#ifdef LANES
/* Parts of a tile that go together where there is one row of activations: they share what is made
 * of it. Several rows share the codes of one part instead. */
enum { PARTS = EQ_TILE / LANES, VECTOR = 4 * EQ_TILE, PAIR = PARTS < 2 ? 1 : 2 };

/* Codes of step t of the run that begins at q, for a part's rows. */
INLINE vec codes_of(const uint8_t *q, const int bits, const int t) {
    if (bits == 2) return v_field(v_load(q + t / 4 * VECTOR), t % 4 * 2, 3);
    if (bits == 3)
        return v_or(v_field(v_load(q + t / 4 * VECTOR), t % 4 * 2, 3),
                    v_third(v_load(q + 2 * VECTOR), t));
    if (bits == 4) return v_field(v_load(q + t / 2 * VECTOR), t % 2 * 4, 15);
    return v_load(q + t * VECTOR);
}

INLINE int32_t four(const int8_t *x) {
    int32_t v;
    memcpy(&v, x, sizeof v);
    return v;
}

#define EACH_STEP(STEP) STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)

/* a [parts * rows] */
INLINE void act8_run(acc *a, const uint8_t *q, const int8_t *x, int64_t ldx, const int bits,
                     const int parts, const int rows) {
#define STEP(t) \
    _Pragma("GCC unroll 2") for (int p = 0; p < parts; p++) { \
        vec c = codes_of(q + p * 4 * LANES, bits, t); \
        _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) { \
            if (bits == 8) \
                a_step8(&a[p * rows + r], c, four(x + r * ldx + 4 * t), t); \
            else \
                a_step(&a[p * rows + r], c, four(x + r * ldx + 4 * t), t); \
        } \
    }
    EACH_STEP(STEP)
#undef STEP
#pragma GCC unroll 4
    for (int i = 0; i < parts * rows; i++) a_run(&a[i]);
}

/* The end of a group: y of each row of a part. */
INLINE void act8_end(float *y, const eq_tile_in *t, int64_t g, int64_t groups, int p, const acc *a,
                     const int rows) {
    vecf s = f_half(t->s + g * EQ_TILE + p * LANES);
    vec z = v_zeros(t->z + g * EQ_TILE + p * LANES);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        float *to = y + r * EQ_TILE + p * LANES;
        vecf by = f_mul(s, f_set(t->step[r * groups + g]));
        vec whole = v_sub(a_sum(&a[r]), v_lanes_mul(z, t->sum8[r * groups + g]));
        f_store(to, f_add(f_load(to), f_mul(f_of(whole), by)));
    }
}

INLINE void act8_tile(float *y, const eq_tile_in *t, const int bits, const int rows) {
    const int parts = rows == 1 ? PAIR : 1;
    const int64_t groups = t->I / t->G, runs = t->G / EQ_RUN;
    for (int i = 0; i < rows * EQ_TILE; i++) y[i] = 0.0f;
    for (int64_t g = 0; g < groups; g++)
        for (int p = 0; p < PARTS; p += parts) {
            const uint8_t *q = t->q + g * runs * bits * VECTOR + p * 4 * LANES;
            const int8_t *x = t->x8 + g * t->G;
            acc a[EQ_BLOCK_ROWS];
#pragma GCC unroll 4
            for (int i = 0; i < parts * rows; i++) a[i] = a_zero();
            for (int64_t i = 0; i < runs; i++)
                act8_run(a, q + i * bits * VECTOR, x + i * EQ_RUN, t->I, bits, parts, rows);
#pragma GCC unroll 2
            for (int i = 0; i < parts; i++) act8_end(y, t, g, groups, p + i, a + i * rows, rows);
        }
}

/* One row has four sums, so that an addition need not wait for the one before. */
INLINE void exact_run(vecf *a, const uint8_t *q, vecf z, const float *x, int64_t ldx,
                      const int bits, const int rows){
#define STEP(t) \
    { \
        vec c = codes_of(q, bits, t); \
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) { \
            vecf w = f_sub(f_of(v_code(c, j)), z); \
            _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) { \
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
#pragma GCC unroll 4
        for (int r = 0; r < EQ_BLOCK_ROWS; r++) a[r] = f_zero();
        for (int64_t i = 0; i < runs; i++)
            exact_run(a, q + i * bits * VECTOR, z, t->x + g * t->G + i * EQ_RUN, t->I, bits, rows);
        if (rows == 1) a[0] = f_add(f_add(a[0], a[1]), f_add(a[2], a[3]));
#pragma GCC unroll 4
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

#define KERNELS(kind, bits) \
    static void kind##_##bits##_one(float *y, const eq_tile_in *t) { kind##_tile(y, t, bits, 1); } \
    static void kind##_##bits##_block(float *y, const eq_tile_in *t) { \
        kind##_tile(y, t, bits, EQ_BLOCK_ROWS); \
    }
KERNELS(act8, 2)
KERNELS(act8, 3)
KERNELS(act8, 4)
KERNELS(act8, 8)
KERNELS(exact, 2)
KERNELS(exact, 3)
KERNELS(exact, 4)
KERNELS(exact, 8)
#define ROW(kind, bits) \
    { kind##_##bits##_one, kind##_##bits##_block }
const eq_lowbit EQ_LOWBIT_TABLE = {
    EQ_LOWBIT_NAME,
    {ROW(act8, 2), ROW(act8, 3), ROW(act8, 4), ROW(act8, 8)},
    {ROW(exact, 2), ROW(exact, 3), ROW(exact, 4), ROW(exact, 8)},
};
#endif
#endif

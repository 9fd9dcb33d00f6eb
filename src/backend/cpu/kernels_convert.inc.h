/* Kernels: number types and transposition. 16-bit floats are handled as integers, which rounds as
 * base/num.h says, NaN and subnormals included. */
#ifndef EQ_BACKEND_CPU_KERNELS_CONVERT_INC_H
#define EQ_BACKEND_CPU_KERNELS_CONVERT_INC_H
#include <emmintrin.h>

#include "backend/cpu/kernels.h"

static inline void k_f32_from_bf16(float *y, const uint16_t *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = eq_bf16_to_f32(x[i]);
}

static inline void k_bf16_from_f32(uint16_t *y, const float *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = eq_f32_to_bf16(x[i]);
}

static inline void k_f32_from_f16(float *y, const uint16_t *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = eq_f16_to_f32(x[i]);
}

/* Square blocks in SSE2 registers, which every x86-64 has: from plain loops compilers make scalar
 * moves, a third of the speed. `y` and `x` point at the block. */
static inline void turn16(uint16_t *y, int64_t ldy, const uint16_t *x, int64_t ldx) {
    __m128i a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = _mm_loadu_si128((const void *)(x + i * ldx));
    for (int step = 0; step < 3; step++) { /* each doubles the run of one column */
        for (int i = 0; i < 4; i++) {
            b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
            b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
        }
        for (int i = 0; i < 8; i++) a[i] = b[i];
    }
    for (int i = 0; i < 8; i++) _mm_storeu_si128((void *)(y + i * ldy), a[i]);
}
static inline void turn32(uint32_t *y, int64_t ldy, const uint32_t *x, int64_t ldx) {
    __m128i a[4], b[4];
    for (int i = 0; i < 4; i++) a[i] = _mm_loadu_si128((const void *)(x + i * ldx));
    for (int step = 0; step < 2; step++) {
        for (int i = 0; i < 2; i++) {
            b[2 * i] = _mm_unpacklo_epi32(a[i], a[i + 2]);
            b[2 * i + 1] = _mm_unpackhi_epi32(a[i], a[i + 2]);
        }
        for (int i = 0; i < 4; i++) a[i] = b[i];
    }
    for (int i = 0; i < 4; i++) _mm_storeu_si128((void *)(y + i * ldy), a[i]);
}

/* Blocks of two cache lines a side, so that every touched line is used whole while it is near. */
#define EQ_TRANSPOSE(name, type, turn, block, side) \
    static inline void name(type *y, int64_t ldy, const type *x, int64_t ldx, int64_t rows, \
                            int64_t cols) { \
        for (int64_t c0 = 0; c0 < cols; c0 += (block)) \
            for (int64_t r0 = 0; r0 < rows; r0 += (block)) \
                for (int64_t r = r0; r < rows && r < r0 + (block); r += (side)) \
                    for (int64_t c = c0; c < cols && c < c0 + (block); c += (side)) { \
                        if (r + (side) <= rows && c + (side) <= cols) { \
                            turn(y + c * ldy + r, ldy, x + r * ldx + c, ldx); \
                            continue; \
                        } \
                        for (int64_t j = c; j < cols && j < c + (side); j++) \
                            for (int64_t i = r; i < rows && i < r + (side); i++) \
                                y[j * ldy + i] = x[i * ldx + j]; \
                    } \
    }
EQ_TRANSPOSE(k_transpose16, uint16_t, turn16, 64, 8)
EQ_TRANSPOSE(k_transpose32, uint32_t, turn32, 32, 4)
#undef EQ_TRANSPOSE
#endif

/* Kernels: number types and transposition. 16-bit floats are handled as integers, which rounds as
 * base/num.h says, NaN and subnormals included. */
#ifndef EQ_BACKEND_CPU_KERNELS_CONVERT_INC_H
#define EQ_BACKEND_CPU_KERNELS_CONVERT_INC_H
#include "backend/cpu/kernels.h"

static inline void k_f32_from_bf16(float *y, const uint16_t *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = eq_bf16_to_f32(x[i]);
}

static inline void k_bf16_from_f32(uint16_t *y, const float *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = eq_f32_to_bf16(x[i]);
}

/* Exponent and fraction moved to their place are the value times 2^-112, subnormals included. */
static inline void k_f32_from_f16(float *y, const uint16_t *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        uint32_t h = x[i], sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
        uint32_t finite = eq_f32_bits(eq_bits_f32(rest) * 0x1p112f);
        y[i] = eq_bits_f32(sign | (rest >= 0x0f800000u ? rest | 0x7f800000u : finite));
    }
}

/* Blocks of a cache line square keep every touched line in the first-level cache. */
#define EQ_TRANSPOSE(name, type, block) \
    static inline void name(type *y, int64_t ldy, const type *x, int64_t ldx, int64_t rows, \
                            int64_t cols) { \
        for (int64_t r0 = 0; r0 < rows; r0 += (block)) { \
            int64_t r1 = r0 + (block) < rows ? r0 + (block) : rows; \
            for (int64_t c0 = 0; c0 < cols; c0 += (block)) { \
                int64_t c1 = c0 + (block) < cols ? c0 + (block) : cols; \
                for (int64_t c = c0; c < c1; c++) \
                    for (int64_t r = r0; r < r1; r++) y[c * ldy + r] = x[r * ldx + c]; \
            } \
        } \
    }
EQ_TRANSPOSE(k_transpose16, uint16_t, 32)
EQ_TRANSPOSE(k_transpose32, uint32_t, 16)
#undef EQ_TRANSPOSE
#endif

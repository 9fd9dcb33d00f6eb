/* Number types of tensors and their conversions. All roundings are to nearest, ties to even;
 * NaN stays NaN, out of range becomes infinity, subnormals are kept. */
#ifndef EQ_BASE_NUM_H
#define EQ_BASE_NUM_H
#include <stdint.h>
#include <string.h>

/* F8: sign, 4 bits of exponent (bias 7), 3 of fraction; 0x7f and 0xff are NaN. Read, never written.
 */
typedef enum {
    EQ_F32,
    EQ_BF16,
    EQ_F16,
    EQ_U8,
    EQ_I32,
    EQ_U32,
    EQ_I64,
    EQ_F64,
    EQ_F8,
    EQ_DTYPES
} eq_dtype;

static inline int64_t eq_least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t eq_most(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t eq_dtype_size(eq_dtype t);
const char *eq_dtype_name(eq_dtype t); /* as safetensors spells it: "F32", "BF16", ... */

static inline uint32_t eq_f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float eq_bits_f32(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
/* All four are branch-free so that loops over them vectorise. */
static inline float eq_bf16_to_f32(uint16_t h) { return eq_bits_f32((uint32_t)h << 16); }
static inline uint16_t eq_f32_to_bf16(float f) {
    uint32_t u = eq_f32_bits(f);
    uint32_t r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : r);
}
/* Exponent and fraction moved to their place are the value times 2^-112, subnormals included. */
static inline float eq_f16_to_f32(uint16_t h) {
    uint32_t sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
    uint32_t finite = eq_f32_bits(eq_bits_f32(rest) * 0x1p112f);
    return eq_bits_f32(sign | (rest >= 0x0f800000u ? rest | 0x7f800000u : finite));
}
static inline uint16_t eq_f32_to_f16(float f) {
    uint32_t u = eq_f32_bits(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    /* subnormal or zero: the sum with 2^-1 rounds at the right bit */
    uint32_t small = eq_f32_bits(eq_bits_f32(a) + 0.5f) - 0x3f000000u;
    uint32_t h = (a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13;
    h = a < 0x38800000u ? small : h;
    h = a >= 0x477ff000u ? 0x7c00u : h; /* 65520 and above round to inf */
    h = a > 0x7f800000u ? 0x7e00u : h;
    return (uint16_t)(sign | h);
}

float eq_f8_to_f32(uint8_t b);

/* Element i of a host array of a float type, as fp32 (double for F64 is rounded). */
float eq_load(const void *p, eq_dtype t, int64_t i);
void eq_store(void *p, eq_dtype t, int64_t i, float v);
/* n elements, any float type to any float type, host memory, same-type copies are memcpy. */
void eq_convert(void *dst, eq_dtype dt, const void *src, eq_dtype st, int64_t n);
#endif

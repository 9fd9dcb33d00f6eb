/* The AVX-512 instructions of lowbit_avx512vnni.c as plain loops, by the definitions in Intel's
 * manual: what the kernel computes shows on any CPU. Included in the place of immintrin.h. */
#ifndef TESTS_AVX512_WORDS_H
#define TESTS_AVX512_WORDS_H
#define _IMMINTRIN_H_INCLUDED /* gcc's guard */
#define __IMMINTRIN_H         /* clang's */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/num.h"

typedef union {
    uint8_t b[64];
    uint16_t h[32];
    uint32_t w[16];
} emu_i;
typedef struct {
    float f[16];
} emu_f;
typedef struct {
    uint8_t b[16];
} emu_i128;
typedef struct {
    uint16_t h[16];
} emu_i256;
#define __m512i emu_i
#define __m512 emu_f
#define LANE(n) for (int i = 0; i < (n); i++)

static inline emu_i _mm512_loadu_si512(const void *p) {
    emu_i v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline emu_i128 _mm_loadu_si128(const void *p) {
    emu_i128 v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline emu_i256 _mm256_loadu_si256(const void *p) {
    emu_i256 v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline emu_i _mm512_srli_epi16(emu_i v, unsigned s) {
    LANE(32) v.h[i] = (uint16_t)(s > 15 ? 0 : v.h[i] >> s);
    return v;
}
static inline emu_i _mm512_slli_epi16(emu_i v, unsigned s) {
    LANE(32) v.h[i] = (uint16_t)(s > 15 ? 0 : v.h[i] << s);
    return v;
}
static inline emu_i _mm512_srli_epi32(emu_i v, unsigned s) {
    LANE(16) v.w[i] = s > 31 ? 0 : v.w[i] >> s;
    return v;
}
static inline emu_i _mm512_srai_epi32(emu_i v, unsigned s) {
    LANE(16) v.w[i] = (uint32_t)((int32_t)v.w[i] >> (s > 31 ? 31 : s));
    return v;
}
static inline emu_i _mm512_and_si512(emu_i a, emu_i b) {
    LANE(16) a.w[i] &= b.w[i];
    return a;
}
static inline emu_i _mm512_or_si512(emu_i a, emu_i b) {
    LANE(16) a.w[i] |= b.w[i];
    return a;
}
static inline emu_i _mm512_sub_epi32(emu_i a, emu_i b) {
    LANE(16) a.w[i] -= b.w[i];
    return a;
}
static inline emu_i _mm512_add_epi32(emu_i a, emu_i b) {
    LANE(16) a.w[i] += b.w[i];
    return a;
}
static inline emu_i _mm512_mullo_epi32(emu_i a, emu_i b) {
    LANE(16) a.w[i] *= b.w[i];
    return a;
}
static inline emu_i _mm512_set1_epi8(char x) {
    emu_i v;
    memset(&v, x, sizeof v);
    return v;
}
static inline emu_i _mm512_set1_epi32(int32_t x) {
    emu_i v;
    LANE(16) v.w[i] = (uint32_t)x;
    return v;
}
static inline emu_i _mm512_setzero_si512(void) { return _mm512_set1_epi32(0); }
static inline emu_i _mm512_cvtepu8_epi32(emu_i128 x) {
    emu_i v;
    LANE(16) v.w[i] = x.b[i];
    return v;
}
/* u8 of a times s8 of b, four products to a lane, no saturation */
static inline emu_i _mm512_dpbusd_epi32(emu_i sum, emu_i a, emu_i b) {
    LANE(64) sum.w[i / 4] += (uint32_t)((int32_t)a.b[i] * (int32_t)(int8_t)b.b[i]);
    return sum;
}
static inline emu_f _mm512_set1_ps(float x) {
    emu_f v;
    LANE(16) v.f[i] = x;
    return v;
}
static inline emu_f _mm512_setzero_ps(void) { return _mm512_set1_ps(0.0f); }
static inline emu_f _mm512_loadu_ps(const float *p) {
    emu_f v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void _mm512_storeu_ps(float *p, emu_f v) { memcpy(p, &v, sizeof v); }
static inline emu_f _mm512_cvtepi32_ps(emu_i x) {
    emu_f v;
    LANE(16) v.f[i] = (float)(int32_t)x.w[i];
    return v;
}
static inline emu_f _mm512_cvtph_ps(emu_i256 x) {
    emu_f v;
    LANE(16) v.f[i] = eq_f16_to_f32(x.h[i]);
    return v;
}
static inline emu_f _mm512_mul_ps(emu_f a, emu_f b) {
    LANE(16) a.f[i] *= b.f[i];
    return a;
}
static inline emu_f _mm512_add_ps(emu_f a, emu_f b) {
    LANE(16) a.f[i] += b.f[i];
    return a;
}
static inline emu_f _mm512_sub_ps(emu_f a, emu_f b) {
    LANE(16) a.f[i] -= b.f[i];
    return a;
}
static inline emu_f _mm512_fmadd_ps(emu_f a, emu_f b, emu_f c) {
    LANE(16) a.f[i] = fmaf(a.f[i], b.f[i], c.f[i]);
    return a;
}
#undef LANE
#endif

/* What the two kernels of 256-bit vectors share: eight rows a vector; all but the dot product of
 * bytes. */
#ifndef EQ_BACKEND_CPU_LOWBIT256_INC_H
#define EQ_BACKEND_CPU_LOWBIT256_INC_H
#ifdef __AVX2__
#include <immintrin.h>
#include <stdint.h>

#define LANES 8
typedef __m256i vec;
typedef __m256 vecf;
#define INLINE static inline __attribute__((always_inline))

INLINE vec v_load(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
#define v_field(v, s, m) \
    _mm256_and_si256((s) != 0 ? _mm256_srli_epi16(v, s) : (v), _mm256_set1_epi8((char)(m)))
#define v_third(v, t) \
    _mm256_and_si256((t) < 2   ? _mm256_slli_epi16(v, (2 - (t)) & 15) \
                     : (t) > 2 ? _mm256_srli_epi16(v, ((t)-2) & 15) \
                               : (v), \
                     _mm256_set1_epi8(4))
INLINE vec v_or(vec a, vec b) { return _mm256_or_si256(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm256_sub_epi32(a, b); }
INLINE vec v_zeros(const uint8_t *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
}
INLINE vec v_lanes_mul(vec v, int32_t n) { return _mm256_mullo_epi32(v, _mm256_set1_epi32(n)); }
#define v_code(v, j) _mm256_and_si256(_mm256_srli_epi32(v, 8 * (j)), _mm256_set1_epi32(255))

INLINE vecf f_zero(void) { return _mm256_setzero_ps(); }
INLINE vecf f_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void f_store(float *p, vecf v) { _mm256_storeu_ps(p, v); }
INLINE vecf f_set(float x) { return _mm256_set1_ps(x); }
INLINE vecf f_of(vec v) { return _mm256_cvtepi32_ps(v); }
INLINE vecf f_half(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }
INLINE vecf f_mul(vecf a, vecf b) { return _mm256_mul_ps(a, b); }
INLINE vecf f_add(vecf a, vecf b) { return _mm256_add_ps(a, b); }
INLINE vecf f_sub(vecf a, vecf b) { return _mm256_sub_ps(a, b); }
INLINE vecf f_fma(vecf a, vecf b, vecf c) { return _mm256_fmadd_ps(a, b, c); }
#endif
#endif

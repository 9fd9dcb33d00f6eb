/* Packed products with AVX-512 and VNNI: a tile's sixteen rows are one vector. */
#include <immintrin.h>
#include <stdint.h>

#define LANES 16
typedef __m512i vec;
typedef __m512 vecf;
#define INLINE static inline __attribute__((always_inline))

INLINE vec v_load(const uint8_t *p) { return _mm512_loadu_si512((const void *)p); }
#define v_field(v, s, m) \
    _mm512_and_si512((s) != 0 ? _mm512_srli_epi16(v, s) : (v), _mm512_set1_epi8((char)(m)))
#define v_third(v, t) \
    _mm512_and_si512((t) < 2   ? _mm512_slli_epi16(v, (2 - (t)) & 15) \
                     : (t) > 2 ? _mm512_srli_epi16(v, ((t)-2) & 15) \
                               : (v), \
                     _mm512_set1_epi8(4))
INLINE vec v_or(vec a, vec b) { return _mm512_or_si512(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm512_sub_epi32(a, b); }
INLINE vec v_zeros(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
}
INLINE vec v_lanes_mul(vec v, int32_t n) { return _mm512_mullo_epi32(v, _mm512_set1_epi32(n)); }
#define v_code(v, j) _mm512_and_si512(_mm512_srli_epi32(v, 8 * (j)), _mm512_set1_epi32(255))

/* Four sums of one row, two of several, so that a dot product need not wait for the one before. */
#define SHARE 2
#define SUMS(rows) ((rows) == 1 ? 4 : 2)
#define UP(bits, t, rows) ((bits) == 2 ? (t) % SUMS(rows) * 2 : (bits) == 4 ? (t) % 2 * 4 : 0)
#define NARROW(bits, rows) 0
typedef struct {
    vec sum[4];
} acc;
INLINE acc a_zero(void) {
    vec none = _mm512_setzero_si512();
    return (acc){{none, none, none, none}};
}
INLINE void a_step(acc *a, vec codes, int32_t x4, int at, const int bits) {
    (void)bits;
    a->sum[at] = _mm512_dpbusd_epi32(a->sum[at], codes, _mm512_set1_epi32(x4));
}
INLINE void a_widen(acc *a, const int bits, const int rows) { (void)a, (void)bits, (void)rows; }
INLINE vec a_sum(const acc *a, const int bits, const int rows) {
    vec sum = a->sum[0];
    for (int i = 1; i < SUMS(rows); i++)
        sum = _mm512_add_epi32(sum, _mm512_srai_epi32(a->sum[i], UP(bits, i, rows)));
    return sum;
}

INLINE vecf f_zero(void) { return _mm512_setzero_ps(); }
INLINE vecf f_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void f_store(float *p, vecf v) { _mm512_storeu_ps(p, v); }
INLINE vecf f_set(float x) { return _mm512_set1_ps(x); }
INLINE vecf f_of(vec v) { return _mm512_cvtepi32_ps(v); }
INLINE vecf f_half(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}
INLINE vecf f_mul(vecf a, vecf b) { return _mm512_mul_ps(a, b); }
INLINE vecf f_add(vecf a, vecf b) { return _mm512_add_ps(a, b); }
INLINE vecf f_sub(vecf a, vecf b) { return _mm512_sub_ps(a, b); }
INLINE vecf f_fma(vecf a, vecf b, vecf c) { return _mm512_fmadd_ps(a, b, c); }

#define EQ_LOWBIT_TABLE eq_lowbit_avx512vnni
#define EQ_LOWBIT_NAME "avx512-vnni"
#include "backend/cpu/lowbit.inc.h"

/* Packed products for every x86-64: four rows a vector. SSE2 multiplies 16-bit numbers only, so
 * codes and activations are widened; pairs of products meet in the order of rows. */
#include <emmintrin.h>

#include "base/num.h"

#define LANES 4
typedef __m128i vec;
typedef __m128 vecf;
#define INLINE static inline __attribute__((always_inline))

INLINE vec v_load(const uint8_t *p) { return _mm_loadu_si128((const void *)p); }
#define v_field(v, s, m) _mm_and_si128(_mm_srli_epi16(v, s), _mm_set1_epi8(m))
#define v_third(v, t) \
    _mm_and_si128((t) < 2 ? _mm_slli_epi16(v, (2 - (t)) & 15) : _mm_srli_epi16(v, ((t)-2) & 15), \
                  _mm_set1_epi8(4))
INLINE vec v_or(vec a, vec b) { return _mm_or_si128(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm_sub_epi32(a, b); }
INLINE vec v_zeros(const uint8_t *p) { return _mm_setr_epi32(p[0], p[1], p[2], p[3]); }
/* Lanes below 256 times n: n in two parts of 16 bits, each product in 32. */
INLINE vec v_lanes_mul(vec v, int32_t n) {
    vec low = _mm_madd_epi16(v, _mm_set1_epi32(n & 0x7fff));
    return _mm_add_epi32(low,
                         _mm_slli_epi32(_mm_madd_epi16(v, _mm_set1_epi32((n >> 15) & 0xffff)), 15));
}
#define v_code(v, j) _mm_and_si128(_mm_srli_epi32(v, 8 * (j)), _mm_set1_epi32(255))

#define SHARE 4
#define SUMS(rows) 1
#define UP(bits, t, rows) 0
#define NARROW(bits, rows) 0
/* Pairs of products of the lanes 0, 1 and of 2, 3. */
typedef struct {
    vec low, high;
} acc;
INLINE acc a_zero(void) { return (acc){_mm_setzero_si128(), _mm_setzero_si128()}; }
INLINE void a_step(acc *a, vec codes, int32_t x4, int at, const int bits) {
    (void)at, (void)bits;
    vec none = _mm_setzero_si128(), x = _mm_set1_epi32(x4);
    x = _mm_unpacklo_epi8(x, _mm_cmpgt_epi8(none, x)); /* sign-extended */
    a->low = _mm_add_epi32(a->low, _mm_madd_epi16(_mm_unpacklo_epi8(codes, none), x));
    a->high = _mm_add_epi32(a->high, _mm_madd_epi16(_mm_unpackhi_epi8(codes, none), x));
}
INLINE void a_widen(acc *a, const int bits, const int rows) { (void)a, (void)bits, (void)rows; }
INLINE vec a_sum(const acc *a, const int bits, const int rows) {
    (void)bits, (void)rows;
    __m128 l = _mm_castsi128_ps(a->low), h = _mm_castsi128_ps(a->high);
    return _mm_add_epi32(_mm_castps_si128(_mm_shuffle_ps(l, h, 0x88)),
                         _mm_castps_si128(_mm_shuffle_ps(l, h, 0xdd)));
}

INLINE vecf f_zero(void) { return _mm_setzero_ps(); }
INLINE vecf f_load(const float *p) { return _mm_loadu_ps(p); }
INLINE void f_store(float *p, vecf v) { _mm_storeu_ps(p, v); }
INLINE vecf f_set(float x) { return _mm_set1_ps(x); }
INLINE vecf f_of(vec v) { return _mm_cvtepi32_ps(v); }
INLINE vecf f_half(const uint16_t *p) {
    return _mm_setr_ps(eq_f16_to_f32(p[0]), eq_f16_to_f32(p[1]), eq_f16_to_f32(p[2]),
                       eq_f16_to_f32(p[3]));
}
INLINE vecf f_mul(vecf a, vecf b) { return _mm_mul_ps(a, b); }
INLINE vecf f_add(vecf a, vecf b) { return _mm_add_ps(a, b); }
INLINE vecf f_sub(vecf a, vecf b) { return _mm_sub_ps(a, b); }
INLINE vecf f_fma(vecf a, vecf b, vecf c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }

#define EQ_LOWBIT_TABLE eq_lowbit_sse2
#define EQ_LOWBIT_NAME "sse2"
#include "backend/cpu/lowbit.inc.h"

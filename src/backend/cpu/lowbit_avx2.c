/* Packed products with AVX2: eight rows a vector, pairs of bytes into 16-bit sums that a run of 32
 * inputs cannot overflow (8 steps of at most 2 * 15 * 127). Codes of 8 bits could, and are widened.
 */
#include "backend/cpu/lowbit256.inc.h"

typedef struct {
    vec run, sum; /* 16-bit pairs of this run, 32-bit lanes of those before */
} acc;
INLINE acc a_zero(void) { return (acc){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
/* The empty instruction keeps the compiler from adding in another order, for which all products of
 * a run would wait in memory. */
INLINE void a_step(acc *a, vec codes, int32_t x4, int t) {
    (void)t;
    a->run = _mm256_add_epi16(a->run, _mm256_maddubs_epi16(codes, _mm256_set1_epi32(x4)));
    __asm__("" : "+x"(a->run));
}
INLINE void a_step8(acc *a, vec codes, int32_t x4, int t) {
    (void)t;
    vec none = _mm256_setzero_si256(), x = _mm256_cvtepi8_epi16(_mm_set1_epi32(x4));
    vec low = _mm256_madd_epi16(_mm256_unpacklo_epi8(codes, none), x);
    vec high = _mm256_madd_epi16(_mm256_unpackhi_epi8(codes, none), x);
    a->sum = _mm256_add_epi32(a->sum, _mm256_hadd_epi32(low, high));
    __asm__("" : "+x"(a->sum));
}
INLINE void a_run(acc *a) {
    a->sum = _mm256_add_epi32(a->sum, _mm256_madd_epi16(a->run, _mm256_set1_epi16(1)));
    a->run = _mm256_setzero_si256();
}
INLINE vec a_sum(const acc *a) { return a->sum; }

#define EQ_LOWBIT_TABLE eq_lowbit_avx2
#define EQ_LOWBIT_NAME "avx2"
#include "backend/cpu/lowbit.inc.h"

/* Packed products with AVX2: eight rows a vector, pairs of bytes into 16-bit sums, which hold 64
 * inputs: 16 steps of at most 2 * 7 * 127 at 3 bits, 8 of 2 * 12 * 127 where a code of 2 bits is
 * left two bits too high, 8 of 2 * 15 * 127 at 4 bits. Codes of 8 bits are widened first. */
#include "backend/cpu/lowbit256.inc.h"

#define SHARE 4
#define SUMS(rows) ((rows) == 1 ? 2 : 1)
#define UP(bits, t, rows) ((rows) == 1 && (bits) == 2 ? (t) % 2 * 2 : 0)
#define NARROW(bits, rows) ((rows) > 1 && (bits) == 4)
/* 16-bit sums and those in 32-bit lanes, at 2 bits times 4 where there are two; at 8 bits run[0]
 * and run[1] are 32-bit halves of the lanes 0, 1, 4, 5 and 2, 3, 6, 7. */
typedef struct {
    vec run[2], wide;
} acc;
INLINE acc a_zero(void) {
    vec none = _mm256_setzero_si256();
    return (acc){{none, none}, none};
}
/* The empty instruction keeps the compiler from adding in another order, for which all products of
 * a run would wait in memory. */
INLINE void a_step(acc *a, vec codes, int32_t x4, int at, const int bits) {
    if (bits < 8) {
        a->run[at] =
            _mm256_add_epi16(a->run[at], _mm256_maddubs_epi16(codes, _mm256_set1_epi32(x4)));
        __asm__("" : "+x"(a->run[at]));
        return;
    }
    vec none = _mm256_setzero_si256(), x = _mm256_cvtepi8_epi16(_mm_set1_epi32(x4));
    vec low = _mm256_madd_epi16(_mm256_unpacklo_epi8(codes, none), x);
    vec high = _mm256_madd_epi16(_mm256_unpackhi_epi8(codes, none), x);
    a->run[0] = _mm256_add_epi32(a->run[0], low);
    a->run[1] = _mm256_add_epi32(a->run[1], high);
    __asm__("" : "+x"(a->run[0]), "+x"(a->run[1]));
}
INLINE void a_widen(acc *a, const int bits, const int rows) {
    vec one = _mm256_set1_epi16(1), run = a->run[0];
    if (bits == 8) return;
    if (SUMS(rows) == 2 && bits == 4)
        a->wide = _mm256_add_epi32(a->wide, _mm256_madd_epi16(a->run[1], one));
    else if (SUMS(rows) == 2)
        run = _mm256_add_epi16(run, _mm256_srai_epi16(a->run[1], UP(bits, 1, rows)));
    a->wide = _mm256_add_epi32(a->wide, _mm256_madd_epi16(run, one));
    a->run[0] = a->run[1] = _mm256_setzero_si256();
}
INLINE vec a_sum(const acc *a, const int bits, const int rows) {
    (void)rows;
    return bits == 8 ? _mm256_hadd_epi32(a->run[0], a->run[1]) : a->wide;
}

#define EQ_LOWBIT_TABLE eq_lowbit_avx2
#define EQ_LOWBIT_NAME "avx2"
#include "backend/cpu/lowbit.inc.h"

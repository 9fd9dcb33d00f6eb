/* Packed products with AVX-VNNI: eight rows a vector, four bytes of a row into its lane at once. */
#include "backend/cpu/lowbit256.inc.h"

/* Two sums of one row, so that a dot product need not wait for the one before. */
#define SHARE 4
#define SUMS(rows) ((rows) == 1 ? 2 : 1)
#define UP(bits, t, rows) ((rows) == 1 && ((bits) == 2 || (bits) == 4) ? (t) % 2 * (bits) : 0)
#define NARROW(bits, rows) 0
typedef struct {
    vec sum[2];
} acc;
INLINE acc a_zero(void) {
    vec none = _mm256_setzero_si256();
    return (acc){{none, none}};
}
INLINE void a_step(acc *a, vec codes, int32_t x4, int at, const int bits) {
    (void)bits;
    a->sum[at] = _mm256_dpbusd_avx_epi32(a->sum[at], codes, _mm256_set1_epi32(x4));
}
INLINE void a_widen(acc *a, const int bits, const int rows) { (void)a, (void)bits, (void)rows; }
INLINE vec a_sum(const acc *a, const int bits, const int rows) {
    if (SUMS(rows) == 1) return a->sum[0];
    return _mm256_add_epi32(a->sum[0], _mm256_srai_epi32(a->sum[1], UP(bits, 1, rows)));
}

#define EQ_LOWBIT_TABLE eq_lowbit_avxvnni
#define EQ_LOWBIT_NAME "avx-vnni"
#include "backend/cpu/lowbit.inc.h"

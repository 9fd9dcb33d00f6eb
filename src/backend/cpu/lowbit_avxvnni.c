/* Packed products with AVX-VNNI: eight rows a vector, four bytes of a row into its lane at once. */
#include "backend/cpu/lowbit256.inc.h"

/* Two sums, so that a dot product need not wait for the one before. */
typedef struct {
    vec sum[2];
} acc;
INLINE acc a_zero(void) {
    vec none = _mm256_setzero_si256();
    return (acc){{none, none}};
}
INLINE void a_step(acc *a, vec codes, int32_t x4, int t) {
    a->sum[t % 2] = _mm256_dpbusd_avx_epi32(a->sum[t % 2], codes, _mm256_set1_epi32(x4));
}
INLINE void a_step8(acc *a, vec codes, int32_t x4, int t) { a_step(a, codes, x4, t); }
INLINE void a_run(acc *a) { (void)a; }
INLINE vec a_sum(const acc *a) { return _mm256_add_epi32(a->sum[0], a->sum[1]); }

#define EQ_LOWBIT_TABLE eq_lowbit_avxvnni
#define EQ_LOWBIT_NAME "avx-vnni"
#include "backend/cpu/lowbit.inc.h"

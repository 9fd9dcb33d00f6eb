/* Packed products with AVX-VNNI: eight rows a vector, four bytes of a row into its lane at once. */
#include "backend/cpu/lowbit256.inc.h"

typedef struct {
    vec sum;
} acc;
INLINE acc a_zero(void) { return (acc){_mm256_setzero_si256()}; }
INLINE void a_step(acc *a, vec codes, int32_t x4) {
    a->sum = _mm256_dpbusd_avx_epi32(a->sum, codes, _mm256_set1_epi32(x4));
}
INLINE void a_step8(acc *a, vec codes, int32_t x4) { a_step(a, codes, x4); }
INLINE void a_run(acc *a) { (void)a; }
INLINE vec a_sum(const acc *a) { return a->sum; }

#define EQ_LOWBIT_TABLE eq_lowbit_avxvnni
#define EQ_LOWBIT_NAME "avx-vnni"
#include "backend/cpu/lowbit.inc.h"

/* Random numbers. eq_mt is Python's `random` (MT19937 seeded by init_by_array([seed])), which the
 * paper's tools draw windows with; eq_rand is counter-based: value i of a seed without a state. */
#ifndef EQ_BASE_RNG_H
#define EQ_BASE_RNG_H
#include <stdint.h>

typedef struct {
    uint32_t s[624];
    int at;
} eq_mt;
void eq_mt_seed(eq_mt *r, uint64_t seed); /* random.seed(seed) */
uint32_t eq_mt_u32(eq_mt *r);
int64_t eq_mt_randint(eq_mt *r, int64_t a, int64_t b); /* both ends included; a <= b */

uint64_t eq_rand_u64(uint64_t seed, uint64_t i);
double eq_rand_unit(uint64_t seed, uint64_t i);  /* [0, 1) */
float eq_rand_normal(uint64_t seed, uint64_t i); /* mean 0, variance 1 */
#endif

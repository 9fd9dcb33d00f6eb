/* Bit streams one bit at a time: what every packing in the program is compared with. */
#ifndef TESTS_NAIVE_PACK_H
#define TESTS_NAIVE_PACK_H
#include <stdint.h>

/* Value k of a little-endian stream of N-bit values in 32-bit words that lie `stride` apart. */
static inline unsigned naive_get(const uint32_t *words, int64_t stride, int64_t k, int bits) {
    unsigned v = 0;
    for (int b = 0; b < bits; b++) {
        int64_t at = k * bits + b;
        v |= (words[at / 32 * stride] >> (at % 32) & 1u) << b;
    }
    return v;
}
static inline void naive_put(uint32_t *words, int64_t stride, int64_t k, int bits, unsigned v) {
    for (int b = 0; b < bits; b++) {
        int64_t at = k * bits + b;
        uint32_t one = 1u << (at % 32), *w = &words[at / 32 * stride];
        *w = (v >> b & 1u) ? *w | one : *w & ~one;
    }
}
#endif

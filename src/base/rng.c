/* MT19937 as Matsumoto and Nishimura define it, integers as CPython draws them (METHOD section 4);
 * the counter-based generator is the output function of SplitMix64 over seed and counter. */
#include "base/rng.h"

#include <math.h>

enum { N = 624, M = 397 };

static void init_genrand(eq_mt *r, uint32_t s) {
    r->s[0] = s;
    for (uint32_t i = 1; i < N; i++) r->s[i] = 1812433253u * (r->s[i - 1] ^ r->s[i - 1] >> 30) + i;
    r->at = N;
}

void eq_mt_seed(eq_mt *r, uint64_t seed) {
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, len = key[1] ? 2 : 1;
    init_genrand(r, 19650218u);
    uint32_t i = 1, j = 0;
    for (int k = N; k; k--) {
        r->s[i] = (r->s[i] ^ (r->s[i - 1] ^ r->s[i - 1] >> 30) * 1664525u) + key[j] + j;
        if (++i >= N) r->s[0] = r->s[N - 1], i = 1;
        if (++j >= len) j = 0;
    }
    for (int k = N - 1; k; k--) {
        r->s[i] = (r->s[i] ^ (r->s[i - 1] ^ r->s[i - 1] >> 30) * 1566083941u) - i;
        if (++i >= N) r->s[0] = r->s[N - 1], i = 1;
    }
    r->s[0] = 0x80000000u;
}

static void refill(eq_mt *r) {
    for (int k = 0; k < N; k++) {
        uint32_t y = (r->s[k] & 0x80000000u) | (r->s[(k + 1) % N] & 0x7fffffffu);
        r->s[k] = r->s[(k + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->at = 0;
}

uint32_t eq_mt_u32(eq_mt *r) {
    if (r->at >= N) refill(r);
    uint32_t y = r->s[r->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* getrandbits(k): words from the low end, the last one shifted down. */
static uint64_t bits(eq_mt *r, int k) {
    if (k <= 32) return eq_mt_u32(r) >> (32 - k);
    uint64_t low = eq_mt_u32(r);
    return low | (uint64_t)(eq_mt_u32(r) >> (64 - k)) << 32;
}

int64_t eq_mt_randint(eq_mt *r, int64_t a, int64_t b) {
    uint64_t n = (uint64_t)(b - a) + 1, v;
    int k = 64 - __builtin_clzll(n);
    do v = bits(r, k);
    while (v >= n);
    return a + (int64_t)v;
}

uint64_t eq_rand_u64(uint64_t seed, uint64_t i) {
    uint64_t z = seed * 0xda942042e4dd58b5u + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
double eq_rand_unit(uint64_t seed, uint64_t i) {
    return (double)(eq_rand_u64(seed, i) >> 11) * 0x1p-53;
}
float eq_rand_normal(uint64_t seed, uint64_t i) {
    double u = 1.0 - eq_rand_unit(seed, 2 * i), v = eq_rand_unit(seed, 2 * i + 1);
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

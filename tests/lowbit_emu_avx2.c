/* The AVX-VNNI kernels of packed products for a CPU with AVX2 alone (the file's name asks for
 * that): the one instruction in plain C. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static inline __m256i dot_of_bytes(__m256i sum, __m256i a, __m256i b) {
    int32_t s[8];
    uint8_t u[32];
    int8_t v[32];
    memcpy(s, &sum, 32), memcpy(u, &a, 32), memcpy(v, &b, 32);
    for (int i = 0; i < 32; i++) s[i / 4] += (int32_t)u[i] * v[i];
    memcpy(&sum, s, 32);
    return sum;
}
#define _mm256_dpbusd_avx_epi32 dot_of_bytes
#define eq_lowbit_avxvnni emu_lowbit_avxvnni
#include "backend/cpu/lowbit_avxvnni.c"

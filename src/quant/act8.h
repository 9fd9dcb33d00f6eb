/* Activations of 8 bits, a group of a row at a time: x = step * code, code in -127 .. 127. What
 * products of packed weights with them give is defined to the bit, so that every instruction set
 * has the same result: sums of whole numbers are exact, groups are added in rising order, each
 * operation rounded by itself. */
#ifndef EQ_QUANT_ACT8_H
#define EQ_QUANT_ACT8_H
#include <math.h>
#include <stdint.h>

/* Codes of x[n], returns their step. A group of zeros has step 0; one with an infinity or a NaN has
 * a step of NaN, so that what is computed with it cannot pass for a number. */
static inline float eq_act8(int8_t *code, const float *x, int64_t n) {
    float most = 0.0f, odd = 0.0f; /* odd: NaN where x is not finite */
#pragma omp simd reduction(max : most) reduction(+ : odd)
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        most = a > most ? a : most;
        odd += x[i] * 0.0f;
    }
    float inverse = most > 0.0f ? 127.0f / most : 0.0f;
    if (odd != 0.0f || inverse > 0x1p120f) inverse = 0.0f; /* what is below 1e-34 counts as 0 */
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float c = inverse > 0.0f ? rintf(x[i] * inverse) : 0.0f;
        code[i] = (int8_t)(int32_t)c;
    }
    return odd != 0.0f ? NAN : inverse > 0.0f ? most / 127.0f : 0.0f;
}

/* sum + whole * (s * step), `whole` the sum of (w_int - z) * code over a group. */
static inline float eq_act8_add(float sum, int64_t whole, float s, float step) {
    float by = s * step;
    float term = (float)whole * by;
    return sum + term;
}
#endif

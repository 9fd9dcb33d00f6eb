/* Activations of 8 bits, a group of a row at a time: x = step * code, code in -127 .. 127. What
 * products of packed weights with them give is defined to the bit, so that every instruction set
 * has the same result: sums of whole numbers are exact, groups are added in rising order, each
 * operation rounded by itself. */
#ifndef EQ_QUANT_ACT8_H
#define EQ_QUANT_ACT8_H
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Codes of x[n], returns their step. A group of zeros has step 0; one with an infinity or a NaN has
 * a step of NaN, so that what is computed with it cannot pass for a number. */
static inline float eq_act8(int8_t *code, const float *x, int64_t n) {
    int32_t top = 0; /* the bits of the largest |x|; what is not finite is above all that is */
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= INT32_MAX;
        top = bits > top ? bits : top;
    }
    bool odd = top >= 0x7f800000;
    float most;
    memcpy(&most, &top, sizeof most);
    float inverse = top > 0 && !odd ? 127.0f / most : 0.0f;
    if (inverse > 0x1p120f) inverse = 0.0f; /* what is below 1e-34 counts as 0 */
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float c = inverse > 0.0f ? rintf(x[i] * inverse) : 0.0f;
        code[i] = (int8_t)(int32_t)c;
    }
    return odd ? NAN : inverse > 0.0f ? most / 127.0f : 0.0f;
}

/* sum + whole * (s * step), `whole` the sum of (w_int - z) * code over a group. */
static inline float eq_act8_add(float sum, int64_t whole, float s, float step) {
    float by = s * step;
    float term = (float)whole * by;
    return sum + term;
}
#endif

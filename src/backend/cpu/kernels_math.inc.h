/* exp for loops that vectorise: no branch, no table, no conversion that traps. Less than 2 units in
 * the last place over the whole range; 0, infinity, NaN and subnormal results as libm gives them.
 * exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2. */
#ifndef EQ_BACKEND_CPU_KERNELS_MATH_INC_H
#define EQ_BACKEND_CPU_KERNELS_MATH_INC_H
#include "base/num.h"

/* One rounding where the instruction set has it; elsewhere a call to libm would be far slower. */
#ifdef __FMA__
#define EQ_MADD(a, b, c) __builtin_fmaf(a, b, c)
#else
#define EQ_MADD(a, b, c) ((a) * (b) + (c))
#endif

static inline float vec_expf(float x) {
    const float round = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
    x = x < -105.0f ? -105.0f : x;
    x = x > 89.0f ? 89.0f : x;
    float t = EQ_MADD(x, 0x1.715476p0f, round), n = t - round;
    /* ln 2 in two parts, the first with few bits so that n times it is exact */
    float r = EQ_MADD(n, 0x1.bd0106p-13f, EQ_MADD(n, -0.693359375f, x));
    float p = EQ_MADD(0x1.6a23d0p-10f, r, 0x1.123a20p-7f);
    p = EQ_MADD(p, r, 0x1.5558f2p-5f);
    p = EQ_MADD(p, r, 0x1.555492p-3f);
    p = EQ_MADD(p, r, 0x1.fffffcp-2f);
    p = EQ_MADD(p * r, r, r) + 1.0f;
    /* Two factors, because 2^n alone is no normal number at either end. */
    int32_t e = (int32_t)(eq_f32_bits(t) - eq_f32_bits(round)), half = e >> 1;
    return p * eq_bits_f32((uint32_t)(half + 127) << 23) *
           eq_bits_f32((uint32_t)(e - half + 127) << 23);
}

static inline float vec_sigmoid(float x) { return 1.0f / (1.0f + vec_expf(-x)); }

/* tanh to 3 units in the last place: an odd polynomial (least largest relative error up to 0.6,
 * 1.4e-8) where the difference of two near ones would have few digits left, else from exp. */
static inline float vec_tanhf(float x) {
    float a = x < 0.0f ? -x : x, z = x * x;
    float far = 1.0f - 2.0f / (vec_expf(2.0f * a) + 1.0f);
    float p = EQ_MADD(-0x1.9ad0c2p-8f, z, 0x1.59e042p-6f);
    p = EQ_MADD(p, z, -0x1.b955b6p-5f);
    p = EQ_MADD(p, z, 0x1.110ee0p-3f);
    p = EQ_MADD(p, z, -0x1.555554p-2f);
    float near = EQ_MADD(p * z, x, x);
    far = x < 0.0f ? -far : far;
    return a < 0.6f ? near : far;
}
#endif

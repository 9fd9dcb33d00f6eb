/* Everything that is PTX or an instruction of the hardware, each beside a scalar twin that does
 * what the manual says, for the tests' CPU. Invariant: the twin gives the bits of the instruction,
 * or its comment says how far it may be off. */
#ifndef EQ_BACKEND_CUDA_PTX_CUH
#define EQ_BACKEND_CUDA_PTX_CUH
#include <stdint.h>

#if defined(__CUDACC__)
#define EQ_PTX 1
#else
#define EQ_PTX 0
#include <math.h>

#include "base/num.h"
#endif

/* Two fp32 to bf16, to nearest even, lo in the low half. NaN becomes a quiet NaN. */
static __device__ __forceinline__ uint32_t eq_ptx_bf16x2(float lo, float hi) {
#if EQ_PTX
    uint32_t d;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(hi), "f"(lo));
    return d;
#else
    return (uint32_t)eq_f32_to_bf16(hi) << 16 | eq_f32_to_bf16(lo);
#endif
}

/* a / b and the square root to 2 units in the last place, a few instructions each; the twins are
 * exact. |b| below 2^126. */
static __device__ __forceinline__ float eq_ptx_div(float a, float b) { return __fdividef(a, b); }
static __device__ __forceinline__ float eq_ptx_sqrt(float x) {
#if EQ_PTX
    float y;
    asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return sqrtf(x);
#endif
}

/* fp16 bits to fp32, exact. */
static __device__ __forceinline__ float eq_ptx_f16(uint16_t h) {
#if EQ_PTX
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
#else
    return eq_f16_to_f32(h);
#endif
}

/* 2^x, off by 2 units in the last place at most; subnormal results are 0. */
static __device__ __forceinline__ float eq_ptx_exp2(float x) {
#if EQ_PTX
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}

/* a b + c of two bf16 each, rounded once; the twin rounds to fp32 before, which is the same
 * wherever fp32 holds the result. */
static __device__ __forceinline__ uint32_t eq_ptx_fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
#if EQ_PTX
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
#else
    float low = fmaf(__uint_as_float(a << 16), __uint_as_float(b << 16), __uint_as_float(c << 16));
    float high = fmaf(__uint_as_float(a & 0xffff0000u), __uint_as_float(b & 0xffff0000u),
                      __uint_as_float(c & 0xffff0000u));
    return eq_ptx_bf16x2(low, high);
#endif
}
#endif

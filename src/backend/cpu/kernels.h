/* The inner loops, one table per instruction set. Each is written once, as plain C, in a
 * kernels_*.inc.h file; kernels_base.c, kernels_avx2.c and kernels_avx512.c compile all of them
 * with their own flags. Kernels are serial, work on fp32 (16-bit types are converted at the edge)
 * and allow an output to be one of the inputs unless said otherwise. */
#ifndef EQ_BACKEND_CPU_KERNELS_H
#define EQ_BACKEND_CPU_KERNELS_H
#include "backend/backend.h"

/* Groups of consecutive weights, from the one that a run of weights begins in. */
typedef struct {
    const float *s, *z; /* of the first group */
    int64_t G, off;     /* group size; weights of the first group before the run */
    int bits;
    eq_grid grid;
} eq_groups;

/* clang-format off */
#define EQ_KERNELS(K) \
  /* conversions; y and x do not overlap */ \
  K(void, f32_from_bf16, (float *y, const uint16_t *x, int64_t n)) \
  K(void, f32_from_f16,  (float *y, const uint16_t *x, int64_t n)) \
  K(void, bf16_from_f32, (uint16_t *y, const float *x, int64_t n)) \
  /* y[c * ldy + r] = x[r * ldx + c]; no overlap */ \
  K(void, transpose16, (uint16_t *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t rows, int64_t cols)) \
  K(void, transpose32, (uint32_t *y, int64_t ldy, const uint32_t *x, int64_t ldx, int64_t rows, int64_t cols)) \
  /* elementwise */ \
  K(void, add,        (float *y, const float *a, const float *b, int64_t n)) \
  K(void, scale,      (float *y, const float *x, float f, int64_t n)) \
  K(void, affine,     (float *y, const float *x, float mul, float plus, int64_t n)) \
  /* y = cap tanh(f x / cap); dx *= its derivative by f x, from y */ \
  K(void, softcap,    (float *y, const float *x, float f, float cap, int64_t n)) \
  K(void, softcap_bwd, (float *dx, const float *y, float cap, int64_t n)) \
  K(void, silu_fwd,   (float *h, const float *g, const float *u, int64_t n)) \
  K(void, silu_bwd,   (float *dg, float *du, const float *dh, const float *g, const float *u, int64_t n)) \
  K(void, gelu_fwd,   (float *h, const float *g, const float *u, int64_t n)) \
  K(void, gelu_bwd,   (float *dg, float *du, const float *dh, const float *g, const float *u, int64_t n)) \
  /* in place: a, b = a cos - b sin, b cos + a sin */ \
  K(void, rope,       (float *a, float *b, const float *cos, const float *sin, float sign, int64_t n)) \
  /* reductions */ \
  K(double, sum,      (const float *x, int64_t n)) \
  K(double, sumsq,    (const float *x, int64_t n)) \
  K(float, dot,       (const float *a, const float *b, int64_t n)) \
  /* s[j] = dot of x and row j, `len` elements of each of n rows of ld; y[len] += sum of w[j] times row j */ \
  K(void, dots_f32,   (float *s, const float *rows, const float *x, int64_t n, int64_t len, int64_t ld)) \
  K(void, dots_bf16,  (float *s, const uint16_t *rows, const float *x, int64_t n, int64_t len, int64_t ld)) \
  K(void, blend_f32,  (float *y, const float *rows, const float *w, int64_t n, int64_t len, int64_t ld)) \
  K(void, blend_bf16, (float *y, const uint16_t *rows, const float *w, int64_t n, int64_t len, int64_t ld)) \
  /* dot of a row of weights, in fp32 or bf16, and x: for products of few rows, which wait for memory */ \
  K(float, row_f32,   (const float *w, const float *x, int64_t n)) \
  K(float, row_bf16,  (const uint16_t *w, const float *x, int64_t n)) \
  K(float, max,       (const float *x, int64_t n)) \
  K(float, min,       (const float *x, int64_t n)) \
  /* sum of (y - t)^2, dy (NULL: not wanted) = (y - t) * f */ \
  K(double, mse,      (float *dy, const float *y, const float *t, float f, int64_t n)) \
  /* sum of exp(x[i] - top) */ \
  K(float, exp_sum,   (const float *x, float top, int64_t n)) \
  /* y[i] = exp(x[i] - top) * f */ \
  K(void, exp_scale,  (float *y, const float *x, float top, float f, int64_t n)) \
  /* RMSNorm rows: y = x * r * w; dot of dy w x; dx = r w dy - back x (+ dx); dw += dy x r */ \
  K(void, norm_fwd,   (float *y, const float *x, const float *w, float r, int64_t n)) \
  K(double, norm_dot,  (const float *dy, const float *w, const float *x, int64_t n)) \
  K(void, norm_dx,    (float *dx, const float *dy, const float *x, const float *w, double r, double back, int acc, int64_t n)) \
  K(void, norm_dw,    (float *dw, const float *dy, const float *x, float r, int64_t n)) \
  /* attention: y[i] = exp(x[i] * f - top), returns the sum */ \
  K(float, softmax,   (float *y, const float *x, float f, float top, int64_t n)) \
  /* p[i] = exp(s[i] * f - lse[i]); ds[i] = p[i] * (dp[i] - delta[i]) * f, written over dp */ \
  K(void, attn_grad,  (float *p, float *dp, const float *s, const float *lse, const float *delta, float f, int64_t n)) \
  /* the same of capped scores s: ds *= 1 - (s / cap)^2, f not yet in s */ \
  K(void, attn_grad_cap, (float *p, float *dp, const float *s, const float *lse, const float *delta, float f, float cap, int64_t n)) \
  /* the number format over n weights; n, G and off are multiples of 32. s and z as trained (the weights of a \
     group that the run holds a part of may be read for its floor): */ \
  K(float, fq_step,   (float s, const float *w, int64_t G)) \
  K(void, fq_fwd,     (float *w_hat, const float *w, eq_groups g, int64_t n)) \
  /* whole groups, off 0; dw (may be dw_hat), ds, dz NULL: not wanted */ \
  K(void, fq_bwd,     (float *dw, float *ds, float *dz, const float *dw_hat, const float *w, eq_groups g, int64_t n)) \
  /* s and z as they are: w_int; numbers from packed words; ds and dz (NULL: not wanted) added to */ \
  K(void, fq_code,    (uint8_t *q, const float *w, eq_groups g, int64_t n)) \
  K(void, dequant,    (float *w_hat, const uint32_t *words, eq_groups g, int64_t n)) \
  K(void, dequant_bwd, (float *ds, float *dz, const float *dw_hat, const uint32_t *words, eq_groups g, int64_t n)) \
  /* quant/act8.h, and the sum of the codes */ \
  K(float, act8,      (int8_t *code, int32_t *sum, const float *x, int64_t n)) \
  K(void, adamw,      (float *p, float *m, float *v, const float *g, const eq_adamw *a, int64_t n))
/* clang-format on */

typedef struct {
    const char *name;
#define EQ_KERNEL_FIELD(type, name, params) type(*name) params;
    EQ_KERNELS(EQ_KERNEL_FIELD)
#undef EQ_KERNEL_FIELD
} eq_kernels;

extern const eq_kernels eq_kernels_base, eq_kernels_avx2, eq_kernels_avx512;
#endif

/* Kernels: element i of the output from element i of the inputs. */
#ifndef EQ_BACKEND_CPU_KERNELS_ELEMENTWISE_INC_H
#define EQ_BACKEND_CPU_KERNELS_ELEMENTWISE_INC_H
#include <math.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/kernels_math.inc.h"

static inline void k_add(float *y, const float *a, const float *b, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static inline void k_scale(float *y, const float *x, float f, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * f;
}

static inline void k_affine(float *y, const float *x, float mul, float plus, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * mul + plus;
}

static inline void k_softcap(float *y, const float *x, float f, float cap, int64_t n) {
    const float in = f / cap;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = cap * vec_tanhf(x[i] * in);
}

static inline void k_softcap_bwd(float *dx, const float *y, float cap, int64_t n) {
    const float in = 1.0f / cap;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float t = y[i] * in;
        dx[i] *= 1.0f - t * t;
    }
}

static inline void k_silu_fwd(float *h, const float *g, const float *u, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) h[i] = g[i] * vec_sigmoid(g[i]) * u[i];
}

static inline void k_silu_bwd(float *dg, float *du, const float *dh, const float *g, const float *u,
                              int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float d = dh[i], gi = g[i], ui = u[i], p = vec_sigmoid(gi);
        dg[i] = d * ui * p * (1.0f + gi * (1.0f - p));
        du[i] = d * gi * p;
    }
}

/* (1 + tanh(v)) / 2 = sigmoid(2 v), v = sqrt(2/pi) (x + 0.044715 x^3) */
static const float gelu_a = 1.5957691216057308f, gelu_b = 1.5957691216057308f * 0.044715f;

static inline void k_gelu_fwd(float *h, const float *g, const float *u, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float x = g[i];
        h[i] = x * vec_sigmoid(x * (gelu_a + gelu_b * x * x)) * u[i];
    }
}

static inline void k_gelu_bwd(float *dg, float *du, const float *dh, const float *g, const float *u,
                              int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float d = dh[i], x = g[i], ui = u[i], p = vec_sigmoid(x * (gelu_a + gelu_b * x * x));
        dg[i] = d * ui * p * (1.0f + x * (1.0f - p) * (gelu_a + 3.0f * gelu_b * x * x));
        du[i] = d * x * p;
    }
}

static inline void k_rope(float *a, float *b, const float *cos, const float *sin, float sign,
                          int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float x = a[i], y = b[i], s = sign * sin[i];
        a[i] = x * cos[i] - y * s;
        b[i] = y * cos[i] + x * s;
    }
}

static inline void k_exp_scale(float *y, const float *x, float top, float f, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = vec_expf(x[i] - top) * f;
}

static inline void k_attn_grad(float *p, float *dp, const float *s, const float *lse,
                               const float *delta, float f, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float e = vec_expf(s[i] * f - lse[i]);
        dp[i] = e * (dp[i] - delta[i]) * f;
        p[i] = e;
    }
}

/* The same where s are capped scores: the way back to what was capped. */
static inline void k_attn_grad_cap(float *p, float *dp, const float *s, const float *lse,
                                   const float *delta, float f, float cap, int64_t n) {
    const float in = 1.0f / cap;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float e = vec_expf(s[i] - lse[i]), t = s[i] * in;
        dp[i] = e * (dp[i] - delta[i]) * f * (1.0f - t * t);
        p[i] = e;
    }
}

static inline void k_norm_fwd(float *y, const float *x, const float *w, float r, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
}

/* In double: the two terms nearly cancel where a row is short or dy is along x. */
static inline void k_norm_dx(float *dx, const float *dy, const float *x, const float *w, double r,
                             double back, int acc, int64_t n) {
    if (acc) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            dx[i] = (float)((double)dx[i] + (r * w[i] * dy[i] - back * x[i]));
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] = (float)(r * w[i] * dy[i] - back * x[i]);
    }
}

static inline void k_norm_dw(float *dw, const float *dy, const float *x, float r, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dw[i] += dy[i] * x[i] * r;
}

static inline void k_adamw(float *p, float *m, float *v, const float *g, const eq_adamw *a,
                           int64_t n) {
    /* Scalars in double first: 1 - beta2 formed in fp32 is off by 1.3e-5, and training shows it. */
    const float b1 = (float)a->beta1, b2 = (float)a->beta2;
    const float c1 = (float)(1.0 - a->beta1), c2 = (float)(1.0 - a->beta2);
    const float keep = (float)(1.0 - a->lr * a->weight_decay), step = (float)(a->lr / a->bias1);
    const float root = (float)sqrt(a->bias2), eps = (float)a->eps, f = (float)a->grad_scale;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * f;
        float mi = b1 * m[i] + c1 * gi, vi = b2 * v[i] + c2 * gi * gi;
        mi = fabsf(mi) < EQ_M_LEAST ? 0.0f : mi; /* a NaN stays */
        vi = vi < EQ_V_LEAST ? 0.0f : vi;
        /* step m / (sqrt(v) / root + eps), with one division */
        p[i] = p[i] * keep - step * root * mi / (sqrtf(vi) + eps * root);
        m[i] = mi;
        v[i] = vi;
    }
}
#endif

/* Kernels: sums, dot products and maxima. The lanes of a vector sum are added in an order fixed by
 * the compiled code, so that a result depends on shape and instruction set alone. */
#ifndef EQ_BACKEND_CPU_KERNELS_REDUCE_INC_H
#define EQ_BACKEND_CPU_KERNELS_REDUCE_INC_H
#include <emmintrin.h>
#include <math.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/kernels_math.inc.h"

static inline double k_sum(const float *x, int64_t n) {
    double s = 0.0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += (double)x[i];
    return s;
}

static inline double k_sumsq(const float *x, int64_t n) {
    double s = 0.0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return s;
}

static inline float k_dot(const float *a, const float *b, int64_t n) {
    float s = 0.0f;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* n rows, ld apart, of which `len` elements count: keys and values of one head where they lie. Rows
 * are asked for AHEAD of their turn, as a stride is more than some CPUs foresee. blend adds row
 * after row to y, four of them while y is in registers. */
enum { EQ_ROWS_AHEAD = 8 };
#define EQ_ROWS_ASK(rows, ld, len) \
    for (int64_t i_ = 0; i_ < (len) * (int64_t)sizeof *(rows); i_ += 64) \
        __builtin_prefetch((const char *)((rows) + EQ_ROWS_AHEAD * (ld)) + i_);
#define EQ_ROWS(name, type, f) \
    static inline void k_dots_##name(float *s, const type *rows, const float *x, int64_t n, \
                                     int64_t len, int64_t ld) { \
        for (int64_t j = 0; j < n; j++, rows += ld) { \
            float sum = 0.0f; \
            EQ_ROWS_ASK(rows, ld, len) \
            _Pragma("omp simd reduction(+ : sum)") for (int64_t i = 0; i < len; i++) sum = \
                sum + f(rows[i]) * x[i]; \
            s[j] = sum; \
        } \
    } \
    static inline void k_blend_##name(float *y, const type *rows, const float *w, int64_t n, \
                                      int64_t len, int64_t ld) { \
        int64_t j = 0; \
        for (; j + 4 <= n; j += 4, rows += 4 * ld) { \
            const type *a = rows, *b = a + ld, *c = b + ld, *d = c + ld; \
            EQ_ROWS_ASK(a, ld, len) \
            EQ_ROWS_ASK(b, ld, len) \
            EQ_ROWS_ASK(c, ld, len) \
            EQ_ROWS_ASK(d, ld, len) \
            _Pragma("omp simd") for (int64_t i = 0; i < len; i++) { \
                float sum = y[i] + w[j] * f(a[i]); \
                sum += w[j + 1] * f(b[i]); \
                sum += w[j + 2] * f(c[i]); \
                y[i] = sum + w[j + 3] * f(d[i]); \
            } \
        } \
        for (; j < n; j++, rows += ld) \
            _Pragma("omp simd") for (int64_t i = 0; i < len; i++) y[i] = y[i] + w[j] * f(rows[i]); \
    }
EQ_ROWS(f32, float, )
EQ_ROWS(bf16, uint16_t, eq_bf16_to_f32)
#undef EQ_ROWS
#undef EQ_ROWS_ASK

/* Four quarters side by side, so that no addition waits for the one before. */
#define EQ_ROW_DOT(name, type, f) \
    static inline float name(const type *w, const float *x, int64_t n) { \
        const int64_t q = n / 4; \
        float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f; \
        _Pragma("omp simd reduction(+ : a, b, c, d)") for (int64_t i = 0; i < q; i++) { \
            a += f(w[i]) * x[i]; \
            b += f(w[i + q]) * x[i + q]; \
            c += f(w[i + 2 * q]) * x[i + 2 * q]; \
            d += f(w[i + 3 * q]) * x[i + 3 * q]; \
        } \
        for (int64_t i = 4 * q; i < n; i++) a += f(w[i]) * x[i]; \
        return (a + b) + (c + d); \
    }
EQ_ROW_DOT(k_row_f32, float, )
EQ_ROW_DOT(k_row_bf16, uint16_t, eq_bf16_to_f32)
#undef EQ_ROW_DOT

static inline double k_norm_dot(const float *dy, const float *w, const float *x, int64_t n) {
    double s = 0.0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += (double)dy[i] * w[i] * x[i];
    return s;
}

/* Explicit lanes: clang does not vectorise a maximum that must keep its NaN rule. NaN loses. The
 * lanes meet in SSE2 registers, where a plain loop makes compilers go one by one: a group of 64
 * weights has more of that than of reading. */
#define EQ_EXTREME(name, better, pick, worst) \
    static inline float name(const float *x, int64_t n) { \
        enum { LANES = 32 }; \
        float lane[LANES]; \
        __m128 v[LANES / 8]; \
        int64_t i = 0; \
        for (int l = 0; l < LANES; l++) lane[l] = worst; \
        for (; i + LANES <= n; i += LANES) \
            for (int l = 0; l < LANES; l++) \
                lane[l] = x[i + l] better lane[l] ? x[i + l] : lane[l]; \
        for (int l = 0; i + l < n; l++) lane[l] = x[i + l] better lane[l] ? x[i + l] : lane[l]; \
        for (int l = 0; l < LANES / 8; l++) \
            v[l] = pick(_mm_loadu_ps(lane + LANES / 2 + 4 * l), _mm_loadu_ps(lane + 4 * l)); \
        for (int half = LANES / 16; half; half /= 2) \
            for (int l = 0; l < half; l++) v[l] = pick(v[l + half], v[l]); \
        v[0] = pick(_mm_movehl_ps(v[0], v[0]), v[0]); \
        return _mm_cvtss_f32(pick(_mm_shuffle_ps(v[0], v[0], 1), v[0])); \
    }
EQ_EXTREME(k_max, >, _mm_max_ps, -INFINITY)
EQ_EXTREME(k_min, <, _mm_min_ps, INFINITY)
#undef EQ_EXTREME

static inline double k_mse(float *dy, const float *y, const float *t, float f, int64_t n) {
    double s = 0.0;
    if (dy) {
#pragma omp simd reduction(+ : s)
        for (int64_t i = 0; i < n; i++) {
            float e = y[i] - t[i];
            dy[i] = e * f;
            s += (double)e * (double)e;
        }
    } else {
#pragma omp simd reduction(+ : s)
        for (int64_t i = 0; i < n; i++) {
            float e = y[i] - t[i];
            s += (double)e * (double)e;
        }
    }
    return s;
}

static inline float k_exp_sum(const float *x, float top, int64_t n) {
    float s = 0.0f;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += vec_expf(x[i] - top);
    return s;
}

static inline float k_softmax(float *y, const float *x, float f, float top, int64_t n) {
    float s = 0.0f;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) {
        float e = vec_expf(x[i] * f - top);
        y[i] = e;
        s += e;
    }
    return s;
}
#endif

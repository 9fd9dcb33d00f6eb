/* Kernels: the number format (METHOD section 1, paper equations (1) and (2)).
 * Invariant: codes and w_hat are the very numbers of quant/number.h, bit for bit. */
#ifndef EQ_BACKEND_CPU_KERNELS_QUANT_INC_H
#define EQ_BACKEND_CPU_KERNELS_QUANT_INC_H
#include "backend/cpu/kernels.h"
#include "quant/act8.h"
#include "quant/number.h"

/* Walks over the groups of n weights: weights [i, i + run) are of group k. */
#define EQ_EACH_GROUP(i, run, k, g, n) \
    for (int64_t i = 0, k = 0, run = whole((g).G - (g).off < (n) ? (g).G - (g).off : (n)); \
         i < (n); i += run, k++, run = whole((g).G < (n)-i ? (g).G : (n)-i))

/* Tells the compiler that no loop has a remainder. */
static inline int64_t whole(int64_t n) { return n & ~(int64_t)31; }

/* s' of a group of weights, which are looked at only where the step is low. */
static inline float k_fq_step(float s, const float *w, int64_t G) {
    float most = 0.0f;
    if (s < EQ_S_MIN)
        for (int64_t i = 0; i < G; i++) most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    return eq_s_used(s, most);
}

static inline void k_fq_fwd(float *w_hat, const float *w, eq_groups g, int64_t n) {
    const float top = eq_q_max(g.bits);
    EQ_EACH_GROUP(i, run, k, g, n) {
        const float s = k_fq_step(g.s[k], k ? w + i : w - g.off, g.G);
        const float z = eq_z_used(g.z[k], g.bits, g.grid);
#pragma omp simd
        for (int64_t j = i; j < i + run; j++)
            w_hat[j] = (eq_clampf(eq_code(w[j], s, z), 0.0f, top) - z) * s;
    }
}

static inline void k_fq_code(uint8_t *q, const float *w, eq_groups g, int64_t n) {
    const float top = eq_q_max(g.bits);
    EQ_EACH_GROUP(i, run, k, g, n) {
        const float s = g.s[k], z = g.z[k];
#pragma omp simd
        for (int64_t j = 0; j < run; j++)
            q[i + j] = (uint8_t)(int32_t)eq_clampf(eq_code(w[i + j], s, z), 0.0f, top);
    }
}

/* One group of METHOD's table of gradients, dw left out if NULL. */
static inline void fq_bwd_group(float *dw, float *ds, float *dz, const float *dw_hat,
                                const float *w, float s, float z, float top, int64_t n) {
    float sum_s = 0.0f, sum_z = 0.0f;
    n = whole(n);
#define EQ_FQ_BWD(STORE) \
    _Pragma("omp simd reduction(+ : sum_s, sum_z)") for (int64_t i = 0; i < n; i++) { \
        float d = dw_hat[i], x = w[i] / s, r = rintf(x), t = r + z; \
        bool inside = t >= 0.0f && t <= top; \
        float outside = t < 0.0f ? -z : top - z; \
        sum_s += d * (inside ? r - x : outside); \
        sum_z += inside ? 0.0f : d; \
        STORE \
    }
    if (dw) {
        EQ_FQ_BWD(dw[i] = inside ? d : 0.0f;)
    } else {
        EQ_FQ_BWD()
    }
#undef EQ_FQ_BWD
    *ds = sum_s;
    *dz = -s * sum_z;
}

static inline void k_fq_bwd(float *dw, float *ds, float *dz, const float *dw_hat, const float *w,
                            eq_groups g, int64_t n) {
    EQ_EACH_GROUP(i, run, k, g, n) {
        float gs, gz;
        fq_bwd_group(dw ? dw + i : NULL, &gs, &gz, dw_hat + i, w + i, k_fq_step(g.s[k], w + i, g.G),
                     eq_z_used(g.z[k], g.bits, g.grid), eq_q_max(g.bits), run);
        if (ds) ds[k] = gs;
        if (dz) dz[k] = gz;
    }
}

/* y[j] = (w_int[j] - z) * s for `per` values whose bits begin at the low end of e. */
#define EQ_DEQUANT(y, e, bits, per) \
    do { \
        const uint32_t e_ = (e); \
        _Pragma("omp simd") for (int j_ = 0; j_ < (per); j_++) { \
            int32_t code = (int32_t)(e_ >> ((bits)*j_) & ((1u << (bits)) - 1u)); \
            (y)[j_] = ((float)code - z) * s; \
        } \
    } while (0)

/* 32 values are N words; words of 3 bits are cut into four runs of 24 bits. */
static inline void dequant_run(float *y, const uint32_t *w, float s, float z, int bits, int64_t n) {
    n = whole(n);
    if (bits == 2) {
        for (int64_t i = 0; i < n; i += 16) EQ_DEQUANT(y + i, w[i / 16], 2, 16);
    } else if (bits == 3) {
        for (int64_t i = 0; i < n; i += 32, w += 3) {
            EQ_DEQUANT(y + i, w[0], 3, 8);
            EQ_DEQUANT(y + i + 8, w[0] >> 24 | w[1] << 8, 3, 8);
            EQ_DEQUANT(y + i + 16, w[1] >> 16 | w[2] << 16, 3, 8);
            EQ_DEQUANT(y + i + 24, w[2] >> 8, 3, 8);
        }
    } else if (bits == 4) {
        for (int64_t i = 0; i < n; i += 8) EQ_DEQUANT(y + i, w[i / 8], 4, 8);
    } else {
        const uint8_t *code = (const uint8_t *)w;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = ((float)(int32_t)code[i] - z) * s;
    }
}
#undef EQ_DEQUANT

static inline void k_dequant(float *w_hat, const uint32_t *words, eq_groups g, int64_t n) {
    EQ_EACH_GROUP(i, run, k, g, n)
    dequant_run(w_hat + i, words + i / 32 * g.bits, g.s[k], g.z[k], g.bits, run);
}

static inline void k_dequant_bwd(float *ds, float *dz, const float *dw_hat, const uint32_t *words,
                                 eq_groups g, int64_t n) {
    enum { PIECE = 256 };
    EQ_EACH_GROUP(i, run, k, g, n) {
        float sum_s = 0.0f, sum_z = 0.0f;
        for (int64_t p = i; p < i + run; p += PIECE) {
            float u[PIECE]; /* w_int - z */
            int64_t m = whole(i + run - p < PIECE ? i + run - p : PIECE);
            dequant_run(u, words + p / 32 * g.bits, 1.0f, g.z[k], g.bits, m);
#pragma omp simd reduction(+ : sum_s, sum_z)
            for (int64_t j = 0; j < m; j++) {
                sum_s += u[j] * dw_hat[p + j];
                sum_z += dw_hat[p + j];
            }
        }
        if (ds) ds[k] += sum_s;
        if (dz) dz[k] -= g.s[k] * sum_z;
    }
}

static inline float k_act8(int8_t *code, int32_t *sum, const float *x, int64_t n) {
    float step = eq_act8(code, x, n);
    int32_t s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += code[i];
    *sum = s;
    return step;
}
#undef EQ_EACH_GROUP
#endif

/* Kernels: the number format (METHOD section 1, paper equations (1) and (2)) over a group.
 * Invariant: codes and w_hat are the very numbers of quant/number.h, bit for bit. */
#ifndef EQ_BACKEND_CPU_KERNELS_QUANT_INC_H
#define EQ_BACKEND_CPU_KERNELS_QUANT_INC_H
#include <string.h>

#include "backend/cpu/kernels.h"
#include "quant/number.h"

static inline void k_fq_fwd(float *w_hat, const float *w, eq_group g, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        w_hat[i] = (eq_clampf(eq_code(w[i], g.s, g.z), 0.0f, g.top) - g.z) * g.s;
}

static inline void k_fq_code(uint8_t *q, const float *w, eq_group g, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        q[i] = (uint8_t)(int32_t)eq_clampf(eq_code(w[i], g.s, g.z), 0.0f, g.top);
}

/* METHOD's table of gradients, summed over the group; dw may be dw_hat or NULL. */
static inline void k_fq_bwd(float *dw, float *ds, float *dz, const float *dw_hat, const float *w,
                            eq_group g, int64_t n) {
    float sum_s = 0.0f, sum_z = 0.0f;
#define EQ_FQ_BWD(STORE) \
    _Pragma("omp simd reduction(+ : sum_s, sum_z)") for (int64_t i = 0; i < n; i++) { \
        float d = dw_hat[i], x = w[i] / g.s, r = rintf(x), t = r + g.z; \
        bool inside = t >= 0.0f && t <= g.top; \
        float outside = t < 0.0f ? -g.z : g.top - g.z; \
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
    *dz = -g.s * sum_z;
}

/* Eight N-bit values are N bytes of the stream for every N, so one step serves all widths. */
#define EQ_UNPACK(name, bits, per) \
    static inline void name(float *q, const char *in, int64_t n) { \
        for (int64_t i = 0; i < n; i += (per), in += (per) * (bits) / 8) { \
            uint32_t e = 0; \
            memcpy(&e, in, (per) * (bits) / 8); \
            for (int j = 0; j < (per); j++) \
                q[i + j] = (float)(int32_t)(e >> ((bits)*j) & ((1u << (bits)) - 1u)); \
        } \
    }
EQ_UNPACK(unpack2, 2, 16)
EQ_UNPACK(unpack3, 3, 8)
EQ_UNPACK(unpack4, 4, 8)
#undef EQ_UNPACK

static inline void k_unpack(float *q, const uint32_t *words, int bits, int64_t n) {
    const uint8_t *in = (const uint8_t *)words;
    if (bits == 2) {
        unpack2(q, (const char *)in, n);
    } else if (bits == 3) {
        unpack3(q, (const char *)in, n);
    } else if (bits == 4) {
        unpack4(q, (const char *)in, n);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) q[i] = (float)(int32_t)in[i];
    }
}

static inline void k_dequant(float *w_hat, const float *q, eq_group g, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) w_hat[i] = (q[i] - g.z) * g.s;
}

static inline void k_dequant_bwd(float *ds, float *dz, const float *dw_hat, const float *q,
                                 eq_group g, int64_t n) {
    float sum_s = 0.0f, sum_z = 0.0f;
#pragma omp simd reduction(+ : sum_s, sum_z)
    for (int64_t i = 0; i < n; i++) {
        sum_s += (q[i] - g.z) * dw_hat[i];
        sum_z += dw_hat[i];
    }
    *ds = sum_s;
    *dz = -g.s * sum_z;
}
#endif

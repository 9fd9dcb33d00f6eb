/* AdamW of one element, for the kernels that step. */
#ifndef EQ_BACKEND_CUDA_ADAMW_CUH
#define EQ_BACKEND_CUDA_ADAMW_CUH
#include <math.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/ptx.cuh"

typedef struct {
    float b1, b2, c1, c2; /* betas and 1 - betas */
    float keep, rate;     /* p keep - rate m / (sqrt(v) + eps) */
    float eps, scale;     /* scale of the gradient */
} eq_adamw_rates;

/* lr / bias1 m / (sqrt(v) / root + eps), root = sqrt(bias2), with one division */
static inline eq_adamw_rates eq_adamw_rates_of(const eq_adamw *a) {
    double root = sqrt(a->bias2);
    eq_adamw_rates r;
    r.b1 = (float)a->beta1, r.b2 = (float)a->beta2;
    r.c1 = (float)(1.0 - a->beta1), r.c2 = (float)(1.0 - a->beta2);
    r.keep = (float)(1.0 - a->lr * a->weight_decay);
    r.rate = (float)(a->lr / a->bias1 * root), r.eps = (float)(a->eps * root);
    r.scale = (float)a->grad_scale;
    return r;
}

static __device__ __forceinline__ void eq_adamw_one(float *p, float *m, float *v, float g,
                                                    const eq_adamw_rates &a) {
    g *= a.scale;
    float mi = a.b1 * *m + a.c1 * g, vi = a.b2 * *v + a.c2 * g * g;
    *m = fabsf(mi) < EQ_M_LEAST ? 0.0f : mi; /* a NaN stays */
    *v = vi < EQ_V_LEAST ? 0.0f : vi;
    *p = *p * a.keep - eq_ptx_div(a.rate * *m, eq_ptx_sqrt(*v) + a.eps);
}
#endif

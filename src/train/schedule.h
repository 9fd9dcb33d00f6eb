/* Learning rates by step (METHOD sections 2 and 3). k counts from 0, n is the number of steps. */
#ifndef EQ_TRAIN_SCHEDULE_H
#define EQ_TRAIN_SCHEDULE_H
#include <math.h>
#include <stdint.h>

#include "backend/backend.h"

#define EQ_PI 3.14159265358979323846

/* Block-AP: cosine from lr to lr / factor over all n steps, no warm-up. */
static inline double eq_lr_cosine(double lr, double factor, int64_t k, int64_t n) {
    double lo = lr / factor;
    return lo + (lr - lo) * 0.5 * (1 + cos(EQ_PI * (double)k / (double)n));
}

/* E2E-QP: w = ceil(share * n) steps of linear warm-up that reach lr at step w - 1, cosine to 0. */
static inline double eq_lr_warmup_cosine(double lr, double share, int64_t k, int64_t n) {
    int64_t w = (int64_t)ceil(share * (double)n - 1e-9);
    if (k < w) return lr * (double)(k + 1) / (double)w;
    return lr * 0.5 * (1 + cos(EQ_PI * (double)(k - w) / (double)(n - w)));
}
/* AdamW as the paper uses it (betas 0.9 and 0.999, eps 1e-8, no decay); step counts from 1. */
static inline eq_adamw eq_adamw_at(double lr, int64_t step, double grad_scale) {
    const double b1 = 0.9, b2 = 0.999, t = (double)step;
    return (eq_adamw){.lr = lr,
                      .beta1 = b1,
                      .beta2 = b2,
                      .eps = 1e-8,
                      .bias1 = 1 - pow(b1, t),
                      .bias2 = 1 - pow(b2, t),
                      .grad_scale = grad_scale};
}
#endif

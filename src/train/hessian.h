/* The factor that GPTQ compensates by (Frantar et al., arXiv 2210.17323): of H = X^T X, damped, the
 * upper triangular U with H^-1 = U^T U. In double on the host. */
#ifndef EQ_TRAIN_HESSIAN_H
#define EQ_TRAIN_HESSIAN_H
#include "base/err.h"

/* h [n, n] symmetric, used up. Its diagonal gets `damp` times its own mean added; an input that is
 * always 0 counts as 1 there, and dead[i] says so. u [n, n] F32, 0 below the diagonal. Where that
 * is not positive definite, ten times the damping is tried, three times; *used is what it took. */
eq_status eq_hessian_factor(float *u, bool *dead, double *h, int64_t n, double damp, double *used,
                            eq_err *err);
#endif

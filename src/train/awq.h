/* AWQ (Lin et al., arXiv 2306.00978) for linears that share an input: a scale for each of its
 * channels, by which the weights are multiplied before they are rounded and the input is divided
 * beforehand, so that channels with large inputs lose less; and ranges that are clipped where that
 * changes the outputs less. Errors of outputs are tr(E H E^T) with H = X^T X, E what rounding
 * changes. */
#ifndef EQ_TRAIN_AWQ_H
#define EQ_TRAIN_AWQ_H
#include "backend/backend.h"

enum {
    EQ_AWQ_RATIOS = 20, /* exponents tried: 0, 1/20, .. 19/20 */
    EQ_AWQ_CLIPS = 10   /* shares of a group's largest |weight| tried: 1, 19/20, .. 11/20 */
};

typedef struct {
    const float *w; /* [O, I] */
    eq_qshape q;
} eq_awq_linear;

typedef struct {
    double ratio;          /* the exponent; 0: no scales */
    double error, rounded; /* of all linears' outputs with it and without, squared */
} eq_awq_choice;

/* scale [I]: mean^ratio over the root of its largest times its least, for the ratio of least error.
 * mean [I]: of the input's magnitude; h: F32 [I, I] on the backend. */
eq_status eq_awq_scale(eq_backend *be, float *scale, eq_awq_choice *found, const eq_awq_linear *l,
                       int n, const double *mean, eq_view h, eq_err *err);
/* w [O, I], in/out: each group's weights come within the share of its largest for which rounding
 * them changes its part of the output least. h: host [I, I], of the inputs that w meets. */
eq_status eq_awq_clip(eq_backend *be, float *w, eq_qshape q, const float *h, eq_err *err);
/* Memory of either, for a linear of this shape: host and backend together. */
int64_t eq_awq_bytes(int64_t O, int64_t I);
#endif

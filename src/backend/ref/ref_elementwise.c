/* Reference: fill, cast, sums of tensors, gated activations, caps, rows without their mean.
 * Invariant: a row's inputs (elsewhere: element i's) are read before its outputs are written, so an
 * output may be one of the inputs where backend.h says so. */
#include <math.h>

#include "backend/ref/ref.h"

static void fill(eq_backend *be, eq_mut y, float v) {
    (void)be;
    for (int64_t i = 0; i < y.n; i++) eq_put(y, i, v);
}

static void cast(eq_backend *be, eq_mut y, eq_view x) {
    (void)be;
    eq_convert(y.p, y.dt, x.p, x.dt, y.n);
}

static void add(eq_backend *be, eq_mut y, eq_view a, eq_view b) {
    (void)be;
    for (int64_t i = 0; i < y.n; i++) eq_put(y, i, eq_get(a, i) + eq_get(b, i));
}

static void bias_add(eq_backend *be, eq_mut y, eq_view b, int64_t rows, int64_t cols) {
    (void)be;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            eq_put(y, r * cols + c, eq_get(eq_ro(y), r * cols + c) + eq_get(b, c));
}

static void affine(eq_backend *be, eq_mut y, eq_view x, float mul, float plus) {
    (void)be;
    for (int64_t i = 0; i < y.n; i++) eq_put(y, i, (double)mul * eq_get(x, i) + (double)plus);
}

static void softcap(eq_backend *be, eq_mut y, eq_view x, float cap) {
    (void)be;
    for (int64_t i = 0; i < y.n; i++) eq_put(y, i, (double)cap * tanh(eq_get(x, i) / (double)cap));
}

static void center(eq_backend *be, eq_mut y, eq_view x, int64_t rows, int64_t D) {
    (void)be;
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0.0;
        for (int64_t d = 0; d < D; d++) sum += eq_get(x, r * D + d);
        for (int64_t d = 0; d < D; d++)
            eq_put(y, r * D + d, eq_get(x, r * D + d) - sum / (double)D);
    }
}

/* An activation is x p(x): silu p = sigmoid(x); gelu, in its form with tanh, p = (1 + tanh(v)) / 2
 * = sigmoid(2 v) with v = sqrt(2/pi) (x + 0.044715 x^3). So its derivative is p (1 + x (1 - p) u')
 * with u = x, or u = 2 v. */
static double gate(eq_act act, double x, double *du) {
    const double a = 2.0 * 0.79788456080286535588, b = 0.044715;
    *du = act == EQ_ACT_SILU ? 1.0 : a * (1.0 + 3.0 * b * x * x);
    return 1.0 / (1.0 + exp(act == EQ_ACT_SILU ? -x : -a * (x + b * x * x * x)));
}

static void glu_fwd(eq_backend *be, eq_mut h, eq_view g, eq_view u, eq_act act) {
    (void)be;
    double slope;
    for (int64_t i = 0; i < h.n; i++) {
        double gi = eq_get(g, i);
        eq_put(h, i, gi * gate(act, gi, &slope) * eq_get(u, i));
    }
}

static void glu_bwd(eq_backend *be, eq_mut dg, eq_mut du, eq_view dh, eq_view g, eq_view u,
                    eq_act act) {
    (void)be;
    double slope;
    for (int64_t i = 0; i < dg.n; i++) {
        double gi = eq_get(g, i), ui = eq_get(u, i), d = eq_get(dh, i), p = gate(act, gi, &slope);
        eq_put(dg, i, d * ui * p * (1.0 + gi * (1.0 - p) * slope));
        eq_put(du, i, d * gi * p);
    }
}

void eq_ref_elementwise(eq_ops *ops) {
    ops->fill = fill;
    ops->cast = cast;
    ops->add = add;
    ops->bias_add = bias_add;
    ops->affine = affine;
    ops->softcap = softcap;
    ops->center = center;
    ops->glu_fwd = glu_fwd;
    ops->glu_bwd = glu_bwd;
}

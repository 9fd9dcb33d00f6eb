/* Reference: fill, cast, sums of tensors, SwiGLU.
 * Invariant: element i of an output depends on element i of the inputs only, so an output may be
 * one of the inputs where backend.h says so. */
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

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static void swiglu_fwd(eq_backend *be, eq_mut h, eq_view g, eq_view u) {
    (void)be;
    for (int64_t i = 0; i < h.n; i++) {
        double gi = eq_get(g, i);
        eq_put(h, i, gi * sigmoid(gi) * eq_get(u, i));
    }
}

/* silu(g) = g sigmoid(g), silu'(g) = sigmoid(g) (1 + g (1 - sigmoid(g))) */
static void swiglu_bwd(eq_backend *be, eq_mut dg, eq_mut du, eq_view dh, eq_view g, eq_view u) {
    (void)be;
    for (int64_t i = 0; i < dg.n; i++) {
        double gi = eq_get(g, i), ui = eq_get(u, i), d = eq_get(dh, i), p = sigmoid(gi);
        eq_put(dg, i, d * ui * p * (1.0 + gi * (1.0 - p)));
        eq_put(du, i, d * gi * p);
    }
}

void eq_ref_elementwise(eq_ops *ops) {
    ops->fill = fill;
    ops->cast = cast;
    ops->add = add;
    ops->bias_add = bias_add;
    ops->swiglu_fwd = swiglu_fwd;
    ops->swiglu_bwd = swiglu_bwd;
}

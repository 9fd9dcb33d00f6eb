/* Reference: RMSNorm, y_i = x_i r w_i with r = (mean(x^2) + eps)^(-1/2), and its derivative
 *     dx_i = r w_i dy_i - x_i r^3 / D * sum_j dy_j w_j x_j,    dw_j = sum over rows of dy_j x_j r.
 * Invariant: dw is complete before dx is written, because dx may lie on dy. */
#include <math.h>

#include "backend/ref/ref.h"

static void rmsnorm_fwd(eq_backend *be, eq_mut y, eq_mut rstd, eq_view x, eq_view w, int64_t rows,
                        int64_t D, float eps) {
    (void)be;
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0.0;
        for (int64_t d = 0; d < D; d++) sum += eq_get(x, r * D + d) * eq_get(x, r * D + d);
        double rs = 1.0 / sqrt(sum / (double)D + (double)eps);
        eq_put(rstd, r, rs);
        for (int64_t d = 0; d < D; d++)
            eq_put(y, r * D + d, eq_get(x, r * D + d) * rs * eq_get(w, d));
    }
}

static void weight_grad(eq_mut dw, eq_view dy, eq_view x, eq_view rstd, int64_t rows, int64_t D,
                        int64_t per) {
    for (int64_t d = 0; d < D; d++) {
        float all = 0.0f;
        for (int64_t from = 0; from < rows; from += per) {
            double sum = 0.0;
            for (int64_t r = from; r < from + per; r++)
                sum += eq_get(dy, r * D + d) * eq_get(x, r * D + d) * eq_get(rstd, r);
            all = from ? all + (float)sum : (float)sum;
        }
        eq_store(dw.p, dw.dt, d, all);
    }
}

static void rmsnorm_bwd(eq_backend *be, eq_mut dx, eq_mut dw, eq_view dy, eq_view x, eq_view w,
                        eq_view rstd, int64_t rows, int64_t D, int64_t per, int acc) {
    (void)be;
    if (dw.n) weight_grad(dw, dy, x, rstd, rows, D, per);
    if (!dx.n) return;
    for (int64_t r = 0; r < rows; r++) {
        double rs = eq_get(rstd, r), dot = 0.0;
        for (int64_t d = r * D; d < (r + 1) * D; d++)
            dot += eq_get(dy, d) * eq_get(w, d - r * D) * eq_get(x, d);
        double back = rs * rs * rs / (double)D * dot;
        for (int64_t d = r * D; d < (r + 1) * D; d++) {
            double g = rs * eq_get(w, d - r * D) * eq_get(dy, d) - back * eq_get(x, d);
            eq_put(dx, d, acc ? eq_get(eq_ro(dx), d) + g : g);
        }
    }
}

void eq_ref_norm(eq_ops *ops) {
    ops->rmsnorm_fwd = rmsnorm_fwd;
    ops->rmsnorm_bwd = rmsnorm_bwd;
}

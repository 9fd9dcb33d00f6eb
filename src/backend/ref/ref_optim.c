/* Reference: one step of AdamW with decoupled weight decay (Loshchilov and Hutter, 2019), in the
 * order in which PyTorch applies decay, moments and update.
 * Invariant: a zero gradient on zero moments moves p by the decay only. */
#include <math.h>

#include "backend/ref/ref.h"

static void adamw(eq_backend *be, eq_mut p, eq_mut m, eq_mut v, eq_view g, eq_adamw a) {
    (void)be;
    for (int64_t i = 0; i < p.n; i++) {
        double gi = eq_get(g, i) * a.grad_scale;
        double pi = eq_get(eq_ro(p), i) * (1.0 - a.lr * a.weight_decay);
        double mi = a.beta1 * eq_get(eq_ro(m), i) + (1.0 - a.beta1) * gi;
        double vi = a.beta2 * eq_get(eq_ro(v), i) + (1.0 - a.beta2) * gi * gi;
        if (fabs(mi) < (double)EQ_M_LEAST) mi = 0.0;
        if (vi < (double)EQ_V_LEAST) vi = 0.0;
        eq_put(m, i, mi);
        eq_put(v, i, vi);
        eq_put(p, i, pi - a.lr / a.bias1 * mi / (sqrt(vi) / sqrt(a.bias2) + a.eps));
    }
}

void eq_ref_optim(eq_ops *ops) { ops->adamw = adamw; }

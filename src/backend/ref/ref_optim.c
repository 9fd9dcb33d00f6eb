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

void eq_fq_step_plain(eq_backend *be, eq_mut w_hat, eq_mut w, eq_mut mw, eq_mut vw, eq_mut s,
                      eq_mut ms, eq_mut vs, eq_mut z, eq_mut mz, eq_mut vz, eq_mut dw, eq_mut ds,
                      eq_mut dz, eq_qshape q, eq_adamw aw, eq_adamw aq) {
    if (!ms.n) ds = EQ_NONE_MUT;
    if (!mz.n) dz = EQ_NONE_MUT;
    EQ_DO(be, fq_bwd, mw.n ? dw : EQ_NONE_MUT, ds, dz, eq_ro(dw), eq_ro(w), eq_ro(s), eq_ro(z), q);
    if (mw.n) EQ_DO(be, adamw, w, mw, vw, eq_ro(dw), aw);
    if (ms.n) EQ_DO(be, adamw, s, ms, vs, eq_ro(ds), aq);
    if (mz.n) EQ_DO(be, adamw, z, mz, vz, eq_ro(dz), aq);
    if (w_hat.n) EQ_DO(be, fq_fwd, w_hat, eq_ro(w), eq_ro(s), eq_ro(z), q);
}

void eq_ref_optim(eq_ops *ops) {
    ops->adamw = adamw;
    ops->fq_step = eq_fq_step_plain;
}

/* Reference: the losses with their derivatives, and the sums that clipping and means need.
 * Invariant: a derivative that is not wanted (n == 0) is never touched. */
#include <math.h>

#include "backend/ref/ref.h"

static void mse(eq_backend *be, eq_mut loss, eq_mut dy, eq_view y, eq_view t) {
    (void)be;
    int64_t n = y.n / loss.n;
    for (int64_t b = 0; b < loss.n; b++) {
        double sum = 0.0;
        for (int64_t i = b * n; i < (b + 1) * n; i++) {
            double e = eq_get(y, i) - eq_get(t, i);
            sum += e * e;
            if (dy.n) eq_put(dy, i, 2.0 * e / (double)y.n);
        }
        eq_put(loss, b, sum / (double)n);
    }
}

static double logsumexp(eq_view x, int64_t from, int64_t n) {
    double top = -INFINITY, sum = 0.0;
    for (int64_t i = from; i < from + n; i++) top = fmax(top, eq_get(x, i));
    for (int64_t i = from; i < from + n; i++) sum += exp(eq_get(x, i) - top);
    return top + log(sum);
}

static void cross_entropy(eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits,
                          eq_view targets, int64_t rows, int64_t V, float scale, float cap) {
    (void)be;
    const int32_t *target = targets.p;
    for (int64_t r = 0; r < rows; r++) {
        int64_t from = r * V, t = target[r];
        double lse = logsumexp(logits, from, V);
        eq_put(loss, r, t < 0 ? 0.0 : lse - eq_get(logits, from + t));
        if (!dlogits.n) continue;
        for (int64_t i = 0; i < V; i++) {
            double x = eq_get(logits, from + i), p = exp(x - lse) - (i == t ? 1.0 : 0.0);
            double tanh_ = cap > 0.0f ? x / (double)cap : 0.0;
            eq_put(dlogits, from + i, t < 0 ? 0.0 : p * (double)scale * (1.0 - tanh_ * tanh_));
        }
    }
}

static void divergence(eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits, eq_view teacher,
                       eq_view targets, int64_t rows, int64_t V, float scale, float cap) {
    (void)be;
    const int32_t *target = targets.p;
    for (int64_t r = 0; r < rows; r++) {
        int64_t from = r * V;
        double lq = logsumexp(logits, from, V), lp = logsumexp(teacher, from, V), sum = 0.0;
        for (int64_t i = from; i < from + V; i++) {
            double x = eq_get(logits, i), log_p = eq_get(teacher, i) - lp, p = exp(log_p);
            double tanh_ = cap > 0.0f ? x / (double)cap : 0.0;
            double d = (exp(x - lq) - p) * (double)scale * (1.0 - tanh_ * tanh_);
            sum += p > 0.0 ? p * (log_p - (x - lq)) : 0.0;
            if (dlogits.n) eq_put(dlogits, i, target[r] < 0 ? 0.0 : d);
        }
        eq_put(loss, r, target[r] < 0 ? 0.0 : sum);
    }
}

static void sumsq(eq_backend *be, eq_mut acc, eq_view x) {
    (void)be;
    double s = 0.0;
    for (int64_t i = 0; i < x.n; i++) s += eq_get(x, i) * eq_get(x, i);
    *(double *)acc.p += s;
}

static void sum(eq_backend *be, eq_mut acc, eq_view x) {
    (void)be;
    double s = 0.0;
    for (int64_t i = 0; i < x.n; i++) s += eq_get(x, i);
    *(double *)acc.p += s;
}

void eq_ref_loss(eq_ops *ops) {
    ops->mse = mse;
    ops->cross_entropy = cross_entropy;
    ops->divergence = divergence;
    ops->sumsq = sumsq;
    ops->sum = sum;
}

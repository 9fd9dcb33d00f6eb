/* The two losses with their derivatives, and sums over tensors.
 * Invariant: every sum is a sum of pieces cut by shape, each in double, added in rising order. */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/par.h"

typedef struct {
    const eq_kernels *k;
    eq_mut dy;
    eq_view y, t;
    float f;
    enum { SUM, SUMSQ, MSE } kind;
    double *partial; /* one for each piece */
} sum_job;

static double chunk_sum(const sum_job *j, int64_t at, int64_t n) {
    float by[EQ_CHUNK], bt[EQ_CHUNK], bd[EQ_CHUNK];
    const float *y = eq_chunk_in(j->k, j->y, at, n, by);
    if (j->kind == SUM) return j->k->sum(y, n);
    if (j->kind == SUMSQ) return j->k->sumsq(y, n);
    const float *t = eq_chunk_in(j->k, j->t, at, n, bt);
    if (!j->dy.n) return j->k->mse(NULL, y, t, 0.0f, n);
    float *dy = eq_chunk_at(j->dy, at, bd);
    double s = j->k->mse(dy, y, t, j->f, n);
    eq_chunk_out(j->k, j->dy, at, n, dy);
    return s;
}

static void sum_piece(void *ctx, int64_t item, int thread) {
    (void)thread;
    const sum_job *j = ctx;
    int64_t end = eq_least((item + 1) * EQ_PIECE, j->y.n);
    double s = 0.0;
    for (int64_t at = item * EQ_PIECE; at < end; at += EQ_CHUNK)
        s += chunk_sum(j, at, eq_least(EQ_CHUNK, end - at));
    j->partial[item] = s;
}

static double run_sum(eq_backend *be, sum_job *j) {
    int64_t items = eq_parts(j->y.n, EQ_PIECE);
    j->k = eq_cpu_of(be)->k;
    j->partial = (double *)(void *)eq_cpu_scratch(be, 0, items * (int64_t)sizeof(double)).shared;
    if (!j->partial) return 0.0;
    eq_par_for(items, sum_piece, j);
    double s = 0.0;
    for (int64_t i = 0; i < items; i++) s += j->partial[i];
    return s;
}

static void mse(eq_backend *be, eq_mut loss, eq_mut dy, eq_view y, eq_view t) {
    double n = (double)y.n,
           s = run_sum(be,
                       &(sum_job){.kind = MSE, .dy = dy, .y = y, .t = t, .f = (float)(2.0 / n)});
    eq_store(loss.p, loss.dt, 0, (float)(s / n));
}
static void sumsq(eq_backend *be, eq_mut acc, eq_view x) {
    *(double *)acc.p += run_sum(be, &(sum_job){.kind = SUMSQ, .y = x});
}
static void sum(eq_backend *be, eq_mut acc, eq_view x) {
    *(double *)acc.p += run_sum(be, &(sum_job){.kind = SUM, .y = x});
}

/* ---- cross-entropy over a large vocabulary --------------------------------------------------- */

typedef struct {
    const eq_kernels *k;
    float *loss;
    eq_mut dlogits;
    const float *logits;
    const int32_t *targets;
    int64_t rows, V;
    float scale;
} ce_job;

static void ce_grad(const ce_job *j, int64_t row, float top, double sum, double at_target) {
    const float *x = j->logits + row * j->V;
    float buf[EQ_CHUNK], f = (float)((double)j->scale / sum);
    for (int64_t c = 0; c < j->V; c += EQ_CHUNK) {
        int64_t n = eq_least(EQ_CHUNK, j->V - c), at = row * j->V + c;
        float *d = eq_chunk_at(j->dlogits, at, buf);
        j->k->exp_scale(d, x + c, top, f, n);
        eq_chunk_out(j->k, j->dlogits, at, n, d);
    }
    /* p - 1 by expm1: near p = 1 the difference of two floats would have no digits left */
    eq_store(j->dlogits.p, j->dlogits.dt, row * j->V + j->targets[row],
             (float)(expm1(at_target) * (double)j->scale));
}

static void ce_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const ce_job *j = ctx;
    const float *x = j->logits + row * j->V;
    int32_t t = j->targets[row];
    if (t < 0) {
        j->loss[row] = 0.0f;
        int64_t size = eq_dtype_size(j->dlogits.dt);
        if (j->dlogits.n) memset(eq_elem(j->dlogits, row * j->V), 0, (size_t)(j->V * size));
        return;
    }
    float top = j->k->max(x, j->V);
    double s = 0.0;
    for (int64_t c = 0; c < j->V; c += EQ_CHUNK)
        s += (double)j->k->exp_sum(x + c, top, eq_least(EQ_CHUNK, j->V - c));
    double at_target = (double)x[t] - (double)top - log(s);
    j->loss[row] = (float)-at_target;
    if (j->dlogits.n) ce_grad(j, row, top, s, at_target);
}

static void cross_entropy(eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits,
                          eq_view targets, int64_t rows, int64_t V, float scale) {
    ce_job j = {.k = eq_cpu_of(be)->k,
                .loss = loss.p,
                .dlogits = dlogits,
                .logits = logits.p,
                .targets = targets.p,
                .rows = rows,
                .V = V,
                .scale = scale};
    eq_par_for(rows, ce_row, &j);
}

void eq_cpu_loss(eq_ops *ops) {
    ops->mse = mse;
    ops->sumsq = sumsq;
    ops->sum = sum;
    ops->cross_entropy = cross_entropy;
}

/* The losses with their derivatives, and sums over tensors.
 * Invariant: every sum is a sum of pieces cut by shape, each in double, added in rising order;
 * those of a window by its own shape. */
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
    int64_t n, pieces; /* elements and pieces of a window; the whole tensor is one for plain sums */
    double *partial;   /* one for each piece */
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
    int64_t first = item / j->pieces * j->n, piece = item % j->pieces * eq_piece(j->n);
    int64_t end = first + eq_least(piece + eq_piece(j->n), j->n);
    double s = 0.0;
    for (int64_t at = first + piece; at < end; at += EQ_CHUNK)
        s += chunk_sum(j, at, eq_least(EQ_CHUNK, end - at));
    j->partial[item] = s;
}

/* Sums of `windows` equal parts of y in turn, at the start of the returned array; NULL: no memory,
 * noted. */
static const double *run_sums(eq_backend *be, sum_job *j, int64_t windows) {
    j->n = j->y.n / windows;
    j->pieces = j->n ? eq_parts(j->n, eq_piece(j->n)) : 1;
    int64_t items = windows * j->pieces;
    j->k = eq_cpu_of(be)->k;
    j->partial = (double *)(void *)eq_cpu_scratch(be, 0, items * (int64_t)sizeof(double)).shared;
    if (!j->partial) return NULL;
    eq_par_for(items, sum_piece, j);
    for (int64_t w = 0; w < windows; w++) {
        double s = 0.0;
        for (int64_t i = 0; i < j->pieces; i++) s += j->partial[w * j->pieces + i];
        j->partial[w] = s;
    }
    return j->partial;
}

static void mse(eq_backend *be, eq_mut loss, eq_mut dy, eq_view y, eq_view t) {
    sum_job j = {.kind = MSE, .dy = dy, .y = y, .t = t, .f = (float)(2.0 / (double)y.n)};
    const double *s = run_sums(be, &j, loss.n);
    for (int64_t w = 0; s && w < loss.n; w++)
        eq_store(loss.p, loss.dt, w, (float)(s[w] / (double)j.n));
}
static void add_sum(eq_backend *be, eq_mut acc, sum_job *j) {
    const double *s = run_sums(be, j, 1);
    if (s) *(double *)acc.p += *s;
}
static void sumsq(eq_backend *be, eq_mut acc, eq_view x) {
    add_sum(be, acc, &(sum_job){.kind = SUMSQ, .y = x});
}
static void sum(eq_backend *be, eq_mut acc, eq_view x) {
    add_sum(be, acc, &(sum_job){.kind = SUM, .y = x});
}

/* ---- cross-entropy over a large vocabulary --------------------------------------------------- */

typedef struct {
    const eq_kernels *k;
    float *loss;
    eq_mut dlogits;
    const float *logits;
    const int32_t *targets;
    int64_t rows, V;
    float scale, cap;
} ce_job;

static void ce_grad(const ce_job *j, int64_t row, float top, double sum, double at_target) {
    const float *x = j->logits + row * j->V;
    float buf[EQ_CHUNK], bx[EQ_CHUNK], f = (float)((double)j->scale / sum);
    double t = j->cap > 0.0f ? (double)x[j->targets[row]] / (double)j->cap : 0.0;
    for (int64_t c = 0; c < j->V; c += EQ_CHUNK) {
        int64_t n = eq_least(EQ_CHUNK, j->V - c), at = row * j->V + c;
        float *d = eq_chunk_at(j->dlogits, at, buf);
        if (j->cap > 0.0f) memcpy(bx, x + c, (size_t)n * sizeof *bx); /* d may be x */
        j->k->exp_scale(d, x + c, top, f, n);
        if (j->cap > 0.0f) j->k->softcap_bwd(d, bx, j->cap, n);
        eq_chunk_out(j->k, j->dlogits, at, n, d);
    }
    /* p - 1 by expm1: near p = 1 the difference of two floats would have no digits left */
    eq_store(j->dlogits.p, j->dlogits.dt, row * j->V + j->targets[row],
             (float)(expm1(at_target) * (double)j->scale * (1.0 - t * t)));
}

/* Of one row: its largest, and the sum of exp(x - top). */
static double exp_sum(const eq_kernels *k, const float *x, int64_t V, float *top) {
    double s = 0.0;
    *top = k->max(x, V);
    for (int64_t c = 0; c < V; c += EQ_CHUNK)
        s += (double)k->exp_sum(x + c, *top, eq_least(EQ_CHUNK, V - c));
    return s;
}

/* Row `row` of [.., V] becomes 0; nothing where no gradient is wanted. */
static void clear_row(eq_mut d, int64_t row, int64_t V) {
    if (d.n) memset(eq_elem(d, row * V), 0, (size_t)(V * eq_dtype_size(d.dt)));
}

static void ce_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const ce_job *j = ctx;
    const float *x = j->logits + row * j->V;
    int32_t t = j->targets[row];
    if (t < 0) {
        j->loss[row] = 0.0f;
        clear_row(j->dlogits, row, j->V);
        return;
    }
    float top;
    double s = exp_sum(j->k, x, j->V, &top), at_target = (double)x[t] - (double)top - log(s);
    j->loss[row] = (float)-at_target;
    if (j->dlogits.n) ce_grad(j, row, top, s, at_target);
}

static void cross_entropy(eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits,
                          eq_view targets, int64_t rows, int64_t V, float scale, float cap) {
    ce_job j = {.k = eq_cpu_of(be)->k,
                .loss = loss.p,
                .dlogits = dlogits,
                .logits = logits.p,
                .targets = targets.p,
                .rows = rows,
                .V = V,
                .scale = scale,
                .cap = cap};
    eq_par_for(rows, ce_row, &j);
}

/* ---- divergence from a teacher ----------------------------------------------------------------
 */

typedef struct {
    const eq_kernels *k;
    float *loss;
    eq_mut dlogits;
    const float *logits, *teacher;
    const int32_t *targets;
    int64_t V;
    float scale, cap;
} kl_job;

/* p log(p / q) of n numbers, whose p stand in p; apart: log(p / q) less (t - x). */
static double kl_sum(const float *p, const float *t, const float *x, double apart, int64_t n) {
    double s = 0.0;
    for (int64_t i = 0; i < n; i++)
        if (p[i] > 0.0f) s += (double)p[i] * ((double)t[i] - (double)x[i] + apart);
    return s;
}

/* (q - p) scale into d, which may be x; q and p as factors of exp(x - top). */
static void kl_grad(const kl_job *j, float *d, const float *x, const float *p, float top,
                    double sum, int64_t n) {
    float bx[EQ_CHUNK];
    if (j->cap > 0.0f) memcpy(bx, x, (size_t)n * sizeof *bx);
    j->k->exp_scale(d, x, top, (float)(1.0 / sum), n);
    for (int64_t i = 0; i < n; i++) d[i] = (d[i] - p[i]) * j->scale;
    if (j->cap > 0.0f) j->k->softcap_bwd(d, bx, j->cap, n);
}

static void kl_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const kl_job *j = ctx;
    const float *x = j->logits + row * j->V, *t = j->teacher + row * j->V;
    float bp[EQ_CHUNK], bd[EQ_CHUNK], top_q, top_p;
    if (j->targets[row] < 0) {
        j->loss[row] = 0.0f;
        clear_row(j->dlogits, row, j->V);
        return;
    }
    double sum_q = exp_sum(j->k, x, j->V, &top_q), sum_p = exp_sum(j->k, t, j->V, &top_p);
    double apart = ((double)top_q + log(sum_q)) - ((double)top_p + log(sum_p)), kl = 0.0;
    for (int64_t c = 0; c < j->V; c += EQ_CHUNK) {
        int64_t n = eq_least(EQ_CHUNK, j->V - c), at = row * j->V + c;
        j->k->exp_scale(bp, t + c, top_p, (float)(1.0 / sum_p), n);
        kl += kl_sum(bp, t + c, x + c, apart, n);
        if (!j->dlogits.n) continue;
        float *d = eq_chunk_at(j->dlogits, at, bd);
        kl_grad(j, d, x + c, bp, top_q, sum_q, n);
        eq_chunk_out(j->k, j->dlogits, at, n, d);
    }
    j->loss[row] = (float)kl;
}

static void divergence(eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits, eq_view teacher,
                       eq_view targets, int64_t rows, int64_t V, float scale, float cap) {
    kl_job j = {.k = eq_cpu_of(be)->k,
                .loss = loss.p,
                .dlogits = dlogits,
                .logits = logits.p,
                .teacher = teacher.p,
                .targets = targets.p,
                .V = V,
                .scale = scale,
                .cap = cap};
    eq_par_for(rows, kl_row, &j);
}

void eq_cpu_loss(eq_ops *ops) {
    ops->mse = mse;
    ops->sumsq = sumsq;
    ops->sum = sum;
    ops->cross_entropy = cross_entropy;
    ops->divergence = divergence;
}

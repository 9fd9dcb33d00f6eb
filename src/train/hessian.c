/* See hessian.h. H = R R^T with R upper triangular, found from the last column to the first, and
 * U = R^-1, row by row. Invariant: every sum has an order given by n alone; rows are independent,
 * so threads do not show in it. */
#include "train/hessian.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"

enum { BLOCK = 64, ROWS = 8, TRIES = 4 };

typedef struct {
    double *r;           /* [n, n], H above the diagonal becomes R */
    int64_t n, from, to; /* columns of the block under way */
    float *u;
} factor_job;

/* Four products at once: chains of additions that do not wait for each other. */
static void dots(double out[4], const double *a, const double *const b[4], int64_t n) {
    double s[4][2] = {{0}};
    int64_t k = 0;
    for (; k + 2 <= n; k += 2)
        for (int j = 0; j < 4; j++)
            for (int i = 0; i < 2; i++) s[j][i] += a[k + i] * b[j][k + i];
    for (int j = 0; j < 4; j++) {
        if (k < n) s[j][0] += a[k] * b[j][k];
        out[j] = s[j][0] + s[j][1];
    }
}

/* Row i of the block's columns, from the diagonal on, less what the columns behind it explain. */
static void reduce_row(const factor_job *f, int64_t i) {
    int64_t n = f->n, behind = n - f->to;
    double *row = f->r + i * n;
    for (int64_t j = i > f->from ? i : f->from; j < f->to; j += 4) {
        const double *b[4];
        double out[4];
        for (int k = 0; k < 4; k++) b[k] = f->r + (j + k < f->to ? j + k : j) * n + f->to;
        dots(out, row + f->to, b, behind);
        for (int k = 0; k < 4 && j + k < f->to; k++) row[j + k] -= out[k];
    }
}

/* Row i, above the block: R[i, block] R[block, block]^T = what is left of H[i, block]. */
static void solve_row(const factor_job *f, int64_t i) {
    double *row = f->r + i * f->n;
    for (int64_t j = f->to - 1; j >= f->from; j--) {
        const double *rj = f->r + j * f->n;
        double s = row[j];
        for (int64_t k = j + 1; k < f->to; k++) s -= row[k] * rj[k];
        row[j] = s / rj[j];
    }
}

static void reduce_rows(void *ctx, int64_t item, int thread) {
    (void)thread;
    const factor_job *f = ctx;
    int64_t end = (item + 1) * ROWS < f->to ? (item + 1) * ROWS : f->to;
    for (int64_t i = item * ROWS; i < end; i++) reduce_row(f, i);
}
static void solve_rows(void *ctx, int64_t item, int thread) {
    (void)thread;
    const factor_job *f = ctx;
    int64_t end = (item + 1) * ROWS < f->from ? (item + 1) * ROWS : f->from;
    for (int64_t i = item * ROWS; i < end; i++) solve_row(f, i);
}

/* The block on the diagonal; false: not positive definite. */
static bool corner(const factor_job *f) {
    for (int64_t j = f->to - 1; j >= f->from; j--) {
        double *rj = f->r + j * f->n, d = rj[j];
        for (int64_t k = j + 1; k < f->to; k++) d -= rj[k] * rj[k];
        if (!(d > 0) || !isfinite(d)) return false;
        rj[j] = sqrt(d);
        for (int64_t i = f->from; i < j; i++) {
            double *ri = f->r + i * f->n, s = ri[j];
            for (int64_t k = j + 1; k < f->to; k++) s -= ri[k] * rj[k];
            ri[j] = s / rj[j];
        }
    }
    return true;
}

static bool factor(factor_job *f) {
    for (f->to = f->n; f->to > 0; f->to = f->from) {
        f->from = f->to > BLOCK ? f->to - BLOCK : 0;
        eq_par_for((f->to + ROWS - 1) / ROWS, reduce_rows, f);
        if (!corner(f)) return false;
        eq_par_for((f->from + ROWS - 1) / ROWS, solve_rows, f);
    }
    return true;
}

/* Rows of U = R^-1 from U R = 1: what row i has from column k on goes on with row k of R. */
static void invert_row(const factor_job *f, int64_t i, double *x) {
    int64_t n = f->n;
    memset(x, 0, (size_t)n * sizeof *x);
    x[i] = 1;
    for (int64_t k = i; k < n; k++) {
        const double *rk = f->r + k * n;
        double v = x[k] / rk[k];
        x[k] = v;
        for (int64_t j = k + 1; j < n; j++) x[j] -= v * rk[j];
    }
    for (int64_t j = 0; j < n; j++) f->u[i * n + j] = j < i ? 0.0f : (float)x[j];
}

typedef struct {
    const factor_job *f;
    double *x; /* [threads, n] */
} invert_job;
static void invert_item(void *ctx, int64_t i, int thread) {
    const invert_job *j = ctx;
    invert_row(j->f, i, j->x + thread * j->f->n);
}

/* The triangle above the diagonal from that below, which no step touches. */
static void restore(double *h, const double *diagonal, int64_t n, double add) {
    for (int64_t i = 0; i < n; i++) {
        h[i * n + i] = diagonal[i] + add;
        for (int64_t j = i + 1; j < n; j++) h[i * n + j] = h[j * n + i];
    }
}

eq_status eq_hessian_factor(float *u, bool *dead, double *h, int64_t n, double damp, double *used,
                            eq_err *err) {
    factor_job f = {.r = h, .n = n, .u = u};
    double *diagonal = eq_calloc(n, sizeof *diagonal), mean = 0;
    invert_job inv = {&f, eq_calloc(n * eq_par_count(), sizeof *inv.x)};
    eq_status st = diagonal && inv.x ? EQ_OK : eq_nomem(err, "a Hessian's factor", 16 * n);
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        dead[i] = !(h[i * n + i] > 0);
        diagonal[i] = dead[i] ? 1 : h[i * n + i];
        mean += diagonal[i] / (double)n;
    }
    bool done = false;
    for (int k = 0; k < TRIES && st == EQ_OK && !done; k++, damp *= 10) {
        restore(h, diagonal, n, damp * mean);
        *used = damp;
        done = factor(&f);
    }
    if (st == EQ_OK && !done)
        st = eq_fail(err, EQ_EINPUT,
                     "expected a Hessian that is positive definite, found one that "
                     "is not at %g times the mean of its diagonal",
                     *used);
    if (st == EQ_OK) eq_par_for(n, invert_item, &inv);
    eq_free(diagonal), eq_free(inv.x);
    return st;
}

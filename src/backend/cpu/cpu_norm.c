/* RMSNorm forward and backward, and rotary positions: operations over token rows.
 * Invariant: a window's dw is the sum of partial sums over runs of its rows, cut by the window's
 * shape alone, added in rising order; then the windows are added. */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/par.h"

/* The weight's gradient: most partial sums of a window, least rows of one, columns added at once.
 */
enum { DW_PARTS = 64, DW_ROWS = 16, DW_COLUMNS = 32 };

typedef struct {
    const eq_kernels *k;
    eq_mut y, rstd, dx, dw;
    eq_view dy, x, w, r;
    int64_t rows, D, per;   /* per: rows of an item */
    int64_t window, pieces; /* backward: rows of a window, items of one */
    float eps;
    int acc;
    eq_scratch scratch;
    float *partial; /* [items, D] */
} norm_job;

static void fwd_rows(void *ctx, int64_t item, int thread) {
    const norm_job *j = ctx;
    int64_t D = j->D, end = eq_least((item + 1) * j->per, j->rows);
    float *bx = eq_scratch_of(j->scratch, thread), *by = bx + D;
    for (int64_t row = item * j->per; row < end; row++) {
        const float *x = eq_chunk_in(j->k, j->x, row * D, D, bx);
        double mean = j->k->sumsq(x, D) / (double)D;
        float r = (float)(1.0 / sqrt(mean + (double)j->eps)), *y = eq_chunk_at(j->y, row * D, by);
        ((float *)j->rstd.p)[row] = r;
        j->k->norm_fwd(y, x, j->w.p, r, D);
        eq_chunk_out(j->k, j->y, row * D, D, y);
    }
}

static void rmsnorm_fwd(eq_backend *be, eq_mut y, eq_mut rstd, eq_view x, eq_view w, int64_t rows,
                        int64_t D, float eps) {
    norm_job j = {.k = eq_cpu_of(be)->k,
                  .y = y,
                  .rstd = rstd,
                  .x = x,
                  .w = w,
                  .rows = rows,
                  .D = D,
                  .per = eq_rows_per_item(rows, D),
                  .eps = eps,
                  .scratch = eq_cpu_scratch(be, 2 * D * (int64_t)sizeof(float), 0)};
    if (j.scratch.base) eq_par_for(eq_parts(rows, j.per), fwd_rows, &j);
}

static void bwd_row(const norm_job *j, int64_t row, float *buf, float *dw) {
    int64_t D = j->D, at = row * D;
    const double r = (double)((const float *)j->r.p)[row];
    const float *w = j->w.p, *dy = eq_chunk_in(j->k, j->dy, at, D, buf);
    const float *x = eq_chunk_in(j->k, j->x, at, D, buf + D);
    if (dw) j->k->norm_dw(dw, dy, x, (float)r, D);
    if (!j->dx.n) return;
    double back = r * r * r / (double)D * j->k->norm_dot(dy, w, x, D);
    float *dx = eq_chunk_at(j->dx, at, buf + 2 * D);
    j->k->norm_dx(dx, dy, x, w, r, back, j->acc, D);
    eq_chunk_out(j->k, j->dx, at, D, dx);
}

static void bwd_rows(void *ctx, int64_t item, int thread) {
    const norm_job *j = ctx;
    float *dw = j->dw.n ? j->partial + item * j->D : NULL;
    if (dw) memset(dw, 0, (size_t)j->D * sizeof *dw);
    int64_t piece = item % j->pieces, first = item / j->pieces * j->window;
    int64_t end = eq_least((piece + 1) * j->per, j->window);
    for (int64_t row = piece * j->per; row < end; row++)
        bwd_row(j, first + row, eq_scratch_of(j->scratch, thread), dw);
}

/* Some columns of dw: each window's partial sums into its first one, then the windows into dw. */
static void add_columns(void *ctx, int64_t item, int thread) {
    (void)thread;
    const norm_job *j = ctx;
    int64_t D = j->D, c = item * DW_COLUMNS, n = eq_least(DW_COLUMNS, D - c);
    float *dw = (float *)j->dw.p + c;
    for (int64_t w = 0; w < j->rows / j->window; w++) {
        float *sum = j->partial + w * j->pieces * D + c;
        for (int64_t i = 1; i < j->pieces; i++) j->k->add(sum, sum, sum + i * D, n);
        if (w)
            j->k->add(dw, dw, sum, n);
        else
            memcpy(dw, sum, (size_t)n * sizeof *dw);
    }
}

static void rmsnorm_bwd(eq_backend *be, eq_mut dx, eq_mut dw, eq_view dy, eq_view x, eq_view w,
                        eq_view rstd, int64_t rows, int64_t D, int64_t per, int acc) {
    const int64_t f = sizeof(float);
    if (rows <= 0) return;
    norm_job j = {.k = eq_cpu_of(be)->k,
                  .dx = dx,
                  .dw = dw,
                  .dy = dy,
                  .x = x,
                  .w = w,
                  .r = rstd,
                  .rows = rows,
                  .D = D,
                  .window = per,
                  .acc = acc};
    /* Few partial sums a window, so that their memory and the adding stay small beside the rows. */
    j.per = eq_parts(per, DW_PARTS);
    if (j.per < DW_ROWS) j.per = DW_ROWS;
    j.pieces = eq_parts(per, j.per);
    int64_t items = rows / per * j.pieces;
    j.scratch = eq_cpu_scratch(be, 3 * D * f, dw.n ? items * D * f : 0);
    if (!j.scratch.base) return;
    j.partial = (float *)(void *)j.scratch.shared;
    eq_par_for(items, bwd_rows, &j);
    if (dw.n) eq_par_for(eq_parts(D, DW_COLUMNS), add_columns, &j);
}

/* ---- rotary positions ------------------------------------------------------------------------ */

typedef struct {
    const eq_kernels *k;
    eq_mut x;
    const float *cos, *sin;
    int64_t rows, T, NH, HD, half, per;
    float sign;
    eq_scratch scratch;
} rope_job;

static void rope_rows(void *ctx, int64_t item, int thread) {
    const rope_job *j = ctx;
    int64_t half = j->half, n = j->NH * j->HD, end = eq_least((item + 1) * j->per, j->rows);
    float *buf = eq_scratch_of(j->scratch, thread);
    for (int64_t row = item * j->per; row < end; row++) {
        float *x = eq_chunk_at(j->x, row * n, buf);
        eq_chunk_in(j->k, eq_ro(j->x), row * n, n, buf);
        int64_t at = row % j->T * half;
        for (int64_t h = 0; h < j->NH; h++)
            j->k->rope(x + h * j->HD, x + h * j->HD + half, j->cos + at, j->sin + at, j->sign,
                       half);
        eq_chunk_out(j->k, j->x, row * n, n, x);
    }
}

static void rope(eq_backend *be, eq_mut x, eq_view cos, eq_view sin, eq_view at, int64_t B,
                 int64_t T, int64_t NH, int64_t HD, int64_t R, int sign) {
    int64_t half = R / 2, from = eq_host_at(at) * half;
    rope_job j = {.k = eq_cpu_of(be)->k,
                  .x = x,
                  .cos = (const float *)cos.p + from,
                  .sin = (const float *)sin.p + from,
                  .rows = B * T,
                  .T = T,
                  .NH = NH,
                  .HD = HD,
                  .half = half,
                  .per = eq_rows_per_item(B * T, NH * HD),
                  .sign = (float)sign,
                  .scratch = eq_cpu_scratch(be, NH * HD * (int64_t)sizeof(float), 0)};
    if (j.scratch.base) eq_par_for(eq_parts(B * T, j.per), rope_rows, &j);
}

void eq_cpu_norm(eq_ops *ops) {
    ops->rmsnorm_fwd = rmsnorm_fwd;
    ops->rmsnorm_bwd = rmsnorm_bwd;
    ops->rope = rope;
}

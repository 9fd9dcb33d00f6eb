/* Elementwise operations, biases and rotary positions, threaded over pieces.
 * Invariant: a piece reads all of its inputs before it writes, so that an output may be one of the
 * inputs where backend.h says so. */
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/par.h"

/* One job shape serves all: up to two outputs and three inputs, and a function for one chunk. */
typedef struct job {
    const eq_kernels *k;
    eq_mut y, y2;
    eq_view a, b, c;
    float f, f2;
    void (*fwd)(float *, const float *, const float *, int64_t);
    void (*bwd)(float *, float *, const float *, const float *, const float *, int64_t);
    int64_t rows, cols;
    void (*chunk)(const struct job *j, int64_t at, int64_t n);
} job;

static void piece(void *ctx, int64_t item, int thread) {
    (void)thread;
    const job *j = ctx;
    int64_t size = eq_piece(j->y.n), end = eq_least((item + 1) * size, j->y.n);
    for (int64_t at = item * size; at < end; at += EQ_CHUNK)
        j->chunk(j, at, eq_least(EQ_CHUNK, end - at));
}

static void run(job *j) { eq_par_for(eq_parts(j->y.n, eq_piece(j->y.n)), piece, j); }

/* ---- fill, cast, add ------------------------------------------------------------------------- */

static void fill_chunk(const job *j, int64_t at, int64_t n) {
    float buf[EQ_CHUNK], *y = eq_chunk_at(j->y, at, buf);
    for (int64_t i = 0; i < n; i++) y[i] = j->f;
    eq_chunk_out(j->k, j->y, at, n, y);
}
static void fill(eq_backend *be, eq_mut y, float v) {
    run(&(job){.k = eq_cpu_of(be)->k, .y = y, .f = v, .chunk = fill_chunk});
}

static void cast_chunk(const job *j, int64_t at, int64_t n) {
    float buf[EQ_CHUNK];
    eq_chunk_out(j->k, j->y, at, n, eq_chunk_in(j->k, j->a, at, n, eq_chunk_at(j->y, at, buf)));
}
static void copy_chunk(const job *j, int64_t at, int64_t n) {
    int64_t size = eq_dtype_size(j->y.dt);
    memcpy(eq_elem(j->y, at), (const char *)j->a.p + at * size, (size_t)(n * size));
}
static void cast(eq_backend *be, eq_mut y, eq_view x) {
    if (y.p == x.p && y.dt == x.dt) return;
    run(&(job){
        .k = eq_cpu_of(be)->k, .y = y, .a = x, .chunk = y.dt == x.dt ? copy_chunk : cast_chunk});
}

static void add_chunk(const job *j, int64_t at, int64_t n) {
    float ba[EQ_CHUNK], bb[EQ_CHUNK], by[EQ_CHUNK], *y = eq_chunk_at(j->y, at, by);
    j->k->add(y, eq_chunk_in(j->k, j->a, at, n, ba), eq_chunk_in(j->k, j->b, at, n, bb), n);
    eq_chunk_out(j->k, j->y, at, n, y);
}
static void add(eq_backend *be, eq_mut y, eq_view a, eq_view b) {
    run(&(job){.k = eq_cpu_of(be)->k, .y = y, .a = a, .b = b, .chunk = add_chunk});
}

static void affine_chunk(const job *j, int64_t at, int64_t n) {
    float bx[EQ_CHUNK], by[EQ_CHUNK], *y = eq_chunk_at(j->y, at, by);
    j->k->affine(y, eq_chunk_in(j->k, j->a, at, n, bx), j->f, j->f2, n);
    eq_chunk_out(j->k, j->y, at, n, y);
}
static void affine(eq_backend *be, eq_mut y, eq_view x, float mul, float plus) {
    run(&(job){.k = eq_cpu_of(be)->k, .y = y, .a = x, .f = mul, .f2 = plus, .chunk = affine_chunk});
}

static void softcap_chunk(const job *j, int64_t at, int64_t n) {
    float bx[EQ_CHUNK], by[EQ_CHUNK], *y = eq_chunk_at(j->y, at, by);
    j->k->softcap(y, eq_chunk_in(j->k, j->a, at, n, bx), 1.0f, j->f, n);
    eq_chunk_out(j->k, j->y, at, n, y);
}
static void softcap(eq_backend *be, eq_mut y, eq_view x, float cap) {
    run(&(job){.k = eq_cpu_of(be)->k, .y = y, .a = x, .f = cap, .chunk = softcap_chunk});
}

/* ---- gated activations ----------------------------------------------------------------------- */

static void glu_fwd_chunk(const job *j, int64_t at, int64_t n) {
    float bg[EQ_CHUNK], bu[EQ_CHUNK], bh[EQ_CHUNK], *h = eq_chunk_at(j->y, at, bh);
    j->fwd(h, eq_chunk_in(j->k, j->a, at, n, bg), eq_chunk_in(j->k, j->b, at, n, bu), n);
    eq_chunk_out(j->k, j->y, at, n, h);
}
static void glu_fwd(eq_backend *be, eq_mut h, eq_view g, eq_view u, eq_act act) {
    const eq_kernels *k = eq_cpu_of(be)->k;
    run(&(job){.k = k,
               .y = h,
               .a = g,
               .b = u,
               .fwd = act == EQ_ACT_SILU ? k->silu_fwd : k->gelu_fwd,
               .chunk = glu_fwd_chunk});
}

static void glu_bwd_chunk(const job *j, int64_t at, int64_t n) {
    float bh[EQ_CHUNK], bg[EQ_CHUNK], bu[EQ_CHUNK], bdg[EQ_CHUNK], bdu[EQ_CHUNK];
    float *dg = eq_chunk_at(j->y, at, bdg), *du = eq_chunk_at(j->y2, at, bdu);
    j->bwd(dg, du, eq_chunk_in(j->k, j->c, at, n, bh), eq_chunk_in(j->k, j->a, at, n, bg),
           eq_chunk_in(j->k, j->b, at, n, bu), n);
    eq_chunk_out(j->k, j->y, at, n, dg);
    eq_chunk_out(j->k, j->y2, at, n, du);
}
static void glu_bwd(eq_backend *be, eq_mut dg, eq_mut du, eq_view dh, eq_view g, eq_view u,
                    eq_act act) {
    const eq_kernels *k = eq_cpu_of(be)->k;
    run(&(job){.k = k,
               .y = dg,
               .y2 = du,
               .a = g,
               .b = u,
               .c = dh,
               .bwd = act == EQ_ACT_SILU ? k->silu_bwd : k->gelu_bwd,
               .chunk = glu_bwd_chunk});
}

/* ---- rows: bias ------------------------------------------------------------------------------ */

static void bias_rows(void *ctx, int64_t item, int thread) {
    (void)thread;
    const job *j = ctx;
    float by[EQ_CHUNK], bb[EQ_CHUNK];
    int64_t per = eq_rows_per_item(j->rows, j->cols), end = eq_least((item + 1) * per, j->rows);
    for (int64_t c = 0; c < j->cols; c += EQ_CHUNK) {
        int64_t n = eq_least(EQ_CHUNK, j->cols - c);
        const float *b = eq_chunk_in(j->k, j->b, c, n, bb);
        for (int64_t r = item * per; r < end; r++) {
            int64_t at = r * j->cols + c;
            float *y = eq_chunk_at(j->y, at, by);
            j->k->add(y, eq_chunk_in(j->k, eq_ro(j->y), at, n, by), b, n);
            eq_chunk_out(j->k, j->y, at, n, y);
        }
    }
}
static void bias_add(eq_backend *be, eq_mut y, eq_view b, int64_t rows, int64_t cols) {
    job j = {.k = eq_cpu_of(be)->k, .y = y, .b = b, .rows = rows, .cols = cols};
    eq_par_for(eq_parts(rows, eq_rows_per_item(rows, cols)), bias_rows, &j);
}

/* ---- rows: center ---------------------------------------------------------------------------- */

/* A row's mean before anything is written: y may be x. */
static void center_rows(void *ctx, int64_t item, int thread) {
    (void)thread;
    const job *j = ctx;
    float bx[EQ_CHUNK], by[EQ_CHUNK];
    int64_t per = eq_rows_per_item(j->rows, j->cols), end = eq_least((item + 1) * per, j->rows);
    for (int64_t r = item * per; r < end; r++) {
        double sum = 0.0;
        for (int64_t c = 0, n; c < j->cols; c += n) {
            n = eq_least(EQ_CHUNK, j->cols - c);
            sum += j->k->sum(eq_chunk_in(j->k, j->a, r * j->cols + c, n, bx), n);
        }
        float mean = (float)(sum / (double)j->cols);
        for (int64_t c = 0, n; c < j->cols; c += n) {
            int64_t at = r * j->cols + c;
            float *y = eq_chunk_at(j->y, at, by);
            n = eq_least(EQ_CHUNK, j->cols - c);
            j->k->affine(y, eq_chunk_in(j->k, j->a, at, n, bx), 1.0f, -mean, n);
            eq_chunk_out(j->k, j->y, at, n, y);
        }
    }
}
static void center(eq_backend *be, eq_mut y, eq_view x, int64_t rows, int64_t D) {
    job j = {.k = eq_cpu_of(be)->k, .y = y, .a = x, .rows = rows, .cols = D};
    eq_par_for(eq_parts(rows, eq_rows_per_item(rows, D)), center_rows, &j);
}

void eq_cpu_elementwise(eq_ops *ops) {
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

/* See gptq.h. The matrix lies turned, [I, O], so that a run of columns is a run of rows: those of a
 * run are rounded on the host, all outputs independently; the columns behind it get the run's
 * errors in one product on the backend. */
#include "train/gptq.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "quant/number.h"

enum { OUTPUTS = 64 }; /* of an item */

typedef struct {
    const float *s, *z, *u; /* u [I, I] */
    const bool *dead;
    eq_qshape q;
    int64_t from, n;    /* the run: columns [from, from + n) */
    float *run, *error; /* [n, O]: its weights; minus what rounding changed, over u's diagonal */
} run_job;

/* Column i of the run, outputs [o, end): rounded, and made up for by the columns behind it there.
 */
static void one_column(const run_job *j, int64_t i, int64_t o, int64_t end) {
    int64_t O = j->q.O, NG = j->q.I / j->q.G, at = j->from + i, g = at / j->q.G;
    const float *u = j->u + at * j->q.I;
    float *w = j->run + i * O, *e = j->error + i * O;
    float top = eq_q_max(j->q.bits);
    for (int64_t k = o; k < end; k++) {
        float s = j->s[k * NG + g], z = j->z[k * NG + g];
        if (j->dead[at]) w[k] = 0;
        float w_hat = (eq_clampf(eq_code(w[k], s, z), 0, top) - z) * s;
        e[k] = -(w[k] - w_hat) / u[at];
    }
    for (int64_t n = i + 1; n < j->n; n++) {
        float *to = j->run + n * O, f = u[j->from + n];
        for (int64_t k = o; k < end; k++) to[k] += e[k] * f;
    }
}

static void some_outputs(void *ctx, int64_t item, int thread) {
    (void)thread;
    const run_job *j = ctx;
    int64_t end = (item + 1) * OUTPUTS < j->q.O ? (item + 1) * OUTPUTS : j->q.O;
    for (int64_t i = 0; i < j->n; i++) one_column(j, i, item * OUTPUTS, end);
}

/* ---- turning --------------------------------------------------------------------------------- */

typedef struct {
    float *to;
    const float *from;
    int64_t rows, cols; /* of from */
} turn_job;
static void turn_row(void *ctx, int64_t r, int thread) {
    (void)thread;
    const turn_job *j = ctx;
    for (int64_t c = 0; c < j->cols; c++) j->to[c * j->rows + r] = j->from[r * j->cols + c];
}
static void turned(float *to, const float *from, int64_t rows, int64_t cols) {
    turn_job j = {to, from, rows, cols};
    eq_par_for(rows, turn_row, &j);
}

/* ---- all runs -------------------------------------------------------------------------------- */

typedef struct {
    eq_mut w, u, error; /* F32 [I, O], [I, I], [columns, O] */
} buffers;
static void bind(buffers *b, eq_arena *a, eq_qshape q) {
    b->w = eq_take(a, EQ_F32, q.I * q.O);
    b->u = eq_take(a, EQ_F32, q.I * q.I);
    b->error = eq_take(a, EQ_F32, EQ_GPTQ_COLUMNS * q.O);
}

static eq_status one_run(eq_backend *be, const buffers *b, run_job *j, eq_err *err) {
    int64_t O = j->q.O, I = j->q.I, behind = j->from + j->n, left = I - behind;
    eq_mut here = eq_mut_at(b->w, j->from * O, j->n * O), e = eq_mut_at(b->error, 0, j->n * O);
    be->download(be, j->run, EQ_F32, eq_ro(here));
    EQ_TRY(be->sync(be, err));
    eq_par_for((O + OUTPUTS - 1) / OUTPUTS, some_outputs, j);
    be->upload(be, here, j->run, EQ_F32);
    if (!left) return be->sync(be, err);
    be->upload(be, e, j->error, EQ_F32);
    /* w[behind .., O] += u[run, behind ..]^T error[run, O] */
    eq_view part = eq_view_at(eq_ro(b->u), j->from * I + behind, (j->n - 1) * I + left);
    EQ_DO(be, matmul_tn, eq_mut_at(b->w, behind * O, left * O), part, eq_ro(e), left, O, j->n, j->n,
          I, 1);
    return be->sync(be, err);
}

static eq_status all_runs(eq_backend *be, run_job *j, float *w, float *t, eq_err *err) {
    buffers b;
    eq_arena a = {0};
    bind(&b, &a, j->q);
    EQ_TRY(eq_arena_alloc(&a, be, "a linear under GPTQ", err));
    bind(&b, &a, j->q);
    turned(t, w, j->q.O, j->q.I);
    be->upload(be, b.w, t, EQ_F32);
    be->upload(be, b.u, j->u, EQ_F32);
    eq_status st = EQ_OK;
    for (; j->from < j->q.I && st == EQ_OK; j->from += j->n) {
        j->n = j->q.I - j->from < EQ_GPTQ_COLUMNS ? j->q.I - j->from : EQ_GPTQ_COLUMNS;
        st = one_run(be, &b, j, err);
    }
    if (st == EQ_OK) {
        be->download(be, t, EQ_F32, eq_ro(b.w));
        st = be->sync(be, err);
    }
    if (st == EQ_OK) turned(w, t, j->q.I, j->q.O);
    eq_arena_free(&a);
    return st;
}

eq_status eq_gptq_linear(eq_backend *be, float *w, const float *s, const float *z, const float *u,
                         const bool *dead, eq_qshape q, eq_err *err) {
    float *t = eq_calloc(q.I * q.O, sizeof *t);
    float *run = eq_calloc(2 * EQ_GPTQ_COLUMNS * q.O, sizeof *run);
    run_job j = {.s = s, .z = z, .u = u, .dead = dead, .q = q, .run = run};
    eq_status st = t && run ? EQ_OK : eq_nomem(err, "a linear under GPTQ", 4 * q.I * q.O);
    if (run) j.error = run + EQ_GPTQ_COLUMNS * q.O;
    if (st == EQ_OK) st = all_runs(be, &j, w, t, err);
    eq_free(t), eq_free(run);
    return st;
}

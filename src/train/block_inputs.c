/* See block_inputs.h. Invariant: sums go window by window and row by row, so that neither the batch
 * nor threads show. */
#include "train/block_inputs.h"

#include <math.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"

enum { COLUMNS = 64 }; /* of an item */

/* THE list of inputs: X(id, the activation, its width, its linears). */
#define INPUTS(X) \
    X(NORMED, h1, c->D, 3, EQ_LIN_Q, EQ_LIN_K, EQ_LIN_V) \
    X(ATTENDED, att, c->NH * c->HD, 1, EQ_LIN_O) \
    X(NORMED2, h2, c->D, 2, EQ_LIN_GATE, EQ_LIN_UP) \
    X(GATED, a, c->F, 1, EQ_LIN_DOWN)

eq_in_spec eq_in_of(const eq_config *c, eq_in k) {
    const eq_in_spec all[EQ_INS] = {
#define SPEC(id, act, width, n, ...) [EQ_IN_##id] = {width, n, {__VA_ARGS__}},
        INPUTS(SPEC)
#undef SPEC
    };
    return all[k];
}

static eq_mut activation(const eq_block_acts *acts, eq_in k) {
    const eq_mut all[EQ_INS] = {
#define ACT(id, act, ...) [EQ_IN_##id] = acts->act,
        INPUTS(ACT)
#undef ACT
    };
    return all[k];
}

static void bind(eq_block_inputs *x, const eq_config *c) {
    for (eq_in k = 0; k < EQ_INS; k++) {
        int64_t I = eq_in_of(c, k).I;
        x->h[k] = eq_take(&x->a, EQ_F32, I * I);
    }
}

int64_t eq_block_inputs_bytes(const eq_config *c) {
    eq_block_inputs x = {0};
    bind(&x, c);
    return x.a.used;
}

eq_status eq_block_inputs_open(eq_block_inputs *x, eq_backend *be, const eq_config *c, bool means,
                               const char *what, eq_err *err) {
    *x = (eq_block_inputs){.a = {.hints = be->hints}};
    bind(x, c);
    EQ_TRY(eq_arena_alloc(&x->a, be, what, err));
    bind(x, c);
    for (eq_in k = 0; means && k < EQ_INS; k++) {
        int64_t I = eq_in_of(c, k).I;
        x->mean[k] = eq_calloc(I, sizeof *x->mean[k]);
        if (!x->mean[k]) return eq_nomem(err, "sizes of inputs", 8 * I);
    }
    return EQ_OK;
}

void eq_block_inputs_close(eq_block_inputs *x) {
    for (eq_in k = 0; k < EQ_INS; k++) eq_free(x->mean[k]);
    eq_arena_free(&x->a);
}

/* h += x^T x */
static void add_products(eq_backend *be, eq_mut h, eq_mut x, int64_t I, int64_t B, int64_t T) {
    for (int64_t b = 0; b < B; b++) {
        eq_view w = eq_ro(eq_mut_at(x, b * T * I, T * I));
        EQ_DO(be, matmul_tn, h, w, w, I, I, T, T, I, 1);
    }
}

typedef struct {
    double *sum;
    const float *x;
    int64_t rows, I;
} size_job;
static void add_columns(void *ctx, int64_t item, int thread) {
    (void)thread;
    const size_job *j = ctx;
    int64_t from = item * COLUMNS, to = from + COLUMNS < j->I ? from + COLUMNS : j->I;
    for (int64_t r = 0; r < j->rows; r++)
        for (int64_t c = from; c < to; c++) j->sum[c] += (double)fabsf(j->x[r * j->I + c]);
}

static eq_status add_sizes(eq_backend *be, double *sum, eq_mut x, int64_t I, eq_err *err) {
    float *host = eq_calloc(x.n, sizeof *host);
    if (!host) return eq_nomem(err, "a block's inputs", x.n * 4);
    be->download(be, host, EQ_F32, eq_ro(x));
    eq_status st = be->sync(be, err);
    size_job j = {sum, host, x.n / I, I};
    if (st == EQ_OK) eq_par_for((I + COLUMNS - 1) / COLUMNS, add_columns, &j);
    eq_free(host);
    return st;
}

eq_status eq_block_inputs_gather(eq_block_ap *j, int64_t i, eq_block_inputs *x,
                                 const eq_observer *obs, eq_err *err) {
    eq_backend *be = j->be;
    EQ_TRY(eq_block_w_upload(&j->room, be, j->src, i, err));
    EQ_TRY(eq_block_job_uploaded(j, err));
    for (eq_in k = 0; k < EQ_INS; k++) EQ_DO(be, fill, x->h[k], 0.0f);
    for (int64_t w = 0, B; w < j->n_train; w += B) {
        if (eq_stopped(obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        B = eq_block_job_batch(j, w, j->n_train);
        eq_block_job_forward(j, &j->room, eq_stream_at(&j->q, w), NULL, B);
        for (eq_in k = 0; k < EQ_INS; k++) {
            int64_t I = eq_in_of(j->cfg, k).I;
            eq_mut act = activation(&j->acts, k);
            add_products(be, x->h[k], act, I, B, j->T);
            if (x->mean[k]) EQ_TRY(add_sizes(be, x->mean[k], act, I, err));
        }
        EQ_TRY(be->sync(be, err));
        eq_block_job_say(j, i, (double)(w + B) / 3, NAN, obs);
    }
    for (eq_in k = 0; k < EQ_INS; k++)
        for (int64_t c = 0; x->mean[k] && c < eq_in_of(j->cfg, k).I; c++)
            x->mean[k][c] /= (double)(j->n_train * j->T);
    return EQ_OK;
}

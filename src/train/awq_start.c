/* A block's start by AWQ (awq.h): scales of each input are found on the training windows of the
 * quantized stream, multiplied into the linears that read it and divided out of what makes it,
 * where the family has something that can take that: the norm in front, v's rows for o, up's rows
 * for down. So the full-precision block computes what it did, and the output is a plain checkpoint.
 * Then ranges are clipped, but for q and k, whose errors meet in a product. */
#include "train/awq.h"

#include "base/mem.h"
#include "base/observe.h"
#include "train/block_inputs.h"

int64_t eq_awq_start_bytes(const eq_config *c, const eq_block_ap_setup *s, int64_t T) {
    int64_t most = 0;
    for (eq_in k = 0; k < EQ_INS; k++) {
        eq_in_spec in = eq_in_of(c, k);
        int64_t O = 0, weights = 0, seen = 4 * s->ap.batch_size * T * in.I;
        for (int m = 0; m < in.n; m++) {
            int64_t rows = eq_lin_of(c, in.lin[m]).O;
            weights += 4 * rows * in.I, O = eq_most(rows, O);
        }
        /* h on the host, and once more what is found of it */
        int64_t bytes = weights + 4 * in.I * in.I + 16 * in.I + eq_awq_bytes(O, in.I);
        most = eq_most(most, eq_most(bytes, seen));
    }
    return eq_block_inputs_bytes(c) + most;
}

/* ---- what makes an input --------------------------------------------------------------------- */

/* Why nothing can take the scales of input k; NULL: it can. */
static const char *cannot(const eq_block_ap *j, int64_t i, eq_in k) {
    const eq_config *c = j->cfg;
    const eq_block_tensors *b = &j->src->blocks[i];
    eq_norm norm = k == EQ_IN_NORMED ? EQ_NORM_IN : EQ_NORM_POST;
    switch (k) {
    case EQ_IN_ATTENDED:
        if (c->NH != c->NKV) return "several query heads share a value head";
        return b->bias[EQ_LIN_V] ? "v_proj has a bias" : NULL;
    case EQ_IN_GATED:
        return b->bias[EQ_LIN_UP] ? "up_proj has a bias" : NULL;
    default:
        if (!eq_norm_of(c, norm).exists) return "no norm stands in front";
        return b->norm_bias[norm] ? "the norm in front has a bias" : NULL;
    }
}

static void say_cannot(const eq_block_ap *j, int64_t i, const eq_observer *obs) {
    for (eq_in k = 0; i == 0 && k < EQ_INS; k++) {
        const char *why = cannot(j, i, k);
        if (why)
            eq_note(obs, "AWQ: no scales for what %s takes in: %s",
                    eq_lin_of(j->cfg, eq_in_of(j->cfg, k).lin[0]).name, why);
    }
}

/* p [n] of the backend, rows of `per` elements: p = (p + plus) / scale[row] - plus. */
static eq_status divide(eq_backend *be, eq_mut p, int64_t per, const float *scale, float plus,
                        eq_err *err) {
    float *host = eq_calloc(p.n, sizeof *host);
    if (!host) return eq_nomem(err, "weights under AWQ", p.n * 4);
    be->download(be, host, EQ_F32, eq_ro(p));
    eq_status st = be->sync(be, err);
    for (int64_t i = 0; i < p.n; i++) host[i] = (host[i] + plus) / scale[i / per] - plus;
    be->upload(be, p, host, EQ_F32);
    if (st == EQ_OK) st = be->sync(be, err);
    eq_free(host);
    return st;
}

static eq_status divide_input(eq_block_ap *j, eq_in k, const float *scale, eq_err *err) {
    eq_student *st = &j->student;
    float plus = j->cfg->norm_plus_one ? 1.0f : 0.0f;
    switch (k) {
    case EQ_IN_ATTENDED:
        return divide(st->be, st->W[EQ_LIN_V].p, j->cfg->D, scale, 0, err);
    case EQ_IN_GATED:
        return divide(st->be, st->W[EQ_LIN_UP].p, j->cfg->D, scale, 0, err);
    default:
        return divide(st->be, st->norm[k == EQ_IN_NORMED ? EQ_NORM_IN : EQ_NORM_POST].p, 1, scale,
                      plus, err);
    }
}

/* ---- one input and its linears --------------------------------------------------------------- */

typedef struct {
    eq_in_spec in;
    eq_awq_linear l[3];
    float *w[3];  /* host */
    float *scale; /* [I] */
    float *h;     /* host [I, I] */
} group;

static void free_group(group *g) {
    for (int m = 0; m < 3; m++) eq_free(g->w[m]);
    eq_free(g->scale), eq_free(g->h);
}

static eq_status read_group(group *g, eq_block_ap *j, eq_in k, eq_mut h, eq_err *err) {
    eq_backend *be = j->be;
    int64_t I = eq_in_of(j->cfg, k).I;
    *g = (group){.in = eq_in_of(j->cfg, k)};
    g->scale = eq_calloc(I, sizeof *g->scale), g->h = eq_calloc(I * I, sizeof *g->h);
    if (!g->scale || !g->h) return eq_nomem(err, "an input's products", 4 * I * I);
    for (int m = 0; m < g->in.n; m++) {
        eq_qshape q = eq_student_shape(&j->student, g->in.lin[m]);
        g->w[m] = eq_calloc(q.O * I, sizeof *g->w[m]);
        if (!g->w[m]) return eq_nomem(err, "a linear under AWQ", 4 * q.O * I);
        g->l[m] = (eq_awq_linear){g->w[m], q};
        be->download(be, g->w[m], EQ_F32, eq_ro(j->student.W[g->in.lin[m]].p));
    }
    be->download(be, g->h, EQ_F32, eq_ro(h));
    return be->sync(be, err);
}

/* The weights times the scales, the input divided by them, and so its products. */
static eq_status apply(group *g, eq_block_ap *j, eq_in k, eq_err *err) {
    int64_t I = g->in.I;
    for (int m = 0; m < g->in.n; m++)
        for (int64_t i = 0; i < g->l[m].q.O * I; i++) g->w[m][i] *= g->scale[i % I];
    for (int64_t i = 0; i < I * I; i++) g->h[i] /= g->scale[i / I] * g->scale[i % I];
    return divide_input(j, k, g->scale, err);
}

static eq_status scale_group(group *g, eq_block_ap *j, int64_t i, eq_in k, const double *mean,
                             eq_mut h, const eq_observer *obs, eq_err *err) {
    eq_awq_choice found;
    if (cannot(j, i, k)) return EQ_OK;
    EQ_TRY(eq_awq_scale(j->be, g->scale, &found, g->l, g->in.n, mean, eq_ro(h), err));
    eq_event(obs,
             "{\"event\":\"awq\",\"block\":%lld,\"input_of\":\"%s\",\"ratio\":%.2f,\"error\":%.6g,"
             "\"rounded\":%.6g}",
             (long long)i, eq_lin_of(j->cfg, g->in.lin[0]).name, found.ratio, found.error,
             found.rounded);
    return apply(g, j, k, err);
}

static eq_status one_input(eq_block_ap *j, int64_t i, eq_in k, const eq_block_inputs *x,
                           const eq_observer *obs, eq_err *err) {
    group g;
    eq_status st = read_group(&g, j, k, x->h[k], err);
    if (st == EQ_OK) st = scale_group(&g, j, i, k, x->mean[k], x->h[k], obs, err);
    for (int m = 0; m < g.in.n && st == EQ_OK; m++) {
        eq_lin l = g.in.lin[m];
        if (eq_stopped(obs)) st = eq_fail(err, EQ_EINTR, "stopped on request");
        if (st == EQ_OK && l != EQ_LIN_Q && l != EQ_LIN_K)
            st = eq_awq_clip(j->be, g.w[m], g.l[m].q, g.h, err);
        if (st == EQ_OK) j->be->upload(j->be, j->student.W[l].p, g.w[m], EQ_F32);
        if (st == EQ_OK) st = j->be->sync(j->be, err);
    }
    free_group(&g);
    return st;
}

static eq_status all_inputs(eq_block_ap *j, int64_t i, eq_block_inputs *x, const eq_observer *obs,
                            eq_err *err) {
    EQ_TRY(eq_block_inputs_gather(j, i, x, obs, err));
    EQ_TRY(eq_student_start(&j->student, j->src, i, err));
    say_cannot(j, i, obs);
    /* v and up are rounded in their rows, which o's and down's scales divide as a whole: the order
     * does not matter. */
    for (eq_in k = 0; k < EQ_INS; k++) EQ_TRY(one_input(j, i, k, x, obs, err));
    eq_student_regrid(&j->student);
    return j->be->sync(j->be, err);
}

eq_status eq_block_job_awq(eq_block_ap *j, int64_t i, const eq_observer *obs, eq_err *err) {
    eq_block_inputs x;
    eq_status st =
        eq_block_inputs_open(&x, j->be, j->cfg, true, "the products of a block's inputs", err);
    if (st == EQ_OK) st = all_inputs(j, i, &x, obs, err);
    eq_block_inputs_close(&x);
    return st;
}

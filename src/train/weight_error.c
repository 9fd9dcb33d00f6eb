/* See weight_error.h. Sums are of rows, then in the order of the rows, so threads do not show. */
#include "train/weight_error.h"

#include <math.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"

enum { ROWS = 8 }; /* an item */

typedef struct {
    const eq_weights *src;
    const eq_qlinear *q;
    int64_t block;
    eq_lin l;
    double *off, *all; /* [O] */
} job;

static eq_status rows(void *ctx, int64_t item, eq_err *err) {
    const job *j = ctx;
    int64_t I = j->q->I, o0 = item * ROWS, o1 = o0 + ROWS < j->q->O ? o0 + ROWS : j->q->O;
    float *is = eq_calloc(2 * I, sizeof *is), *was = is + I;
    if (!is) return eq_nomem(err, "two rows of weights", 8 * I);
    for (int64_t o = o0; o < o1; o++) {
        /* Eight sums side by side, which the compiler makes one vector. */
        float off[8] = {0}, all[8] = {0};
        eq_qlinear_rows(j->q, is, o, 1);
        eq_weights_row(j->src, j->block, j->l, o, was);
        for (int64_t k = 0; k < I; k++) {
            float d = is[k] - was[k];
            off[k % 8] += d * d, all[k % 8] += was[k] * was[k];
        }
        for (int k = 0; k < 8; k++) j->off[o] += (double)off[k], j->all[o] += (double)all[k];
    }
    eq_free(is);
    return EQ_OK;
}

static eq_status error_of(job *j, double *out, eq_err *err) {
    double off = 0, all = 0;
    int64_t O = j->q->O;
    j->off = eq_calloc(2 * O, sizeof *j->off);
    if (!j->off) return eq_nomem(err, "sums of rows", 16 * O);
    j->all = j->off + O;
    eq_status st = eq_par_try((O + ROWS - 1) / ROWS, rows, j, err);
    for (int64_t o = 0; o < O; o++) off += j->off[o], all += j->all[o];
    eq_free(j->off);
    *out = all > 0 ? sqrt(off / all) : 0;
    return st;
}

eq_status eq_weight_error_say(const eq_qblock *b, const eq_weights *src, int64_t i,
                              const eq_observer *obs, eq_err *err) {
    eq_str s = {0};
    if (!obs || !obs->event) return EQ_OK;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        job j = {.src = src, .q = &b->lin[l], .block = i, .l = l};
        double error = 0;
        eq_status st = src->blocks[i].weight[l] ? error_of(&j, &error, err) : EQ_OK;
        if (st != EQ_OK) {
            eq_str_free(&s);
            return st;
        }
        eq_str_printf(&s, "%s\"%s\":%.6g", l ? "," : "", eq_lin_of(&src->cfg, l).name, error);
    }
    bool whole = s.p && !s.oom;
    if (whole)
        eq_event(obs, "{\"event\":\"linears\",\"block\":%lld,\"error\":{%s}}", (long long)i, s.p);
    eq_str_free(&s);
    return whole ? EQ_OK : eq_nomem(err, "an event", 1 << 10);
}

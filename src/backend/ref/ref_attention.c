/* Reference: causal grouped-query attention and its derivative, one query at a time:
 *     p_j = exp(score_j - lse), score_j = scale q.k_j, or cap tanh(scale q.k_j / cap),  o = sum_j
 * p_j v_j,  delta = do.o,  ds_j = p_j (do.v_j - delta), dq = scale sum_j ds_j k_j,  dk_j += scale
 * ds_j q,  dv_j += p_j do. Invariant: a query at place t sees the keys from first_key(t) to t of
 * its own sequence and no others. */
#include <math.h>

#include "backend/hostmem.h"
#include "backend/ref/ref.h"
#include "base/mem.h"

static int64_t first_key(const eq_attn_shape *s, int64_t t) {
    return s->window > 0 && t >= s->window ? t - s->window + 1 : 0;
}
/* Where head h of token t of sequence b begins, in a tensor of `heads` heads; of key j. */
static int64_t at(const eq_attn_shape *s, int64_t b, int64_t t, int64_t heads, int64_t h) {
    return ((b * s->T + t) * heads + h) * s->HD;
}
static int64_t at_key(const eq_attn_shape *s, int64_t b, int64_t j, int64_t h) {
    return ((b * (s->past + s->T) + j) * s->NKV + h) * s->HD;
}
static double dot(eq_view a, int64_t ia, eq_view b, int64_t ib, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += eq_get(a, ia + i) * eq_get(b, ib + i);
    return sum;
}

/* The score of scale q.k; slope: its derivative. */
static double score(const eq_attn_shape *s, double x, double *slope) {
    *slope = 1.0;
    if (!(s->cap > 0.0f)) return x;
    double t = tanh(x / (double)s->cap);
    *slope = 1.0 - t * t;
    return (double)s->cap * t;
}

/* Query t of q. acc: [HD], p: [past + T]. Returns the log-sum-exp of the scaled scores. */
static double attend(double *acc, double *p, eq_view q, eq_view k, eq_view v,
                     const eq_attn_shape *s, int64_t b, int64_t h, int64_t t) {
    int64_t kv = h / (s->NH / s->NKV), own = s->past + t, from = first_key(s, own);
    double top = -INFINITY, sum = 0.0, slope;
    for (int64_t j = from; j <= own; j++) {
        p[j] = (double)s->scale * dot(q, at(s, b, t, s->NH, h), k, at_key(s, b, j, kv), s->HD);
        p[j] = score(s, p[j], &slope);
        if (p[j] > top) top = p[j];
    }
    for (int64_t d = 0; d < s->HD; d++) acc[d] = 0.0;
    for (int64_t j = from; j <= own; j++) {
        double e = exp(p[j] - top);
        sum += e;
        for (int64_t d = 0; d < s->HD; d++) acc[d] += e * eq_get(v, at_key(s, b, j, kv) + d);
    }
    for (int64_t d = 0; d < s->HD; d++) acc[d] /= sum;
    return top + log(sum);
}

static void attn_fwd(eq_backend *be, eq_mut o, eq_mut lse, eq_view q, eq_view k, eq_view v,
                     eq_view at_, eq_attn_shape s) {
    s.past = eq_host_at(at_);
    double *acc = eq_host_scratch(be, s.HD + s.past + s.T, sizeof *acc);
    if (!acc) return;
    for (int64_t b = 0; b < s.B; b++)
        for (int64_t h = 0; h < s.NH; h++)
            for (int64_t t = 0; t < s.T; t++) {
                eq_put(lse, (b * s.NH + h) * s.T + t,
                       attend(acc, acc + s.HD, q, k, v, &s, b, h, t));
                for (int64_t d = 0; d < s.HD; d++) eq_put(o, at(&s, b, t, s.NH, h) + d, acc[d]);
            }
    eq_free(acc);
}

typedef struct {
    eq_view do_, q, k, v, o, lse;
    eq_attn_shape s;
} bwd_in;

/* What query (b, h, t) gives: dq [HD] overwritten, dk and dv [T, HD] of its key head added to. */
static void bwd_query(double *dq, double *dk, double *dv, const bwd_in *in, int64_t b, int64_t h,
                      int64_t t) {
    const eq_attn_shape *s = &in->s;
    int64_t HD = s->HD, kv = h / (s->NH / s->NKV), iq = at(s, b, t, s->NH, h);
    double lse = eq_get(in->lse, (b * s->NH + h) * s->T + t);
    double delta = dot(in->do_, iq, in->o, iq, HD);
    for (int64_t d = 0; d < HD; d++) dq[d] = 0.0;
    for (int64_t j = first_key(s, t); j <= t; j++) {
        int64_t ik = at(s, b, j, s->NKV, kv);
        double slope, x = (double)s->scale * dot(in->q, iq, in->k, ik, HD);
        double p = exp(score(s, x, &slope) - lse);
        double ds = (double)s->scale * slope * p * (dot(in->do_, iq, in->v, ik, HD) - delta);
        for (int64_t d = 0; d < HD; d++) {
            dq[d] += ds * eq_get(in->k, ik + d);
            dk[j * HD + d] += ds * eq_get(in->q, iq + d);
            dv[j * HD + d] += p * eq_get(in->do_, iq + d);
        }
    }
}

/* Key head kv of sequence b, with all the query heads that share it. */
static void bwd_head(eq_mut dq, eq_mut dk, eq_mut dv, double *scratch, const bwd_in *in, int64_t b,
                     int64_t kv) {
    const eq_attn_shape *s = &in->s;
    int64_t HD = s->HD, group = s->NH / s->NKV;
    double *gk = scratch, *gv = gk + s->T * HD, *gq = gv + s->T * HD;
    for (int64_t i = 0; i < 2 * s->T * HD; i++) scratch[i] = 0.0;
    for (int64_t h = kv * group; h < (kv + 1) * group; h++)
        for (int64_t t = 0; t < s->T; t++) {
            bwd_query(gq, gk, gv, in, b, h, t);
            for (int64_t d = 0; d < HD; d++) eq_put(dq, at(s, b, t, s->NH, h) + d, gq[d]);
        }
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t d = 0; d < HD; d++) {
            eq_put(dk, at(s, b, t, s->NKV, kv) + d, gk[t * HD + d]);
            eq_put(dv, at(s, b, t, s->NKV, kv) + d, gv[t * HD + d]);
        }
}

static void attn_bwd(eq_backend *be, eq_mut dq, eq_mut dk, eq_mut dv, eq_view do_, eq_view q,
                     eq_view k, eq_view v, eq_view o, eq_view lse, eq_attn_shape s) {
    double *scratch = eq_host_scratch(be, (2 * s.T + 1) * s.HD, sizeof *scratch);
    if (!scratch) return;
    bwd_in in = {do_, q, k, v, o, lse, s};
    for (int64_t b = 0; b < s.B; b++)
        for (int64_t kv = 0; kv < s.NKV; kv++) bwd_head(dq, dk, dv, scratch, &in, b, kv);
    eq_free(scratch);
}

void eq_ref_attention(eq_ops *ops) {
    ops->attn_fwd = attn_fwd;
    ops->attn_bwd = attn_bwd;
}

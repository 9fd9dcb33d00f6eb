/* Causal grouped-query attention, forward: blocks of queries against blocks of keys with a running
 * maximum and sum (Milakov and Gimelshein, 2018; Dao et al., 2022), products by oneDNN.
 * Invariant: a thread's scratch is a few blocks and the keys and values of one head: it grows with
 * T, never with its square. */
#include <math.h>
#include <string.h>

#include "backend/cpu/attention.h"
#include "base/par.h"

enum { ITEMS = 32, KEYS = 256, STEP = 64 };
/* ITEMS of work, if there are as many blocks; where keys come before the queries, KEYS in a block,
 * in steps of STEP */

typedef struct {
    const eq_cpu *c;
    eq_mut o, lse;
    eq_view q, k, v;
    eq_attn_shape s;
    eq_attn_block b;
    int64_t keys;   /* of a sequence, rounded up where some come before the queries */
    int64_t strips; /* items of a key head; strip i has the blocks of queries i, i + strips, ... */
    eq_scratch scratch;
} attn_job;

/* A thread's scratch. p is s itself in fp32. */
typedef struct {
    void *q, *k, *v; /* [queries, HD], [keys, HD] */
    float *s;        /* [queries, keys] */
    void *p;         /* [queries, keys] in the type of v */
    float *acc;      /* [queries, HD] */
    float *row;      /* [HD] */
    float *top, *sum;
} fwd_scratch;

static int64_t fwd_bind(fwd_scratch *w, char *base, const attn_job *j) {
    int64_t at = 0, scores = j->b.queries * j->b.keys, row = j->s.HD * eq_dtype_size(j->q.dt);
    w->q = eq_attn_take(base, &at, j->b.queries * row);
    w->k = eq_attn_take(base, &at, j->keys * row);
    w->v = eq_attn_take(base, &at, j->keys * row);
    w->s = eq_attn_take(base, &at, scores * 4);
    w->p = j->v.dt == EQ_F32 ? w->s : eq_attn_take(base, &at, scores * 2);
    w->acc = eq_attn_take(base, &at, j->b.queries * j->s.HD * 4);
    w->row = eq_attn_take(base, &at, j->s.HD * 4);
    w->top = eq_attn_take(base, &at, j->b.queries * 4);
    w->sum = eq_attn_take(base, &at, j->b.queries * 4);
    return at;
}

/* Row r of a block of n keys from k0, whose query is at place q: scores become weights, the running
 * sums are brought to the new maximum. */
static void softmax_row(const attn_job *j, const fwd_scratch *w, int64_t q, int64_t r, int64_t k0,
                        int64_t n, bool first) {
    const eq_kernels *k = j->c->k;
    float *s = w->s + r * n, f = j->s.scale;
    int64_t lo = eq_attn_first_key(&j->s, q) - k0, hi = eq_least(n, q + 1 - k0);
    if (lo < 0) lo = 0;
    if (hi < lo) lo = hi = 0; /* this query sees none of these keys */
    if (j->s.cap > 0.0f && lo < hi) k->softcap(s + lo, s + lo, f, j->s.cap, hi - lo), f = 1.0f;
    float old = first ? -INFINITY : w->top[r], top = old;
    if (lo < hi) top = fmaxf(old, f * k->max(s + lo, hi - lo));
    /* Nothing seen yet: weights stay 0, and no -inf minus -inf. */
    float keep = top > old ? expf(old - top) : 1.0f, sum = 0.0f;
    if (lo < hi) sum = k->softmax(s + lo, s + lo, f, top, hi - lo);
    memset(s, 0, (size_t)lo * sizeof *s);
    memset(s + hi, 0, (size_t)(n - hi) * sizeof *s);
    if (w->p != (void *)w->s) k->bf16_from_f32((uint16_t *)w->p + r * n, s, n);
    if (!first && keep != 1.0f) {
        float *acc = w->acc + r * j->s.HD;
        k->scale(acc, acc, keep, j->s.HD);
    }
    w->sum[r] = (first ? 0.0f : w->sum[r] * keep) + sum;
    w->top[r] = top;
}

static void fwd_finish(const attn_job *j, const fwd_scratch *w, int64_t b, int64_t h, int64_t q0,
                       int64_t nq) {
    const eq_attn_shape *s = &j->s;
    for (int64_t r = 0; r < nq; r++) {
        int64_t at = ((b * s->T + q0 + r) * s->NH + h) * s->HD;
        float *o = eq_chunk_at(j->o, at, w->row);
        j->c->k->scale(o, w->acc + r * s->HD, 1.0f / w->sum[r], s->HD);
        eq_chunk_out(j->c->k, j->o, at, s->HD, o);
        ((float *)j->lse.p)[(b * s->NH + h) * s->T + q0 + r] = w->top[r] + logf(w->sum[r]);
    }
}

static void fwd_block(const attn_job *j, const fwd_scratch *w, int64_t b, int64_t h, int64_t q0,
                      int thread) {
    const eq_attn_shape *s = &j->s;
    int64_t nq = eq_least(j->b.queries, s->T - q0), own = s->past + q0;
    int64_t start = eq_attn_first_block(s, own), end = own + nq;
    int64_t HD = s->HD, row = HD * eq_dtype_size(j->q.dt);
    if (s->past) end = eq_least(j->keys, eq_parts(end, STEP) * STEP); /* few block shapes */
    eq_attn_gather(w->q, j->q, s, b, q0, nq, s->NH, h);
    for (int64_t k0 = start; k0 < end; k0 += j->b.keys) {
        int64_t nk = eq_least(j->b.keys, end - k0);
        const char *k = (const char *)w->k + k0 * row, *v = (const char *)w->v + k0 * row;
        eq_attn_product(j->c, thread, w->s, w->q, k, nq, nk, HD, j->q.dt, true, false);
        for (int64_t r = 0; r < nq; r++) softmax_row(j, w, own + r, r, k0, nk, k0 == start);
        eq_attn_product(j->c, thread, w->acc, w->p, v, nq, HD, nk, j->v.dt, false, k0 != start);
    }
    fwd_finish(j, w, b, h, q0, nq);
}

/* Rows behind the last key are multiplied with weights of 0. */
static void clear_rest(const fwd_scratch *w, const attn_job *j) {
    int64_t row = j->s.HD * eq_dtype_size(j->q.dt), n = eq_attn_keys(&j->s);
    memset((char *)w->k + n * row, 0, (size_t)((j->keys - n) * row));
    memset((char *)w->v + n * row, 0, (size_t)((j->keys - n) * row));
}

static void fwd_item(void *ctx, int64_t item, int thread) {
    const attn_job *j = ctx;
    const eq_attn_shape *s = &j->s;
    int64_t group = s->NH / s->NKV, blocks = eq_parts(s->T, j->b.queries);
    int64_t b = item / j->strips / s->NKV, kv = item / j->strips % s->NKV;
    fwd_scratch w;
    fwd_bind(&w, eq_scratch_of(j->scratch, thread), j);
    eq_attn_gather_keys(w.k, j->k, s, b, kv);
    eq_attn_gather_keys(w.v, j->v, s, b, kv);
    clear_rest(&w, j);
    for (int64_t h = kv * group; h < (kv + 1) * group; h++)
        for (int64_t i = item % j->strips; i < blocks; i += j->strips)
            fwd_block(j, &w, b, h, i * j->b.queries, thread);
}

static void attn_fwd(eq_backend *be, eq_mut o, eq_mut lse, eq_view q, eq_view k, eq_view v,
                     eq_view at, eq_attn_shape s) {
    s.past = eq_host_at(at);
    if (s.T <= EQ_ATTN_FEW) {
        eq_attn_fwd_few(be, o, lse, q, k, v, &s);
        return;
    }
    attn_job j = {.c = eq_cpu_of(be),
                  .o = o,
                  .lse = lse,
                  .q = q,
                  .k = k,
                  .v = v,
                  .s = s,
                  .b = eq_attn_blocks(&s),
                  .keys = eq_attn_keys(&s)};
    fwd_scratch measure;
    if (s.past) j.b.keys = KEYS, j.keys = eq_parts(j.keys, STEP) * STEP;
    /* Few key heads: their queries in strips, so that many threads have work. */
    j.strips = eq_even_parts(s.B * s.NKV, ITEMS, eq_parts(s.T, j.b.queries));
    j.scratch = eq_cpu_scratch(be, fwd_bind(&measure, NULL, &j), 0);
    if (j.scratch.base) eq_par_for(s.B * s.NKV * j.strips, fwd_item, &j);
}

void eq_cpu_attention(eq_ops *ops) { ops->attn_fwd = attn_fwd; }

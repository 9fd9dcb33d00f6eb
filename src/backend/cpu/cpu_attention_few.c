/* Causal grouped-query attention, forward, for a few queries a sequence: the keys in parts, each by
 * itself (largest score, sum of exponentials, weighted values), then the parts put together, so
 * that one query of a long context has work for many threads too. A key is brought to fp32 once for
 * all queries of the heads that share it. Invariant: parts follow from the shape alone and meet in
 * rising order. */
#include <math.h>

#include "backend/cpu/attention.h"
#include "base/par.h"

enum { PART = 128 }; /* keys */

typedef struct {
    const eq_kernels *kernels;
    eq_mut o, lse;
    eq_view q, k, v;
    eq_attn_shape s;
    int64_t start, parts; /* the first key that any query sees; parts of a sequence's keys */
    int64_t rows;         /* queries of a key head: its heads, of each the T tokens */
    eq_scratch scratch;   /* shared: for each sequence, key head and part rows of HD + 2 */
} few_job;

typedef struct {
    float *keys; /* [PART, HD] in fp32, then values */
    float *q;    /* [rows, HD] */
    float *p;    /* [rows, PART] */
} few_scratch;

static int64_t few_bind(few_scratch *w, char *base, const few_job *j) {
    int64_t at = 0;
    w->keys = eq_attn_take(base, &at, PART * j->s.HD * 4);
    w->q = eq_attn_take(base, &at, j->rows * j->s.HD * 4);
    w->p = eq_attn_take(base, &at, j->rows * PART * 4);
    return at;
}

/* Row r of key head kv: where its query lies, and its head's token. */
static int64_t query_at(const few_job *j, int64_t b, int64_t kv, int64_t r) {
    const eq_attn_shape *s = &j->s;
    int64_t h = kv * (s->NH / s->NKV) + r / s->T;
    return ((b * s->T + r % s->T) * s->NH + h) * s->HD;
}
/* What a part found for row r: acc [HD], top, sum. */
static float *found(const few_job *j, int64_t item, int64_t r) {
    return (float *)(void *)j->scratch.shared + (item * j->rows + r) * (j->s.HD + 2);
}

static void to_f32(const few_job *j, float *to, eq_view x, int64_t b, int64_t kv, int64_t k0,
                   int64_t n) {
    const eq_attn_shape *s = &j->s;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = ((b * eq_attn_keys(s) + k0 + i) * s->NKV + kv) * s->HD;
        const float *row = eq_chunk_in(j->kernels, x, at, s->HD, to + i * s->HD);
        if (row != to + i * s->HD) memcpy(to + i * s->HD, row, (size_t)s->HD * sizeof *row);
    }
}

/* Scores of row r to weights; outside [lo, hi) they are 0. */
static void weigh(const few_job *j, float *p, float *to, int64_t own, int64_t k0, int64_t n) {
    const eq_kernels *k = j->kernels;
    int64_t lo = eq_attn_first_key(&j->s, own) - k0, hi = eq_least(n, own + 1 - k0);
    float top = -INFINITY, sum = 0.0f, f = j->s.scale;
    if (lo < 0) lo = 0;
    if (hi < lo) lo = hi = 0; /* sees none of these */
    if (lo < hi) {
        if (j->s.cap > 0.0f) k->softcap(p + lo, p + lo, f, j->s.cap, hi - lo), f = 1.0f;
        top = f * k->max(p + lo, hi - lo);
        sum = k->softmax(p + lo, p + lo, f, top, hi - lo);
    }
    memset(p, 0, (size_t)lo * sizeof *p);
    memset(p + hi, 0, (size_t)(n - hi) * sizeof *p);
    to[j->s.HD] = top, to[j->s.HD + 1] = sum;
}

/* Row r's parts put together. */
static void finish(const few_job *j, int64_t b, int64_t kv, int64_t r) {
    const eq_attn_shape *s = &j->s;
    const eq_kernels *k = j->kernels;
    int64_t HD = s->HD, first = (b * s->NKV + kv) * j->parts, at = query_at(j, b, kv, r);
    float top = -INFINITY, sum = 0.0f, *all = found(j, first, r);
    for (int64_t i = 0; i < j->parts; i++) top = fmaxf(top, found(j, first + i, r)[HD]);
    for (int64_t i = 0; i < j->parts; i++) {
        float *part = found(j, first + i, r), keep = expf(part[HD] - top);
        sum += part[HD + 1] * keep;
        if (i == 0)
            k->scale(all, all, keep, HD);
        else
            k->blend(all, part, &keep, 1, HD);
    }
    k->scale(all, all, 1.0f / sum, HD);
    eq_chunk_out(k, j->o, at, HD, all);
    int64_t h = kv * (s->NH / s->NKV) + r / s->T;
    ((float *)j->lse.p)[(b * s->NH + h) * s->T + r % s->T] = top + logf(sum);
}

static void part_item(void *ctx, int64_t item, int thread) {
    const few_job *j = ctx;
    const eq_attn_shape *s = &j->s;
    const eq_kernels *k = j->kernels;
    int64_t part = item % j->parts, kv = item / j->parts % s->NKV, b = item / j->parts / s->NKV;
    int64_t HD = s->HD, k0 = j->start + part * PART, n = eq_least(PART, eq_attn_keys(s) - k0);
    few_scratch w;
    few_bind(&w, eq_scratch_of(j->scratch, thread), j);
    to_f32(j, w.keys, j->k, b, kv, k0, n);
    for (int64_t r = 0; r < j->rows; r++) {
        const float *q = eq_chunk_in(k, j->q, query_at(j, b, kv, r), HD, w.q);
        k->dots(w.p + r * PART, w.keys, q, n, HD);
        weigh(j, w.p + r * PART, found(j, item, r), s->past + r % s->T, k0, n);
    }
    to_f32(j, w.keys, j->v, b, kv, k0, n);
    for (int64_t r = 0; r < j->rows; r++) {
        float *to = found(j, item, r);
        memset(to, 0, (size_t)HD * sizeof *to);
        k->blend(to, w.keys, w.p + r * PART, n, HD);
        if (j->parts == 1) finish(j, b, kv, r);
    }
}

static void finish_item(void *ctx, int64_t item, int thread) {
    const few_job *j = ctx;
    (void)thread;
    for (int64_t r = 0; r < j->rows; r++) finish(j, item / j->s.NKV, item % j->s.NKV, r);
}

void eq_attn_fwd_few(eq_backend *be, eq_mut o, eq_mut lse, eq_view q, eq_view k, eq_view v,
                     const eq_attn_shape *s) {
    int64_t start = eq_attn_first_key(s, s->past);
    few_job j = {.kernels = eq_cpu_of(be)->k,
                 .o = o,
                 .lse = lse,
                 .q = q,
                 .k = k,
                 .v = v,
                 .s = *s,
                 .start = start,
                 .parts = eq_parts(eq_attn_keys(s) - start, PART),
                 .rows = s->NH / s->NKV * s->T};
    few_scratch measure;
    int64_t items = s->B * s->NKV * j.parts;
    if (!items) return;
    j.scratch = eq_cpu_scratch(be, few_bind(&measure, NULL, &j), items * j.rows * (s->HD + 2) * 4);
    if (!j.scratch.base) return;
    eq_par_for(items, part_item, &j);
    if (j.parts > 1) eq_par_for(s->B * s->NKV, finish_item, &j);
}

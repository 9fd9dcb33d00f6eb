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
    float *q; /* [HD] */
    float *p; /* [rows, PART] */
} few_scratch;

static int64_t few_bind(few_scratch *w, char *base, const few_job *j) {
    int64_t at = 0;
    w->q = eq_attn_take(base, &at, j->s.HD * 4);
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
static float *found(const few_job *j, int64_t slot, int64_t r) {
    return (float *)(void *)j->scratch.shared + (slot * j->rows + r) * (j->s.HD + 2);
}

/* Of n rows from key k0 on, keys or values: dots with x, or their blend by weights. */
static void dots(const few_job *j, float *s, int64_t at, const float *x, int64_t n) {
    int64_t HD = j->s.HD, ld = j->s.NKV * HD;
    if (j->k.dt == EQ_F32)
        j->kernels->dots_f32(s, (const float *)j->k.p + at, x, n, HD, ld);
    else
        j->kernels->dots_bf16(s, (const uint16_t *)j->k.p + at, x, n, HD, ld);
}
static void blend(const few_job *j, float *y, int64_t at, const float *w, int64_t n) {
    int64_t HD = j->s.HD, ld = j->s.NKV * HD;
    if (j->v.dt == EQ_F32)
        j->kernels->blend_f32(y, (const float *)j->v.p + at, w, n, HD, ld);
    else
        j->kernels->blend_bf16(y, (const uint16_t *)j->v.p + at, w, n, HD, ld);
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
            k->blend_f32(all, part, &keep, 1, HD, HD);
    }
    k->scale(all, all, 1.0f / sum, HD);
    eq_chunk_out(k, j->o, at, HD, all);
    int64_t h = kv * (s->NH / s->NKV) + r / s->T;
    ((float *)j->lse.p)[(b * s->NH + h) * s->T + r % s->T] = top + logf(sum);
}

static void part_item(void *ctx, int64_t item, int thread) {
    const few_job *j = ctx;
    const eq_attn_shape *s = &j->s;
    int64_t kv = item % s->NKV, part = item / s->NKV % j->parts, b = item / s->NKV / j->parts;
    int64_t slot = (b * s->NKV + kv) * j->parts + part, HD = s->HD;
    int64_t k0 = j->start + part * PART, n = eq_least(PART, eq_attn_keys(s) - k0);
    int64_t at = ((b * eq_attn_keys(s) + k0) * s->NKV + kv) * HD;
    few_scratch w;
    few_bind(&w, eq_scratch_of(j->scratch, thread), j);
    for (int64_t r = 0; r < j->rows; r++) {
        const float *q = eq_chunk_in(j->kernels, j->q, query_at(j, b, kv, r), HD, w.q);
        dots(j, w.p + r * PART, at, q, n);
        weigh(j, w.p + r * PART, found(j, slot, r), s->past + r % s->T, k0, n);
    }
    for (int64_t r = 0; r < j->rows; r++) {
        float *to = found(j, slot, r);
        memset(to, 0, (size_t)HD * sizeof *to);
        blend(j, to, at, w.p + r * PART, n);
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

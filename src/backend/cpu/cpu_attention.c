/* Causal grouped-query attention, forward: blocks of queries against blocks of keys with a running
 * maximum and sum (Milakov and Gimelshein, 2018; Dao et al., 2022), products by oneDNN.
 * Invariant: scratch is a few blocks per thread, whatever the length of the sequence. */
#include <math.h>
#include <string.h>

#include "backend/cpu/attention.h"
#include "base/par.h"

typedef struct {
    const eq_cpu *c;
    eq_mut o, lse;
    eq_view q, k, v;
    eq_attn_shape s;
    eq_attn_block b;
    eq_scratch scratch;
} attn_job;

/* A thread's scratch. p is s itself in fp32. */
typedef struct {
    float *s;   /* [queries, keys] */
    void *p;    /* [queries, keys] in the type of v */
    float *acc; /* [queries, HD] */
    float *row; /* [HD] */
    float *top, *sum;
} fwd_scratch;

static int64_t fwd_bind(fwd_scratch *w, char *base, const attn_job *j) {
    int64_t at = 0, scores = j->b.queries * j->b.keys;
    w->s = eq_attn_take(base, &at, scores * 4);
    w->p = j->v.dt == EQ_F32 ? w->s : eq_attn_take(base, &at, scores * 2);
    w->acc = eq_attn_take(base, &at, j->b.queries * j->s.HD * 4);
    w->row = eq_attn_take(base, &at, j->s.HD * 4);
    w->top = eq_attn_take(base, &at, j->b.queries * 4);
    w->sum = eq_attn_take(base, &at, j->b.queries * 4);
    return at;
}

/* Row r of a block of n keys from k0: scores become weights, the running sums are brought to the
 * new maximum. */
static void softmax_row(const attn_job *j, const fwd_scratch *w, int64_t q, int64_t r, int64_t k0,
                        int64_t n, bool first) {
    const eq_kernels *k = j->c->k;
    float *s = w->s + r * n, f = j->s.scale;
    int64_t lo = eq_attn_first_key(&j->s, q) - k0, hi = eq_least(n, q + 1 - k0);
    if (lo < 0) lo = 0;
    if (lo > hi) lo = hi;
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

static void fwd_item(void *ctx, int64_t item, int thread) {
    const attn_job *j = ctx;
    const eq_attn_shape *s = &j->s;
    /* The last queries see the most keys: they go first, so that no thread waits for them. */
    int64_t heads = s->B * s->NH, blocks = eq_parts(s->T, j->b.queries);
    int64_t b = item % heads / s->NH, h = item % s->NH, kv = h / (s->NH / s->NKV);
    int64_t q0 = (blocks - 1 - item / heads) * j->b.queries, nq = eq_least(j->b.queries, s->T - q0);
    int64_t start = eq_attn_first_block(s, q0), end = q0 + nq, HD = s->HD;
    fwd_scratch w;
    fwd_bind(&w, eq_scratch_of(j->scratch, thread), j);
    for (int64_t k0 = start; k0 < end; k0 += j->b.keys) {
        int64_t nk = eq_least(j->b.keys, end - k0);
        eq_product qk = {.c = w.s,
                         .a = eq_attn_at(j->q, s, b, q0, s->NH, h),
                         .b = eq_attn_at(j->k, s, b, k0, s->NKV, kv),
                         .M = nq,
                         .N = nk,
                         .K = HD,
                         .ldc = nk,
                         .lda = s->NH * HD,
                         .ldb = s->NKV * HD,
                         .in = j->q.dt,
                         .out = EQ_F32,
                         .b_t = true};
        eq_gemm_run(j->c->gemm, thread, &qk);
        for (int64_t r = 0; r < nq; r++) softmax_row(j, &w, q0 + r, r, k0, nk, k0 == start);
        eq_product pv = {.c = w.acc,
                         .a = w.p,
                         .b = eq_attn_at(j->v, s, b, k0, s->NKV, kv),
                         .M = nq,
                         .N = HD,
                         .K = nk,
                         .ldc = HD,
                         .lda = nk,
                         .ldb = s->NKV * HD,
                         .in = j->v.dt,
                         .out = EQ_F32,
                         .acc = k0 != start};
        eq_gemm_run(j->c->gemm, thread, &pv);
    }
    fwd_finish(j, &w, b, h, q0, nq);
}

static void attn_fwd(eq_backend *be, eq_mut o, eq_mut lse, eq_view q, eq_view k, eq_view v,
                     eq_attn_shape s) {
    attn_job j = {.c = eq_cpu_of(be),
                  .o = o,
                  .lse = lse,
                  .q = q,
                  .k = k,
                  .v = v,
                  .s = s,
                  .b = eq_attn_blocks(&s)};
    fwd_scratch measure;
    j.scratch = eq_cpu_scratch(be, fwd_bind(&measure, NULL, &j));
    if (j.scratch.base) eq_par_for(s.B * s.NH * eq_parts(s.T, j.b.queries), fwd_item, &j);
}

void eq_cpu_attention(eq_ops *ops) { ops->attn_fwd = attn_fwd; }

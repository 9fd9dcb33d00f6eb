/* Causal grouped-query attention, backward. The weights are made again, block by block, from the
 * kept log-sum-exp. Scores are held transposed, keys by queries: then four of the five products
 * read their operands as they lie, and what belongs to a query runs along the vector.
 *
 *   P^T  = exp(f K Q^T - lse)               dV += P^T dO
 *   dS^T = P^T (V dO^T - delta) f           dK += dS^T Q
 *   delta = row sums of dO O                dQ += dS K
 *
 * An item has a key head and one of `strips` sets of its blocks of queries (of all the query heads
 * that share it). Where there are several, each leaves dK and dV of its own, which are then added
 * in order. Invariant: the number of strips depends on the shape of one window, so every sum has
 * one order for every number of threads and windows. */
#include <string.h>

#include "backend/cpu/attention.h"
#include "base/par.h"

typedef struct {
    const eq_cpu *c;
    eq_mut dq, dk, dv;
    eq_view do_, q, k, v, o, lse;
    eq_attn_shape s;
    eq_attn_block b;
    int64_t strips;
    int64_t first;      /* sequence of this round */
    eq_scratch scratch; /* shared: where strips > 1, dk and dv [T, HD] of every item */
} bwd_job;

/* Blocks of queries of an item, at least; bytes of partial sums at once, if that is one sequence.
 */
enum { LEAST_BLOCKS = 4, ITEMS = 15, PARTIAL_BYTES = 64 << 20 };

/* A thread's scratch. In fp32 p and ds_t are s_t and dp_t themselves. */
typedef struct {
    void *q, *do_;     /* [queries, HD] */
    void *k, *v;       /* [T, HD] of the key head */
    float *dk, *dv;    /* [T, HD] of the key head; the item's own where strips > 1 */
    float *s_t, *dp_t; /* [keys, queries] */
    void *p_t, *ds_t;  /* [keys, queries] in the type of q */
    void *ds;          /* [queries, keys] in the type of q */
    float *dq;         /* [queries, HD] */
    float *delta;      /* [queries] */
    float *row, *row2; /* [HD] */
} bwd_scratch;

/* Where the loops are: key head kv and query head h of sequence b, queries from q0, keys from
 * k0. */
typedef struct {
    int64_t b, kv, h, q0, nq, k0, nk;
    int thread;
} place;

static int64_t bwd_bind(bwd_scratch *w, char *base, const bwd_job *j) {
    int64_t at = 0, scores = j->b.queries * j->b.keys, HD = j->s.HD, size = eq_dtype_size(j->q.dt);
    bool wide = j->q.dt == EQ_F32;
    w->q = eq_attn_take(base, &at, j->b.queries * HD * size);
    w->do_ = eq_attn_take(base, &at, j->b.queries * HD * size);
    w->k = eq_attn_take(base, &at, j->s.T * HD * size);
    w->v = eq_attn_take(base, &at, j->s.T * HD * size);
    if (j->strips == 1) {
        w->dk = eq_attn_take(base, &at, j->s.T * HD * 4);
        w->dv = eq_attn_take(base, &at, j->s.T * HD * 4);
    }
    w->s_t = eq_attn_take(base, &at, scores * 4);
    w->dp_t = eq_attn_take(base, &at, scores * 4);
    w->p_t = wide ? w->s_t : eq_attn_take(base, &at, scores * size);
    w->ds_t = wide ? w->dp_t : eq_attn_take(base, &at, scores * size);
    w->ds = eq_attn_take(base, &at, scores * size);
    w->dq = eq_attn_take(base, &at, j->b.queries * HD * 4);
    w->delta = eq_attn_take(base, &at, j->b.queries * 4);
    w->row = eq_attn_take(base, &at, HD * 4);
    w->row2 = eq_attn_take(base, &at, HD * 4);
    return at;
}

static void rows_dot(const bwd_job *j, const bwd_scratch *w, const place *at) {
    const eq_attn_shape *s = &j->s;
    for (int64_t r = 0; r < at->nq; r++) {
        int64_t i = ((at->b * s->T + at->q0 + r) * s->NH + at->h) * s->HD;
        const float *d = eq_chunk_in(j->c->k, j->do_, i, s->HD, w->row);
        w->delta[r] = j->c->k->dot(d, eq_chunk_in(j->c->k, j->o, i, s->HD, w->row2), s->HD);
    }
}

/* Scores and dP, both [nk, nq], become P^T, dS^T and dS; 0 where a query does not see the key. */
static void block_grad(const bwd_job *j, const bwd_scratch *w, const place *at) {
    const eq_kernels *k = j->c->k;
    const float *lse = (const float *)j->lse.p + (at->b * j->s.NH + at->h) * j->s.T + at->q0;
    int64_t n = at->nq;
    for (int64_t r = 0; r < at->nk; r++) {
        float *s = w->s_t + r * n, *dp = w->dp_t + r * n;
        int64_t key = at->k0 + r, lo = key - at->q0, hi = n;
        if (j->s.window > 0) hi = eq_least(n, key + j->s.window - at->q0);
        lo = lo < 0 ? 0 : eq_least(lo, n);
        if (hi < lo) hi = lo;
        if (j->s.cap > 0.0f) {
            k->softcap(s + lo, s + lo, j->s.scale, j->s.cap, hi - lo);
            k->attn_grad_cap(s + lo, dp + lo, s + lo, lse + lo, w->delta + lo, j->s.scale, j->s.cap,
                             hi - lo);
        } else {
            k->attn_grad(s + lo, dp + lo, s + lo, lse + lo, w->delta + lo, j->s.scale, hi - lo);
        }
        memset(s, 0, (size_t)lo * sizeof *s), memset(s + hi, 0, (size_t)(n - hi) * sizeof *s);
        memset(dp, 0, (size_t)lo * sizeof *s), memset(dp + hi, 0, (size_t)(n - hi) * sizeof *s);
        if (j->q.dt == EQ_F32) continue;
        k->bf16_from_f32((uint16_t *)w->p_t + r * n, s, n);
        k->bf16_from_f32((uint16_t *)w->ds_t + r * n, dp, n);
    }
    if (j->q.dt == EQ_F32)
        k->transpose32(w->ds, at->nk, w->ds_t, n, at->nk, n);
    else
        k->transpose16(w->ds, at->nk, w->ds_t, n, at->nk, n);
}

static void bwd_block(const bwd_job *j, const bwd_scratch *w, const place *at, bool first) {
    int64_t HD = j->s.HD, nq = at->nq, nk = at->nk, from = at->k0 * HD;
    const char *k = (const char *)w->k + from * eq_dtype_size(j->q.dt);
    const char *v = (const char *)w->v + from * eq_dtype_size(j->q.dt);
    const eq_dtype t = j->q.dt;
    eq_attn_product(j->c, at->thread, w->s_t, k, w->q, nk, nq, HD, t, true, false);
    eq_attn_product(j->c, at->thread, w->dp_t, v, w->do_, nk, nq, HD, t, true, false);
    block_grad(j, w, at);
    eq_attn_product(j->c, at->thread, w->dv + from, w->p_t, w->do_, nk, HD, nq, t, false, true);
    eq_attn_product(j->c, at->thread, w->dk + from, w->ds_t, w->q, nk, HD, nq, t, false, true);
    eq_attn_product(j->c, at->thread, w->dq, w->ds, k, nq, HD, nk, t, false, !first);
}

/* n rows of HD from `from` to rows t0, t0 + 1, ... of head h. */
static void put_rows(const bwd_job *j, eq_mut to, const float *from, int64_t b, int64_t t0,
                     int64_t n, int64_t heads, int64_t h) {
    for (int64_t r = 0; r < n; r++)
        eq_chunk_out(j->c->k, to, ((b * j->s.T + t0 + r) * heads + h) * j->s.HD, j->s.HD,
                     from + r * j->s.HD);
}

/* Block i of the blocks of queries of a key head: those of its first query head, then of the next.
 */
static void bwd_queries(const bwd_job *j, const bwd_scratch *w, place *at, int64_t i) {
    const eq_attn_shape *s = &j->s;
    int64_t blocks = eq_parts(s->T, j->b.queries);
    at->h = at->kv * (s->NH / s->NKV) + i / blocks;
    at->q0 = i % blocks * j->b.queries;
    at->nq = eq_least(j->b.queries, s->T - at->q0);
    eq_attn_gather(w->q, j->q, s, at->b, at->q0, at->nq, s->NH, at->h);
    eq_attn_gather(w->do_, j->do_, s, at->b, at->q0, at->nq, s->NH, at->h);
    rows_dot(j, w, at);
    int64_t start = eq_attn_first_block(s, at->q0), end = at->q0 + at->nq;
    for (at->k0 = start; at->k0 < end; at->k0 += j->b.keys) {
        at->nk = eq_least(j->b.keys, end - at->k0);
        bwd_block(j, w, at, at->k0 == start);
    }
    put_rows(j, j->dq, w->dq, at->b, at->q0, at->nq, s->NH, at->h);
}

/* dk, then dv of an item of this round. */
static float *partial(const bwd_job *j, int64_t item) {
    return (float *)(void *)j->scratch.shared + item * 2 * j->s.T * j->s.HD;
}

static void bwd_item(void *ctx, int64_t item, int thread) {
    const bwd_job *j = ctx;
    const eq_attn_shape *s = &j->s;
    int64_t head = item / j->strips, n = s->T * s->HD;
    int64_t blocks = s->NH / s->NKV * eq_parts(s->T, j->b.queries);
    place at = {.b = j->first + head / s->NKV, .kv = head % s->NKV, .thread = thread};
    bwd_scratch w;
    bwd_bind(&w, eq_scratch_of(j->scratch, thread), j);
    if (j->strips > 1) w.dk = partial(j, item), w.dv = w.dk + n;
    eq_attn_gather(w.k, j->k, s, at.b, 0, s->T, s->NKV, at.kv);
    eq_attn_gather(w.v, j->v, s, at.b, 0, s->T, s->NKV, at.kv);
    memset(w.dk, 0, (size_t)n * sizeof *w.dk);
    memset(w.dv, 0, (size_t)n * sizeof *w.dv);
    for (int64_t i = item % j->strips; i < blocks; i += j->strips) bwd_queries(j, &w, &at, i);
    if (j->strips > 1) return;
    put_rows(j, j->dk, w.dk, at.b, 0, s->T, s->NKV, at.kv);
    put_rows(j, j->dv, w.dv, at.b, 0, s->T, s->NKV, at.kv);
}

/* Some rows of a key head's dk and dv: the strips' in order. */
static void add_strips(void *ctx, int64_t item, int thread) {
    (void)thread;
    const bwd_job *j = ctx;
    const eq_attn_shape *s = &j->s;
    int64_t runs = eq_parts(s->T, j->b.queries), head = item / runs, n = s->T * s->HD;
    int64_t t0 = item % runs * j->b.queries, rows = eq_least(j->b.queries, s->T - t0);
    for (int v = 0; v < 2; v++) {
        float *sum = partial(j, head * j->strips) + v * n + t0 * s->HD;
        for (int64_t i = 1; i < j->strips; i++)
            j->c->k->add(sum, sum, sum + i * 2 * n, rows * s->HD);
        put_rows(j, v ? j->dv : j->dk, sum, j->first + head / s->NKV, t0, rows, s->NKV,
                 head % s->NKV);
    }
}

static void attn_bwd(eq_backend *be, eq_mut dq, eq_mut dk, eq_mut dv, eq_view do_, eq_view q,
                     eq_view k, eq_view v, eq_view o, eq_view lse, eq_attn_shape s) {
    bwd_job j = {.c = eq_cpu_of(be),
                 .dq = dq,
                 .dk = dk,
                 .dv = dv,
                 .do_ = do_,
                 .q = q,
                 .k = k,
                 .v = v,
                 .o = o,
                 .lse = lse,
                 .s = s,
                 .b = eq_attn_blocks(&s)};
    int64_t blocks = eq_parts(s.T, j.b.queries), most = s.NH / s.NKV * blocks / LEAST_BLOCKS;
    j.strips = eq_even_parts(s.NKV, ITEMS, most < 1 ? 1 : most);
    int64_t window = j.strips > 1 ? s.NKV * j.strips * 2 * s.T * s.HD * 4 : 0, at_once = s.B;
    if (window && PARTIAL_BYTES / window < at_once) at_once = PARTIAL_BYTES / window;
    if (at_once < 1) at_once = 1;
    bwd_scratch measure;
    j.scratch = eq_cpu_scratch(be, bwd_bind(&measure, NULL, &j), at_once * window);
    if (!j.scratch.base) return;
    for (; j.first < s.B; j.first += at_once) {
        int64_t heads = eq_least(at_once, s.B - j.first) * s.NKV;
        eq_par_for(heads * j.strips, bwd_item, &j);
        if (j.strips > 1) eq_par_for(heads * blocks, add_strips, &j);
    }
}

void eq_cpu_attention_bwd(eq_ops *ops) { ops->attn_bwd = attn_bwd; }

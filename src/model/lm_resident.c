/* See lm_resident.h. Invariant: steps and zero points are those that files hold (fp16, integers):
 * what is generated is what any runtime reads. */
#include "model/lm_resident.h"

#include "base/mem.h"
#include "quant/number.h"
#include "quant/pack.h"

enum { HEAD_BITS = 8, HEAD_ROWS = 256 }; /* rows of the head on their way to 8 bits */

static bool act8(const eq_lm *lm, const eq_hints *hints) {
    return lm->opts.ct != EQ_F32 && (hints ? hints : &eq_host_hints)->act8;
}
/* Groups of the rounded head; 0: its rows cannot be cut into any. */
static int64_t head_group(const eq_config *c) {
    return c->D % 64 == 0 ? 64 : c->D % 32 == 0 ? 32 : 0;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void packed_bind(eq_packed *p, eq_arena *a, eq_qshape s) {
    int64_t groups = s.O * (s.I / s.G);
    p->shape = s;
    p->q = eq_take(a, EQ_U32, s.O * eq_pack_words(s.I, s.bits));
    p->s = eq_take(a, EQ_F16, groups);
    p->z = eq_take(a, EQ_U8, groups);
}

void eq_resident_bind(eq_lm *lm, eq_arena *a) {
    const eq_config *c = lm->cfg;
    int64_t rows = c->L * lm->opts.context * c->NKV * c->HD, G = head_group(c);
    bool fast = act8(lm, a->hints);
    for (int64_t i = 0; i < c->L; i++) {
        eq_block_w *w = &lm->res.layers[i];
        if (!eq_lm_quantized(lm)) {
            eq_block_w_bind(w, a, c, lm->opts.ct, NULL, NULL);
            continue;
        }
        eq_block_small_bind(w, a, c);
        for (eq_lin l = 0; l < EQ_LINS; l++) packed_bind(&w->packed[l], a, eq_lm_qshape(lm, i, l));
        w->act8 = fast;
    }
    if (fast && G && eq_lm_quantized(lm))
        packed_bind(&lm->res.head, a, (eq_qshape){.O = c->V, .I = c->D, .G = G, .bits = HEAD_BITS});
    else
        lm->head = eq_take(a, lm->opts.ct, c->V * c->D);
    lm->res.k = eq_take(a, lm->opts.ct, rows);
    lm->res.v = eq_take(a, lm->opts.ct, rows);
    lm->res.at = eq_take(a, EQ_I32, 1);
}

void eq_resident_enter(eq_lm *lm, int64_t i) {
    const eq_config *c = lm->cfg;
    int64_t n = lm->opts.context * c->NKV * c->HD;
    lm->block = i;
    lm->w = lm->res.layers[i];
    lm->acts.kv =
        (eq_kv){eq_mut_at(lm->res.k, i * n, n), eq_mut_at(lm->res.v, i * n, n), lm->res.at};
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static eq_status blocks(eq_lm *lm, eq_err *err) {
    for (int64_t i = 0; i < lm->cfg->L; i++) EQ_TRY(eq_lm_block_fwd(lm, i, err));
    return EQ_OK;
}

/* Their operations, recorded; *recorded false: they are to be called. */
static eq_status record(eq_lm *lm, bool *recorded, eq_err *err) {
    eq_backend *be = lm->be;
    if (lm->res.graph) be->graph_free(be, lm->res.graph);
    lm->res.graph = NULL, *recorded = false;
    if (!be->graph_begin(be)) return EQ_OK;
    eq_status st = blocks(lm, err);
    lm->res.graph = be->graph_end(be);
    *recorded = lm->res.graph && be->graph_launch(be, lm->res.graph);
    return st;
}

/* The first token shows the backend what memory its operations need, the second is recorded. Where
 * that fails once it is not tried again. */
eq_status eq_resident_forward(eq_lm *lm, eq_err *err) {
    eq_backend *be = lm->be;
    int32_t at = (int32_t)lm->res.past;
    be->upload(be, lm->res.at, &at, EQ_I32);
    if (lm->acts.T > 1 || !be->graph_begin || lm->res.no_graph) return blocks(lm, err);
    if (lm->res.graph && be->graph_launch(be, lm->res.graph)) return EQ_OK;
    bool recorded = false;
    if (lm->res.warm) {
        EQ_TRY(record(lm, &recorded, err));
        lm->res.no_graph = !recorded;
    }
    lm->res.warm = true;
    return recorded ? EQ_OK : blocks(lm, err);
}

void eq_resident_close(eq_lm *lm) {
    if (lm->res.graph) lm->be->graph_free(lm->be, lm->res.graph);
    lm->res.graph = NULL;
}

/* ---- uploads --------------------------------------------------------------------------------- */

/* Groups [from, from + n) of p: fp16 steps and integers. */
static eq_status put_groups(eq_backend *be, eq_packed *p, int64_t from, int64_t n, const float *s,
                            const float *z, eq_err *err) {
    uint8_t *whole = eq_calloc(n, 1);
    if (!whole) return eq_nomem(err, "zero points", n);
    for (int64_t g = 0; g < n; g++)
        whole[g] = (uint8_t)eq_z_used(z[g], p->shape.bits, p->shape.grid);
    be->upload(be, eq_mut_at(p->s, from, n), s, EQ_F32);
    be->upload(be, eq_mut_at(p->z, from, n), whole, EQ_U8);
    eq_free(whole);
    return EQ_OK;
}

static eq_status put_packed(eq_lm *lm, int64_t i, eq_err *err) {
    eq_backend *be = lm->be;
    eq_block_w *w = &lm->res.layers[i];
    const eq_qblock *b;
    EQ_TRY(lm->opts.source(lm->opts.ctx, i, &b, err));
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_packed *p = &w->packed[l];
        be->upload(be, p->q, b->lin[l].rows, EQ_U32);
        EQ_TRY(put_groups(be, p, 0, p->s.n, b->lin[l].s, b->lin[l].z, err));
        EQ_DO(be, prepare_q, p->q, p->s, p->z, p->shape);
    }
    eq_block_small_upload(w, be, lm->src, i);
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        if (!b->norm[n]) continue;
        be->upload(be, w->norm[n], b->norm[n], EQ_F32);
        eq_norm_weight(be, lm->cfg, w->norm[n], eq_ro(w->norm[n]));
    }
    return EQ_OK;
}

/* Some rows of the head, by the min-max start at 8 bits. */
static eq_status round_rows(eq_lm *lm, int64_t row, int64_t rows, eq_arena *a, float *host,
                            eq_err *err) {
    eq_backend *be = lm->be;
    eq_packed *p = &lm->res.head;
    const eq_tensor *t = lm->src->head;
    eq_qshape qs = p->shape;
    int64_t n = rows * qs.I, groups = n / qs.G, words = rows * eq_pack_words(qs.I, qs.bits);
    qs.O = rows, a->used = 0;
    eq_mut w = eq_take(a, EQ_F32, n), s = eq_take(a, EQ_F32, groups),
           z = eq_take(a, EQ_F32, groups);
    be->upload(be, w, (const char *)t->data + row * qs.I * eq_dtype_size(t->dt), t->dt);
    EQ_DO(be, fq_init, s, z, eq_ro(w), qs);
    EQ_DO(be, fq_pack, eq_mut_at(p->q, row * eq_pack_words(qs.I, qs.bits), words), s, z, eq_ro(w),
          qs);
    be->download(be, host, EQ_F32, eq_ro(s));
    be->download(be, host + groups, EQ_F32, eq_ro(z));
    EQ_TRY(be->sync(be, err));
    return put_groups(be, p, row * (qs.I / qs.G), groups, host, host + groups, err);
}

static eq_status round_head(eq_lm *lm, eq_err *err) {
    eq_packed *p = &lm->res.head;
    int64_t D = p->shape.I, groups = HEAD_ROWS * (D / p->shape.G);
    eq_arena a = {0};
    eq_take(&a, EQ_F32, HEAD_ROWS * D), eq_take(&a, EQ_F32, groups), eq_take(&a, EQ_F32, groups);
    float *host = eq_calloc(2 * groups, sizeof *host);
    eq_status st =
        host ? eq_arena_alloc(&a, lm->be, "the head", err) : eq_nomem(err, "the head", 8 * groups);
    for (int64_t r = 0; st == EQ_OK && r < p->shape.O; r += HEAD_ROWS)
        st = round_rows(lm, r, p->shape.O - r < HEAD_ROWS ? p->shape.O - r : HEAD_ROWS, &a, host,
                        err);
    if (st == EQ_OK) EQ_DO(lm->be, prepare_q, p->q, p->s, p->z, p->shape);
    eq_arena_free(&a);
    eq_free(host);
    return st;
}

eq_status eq_resident_fill(eq_lm *lm, eq_err *err) {
    eq_backend *be = lm->be;
    for (int64_t i = 0; i < lm->cfg->L; i++)
        if (eq_lm_quantized(lm))
            EQ_TRY(put_packed(lm, i, err));
        else
            EQ_TRY(eq_block_w_upload(&lm->res.layers[i], be, lm->src, i, err));
    if (lm->res.head.q.n)
        EQ_TRY(round_head(lm, err));
    else
        be->upload(be, lm->head, lm->src->head->data, lm->src->head->dt);
    /* What a sequence has not reached yet is no NaN. */
    EQ_DO(be, fill, lm->res.k, 0.0f);
    EQ_DO(be, fill, lm->res.v, 0.0f);
    return be->sync(be, err);
}

/* See session.h. Invariant: keys and values of places below `at` belong to the tokens fed last for
 * those places, turned by the angles of a text of `text` tokens; what lies behind is written over
 * before it is read. */
#include "infer/session.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "model/lm_folder.h"

enum { PIECE = 512 }; /* tokens that go through the model together */

struct eq_session {
    eq_lm *lm;
    int64_t at, context;
    int64_t last;  /* tokens of the newest piece, 0: it is gone */
    float *logits; /* [lm->chunk, V], for `each`; NULL until asked for */
    int64_t chunk;
    int64_t text; /* whose angles the tables hold, 0: keys and values may be of another's */
    int32_t *ids; /* [context] that were fed, where angles change as a text grows; NULL */
};

eq_status eq_session_open(eq_session **out, eq_backend *be, const eq_weights *src,
                          const eq_compute_opts *compute, int64_t context, eq_err *err) {
    *out = NULL;
    if (!context) context = src->cfg.T_max;
    if (context < 1 || context > src->cfg.T_max)
        return eq_fail(err, EQ_EINPUT, "%s: context: expected 1 to %lld tokens, found %lld",
                       src->dir, (long long)src->cfg.T_max, (long long)context);
    eq_session *s = eq_calloc(1, sizeof *s);
    if (!s) return eq_nomem(err, "a session", sizeof *s);
    s->context = s->text = context;
    bool change = !eq_rope_same(&src->cfg, 1, context);
    if (change) s->ids = eq_calloc(context, sizeof *s->ids);
    eq_status st = change && !s->ids
                       ? eq_nomem(err, "tokens", context * (int64_t)sizeof *s->ids)
                       : eq_lm_open_context(&s->lm, be, src, compute,
                                            context < PIECE ? context : PIECE, context, err);
    if (st != EQ_OK)
        eq_session_close(s);
    else
        *out = s;
    return st;
}

void eq_session_close(eq_session *s) {
    if (!s) return;
    eq_lm_close(s->lm);
    eq_free(s->logits);
    eq_free(s->ids);
    eq_free(s);
}

/* The logits of the newest piece, as many rows at a time as the model has room for. */
static eq_status tell(eq_session *s, eq_logits_fn each, void *ctx, eq_err *err) {
    int64_t V = s->lm->cfg->V, most = eq_lm_logit_rows(s->lm), T = s->last;
    if (most > s->chunk) {
        eq_free(s->logits);
        s->chunk = 0;
        s->logits = eq_calloc(most * V, sizeof *s->logits);
        if (!s->logits) return eq_nomem(err, "logits", 4 * most * V);
        s->chunk = most;
    }
    for (int64_t from = 0, n; from < T; from += n) {
        n = T - from < most ? T - from : most;
        EQ_TRY(eq_lm_logits(s->lm, from, n, s->logits, err));
        for (int64_t i = 0; i < n; i++) each(ctx, s->at + from + i, s->logits + i * V);
    }
    return EQ_OK;
}

static eq_status feed_piece(eq_session *s, const int32_t *ids, int64_t n, eq_logits_fn each,
                            void *ctx, eq_err *err) {
    s->lm->res.past = s->at;
    s->last = 0;
    EQ_TRY(eq_lm_forward(s->lm, ids, 1, n, err));
    EQ_TRY(s->lm->be->sync(s->lm->be, err));
    s->last = n;
    if (each) EQ_TRY(tell(s, each, ctx, err));
    s->at += n;
    return EQ_OK;
}

static eq_status feed_pieces(eq_session *s, const int32_t *ids, int64_t n, eq_logits_fn each,
                             void *ctx, eq_err *err) {
    for (int64_t i = 0; i < n; i += PIECE)
        EQ_TRY(feed_piece(s, ids + i, n - i < PIECE ? n - i : PIECE, each, ctx, err));
    return EQ_OK;
}

/* A text of n tokens is about to be there: where its angles are others than those of what is there,
 * that goes through again. */
static eq_status turn(eq_session *s, int64_t n, eq_err *err) {
    int64_t before = s->at;
    if (!s->ids || (s->text && eq_rope_same(s->lm->cfg, s->text, n))) return EQ_OK;
    s->text = 0;
    EQ_TRY(eq_rope_fill(&s->lm->rope, s->lm->be, s->lm->cfg, n, err));
    s->at = 0;
    eq_status st = feed_pieces(s, s->ids, before, NULL, NULL, err);
    s->at = before;
    if (st == EQ_OK) s->text = n;
    return st;
}

eq_status eq_session_feed(eq_session *s, const int32_t *ids, int64_t n, eq_logits_fn each,
                          void *ctx, eq_err *err) {
    int64_t before = s->at, V = s->lm->cfg->V;
    eq_status st;
    if (n < 1 || n > s->context - s->at)
        return eq_fail(err, EQ_EINPUT,
                       "tokens: expected 1 to %lld more in a context of %lld, found %lld",
                       (long long)(s->context - s->at), (long long)s->context, (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= V)
            return eq_fail(err, EQ_EINPUT, "token %lld: expected an id below %lld, found %lld",
                           (long long)i, (long long)V, (long long)ids[i]);
    st = turn(s, before + n, err);
    if (st == EQ_OK && s->ids) memcpy(s->ids + before, ids, (size_t)n * sizeof *ids);
    if (st == EQ_OK) st = feed_pieces(s, ids, n, each, ctx, err);
    if (st != EQ_OK) eq_session_truncate(s, before);
    return st;
}

eq_status eq_session_logits(eq_session *s, float *logits, eq_err *err) {
    assert(s->last > 0);
    return eq_lm_logits(s->lm, s->last - 1, 1, logits, err);
}

void eq_session_truncate(eq_session *s, int64_t n) {
    assert(n >= 0 && n <= s->at);
    s->at = n;
    s->last = 0;
}

int64_t eq_session_at(const eq_session *s) { return s->at; }
int64_t eq_session_context(const eq_session *s) { return s->context; }

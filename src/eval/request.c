/* See request.h. */
#include "eval/request.h"

#include <string.h>

#include "base/mem.h"
#include "eval/pytext.h"

typedef struct {
    const eq_tokenizer *tok;
    const eq_items *items;
    bool special;
    eq_ids ids;
    eq_span last;            /* the context that was encoded last, */
    int64_t last_at, last_n; /* and its ids */
} encoder;

static const char *text_at(const eq_items *items, int64_t at) { return items->text.p + at; }

/* A context that several choices share is encoded once. */
static eq_status encode_context(encoder *e, eq_span context, int64_t n, eq_err *err) {
    if (e->last_n && e->last.at == context.at && e->last.n == context.n) return EQ_OK;
    e->last = context, e->last_at = e->ids.n;
    EQ_TRY(eq_encode(e->tok, &e->ids, text_at(e->items, context.at), n, e->special, err));
    e->last_n = e->ids.n - e->last_at;
    return EQ_OK;
}

static eq_status encode_choice(encoder *e, const eq_choice *c, eq_request *r, eq_err *err) {
    eq_text context = {text_at(e->items, c->context.at), c->context.n};
    eq_str whole = {0};
    EQ_TRY(encode_context(e, c->context, eq_py_rstrip(context).n, err));
    eq_str_put(&whole, context.p, context.n);
    eq_str_put(&whole, text_at(e->items, c->continuation.at), c->continuation.n);
    int64_t from = e->ids.n;
    eq_status st = whole.oom ? eq_nomem(err, "a text", whole.n)
                             : eq_encode(e->tok, &e->ids, whole.p, whole.n, e->special, err);
    eq_str_free(&whole);
    *r = (eq_request){e->last_at, e->last_n, from + e->last_n, e->ids.n - from - e->last_n};
    return st;
}

/* Ids that two choices begin with, at most all inputs of either. */
static int64_t common(const eq_asked *a, const eq_request *p, const eq_request *q) {
    int64_t n = eq_request_inputs(p), m = eq_request_inputs(q), t = 0;
    while (t < n && t < m && eq_request_id(a, p, t) == eq_request_id(a, q, t)) t++;
    return t;
}

/* Cuts what the model has no room for; the answer has to stay whole. */
static eq_status fit(eq_request *r, int64_t max, const char *where, int64_t line, int k,
                     eq_err *err) {
    int64_t cut = r->n_context + r->n_continuation - (max + 1);
    if (r->n_context <= 0)
        return eq_fail(err, EQ_EINPUT,
                       "%s: line %lld: expected a context of at least one token, "
                       "found none",
                       where, (long long)line);
    if (r->n_continuation <= 0)
        return eq_fail(err, EQ_EINPUT,
                       "%s: line %lld: choice %d: expected at least one token, found none", where,
                       (long long)line, k + 1);
    if (r->n_continuation > max)
        return eq_fail(err, EQ_EINPUT,
                       "%s: line %lld: choice %d: expected at most %lld tokens, the model's "
                       "context, found %lld",
                       where, (long long)line, k + 1, (long long)max, (long long)r->n_continuation);
    if (cut > 0) r->context += cut, r->n_context -= cut;
    return EQ_OK;
}

eq_status eq_asked_make(eq_asked *a, const eq_tokenizer *tok, const eq_items *items,
                        const eq_item *item, bool special, int64_t context_max, const char *where,
                        eq_err *err) {
    encoder e = {.tok = tok, .items = items, .special = special};
    *a = (eq_asked){.n = item->n};
    if (!(a->request = eq_calloc(item->n, sizeof *a->request)))
        return eq_nomem(err, where, item->n * (int64_t)sizeof *a->request);
    eq_status st = EQ_OK;
    for (int k = 0; k < item->n && st == EQ_OK; k++) {
        st = encode_choice(&e, &items->choice[item->first + k], &a->request[k], err);
        if (st == EQ_OK) st = fit(&a->request[k], context_max, where, item->line, k, err);
    }
    a->ids = e.ids.p;
    for (int k = 0; k < item->n && st == EQ_OK; k++) {
        int64_t n = eq_request_inputs(&a->request[k]);
        if (n > a->longest) a->longest = n;
        a->rows += n - (k ? common(a, &a->request[0], &a->request[k]) : 0);
    }
    return st;
}

void eq_asked_free(eq_asked *a) {
    eq_free(a->ids), eq_free(a->request);
    *a = (eq_asked){0};
}

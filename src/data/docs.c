/* Data files as tokens; see docs.h. Invariant: a document's token count, once known, is kept, so
 * drawing the same short document a thousand times tokenises it once. */
#include "data/docs.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "format/corpus.h"

static eq_status check_ids(const int32_t *ids, int64_t n, const char *where,
                           const eq_window_opts *o, eq_err *err) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= o->vocab)
            return eq_fail(err, EQ_EINPUT, "%s: token %lld: id %d, but the vocabulary has %lld",
                           where, (long long)i, ids[i], (long long)o->vocab);
    return EQ_OK;
}

eq_status eq_data_npy(eq_npy *out, const char *path, const eq_window_opts *o, eq_err *err) {
    EQ_TRY(eq_npy_read(out, path, err));
    for (int64_t i = 0; i < out->rows * out->cols; i++) {
        if (out->ids[i] < o->vocab) continue;
        eq_fail(err, EQ_EINPUT, "%s: row %lld, column %lld: id %d, but the vocabulary has %lld",
                path, (long long)(i / out->cols), (long long)(i % out->cols), out->ids[i],
                (long long)o->vocab);
        eq_npy_free(out);
        return EQ_EINPUT;
    }
    return EQ_OK;
}

eq_status eq_data_encode(eq_ids *out, const char *text, int64_t n, const char *path, int64_t line,
                         const eq_window_opts *o, eq_err *err) {
    if (!o->tok)
        return eq_fail(err, EQ_EINPUT, "%s: text needs a tokenizer, and the model has none", path);
    int64_t before = out->n;
    if (eq_encode(o->tok, out, text, n, true, err) != EQ_OK) return eq_fail_at(err, "%s", path);
    char where[512];
    snprintf(where, sizeof where, "%.480s: line %lld", path, (long long)line);
    return check_ids(out->p + before, out->n - before, line ? where : path, o, err);
}

/* ---- several texts at once ------------------------------------------------------------------- */

enum { BATCH = 64 };

typedef struct {
    char *text;
    int64_t n, line;
    eq_ids ids;
    eq_status st;
    eq_err err;
} piece;

typedef struct {
    const char *path;
    const eq_window_opts *o;
    int64_t n;
    piece p[BATCH];
} batch;

static eq_status batch_add(batch *b, const char *text, int64_t n, int64_t line, eq_err *err) {
    piece *p = &b->p[b->n];
    *p = (piece){.text = eq_calloc(n, 1), .n = n, .line = line};
    if (!p->text) return eq_nomem(err, b->path, n);
    if (n) memcpy(p->text, text, (size_t)n);
    b->n++;
    return EQ_OK;
}

static void encode_piece(void *ctx, int64_t i, int thread) {
    batch *b = ctx;
    piece *p = &b->p[i];
    (void)thread;
    p->st = eq_data_encode(&p->ids, p->text, p->n, b->path, p->line, b->o, &p->err);
}

static void batch_clear(batch *b) {
    for (int64_t i = 0; i < b->n; i++) {
        eq_free(b->p[i].text);
        eq_ids_free(&b->p[i].ids);
    }
    b->n = 0;
}

/* ---- everything in one stream ---------------------------------------------------------------- */

/* The first ids change hands: a long text is not copied. */
static eq_status append(eq_ids *out, eq_ids *more, const char *path, eq_err *err) {
    if (!out->p) {
        *out = *more;
        *more = (eq_ids){0};
        return EQ_OK;
    }
    if (out->n + more->n > out->cap) {
        int64_t cap = 2 * (out->n + more->n);
        int32_t *p = eq_realloc(out->p, cap, sizeof *p);
        if (!p) return eq_nomem(err, path, cap * (int64_t)sizeof *p);
        out->p = p, out->cap = cap;
    }
    if (more->n) memcpy(out->p + out->n, more->p, (size_t)more->n * sizeof *out->p);
    out->n += more->n;
    return EQ_OK;
}

/* Up to BATCH documents; what is wrong behind them comes back as *later, so that a stream that has
 * enough before it never sees it. */
static void fill(batch *b, eq_corpus *c, bool *ended, eq_status *later, eq_err *err) {
    while (b->n < BATCH && !*ended) {
        const char *text;
        int64_t n, line;
        *later = eq_corpus_next(c, &text, &n, err);
        line = eq_corpus_is_text(c) ? 0 : eq_corpus_line(c);
        if (*later == EQ_OK && text && !n && !line)
            *later = eq_fail(err, EQ_EINPUT, "%s: the text is empty", b->path);
        if (*later == EQ_OK && text) *later = batch_add(b, text, n, line, err);
        *ended = *later != EQ_OK || !text;
    }
}

static eq_status stream(eq_ids *out, batch *b, eq_corpus *c, int64_t need, eq_err *err) {
    eq_status later = EQ_OK;
    eq_err later_err = {0};
    for (bool ended = false; !ended;) {
        if (eq_stopped(b->o->obs)) return eq_fail(err, EQ_EINTR, "%s: stopped", b->path);
        batch_clear(b);
        fill(b, c, &ended, &later, &later_err);
        eq_par_for(b->n, encode_piece, b);
        for (int64_t i = 0; i < b->n; i++) {
            if (b->p[i].st != EQ_OK) return eq_fail(err, b->p[i].st, "%s", b->p[i].err.msg);
            EQ_TRY(append(out, &b->p[i].ids, b->path, err));
            if (need && out->n >= need) return EQ_OK;
        }
        eq_progress p = {.phase = "read", .done = out->n, .total = need, .tokens = true};
        p.loss = __builtin_nan("");
        if (need) eq_progress_say(b->o->obs, &p);
    }
    if (later != EQ_OK) return eq_fail(err, later, "%s", later_err.msg);
    return out->n ? EQ_OK : eq_fail(err, EQ_EINPUT, "%s: no token in it", b->path);
}

eq_status eq_data_stream(eq_ids *out, const char *path, int64_t need, const eq_window_opts *o,
                         eq_err *err) {
    *out = (eq_ids){0};
    eq_corpus *c;
    EQ_TRY(eq_corpus_open(&c, path, err));
    batch *b = eq_calloc(1, sizeof *b);
    eq_status st = b ? EQ_OK : eq_nomem(err, path, sizeof *b);
    if (b) {
        b->path = path, b->o = o;
        st = stream(out, b, c, need, err);
        batch_clear(b);
    }
    eq_free(b);
    eq_corpus_close(c);
    if (st != EQ_OK) {
        eq_ids_free(out);
        *out = (eq_ids){0};
    }
    return st;
}

/* ---- documents in any order ------------------------------------------------------------------ */

typedef struct {
    char *text; /* NULL: read again from `at` */
    int64_t at, n, line;
    int64_t tokens; /* -1: not known yet */
} doc;

struct eq_docs {
    char *path;
    const eq_window_opts *o;
    eq_corpus *corpus;
    doc *d;
    int64_t n, cap;
    eq_ids ids; /* of document `newest` */
    int64_t newest;
    batch *ahead;
};

static eq_status add_doc(eq_docs *d, const char *text, int64_t n, eq_err *err) {
    if (d->n == d->cap) {
        int64_t cap = d->cap ? 2 * d->cap : 1024;
        doc *p = eq_realloc(d->d, cap, sizeof *p);
        if (!p) return eq_nomem(err, d->path, cap * (int64_t)sizeof *p);
        d->d = p, d->cap = cap;
    }
    doc *new_doc = &d->d[d->n];
    *new_doc = (doc){
        .at = eq_corpus_tell(d->corpus), .n = n, .line = eq_corpus_line(d->corpus), .tokens = -1};
    if (!eq_corpus_can_seek(d->corpus)) {
        new_doc->text = eq_calloc(n, 1);
        if (!new_doc->text) return eq_nomem(err, d->path, n);
        if (n) memcpy(new_doc->text, text, (size_t)n);
    }
    d->n++;
    return EQ_OK;
}

static eq_status read_docs(eq_docs *d, eq_err *err) {
    for (;;) {
        const char *text;
        int64_t n;
        if (eq_stopped(d->o->obs)) return eq_fail(err, EQ_EINTR, "%s: stopped", d->path);
        EQ_TRY(eq_corpus_next(d->corpus, &text, &n, err));
        if (!text) break;
        EQ_TRY(add_doc(d, text, n, err));
    }
    if (!d->n) return eq_fail(err, EQ_EINPUT, "%s: no document in it", d->path);
    return EQ_OK;
}

eq_status eq_docs_open(eq_docs **out, const char *path, const eq_window_opts *o, eq_err *err) {
    *out = NULL;
    eq_docs *d = eq_calloc(1, sizeof *d);
    if (!d) return eq_nomem(err, path, sizeof *d);
    d->o = o, d->newest = -1;
    d->path = eq_strdup(path);
    d->ahead = eq_calloc(1, sizeof *d->ahead);
    eq_status st = d->path && d->ahead ? eq_corpus_open(&d->corpus, path, err)
                                       : eq_nomem(err, path, sizeof *d->ahead);
    if (st == EQ_OK) {
        d->ahead->path = d->path, d->ahead->o = o;
        st = read_docs(d, err);
    }
    if (st != EQ_OK) {
        eq_docs_close(d);
        return st;
    }
    *out = d;
    return EQ_OK;
}

int64_t eq_docs_count(const eq_docs *d) { return d->n; }
int64_t eq_docs_tokens(const eq_docs *d, int64_t i) { return d->d[i].tokens; }

static eq_status text_of(eq_docs *d, int64_t i, const char **text, int64_t *n, eq_err *err) {
    const doc *one = &d->d[i];
    *text = one->text, *n = one->n;
    if (*text) return EQ_OK;
    eq_corpus_seek(d->corpus, one->at, one->line);
    return eq_corpus_next(d->corpus, text, n, err);
}

eq_status eq_docs_ids(eq_docs *d, int64_t i, const int32_t **ids, eq_err *err) {
    doc *one = &d->d[i];
    if (d->newest != i) {
        const char *text;
        int64_t n;
        EQ_TRY(text_of(d, i, &text, &n, err));
        d->newest = -1;
        d->ids.n = 0;
        EQ_TRY(eq_data_encode(&d->ids, text, n, d->path, one->line, d->o, err));
        d->newest = i;
        one->tokens = d->ids.n;
    }
    *ids = d->ids.p;
    return EQ_OK;
}

eq_status eq_docs_count_tokens(eq_docs *d, const int64_t *which, int64_t n, eq_err *err) {
    batch *b = d->ahead;
    int64_t index[BATCH];
    eq_status st = EQ_OK;
    for (int64_t k = 0; k < n && b->n < BATCH && st == EQ_OK; k++) {
        const char *text;
        int64_t bytes, i = which[k];
        bool known = d->d[i].tokens >= 0;
        for (int64_t j = 0; j < b->n && !known; j++) known = index[j] == i;
        if (known) continue;
        index[b->n] = i;
        st = text_of(d, i, &text, &bytes, err);
        if (st == EQ_OK) st = batch_add(b, text, bytes, d->d[i].line, err);
    }
    if (st == EQ_OK) eq_par_for(b->n, encode_piece, b);
    for (int64_t k = 0; k < b->n && st == EQ_OK; k++)
        if (b->p[k].st == EQ_OK) d->d[index[k]].tokens = b->p[k].ids.n;
    batch_clear(b);
    return st;
}

void eq_docs_close(eq_docs *d) {
    if (!d) return;
    for (int64_t i = 0; i < d->n; i++) eq_free(d->d[i].text);
    eq_corpus_close(d->corpus);
    eq_ids_free(&d->ids);
    eq_free(d->ahead);
    eq_free(d->d);
    eq_free(d->path);
    eq_free(d);
}

/* Data files as tokens; see docs.h. Invariant: a document's token count, once known, is kept, so
 * drawing the same short document a thousand times tokenises it once. */
#include "data/docs.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
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

eq_status eq_data_stream(eq_ids *out, const char *path, int64_t need, const eq_window_opts *o,
                         eq_err *err) {
    eq_corpus *c;
    EQ_TRY(eq_corpus_open(&c, path, err));
    eq_status st;
    for (const char *text; out->n < need || need == 0;) {
        int64_t n;
        if (eq_stopped(o->obs)) EQ_GOTO(st, end, eq_fail(err, EQ_EINTR, "%s: stopped", path));
        EQ_GOTO(st, end, eq_corpus_next(c, &text, &n, err));
        if (!text) break;
        int64_t line = eq_corpus_is_text(c) ? 0 : eq_corpus_line(c);
        if (!n && !line) EQ_GOTO(st, end, eq_fail(err, EQ_EINPUT, "%s: the text is empty", path));
        EQ_GOTO(st, end, eq_data_encode(out, text, n, path, line, o, err));
        if (need)
            eq_progress_say(o->obs, &(eq_progress){.phase = "read",
                                                   .done = out->n < need ? out->n : need,
                                                   .total = need,
                                                   .tokens = true,
                                                   .loss = __builtin_nan("")});
    }
    st = out->n ? EQ_OK : eq_fail(err, EQ_EINPUT, "%s: no token in it", path);
end:
    eq_corpus_close(c);
    return st;
}

/* ---- documents in any order -------------------------------------------------------------------
 */

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
    eq_status st = d->path ? eq_corpus_open(&d->corpus, path, err) : eq_nomem(err, path, 256);
    if (st == EQ_OK) st = read_docs(d, err);
    if (st != EQ_OK) {
        eq_docs_close(d);
        return st;
    }
    *out = d;
    return EQ_OK;
}

int64_t eq_docs_count(const eq_docs *d) { return d->n; }
int64_t eq_docs_tokens(const eq_docs *d, int64_t i) { return d->d[i].tokens; }

eq_status eq_docs_ids(eq_docs *d, int64_t i, const int32_t **ids, eq_err *err) {
    doc *one = &d->d[i];
    if (d->newest != i) {
        const char *text = one->text;
        int64_t n = one->n;
        if (!text) {
            eq_corpus_seek(d->corpus, one->at, one->line);
            EQ_TRY(eq_corpus_next(d->corpus, &text, &n, err));
        }
        d->newest = -1;
        d->ids.n = 0;
        EQ_TRY(eq_data_encode(&d->ids, text, n, d->path, one->line, d->o, err));
        d->newest = i;
        one->tokens = d->ids.n;
    }
    *ids = d->ids.p;
    return EQ_OK;
}

void eq_docs_close(eq_docs *d) {
    if (!d) return;
    for (int64_t i = 0; i < d->n; i++) eq_free(d->d[i].text);
    eq_corpus_close(d->corpus);
    eq_ids_free(&d->ids);
    eq_free(d->d);
    eq_free(d->path);
    eq_free(d);
}

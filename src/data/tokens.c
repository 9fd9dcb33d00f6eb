/* See tokens.h. The first pass counts and keeps ids, a second one, where they did not fit, picks
 * the windows out.
 * Invariant: ids depend on files, tokenizer and options alone, not on threads, pieces or memory. */
#include "data/tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "data/token_pass.h"
#include "format/id_file.h"

enum { BLOCK = 1 << 18 };

struct eq_tokens {
    eq_source src;
    const eq_window_opts *o;
    int64_t n, columns;
    int64_t *end; /* [cap]: ids before the end of document i */
    int64_t docs, docs_cap;
    void **block; /* BLOCK ids each, 16 or 32 bits wide */
    int64_t blocks, block_cap;
    int64_t need; /* the first pass: ids wanted; 0: all */
    bool joined, narrow, kept;
    eq_inputs inputs;
};

/* ---- keeping --------------------------------------------------------------------------------- */

static void forget(eq_tokens *t) {
    for (int64_t i = 0; i < t->blocks; i++) eq_free(t->block[i]);
    eq_free(t->block);
    t->block = NULL;
    t->blocks = t->block_cap = 0;
    t->kept = false;
}

/* Room for one more list entry of `size` bytes. */
static eq_status grow(void **list, int64_t n, int64_t *cap, int64_t size, const char *name,
                      eq_err *err) {
    if (n < *cap) return EQ_OK;
    int64_t more = *cap ? *cap + *cap / 2 : 64;
    void *p = eq_realloc(*list, more, size);
    if (!p) return eq_nomem(err, name, more * size);
    *list = p, *cap = more;
    return EQ_OK;
}

/* Half of what the limit leaves is for ids; the windows that are taken from them need room, too. */
static bool too_much(const eq_tokens *t) {
    int64_t held = t->blocks * BLOCK * (t->narrow ? 2 : 4), others = eq_mem_current() - held;
    return t->o->memory && held > (t->o->memory - others) / 2;
}

static eq_status keep_ids(eq_tokens *t, const int32_t *ids, int64_t n, eq_err *err) {
    for (int64_t i = 0; i < n && t->kept;) {
        int64_t at = (t->n + i) % BLOCK, k = BLOCK - at < n - i ? BLOCK - at : n - i;
        if (!at) {
            EQ_TRY(grow((void **)&t->block, t->blocks, &t->block_cap, sizeof *t->block, t->src.name,
                        err));
            void *b = eq_calloc(BLOCK, t->narrow ? 2 : 4);
            if (!b) return eq_nomem(err, t->src.name, BLOCK * 4);
            t->block[t->blocks++] = b;
            if (too_much(t)) forget(t);
        }
        void *b = t->kept ? t->block[t->blocks - 1] : NULL;
        for (int64_t j = 0; b && j < k && t->narrow; j++)
            ((uint16_t *)b)[at + j] = (uint16_t)ids[i + j];
        if (b && !t->narrow) memcpy((int32_t *)b + at, ids + i, (size_t)k * sizeof *ids);
        i += k;
    }
    return EQ_OK;
}

static eq_status put_kept(eq_pass *p, const int32_t *ids, int64_t n, bool doc_ends, eq_err *err) {
    eq_tokens *t = p->ctx;
    EQ_TRY(keep_ids(t, ids, n, err));
    t->n += n;
    if (doc_ends) {
        EQ_TRY(grow((void **)&t->end, t->docs, &t->docs_cap, sizeof *t->end, t->src.name, err));
        t->end[t->docs++] = t->n;
    }
    p->enough = t->need && t->n >= t->need;
    return EQ_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Rows of ids are windows already: they go with rows of their length alone. */
static eq_status find_columns(eq_tokens *t, eq_err *err) {
    for (int64_t i = 0; i < t->src.n; i++) {
        const eq_file *f = &t->src.file[i];
        eq_id_file ids;
        int64_t columns = 0;
        if (f->kind == EQ_FILE_NPY) {
            EQ_TRY(eq_id_file_open(&ids, f, NULL, err));
            columns = ids.head.is_2d ? ids.head.cols : 0;
            eq_id_file_close(&ids);
        }
        if (i && columns != t->columns)
            return eq_fail(err, EQ_EINPUT,
                           "%s: expected rows of %lld tokens (0: no rows) like the data before it, "
                           "found %lld; with weights each is drawn from for itself",
                           f->name, (long long)t->columns, (long long)columns);
        if (columns && t->o->pack)
            return eq_fail(err, EQ_EINPUT, "%s: rows of ids are windows: they cannot be packed",
                           f->name);
        t->columns = columns;
    }
    return EQ_OK;
}

static eq_status first_pass(eq_tokens *t, eq_err *err) {
    eq_pass p = {.src = &t->src,
                 .o = t->o,
                 .joined = t->joined,
                 .put = put_kept,
                 .ctx = t,
                 .inputs = &t->inputs};
    EQ_TRY(find_columns(t, err));
    EQ_TRY(eq_pass_run(&p, err));
    return t->n ? EQ_OK : eq_fail(err, EQ_EINPUT, "%s: no token in it", t->src.name);
}

eq_status eq_tokens_open(eq_tokens **out, eq_source *src, bool joined, int64_t need,
                         const eq_window_opts *o, eq_err *err) {
    *out = NULL;
    eq_tokens *t = eq_calloc(1, sizeof *t);
    if (!t) return eq_nomem(err, src->name, sizeof *t);
    t->o = o, t->joined = joined, t->kept = true, t->narrow = o->vocab <= 65536, t->need = need;
    t->src = *src, *src = (eq_source){0};
    eq_status st =
        joined && t->src.n > 1
            ? eq_fail(err, EQ_EINPUT, "%s: expected one file for this protocol", t->src.name)
            : first_pass(t, err);
    if (st == EQ_OK) {
        *out = t;
        return EQ_OK;
    }
    eq_tokens_close(t);
    return st;
}

void eq_tokens_close(eq_tokens *t) {
    if (!t) return;
    forget(t);
    eq_inputs_free(&t->inputs);
    eq_source_free(&t->src);
    eq_free(t->end);
    eq_free(t);
}

bool eq_tokens_are_of(const eq_tokens *t, const eq_source *s) {
    bool same = t->src.n == s->n;
    for (int64_t i = 0; same && i < s->n; i++) same = !strcmp(t->src.file[i].path, s->file[i].path);
    return same;
}

const char *eq_tokens_name(const eq_tokens *t) { return t->src.name; }
const eq_inputs *eq_tokens_inputs(const eq_tokens *t) { return &t->inputs; }
int64_t eq_tokens_count(const eq_tokens *t) { return t->n; }
int64_t eq_tokens_docs(const eq_tokens *t) { return t->docs; }
int64_t eq_tokens_doc_start(const eq_tokens *t, int64_t i) { return i ? t->end[i - 1] : 0; }
int64_t eq_tokens_columns(const eq_tokens *t) { return t->columns; }

/* ---- taking ---------------------------------------------------------------------------------- */

static void take_kept(const eq_tokens *t, int32_t *out, int64_t at, int64_t n) {
    for (int64_t i = 0; i < n; i++, at++) {
        const void *b = t->block[at / BLOCK];
        out[i] = t->narrow ? ((const uint16_t *)b)[at % BLOCK] : ((const int32_t *)b)[at % BLOCK];
    }
}

typedef struct {
    int64_t start, window;
} place;

/* The second pass: windows in order of their starts. */
typedef struct {
    const place *place;
    int64_t windows, T, first, at;
    int32_t *out;
} picking;

static int by_start(const void *a, const void *b) {
    const place *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* The parts of ids [w->at, w->at + n) that lie in windows. All windows have one length, so those
 * that begin first end first, too. */
static eq_status put_windows(eq_pass *p, const int32_t *ids, int64_t n, bool doc_ends,
                             eq_err *err) {
    (void)doc_ends, (void)err;
    picking *w = p->ctx;
    int64_t from = w->at, to = from + n, T = w->T;
    while (w->first < w->windows && w->place[w->first].start + T <= from) w->first++;
    for (int64_t k = w->first; k < w->windows && w->place[k].start < to; k++) {
        int64_t start = w->place[k].start, a = start > from ? start : from;
        int64_t b = start + T < to ? start + T : to;
        if (a < b)
            memcpy(w->out + w->place[k].window * T + (a - start), ids + (a - from),
                   (size_t)(b - a) * sizeof *ids);
    }
    w->at = to;
    p->enough = w->place[w->windows - 1].start + T <= to;
    return EQ_OK;
}

static eq_status second_pass(const eq_tokens *t, int32_t *out, const int64_t *start, int64_t n,
                             int64_t T, eq_err *err) {
    place *places = eq_calloc(n, sizeof *places);
    if (!places) return eq_nomem(err, t->src.name, n * (int64_t)sizeof *places);
    for (int64_t i = 0; i < n; i++) places[i] = (place){start[i], i};
    qsort(places, (size_t)n, sizeof *places, by_start);
    picking w = {.place = places, .windows = n, .T = T, .out = out};
    eq_pass p = {.src = &t->src, .o = t->o, .joined = t->joined, .put = put_windows, .ctx = &w};
    eq_note(t->o->obs, "%s: its tokens do not fit into the memory limit: read a second time",
            t->src.name);
    eq_status st = eq_pass_run(&p, err);
    if (st == EQ_OK && !p.enough)
        st = eq_fail(err, EQ_EINPUT, "%s: became shorter while it was read", t->src.name);
    eq_free(places);
    return st;
}

eq_status eq_tokens_take(const eq_tokens *t, int32_t *out, const int64_t *start, int64_t n,
                         int64_t T, eq_err *err) {
    if (!n) return EQ_OK;
    if (!t->kept) return second_pass(t, out, start, n, T, err);
    for (int64_t i = 0; i < n; i++) take_kept(t, out + i * T, start[i], T);
    return EQ_OK;
}

/* See tokens.h. One pass over a file hands its ids in order to a sink: the first pass counts and
 * keeps them, a second one, where they did not fit, picks the windows out.
 * Invariant: ids depend on file and tokenizer alone, not on threads, pieces or memory. */
#include "data/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "base/str.h"
#include "data/rows.h"
#include "format/corpus.h"
#include "format/npy.h"

/* A batch of documents ends at either; a longer text goes through in pieces. Small, so that a stop
 * is heard within a second on a slow core. */
enum { BATCH = 64, BATCH_BYTES = 1 << 20, LONG = 1 << 18, BLOCK = 1 << 18 };

struct eq_tokens {
    char *path;
    const eq_window_opts *o;
    int64_t n, columns;
    int64_t *end; /* [cap]: ids before the end of document i */
    int64_t docs, docs_cap;
    eq_npy npy;   /* ids of an .npy; else blocks of text's ids: */
    void **block; /* BLOCK ids each, 16 or 32 bits wide */
    int64_t blocks, block_cap;
    bool joined, narrow, kept;
};

/* ---- one pass -------------------------------------------------------------------------------- */

typedef struct {
    char *text;
    int64_t n, line;
    eq_ids ids;
    eq_status st;
    eq_err err;
} piece;

typedef struct {
    int64_t start, window;
} place;

typedef struct pass {
    const char *path;
    const eq_window_opts *o;
    /* Gets ids in order; *enough: no more are wanted. */
    eq_status (*put)(struct pass *p, const int32_t *ids, int64_t n, bool doc_ends, eq_err *err);
    eq_tokens *t;
    bool enough;
    int64_t n, bytes; /* pieces waiting, their texts */
    piece p[BATCH];
    int64_t need; /* the first pass: ids wanted */
    /* the second pass: windows in order of their starts */
    const place *place;
    int64_t windows, T, first, at;
    int32_t *out;
} pass;

static eq_status check_ids(const int32_t *ids, int64_t n, int64_t before, int64_t line,
                           const pass *p, eq_err *err) {
    char at[64] = "";
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] >= 0 && ids[i] < p->o->vocab) continue;
        if (line) snprintf(at, sizeof at, "line %lld: ", (long long)line);
        return eq_fail(err, EQ_EINPUT, "%s: %stoken %lld: id %d, but the vocabulary has %lld",
                       p->path, at, (long long)(before + i), ids[i], (long long)p->o->vocab);
    }
    return EQ_OK;
}

static void encode_piece(void *ctx, int64_t i, int thread) {
    pass *p = ctx;
    piece *d = &p->p[i];
    (void)thread;
    d->st = eq_encode(p->o->tok, &d->ids, d->text, d->n, true, &d->err);
    if (d->st != EQ_OK)
        d->st = eq_fail_at(&d->err, "%s", p->path);
    else
        d->st = check_ids(d->ids.p, d->ids.n, 0, d->line, p, &d->err);
}

static void clear(pass *p) {
    for (int64_t i = 0; i < p->n; i++) {
        eq_free(p->p[i].text);
        eq_ids_free(&p->p[i].ids);
    }
    p->n = p->bytes = 0;
}

/* The documents that wait. */
static eq_status flush(pass *p, eq_err *err) {
    eq_status st = EQ_OK;
    eq_par_for(p->n, encode_piece, p);
    for (int64_t i = 0; i < p->n && st == EQ_OK && !p->enough; i++) {
        piece *d = &p->p[i];
        st = d->st != EQ_OK ? eq_fail(err, d->st, "%s", d->err.msg)
                            : p->put(p, d->ids.p, d->ids.n, true, err);
    }
    clear(p);
    return st;
}

static eq_status wait_for_others(pass *p, const char *text, int64_t n, int64_t line, eq_err *err) {
    piece *d = &p->p[p->n];
    *d = (piece){.text = eq_calloc(n, 1), .n = n, .line = line};
    if (!d->text) return eq_nomem(err, p->path, n);
    if (n) memcpy(d->text, text, (size_t)n);
    p->n++, p->bytes += n;
    return EQ_OK;
}

/* ---- long texts ------------------------------------------------------------------------------ */

typedef struct {
    eq_encoder *e;
    eq_ids ids;
    int64_t line, done, bytes;
} long_text;

/* Bytes that encoding takes for one byte of a text that cannot be cut (see eq_encoder_local): the
 * text, two normalized copies in which a space has three bytes, four bytes for an id. */
enum { WHOLE = 8 };

static eq_status put_part(pass *p, long_text *l, const char *text, int64_t n, bool last,
                          eq_err *err) {
    if (eq_stopped(p->o->obs)) return eq_fail(err, EQ_EINTR, "%s: stopped", p->path);
    l->ids.n = 0, l->bytes += n;
    if (p->o->memory && !eq_encoder_local(l->e) && l->bytes > p->o->memory / WHOLE)
        return eq_fail(err, EQ_ENOMEM,
                       "%s: this tokenizer takes a text as a whole, %d bytes of memory for each of "
                       "its bytes, and the limit is %.2f GiB: cut the text into the lines of a "
                       ".jsonl",
                       p->path, WHOLE, (double)p->o->memory / (1 << 30));
    if (eq_encoder_put(l->e, &l->ids, text, n, last, err) != EQ_OK)
        return eq_fail_at(err, "%s", p->path);
    EQ_TRY(check_ids(l->ids.p, l->ids.n, l->done, l->line, p, err));
    l->done += l->ids.n;
    return p->put(p, l->ids.p, l->ids.n, last && l->line, err);
}

static eq_status long_text_open(long_text *l, const pass *p, int64_t line, eq_err *err) {
    *l = (long_text){.e = eq_encoder_new(p->o->tok), .line = line};
    return l->e ? EQ_OK : eq_nomem(err, p->path, 1 << 16);
}
static void long_text_close(long_text *l) {
    eq_encoder_free(l->e);
    eq_ids_free(&l->ids);
}

/* Whole characters, about LONG bytes of them. */
static int64_t part_size(const char *text, int64_t n) {
    if (n <= LONG) return n;
    int64_t k = LONG;
    while (k > 0 && ((unsigned char)text[k] & 0xc0) == 0x80) k--;
    return k;
}

/* More of the text; `last`: its end. */
static eq_status put_text(pass *p, long_text *l, const char *text, int64_t n, bool last,
                          eq_err *err) {
    eq_status st = EQ_OK;
    int64_t at = 0;
    do {
        int64_t k = part_size(text + at, n - at);
        st = put_part(p, l, text + at, k, last && at + k == n, err);
        at += k;
    } while (at < n && st == EQ_OK && !p->enough);
    return st;
}

static void say(const pass *p, const eq_corpus *c) {
    eq_progress say = {.phase = "tokenize", .loss = __builtin_nan("")};
    eq_corpus_place(c, &say.done, &say.total);
    eq_progress_say(p->o->obs, &say);
}

/* A file that is one text: a .txt as it is, or the rows of a file joined (see eq_row_joiner). */
static eq_status read_text(pass *p, eq_corpus *c, eq_row_joiner *rows, eq_err *err) {
    long_text l;
    eq_status st = long_text_open(&l, p, 0, err);
    const char *text = "";
    int64_t n, bytes = 0;
    while (st == EQ_OK && text && !p->enough) {
        st = eq_corpus_next(c, &text, &n, err);
        bool last = !text;
        bytes += n;
        if (st == EQ_OK && rows) st = eq_row_joiner_put(rows, &text, &n, err);
        if (st == EQ_OK && last && !bytes)
            st = eq_fail(err, EQ_EINPUT, "%s: the text is empty", p->path);
        if (st == EQ_OK) st = put_text(p, &l, text ? text : "", n, last, err);
        if (last) text = NULL;
        say(p, c);
    }
    long_text_close(&l);
    return st;
}

static eq_status in_parts(pass *p, const char *text, int64_t n, int64_t line, eq_err *err) {
    long_text l;
    eq_status st = long_text_open(&l, p, line, err);
    if (st == EQ_OK) st = put_text(p, &l, text, n, true, err);
    long_text_close(&l);
    return st;
}

/* What is wrong behind the documents that wait is told behind what is wrong with them. */
static eq_status read_lines(pass *p, eq_corpus *c, eq_err *err) {
    eq_status later = EQ_OK;
    eq_err later_err = {0};
    for (const char *text = ""; later == EQ_OK && text && !p->enough;) {
        if (eq_stopped(p->o->obs)) return eq_fail(err, EQ_EINTR, "%s: stopped", p->path);
        int64_t n, line;
        later = eq_corpus_next(c, &text, &n, &later_err);
        line = eq_corpus_line(c);
        bool is_long = later == EQ_OK && text && n > LONG;
        if (later == EQ_OK && text && !is_long)
            later = wait_for_others(p, text, n, line, &later_err);
        if (p->n < BATCH && p->bytes < BATCH_BYTES && later == EQ_OK && text && !is_long) continue;
        EQ_TRY(flush(p, err));
        if (is_long && !p->enough) EQ_TRY(in_parts(p, text, n, line, err));
        say(p, c);
    }
    if (later != EQ_OK && !p->enough) return eq_fail(err, later, "%s", later_err.msg);
    return p->t->docs ? EQ_OK : eq_fail(err, EQ_EINPUT, "%s: no document in it", p->path);
}

static eq_status read_file(pass *p, eq_err *err) {
    eq_corpus *c;
    if (!p->o->tok)
        return eq_fail(err, EQ_EINPUT, "%s: text needs a tokenizer, and the model has none",
                       p->path);
    EQ_TRY(eq_corpus_open(&c, p->path, err));
    eq_row_joiner *rows = NULL;
    eq_status st = p->t->joined ? eq_row_joiner_open(&rows, p->path, err) : EQ_OK;
    if (st == EQ_OK)
        st = rows || eq_corpus_is_text(c) ? read_text(p, c, rows, err) : read_lines(p, c, err);
    clear(p);
    eq_row_joiner_close(rows);
    eq_corpus_close(c);
    return st;
}

/* ---- keeping --------------------------------------------------------------------------------- */

static void forget(eq_tokens *t) {
    for (int64_t i = 0; i < t->blocks; i++) eq_free(t->block[i]);
    eq_free(t->block);
    t->block = NULL;
    t->blocks = t->block_cap = 0;
    t->kept = false;
}

/* Room for one more list entry of `size` bytes. */
static eq_status grow(void **list, int64_t n, int64_t *cap, int64_t size, const char *path,
                      eq_err *err) {
    if (n < *cap) return EQ_OK;
    int64_t more = *cap ? *cap + *cap / 2 : 64;
    void *p = eq_realloc(*list, more, size);
    if (!p) return eq_nomem(err, path, more * size);
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
            EQ_TRY(
                grow((void **)&t->block, t->blocks, &t->block_cap, sizeof *t->block, t->path, err));
            void *b = eq_calloc(BLOCK, t->narrow ? 2 : 4);
            if (!b) return eq_nomem(err, t->path, BLOCK * 4);
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

static eq_status put_kept(pass *p, const int32_t *ids, int64_t n, bool doc_ends, eq_err *err) {
    eq_tokens *t = p->t;
    EQ_TRY(keep_ids(t, ids, n, err));
    t->n += n;
    if (doc_ends) {
        EQ_TRY(grow((void **)&t->end, t->docs, &t->docs_cap, sizeof *t->end, t->path, err));
        t->end[t->docs++] = t->n;
    }
    return EQ_OK;
}

/* As put_kept, until p->need ids are there. */
static eq_status put_needed(pass *p, const int32_t *ids, int64_t n, bool doc_ends, eq_err *err) {
    EQ_TRY(put_kept(p, ids, n, doc_ends, err));
    p->enough = p->t->n >= p->need;
    return EQ_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static eq_status read_npy(eq_tokens *t, eq_err *err) {
    EQ_TRY(eq_npy_read(&t->npy, t->path, err));
    t->n = t->npy.rows * t->npy.cols;
    t->columns = t->npy.is_2d ? t->npy.cols : 0;
    for (int64_t i = 0; i < t->n; i++) {
        if (t->npy.ids[i] < t->o->vocab) continue;
        return eq_fail(err, EQ_EINPUT,
                       "%s: row %lld, column %lld: id %d, but the vocabulary has %lld", t->path,
                       (long long)(i / t->npy.cols), (long long)(i % t->npy.cols), t->npy.ids[i],
                       (long long)t->o->vocab);
    }
    return EQ_OK;
}

static eq_status first_pass(eq_tokens *t, int64_t need, eq_err *err) {
    pass *p = eq_calloc(1, sizeof *p);
    if (!p) return eq_nomem(err, t->path, sizeof *p);
    p->path = t->path, p->o = t->o, p->t = t, p->need = need;
    p->put = need ? put_needed : put_kept;
    eq_status st = read_file(p, err);
    eq_free(p);
    return st;
}

eq_status eq_tokens_open(eq_tokens **out, const char *path, bool joined, int64_t need,
                         const eq_window_opts *o, eq_err *err) {
    *out = NULL;
    eq_tokens *t = eq_calloc(1, sizeof *t);
    if (!t) return eq_nomem(err, path, sizeof *t);
    t->o = o, t->joined = joined, t->kept = true, t->narrow = o->vocab <= 65536;
    t->path = eq_strdup(path);
    eq_status st = t->path ? EQ_OK : eq_nomem(err, "a path", 256);
    if (st == EQ_OK) st = eq_ends_with(path, ".npy") ? read_npy(t, err) : first_pass(t, need, err);
    if (st == EQ_OK && !t->n) st = eq_fail(err, EQ_EINPUT, "%s: no token in it", path);
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
    eq_npy_free(&t->npy);
    eq_free(t->end);
    eq_free(t->path);
    eq_free(t);
}

const char *eq_tokens_path(const eq_tokens *t) { return t->path; }
int64_t eq_tokens_count(const eq_tokens *t) { return t->n; }
int64_t eq_tokens_docs(const eq_tokens *t) { return t->docs; }
int64_t eq_tokens_doc_start(const eq_tokens *t, int64_t i) { return i ? t->end[i - 1] : 0; }
int64_t eq_tokens_columns(const eq_tokens *t) { return t->columns; }

/* ---- taking ---------------------------------------------------------------------------------- */

static void take_kept(const eq_tokens *t, int32_t *out, int64_t at, int64_t n) {
    if (t->npy.ids) {
        memcpy(out, t->npy.ids + at, (size_t)n * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < n; i++, at++) {
        const void *b = t->block[at / BLOCK];
        out[i] = t->narrow ? ((const uint16_t *)b)[at % BLOCK] : ((const int32_t *)b)[at % BLOCK];
    }
}

static int by_start(const void *a, const void *b) {
    const place *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* The parts of ids [p->at, p->at + n) that lie in windows. All windows have one length, so those
 * that begin first end first, too. */
static eq_status put_windows(pass *p, const int32_t *ids, int64_t n, bool doc_ends, eq_err *err) {
    (void)doc_ends, (void)err;
    int64_t from = p->at, to = from + n, T = p->T;
    while (p->first < p->windows && p->place[p->first].start + T <= from) p->first++;
    for (int64_t k = p->first; k < p->windows && p->place[k].start < to; k++) {
        int64_t start = p->place[k].start, a = start > from ? start : from;
        int64_t b = start + T < to ? start + T : to;
        if (a < b)
            memcpy(p->out + p->place[k].window * T + (a - start), ids + (a - from),
                   (size_t)(b - a) * sizeof *ids);
    }
    p->at = to;
    p->enough = !p->windows || p->place[p->windows - 1].start + T <= to;
    return EQ_OK;
}

static eq_status second_pass(const eq_tokens *t, int32_t *out, const int64_t *start, int64_t n,
                             int64_t T, eq_err *err) {
    place *places = eq_calloc(n, sizeof *places);
    pass *p = places ? eq_calloc(1, sizeof *p) : NULL;
    eq_status st = p ? EQ_OK : eq_nomem(err, t->path, n * (int64_t)sizeof *places);
    for (int64_t i = 0; p && i < n; i++) places[i] = (place){start[i], i};
    if (p) {
        qsort(places, (size_t)n, sizeof *places, by_start);
        p->path = t->path, p->o = t->o, p->t = (eq_tokens *)(uintptr_t)t, p->put = put_windows;
        p->place = places, p->windows = n, p->T = T, p->out = out;
        eq_note(t->o->obs, "%s: its tokens do not fit into the memory limit: read a second time",
                t->path);
        st = read_file(p, err);
        if (st == EQ_OK && !p->enough)
            st = eq_fail(err, EQ_EINPUT, "%s: became shorter while it was read", t->path);
    }
    eq_free(p);
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

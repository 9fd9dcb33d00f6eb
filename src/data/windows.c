/* Token windows, drawn as the paper's tools draw them (METHOD sections 4 and 5). Invariant: the ids
 * depend on files, tokenizer, T, counts and seed alone, and the generator is called in the order of
 * the paper's tools: training windows first, then validation windows. */
#include "data/windows.h"

#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/docs.h"
#include "format/corpus.h"

enum { C4_WINDOWS = 256 };

void eq_windows_free(eq_windows *w) {
    eq_free(w->ids);
    *w = (eq_windows){0};
}

static eq_status alloc(eq_windows *w, int64_t n, int64_t T, eq_err *err) {
    int64_t ids;
    *w = (eq_windows){0};
    if (eq_mul(n, T, &ids)) w->ids = eq_calloc(ids, sizeof *w->ids);
    if (!w->ids) return eq_nomem(err, "token windows", INT64_MAX / T < n ? INT64_MAX : n * T);
    w->n = n, w->T = T;
    return EQ_OK;
}

static eq_status seal(eq_windows *w, eq_err *err) {
    eq_hash *h = eq_hash_new();
    if (!h) return eq_nomem(err, "a fingerprint", 1024);
    int64_t shape[2] = {w->n, w->T};
    eq_hash_put(h, w->ids, w->n * w->T * (int64_t)sizeof *w->ids);
    eq_hash_put(h, shape, sizeof shape);
    w->digest = eq_hash_end(h);
    return EQ_OK;
}

/* ---- a data file, opened as what it is ------------------------------------------------------- */

typedef enum { ROWS, STREAM, DOCS } kind;

typedef struct {
    const char *path;
    const eq_window_opts *o;
    kind kind;
    int64_t T, n; /* n: rows, tokens or documents */
    eq_npy rows;
    eq_ids stream;
    eq_docs *docs;
} source;

static void source_close(source *s) {
    eq_npy_free(&s->rows);
    eq_ids_free(&s->stream);
    eq_docs_close(s->docs);
}

/* T in force: the option, else the columns of a 2-D file, else the default. */
static eq_status set_length(source *s, eq_err *err) {
    int64_t cols = s->kind == ROWS ? s->rows.cols : 0;
    s->T = s->o->seqlen ? s->o->seqlen : cols ? cols : s->o->seqlen_default;
    if (s->kind == ROWS && s->T != cols)
        return eq_fail(err, EQ_EINPUT, "%s: expected windows of %lld tokens, found rows of %lld",
                       s->path, (long long)s->T, (long long)cols);
    if (s->T < 2)
        return eq_fail(err, EQ_EINPUT, "%s: expected windows of at least 2 tokens, found %lld",
                       s->path, (long long)s->T);
    return EQ_OK;
}

static eq_status open_npy(source *s, eq_err *err) {
    EQ_TRY(eq_data_npy(&s->rows, s->path, s->o, err));
    s->kind = s->rows.is_2d ? ROWS : STREAM;
    s->n = s->rows.is_2d ? s->rows.rows : s->rows.cols;
    if (s->kind == STREAM) { /* the ids change hands */
        s->stream = (eq_ids){.p = s->rows.ids, .n = s->n, .cap = s->n};
        s->rows = (eq_npy){0};
    }
    if (s->n == 0) return eq_fail(err, EQ_EINPUT, "%s: no token in it", s->path);
    return set_length(s, err);
}

/* The first `windows` windows of everything in one stream (0: all); rows of a 2-D file stay
 * rows. */
static eq_status open_whole(source *s, int64_t windows, eq_err *err) {
    if (eq_ends_with(s->path, ".npy")) return open_npy(s, err);
    s->kind = STREAM;
    EQ_TRY(set_length(s, err));
    int64_t need;
    if (!eq_mul(windows, s->T, &need)) need = 0;
    EQ_TRY(eq_data_stream(&s->stream, s->path, need, s->o, err));
    s->n = s->stream.n;
    return EQ_OK;
}

/* As open_whole, but documents stay documents. */
static eq_status open_parts(source *s, eq_err *err) {
    if (eq_ends_with(s->path, ".npy")) return open_npy(s, err);
    eq_corpus *c;
    EQ_TRY(eq_corpus_open(&c, s->path, err));
    bool one_text = eq_corpus_is_text(c);
    eq_corpus_close(c);
    if (one_text) return open_whole(s, 0, err);
    s->kind = DOCS;
    EQ_TRY(set_length(s, err));
    EQ_TRY(eq_docs_open(&s->docs, s->path, s->o, err));
    s->n = eq_docs_count(s->docs);
    return EQ_OK;
}

/* ---- drawing --------------------------------------------------------------------------------- */

static void say_progress(const source *s, const eq_windows *w, int64_t done) {
    eq_progress p = {.phase = "read",
                     .done = done * w->T,
                     .total = w->n * w->T,
                     .tokens = true,
                     .loss = __builtin_nan("")};
    eq_progress_say(s->o->obs, &p);
}

static void put(eq_windows *w, int64_t i, const int32_t *from) {
    memcpy(w->ids + i * w->T, from, (size_t)w->T * sizeof *from);
}

/* Which documents of a range were drawn and found too short. */
typedef struct {
    int64_t lo, hi;
    int64_t too_short, longest;
    int64_t taken, refused; /* draws */
    bool *seen;             /* [hi - lo + 1] */
} doc_range;

/* Counts the tokens of document i and, on all threads, of those that come next if documents go on
 * being too short. The look-ahead, half of what a window has cost so far, is on a copy of the
 * generator and changes no draw. */
static eq_status look_ahead(source *s, const doc_range *r, const eq_mt *mt, int64_t i,
                            eq_err *err) {
    enum { AHEAD = 32 };
    int64_t which[AHEAD] = {i}, n = r->refused / (2 * (r->taken + 1)) + 1;
    if (n > AHEAD) n = AHEAD;
    eq_mt copy = *mt;
    for (int64_t k = 1; k < n; k++) which[k] = eq_mt_randint(&copy, r->lo, r->hi);
    return eq_docs_count_tokens(s->docs, which, n, err);
}

/* Draws documents until one has more than T tokens; ends because each short one is counted once. */
static eq_status draw_doc(source *s, doc_range *r, eq_mt *mt, int64_t *i, eq_err *err) {
    for (;;) {
        *i = eq_mt_randint(mt, r->lo, r->hi);
        if (eq_docs_tokens(s->docs, *i) < 0) {
            const int32_t *ids;
            if (eq_stopped(s->o->obs)) return eq_fail(err, EQ_EINTR, "%s: stopped", s->path);
            EQ_TRY(look_ahead(s, r, mt, *i, err));
            if (eq_docs_tokens(s->docs, *i) < 0) EQ_TRY(eq_docs_ids(s->docs, *i, &ids, err));
        }
        int64_t tokens = eq_docs_tokens(s->docs, *i);
        if (tokens > s->T) {
            r->taken++;
            return EQ_OK;
        }
        r->refused++;
        if (!r->seen[*i - r->lo]) r->seen[*i - r->lo] = true, r->too_short++;
        if (tokens > r->longest) r->longest = tokens;
        if (r->too_short > r->hi - r->lo)
            return eq_fail(
                err, EQ_EINPUT,
                "%s: documents %lld to %lld: windows of %lld tokens need a document of at "
                "least %lld, the longest has %lld",
                s->path, (long long)r->lo + 1, (long long)r->hi + 1, (long long)s->T,
                (long long)s->T + 1, (long long)r->longest);
    }
}

static eq_status draw_docs(eq_windows *w, source *s, int64_t lo, int64_t hi, eq_mt *mt,
                           eq_err *err) {
    doc_range r = {.lo = lo, .hi = hi, .seen = eq_calloc(hi - lo + 1, sizeof *r.seen)};
    eq_status st = r.seen ? EQ_OK : eq_nomem(err, s->path, hi - lo + 1);
    for (int64_t k = 0; k < w->n && st == EQ_OK; k++) {
        int64_t i = 0;
        const int32_t *ids;
        st = draw_doc(s, &r, mt, &i, err);
        if (st == EQ_OK) st = eq_docs_ids(s->docs, i, &ids, err);
        if (st != EQ_OK) break;
        put(w, k, ids + eq_mt_randint(mt, 0, eq_docs_tokens(s->docs, i) - s->T - 1));
        say_progress(s, w, k + 1);
    }
    eq_free(r.seen);
    return st;
}

/* n windows whose document, start or row lies in [lo, hi]; rows are taken in order. */
static eq_status draw(eq_windows *w, source *s, int64_t lo, int64_t hi, int64_t n, eq_mt *mt,
                      eq_err *err) {
    if (s->kind == ROWS && n > hi - lo + 1) n = hi - lo + 1;
    eq_status st;
    EQ_GOTO(st, fail, alloc(w, n, s->T, err));
    if (s->kind == DOCS) EQ_GOTO(st, fail, draw_docs(w, s, lo, hi, mt, err));
    for (int64_t k = 0; k < n && s->kind != DOCS; k++)
        put(w, k,
            s->kind == ROWS ? s->rows.ids + (lo + k) * s->T
                            : s->stream.p + eq_mt_randint(mt, lo, hi));
    EQ_GOTO(st, fail, seal(w, err));
    return EQ_OK;
fail:
    eq_windows_free(w);
    return st;
}

static void note_count(const source *s, const char *what, int64_t found, int64_t asked) {
    if (found < asked)
        eq_note(s->o->obs, "%s: found %lld %s windows of the %lld asked for", s->path,
                (long long)found, what, (long long)asked);
}

/* Is there a place for a window at all? */
static eq_status check_size(const source *s, bool nine_tenths, eq_err *err) {
    int64_t least = s->T + 1;
    if (s->kind == DOCS)
        least = nine_tenths ? 2 : 1;
    else if (s->kind == ROWS)
        least = 1;
    else if (nine_tenths)
        while ((int64_t)(0.9 * (double)least) < s->T + 1) least++;
    if (s->n >= least) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: windows of %lld tokens need at least %lld %s, found %lld",
                   s->path, (long long)s->T, (long long)least,
                   s->kind == DOCS ? "documents" : "tokens", (long long)s->n);
}

/* ---- Block-AP -------------------------------------------------------------------------------- */

/* Training from the first nine tenths, validation behind: 0.9 in doubles, cut to an integer, and a
 * validation start one window early, as the paper's tools have it. */
static eq_status draw_split(eq_windows *train, eq_windows *val, source *s, int64_t n_train,
                            int64_t n_val, bool own_val, eq_mt *mt, eq_err *err) {
    EQ_TRY(check_size(s, true, err));
    int64_t nine = (int64_t)(0.9 * (double)s->n), T = s->T;
    int64_t lo = nine, hi = s->n - 1, train_hi = nine - 1;
    if (s->kind == STREAM) lo = nine - T - 1, hi = s->n - T - 1, train_hi = lo;
    if (s->kind == ROWS) {
        int64_t held = own_val ? 0 : n_val <= s->n / 2 ? n_val : s->n / 10;
        lo = s->n - held, train_hi = lo - 1;
    }
    EQ_TRY(draw(train, s, 0, train_hi, n_train, mt, err));
    note_count(s, "training", train->n, n_train);
    if (own_val) return EQ_OK;
    eq_status st = draw(val, s, lo, hi, n_val, mt, err);
    if (st == EQ_OK) note_count(s, "validation", val->n, n_val);
    return st;
}

/* Windows from anywhere in a file of its own. */
static eq_status draw_all(eq_windows *w, source *s, int64_t n, const char *what, eq_mt *mt,
                          eq_err *err) {
    EQ_TRY(check_size(s, false, err));
    int64_t hi = s->kind == STREAM ? s->n - s->T - 1 : s->n - 1;
    EQ_TRY(draw(w, s, 0, hi, n, mt, err));
    note_count(s, what, w->n, n);
    return EQ_OK;
}

static eq_status validation_file(eq_windows *val, const char *path, int64_t n, int64_t T,
                                 const eq_window_opts *o, eq_mt *mt, eq_err *err) {
    eq_window_opts same = *o;
    same.seqlen = T;
    source s = {.path = path, .o = &same};
    eq_status st = open_parts(&s, err);
    if (st == EQ_OK) st = draw_all(val, &s, n, "validation", mt, err);
    source_close(&s);
    return st;
}

eq_status eq_windows_calibration(eq_windows *train, eq_windows *val, const char *path,
                                 const char *val_path, int64_t n_train, int64_t n_val,
                                 const eq_window_opts *o, eq_err *err) {
    *train = *val = (eq_windows){0};
    bool own_val = val_path && n_val;
    eq_mt mt;
    eq_mt_seed(&mt, o->seed);
    source s = {.path = path, .o = o};
    eq_status st = open_parts(&s, err);
    if (st == EQ_OK) st = draw_split(train, val, &s, n_train, n_val, own_val, &mt, err);
    int64_t T = s.T;
    source_close(&s);
    if (st == EQ_OK && own_val) st = validation_file(val, val_path, n_val, T, o, &mt, err);
    if (st != EQ_OK) {
        eq_windows_free(train);
        eq_windows_free(val);
    }
    return st;
}

/* ---- E2E-QP and perplexity: windows in order ------------------------------------------------- */

/* The first n windows (0: all), the tail dropped. */
static eq_status cut(eq_windows *w, source *s, int64_t n, eq_err *err) {
    int64_t have = s->kind == ROWS ? s->n : s->n / s->T;
    if (have == 0)
        return eq_fail(err, EQ_EINPUT, "%s: expected at least %lld tokens, one window, found %lld",
                       s->path, (long long)s->T, (long long)s->n);
    if (n == 0 || n > have) n = have;
    EQ_TRY(alloc(w, n, s->T, err));
    memcpy(w->ids, s->kind == ROWS ? s->rows.ids : s->stream.p,
           (size_t)(n * s->T) * sizeof *w->ids);
    eq_status st = seal(w, err);
    if (st != EQ_OK) eq_windows_free(w);
    return st;
}

eq_status eq_windows_chunks(eq_windows *w, const char *path, int64_t n, const eq_window_opts *o,
                            eq_err *err) {
    *w = (eq_windows){0};
    source s = {.path = path, .o = o};
    eq_status st = open_whole(&s, n, err);
    if (st == EQ_OK) st = cut(w, &s, n, err);
    if (st == EQ_OK) note_count(&s, "training", w->n, n);
    source_close(&s);
    return st;
}

static bool is_blank(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n')) p++;
    return p == end;
}

/* Rows joined by a blank line. A row of the raw file is a line with its newline, or nothing where
 * the line is blank. Text that holds three newlines in a row was joined before: raw lines never
 * do. */
static void join_lines(eq_str *out, const char *p, int64_t n) {
    eq_str lf = {0};
    for (int64_t i = 0; i < n; i++) /* as text-mode reading does: \r\n is \n */
        if (p[i] != '\r' || i + 1 == n || p[i + 1] != '\n') eq_str_put(&lf, p + i, 1);
    out->oom |= lf.oom;
    if (lf.n && strstr(lf.p, "\n\n\n")) {
        eq_str_put(out, lf.p, lf.n);
    } else if (lf.n) {
        for (const char *row = lf.p, *end = row + lf.n, *next; row < end; row = next) {
            const char *nl = memchr(row, '\n', (size_t)(end - row));
            next = nl ? nl + 1 : end;
            if (row > lf.p) eq_str_puts(out, "\n\n");
            if (!is_blank(row, next)) eq_str_put(out, row, next - row);
        }
    }
    eq_str_free(&lf);
}

static eq_status join_corpus(eq_str *out, const char *path, eq_err *err) {
    eq_corpus *c;
    EQ_TRY(eq_corpus_open(&c, path, err));
    eq_status st = EQ_OK;
    bool first = true;
    for (const char *text; st == EQ_OK; first = false) {
        int64_t n;
        st = eq_corpus_next(c, &text, &n, err);
        if (st != EQ_OK || !text) break;
        if (!first) eq_str_puts(out, "\n\n");
        if (eq_corpus_is_text(c))
            join_lines(out, text, n);
        else
            eq_str_put(out, text, n);
        if (out->oom) st = eq_nomem(err, path, out->n + n);
    }
    eq_corpus_close(c);
    return st;
}

static eq_status open_wikitext(source *s, eq_err *err) {
    if (eq_ends_with(s->path, ".npy")) return open_npy(s, err);
    s->kind = STREAM;
    EQ_TRY(set_length(s, err));
    eq_str text = {0};
    eq_status st = join_corpus(&text, s->path, err);
    if (st == EQ_OK && !text.n) st = eq_fail(err, EQ_EINPUT, "%s: the text is empty", s->path);
    if (st == EQ_OK) st = eq_data_encode(&s->stream, text.p, text.n, s->path, 0, s->o, err);
    eq_str_free(&text);
    s->n = s->stream.n;
    return st;
}

/* 256 windows of random documents, random.seed(0). */
static eq_status draw_c4(eq_windows *w, source *s, int64_t limit, eq_err *err) {
    EQ_TRY(open_parts(s, err));
    if (s->kind == ROWS) return cut(w, s, limit, err);
    if (s->kind != DOCS)
        return eq_fail(err, EQ_EINPUT,
                       "%s: the C4 protocol draws from documents, expected .jsonl or "
                       "rows of ids",
                       s->path);
    eq_mt mt;
    eq_mt_seed(&mt, 0);
    return draw_all(w, s, limit && limit < C4_WINDOWS ? limit : C4_WINDOWS, "C4", &mt, err);
}

eq_status eq_windows_eval(eq_windows *w, eq_eval_set set, const char *path, int64_t limit,
                          const eq_window_opts *o, eq_err *err) {
    *w = (eq_windows){0};
    source s = {.path = path, .o = o};
    eq_status st;
    if (set == EQ_EVAL_C4) {
        st = draw_c4(w, &s, limit, err);
    } else {
        st = set == EQ_EVAL_WIKITEXT2 ? open_wikitext(&s, err) : open_whole(&s, limit, err);
        if (st == EQ_OK) st = cut(w, &s, limit, err);
        if (st == EQ_OK && limit) note_count(&s, "test", w->n, limit);
    }
    source_close(&s);
    return st;
}

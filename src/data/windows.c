/* Token windows, drawn as the paper's tools draw them (METHOD sections 4 and 5). Every rule ends in
 * a list of places in the file's row of ids. Invariant: the ids depend on files, tokenizer, T,
 * counts and seed alone, and the generator is called in the order of the paper's tools: training
 * windows first, then validation windows. */
#include "data/windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/tokens.h"

enum { C4_WINDOWS = 256 };

void eq_windows_free(eq_windows *w) {
    eq_free(w->ids);
    *w = (eq_windows){0};
}

static eq_status alloc(eq_windows *w, int64_t n, int64_t T, const eq_window_opts *o, eq_err *err) {
    int64_t ids, bytes;
    bool can = eq_mul(n, T, &ids) && eq_mul(ids, sizeof *w->ids, &bytes);
    if (can && o->memory && bytes > o->memory)
        return eq_fail(
            err, EQ_ENOMEM, "%lld windows of %lld tokens need %.2f GiB, the limit is %.2f GiB",
            (long long)n, (long long)T, (double)bytes / (1 << 30), (double)o->memory / (1 << 30));
    if (can) w->ids = eq_calloc(ids, sizeof *w->ids);
    if (!w->ids) return eq_nomem(err, "token windows", can ? bytes : INT64_MAX);
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
    eq_tokens *t;
    bool keep; /* it can serve the next call, see eq_window_opts.last */
} source;

/* T in force: the option, else the columns of a 2-D file, else the default. */
static eq_status set_length(source *s, int64_t columns, eq_err *err) {
    s->T = s->o->seqlen ? s->o->seqlen : columns ? columns : s->o->seqlen_default;
    if (columns && s->T != columns)
        return eq_fail(err, EQ_EINPUT, "%s: expected windows of %lld tokens, found rows of %lld",
                       s->path, (long long)s->T, (long long)columns);
    if (s->T < 2)
        return eq_fail(err, EQ_EINPUT, "%s: expected windows of at least 2 tokens, found %lld",
                       s->path, (long long)s->T);
    return EQ_OK;
}

/* windows > 0: only the first ones will be taken. */
static eq_status open_source(source *s, bool joined, int64_t windows, eq_err *err) {
    int64_t need = 0;
    if (!eq_ends_with(s->path, ".npy")) EQ_TRY(set_length(s, 0, err));
    if (!eq_mul(windows, s->T, &need)) need = 0;
    eq_tokens **last = joined || need ? NULL : s->o->last;
    s->keep = last != NULL;
    if (last && *last && !strcmp(eq_tokens_path(*last), s->path)) {
        s->t = *last, *last = NULL;
    } else {
        if (last) eq_tokens_close(*last), *last = NULL;
        EQ_TRY(eq_tokens_open(&s->t, s->path, joined, need, s->o, err));
    }
    int64_t columns = eq_tokens_columns(s->t), docs = eq_tokens_docs(s->t);
    s->kind = columns ? ROWS : docs ? DOCS : STREAM;
    s->n = columns ? eq_tokens_count(s->t) / columns : docs ? docs : eq_tokens_count(s->t);
    return set_length(s, columns, err);
}

static void source_close(source *s) {
    if (s->keep)
        *s->o->last = s->t;
    else
        eq_tokens_close(s->t);
}

/* The windows that begin at start[n]; the list is freed. */
static eq_status take(eq_windows *w, const source *s, int64_t *start, int64_t n, eq_err *err) {
    eq_status st = alloc(w, n, s->T, s->o, err);
    if (st == EQ_OK) st = eq_tokens_take(s->t, w->ids, start, n, s->T, err);
    if (st == EQ_OK) st = seal(w, err);
    if (st != EQ_OK) eq_windows_free(w);
    eq_free(start);
    return st;
}

static eq_status new_list(int64_t **start, int64_t n, eq_err *err) {
    *start = eq_calloc(n, sizeof **start);
    return *start ? EQ_OK : eq_nomem(err, "a list of windows", n * (int64_t)sizeof **start);
}

/* ---- drawing --------------------------------------------------------------------------------- */

static int64_t doc_tokens(const source *s, int64_t i) {
    return eq_tokens_doc_start(s->t, i + 1) - eq_tokens_doc_start(s->t, i);
}

/* Documents of [lo, hi] in which a window fits, and their tokens. */
typedef struct {
    int64_t docs, tokens, longest;
} fitting;

static fitting count_fitting(const source *s, int64_t lo, int64_t hi) {
    fitting f = {0};
    for (int64_t i = lo; i <= hi; i++) {
        int64_t n = doc_tokens(s, i);
        if (n > s->T) f.docs++, f.tokens += n;
        if (n > f.longest) f.longest = n;
    }
    return f;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Which documents the windows came from is what nobody sees otherwise. */
static void tell_docs(eq_windows *w, const source *s, const char *what, int64_t of,
                      const fitting *f, int64_t *drawn, int64_t n) {
    int64_t from = 0;
    qsort(drawn, (size_t)n, sizeof *drawn, by_value);
    for (int64_t k = 0; k < n; k++) from += !k || drawn[k] != drawn[k - 1];
    w->docs.from = from, w->docs.long_enough = f->docs, w->docs.of = of;
    if (n && (f->docs < of || from < n))
        eq_note(s->o->obs,
                "%s: %lld %s windows come from %lld of %lld documents; %lld have more than %lld "
                "tokens, the others are not drawn",
                s->path, (long long)n, what, (long long)from, (long long)of, (long long)f->docs,
                (long long)s->T);
}

/* Windows that cover their text more than once on the average share most of their tokens. */
static void tell_overlap(const source *s, const char *what, int64_t n, int64_t tokens) {
    if (n > 1 && (double)n * (double)s->T > (double)tokens)
        eq_note(s->o->obs,
                "%s: %lld %s windows of %lld tokens are drawn from %lld tokens: they overlap",
                s->path, (long long)n, what, (long long)s->T, (long long)tokens);
}

/* A document until one has more than T tokens, then a place in it. */
static eq_status draw_docs(eq_windows *w, int64_t *start, const source *s, const char *what,
                           int64_t lo, int64_t hi, int64_t n, eq_mt *mt, eq_err *err) {
    fitting f = count_fitting(s, lo, hi);
    if (!f.docs && n)
        return eq_fail(err, EQ_EINPUT,
                       "%s: documents %lld to %lld: windows of %lld tokens need a document of at "
                       "least %lld, the longest has %lld",
                       s->path, (long long)lo + 1, (long long)hi + 1, (long long)s->T,
                       (long long)s->T + 1, (long long)f.longest);
    int64_t *drawn;
    EQ_TRY(new_list(&drawn, n, err));
    for (int64_t k = 0; k < n; k++) {
        do drawn[k] = eq_mt_randint(mt, lo, hi);
        while (doc_tokens(s, drawn[k]) <= s->T);
        start[k] = eq_tokens_doc_start(s->t, drawn[k]) +
                   eq_mt_randint(mt, 0, doc_tokens(s, drawn[k]) - s->T - 1);
    }
    tell_docs(w, s, what, hi - lo + 1, &f, drawn, n);
    tell_overlap(s, what, n, f.tokens);
    eq_free(drawn);
    return EQ_OK;
}

/* n windows whose document, start or row lies in [lo, hi]; rows are taken in order. */
static eq_status draw(eq_windows *w, const source *s, const char *what, int64_t lo, int64_t hi,
                      int64_t asked, eq_mt *mt, eq_err *err) {
    int64_t n = s->kind == ROWS && asked > hi - lo + 1 ? hi - lo + 1 : asked, *start;
    EQ_TRY(new_list(&start, n, err));
    eq_status st = EQ_OK;
    if (s->kind == DOCS) st = draw_docs(w, start, s, what, lo, hi, n, mt, err);
    for (int64_t k = 0; k < n && s->kind != DOCS; k++)
        start[k] = s->kind == ROWS ? (lo + k) * s->T : eq_mt_randint(mt, lo, hi);
    if (s->kind == STREAM) tell_overlap(s, what, n, hi - lo + s->T);
    if (st != EQ_OK) {
        eq_free(start);
        return st;
    }
    return take(w, s, start, n, err);
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
static eq_status draw_split(eq_windows *train, eq_windows *val, const source *s, int64_t n_train,
                            int64_t n_val, bool own_val, eq_mt *mt, eq_err *err) {
    EQ_TRY(check_size(s, true, err));
    int64_t nine = (int64_t)(0.9 * (double)s->n), T = s->T;
    int64_t lo = nine, hi = s->n - 1, train_hi = nine - 1;
    if (s->kind == STREAM) lo = nine - T - 1, hi = s->n - T - 1, train_hi = lo;
    if (s->kind == ROWS) {
        int64_t held = own_val ? 0 : n_val <= s->n / 2 ? n_val : s->n / 10;
        lo = s->n - held, train_hi = lo - 1;
    }
    EQ_TRY(draw(train, s, "training", 0, train_hi, n_train, mt, err));
    note_count(s, "training", train->n, n_train);
    if (own_val) return EQ_OK;
    eq_status st = draw(val, s, "validation", lo, hi, n_val, mt, err);
    if (st == EQ_OK) note_count(s, "validation", val->n, n_val);
    return st;
}

/* Windows from anywhere in a file of its own. */
static eq_status draw_all(eq_windows *w, const source *s, int64_t n, const char *what, eq_mt *mt,
                          eq_err *err) {
    EQ_TRY(check_size(s, false, err));
    int64_t hi = s->kind == STREAM ? s->n - s->T - 1 : s->n - 1;
    EQ_TRY(draw(w, s, what, 0, hi, n, mt, err));
    note_count(s, what, w->n, n);
    return EQ_OK;
}

static eq_status validation_file(eq_windows *val, const char *path, int64_t n, int64_t T,
                                 const eq_window_opts *o, eq_mt *mt, eq_err *err) {
    eq_window_opts same = *o;
    same.seqlen = T, same.last = NULL;
    source s = {.path = path, .o = &same};
    eq_status st = open_source(&s, false, 0, err);
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
    eq_status st = open_source(&s, false, 0, err);
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

/* ---- E2E-QP and perplexity: the file cut into windows ---------------------------------------- */

/* random.Random(seed).shuffle(list): from the last place down, each changes with one at or below.
 */
static void shuffle(int64_t *list, int64_t n, uint64_t seed) {
    eq_mt mt;
    eq_mt_seed(&mt, seed);
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = eq_mt_randint(&mt, 0, i), at_i = list[i];
        list[i] = list[j], list[j] = at_i;
    }
}

/* n windows (0: all) of those that lie one behind the other, the tail dropped: the first ones, or
 * of the shuffled list. The rows of a 2-D file are windows that somebody put in an order: it stays.
 */
static eq_status cut(eq_windows *w, const source *s, int64_t n, bool shuffled, eq_err *err) {
    int64_t have = eq_tokens_count(s->t) / s->T, *start;
    if (have == 0)
        return eq_fail(err, EQ_EINPUT, "%s: expected at least %lld tokens, one window, found %lld",
                       s->path, (long long)s->T, (long long)eq_tokens_count(s->t));
    if (n == 0 || n > have) n = have;
    EQ_TRY(new_list(&start, have, err));
    for (int64_t i = 0; i < have; i++) start[i] = i * s->T;
    if (shuffled && s->kind != ROWS) shuffle(start, have, s->o->seed);
    return take(w, s, start, n, err);
}

eq_status eq_windows_chunks(eq_windows *w, const char *path, int64_t n, const eq_window_opts *o,
                            eq_err *err) {
    *w = (eq_windows){0};
    source s = {.path = path, .o = o};
    eq_status st = open_source(&s, false, 0, err);
    if (st == EQ_OK) st = cut(w, &s, n, true, err);
    if (st == EQ_OK) note_count(&s, "training", w->n, n);
    source_close(&s);
    return st;
}

/* 256 windows of random documents, random.seed(0). */
static eq_status draw_c4(eq_windows *w, const source *s, int64_t limit, eq_err *err) {
    if (s->kind == ROWS) return cut(w, s, limit, false, err);
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
    bool wiki = set == EQ_EVAL_WIKITEXT2;
    eq_status st = open_source(&s, wiki, set == EQ_EVAL_C4 ? 0 : limit, err);
    if (st == EQ_OK)
        st = set == EQ_EVAL_C4 ? draw_c4(w, &s, limit, err) : cut(w, &s, limit, false, err);
    if (st == EQ_OK && limit && set != EQ_EVAL_C4) note_count(&s, "test", w->n, limit);
    source_close(&s);
    return st;
}

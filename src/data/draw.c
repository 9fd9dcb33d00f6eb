/* See draw.h. Every rule ends in a list of places in the source's row of ids. Invariant: those
 * depend on the ids, T, counts and seed alone. */
#include "data/draw.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"

enum { C4_WINDOWS = 256 };

/* T in force: the option, else the columns of a 2-D file, else the default. */
static eq_status set_length(eq_draw *d, int64_t columns, eq_err *err) {
    d->T = d->o->seqlen ? d->o->seqlen : columns ? columns : d->o->seqlen_default;
    if (columns && d->T != columns)
        return eq_fail(err, EQ_EINPUT, "%s: expected windows of %lld tokens, found rows of %lld",
                       d->name, (long long)d->T, (long long)columns);
    if (d->T < 2)
        return eq_fail(err, EQ_EINPUT, "%s: expected windows of at least 2 tokens, found %lld",
                       d->name, (long long)d->T);
    return EQ_OK;
}

/* The tokens of src, those of the last call where they are of the same files. */
static eq_status open_tokens(eq_draw *d, eq_source *src, bool joined, int64_t need, eq_err *err) {
    eq_tokens **last = joined || need ? NULL : d->o->last;
    d->keep = last != NULL;
    if (last && *last && eq_tokens_are_of(*last, src)) {
        d->t = *last, *last = NULL;
        return EQ_OK;
    }
    if (last) eq_tokens_close(*last), *last = NULL;
    return eq_tokens_open(&d->t, src, joined, need, d->o, err);
}

eq_status eq_draw_open(eq_draw *d, eq_source *src, bool joined, int64_t windows,
                       const eq_window_opts *o, eq_err *err) {
    int64_t need = 0;
    *d = (eq_draw){.name = src->name, .o = o};
    if (src->file[0].kind != EQ_FILE_NPY) EQ_TRY(set_length(d, 0, err));
    if (!eq_mul(windows, d->T, &need)) need = 0;
    EQ_TRY(open_tokens(d, src, joined, need, err));
    d->name = eq_tokens_name(d->t);
    int64_t columns = eq_tokens_columns(d->t), docs = eq_tokens_docs(d->t);
    d->kind = columns ? EQ_DRAW_ROWS : docs ? EQ_DRAW_DOCS : EQ_DRAW_STREAM;
    d->n = columns ? eq_tokens_count(d->t) / columns : docs ? docs : eq_tokens_count(d->t);
    return set_length(d, columns, err);
}

void eq_draw_close(eq_draw *d) {
    if (d->keep)
        *d->o->last = d->t;
    else
        eq_tokens_close(d->t);
}

/* The windows that begin at start[n]; the list is freed. */
static eq_status take(eq_windows *w, const eq_draw *d, int64_t *start, int64_t n, eq_err *err) {
    eq_status st = eq_windows_alloc(w, n, d->T, d->o, err);
    if (st == EQ_OK) st = eq_tokens_take(d->t, w->ids, start, n, d->T, err);
    if (st == EQ_OK) st = eq_windows_seal(w, err);
    if (st == EQ_OK) st = eq_inputs_append(&w->inputs, eq_tokens_inputs(d->t), err);
    if (st != EQ_OK) eq_windows_free(w);
    eq_free(start);
    return st;
}

static eq_status new_list(int64_t **start, int64_t n, eq_err *err) {
    *start = eq_calloc(n, sizeof **start);
    return *start ? EQ_OK : eq_nomem(err, "a list of windows", n * (int64_t)sizeof **start);
}

void eq_shuffle(int64_t *list, int64_t n, uint64_t seed) {
    eq_mt mt;
    eq_mt_seed(&mt, seed);
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = eq_mt_randint(&mt, 0, i), at_i = list[i];
        list[i] = list[j], list[j] = at_i;
    }
}

/* ---- drawing --------------------------------------------------------------------------------- */

static int64_t doc_tokens(const eq_draw *d, int64_t i) {
    return eq_tokens_doc_start(d->t, i + 1) - eq_tokens_doc_start(d->t, i);
}

/* Documents of [lo, hi] in which a window fits, and their tokens. */
typedef struct {
    int64_t docs, tokens, longest;
} fitting;

static fitting count_fitting(const eq_draw *d, int64_t lo, int64_t hi) {
    fitting f = {0};
    for (int64_t i = lo; i <= hi; i++) {
        int64_t n = doc_tokens(d, i);
        if (n > d->T) f.docs++, f.tokens += n;
        if (n > f.longest) f.longest = n;
    }
    return f;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Which documents the windows came from is what nobody sees otherwise. */
static void tell_docs(eq_windows *w, const eq_draw *d, const char *what, int64_t of,
                      const fitting *f, int64_t *drawn, int64_t n) {
    int64_t from = 0;
    qsort(drawn, (size_t)n, sizeof *drawn, by_value);
    for (int64_t k = 0; k < n; k++) from += !k || drawn[k] != drawn[k - 1];
    w->docs.from = from, w->docs.long_enough = f->docs, w->docs.of = of;
    if (n && (f->docs < of || from < n))
        eq_note(d->o->obs,
                "%s: %lld %s windows come from %lld of %lld documents; %lld have more than %lld "
                "tokens, the others are not drawn",
                d->name, (long long)n, what, (long long)from, (long long)of, (long long)f->docs,
                (long long)d->T);
}

/* Windows that cover their text more than once on the average share most of their tokens. */
static void tell_overlap(const eq_draw *d, const char *what, int64_t n, int64_t tokens) {
    if (n > 1 && (double)n * (double)d->T > (double)tokens)
        eq_note(d->o->obs,
                "%s: %lld %s windows of %lld tokens are drawn from %lld tokens: they overlap",
                d->name, (long long)n, what, (long long)d->T, (long long)tokens);
}

/* A document until one has more than T tokens, then a place in it. */
static eq_status draw_docs(eq_windows *w, int64_t *start, const eq_draw *d, const char *what,
                           int64_t lo, int64_t hi, int64_t n, eq_mt *mt, eq_err *err) {
    fitting f = count_fitting(d, lo, hi);
    if (!f.docs && n)
        return eq_fail(err, EQ_EINPUT,
                       "%s: documents %lld to %lld: windows of %lld tokens need a document of at "
                       "least %lld, the longest has %lld",
                       d->name, (long long)lo + 1, (long long)hi + 1, (long long)d->T,
                       (long long)d->T + 1, (long long)f.longest);
    int64_t *drawn;
    EQ_TRY(new_list(&drawn, n, err));
    for (int64_t k = 0; k < n; k++) {
        do drawn[k] = eq_mt_randint(mt, lo, hi);
        while (doc_tokens(d, drawn[k]) <= d->T);
        start[k] = eq_tokens_doc_start(d->t, drawn[k]) +
                   eq_mt_randint(mt, 0, doc_tokens(d, drawn[k]) - d->T - 1);
    }
    tell_docs(w, d, what, hi - lo + 1, &f, drawn, n);
    tell_overlap(d, what, n, f.tokens);
    eq_free(drawn);
    return EQ_OK;
}

/* n windows whose document, start or row lies in [lo, hi]; rows are taken in order. */
static eq_status draw(eq_windows *w, const eq_draw *d, const char *what, int64_t lo, int64_t hi,
                      int64_t asked, eq_mt *mt, eq_err *err) {
    int64_t n = d->kind == EQ_DRAW_ROWS && asked > hi - lo + 1 ? hi - lo + 1 : asked, *start;
    EQ_TRY(new_list(&start, n, err));
    eq_status st = EQ_OK;
    if (d->kind == EQ_DRAW_DOCS) st = draw_docs(w, start, d, what, lo, hi, n, mt, err);
    for (int64_t k = 0; k < n && d->kind != EQ_DRAW_DOCS; k++)
        start[k] = d->kind == EQ_DRAW_ROWS ? (lo + k) * d->T : eq_mt_randint(mt, lo, hi);
    if (d->kind == EQ_DRAW_STREAM) tell_overlap(d, what, n, hi - lo + d->T);
    if (st != EQ_OK) {
        eq_free(start);
        return st;
    }
    return take(w, d, start, n, err);
}

void eq_draw_note_count(const eq_draw *d, const char *what, int64_t found, int64_t asked) {
    if (found < asked)
        eq_note(d->o->obs, "%s: found %lld %s windows of the %lld asked for", d->name,
                (long long)found, what, (long long)asked);
}

/* Is there a place for a window at all? */
static eq_status check_size(const eq_draw *d, bool nine_tenths, eq_err *err) {
    int64_t least = d->T + 1;
    if (d->kind == EQ_DRAW_DOCS)
        least = nine_tenths ? 2 : 1;
    else if (d->kind == EQ_DRAW_ROWS)
        least = 1;
    else if (nine_tenths)
        while ((int64_t)(0.9 * (double)least) < d->T + 1) least++;
    if (d->n >= least) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: windows of %lld tokens need at least %lld %s, found %lld",
                   d->name, (long long)d->T, (long long)least,
                   d->kind == EQ_DRAW_DOCS ? "documents" : "tokens", (long long)d->n);
}

/* ---- windows one behind the other ------------------------------------------------------------ */

/* n (0: all) of the windows [lo, hi) of those that lie one behind the other: the first ones, or of
 * the shuffled list. */
static eq_status cut(eq_windows *w, const eq_draw *d, int64_t lo, int64_t hi, int64_t n,
                     bool shuffled, eq_err *err) {
    int64_t have = hi - lo, *start;
    if (n == 0 || n > have) n = have;
    EQ_TRY(new_list(&start, have, err));
    for (int64_t i = 0; i < have; i++) start[i] = (lo + i) * d->T;
    if (shuffled) eq_shuffle(start, have, d->o->seed);
    return take(w, d, start, n, err);
}

/* The rows of a 2-D file are windows that somebody put in an order: it stays. */
eq_status eq_draw_cut(eq_windows *w, const eq_draw *d, int64_t n, bool shuffled, eq_err *err) {
    int64_t have = eq_tokens_count(d->t) / d->T;
    if (have == 0)
        return eq_fail(err, EQ_EINPUT, "%s: expected at least %lld tokens, one window, found %lld",
                       d->name, (long long)d->T, (long long)eq_tokens_count(d->t));
    return cut(w, d, 0, have, n, shuffled && d->kind != EQ_DRAW_ROWS, err);
}

/* ---- Block-AP -------------------------------------------------------------------------------- */

/* Packed windows are cut, not drawn, so that every token counts once: the first nine tenths of them
 * and the rest, each shuffled. */
static eq_status split_packed(eq_windows *train, eq_windows *val, const eq_draw *d, int64_t n_train,
                              int64_t n_val, eq_err *err) {
    int64_t have = d->n / d->T, nine = n_val ? (int64_t)(0.9 * (double)have) : have;
    if (!nine)
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected at least %d packed windows of %lld tokens, found %lld tokens",
                       d->name, n_val ? 2 : 1, (long long)d->T, (long long)d->n);
    EQ_TRY(cut(train, d, 0, nine, n_train, true, err));
    eq_draw_note_count(d, "training", train->n, n_train);
    if (!n_val) return EQ_OK;
    eq_status st = cut(val, d, nine, have, n_val, true, err);
    if (st == EQ_OK) eq_draw_note_count(d, "validation", val->n, n_val);
    return st;
}

/* Training from the first nine tenths, validation behind: 0.9 in doubles, cut to an integer, and a
 * validation start one window early, as the paper's tools have it. */
eq_status eq_draw_split(eq_windows *train, eq_windows *val, const eq_draw *d, int64_t n_train,
                        int64_t n_val, bool own_val, eq_mt *mt, eq_err *err) {
    if (d->o->pack) return split_packed(train, val, d, n_train, own_val ? 0 : n_val, err);
    EQ_TRY(check_size(d, true, err));
    int64_t nine = (int64_t)(0.9 * (double)d->n), T = d->T;
    int64_t lo = nine, hi = d->n - 1, train_hi = nine - 1;
    if (d->kind == EQ_DRAW_STREAM) lo = nine - T - 1, hi = d->n - T - 1, train_hi = lo;
    if (d->kind == EQ_DRAW_ROWS) {
        int64_t held = own_val ? 0 : n_val <= d->n / 2 ? n_val : d->n / 10;
        lo = d->n - held, train_hi = lo - 1;
    }
    EQ_TRY(draw(train, d, "training", 0, train_hi, n_train, mt, err));
    eq_draw_note_count(d, "training", train->n, n_train);
    if (own_val) return EQ_OK;
    eq_status st = draw(val, d, "validation", lo, hi, n_val, mt, err);
    if (st == EQ_OK) eq_draw_note_count(d, "validation", val->n, n_val);
    return st;
}

/* Windows from anywhere in a file of its own. */
eq_status eq_draw_all(eq_windows *w, const eq_draw *d, int64_t n, const char *what, eq_mt *mt,
                      eq_err *err) {
    if (d->o->pack) return eq_draw_cut(w, d, n, true, err);
    EQ_TRY(check_size(d, false, err));
    int64_t hi = d->kind == EQ_DRAW_STREAM ? d->n - d->T - 1 : d->n - 1;
    EQ_TRY(draw(w, d, what, 0, hi, n, mt, err));
    eq_draw_note_count(d, what, w->n, n);
    return EQ_OK;
}

/* ---- perplexity ------------------------------------------------------------------------------ */

eq_status eq_draw_c4(eq_windows *w, const eq_draw *d, int64_t limit, eq_err *err) {
    if (d->kind == EQ_DRAW_ROWS) return eq_draw_cut(w, d, limit, false, err);
    if (d->kind != EQ_DRAW_DOCS)
        return eq_fail(err, EQ_EINPUT,
                       "%s: the C4 protocol draws from documents, expected .jsonl or "
                       "rows of ids",
                       d->name);
    eq_mt mt;
    eq_mt_seed(&mt, 0);
    return eq_draw_all(w, d, limit && limit < C4_WINDOWS ? limit : C4_WINDOWS, "C4", &mt, err);
}

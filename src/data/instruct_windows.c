/* See instruct_windows.h. Invariant: which rows are taken, and their order, depend on the rows, the
 * counts and the seed alone. */
#include "data/instruct_windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "data/draw.h"

enum {
    GROUP = 8,
    WINDOWS = 4096
}; /* batches within which rows are put in order; windows of a mix */

/* ---- order ----------------------------------------------------------------------------------- */

typedef struct {
    int64_t row, length, at;
} entry;

static int longer_first(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->length != y->length) return x->length > y->length ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Whole batches in a shuffled order, what is left of the last one behind them. */
static eq_status shuffle_batches(int64_t *list, int64_t n, int64_t batch, uint64_t seed,
                                 eq_err *err) {
    int64_t whole = n / batch, *order = eq_calloc(whole, sizeof *order);
    int64_t *copy = eq_calloc(n, sizeof *copy);
    eq_status st = order && copy ? EQ_OK : eq_nomem(err, "an order of rows", 16 * n);
    if (st == EQ_OK) {
        memcpy(copy, list, (size_t)n * sizeof *copy);
        for (int64_t i = 0; i < whole; i++) order[i] = i;
        eq_shuffle(order, whole, seed);
        for (int64_t i = 0; i < whole; i++)
            memcpy(list + i * batch, copy + order[i] * batch, (size_t)batch * sizeof *list);
    }
    eq_free(order), eq_free(copy);
    return st;
}

static eq_status group(int64_t *list, int64_t n, const eq_examples *x, int64_t batch, uint64_t seed,
                       eq_err *err) {
    int64_t run = GROUP * batch;
    entry *e = eq_calloc(n, sizeof *e);
    if (!e) return eq_nomem(err, "an order of rows", n * (int64_t)sizeof *e);
    for (int64_t i = 0; i < n; i++)
        e[i] = (entry){list[i], x->end[list[i]] - eq_example_start(x, list[i]), i};
    for (int64_t from = 0; from < n; from += run)
        qsort(e + from, (size_t)(n - from < run ? n - from : run), sizeof *e, longer_first);
    for (int64_t i = 0; i < n; i++) list[i] = e[i].row;
    eq_free(e);
    return shuffle_batches(list, n, batch, seed, err);
}

/* ---- rows to windows ------------------------------------------------------------------------- */

static eq_status fill(eq_windows *w, const eq_examples *x, const int64_t *list, int64_t n,
                      const eq_window_opts *o, eq_err *err) {
    int64_t T = 2;
    for (int64_t i = 0; i < n; i++) {
        int64_t len = x->end[list[i]] - eq_example_start(x, list[i]);
        if (len > T) T = len;
    }
    EQ_TRY(eq_windows_alloc_rows(w, n, T, o, err));
    for (int64_t i = 0; i < n; i++) {
        int64_t at = eq_example_start(x, list[i]), len = x->end[list[i]] - at;
        memcpy(w->ids + i * T, x->ids + at, (size_t)len * sizeof *w->ids);
        memcpy(w->learn + i * T, x->learn + at, (size_t)len);
        w->learn[i * T] = 0;
        w->len[i] = (int32_t)len;
    }
    return EQ_OK;
}

/* The rows of the list end to end, the tail dropped; n windows of them, 0: all. */
static eq_status fill_packed(eq_windows *w, const eq_examples *x, const int64_t *list, int64_t rows,
                             int64_t n, const eq_window_opts *o, eq_err *err) {
    int64_t T = o->seqlen ? o->seqlen : o->seqlen_default, all = 0, at = 0;
    for (int64_t i = 0; i < rows; i++) all += x->end[list[i]] - eq_example_start(x, list[i]);
    int64_t have = all / T;
    if (!have)
        return eq_fail(err, EQ_EINPUT,
                       "instruction rows: expected at least %lld tokens, one packed window, found "
                       "%lld",
                       (long long)T, (long long)all);
    if (!n || n > have) n = have;
    EQ_TRY(eq_windows_alloc_rows(w, n, T, o, err));
    for (int64_t i = 0; i < rows && at < n * T; i++) {
        int64_t from = eq_example_start(x, list[i]), len = x->end[list[i]] - from;
        if (len > n * T - at) len = n * T - at;
        memcpy(w->ids + at, x->ids + from, (size_t)len * sizeof *w->ids);
        memcpy(w->learn + at, x->learn + from, (size_t)len);
        at += len;
    }
    for (int64_t i = 0; i < n; i++) w->len[i] = (int32_t)T, w->learn[i * T] = 0;
    return EQ_OK;
}

/* n of the rows, 0: all. */
static eq_status rows_to_windows(eq_windows *w, const eq_examples *x, int64_t n,
                                 const eq_instruct_set *s, const eq_window_opts *o, eq_err *err) {
    int64_t *list = eq_calloc(x->n, sizeof *list), have = !n || n > x->n ? x->n : n;
    if (!list) return eq_nomem(err, "an order of rows", 8 * x->n);
    for (int64_t i = 0; i < x->n; i++) list[i] = i;
    if (!s->in_order) eq_shuffle(list, x->n, o->seed);
    eq_status st = EQ_OK;
    if (o->pack)
        st = fill_packed(w, x, list, x->n, n, o, err);
    else if (!s->in_order)
        st = group(list, have, x, s->batch, o->seed, err);
    if (st == EQ_OK && !o->pack) st = fill(w, x, list, have, o, err);
    if (st == EQ_OK) st = eq_windows_seal(w, err);
    if (st == EQ_OK) st = eq_inputs_append(&w->inputs, &x->inputs, err);
    if (st == EQ_OK && w->n < n)
        eq_note(o->obs, "found %lld instruction windows of the %lld asked for", (long long)w->n,
                (long long)n);
    eq_free(list);
    return st;
}

static eq_status from_source(eq_windows *w, const eq_source *src, int64_t n,
                             const eq_instruct_set *s, const eq_window_opts *o, eq_err *err) {
    eq_examples x;
    EQ_TRY(eq_examples_read(&x, src, s->read, err));
    eq_status st = rows_to_windows(w, &x, n, s, o, err);
    eq_examples_free(&x);
    return st;
}

/* ---- mixing ---------------------------------------------------------------------------------- */

static eq_status text_part(eq_windows *w, eq_source *src, int64_t n, const eq_window_opts *o,
                           eq_err *err) {
    eq_draw d;
    eq_window_opts alone = *o;
    alone.last = NULL;
    eq_status st = eq_draw_open(&d, src, false, 0, &alone, err);
    if (st == EQ_OK) st = eq_draw_cut(w, &d, n, true, err);
    if (st == EQ_OK) eq_draw_note_count(&d, "training", w->n, n);
    eq_draw_close(&d);
    return st;
}

/* Sources of rows, then those of text, each its share. */
static eq_status parts(eq_windows *part, const int64_t *share, const eq_sources *rows,
                       eq_sources *text, const eq_instruct_set *s, const eq_window_opts *o,
                       eq_err *err) {
    for (int64_t i = 0; i < rows->n + text->n; i++) {
        eq_source *src = i < rows->n ? &rows->p[i] : &text->p[i - rows->n];
        if (!share[i])
            return eq_fail(err, EQ_EINPUT, "%s: its weight gives it none of %lld windows",
                           src->name, (long long)(s->n ? s->n : WINDOWS));
        EQ_TRY(i < rows->n ? from_source(&part[i], src, share[i], s, o, err)
                           : text_part(&part[i], src, share[i], o, err));
    }
    return EQ_OK;
}

static eq_status mixed(eq_windows *w, const eq_sources *rows, eq_sources *text,
                       const eq_instruct_set *s, const eq_window_opts *o, eq_err *err) {
    int64_t n = rows->n + text->n, *share = eq_calloc(n, sizeof *share);
    double *weight = eq_calloc(n, sizeof *weight);
    eq_windows *part = eq_calloc(n, sizeof *part);
    eq_status st = share && weight && part ? EQ_OK : eq_nomem(err, "a mix of windows", n * 128);
    if (st == EQ_OK) {
        for (int64_t i = 0; i < n; i++)
            weight[i] = i < rows->n ? rows->p[i].weight : text->p[i - rows->n].weight;
        eq_windows_shares(share, weight, n, s->n ? s->n : WINDOWS);
        st = parts(part, share, rows, text, s, o, err);
    }
    if (st == EQ_OK) st = eq_windows_mix(w, part, n, o, err);
    for (int64_t i = 0; part && i < n; i++) eq_windows_free(&part[i]);
    eq_free(share), eq_free(weight), eq_free(part);
    return st;
}

static eq_status from_sources(eq_windows *w, const eq_sources *rows, eq_sources *text,
                              const eq_instruct_set *s, const eq_window_opts *o, eq_err *err) {
    if (!text->n && !rows->weighted) return from_source(w, rows->p, s->n, s, o, err);
    if (text->n && (!text->weighted || !rows->weighted))
        return eq_fail(err, EQ_EINPUT,
                       "text and instruction rows together: expected a weight for each, as in "
                       "text.jsonl:0.7 and rows.json:0.3");
    return mixed(w, rows, text, s, o, err);
}

eq_status eq_windows_instruct(eq_windows *w, const eq_instruct_set *s, const eq_window_opts *o,
                              eq_err *err) {
    eq_sources rows, text = {0};
    *w = (eq_windows){0};
    EQ_TRY(eq_sources_open(&rows, s->data, err));
    eq_status st = s->text ? eq_sources_open(&text, s->text, err) : EQ_OK;
    if (st == EQ_OK) st = from_sources(w, &rows, &text, s, o, err);
    eq_sources_close(&rows), eq_sources_close(&text);
    if (st != EQ_OK) eq_windows_free(w);
    return st;
}

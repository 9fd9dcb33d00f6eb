/* See windows.h. Windows of one set are drawn by draw.c; here sets with weights are mixed.
 * Invariant: the ids depend on files, tokenizer, T, counts, weights and seed alone, and the
 * generator is called in the order of the paper's tools: training windows first, then validation
 * windows. */
#include "data/windows.h"

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/draw.h"

void eq_windows_free(eq_windows *w) {
    eq_free(w->ids), eq_free(w->learn), eq_free(w->len);
    eq_inputs_free(&w->inputs);
    *w = (eq_windows){0};
}

eq_status eq_windows_alloc(eq_windows *w, int64_t n, int64_t T, const eq_window_opts *o,
                           eq_err *err) {
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

eq_status eq_windows_alloc_rows(eq_windows *w, int64_t n, int64_t T, const eq_window_opts *o,
                                eq_err *err) {
    EQ_TRY(eq_windows_alloc(w, n, T, o, err));
    w->learn = eq_calloc(n, T), w->len = eq_calloc(n, sizeof *w->len);
    return w->learn && w->len ? EQ_OK : eq_nomem(err, "instruction rows", n * T);
}

eq_status eq_windows_seal(eq_windows *w, eq_err *err) {
    eq_hash *h = eq_hash_new();
    if (!h) return eq_nomem(err, "a fingerprint", 1024);
    int64_t shape[2] = {w->n, w->T};
    eq_hash_put(h, w->ids, w->n * w->T * (int64_t)sizeof *w->ids);
    if (w->learn) eq_hash_put(h, w->learn, w->n * w->T);
    if (w->len) eq_hash_put(h, w->len, w->n * (int64_t)sizeof *w->len);
    eq_hash_put(h, shape, sizeof shape);
    w->digest = eq_hash_end(h);
    return EQ_OK;
}

/* ---- mixing ---------------------------------------------------------------------------------- */

/* The whole parts, and what is left to the largest fractions. */
void eq_windows_shares(int64_t *out, const double *weight, int64_t count, int64_t n) {
    double total = 0;
    int64_t left = n;
    for (int64_t i = 0; i < count; i++) total += weight[i];
    for (int64_t i = 0; i < count; i++) {
        out[i] = (int64_t)((double)n * weight[i] / total);
        left -= out[i];
    }
    for (; left > 0; left--) {
        int64_t most = 0;
        for (int64_t i = 1; i < count; i++)
            if ((double)n * weight[i] / total - (double)out[i] >
                (double)n * weight[most] / total - (double)out[most])
                most = i;
        out[most]++;
    }
}

/* The part whose next window comes first when each spreads its own evenly over the whole. */
static int64_t next_part(const eq_windows *part, const int64_t *taken, int64_t n) {
    int64_t best = -1;
    double least = 2;
    for (int64_t i = 0; i < n; i++) {
        double at = ((double)taken[i] + 0.5) / (double)part[i].n;
        if (taken[i] < part[i].n && at < least) best = i, least = at;
    }
    return best;
}

/* Window k of w is window i of a part, which may be shorter and of another kind. */
static void copy_window(eq_windows *w, int64_t k, const eq_windows *part, int64_t i) {
    size_t T = (size_t)part->T;
    memcpy(w->ids + k * w->T, part->ids + i * part->T, T * sizeof *w->ids);
    if (!w->learn) return;
    w->len[k] = part->len ? part->len[i] : (int32_t)part->T;
    if (part->learn)
        memcpy(w->learn + k * w->T, part->learn + i * part->T, T);
    else
        memset(w->learn + k * w->T, 1, T);
    w->learn[k * w->T] = 0;
}

eq_status eq_windows_mix(eq_windows *w, const eq_windows *part, int64_t n, const eq_window_opts *o,
                         eq_err *err) {
    int64_t all = 0, T = 0, *taken = eq_calloc(n, sizeof *taken);
    bool rows = false;
    if (!taken) return eq_nomem(err, "a mix of windows", n * 8);
    for (int64_t i = 0; i < n; i++) {
        all += part[i].n, rows |= part[i].learn != NULL;
        if (part[i].T > T) T = part[i].T;
    }
    eq_status st =
        rows ? eq_windows_alloc_rows(w, all, T, o, err) : eq_windows_alloc(w, all, T, o, err);
    for (int64_t k = 0; st == EQ_OK && k < all; k++) {
        int64_t i = next_part(part, taken, n);
        copy_window(w, k, &part[i], taken[i]++);
    }
    eq_free(taken);
    if (st == EQ_OK) st = eq_windows_seal(w, err);
    for (int64_t i = 0; st == EQ_OK && i < n; i++)
        st = eq_inputs_append(&w->inputs, &part[i].inputs, err);
    return st;
}

/* ---- drawing from every source ----------------------------------------------------------------
 */

typedef enum { SPLIT, ALL, CUT } rule;

typedef struct {
    rule rule;
    int64_t n_train, n_val; /* CUT: n_train 0 is all */
    bool own_val, shuffled;
    const char *what; /* ALL */
    eq_mt *mt;        /* SPLIT, ALL */
} request;

static eq_status draw_one(eq_windows *train, eq_windows *val, const eq_draw *d, const request *r,
                          eq_err *err) {
    if (r->rule == SPLIT)
        return eq_draw_split(train, val, d, r->n_train, r->n_val, r->own_val, r->mt, err);
    if (r->rule == ALL) return eq_draw_all(train, d, r->n_train, r->what, r->mt, err);
    EQ_TRY(eq_draw_cut(train, d, r->n_train, r->shuffled, err));
    eq_draw_note_count(d, "training", train->n, r->n_train);
    return EQ_OK;
}

/* *T: tokens of a window. */
static eq_status from_source(eq_windows *train, eq_windows *val, eq_source *s, const request *r,
                             const eq_window_opts *o, int64_t *T, eq_err *err) {
    eq_draw d;
    eq_status st = eq_draw_open(&d, s, false, 0, o, err);
    if (st == EQ_OK) st = draw_one(train, val, &d, r, err);
    *T = d.T;
    eq_draw_close(&d);
    return st;
}

/* part[s->n] and, behind them, as many of validation: from each source its share, all of one
 * length. */
static eq_status parts(eq_windows *part, eq_sources *s, const request *r, const eq_window_opts *o,
                       int64_t *share, eq_err *err) {
    eq_window_opts same = *o;
    same.last = NULL;
    double *weight = eq_sources_weights(s);
    if (!weight) return eq_nomem(err, "weights", 8 * s->n);
    eq_windows_shares(share, weight, s->n, r->n_train);
    eq_windows_shares(share + s->n, weight, s->n, r->n_val);
    eq_free(weight);
    for (int64_t i = 0; i < s->n; i++) {
        request own = *r;
        own.n_train = share[i], own.n_val = share[s->n + i];
        if (!own.n_train)
            return eq_fail(err, EQ_EINPUT, "%s: its weight gives it none of %lld windows",
                           s->p[i].name, (long long)r->n_train);
        EQ_TRY(from_source(&part[i], &part[s->n + i], &s->p[i], &own, &same, &same.seqlen, err));
    }
    return EQ_OK;
}

static eq_status mixed(eq_windows *train, eq_windows *val, eq_sources *s, const request *r,
                       const eq_window_opts *o, int64_t *T, eq_err *err) {
    eq_windows *part = eq_calloc(2 * s->n, sizeof *part);
    int64_t *share = eq_calloc(2 * s->n, sizeof *share);
    eq_status st = part && share ? parts(part, s, r, o, share, err)
                                 : eq_nomem(err, "windows of every data", 128 * s->n);
    if (st == EQ_OK) st = eq_windows_mix(train, part, s->n, o, err);
    if (st == EQ_OK && r->n_val && !r->own_val) st = eq_windows_mix(val, part + s->n, s->n, o, err);
    *T = train->T;
    for (int64_t i = 0; part && i < 2 * s->n; i++) eq_windows_free(&part[i]);
    eq_free(part), eq_free(share);
    return st;
}

static eq_status from_data(eq_windows *train, eq_windows *val, const char *data, const request *r,
                           const eq_window_opts *o, int64_t *T, eq_err *err) {
    eq_sources s;
    EQ_TRY(eq_sources_open(&s, data, err));
    eq_status st = s.weighted ? mixed(train, val, &s, r, o, T, err)
                              : from_source(train, val, s.p, r, o, T, err);
    eq_sources_close(&s);
    return st;
}

/* ---- what is asked for ------------------------------------------------------------------------
 */

eq_status eq_windows_calibration(eq_windows *train, eq_windows *val, const char *data,
                                 const char *val_data, int64_t n_train, int64_t n_val,
                                 const eq_window_opts *o, eq_err *err) {
    *train = *val = (eq_windows){0};
    eq_mt mt;
    eq_mt_seed(&mt, o->seed);
    request r = {.rule = SPLIT, .n_train = n_train, .n_val = n_val, .mt = &mt};
    r.own_val = val_data && n_val;
    eq_window_opts same = *o;
    same.last = NULL;
    eq_status st = from_data(train, val, data, &r, o, &same.seqlen, err);
    if (st == EQ_OK && r.own_val) {
        int64_t T;
        request all = {.rule = ALL, .n_train = n_val, .what = "validation", .mt = &mt};
        st = from_data(val, NULL, val_data, &all, &same, &T, err);
    }
    if (st != EQ_OK) {
        eq_windows_free(train);
        eq_windows_free(val);
    }
    return st;
}

eq_status eq_windows_chunks(eq_windows *w, const char *data, int64_t n, const eq_window_opts *o,
                            eq_err *err) {
    int64_t T;
    *w = (eq_windows){0};
    request r = {.rule = CUT, .n_train = n, .shuffled = true};
    return from_data(w, NULL, data, &r, o, &T, err);
}

static eq_status eval_source(eq_windows *w, eq_eval_set set, eq_source *s, int64_t limit,
                             const eq_window_opts *o, eq_err *err) {
    eq_draw d;
    bool c4 = set == EQ_EVAL_C4;
    eq_status st = eq_draw_open(&d, s, set == EQ_EVAL_WIKITEXT2, c4 ? 0 : limit, o, err);
    if (st == EQ_OK)
        st = c4 ? eq_draw_c4(w, &d, limit, err) : eq_draw_cut(w, &d, limit, false, err);
    if (st == EQ_OK && limit && !c4) eq_draw_note_count(&d, "test", w->n, limit);
    eq_draw_close(&d);
    return st;
}

eq_status eq_windows_eval(eq_windows *w, eq_eval_set set, const char *data, int64_t limit,
                          const eq_window_opts *o, eq_err *err) {
    eq_sources s;
    *w = (eq_windows){0};
    EQ_TRY(eq_sources_open(&s, data, err));
    eq_status st = s.weighted ? eq_fail(err, EQ_EINPUT, "%s: a text that is measured has no weight",
                                        s.p[0].name)
                              : eval_source(w, set, s.p, limit, o, err);
    eq_sources_close(&s);
    return st;
}

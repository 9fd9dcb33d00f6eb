/* See text_out.h. A decoder looks at the tokens before (a first token loses its space, bytes make a
 * character together), so text is the difference of two decodings that begin some tokens earlier.
 * Invariant: what was handed on is valid UTF-8 and never taken back. */
#include "infer/text_out.h"

#include <string.h>

#include "base/mem.h"
#include "text/ids.h"
#include "text/utf8.h"

enum { BEFORE = 6 }; /* tokens before the new ones that are decoded again */

static eq_status hand_on(eq_text_out *t, const char *text, int64_t n, eq_err *err) {
    int64_t from = t->all.n;
    if (!n) return EQ_OK;
    eq_str_put(&t->all, text, n);
    if (t->all.oom) return eq_nomem(err, "the text", n);
    if (t->text) t->text(t->ctx, t->all.p + from);
    return EQ_OK;
}

/* Bytes at the end of `held` that may be the beginning of a stop string. */
static int64_t doubtful(const eq_text_out *t) {
    int64_t most = 0;
    for (int i = 0; i < t->stop_count; i++) {
        int64_t n = (int64_t)strlen(t->stops[i]) - 1;
        if (n > t->held.n) n = t->held.n;
        while (n > most && memcmp(t->held.p + t->held.n - n, t->stops[i], (size_t)n)) n--;
        if (n > most) most = n;
    }
    return most;
}

/* The first place in `held` where a stop string begins; -1: none. */
static int64_t stop_at(const eq_text_out *t) {
    int64_t first = -1;
    for (int i = 0; t->held.n && i < t->stop_count; i++) {
        const char *p = t->stops[i][0] ? strstr(t->held.p, t->stops[i]) : NULL;
        if (p && (first < 0 || p - t->held.p < first)) first = p - t->held.p;
    }
    return first;
}

static eq_status release(eq_text_out *t, bool all, eq_err *err) {
    int64_t stop = stop_at(t), keep = all ? 0 : doubtful(t);
    t->stopped = stop >= 0;
    int64_t n = t->stopped ? stop : t->held.n - keep;
    EQ_TRY(hand_on(t, t->held.p, n, err));
    if (t->stopped) keep = 0;
    if (keep) memmove(t->held.p, t->held.p + n, (size_t)keep);
    t->held.n = keep;
    if (t->held.p) t->held.p[keep] = 0;
    return EQ_OK;
}

/* Text that ids [read, n) add; with `whole` only up to the last whole character. */
static eq_status advance(eq_text_out *t, bool whole, eq_err *err) {
    static const char replaced[] = "\xef\xbf\xbd";
    int64_t n = t->ids.n - t->base;
    char *before = eq_decode(t->tok, t->ids.p + t->base, t->read - t->base, true);
    char *after = eq_decode(t->tok, t->ids.p + t->base, n, true);
    eq_status st = before && after ? EQ_OK : eq_nomem(err, "the text", n);
    int64_t from = st == EQ_OK ? (int64_t)strlen(before) : 0;
    int64_t to = st == EQ_OK ? (int64_t)strlen(after) : 0;
    if (st == EQ_OK && to > from && !(whole && eq_ends_with(after, replaced))) {
        eq_str_put(&t->held, after + from, to - from);
        if (t->held.oom) st = eq_nomem(err, "the text", to - from);
        t->read = t->ids.n;
        t->base = t->read > BEFORE ? t->read - BEFORE : 0;
    }
    eq_free(before), eq_free(after);
    return st;
}

eq_status eq_text_out_begin(eq_text_out *t, const int32_t *ids, int64_t n, bool echo, eq_err *err) {
    EQ_TRY(eq_ids_room(&t->ids, n, err));
    if (n) memcpy(t->ids.p, ids, (size_t)n * sizeof *ids);
    t->ids.n = t->read = n;
    t->base = n > BEFORE ? n - BEFORE : 0;
    if (!echo) return EQ_OK;
    char *text = eq_decode(t->tok, ids, n, true);
    eq_status st =
        text ? hand_on(t, text, (int64_t)strlen(text), err) : eq_nomem(err, "the text", n);
    eq_free(text);
    return st;
}

eq_status eq_text_out_put(eq_text_out *t, int32_t id, eq_err *err) {
    EQ_TRY(eq_ids_put(&t->ids, id, err));
    EQ_TRY(advance(t, true, err));
    return release(t, false, err);
}

eq_status eq_text_out_end(eq_text_out *t, eq_err *err) {
    if (t->stopped) return EQ_OK;
    EQ_TRY(advance(t, false, err));
    return release(t, true, err);
}

void eq_text_out_free(eq_text_out *t) {
    eq_ids_free(&t->ids);
    eq_str_free(&t->held), eq_str_free(&t->all);
}

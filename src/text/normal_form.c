/* Normal forms: decomposition and composition are utf8proc's, run by run. A run is a maximal part
 * that can change at all, together with the character in front of it (which may compose with it);
 * everything else is copied. Marks are put in order by a stable merge sort, since utf8proc's own
 * ordering takes quadratic time on long rows of marks.
 * Invariant: inert characters (unicode.h) end a run, so no rule of a younger Unicode applies. */
#include "text/normal_form.h"

#include <utf8proc.h>

#include "base/mem.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum { MAX_EXPANSION = 32 }; /* no character decomposes to more; U+FDFA has 18 */

typedef struct {
    utf8proc_int32_t *p, *spare;
    int64_t n, cap;
} points;

static int ccc(utf8proc_int32_t cp) { return utf8proc_get_property(cp)->combining_class; }

static eq_status decompose(points *b, const char *s, utf8proc_option_t opt, eq_err *err) {
    int64_t want;
    uint32_t cp;
    int last = 0;
    if (b->cap - b->n < MAX_EXPANSION) {
        if (!eq_mul(b->cap + 64, 2, &want)) return eq_nomem(err, "text", b->cap);
        utf8proc_int32_t *p = eq_realloc(b->p, want, sizeof *p);
        if (!p) return eq_nomem(err, "text", want * 4);
        b->p = p, b->cap = want;
        eq_free(b->spare);
        b->spare = NULL;
    }
    eq_utf8_get(s, &cp);
    b->n += utf8proc_decompose_char((utf8proc_int32_t)cp, b->p + b->n, MAX_EXPANSION, opt, &last);
    return EQ_OK;
}

/* Stable order of the marks in [lo, hi) by combining class. */
static void sort_marks(utf8proc_int32_t *p, utf8proc_int32_t *spare, int64_t n) {
    if (n < 2) return;
    int64_t half = n / 2, i = 0, j = half, k = 0;
    sort_marks(p, spare, half);
    sort_marks(p + half, spare, n - half);
    if (ccc(p[half - 1]) <= ccc(p[half])) return;
    while (i < half && j < n) spare[k++] = ccc(p[i]) <= ccc(p[j]) ? p[i++] : p[j++];
    while (i < half) spare[k++] = p[i++];
    for (i = 0; i < k; i++) p[i] = spare[i];
}

static eq_status order(points *b, eq_err *err) {
    for (int64_t i = 0; i < b->n; i++) {
        if (!ccc(b->p[i])) continue;
        int64_t from = i;
        while (i < b->n && ccc(b->p[i])) i++;
        if (i - from < 2) continue;
        if (!b->spare && !(b->spare = eq_calloc(b->cap, sizeof *b->spare)))
            return eq_nomem(err, "text", b->cap * 4);
        sort_marks(b->p + from, b->spare, i - from);
    }
    return EQ_OK;
}

static eq_status flush(points *b, eq_str *out, eq_form form, eq_err *err) {
    if (b->n == 0) return EQ_OK;
    EQ_TRY(order(b, err));
    if (form & EQ_NFC)
        b->n = utf8proc_normalize_utf32(b->p, b->n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (int64_t i = 0; i < b->n; i++) eq_utf8_append(out, (uint32_t)b->p[i]);
    b->n = 0;
    return EQ_OK;
}

/* Below these nothing decomposes in the form, nothing is a mark, nothing composes backwards. */
static uint32_t first_active(eq_form form) {
    static const uint32_t limit[4] = {0xc0, 0x300, 0xa0, 0xa0};
    return limit[form];
}

eq_status eq_normal_form(eq_str *out, const char *s, int64_t n, eq_form form, eq_err *err) {
    points b = {0};
    eq_status st = EQ_OK;
    int64_t done = 0, prev = -1; /* copied up to done; prev: a plain character just before i */
    uint32_t cp, limit = first_active(form);
    utf8proc_option_t opt =
        UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (form & EQ_NFKD ? UTF8PROC_COMPAT : 0);
    for (int64_t i = 0; i < n && st == EQ_OK;) {
        int len = eq_utf8_get(s + i, &cp);
        bool plain = cp < limit;
        if (plain || eq_uni_is_inert(cp)) {
            if (b.n) {
                st = flush(&b, out, form, err);
                done = i;
            }
            prev = plain ? i : -1;
        } else {
            if (!b.n) {
                eq_str_put(out, s + done, (prev >= 0 ? prev : i) - done);
                if (prev >= 0) st = decompose(&b, s + prev, opt, err);
            }
            if (st == EQ_OK) st = decompose(&b, s + i, opt, err);
            done = i + len;
            prev = -1;
        }
        i += len;
    }
    if (st == EQ_OK) st = flush(&b, out, form, err);
    if (st == EQ_OK) eq_str_put(out, s + done, n - done);
    eq_free(b.p);
    eq_free(b.spare);
    return st == EQ_OK && out->oom ? eq_nomem(err, "text", n) : st;
}

/* Leftmost-longest search by narrowing: the patterns are sorted, so those that agree with the text
 * so far are one interval, made smaller with every byte.
 * Invariant: ids are those that the peer gives, which it counts itself; a file whose "id" says
 * something else is refused. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/spec.h"
#include "text/unicode.h"
#include "text/utf8.h"

typedef struct {
    char *text;
    const char *form; /* text as the normalizer leaves it; belongs to a pattern */
    int64_t n, form_n;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} token;

typedef struct {
    char *text;
    int64_t n, order; /* order: place in the list, the first of equal patterns wins */
    const token *token;
} pattern;

typedef struct {
    pattern *p;
    int64_t n;
    bool first[256]; /* bytes that some pattern begins with */
} matcher;

struct eq_added {
    token *tokens;                  /* in the order of the file */
    int64_t n, end;                 /* end: largest id + 1 */
    const token **by_text, **by_id; /* sorted; neither holds two equal ones */
    matcher raw, normalized;
};

static int compare_text(const char *a, int64_t an, const char *b, int64_t bn) {
    int c = memcmp(a, b, (size_t)(an < bn ? an : bn));
    return c ? c : an < bn ? -1 : an > bn;
}

static int text_order(const void *x, const void *y) {
    const token *a = *(const token *const *)x, *b = *(const token *const *)y;
    return compare_text(a->text, a->n, b->text, b->n);
}

static int id_order(const void *x, const void *y) {
    const token *a = *(const token *const *)x, *b = *(const token *const *)y;
    return a->id < b->id ? -1 : a->id > b->id;
}

static const token *by_id(const eq_added *a, int32_t id) {
    token key = {.id = id};
    const token *k = &key, **t = bsearch(&k, a->by_id, (size_t)a->n, sizeof *a->by_id, id_order);
    return t ? *t : NULL;
}

int32_t eq_added_id(const eq_added *a, const char *s, int64_t n) {
    token key = {.text = (char *)s, .n = n};
    const token *k = &key,
                **t = bsearch(&k, a->by_text, (size_t)a->n, sizeof *a->by_text, text_order);
    return t ? (*t)->id : -1;
}

const char *eq_added_form(const eq_added *a, int32_t id, int64_t *n) {
    const token *t = by_id(a, id);
    if (t) *n = t->form_n;
    return t ? t->form : NULL;
}

/* As the peer has it: is what the decoder gets the text of a special token? A special token that
 * the normalizer changes is none by then. */
bool eq_added_special(const eq_added *a, int32_t id) {
    const token *t = by_id(a, id);
    if (!t || !t->special) return false;
    token key = {.text = (char *)(uintptr_t)t->form, .n = t->form_n};
    const token *k = &key,
                **same = bsearch(&k, a->by_text, (size_t)a->n, sizeof *a->by_text, text_order);
    return same && (*same)->special;
}

int64_t eq_added_end(const eq_added *a) { return a->end; }

/* ---- reading --------------------------------------------------------------------------------- */

static eq_status read_token(eq_added *a, const json_t *spec, const eq_vocab *v, const char *where,
                            eq_err *err) {
    token t = {0};
    const char *s;
    int64_t n, id;
    if (!json_is_object(spec))
        return eq_fail(err, EQ_EINPUT, "%s: an added token: expected an object, found %s", where,
                       eq_json_type(spec));
    EQ_TRY(
        eq_spec_known(spec, "id content single_word lstrip rstrip normalized special", where, err));
    EQ_TRY(eq_spec_text(spec, "content", &s, &n, where, err));
    EQ_TRY(eq_json_need_int(spec, "id", 0, INT32_MAX - 1, &id, where, err));
    EQ_TRY(eq_spec_bool(spec, "single_word", &t.single_word, where, err));
    EQ_TRY(eq_spec_bool(spec, "lstrip", &t.lstrip, where, err));
    EQ_TRY(eq_spec_bool(spec, "rstrip", &t.rstrip, where, err));
    EQ_TRY(eq_spec_bool(spec, "normalized", &t.normalized, where, err));
    EQ_TRY(eq_spec_bool(spec, "special", &t.special, where, err));
    if (n == 0)
        return eq_fail(err, EQ_EINPUT, "%s: added token %lld is empty", where, (long long)id);
    int64_t is = eq_vocab_id(v, s, n);
    if (is < 0) is = a->end > v->n ? a->end : v->n;
    if (is != id)
        return eq_fail(err, EQ_EINPUT,
                       "%s: added token \"%.80s\": expected id %lld (its place), found %lld", where,
                       s, (long long)is, (long long)id);
    t.id = (int32_t)id;
    t.n = n;
    if (!(t.text = eq_calloc(n + 1, 1))) return eq_nomem(err, "added tokens", n);
    memcpy(t.text, s, (size_t)n);
    if (id >= a->end) a->end = id + 1;
    a->tokens[a->n++] = t;
    return EQ_OK;
}

static eq_status sort_tokens(eq_added *a, const char *where, eq_err *err) {
    a->by_text = eq_calloc(a->n, sizeof *a->by_text);
    a->by_id = eq_calloc(a->n, sizeof *a->by_id);
    if (!a->by_text || !a->by_id) return eq_nomem(err, "added tokens", a->n * 16);
    for (int64_t i = 0; i < a->n; i++) a->by_text[i] = a->by_id[i] = a->tokens + i;
    qsort(a->by_text, (size_t)a->n, sizeof *a->by_text, text_order);
    qsort(a->by_id, (size_t)a->n, sizeof *a->by_id, id_order);
    for (int64_t i = 1; i < a->n; i++)
        if (!text_order(a->by_text + i - 1, a->by_text + i))
            return eq_fail(err, EQ_EINPUT, "%s: the added token \"%.80s\" is there twice", where,
                           a->by_text[i]->text);
    return EQ_OK;
}

static int by_pattern(const void *x, const void *y) {
    const pattern *a = x, *b = y;
    int c = compare_text(a->text, a->n, b->text, b->n);
    if (c) return c;
    return a->order < b->order ? -1 : 1;
}

static eq_status add_pattern(matcher *m, token *t, const eq_normalizer *z, const char *where,
                             eq_err *err) {
    eq_normal w = {0};
    eq_status st = EQ_OK;
    pattern *p = m->p + m->n;
    w.text = t->text, w.n = t->n;
    if (t->normalized) st = eq_normalize(z, &w, t->text, t->n, true, false, err);
    if (st == EQ_OK && w.n == 0)
        st = eq_fail(err, EQ_EINPUT,
                     "%s: added token \"%.80s\": nothing is left of it when normalized", where,
                     t->text);
    if (st == EQ_OK && !(p->text = eq_calloc(w.n, 1))) st = eq_nomem(err, "added tokens", w.n);
    if (st == EQ_OK) {
        memcpy(p->text, w.text, (size_t)w.n);
        p->n = w.n, p->order = m->n, p->token = t;
        t->form = p->text, t->form_n = p->n;
        m->first[(uint8_t)p->text[0]] = true;
        m->n++;
    }
    eq_normal_free(&w);
    return st;
}

/* Special tokens come first, as they do for the peer. */
static eq_status make_matchers(eq_added *a, const eq_normalizer *z, const char *where,
                               eq_err *err) {
    a->raw.p = eq_calloc(a->n, sizeof *a->raw.p);
    a->normalized.p = eq_calloc(a->n, sizeof *a->normalized.p);
    if (!a->raw.p || !a->normalized.p) return eq_nomem(err, "added tokens", a->n * 64);
    for (int special = 1; special >= 0; special--)
        for (int64_t i = 0; i < a->n; i++) {
            token *t = a->tokens + i;
            if (t->special != (special == 1)) continue;
            EQ_TRY(add_pattern(t->normalized ? &a->normalized : &a->raw, t, z, where, err));
        }
    qsort(a->raw.p, (size_t)a->raw.n, sizeof *a->raw.p, by_pattern);
    qsort(a->normalized.p, (size_t)a->normalized.n, sizeof *a->normalized.p, by_pattern);
    return EQ_OK;
}

static eq_status load(eq_added *a, const json_t *list, const eq_vocab *v, const eq_normalizer *z,
                      const char *where, eq_err *err) {
    if (list && !json_is_null(list) && !json_is_array(list))
        return eq_fail(err, EQ_EINPUT, "%s: \"added_tokens\": expected an array, found %s", where,
                       eq_json_type(list));
    int64_t n = (int64_t)json_array_size(list);
    a->tokens = eq_calloc(n, sizeof *a->tokens);
    if (!a->tokens) return eq_nomem(err, "added tokens", n * (int64_t)sizeof *a->tokens);
    for (int64_t i = 0; i < n; i++)
        EQ_TRY(read_token(a, json_array_get(list, (size_t)i), v, where, err));
    EQ_TRY(sort_tokens(a, where, err));
    return make_matchers(a, z, where, err);
}

eq_status eq_added_new(eq_added **out, const json_t *list, const eq_vocab *vocab,
                       const eq_normalizer *z, const char *where, eq_err *err) {
    eq_added *a = *out = eq_calloc(1, sizeof *a);
    if (!a) return eq_nomem(err, "added tokens", sizeof *a);
    eq_status st = load(a, list, vocab, z, where, err);
    if (st != EQ_OK) {
        eq_added_free(a);
        *out = NULL;
    }
    return st;
}

void eq_added_free(eq_added *a) {
    if (!a) return;
    for (int64_t i = 0; i < a->n; i++) eq_free(a->tokens[i].text);
    for (int64_t i = 0; i < a->raw.n; i++) eq_free(a->raw.p[i].text);
    for (int64_t i = 0; i < a->normalized.n; i++) eq_free(a->normalized.p[i].text);
    eq_free(a->tokens);
    eq_free(a->by_text);
    eq_free(a->by_id);
    eq_free(a->raw.p);
    eq_free(a->normalized.p);
    eq_free(a);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* First pattern in [lo, hi) whose byte d is at least c. */
static int64_t bound(const pattern *p, int64_t lo, int64_t hi, int64_t d, int c) {
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if ((uint8_t)p[mid].text[d] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* *open: with more text it could be a longer one. */
static const pattern *longest_at(const matcher *m, const char *s, int64_t n, bool *open) {
    const pattern *best = NULL;
    int64_t lo = 0, hi = m->n;
    *open = false;
    for (int64_t d = 0; lo < hi; d++) {
        if (m->p[lo].n == d) {
            best = m->p + lo;
            while (lo < hi && m->p[lo].n == d) lo++;
        }
        *open = d == n && lo < hi;
        if (d == n || lo == hi) break;
        int c = (uint8_t)s[d];
        lo = bound(m->p, lo, hi, d, c);
        hi = bound(m->p, lo, hi, d, c + 1);
    }
    return best;
}

static bool word_before(const char *s, int64_t at) {
    uint32_t cp;
    if (at == 0) return false;
    eq_utf8_get(s + eq_utf8_back(s, at), &cp);
    return eq_uni_word(cp);
}

static bool word_after(const char *s, int64_t at, int64_t n) {
    uint32_t cp;
    if (at == n) return false;
    eq_utf8_get(s + at, &cp);
    return eq_uni_word(cp);
}

static int64_t skip_space_back(const char *s, int64_t at) {
    uint32_t cp;
    while (at > 0) {
        int64_t back = eq_utf8_back(s, at);
        eq_utf8_get(s + back, &cp);
        if (!eq_uni_space(cp)) break;
        at = back;
    }
    return at;
}

static int64_t skip_space(const char *s, int64_t at, int64_t n) {
    uint32_t cp;
    while (at < n) {
        int len = eq_utf8_get(s + at, &cp);
        if (!eq_uni_space(cp)) break;
        at += len;
    }
    return at;
}

bool eq_added_local(const eq_added *a) {
    for (int64_t i = 0; i < a->n; i++)
        if (a->tokens[i].lstrip || a->tokens[i].single_word) return false;
    return true;
}

eq_status eq_added_split(const eq_added *a, bool normalized, const char *text, int64_t n, bool more,
                         int64_t *used, eq_part_fn fn, void *ctx, eq_err *err) {
    const matcher *m = normalized ? &a->normalized : &a->raw;
    int64_t done = 0, end = n, part;
    for (int64_t at = 0; at < n && m->n;) {
        bool open = false;
        const pattern *p =
            m->first[(uint8_t)text[at]] ? longest_at(m, text + at, n - at, &open) : NULL;
        if (!p && !(open && more)) {
            at++;
            continue;
        }
        int64_t start = at, stop = p ? at + p->n : at;
        at = stop;
        const token *t = p ? p->token : NULL;
        if (t && t->single_word && (word_before(text, start) || word_after(text, stop, n)))
            continue;
        if (t && t->lstrip) {
            int64_t left = skip_space_back(text, start);
            start = left > done ? left : done;
        }
        if (t && t->rstrip) stop = skip_space(text, stop, n);
        if (more && (open || (t && t->rstrip && stop == n))) { /* what comes next decides */
            end = start;
            break;
        }
        if (start >= stop) continue; /* the one before it took this space along */
        if (done < start) EQ_TRY(fn(ctx, -1, text + done, start - done, false, &part, err));
        EQ_TRY(fn(ctx, t->id, text + start, stop - start, false, &part, err));
        /* The search goes on behind the match itself, as the peer's does, not behind the space. */
        done = stop;
    }
    part = 0;
    if (done < end) EQ_TRY(fn(ctx, -1, text + done, end - done, more, &part, err));
    *used = more ? done + part : n;
    return EQ_OK;
}

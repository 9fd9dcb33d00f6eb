/* Searching. PCRE2 knows an older Unicode than the peer does, so characters younger than that are
 * replaced by older ones of their kind in a copy of the text (the shadow) before the search; the
 * stand-ins have the same length, so every offset holds for the text itself. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/unicode.h"
#include "text/utf8.h"

/* Steps of one match: far more than rows of 10 MB of white space take, seconds at most. */
enum { MATCH_LIMIT = 100000000 };

struct eq_pattern {
    char *literal; /* or NULL */
    int64_t literal_n;
    pcre2_code *code;
    pcre2_match_context *limits;
    bool as_is; /* without stand-ins */
};

static void *pcre_alloc(size_t n, void *unused) {
    (void)unused;
    return n > INT64_MAX ? NULL : eq_calloc((int64_t)n, 1);
}
static void pcre_free(void *p, void *unused) {
    (void)unused;
    eq_free(p);
}

static eq_status compile(eq_pattern *p, const eq_str *re, const char *regex, const char *where,
                         pcre2_general_context *g, eq_err *err) {
    int code = 0;
    size_t at = 0;
    pcre2_compile_context *c = pcre2_compile_context_create(g);
    p->limits = pcre2_match_context_create(g);
    if (!c || !p->limits) {
        pcre2_compile_context_free(c);
        return eq_nomem(err, "a regex", re->n);
    }
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    p->code = pcre2_compile((PCRE2_SPTR)re->p, (size_t)re->n,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                            &code, &at, c);
    pcre2_compile_context_free(c);
    if (!p->code && code == PCRE2_ERROR_HEAP_FAILED) return eq_nomem(err, "a regex", re->n);
    if (!p->code) {
        char msg[160];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)msg, sizeof msg);
        return eq_fail(err, EQ_EINPUT, "%s: regex \"%.200s\": %s", where, regex, msg);
    }
    /* Only speed hangs on the just-in-time compiler: without it the interpreter matches. */
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    return EQ_OK;
}

eq_status eq_pattern_regex(eq_pattern **out, const char *regex, const char *where, eq_err *err) {
    eq_str re = {0};
    eq_pattern *p = eq_calloc(1, sizeof *p);
    pcre2_general_context *g = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    eq_status st = !p || !g ? eq_nomem(err, "a regex", sizeof *p)
                            : eq_pattern_translate(&re, regex, &p->as_is, where, err);
    if (st == EQ_OK) st = compile(p, &re, regex, where, g, err);
    pcre2_general_context_free(g);
    eq_str_free(&re);
    if (st != EQ_OK) {
        eq_pattern_free(p);
        p = NULL;
    }
    *out = p;
    return st;
}

static eq_status literal(eq_pattern **out, const json_t *s, eq_err *err) {
    eq_pattern *p = eq_calloc(1, sizeof *p);
    int64_t n = (int64_t)json_string_length(s);
    *out = NULL;
    if (!p || !(p->literal = eq_calloc(n + 1, 1))) {
        eq_pattern_free(p);
        return eq_nomem(err, "a search string", n);
    }
    memcpy(p->literal, json_string_value(s), (size_t)n);
    p->literal_n = n;
    *out = p;
    return EQ_OK;
}

eq_status eq_pattern_parse(eq_pattern **out, const json_t *spec, const char *where, eq_err *err) {
    *out = NULL;
    const json_t *s = eq_json_get(spec, "String"), *r = eq_json_get(spec, "Regex");
    if (json_object_size(spec) == 1 && json_is_string(s)) return literal(out, s, err);
    if (json_object_size(spec) == 1 && json_is_string(r)) {
        if (strlen(json_string_value(r)) != json_string_length(r))
            return eq_fail(err, EQ_EINPUT, "%s: a regex holds a NUL character", where);
        return eq_pattern_regex(out, json_string_value(r), where, err);
    }
    return eq_fail(err, EQ_EINPUT,
                   "%s: \"pattern\": expected {\"String\": text} or {\"Regex\": text}, found %s",
                   where, eq_json_type(spec));
}

void eq_pattern_free(eq_pattern *p) {
    if (!p) return;
    pcre2_code_free(p->code);
    pcre2_match_context_free(p->limits);
    eq_free(p->literal);
    eq_free(p);
}

char eq_pattern_byte(const eq_pattern *p) {
    return p->literal && p->literal_n == 1 && p->literal[0] > 0 ? p->literal[0] : 0;
}

bool eq_pattern_is(const eq_pattern *p, const char *literal) {
    int64_t n = (int64_t)strlen(literal);
    return p->literal && p->literal_n == n && !memcmp(p->literal, literal, (size_t)n);
}

bool eq_pattern_local(const eq_pattern *p) {
    uint32_t behind = 0;
    return p->literal ||
           (!pcre2_pattern_info(p->code, PCRE2_INFO_MAXLOOKBEHIND, &behind) && !behind);
}

/* The text itself, or a copy with stand-ins where it has characters younger than PCRE2's data. */
static eq_status cast_shadow(eq_scan *s, eq_err *err) {
    bool copied = false;
    for (int64_t i = 0; i < s->n;) {
        uint32_t cp, old;
        int len = eq_utf8_get(s->text + i, &cp);
        if (len > 2 && (old = eq_uni_standin(cp)) != cp) {
            if (!copied) {
                s->shadow.n = 0;
                eq_str_put(&s->shadow, s->text, s->n);
                if (s->shadow.oom) return eq_nomem(err, "text", s->n);
                copied = true;
            }
            eq_utf8_put(old, s->shadow.p + i);
        }
        i += len;
    }
    if (copied) s->text = s->shadow.p;
    return EQ_OK;
}

eq_status eq_scan_start(eq_scan *s, const eq_pattern *p, const char *text, int64_t n, eq_err *err) {
    if (s->p != p) {
        pcre2_match_data_free(s->match);
        s->match = NULL;
        s->p = p;
    }
    s->text = text, s->n = n, s->at = 0, s->last_end = -1, s->more = false;
    if (!p->code) return EQ_OK;
    if (!s->match) {
        pcre2_general_context *g = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
        s->match = g ? pcre2_match_data_create(1, g) : NULL;
        pcre2_general_context_free(g);
        if (!s->match) return eq_nomem(err, "regex matching", n);
    }
    return p->as_is ? EQ_OK : cast_shadow(s, err);
}

static bool find_literal(const eq_scan *s, int64_t *start, int64_t *end) {
    const char *lit = s->p->literal, *stop = s->text + s->n;
    int64_t n = s->p->literal_n;
    if (n == 0) return *start = *end = s->at, true;
    for (const char *t = s->text + s->at; stop - t >= n; t++) {
        t = memchr(t, lit[0], (size_t)(stop - t - n + 1));
        if (!t) return false;
        if (!memcmp(t, lit, (size_t)n)) return *start = t - s->text, *end = *start + n, true;
    }
    return false;
}

static eq_status find_regex(eq_scan *s, bool *found, int64_t *start, int64_t *end, eq_err *err) {
    /* hard: whatever looks beyond the end is a partial match, be it in a lookahead */
    uint32_t opt = PCRE2_NO_UTF_CHECK | (s->more ? PCRE2_PARTIAL_HARD : 0);
    int rc = pcre2_match(s->p->code, (PCRE2_SPTR)s->text, (size_t)s->n, (size_t)s->at, opt,
                         s->match, s->p->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(s->p->code, (PCRE2_SPTR)s->text, (size_t)s->n, (size_t)s->at,
                         opt | PCRE2_NO_JIT, s->match, s->p->limits);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH || rc == PCRE2_ERROR_PARTIAL) return EQ_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return eq_nomem(err, "regex matching", s->n);
    if (rc < 0) {
        char msg[160];
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)msg, sizeof msg);
        return eq_fail(err, EQ_EINPUT, "regex matching gave up at byte %lld of %lld: %s",
                       (long long)s->at, (long long)s->n, msg);
    }
    size_t *v = pcre2_get_ovector_pointer(s->match);
    *start = (int64_t)v[0], *end = (int64_t)v[1];
    return EQ_OK;
}

eq_status eq_scan_next(eq_scan *s, bool *found, int64_t *start, int64_t *end, eq_err *err) {
    for (;;) {
        *found = false;
        if (s->at > s->n) return EQ_OK;
        if (s->p->code)
            EQ_TRY(find_regex(s, found, start, end, err));
        else
            *found = find_literal(s, start, end);
        if (!*found) return EQ_OK;
        if (*end > *start || *end != s->last_end) break;
        /* No empty match where the last one ended: go on behind the next character. */
        uint32_t cp;
        s->at += s->at < s->n ? eq_utf8_get(s->text + s->at, &cp) : 1;
    }
    s->at = s->last_end = *end;
    return EQ_OK;
}

void eq_scan_free(eq_scan *s) {
    pcre2_match_data_free(s->match);
    eq_str_free(&s->shadow);
    *s = (eq_scan){0};
}

/* See jinja_value.h. Invariant: a string is valid UTF-8, every part of one is cut between
 * characters. */
#include "text/jinja/jinja_value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"
#include "text/utf8.h"

/* ---- memory ---------------------------------------------------------------------------------- */

/* No template needs this much; one that doubles a string again and again ends here. */
enum { CHUNK = 1 << 14, ARENA_LIMIT = 1 << 28, MAX_DEPTH = 100 };

void *eq_jarena_take(eq_jarena *a, int64_t n) {
    int64_t want = (n + 15) / 16 * 16;
    if (want < n || want > ARENA_LIMIT - a->total) return a->limit = true, NULL;
    if (a->left < want) {
        int64_t size = want > CHUNK ? want : CHUNK;
        char *c = eq_calloc(size + 16, 1);
        if (!c) return NULL;
        *(void **)c = a->chunks;
        a->chunks = c, a->at = c + 16, a->left = size, a->total += size;
    }
    void *p = a->at;
    a->at += want, a->left -= want;
    return p;
}

void eq_jarena_free(eq_jarena *a) {
    for (void *c = a->chunks, *next; c; c = next) {
        next = *(void **)c;
        eq_free(c);
    }
    *a = (eq_jarena){0};
}

/* Room for one more of n elements of `size` bytes; *cap grows, the old block is left behind. */
static void *more_room(eq_jarena *a, void *p, int64_t n, int64_t *cap, int64_t size) {
    if (n < *cap) return p;
    int64_t want = n + n / 2 + 8;
    void *q = eq_jarena_take(a, want * size);
    if (!q) return NULL;
    if (n) memcpy(q, p, (size_t)(n * size));
    *cap = want;
    return q;
}

/* Functions that walk through values call themselves: they must not be nested without bound. A
 * namespace, which could even hold itself, is nowhere walked through. */
static bool deeper(eq_jarena *a, int *depth, eq_jv v) {
    int d = v.type == EQ_J_LIST                       ? v.u.list->depth + 1
            : v.type == EQ_J_DICT && !v.u.dict->space ? v.u.dict->depth + 1
                                                      : 0;
    if (d > *depth) *depth = d;
    a->limit |= d > MAX_DEPTH;
    return d <= MAX_DEPTH;
}

bool eq_jlist_put(eq_jarena *a, eq_jlist *l, eq_jv v) {
    if (!deeper(a, &l->depth, v)) return false;
    eq_jv *p = more_room(a, l->v, l->n, &l->cap, sizeof *p);
    if (!p) return false;
    l->v = p;
    p[l->n++] = v;
    return true;
}

static int64_t find_key(const eq_jdict *d, eq_jv key) {
    for (int64_t i = 0; i < d->n; i++)
        if (eq_j_equal(d->key[i], key)) return i;
    return -1;
}

bool eq_jdict_put(eq_jarena *a, eq_jdict *d, eq_jv key, eq_jv value) {
    int64_t at = find_key(d, key);
    if (!deeper(a, &d->depth, value)) return false;
    if (at >= 0) return d->value[at] = value, true;
    int64_t cap = d->cap;
    eq_jv *k = more_room(a, d->key, d->n, &cap, sizeof *k);
    eq_jv *v = k ? more_room(a, d->value, d->n, &d->cap, sizeof *v) : NULL;
    if (!v) return false;
    d->key = k, d->value = v;
    k[d->n] = key, v[d->n++] = value;
    return true;
}

const eq_jv *eq_jdict_get(const eq_jdict *d, eq_jv key) {
    int64_t at = find_key(d, key);
    return at < 0 ? NULL : d->value + at;
}

/* ---- what values are ------------------------------------------------------------------------- */

eq_jv eq_j_cstr(const char *s) { return eq_j_str(s, (int64_t)strlen(s)); }

bool eq_j_is(eq_jv v, const char *text) {
    return v.type == EQ_J_STR && v.n == (int64_t)strlen(text) && !memcmp(v.u.s, text, (size_t)v.n);
}

const char *eq_j_type_name(eq_jv v) {
    static const char *const names[] = {"nothing that is defined",
                                        "none",
                                        "a boolean",
                                        "an integer",
                                        "a number",
                                        "a string",
                                        "a list",
                                        "a mapping",
                                        "a macro",
                                        "a function"};
    return names[v.type];
}

bool eq_j_true(eq_jv v) {
    switch (v.type) {
    case EQ_J_UNDEF:
    case EQ_J_NONE:
        return false;
    case EQ_J_BOOL:
        return v.u.b;
    case EQ_J_INT:
        return v.u.i != 0;
    case EQ_J_FLOAT:
        return v.u.f != 0;
    case EQ_J_STR:
        return v.n > 0;
    case EQ_J_LIST:
        return v.u.list->n > 0;
    case EQ_J_DICT:
        return v.u.dict->space || v.u.dict->n > 0;
    case EQ_J_MACRO:
    case EQ_J_FUNC:
        break;
    }
    return true;
}

static bool is_number(eq_jv v) {
    return v.type == EQ_J_BOOL || v.type == EQ_J_INT || v.type == EQ_J_FLOAT;
}
static double number(eq_jv v) {
    return v.type == EQ_J_BOOL ? v.u.b : v.type == EQ_J_INT ? (double)v.u.i : v.u.f;
}
static int64_t whole(eq_jv v) { return v.type == EQ_J_BOOL ? v.u.b : v.u.i; }

int eq_j_order(eq_jv a, eq_jv b, bool *ok) {
    *ok = true;
    if (a.type == EQ_J_STR && b.type == EQ_J_STR) {
        /* the order of UTF-8's bytes is that of the characters */
        int c = memcmp(a.u.s, b.u.s, (size_t)(a.n < b.n ? a.n : b.n));
        return c ? (c > 0) - (c < 0) : (a.n > b.n) - (a.n < b.n);
    }
    *ok = is_number(a) && is_number(b);
    if (!*ok) return 0;
    if (a.type != EQ_J_FLOAT && b.type != EQ_J_FLOAT)
        return (whole(a) > whole(b)) - (whole(a) < whole(b));
    return (number(a) > number(b)) - (number(a) < number(b));
}

bool eq_j_equal(eq_jv a, eq_jv b) {
    bool ok;
    int c = eq_j_order(a, b, &ok);
    if (ok) return c == 0 && !(a.type == EQ_J_FLOAT && isnan(a.u.f));
    if (a.type != b.type) return false;
    if (a.type == EQ_J_LIST) {
        if (a.u.list == b.u.list) return true;
        if (a.u.list->n != b.u.list->n) return false;
        for (int64_t i = 0; i < a.u.list->n; i++)
            if (!eq_j_equal(a.u.list->v[i], b.u.list->v[i])) return false;
        return true;
    }
    if (a.type == EQ_J_DICT) {
        if (a.u.dict == b.u.dict) return true;
        if (a.u.dict->space || a.u.dict->n != b.u.dict->n) return false;
        for (int64_t i = 0; i < a.u.dict->n; i++) {
            const eq_jv *v = eq_jdict_get(b.u.dict, a.u.dict->key[i]);
            if (!v || !eq_j_equal(a.u.dict->value[i], *v)) return false;
        }
        return true;
    }
    if (a.type == EQ_J_MACRO) return a.u.macro == b.u.macro;
    return a.type != EQ_J_FUNC || a.u.i == b.u.i; /* none, undefined */
}

/* ---- text ------------------------------------------------------------------------------------ */

/* As Python's repr: the shortest digits that give the number back, with an exponent below 1e-4 and
 * from 1e16 on. */
static void put_float(eq_str *out, double f) {
    char s[40];
    if (!isfinite(f)) {
        eq_str_puts(out, isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    int digits = 1;
    do snprintf(s, sizeof s, "%.*e", digits - 1, f);
    while (strtod(s, NULL) != f && ++digits <= 17);
    int exponent = atoi(strchr(s, 'e') + 1);
    if (f == 0) exponent = 0;
    if (exponent >= -4 && exponent < 16) {
        int behind = digits - 1 - exponent;
        eq_str_printf(out, "%.*f", behind > 1 ? behind : 1, f);
    } else
        eq_str_puts(out, s);
}

bool eq_j_put(eq_str *out, eq_jv v) {
    switch (v.type) {
    case EQ_J_UNDEF:
        return true;
    case EQ_J_NONE:
        return eq_str_puts(out, "None"), true;
    case EQ_J_BOOL:
        return eq_str_puts(out, v.u.b ? "True" : "False"), true;
    case EQ_J_INT:
        return eq_str_printf(out, "%" PRId64, v.u.i), true;
    case EQ_J_FLOAT:
        return put_float(out, v.u.f), true;
    case EQ_J_STR:
        return eq_str_put(out, v.u.s, v.n), true;
    default:
        return false;
    }
}

static void put_json_string(eq_str *out, eq_jv v) {
    static const char plain[] = "\"\\\n\r\t\b\f", names[] = "\"\\nrtbf";
    eq_str_puts(out, "\"");
    for (int64_t i = 0; i < v.n; i++) {
        char c = v.u.s[i];
        const char *named = c ? strchr(plain, c) : NULL;
        if (named)
            eq_str_printf(out, "\\%c", names[named - plain]);
        else if ((uint8_t)c < 0x20)
            eq_str_printf(out, "\\u%04x", (unsigned)(uint8_t)c);
        else
            eq_str_put(out, &c, 1);
    }
    eq_str_puts(out, "\"");
}

bool eq_j_put_json(eq_str *out, eq_jv v) {
    bool ok = true;
    switch (v.type) {
    case EQ_J_NONE:
        eq_str_puts(out, "null");
        return true;
    case EQ_J_BOOL:
        eq_str_puts(out, v.u.b ? "true" : "false");
        return true;
    case EQ_J_INT:
    case EQ_J_FLOAT:
        return (v.type == EQ_J_INT || isfinite(v.u.f)) && eq_j_put(out, v);
    case EQ_J_STR:
        put_json_string(out, v);
        return true;
    case EQ_J_LIST:
        eq_str_puts(out, "[");
        for (int64_t i = 0; i < v.u.list->n && ok; i++) {
            if (i) eq_str_puts(out, ", ");
            ok = eq_j_put_json(out, v.u.list->v[i]);
        }
        eq_str_puts(out, "]");
        return ok;
    case EQ_J_DICT:
        if (v.u.dict->space) return false;
        eq_str_puts(out, "{");
        for (int64_t i = 0; i < v.u.dict->n && ok; i++) {
            if (i) eq_str_puts(out, ", ");
            ok = v.u.dict->key[i].type == EQ_J_STR && eq_j_put_json(out, v.u.dict->key[i]);
            eq_str_puts(out, ": ");
            ok = ok && eq_j_put_json(out, v.u.dict->value[i]);
        }
        eq_str_puts(out, "}");
        return ok;
    default:
        return false;
    }
}

/* ---- strings --------------------------------------------------------------------------------- */

int64_t eq_j_chars(eq_jv s) {
    int64_t n = 0;
    for (int64_t i = 0; i < s.n; i++) n += ((uint8_t)s.u.s[i] & 0xc0) != 0x80;
    return n;
}

eq_jv eq_j_part(eq_jv s, int64_t from, int64_t chars) {
    int64_t lo = 0, hi;
    uint32_t cp;
    for (; from > 0; from--) lo += eq_utf8_get(s.u.s + lo, &cp);
    for (hi = lo; chars > 0; chars--) hi += eq_utf8_get(s.u.s + hi, &cp);
    return eq_j_str(s.u.s + lo, hi - lo);
}

int64_t eq_j_find(eq_jv s, eq_jv what, int64_t from) {
    for (int64_t i = from; i + what.n <= s.n; i++)
        if (!what.n || !memcmp(s.u.s + i, what.u.s, (size_t)what.n)) return i;
    return -1;
}

static bool stripped(eq_jv set, const char *c, int64_t n, uint32_t cp) {
    if (set.type != EQ_J_STR) return eq_uni_py_space(cp);
    for (int64_t i = 0, len; i < set.n; i += len) {
        uint32_t other;
        len = eq_utf8_get(set.u.s + i, &other);
        if (len == n && !memcmp(set.u.s + i, c, (size_t)n)) return true;
    }
    return false;
}

eq_jv eq_j_strip(eq_jv s, eq_jv set, bool left, bool right) {
    int64_t lo = 0, hi = s.n;
    uint32_t cp;
    while (left && lo < hi) {
        int64_t len = eq_utf8_get(s.u.s + lo, &cp);
        if (!stripped(set, s.u.s + lo, len, cp)) break;
        lo += len;
    }
    while (right && hi > lo) {
        int64_t back = eq_utf8_back(s.u.s, hi);
        eq_utf8_get(s.u.s + back, &cp);
        if (!stripped(set, s.u.s + back, hi - back, cp)) break;
        hi = back;
    }
    return eq_j_str(s.u.s + lo, hi - lo);
}

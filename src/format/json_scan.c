/* See json_scan.h. Invariant: nothing outside of [at, end) is read; lists and objects as deep as
 * jansson's limit are passed over without recursion. */
#include "format/json_scan.h"

#include <string.h>
#include <utf8proc.h>

enum { DEEPEST = 2048 };

static bool wrong(eq_jscan *s, const char *why) {
    s->why = why;
    return false;
}

static void space(eq_jscan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}
static bool take(eq_jscan *s, char c) {
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}
static bool take_word(eq_jscan *s, const char *word) {
    int64_t n = (int64_t)strlen(word);
    if (s->end - s->at < n || memcmp(s->at, word, (size_t)n)) return false;
    s->at += n;
    return true;
}

/* ---- scalars --------------------------------------------------------------------------------- */

/* Value of four hexadecimal digits, -1: they are none. */
static int hex4(const char *p, const char *end) {
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

static bool pass_escape(eq_jscan *s) {
    if (s->end - s->at < 2) return s->at = s->end, wrong(s, "it ends within a string");
    char c = s->at[1];
    if (c == 'u' && hex4(s->at + 2, s->end) < 0) return wrong(s, "an escape that is none");
    if (c == 'u') return s->at += 6, true;
    if (!c || !strchr("\"\\/bfnrt", c)) return wrong(s, "an escape that is none");
    s->at += 2;
    return true;
}

static bool pass_string(eq_jscan *s) {
    if (!take(s, '"')) return wrong(s, "expected a string");
    while (s->at < s->end) {
        unsigned char c = (unsigned char)*s->at;
        if (c == '"') return s->at++, true;
        if (c < 0x20) return wrong(s, "a control character within a string");
        if (c != '\\')
            s->at++;
        else if (!pass_escape(s))
            return false;
    }
    return wrong(s, "it ends within a string");
}

static int digits(eq_jscan *s) {
    const char *from = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') s->at++;
    return s->at > from;
}

static bool pass_number(eq_jscan *s) {
    bool minus = take(s, '-');
    if (take_word(s, "Infinity") || (!minus && take_word(s, "NaN"))) return true;
    if (!take(s, '0') && !digits(s)) return wrong(s, "expected a value");
    if (take(s, '.') && !digits(s)) return wrong(s, "a number without digits behind the point");
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
        if (!digits(s)) return wrong(s, "a number without digits in its exponent");
    }
    return true;
}

static bool pass_scalar(eq_jscan *s) {
    if (s->at == s->end) return wrong(s, "it ends where a value is expected");
    if (*s->at == '"') return pass_string(s);
    if (take_word(s, "true") || take_word(s, "false") || take_word(s, "null")) return true;
    return pass_number(s);
}

/* ---- lists and objects ----------------------------------------------------------------------- */

/* "name": and space */
static bool pass_key(eq_jscan *s) {
    space(s);
    if (!pass_string(s)) return false;
    space(s);
    return take(s, ':') || wrong(s, "expected ':'");
}

/* Open brackets, outermost first: bit set for an object. */
typedef struct {
    uint8_t object[DEEPEST / 8];
    int depth;
} brackets;

static bool inner_is_object(const brackets *b) {
    return b->object[(b->depth - 1) / 8] >> (b->depth - 1) % 8 & 1;
}

/* At '{' or '['. *empty: it was closed at once. */
static bool enter(eq_jscan *s, brackets *b, bool *empty) {
    bool object = *s->at == '{';
    if (b->depth == DEEPEST) return wrong(s, "nested too deeply");
    s->at++;
    space(s);
    *empty = take(s, object ? '}' : ']');
    if (*empty) return true;
    uint8_t bit = (uint8_t)(1 << b->depth % 8), *at = &b->object[b->depth / 8];
    *at = (uint8_t)(object ? *at | bit : *at & ~bit);
    b->depth++;
    return !object || pass_key(s);
}

/* Behind a value: closes what ends here, and comes to the next value or to depth 0. */
static bool leave(eq_jscan *s, brackets *b) {
    while (b->depth) {
        bool object = inner_is_object(b);
        space(s);
        if (take(s, ',')) return !object || pass_key(s);
        if (!take(s, object ? '}' : ']'))
            return wrong(s, s->at == s->end
                                ? object ? "it ends within an object" : "it ends within a list"
                            : object ? "expected ',' or '}'"
                                     : "expected ',' or ']'");
        b->depth--;
    }
    return true;
}

bool eq_jscan_value(eq_jscan *s, eq_jscan *value) {
    brackets b = {.depth = 0};
    space(s);
    const char *from = s->at;
    do {
        bool empty = true;
        space(s);
        if (s->at < s->end && (*s->at == '{' || *s->at == '[')) {
            if (!enter(s, &b, &empty)) return false;
            if (!empty) continue;
        } else if (!pass_scalar(s)) {
            return false;
        }
        if (!leave(s, &b)) return false;
    } while (b.depth);
    *value = eq_jscan_of(from, s->at - from);
    return true;
}

bool eq_jscan_end(eq_jscan *s) {
    space(s);
    return s->at == s->end || wrong(s, "expected the end");
}

const char *eq_jscan_type(const eq_jscan *v) {
    if (!v->at || v->at == v->end) return "nothing";
    switch (*v->at) {
    case '{':
        return "an object";
    case '[':
        return "an array";
    case '"':
        return "a string";
    case 't':
        return "true";
    case 'f':
        return "false";
    case 'n':
        return "null";
    default:
        return "a number";
    }
}

/* ---- looking into them ----------------------------------------------------------------------- */

bool eq_jscan_next(eq_jscan *in, eq_jscan *key, eq_jscan *value) {
    bool first = in->at == in->begin, object = in->at < in->end && *in->begin == '{';
    if (first && (in->at == in->end || (*in->at != '{' && *in->at != '['))) return false;
    if (first) in->at++;
    space(in);
    if (in->at == in->end || *in->at == '}' || *in->at == ']') return false;
    if (!first && !take(in, ',')) return wrong(in, "expected ','");
    space(in);
    const char *from = in->at;
    if (object && !pass_key(in)) return false;
    const char *to = in->at;
    while (object && to > from && to[-1] != '"') to--;
    if (key) *key = eq_jscan_of(from, to - from);
    return eq_jscan_value(in, value);
}

/* Does the key, quotes and escapes and all, say these n bytes? */
static bool says(const eq_jscan *key, const char *name, int64_t n) {
    int64_t raw = key->end - key->begin - 2;
    if (!memchr(key->begin, '\\', (size_t)(key->end - key->begin)))
        return raw == n && !memcmp(key->begin + 1, name, (size_t)n);
    eq_jscan copy = *key;
    eq_str text = {0};
    bool same = raw >= n && eq_jscan_text(&copy, &text) && !text.oom && text.n == n &&
                (!n || !memcmp(text.p, name, (size_t)n));
    eq_str_free(&text);
    return same;
}

bool eq_jscan_find(eq_jscan object, const char *path, eq_jscan *value) {
    const char *dot = strchr(path, '.');
    eq_jscan key, v, inside = {0};
    int64_t n = (int64_t)strlen(path);
    *value = (eq_jscan){0};
    if (object.at == object.end || *object.at != '{') return false;
    while (eq_jscan_next(&object, &key, &v)) {
        if (says(&key, path, n)) *value = v;
        if (dot && says(&key, path, dot - path)) inside = v;
    }
    if (!value->at && inside.at) return eq_jscan_find(inside, dot + 1, value);
    return value->at != NULL;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* At "\u": the character, one of two halves that belong together. */
static bool unicode(eq_jscan *s, utf8proc_int32_t *c) {
    *c = hex4(s->at + 2, s->end);
    if (*c < 0) return wrong(s, "an escape that is none");
    if (*c >= 0xdc00 && *c <= 0xdfff) return wrong(s, "a lone surrogate");
    if (*c < 0xd800 || *c > 0xdbff) return s->at += 6, true;
    int low =
        s->end - s->at >= 12 && s->at[6] == '\\' && s->at[7] == 'u' ? hex4(s->at + 8, s->end) : -1;
    if (low < 0xdc00 || low > 0xdfff) return wrong(s, "a lone surrogate");
    *c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
    s->at += 12;
    return true;
}

static bool escape(eq_jscan *s, eq_str *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->end - s->at < 2) return wrong(s, "it ends within a string");
    if (s->at[1] != 'u') {
        const char *k = s->at[1] ? strchr(from, s->at[1]) : NULL;
        if (!k) return wrong(s, "an escape that is none");
        eq_str_put(out, &to[k - from], 1);
        s->at += 2;
        return true;
    }
    utf8proc_int32_t c;
    utf8proc_uint8_t bytes[4];
    if (!unicode(s, &c)) return false;
    eq_str_put(out, bytes, utf8proc_encode_char(c, bytes));
    return true;
}

bool eq_jscan_text(eq_jscan *s, eq_str *out) {
    if (!take(s, '"')) return wrong(s, "expected a string");
    for (const char *from = s->at; s->at < s->end; from = s->at) {
        utf8proc_int32_t c;
        while (s->at < s->end && *s->at != '"' && *s->at != '\\') {
            utf8proc_ssize_t k = *s->at >= 0x20 ? 1
                                                : utf8proc_iterate((const utf8proc_uint8_t *)s->at,
                                                                   s->end - s->at, &c);
            if (k < 1) return wrong(s, "bytes that are no UTF-8");
            if (k == 1 && *s->at < 0x20) return wrong(s, "a control character within a string");
            s->at += k;
        }
        eq_str_put(out, from, s->at - from);
        if (s->at < s->end && *s->at == '"') return s->at++, true;
        if (s->at < s->end && !escape(s, out)) return false;
    }
    return wrong(s, "it ends within a string");
}

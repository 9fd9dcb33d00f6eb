/* See pytext.h. Texts are valid UTF-8: they come out of a JSON parser, or were looked at. */
#include "eval/pytext.h"

#include <string.h>
#include <utf8proc.h>

#include "text/unicode.h"
#include "text/utf8.h"

eq_text eq_py_rstrip(eq_text t) {
    uint32_t cp;
    while (t.n > 0) {
        int64_t at = eq_utf8_back(t.p, t.n);
        eq_utf8_get(t.p + at, &cp);
        if (!eq_uni_py_space(cp)) break;
        t.n = at;
    }
    return t;
}

eq_text eq_py_strip(eq_text t) {
    uint32_t cp;
    t = eq_py_rstrip(t);
    while (t.n > 0) {
        int k = eq_utf8_get(t.p, &cp);
        if (!eq_uni_py_space(cp)) break;
        t.p += k, t.n -= k;
    }
    return t;
}

int64_t eq_py_len(eq_text t) {
    int64_t chars = 0;
    for (int64_t i = 0; i < t.n; i++) chars += ((uint8_t)t.p[i] & 0xc0) != 0x80;
    return chars;
}

void eq_py_capitalize(eq_str *out, eq_text t) {
    for (int64_t at = 0; at < t.n;) {
        uint32_t cp, low[2];
        bool first = at == 0;
        at += eq_utf8_get(t.p + at, &cp);
        if (first) {
            eq_utf8_append(out, (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp));
            continue;
        }
        int k = eq_uni_lower(cp, low);
        for (int i = 0; i < k; i++) eq_utf8_append(out, low[i]);
    }
}

void eq_py_replace(eq_str *out, eq_text t, const char *from, const char *to) {
    int64_t n = (int64_t)strlen(from);
    for (int64_t at = 0; at < t.n;) {
        if (t.n - at >= n && !memcmp(t.p + at, from, (size_t)n)) {
            eq_str_puts(out, to);
            at += n;
        } else {
            eq_str_put(out, t.p + at++, 1);
        }
    }
}

/* '.' matches everything but a line end. */
void eq_py_drop_brackets(eq_str *out, eq_text t) {
    for (int64_t at = 0; at < t.n; at++) {
        if (t.p[at] == '[') {
            int64_t end = at + 1;
            while (end < t.n && t.p[end] != ']' && t.p[end] != '\n') end++;
            if (end < t.n && t.p[end] == ']') {
                at = end;
                continue;
            }
        }
        eq_str_put(out, t.p + at, 1);
    }
}

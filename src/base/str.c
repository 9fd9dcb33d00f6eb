/* See str.h. */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static bool grow(eq_str *s, int64_t more) {
    int64_t want;
    if (s->oom || !eq_add(s->n, more, &want) || !eq_add(want, 1, &want))
        return s->oom = true, false;
    if (want <= s->cap) return true;
    int64_t cap = s->cap < 64 ? 64 : s->cap;
    while (cap < want) cap += cap / 2;
    char *p = eq_realloc(s->p, cap, 1);
    if (!p) return s->oom = true, false;
    s->p = p, s->cap = cap;
    return true;
}

void eq_str_put(eq_str *s, const void *bytes, int64_t n) {
    if (!grow(s, n)) return;
    if (n) memcpy(s->p + s->n, bytes, (size_t)n);
    s->n += n;
    s->p[s->n] = 0;
}

void eq_str_puts(eq_str *s, const char *text) { eq_str_put(s, text, (int64_t)strlen(text)); }

void eq_str_printf(eq_str *s, const char *fmt, ...) {
    va_list ap, aq;
    va_start(ap, fmt);
    va_copy(aq, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && grow(s, n)) {
        vsnprintf(s->p + s->n, (size_t)n + 1, fmt, aq);
        s->n += n;
    }
    va_end(aq);
}

void eq_str_free(eq_str *s) {
    eq_free(s->p);
    *s = (eq_str){0};
}

bool eq_ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && !memcmp(s + n - m, tail, m);
}
bool eq_starts_with(const char *s, const char *head) { return !strncmp(s, head, strlen(head)); }

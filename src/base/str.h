/* A growing byte string. After a failed growth `oom` is set and the content stays as it was;
 * check once at the end. `p` is NUL-terminated whenever n > 0. */
#ifndef EQ_BASE_STR_H
#define EQ_BASE_STR_H
#include "base/err.h"

typedef struct {
    char *p;
    int64_t n, cap;
    bool oom;
} eq_str;

void eq_str_put(eq_str *s, const void *bytes, int64_t n);
void eq_str_puts(eq_str *s, const char *text);
void eq_str_printf(eq_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void eq_str_free(eq_str *s);
bool eq_ends_with(const char *s, const char *tail);
bool eq_starts_with(const char *s, const char *head);
#endif

/* Formatting of eq_err; see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Length of the UTF-8 character at s, 0: it is none. */
static int character(const unsigned char *s) {
    int n = *s < 0x80                 ? 1
            : *s >= 0xc2 && *s < 0xe0 ? 2
            : *s >= 0xe0 && *s < 0xf0 ? 3
            : *s >= 0xf0 && *s < 0xf5 ? 4
                                      : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f)) return 0;
    if ((*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f)) return 0;
    return n;
}

/* What was cut to fit may end inside a character: the line is UTF-8 all the same. */
static void one_line(char *s) {
    for (int n; *s; s += n ? n : 1) {
        if (*s == '\n' || *s == '\r') *s = ' ';
        n = character((unsigned char *)s);
        if (!n) *s = '?';
    }
}

eq_status eq_fail(eq_err *err, eq_status status, const char *fmt, ...) {
    if (!err || err->status != EQ_OK) return err ? err->status : status;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    one_line(err->msg);
    return err->status = status;
}

eq_status eq_fail_errno(eq_err *err, const char *fmt, ...) {
    int e = errno;
    if (!err || err->status != EQ_OK) return err ? err->status : EQ_EIO;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->msg)
        snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s", strerror(e));
    one_line(err->msg);
    return err->status = EQ_EIO;
}

eq_status eq_fail_at(eq_err *err, const char *fmt, ...) {
    if (!err) return EQ_EINPUT;
    char head[256], tail[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    memcpy(tail, err->msg, sizeof tail);
    snprintf(err->msg, sizeof err->msg, "%.250s: %.760s", head, tail);
    one_line(err->msg);
    return err->status;
}

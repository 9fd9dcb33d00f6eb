/* Formatting of eq_err; see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void one_line(char *s) {
    for (; *s; s++)
        if (*s == '\n' || *s == '\r') *s = ' ';
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

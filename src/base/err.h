/* Errors: a status for the program, one line for people. Untouched on success. */
#ifndef EQ_BASE_ERR_H
#define EQ_BASE_ERR_H
#include "eqat.h"

/* Writes the line (first error wins: a set *err is kept) and returns `status`. err may be NULL. */
eq_status eq_fail(eq_err *err, eq_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As eq_fail, with ": strerror(errno)" behind the line and EQ_EIO. */
eq_status eq_fail_errno(eq_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " in front of the line an inner call has written; returns err->status. */
eq_status eq_fail_at(eq_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* eq_status s = call; if it is not EQ_OK return it */
#define EQ_TRY(call) \
    do { \
        eq_status eq_try_ = (call); \
        if (eq_try_ != EQ_OK) return eq_try_; \
    } while (0)
/* The same where there is something to clean up: `st` gets the status, then goto `label`. */
#define EQ_GOTO(st, label, call) \
    do { \
        if (((st) = (call)) != EQ_OK) goto label; \
    } while (0)
#endif

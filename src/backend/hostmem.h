/* Backend memory that is host memory, shared by every backend that runs on the CPU. */
#ifndef EQ_BACKEND_HOSTMEM_H
#define EQ_BACKEND_HOSTMEM_H
#include "backend/backend.h"

/* be->self of a host backend. `own` is for the backend that opened it, released by free_own. */
typedef struct {
    eq_err first; /* the first error since the last sync */
    void *own;
    void (*free_own)(void *own);
} eq_host;

/* A backend with memory calls, an empty error and no operations yet. */
eq_status eq_host_open(eq_backend **be, const char *name, eq_err *err);
/* For operations that cannot go on (they return void): kept until sync, the first one wins. */
void eq_host_error(eq_backend *be, eq_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What an operation's `at` says: I32 [1], n == 0: 0. */
int64_t eq_host_at(eq_view at);
/* eq_calloc, or NULL with the error noted; eq_free it. */
void *eq_host_scratch(eq_backend *be, int64_t n, int64_t size);
#endif

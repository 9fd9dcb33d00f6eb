/* Backends in shared libraries of their own: the program needs nothing that they need.
 * A library shows one symbol, the function eq_backend_plugin. */
#ifndef EQ_BACKEND_PLUGIN_H
#define EQ_BACKEND_PLUGIN_H
#include "backend/backend.h"
#include "base/par.h"

/* What both sides must agree on before one calls the other. */
typedef struct {
    const char *version; /* EQ_VERSION */
    int64_t sizes[4];    /* EQ_PLUGIN_SIZES */
    /* par_for: the program's threads, so that there is one pool */
    eq_status (*open)(eq_backend **be, void (*par_for)(int64_t n, eq_par_fn fn, void *ctx),
                      eq_err *err);
} eq_plugin;
#define EQ_PLUGIN_SIZES \
    { sizeof(eq_backend), sizeof(eq_ops), sizeof(eq_err), sizeof(eq_adamw) }
#define EQ_PLUGIN_ENTRY "eq_backend_plugin"
const eq_plugin *eq_backend_plugin(void); /* in the library */

/* Opens the backend in libeqat-`name`.so: beside the running program, in ../lib/eqat of it, or
 * where the loader looks. */
eq_status eq_plugin_open(eq_backend **be, const char *name, eq_err *err);
#endif

/* Finding and opening a backend's library. It stays open until the program ends: drivers do not
 * like to be unloaded.
 * Invariant: nothing of a library is called before its version and sizes are this program's. */
#define _GNU_SOURCE
#include "backend/plugin.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

/* The folder of the running program, eq_free it; NULL: not known. */
static char *program_folder(void) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return NULL;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash) return NULL;
    *slash = '\0';
    return eq_strdup(path);
}

/* Where the library is: a path, or its bare name for the loader. eq_free it; NULL: out of memory.
 */
static char *place(const char *file) {
    static const char *const places[] = {"%s/%s", "%s/../lib/eqat/%s"};
    char *folder = program_folder(), *path = NULL;
    for (int i = 0; folder && i < 2 && !path; i++) {
        path = eq_sprintf(places[i], folder, file);
        if (!path || eq_exists(path)) break;
        eq_free(path), path = NULL;
    }
    eq_free(folder);
    return path ? path : eq_strdup(file);
}

static eq_status load(void **library, const char *name, const char *file, eq_err *err) {
    char *path = place(file);
    if (!path) return eq_nomem(err, "a path", 4096);
    *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    eq_free(path);
    if (*library) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "backend %s: expected %s beside the program, in ../lib/eqat or where the loader "
                   "looks (make %s builds it): %s",
                   name, file, name, dlerror());
}

static eq_status open_in(eq_backend **be, const char *name, const char *file, eq_err *err) {
    static const int64_t sizes[] = EQ_PLUGIN_SIZES;
    void *library;
    EQ_TRY(load(&library, name, file, err));
    const eq_plugin *(*entry)(void) = NULL;
    void *symbol = dlsym(library, EQ_PLUGIN_ENTRY);
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from data to function */
    const eq_plugin *p = entry ? entry() : NULL;
    if (!p || strcmp(p->version, EQ_VERSION) || memcmp(p->sizes, sizes, sizeof sizes))
        return eq_fail(
            err, EQ_EINPUT,
            "backend %s: %s: expected one built with this program (version %s), found %s", name,
            file, EQ_VERSION, p ? p->version : "something else");
    return p->open(be, eq_par_for, err);
}

eq_status eq_plugin_open(eq_backend **be, const char *name, eq_err *err) {
    char *file = eq_sprintf("libeqat-%s.so", name);
    eq_status st = file ? open_in(be, name, file, err) : eq_nomem(err, "a name", 64);
    eq_free(file);
    return st;
}

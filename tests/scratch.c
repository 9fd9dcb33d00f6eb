/* See scratch.h. */
#include "scratch.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

static char dir[64];
static long owner;

static void remove_dir(void) {
    if (owner == (long)getpid()) eq_remove_tree(dir, NULL);
}

const char *scratch_dir(void) {
    if (dir[0]) return dir;
    /* in memory where that can be had: writing atomically syncs a disk each time */
    snprintf(dir, sizeof dir, "%s/eqat-test-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(dir)) abort();
    owner = (long)getpid();
    atexit(remove_dir);
    return dir;
}

const char *scratch_path(const char *name) {
    static char ring[8][512];
    static int at;
    char *p = ring[at++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", scratch_dir(), name);
    return p;
}

const char *scratch_file(const char *name, const void *bytes, int64_t n) {
    const char *path = scratch_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, (size_t)n, f) != (size_t)n || fclose(f)) abort();
    return path;
}

const char *scratch_text(const char *name, const char *text) {
    return scratch_file(name, text, (int64_t)strlen(text));
}

void check_error(const eq_err *err, eq_status status, ...) {
    va_list ap;
    va_start(ap, status);
    if (err->status != status) fail_msg("wanted status %d: %d %s", status, err->status, err->msg);
    for (const char *word; (word = va_arg(ap, const char *));)
        if (!strstr(err->msg, word)) fail_msg("wanted \"%s\" in: %s", word, err->msg);
    va_end(ap);
    assert_true(err->msg[0] && !strchr(err->msg, '\n'));
}

/* Where a checkpoint goes: what may be named as output. */
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/checkpoint.h"

/* Cuts the last part off a path that is not empty, in place: "a/b" -> "a", "a" -> ".", "/a" ->
 * "/". */
static void to_parent(char *p) {
    char *slash = strrchr(p, '/');
    if (!slash)
        memcpy(p, ".", 2);
    else
        slash[slash == p] = 0;
}

char *eq_output_path(const char *out) {
    return eq_is_dir(out) ? eq_real_path(out) : eq_path_trimmed(out);
}

/* ---- what may be one ------------------------------------------------------------------------- */

eq_status eq_output_check_parent(const char *path, const char *what, eq_err *err) {
    char *p = eq_path_trimmed(path);
    if (!p) return eq_nomem(err, "a path", (int64_t)strlen(path));
    do to_parent(p);
    while (!eq_exists(p) && strcmp(p, ".") && strcmp(p, "/"));
    eq_status st = eq_is_dir(p) ? eq_dir_takes_entries(p, what, err)
                                : eq_fail(err, EQ_EINPUT, "%s: expected a folder, found a file", p);
    eq_free(p);
    return st;
}

static eq_status check_name(const char *out, const char *model, eq_err *err) {
    bool empty;
    if (!*out) return eq_fail(err, EQ_EINPUT, "expected an output folder, found an empty name");
    if (eq_is_dangling(out))
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected an absent or empty folder, found a link to nowhere", out);
    if (eq_same_file(out, model))
        return eq_fail(err, EQ_EINPUT, "%s: expected an output folder other than the model's", out);
    EQ_TRY(eq_dir_is_empty(out, &empty, err));
    if (!empty)
        return eq_fail(err, EQ_EINPUT, "%s: expected an absent or empty folder, found files in it",
                       out);
    return EQ_OK;
}

/* The finished folder takes the place of the named one, whole; not every folder can be replaced. */
eq_status eq_output_check(const char *out, const char *model, eq_err *err) {
    EQ_TRY(check_name(out, model, err));
    if (eq_same_file(out, "."))
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected a folder that can be replaced, found the current one", out);
    if (eq_is_mount_point(out))
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected a folder that can be replaced, found a mount point: name a "
                       "folder in it",
                       out);
    char *path = eq_output_path(out);
    if (!path) return eq_nomem(err, "a path", (int64_t)strlen(out));
    eq_status st = eq_path_is_dots(path)
                       ? eq_fail(err, EQ_EINPUT, "%s: expected the name of a folder", out)
                       : eq_output_check_parent(path, out, err);
    eq_free(path);
    return st;
}

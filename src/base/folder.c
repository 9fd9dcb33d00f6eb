/* POSIX folders and paths. See io.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

/* ---- folders --------------------------------------------------------------------------------- */

bool eq_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}
bool eq_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
bool eq_same_file(const char *a, const char *b) {
    struct stat s, t;
    return !stat(a, &s) && !stat(b, &t) && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

bool eq_same_disk(const char *a, const char *b) {
    struct stat s, t;
    return !stat(a, &s) && !stat(b, &t) && s.st_dev == t.st_dev;
}

eq_status eq_mkdir(const char *path, eq_err *err) {
    char *p = eq_strdup(path);
    if (!p) return eq_nomem(err, "a path", (int64_t)strlen(path));
    eq_status st = EQ_OK;
    for (char *s = p + 1; st == EQ_OK; s++) {
        char c = *s;
        if (c && c != '/') continue;
        *s = 0;
        if (mkdir(p, 0777) && !(errno == EEXIST && eq_is_dir(p)))
            st = eq_fail_errno(err, "%s: cannot create the folder", p);
        *s = c;
        if (!c) break;
    }
    eq_free(p);
    return st;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

eq_status eq_list_dir(const char *path, eq_names *out, eq_err *err) {
    *out = (eq_names){0};
    DIR *d;
    do d = opendir(path);
    while (!d && errno == EINTR);
    if (!d) return eq_fail_errno(err, "%s: cannot open the folder", path);
    eq_status st = EQ_OK;
    while (st == EQ_OK) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e && errno) st = eq_fail_errno(err, "%s: cannot read the folder", path);
        if (!e) break;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        char **p = eq_realloc(out->p, out->n + 1, sizeof *p);
        if (p) out->p = p;
        if (!p || !(p[out->n] = eq_strdup(e->d_name)))
            st = eq_nomem(err, "a folder listing", 256);
        else
            out->n++;
    }
    closedir(d);
    if (st != EQ_OK) {
        eq_names_free(out);
        return st;
    }
    if (out->n) qsort(out->p, (size_t)out->n, sizeof *out->p, by_name);
    return EQ_OK;
}

void eq_names_free(eq_names *n) {
    for (int64_t i = 0; i < n->n; i++) eq_free(n->p[i]);
    eq_free(n->p);
    *n = (eq_names){0};
}

eq_status eq_dir_is_empty(const char *path, bool *empty, eq_err *err) {
    *empty = true;
    if (!eq_exists(path)) return EQ_OK;
    if (!eq_is_dir(path))
        return eq_fail(err, EQ_EINPUT, "%s: expected a folder, found a file", path);
    eq_names n;
    EQ_TRY(eq_list_dir(path, &n, err));
    *empty = n.n == 0;
    eq_names_free(&n);
    return EQ_OK;
}

eq_status eq_remove_tree(const char *path, eq_err *err) {
    struct stat sb;
    if (lstat(path, &sb))
        return errno == ENOENT ? EQ_OK : eq_fail_errno(err, "%s: cannot stat", path);
    if (!S_ISDIR(sb.st_mode))
        return unlink(path) ? eq_fail_errno(err, "%s: cannot remove", path) : EQ_OK;
    eq_names n;
    EQ_TRY(eq_list_dir(path, &n, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < n.n && st == EQ_OK; i++) {
        char *p = eq_path(path, n.p[i]);
        st = p ? eq_remove_tree(p, err) : eq_nomem(err, "a path", 256);
        eq_free(p);
    }
    eq_names_free(&n);
    if (st == EQ_OK && rmdir(path)) st = eq_fail_errno(err, "%s: cannot remove", path);
    return st;
}

eq_status eq_rename_durable(const char *from, const char *to, eq_err *err) {
    if (rename(from, to)) return eq_fail_errno(err, "%s: cannot rename to %s", from, to);
    return eq_sync_parent(to, err);
}

char *eq_path(const char *dir, const char *name) {
    return eq_sprintf("%s%s%s", dir, eq_ends_with(dir, "/") ? "" : "/", name);
}

char *eq_path_trimmed(const char *path) {
    char *p = eq_strdup(path);
    for (size_t n = p ? strlen(p) : 0; n > 1 && p[n - 1] == '/'; n--) p[n - 1] = 0;
    return p;
}

bool eq_path_is_dots(const char *trimmed) {
    const char *slash = strrchr(trimmed, '/'), *name = slash ? slash + 1 : trimmed;
    return !strcmp(name, ".") || !strcmp(name, "..");
}

char *eq_path_beside(const char *path, const char *tail) {
    char *p = eq_path_trimmed(path);
    if (p && eq_path_is_dots(p)) {
        eq_free(p);
        p = eq_real_path(path);
    }
    char *beside = p ? eq_sprintf("%s%s", p, tail) : NULL;
    eq_free(p);
    return beside;
}

/* ---- where a path leads ---------------------------------------------------------------------- */

/* The longest part that is there without links, and the rest as it stands. */
char *eq_real_path(const char *path) {
    char found[PATH_MAX], *head = eq_strdup(path), *out = NULL;
    size_t n = head ? strlen(head) : 0;
    while (head && !realpath(*head ? head : ".", found)) {
        if (!n) { /* the current folder is gone */
            eq_free(head);
            return eq_strdup(path);
        }
        while (n && head[n - 1] == '/') n--;
        while (n && head[n - 1] != '/') n--;
        if (n > 1) n--; /* the slash, if it is not the root's */
        head[n] = 0;
    }
    const char *rest = path + n + strspn(path + n, "/");
    if (head) out = *rest ? eq_path(found, rest) : eq_strdup(found);
    eq_free(head);
    for (n = out ? strlen(out) : 0; n > 1 && out[n - 1] == '/'; n--) out[n - 1] = 0;
    return out;
}

bool eq_lies_in(const char *path, const char *folder) {
    char *p = eq_real_path(path), *f = eq_real_path(folder);
    size_t n = f ? strlen(f) : 0;
    bool in = p && f && !strncmp(p, f, n) && (p[n] == '/' || !p[n] || n == 1);
    eq_free(p), eq_free(f);
    return in;
}

bool eq_is_mount_point(const char *path) {
    struct statx x;
    if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &x)) return false;
    if (x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return (x.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    char *up = eq_path(path, ".."); /* kernels before 5.8; a folder bound to itself goes unseen */
    struct stat here, above;
    bool is = up && !stat(path, &here) && !stat(up, &above) && here.st_dev != above.st_dev;
    eq_free(up);
    return is;
}

bool eq_is_dangling(const char *path) {
    struct stat st;
    return !lstat(path, &st) && S_ISLNK(st.st_mode) && stat(path, &st) &&
           (errno == ENOENT || errno == ELOOP || errno == ENOTDIR);
}

/* A file without a name leaves nothing behind, whatever happens; where there is no such thing, a
 * folder under one name for all, which the next one to ask removes. */
eq_status eq_dir_takes_entries(const char *dir, const char *what, eq_err *err) {
    int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
        return EQ_OK;
    }
    char *probe = eq_path(dir, ".eqat-probe");
    if (!probe) return eq_nomem(err, "a path", 256);
    eq_status st = EQ_OK;
    if (mkdir(probe, 0777) && !(errno == EEXIST && !rmdir(probe) && !mkdir(probe, 0777)))
        st = eq_fail_errno(err, "%s: cannot create anything in %s", what, dir);
    else
        rmdir(probe);
    eq_free(probe);
    return st;
}

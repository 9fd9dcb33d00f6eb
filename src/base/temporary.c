/* Temporary folders. Invariant: one is locked as long as a run writes to it, so one that can be
 * locked is of a run that was killed. Process numbers would not do: in two containers both are 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

/* Cuts the last part off a path that is not empty, in place: "a/b" -> "a", "a" -> ".", "/a" ->
 * "/". */
static void to_parent(char *p) {
    char *slash = strrchr(p, '/');
    if (!slash)
        memcpy(p, ".", 2);
    else
        slash[slash == p] = 0;
}

/* Locks the folder; -1: another has it, it is gone, or this file system has no locks. */
static int lock_folder(const char *path) {
    struct stat here, there;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -1;
    if (!flock(fd, LOCK_EX | LOCK_NB) && !fstat(fd, &here) && !stat(path, &there) &&
        here.st_ino == there.st_ino && here.st_dev == there.st_dev)
        return fd;
    close(fd);
    return -1;
}

/* "NAME.tmp-" and what eq_temporary puts behind it */
static bool is_temporary(const char *name, const char *head) {
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    if (!eq_starts_with(name, head)) return false;
    const char *tail = name + strlen(head);
    return strlen(tail) == EQ_TEMPORARY && strspn(tail, digits) == EQ_TEMPORARY;
}

static eq_status remove_stale_in(const char *parent, const char *head, eq_err *err) {
    eq_names names;
    EQ_TRY(eq_list_dir(parent, &names, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < names.n && st == EQ_OK; i++) {
        if (!is_temporary(names.p[i], head)) continue;
        char *path = eq_path(parent, names.p[i]);
        int lock = path ? lock_folder(path) : -1;
        if (!path) st = eq_nomem(err, "a path", 256);
        if (lock >= 0) {
            eq_remove_tree(path, NULL); /* or not: it may be another user's */
            close(lock);
        }
        eq_free(path);
    }
    eq_names_free(&names);
    return st;
}

/* What runs that were killed while writing to `path` have left beside it. */
static eq_status remove_stale(const char *path, eq_err *err) {
    char *parent = eq_strdup(path), *head = eq_sprintf("%s.tmp-", path);
    eq_status st = EQ_OK;
    if (!parent || !head) {
        st = eq_nomem(err, "a path", 256);
    } else {
        const char *slash = strrchr(head, '/');
        to_parent(parent);
        if (eq_exists(parent)) st = remove_stale_in(parent, slash ? slash + 1 : head, err);
    }
    eq_free(parent), eq_free(head);
    return st;
}

/* Makes the folder that `path` lies in, and those above. */
static eq_status make_parent(const char *path, eq_err *err) {
    char *parent = eq_strdup(path);
    if (!parent) return eq_nomem(err, "a path", (int64_t)strlen(path));
    to_parent(parent);
    eq_status st = eq_mkdir(parent, err);
    eq_free(parent);
    return st;
}

eq_status eq_temporary_folder(const char *path, char **tmp, int *lock, eq_err *err) {
    *tmp = NULL, *lock = -1;
    EQ_TRY(make_parent(path, err));
    EQ_TRY(remove_stale(path, err));
    while (true) {
        eq_free(*tmp);
        if (!(*tmp = eq_temporary(path))) return eq_nomem(err, "a path", 256);
        if (mkdir(*tmp, 0777)) {
            if (errno == EEXIST) continue;
            return eq_fail_errno(err, "%s: cannot create the folder", *tmp);
        }
        *lock = lock_folder(*tmp);
        /* another run took it for a dead one's in the moment before it was locked */
        if (*lock < 0 && !eq_exists(*tmp)) continue;
        return EQ_OK;
    }
}

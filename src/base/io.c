/* POSIX files. See io.h for the guarantees. */
#define _GNU_SOURCE
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"

eq_status eq_map_open(eq_map *m, const char *path, eq_err *err) {
    *m = (eq_map){.data = (const uint8_t *)""};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return eq_fail_errno(err, "%s: cannot open", path);
    struct stat st;
    if (fstat(fd, &st)) {
        close(fd);
        return eq_fail_errno(err, "%s: cannot stat", path);
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return eq_fail(err, EQ_EINPUT, "%s: expected a regular file", path);
    }
    if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            close(fd);
            return eq_fail_errno(err, "%s: cannot map %lld bytes", path, (long long)st.st_size);
        }
        m->map = p, m->data = p, m->size = st.st_size;
    }
    close(fd);
    return EQ_OK;
}

/* ---- seals: the last bytes of a file, a checksum of the rest -----------------------------------
 */

enum { SUM = 32 };
static const char seal_mark[] = "eqatseal"; /* 8 bytes, so that what is behind it stays aligned */
enum { SEAL = sizeof seal_mark - 1 + SUM };

eq_status eq_map_open_sealed(eq_map *m, const char *path, eq_err *err) {
    EQ_TRY(eq_map_open(m, path, err));
    int64_t n = m->size - SEAL;
    const char *seal = (const char *)m->data + n, *sum = seal + SEAL - SUM;
    eq_status st = EQ_OK;
    if (n < 0 || memcmp(seal, seal_mark, SEAL - SUM)) {
        st = eq_fail(err, EQ_EINPUT, "%s: damaged: expected a checksum at its end, found none",
                     path);
    } else {
        eq_map_sequential(m);
        eq_digest is = eq_hash_bytes(m->data, n);
        if (memcmp(is.hex, sum, SUM))
            st = eq_fail(err, EQ_EINPUT, "%s: damaged: expected checksum %.32s, found %s", path,
                         sum, is.hex);
    }
    if (st != EQ_OK)
        eq_map_close(m);
    else
        m->sealed = SEAL, m->size = n;
    return st;
}

void eq_map_close(eq_map *m) {
    if (m->map) munmap(m->map, (size_t)(m->size + m->sealed));
    *m = (eq_map){0};
}

void eq_map_sequential(const eq_map *m) {
    if (m->map) madvise(m->map, (size_t)m->size, MADV_SEQUENTIAL);
}

/* ---- atomic writer --------------------------------------------------------------------------- */

enum { BUFFER = 1 << 20, BEHIND = 1 << 25 };
struct eq_writer {
    int fd;
    char *path, *tmp;
    char *buf;
    int64_t n;
    eq_hash *seal;     /* NULL: not sealed */
    int64_t at, begun; /* bytes written; of these, those on their way to the disk */
};
static int64_t fail_nth;
void eq_io_fail_nth(int64_t n) { fail_nth = n; }

static eq_status fsync_folder_of(const char *path, eq_err *err) {
    char *dir = eq_strdup(path);
    if (!dir) return eq_nomem(err, "a path", (int64_t)strlen(path));
    char *slash = strrchr(dir, '/');
    if (slash == dir)
        slash[1] = 0;
    else if (slash)
        *slash = 0;
    else
        memcpy(dir, ".", 2);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    eq_status st = EQ_OK;
    /* Some file systems refuse fsync on folders; that is no reason to fail the run. */
    if (fd < 0 || (fsync(fd) && errno != EINVAL)) st = eq_fail_errno(err, "%s: cannot sync", dir);
    if (fd >= 0) close(fd);
    eq_free(dir);
    return st;
}

static void writer_free(eq_writer *w) {
    if (w->fd >= 0) close(w->fd);
    if (w->seal) eq_hash_end(w->seal);
    eq_free(w->path), eq_free(w->tmp), eq_free(w->buf), eq_free(w);
}

eq_status eq_writer_open(eq_writer **out, const char *path, eq_err *err) {
    *out = NULL;
    eq_writer *w = eq_calloc(1, sizeof *w);
    if (!w) return eq_nomem(err, "a file writer", sizeof *w);
    w->fd = -1;
    w->path = eq_strdup(path);
    w->tmp = eq_sprintf("%s.tmp-%ld", path, (long)getpid());
    w->buf = eq_calloc(BUFFER, 1);
    if (!w->path || !w->tmp || !w->buf) {
        writer_free(w);
        return eq_nomem(err, "a file writer", BUFFER);
    }
    w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        eq_status st = eq_fail_errno(err, "%s: cannot create", path);
        writer_free(w);
        return st;
    }
    *out = w;
    return EQ_OK;
}

static eq_status write_all(eq_writer *w, const char *p, int64_t n, eq_err *err) {
    while (n > 0) {
        ssize_t k = write(w->fd, p, (size_t)(n > 1 << 30 ? 1 << 30 : n));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return eq_fail_errno(err, "%s: cannot write", w->path);
        p += k, n -= k, w->at += k;
    }
    /* The disk works while the next bytes are being made, instead of when fsync waits for it.
     * Advice: what it does not bring to the disk, fsync does. */
    if (w->at - w->begun >= BEHIND) {
        sync_file_range(w->fd, w->begun, w->at - w->begun, SYNC_FILE_RANGE_WRITE);
        w->begun = w->at;
    }
    return EQ_OK;
}

static eq_status flush(eq_writer *w, eq_err *err) {
    int64_t n = w->n;
    w->n = 0;
    return write_all(w, w->buf, n, err);
}

eq_status eq_writer_seal(eq_writer *w, eq_err *err) {
    w->seal = eq_hash_new();
    return w->seal ? EQ_OK : eq_nomem(err, "a checksum", 256);
}

eq_status eq_writer_put(eq_writer *w, const void *bytes, int64_t n, eq_err *err) {
    if (w->seal) eq_hash_put(w->seal, bytes, n);
    if (fail_nth > 0 && --fail_nth == 0) {
        errno = ENOSPC;
        return eq_fail_errno(err, "%s: cannot write", w->path);
    }
    if (w->n + n > BUFFER) EQ_TRY(flush(w, err));
    if (n >= BUFFER) return write_all(w, bytes, n, err);
    if (n) memcpy(w->buf + w->n, bytes, (size_t)n);
    w->n += n;
    return EQ_OK;
}

static eq_status put_seal(eq_writer *w, eq_err *err) {
    if (!w->seal) return EQ_OK;
    eq_digest sum = eq_hash_end(w->seal);
    w->seal = NULL;
    EQ_TRY(eq_writer_put(w, seal_mark, SEAL - SUM, err));
    return eq_writer_put(w, sum.hex, SUM, err);
}

eq_status eq_writer_commit(eq_writer *w, eq_err *err) {
    eq_status st = put_seal(w, err);
    if (st == EQ_OK) st = flush(w, err);
    if (st == EQ_OK && fsync(w->fd)) st = eq_fail_errno(err, "%s: cannot sync", w->path);
    if (st == EQ_OK && rename(w->tmp, w->path))
        st = eq_fail_errno(err, "%s: cannot rename into place", w->path);
    if (st == EQ_OK)
        st = fsync_folder_of(w->path, err);
    else
        unlink(w->tmp);
    writer_free(w);
    return st;
}

void eq_writer_abort(eq_writer *w) {
    if (!w) return;
    unlink(w->tmp);
    writer_free(w);
}

eq_status eq_write_file(const char *path, const void *bytes, int64_t n, eq_err *err) {
    eq_writer *w;
    EQ_TRY(eq_writer_open(&w, path, err));
    eq_status st = eq_writer_put(w, bytes, n, err);
    if (st != EQ_OK) {
        eq_writer_abort(w);
        return st;
    }
    return eq_writer_commit(w, err);
}

eq_status eq_copy_file(const char *from, const char *to, eq_err *err) {
    eq_map m;
    EQ_TRY(eq_map_open(&m, from, err));
    eq_status st = eq_write_file(to, m.data, m.size, err);
    eq_map_close(&m);
    return st;
}

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
    DIR *d = opendir(path);
    if (!d) return eq_fail_errno(err, "%s: cannot open the folder", path);
    eq_status st = EQ_OK;
    for (struct dirent *e; st == EQ_OK && (e = readdir(d));) {
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
    return fsync_folder_of(to, err);
}

char *eq_path(const char *dir, const char *name) {
    return eq_sprintf("%s%s%s", dir, eq_ends_with(dir, "/") ? "" : "/", name);
}

int64_t eq_disk_free(const char *path) {
    struct statvfs v;
    if (statvfs(path, &v)) return -1;
    return (int64_t)v.f_bavail * (int64_t)v.f_frsize;
}

static int64_t cgroup_limit(const char *path) {
    FILE *f = fopen(path, "re");
    long long v = -1;
    if (f && fscanf(f, "%lld", &v) != 1) v = -1; /* "max" */
    if (f) fclose(f);
    return v;
}

int64_t eq_machine_memory(void) {
    int64_t best = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/meminfo", "re");
    char line[256];
    long long kb;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lld kB", &kb) == 1) best = (int64_t)kb << 10;
    if (f) fclose(f);
    int64_t c = cgroup_limit("/sys/fs/cgroup/memory.max");
    return c > 0 && c < best ? c : best;
}

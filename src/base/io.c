/* POSIX files. See io.h for the guarantees. */
#define _GNU_SOURCE
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/observe.h"

/* ---- mapped files --------------------------------------------------------------------------- */

/* Names of what is mapped, for a handler of SIGBUS: no lock, no allocation on its way. A path too
 * long keeps its end, a map too many has no name. */
enum { NAMED = 512 };
static struct {
    _Atomic(const char *) base; /* NULL: free */
    _Atomic int64_t size;
    char path[240];
} named[NAMED];

void eq_map_name(const void *base, int64_t size, const char *path) {
    size_t n = strlen(path), most = sizeof named->path - 1;
    for (int i = 0; i < NAMED; i++) {
        const char *none = NULL;
        if (!atomic_compare_exchange_strong(&named[i].base, &none, base)) continue;
        snprintf(named[i].path, sizeof named->path, "%s", n > most ? path + (n - most) : path);
        atomic_store(&named[i].size, size);
        return;
    }
}

void eq_map_forget(const void *base) {
    for (int i = 0; i < NAMED; i++) {
        if (atomic_load(&named[i].base) != base) continue;
        atomic_store(&named[i].size, 0);
        atomic_store(&named[i].base, NULL);
        return;
    }
}

const char *eq_map_named(const void *at) {
    for (int i = 0; i < NAMED; i++) {
        const char *base = atomic_load(&named[i].base);
        if (base && (const char *)at >= base &&
            (const char *)at < base + atomic_load(&named[i].size))
            return named[i].path;
    }
    return NULL;
}

/* What a signal cut off is done again. */
static int open_again(const char *path, int flags, mode_t mode) {
    int fd;
    do fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}
static int fsync_again(int fd) {
    int r;
    do r = fsync(fd);
    while (r && errno == EINTR);
    return r;
}

static int64_t changed_at(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static eq_status map_fd(eq_map *m, const char *path, eq_err *err) {
    struct stat st;
    if (fstat(m->fd, &st)) return eq_fail_errno(err, "%s: cannot stat", path);
    if (!S_ISREG(st.st_mode)) return eq_fail(err, EQ_EINPUT, "%s: expected a regular file", path);
    m->changed = changed_at(&st);
    if (st.st_size == 0) return EQ_OK;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, m->fd, 0);
    if (p == MAP_FAILED)
        return eq_fail_errno(err, "%s: cannot map %lld bytes", path, (long long)st.st_size);
    m->map = p, m->data = p, m->size = st.st_size;
    eq_map_name(p, m->size, path);
    return EQ_OK;
}

eq_status eq_map_open(eq_map *m, const char *path, eq_err *err) {
    *m = (eq_map){.data = (const uint8_t *)""};
    m->fd = open_again(path, O_RDONLY, 0);
    if (m->fd < 0) return eq_fail_errno(err, "%s: cannot open", path);
    eq_status st = map_fd(m, path, err);
    if (st != EQ_OK) eq_map_close(m);
    return st;
}

void eq_map_close(eq_map *m) {
    if (m->map) {
        eq_map_forget(m->map);
        munmap(m->map, (size_t)(m->size + m->sealed));
    }
    if (m->data && m->fd >= 0) close(m->fd);
    *m = (eq_map){.fd = -1};
}

eq_status eq_map_unchanged(const eq_map *m, const char *path, eq_err *err) {
    struct stat st;
    if (fstat(m->fd, &st)) return eq_fail_errno(err, "%s: cannot stat", path);
    if (st.st_size == m->size && changed_at(&st) == m->changed) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: expected the file as it was opened, found that it was written to meanwhile "
                   "(%lld bytes, were %lld)",
                   path, (long long)st.st_size, (long long)m->size);
}

bool eq_map_look_anew(eq_map *m) {
    struct stat st;
    if (fstat(m->fd, &st) || st.st_size != m->size) return false;
    m->touched = changed_at(&st);
    return true;
}
void eq_map_accept(eq_map *m) { m->changed = m->touched; }

void eq_map_sequential(const eq_map *m) {
    if (m->map) madvise(m->map, (size_t)m->size, MADV_SEQUENTIAL);
}

/* ---- seals: the last bytes of a file, a checksum of the rest --------------------------------- */

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

void eq_map_drop(const eq_map *m, int64_t from, int64_t to) {
    int64_t page = sysconf(_SC_PAGESIZE);
    from = from / page * page, to = to / page * page;
    if (m->map && to > from) madvise((char *)m->map + from, (size_t)(to - from), MADV_DONTNEED);
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

eq_status eq_sync_parent(const char *path, eq_err *err) {
    char *dir = eq_strdup(path);
    if (!dir) return eq_nomem(err, "a path", (int64_t)strlen(path));
    char *slash = strrchr(dir, '/');
    if (slash == dir)
        slash[1] = 0;
    else if (slash)
        *slash = 0;
    else
        memcpy(dir, ".", 2);
    int fd = open_again(dir, O_RDONLY | O_DIRECTORY, 0);
    eq_status st = EQ_OK;
    /* Some file systems refuse fsync on folders; that is no reason to fail the run. */
    if (fd < 0 || (fsync_again(fd) && errno != EINVAL))
        st = eq_fail_errno(err, "%s: cannot sync", dir);
    if (fd >= 0) close(fd);
    eq_free(dir);
    return st;
}

static void writer_free(eq_writer *w) {
    if (w->fd >= 0) close(w->fd);
    if (w->seal) eq_hash_end(w->seal);
    eq_free(w->path), eq_free(w->tmp), eq_free(w->buf), eq_free(w);
}

/* Twice the same name is harmless, it is never opened twice: whoever makes something of this name
 * asks to be its only maker. Process numbers would do worse: in containers all are 1. */
char *eq_temporary(const char *path) {
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint64_t v;
    char tail[EQ_TEMPORARY + 1] = {0};
    if (getrandom(&v, sizeof v, 0) != sizeof v)
        v = (uint64_t)(uintptr_t)&v ^ (uint64_t)(eq_now() * 1e9);
    for (int i = 0; i < EQ_TEMPORARY; i++, v /= 36) tail[i] = digits[v % 36];
    return eq_sprintf("%s.tmp-%s", path, tail);
}

/* The file at w->tmp, under a new name as long as there is one. */
static eq_status create(eq_writer *w, eq_err *err) {
    do {
        eq_free(w->tmp);
        if (!(w->tmp = eq_temporary(w->path))) return eq_nomem(err, "a path", 256);
        w->fd = open_again(w->tmp, O_WRONLY | O_CREAT | O_EXCL, 0666);
    } while (w->fd < 0 && errno == EEXIST);
    if (w->fd >= 0) return EQ_OK;
    eq_fail_errno(err, "%s: cannot create", w->path);
    return EQ_EIO;
}

eq_status eq_writer_open(eq_writer **out, const char *path, eq_err *err) {
    *out = NULL;
    eq_writer *w = eq_calloc(1, sizeof *w);
    if (!w) return eq_nomem(err, "a file writer", sizeof *w);
    w->fd = -1;
    w->path = eq_strdup(path);
    w->buf = eq_calloc(BUFFER, 1);
    eq_status st =
        w->path && w->buf ? create(w, err) : eq_nomem(err, "a file writer", (int64_t)BUFFER);
    if (st != EQ_OK) {
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
    if (st == EQ_OK && fsync_again(w->fd)) st = eq_fail_errno(err, "%s: cannot sync", w->path);
    if (st == EQ_OK && rename(w->tmp, w->path))
        st = eq_fail_errno(err, "%s: cannot rename into place", w->path);
    if (st == EQ_OK)
        st = eq_sync_parent(w->path, err);
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

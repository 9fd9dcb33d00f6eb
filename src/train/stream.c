/* See stream.h. Invariant: until a batch is counted, its inputs are whole. A pass never writes
 * where it reads: windows lie in n + B slots, at even levels behind the B free ones and at odd
 * levels before them, so outputs go one batch down (or up, from the last batch to the first) onto
 * inputs that are used up.
 *
 * A kill keeps what was stored, in the order it was stored in. Losing power does not: then some
 * pages are old and some are new, and the sums of the windows, each seeded by window and level,
 * show it. */
#define _GNU_SOURCE
#include "train/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/par.h"

struct eq_stream_head {
    char magic[8];
    int64_t at;     /* level * n + windows that are already at the next level; -1: no windows yet */
    uint64_t sum[]; /* [2][n]: of each window at even and at odd levels, so that a window that is
                       being replaced keeps the sum it has */
};
typedef struct eq_stream_head head;
enum { PAGE = 4096 };
static const char magic[8] = "eqstrm1";

static int64_t head_bytes(int64_t n) {
    return ((int64_t)sizeof(head) + 16 * n + PAGE - 1) / PAGE * PAGE;
}

int64_t eq_stream_bytes(int64_t n, int64_t B, int64_t T, int64_t D, eq_dtype dt) {
    int64_t b;
    if (!eq_add(n, B, &b) || !eq_mul(b, T, &b) || !eq_mul(b, D, &b) ||
        !eq_mul(b, eq_dtype_size(dt), &b) || !eq_add(b, head_bytes(n), &b))
        return -1;
    return b;
}

/* ---- where a window is ----------------------------------------------------------------------- */

static int64_t window_bytes(const eq_stream *s) { return s->T * s->D * eq_dtype_size(s->dt); }
static char *slot(const eq_stream *s, int64_t level, int64_t window) {
    return s->data + (window + (level % 2 ? 0 : s->B)) * window_bytes(s);
}
int64_t eq_stream_level(const eq_stream *s) { return s->head->at < 0 ? -1 : s->head->at / s->n; }
/* A pass from an even level takes the windows in their order, one from an odd level the other way
 * round. */
static int64_t level_of(const eq_stream *s, int64_t window) {
    int64_t level = s->head->at / s->n, done = s->head->at % s->n;
    bool passed = level % 2 ? window >= s->n - done : window < done;
    return level + passed;
}
void *eq_stream_at(const eq_stream *s, int64_t window) {
    return slot(s, level_of(s, window), window);
}

eq_stream_batch eq_stream_next(const eq_stream *s) {
    int64_t level = s->head->at / s->n, done = s->head->at % s->n, left = s->n - done;
    eq_stream_batch b = {.from = done, .n = left < s->B ? left : s->B};
    if (level % 2) b.from = (left - 1) / s->B * s->B, b.n = left - b.from; /* the same batches */
    b.in = slot(s, level, b.from), b.out = slot(s, level + 1, b.from);
    return b;
}

/* ---- sums ------------------------------------------------------------------------------------ */

typedef struct {
    const eq_stream *s;
    int64_t from, level; /* level < 0: compare, each window where it is */
    bool differs;
} sums_job;
static void sum_of(void *ctx, int64_t i, int thread) {
    (void)thread;
    sums_job *j = ctx;
    const eq_stream *s = j->s;
    int64_t w = j->from + i, level = j->level < 0 ? level_of(s, w) : j->level;
    uint64_t *kept = &s->head->sum[level % 2 * s->n + w];
    uint64_t sum = eq_hash64(slot(s, level, w), window_bytes(s), (uint64_t)(level * s->n + w));
    if (j->level >= 0)
        *kept = sum;
    else if (*kept != sum)
        __atomic_store_n(&j->differs, true, __ATOMIC_RELAXED);
}
static void keep_sums(const eq_stream *s, int64_t level, int64_t from, int64_t n) {
    sums_job j = {.s = s, .from = from, .level = level};
    if (s->path) eq_par_for(n, sum_of, &j);
}
static bool sums_hold(const eq_stream *s) {
    sums_job j = {.s = s, .level = -1};
    eq_par_for(s->n, sum_of, &j);
    return !j.differs;
}

/* Stores before this one are not moved behind it. */
static void set_at(eq_stream *s, int64_t at) {
    __atomic_store_n(&s->head->at, at, __ATOMIC_RELEASE);
}

void eq_stream_passed(eq_stream *s, const eq_stream_batch *b) {
    keep_sums(s, s->head->at / s->n + 1, b->from, b->n);
    set_at(s, s->head->at + b->n);
}

/* ---- open ------------------------------------------------------------------------------------ */

/* *old: the file is of this size already. */
static eq_status reserve(const eq_stream *s, bool *old, eq_err *err) {
    struct stat st;
    if (flock(s->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: expected an activation stream of this run alone, found another run that uses it",
            s->path);
    if (fstat(s->fd, &st)) return eq_fail_errno(err, "%s: cannot stat", s->path);
    *old = st.st_size == s->bytes;
    if (*old) return EQ_OK;
    int e = ftruncate(s->fd, 0) ? errno : posix_fallocate(s->fd, 0, s->bytes);
    if (!e) return EQ_OK;
    unlink(s->path);
    errno = e;
    return eq_fail_errno(err, "%s: cannot reserve %.1f GiB for the activation stream", s->path,
                         (double)s->bytes / (1 << 30));
}

static eq_status map_file(eq_stream *s, bool *old, eq_err *err) {
    s->fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->fd < 0) return eq_fail_errno(err, "%s: cannot create the activation stream", s->path);
    EQ_TRY(reserve(s, old, err));
    void *p = mmap(NULL, (size_t)s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
    if (p == MAP_FAILED) {
        eq_fail_errno(err, "%s: cannot map the activation stream", s->path);
        if (!*old) unlink(s->path);
        return EQ_EIO;
    }
    s->head = p;
    return EQ_OK;
}

static eq_status open_in(eq_stream *s, const char *path, bool *old, eq_err *err) {
    s->bytes = eq_stream_bytes(s->n, s->B, s->T, s->D, s->dt);
    if (s->bytes < 0) return eq_nomem(err, "an activation stream", INT64_MAX);
    if (!path) {
        s->head = eq_calloc(s->bytes, 1);
        return s->head ? EQ_OK : eq_nomem(err, "an activation stream", s->bytes);
    }
    if (!(s->path = eq_strdup(path))) return eq_nomem(err, "a path", 256);
    return map_file(s, old, err);
}

eq_status eq_stream_open(eq_stream *s, const char *path, int64_t most, eq_err *err) {
    bool old = false;
    s->fd = -1;
    eq_status st = open_in(s, path, &old, err);
    if (st != EQ_OK) {
        eq_stream_close(s);
        return st;
    }
    s->data = (char *)s->head + head_bytes(s->n);
    int64_t at = s->head->at;
    bool holds = old && !memcmp(s->head->magic, magic, sizeof magic) && at >= 0 &&
                 at <= most * s->n && sums_hold(s);
    if (!holds) set_at(s, -1);
    return EQ_OK;
}

void eq_stream_close(eq_stream *s) {
    if (s->path) {
        if (s->head && s->head->at < 0) unlink(s->path);
        if (s->head) munmap(s->head, (size_t)s->bytes);
        if (s->fd >= 0) close(s->fd);
        eq_free(s->path);
    } else {
        eq_free(s->head);
    }
    *s = (eq_stream){.fd = -1};
}

/* ---- level 0 --------------------------------------------------------------------------------- */

typedef struct {
    eq_stream *s;
    const eq_windows *a, *b;
    const eq_tensor *embed;
} embed_job;
static void embed_window(void *ctx, int64_t i, int thread) {
    (void)thread;
    const embed_job *j = ctx;
    int64_t T = j->s->T, D = j->s->D, in = eq_dtype_size(j->embed->dt),
            out = eq_dtype_size(j->s->dt);
    char *to = slot(j->s, 0, i);
    const int32_t *ids = i < j->a->n ? j->a->ids + i * T : j->b->ids + (i - j->a->n) * T;
    for (int64_t t = 0; t < T; t++)
        eq_convert(to + t * D * out, j->s->dt, (const char *)j->embed->data + ids[t] * D * in,
                   j->embed->dt, D);
}

void eq_stream_embed(eq_stream *s, const eq_windows *a, const eq_windows *b,
                     const eq_tensor *embed) {
    embed_job j = {s, a, b, embed};
    set_at(s, -1);
    eq_par_for(s->n, embed_window, &j);
    keep_sums(s, 0, 0, s->n);
    memcpy(s->head->magic, magic, sizeof magic);
    set_at(s, 0);
}

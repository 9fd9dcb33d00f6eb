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
#include <math.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
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

/* The batch of a pass that has `done` windows behind it. */
static eq_stream_batch batch_at(const eq_stream *s, int64_t level, int64_t done) {
    int64_t left = s->n - done;
    eq_stream_batch b = {.from = done, .n = left < s->B ? left : s->B};
    if (!left) return b;
    if (level % 2) b.from = (left - 1) / s->B * s->B, b.n = left - b.from; /* the same batches */
    b.in = slot(s, level, b.from), b.out = slot(s, level + 1, b.from);
    return b;
}
eq_stream_batch eq_stream_next(const eq_stream *s) {
    return batch_at(s, s->head->at / s->n, s->head->at % s->n);
}
eq_stream_batch eq_stream_next_but_one(const eq_stream *s) {
    int64_t level = s->head->at / s->n, done = s->head->at % s->n;
    return batch_at(s, level, done + batch_at(s, level, done).n);
}

/* ---- work on all windows ----------------------------------------------------------------------
 */

enum { CHUNK = 1 << 27 }; /* bytes between two looks at the stop flag */

/* fn on every window, some at a time. */
static eq_status for_all(const eq_stream *s, eq_par_fn fn, void *ctx, int64_t *from, eq_err *err) {
    int64_t step = CHUNK / window_bytes(s) + 1, n;
    for (*from = 0; *from < s->n; *from += n) {
        if (eq_stopped(s->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        n = s->n - *from < step ? s->n - *from : step;
        eq_par_for(n, fn, ctx);
        eq_progress p = {.phase = "stream",
                         .done = (*from + n) * s->T,
                         .total = s->n * s->T,
                         .tokens = true,
                         .loss = NAN};
        if (step < s->n) eq_progress_say(s->obs, &p);
    }
    return EQ_OK;
}

/* ---- sums ------------------------------------------------------------------------------------ */

static uint64_t sum_of(const eq_stream *s, int64_t level, int64_t w) {
    return eq_hash64(slot(s, level, w), window_bytes(s), (uint64_t)(level * s->n + w));
}
static uint64_t *kept_sum(const eq_stream *s, int64_t level, int64_t w) {
    return &s->head->sum[level % 2 * s->n + w];
}
static void keep_sum(const eq_stream *s, int64_t level, int64_t w) {
    if (s->path) *kept_sum(s, level, w) = sum_of(s, level, w);
}

typedef struct {
    const eq_stream *s;
    int64_t from, level;
    bool differs;
} sums_job;
static void keep_item(void *ctx, int64_t i, int thread) {
    (void)thread;
    const sums_job *j = ctx;
    keep_sum(j->s, j->level, j->from + i);
}
static void compare_item(void *ctx, int64_t i, int thread) {
    (void)thread;
    sums_job *j = ctx;
    int64_t w = j->from + i, level = level_of(j->s, w);
    if (*kept_sum(j->s, level, w) != sum_of(j->s, level, w))
        __atomic_store_n(&j->differs, true, __ATOMIC_RELAXED);
}
/* Each window where it is. */
static eq_status sums_hold(const eq_stream *s, bool *hold, eq_err *err) {
    sums_job j = {.s = s};
    EQ_TRY(for_all(s, compare_item, &j, &j.from, err));
    *hold = !j.differs;
    return EQ_OK;
}

/* Stores before this one are not moved behind it. */
static void set_at(eq_stream *s, int64_t at) {
    __atomic_store_n(&s->head->at, at, __ATOMIC_RELEASE);
}

void eq_stream_passed(eq_stream *s, const eq_stream_batch *b) {
    sums_job j = {.s = s, .from = b->from, .level = s->head->at / s->n + 1};
    if (s->path) eq_par_for(b->n, keep_item, &j);
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
    eq_map_name(p, s->bytes, s->path);
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
    if (st == EQ_OK) {
        s->data = (char *)s->head + head_bytes(s->n);
        int64_t at = s->head->at;
        bool holds =
            old && !memcmp(s->head->magic, magic, sizeof magic) && at >= 0 && at <= most * s->n;
        if (holds) st = sums_hold(s, &holds, err);
        if (!holds) set_at(s, -1);
    }
    if (st != EQ_OK) eq_stream_close(s);
    return st;
}

void eq_stream_close(eq_stream *s) {
    if (s->path) {
        if (s->head && s->head->at < 0) unlink(s->path);
        if (s->head) eq_map_forget(s->head), munmap(s->head, (size_t)s->bytes);
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
    double scale;
    int64_t from;
} embed_job;
static void embed_window(void *ctx, int64_t i, int thread) {
    (void)thread;
    const embed_job *j = ctx;
    i += j->from;
    int64_t T = j->s->T, D = j->s->D, out = eq_dtype_size(j->s->dt);
    char *to = slot(j->s, 0, i);
    const int32_t *ids = i < j->a->n ? j->a->ids + i * T : j->b->ids + (i - j->a->n) * T;
    for (int64_t t = 0; t < T; t++)
        eq_embed_row(to + t * D * out, j->s->dt, j->embed, ids[t], D, j->scale);
    keep_sum(j->s, 0, i);
}

eq_status eq_stream_embed(eq_stream *s, const eq_windows *a, const eq_windows *b,
                          const eq_tensor *embed, double scale, eq_err *err) {
    embed_job j = {s, a, b, embed, scale, 0};
    set_at(s, -1);
    EQ_TRY(for_all(s, embed_window, &j, &j.from, err));
    memcpy(s->head->magic, magic, sizeof magic);
    set_at(s, 0);
    return EQ_OK;
}

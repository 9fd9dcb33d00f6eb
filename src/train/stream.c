/* See stream.h. */
#define _GNU_SOURCE
#include "train/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/par.h"

int64_t eq_stream_bytes(int64_t n, int64_t T, int64_t D, eq_dtype dt) {
    int64_t b;
    if (!eq_mul(n, T, &b) || !eq_mul(b, D, &b) || !eq_mul(b, eq_dtype_size(dt), &b)) return -1;
    return b;
}

static eq_status map_file(eq_stream *s, eq_err *err) {
    int fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return eq_fail_errno(err, "%s: cannot create the activation stream", s->path);
    int e = posix_fallocate(fd, 0, s->bytes);
    if (e) {
        errno = e;
        eq_fail_errno(err, "%s: cannot reserve %.1f GiB for the activation stream", s->path,
                      (double)s->bytes / (1 << 30));
    } else {
        s->data = mmap(NULL, (size_t)s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (s->data == MAP_FAILED) {
            s->data = NULL;
            eq_fail_errno(err, "%s: cannot map the activation stream", s->path);
        }
    }
    close(fd);
    if (!s->data) unlink(s->path);
    return s->data ? EQ_OK : EQ_EIO;
}

eq_status eq_stream_open(eq_stream *s, int64_t n, int64_t T, int64_t D, eq_dtype dt, const char *path,
                         eq_err *err) {
    *s = (eq_stream){.dt = dt, .n = n, .T = T, .D = D, .bytes = eq_stream_bytes(n, T, D, dt)};
    if (s->bytes < 0) return eq_nomem(err, "an activation stream", INT64_MAX);
    if (!path) {
        s->data = eq_calloc(s->bytes, 1);
        return s->data ? EQ_OK : eq_nomem(err, "an activation stream", s->bytes);
    }
    if (!(s->path = eq_strdup(path))) return eq_nomem(err, "a path", 256);
    eq_status st = map_file(s, err);
    if (st != EQ_OK) eq_free(s->path), s->path = NULL;
    return st;
}

void eq_stream_close(eq_stream *s) {
    if (s->path) {
        if (s->data) munmap(s->data, (size_t)s->bytes);
        unlink(s->path);
        eq_free(s->path);
    } else {
        eq_free(s->data);
    }
    *s = (eq_stream){0};
}

void *eq_stream_at(const eq_stream *s, int64_t window) {
    return (char *)s->data + window * s->T * s->D * eq_dtype_size(s->dt);
}

typedef struct {
    eq_stream *s;
    int64_t to;
    const eq_windows *w;
    const eq_tensor *embed;
} embed_job;
static void embed_window(void *ctx, int64_t i, int thread) {
    (void)thread;
    const embed_job *j = ctx;
    int64_t T = j->s->T, D = j->s->D, in = eq_dtype_size(j->embed->dt), out = eq_dtype_size(j->s->dt);
    char *to = eq_stream_at(j->s, j->to + i);
    const int32_t *ids = j->w->ids + i * T;
    for (int64_t t = 0; t < T; t++)
        eq_convert(to + t * D * out, j->s->dt, (const char *)j->embed->data + ids[t] * D * in,
                   j->embed->dt, D);
}

void eq_stream_embed(eq_stream *s, int64_t to, const eq_windows *w, const eq_tensor *embed) {
    embed_job j = {s, to, w, embed};
    eq_par_for(w->n, embed_window, &j);
}

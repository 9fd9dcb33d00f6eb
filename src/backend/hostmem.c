/* Host memory as backend memory. A block is preceded by one line that holds its size.
 * Invariant: be->bytes is the sum of the sizes asked for and not yet freed. */
#include "backend/hostmem.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/par.h"

enum { HEAD = 64, PIECE = 1 << 16 };

static void *host_alloc(eq_backend *be, int64_t bytes) {
    int64_t all;
    bool within = !be->limit || bytes <= be->limit - be->bytes;
    char *raw = within && eq_add(bytes, HEAD, &all) ? eq_calloc(all, 1) : NULL;
    if (!raw) return NULL;
    eq_mem_large(raw, all);
    *(int64_t *)(void *)raw = bytes;
    be->bytes += bytes;
    if (be->bytes > be->peak) be->peak = be->bytes;
    return raw + HEAD;
}

static void host_free(eq_backend *be, void *p) {
    if (!p) return;
    char *raw = (char *)p - HEAD;
    be->bytes -= *(int64_t *)(void *)raw;
    eq_free(raw);
}

typedef struct {
    char *dst;
    const char *src;
    eq_dtype dt, st;
    int64_t n;
} copy_job;

static void copy_item(void *ctx, int64_t item, int thread) {
    (void)thread;
    const copy_job *j = ctx;
    int64_t from = item * PIECE, n = j->n - from < PIECE ? j->n - from : PIECE;
    eq_convert(j->dst + from * eq_dtype_size(j->dt), j->dt, j->src + from * eq_dtype_size(j->st),
               j->st, n);
}

static void copy(void *dst, eq_dtype dt, const void *src, eq_dtype st, int64_t n) {
    copy_job j = {dst, src, dt, st, n};
    eq_par_for((n + PIECE - 1) / PIECE, copy_item, &j);
}

static void host_upload(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt) {
    (void)be;
    copy(dst.p, dst.dt, host, host_dt, dst.n);
}
static void host_download(eq_backend *be, void *host, eq_dtype host_dt, eq_view src) {
    (void)be;
    copy(host, host_dt, src.p, src.dt, src.n);
}

static void host_arrive(eq_backend *be) { (void)be; }

static eq_status host_sync(eq_backend *be, eq_err *err) {
    eq_host *h = be->self;
    eq_err first = h->first;
    h->first = (eq_err){0};
    return first.status == EQ_OK ? EQ_OK : eq_fail(err, first.status, "%s", first.msg);
}

static void host_close(eq_backend *be) {
    if (!be) return;
    eq_host *h = be->self;
    if (h->free_own) h->free_own(h->own);
    eq_free(h);
    eq_free(be);
}

eq_status eq_host_open(eq_backend **out, const char *name, eq_err *err) {
    eq_backend *be = eq_calloc(1, sizeof *be);
    eq_host *h = eq_calloc(1, sizeof *h);
    if (!be || !h) {
        eq_free(be);
        eq_free(h);
        return eq_nomem(err, "a backend", sizeof *be);
    }
    be->name = name;
    be->self = h;
    be->alloc = host_alloc;
    be->free_ = host_free;
    be->upload = host_upload;
    be->download = host_download;
    be->upload_ahead = host_upload;
    be->download_behind = host_download;
    be->arrive = host_arrive;
    be->sync = host_sync;
    be->close = host_close;
    *out = be;
    return EQ_OK;
}

void eq_host_error(eq_backend *be, eq_status status, const char *fmt, ...) {
    eq_host *h = be->self;
    if (h->first.status != EQ_OK) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(h->first.msg, sizeof h->first.msg, fmt, ap);
    va_end(ap);
    h->first.status = status;
}

int64_t eq_host_at(eq_view at) { return at.n ? *(const int32_t *)at.p : 0; }

void *eq_host_scratch(eq_backend *be, int64_t n, int64_t size) {
    void *p = eq_calloc(n, size);
    if (!p)
        eq_host_error(be, EQ_ENOMEM, "out of memory: scratch of %lld x %lld bytes", (long long)n,
                      (long long)size);
    return p;
}

/* Host memory to the device and back through pinned staging buffers, in pieces.
 * Invariant: when upload or upload_ahead returns, the host's memory has been read; when download
 * returns, or sync behind download_behind, it has been written. */
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"

enum { PARTS = 16 }; /* of a piece, for the threads that copy it */

/* ---- staging --------------------------------------------------------------------------------- */

static cudaError_t event(cudaEvent_t *e) {
    return cudaEventCreateWithFlags(e, cudaEventDisableTiming);
}

static cudaError_t open_stages(eq_stages *s) {
    cudaError_t e = cudaSuccess;
    for (int i = 0; i < EQ_STAGES && e == cudaSuccess; i++) {
        e = cudaHostAlloc(&s->stage[i].host, EQ_STAGE_BYTES, cudaHostAllocDefault);
        if (e == cudaSuccess) e = event(&s->stage[i].free);
    }
    return e;
}
static void close_stages(eq_stages *s) {
    for (int i = 0; i < EQ_STAGES; i++) {
        if (s->stage[i].free) cudaEventDestroy(s->stage[i].free);
        if (s->stage[i].host) cudaFreeHost(s->stage[i].host);
    }
}

/* The next staging buffer, its last copy done. */
static eq_stage *take_stage(eq_backend *be, eq_stages *s) {
    eq_stage *stage = &s->stage[s->next];
    s->next = (s->next + 1) % EQ_STAGES;
    eq_cuda_ok(be, cudaEventSynchronize(stage->free), "a copy");
    return stage;
}

typedef struct {
    char *dst;
    const char *src;
    int64_t bytes;
} copy_job;
static void copy_part(void *ctx, int64_t i, int thread) {
    (void)thread;
    const copy_job *j = ctx;
    int64_t from = j->bytes * i / PARTS, to = j->bytes * (i + 1) / PARTS;
    memcpy(j->dst + from, j->src + from, (size_t)(to - from));
}
/* One thread does not keep up with the bus. */
static void copy(eq_backend *be, void *dst, const void *src, int64_t bytes) {
    copy_job j = {dst, src, bytes};
    if (bytes < 1 << 20)
        memcpy(dst, src, (size_t)bytes);
    else
        eq_cuda_of(be)->par_for(PARTS, copy_part, &j);
}

/* ---- up -------------------------------------------------------------------------------------- */

static bool small_float(eq_dtype t) { return t == EQ_F32 || t == EQ_BF16 || t == EQ_F16; }
/* cast on the device converts; what it does not know is converted here. */
static bool device_converts(eq_dtype to, eq_dtype from) {
    return to != from && small_float(from) && (to == EQ_F32 || to == EQ_BF16);
}
/* Elements of a piece in both types at most. */
static int64_t piece_of(eq_dtype a, eq_dtype b) {
    int64_t sa = eq_dtype_size(a), sb = eq_dtype_size(b);
    return EQ_STAGE_BYTES / (sa > sb ? sa : sb);
}

static void to_device(eq_backend *be, void *dst, const eq_stage *s, int64_t bytes,
                      cudaStream_t stream) {
    eq_cuda_ok(be, cudaMemcpyAsync(dst, s->host, (size_t)bytes, cudaMemcpyHostToDevice, stream),
               "upload");
}

static void upload(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt) {
    eq_cuda *c = eq_cuda_of(be);
    bool there = device_converts(dst.dt, host_dt), same = dst.dt == host_dt;
    int64_t piece = piece_of(dst.dt, host_dt), size = eq_dtype_size(host_dt);
    void *raw = there ? eq_cuda_scratch(be, EQ_STAGE_BYTES) : NULL;
    if (there && !raw) return;
    for (int64_t at = 0, n; at < dst.n; at += n) {
        n = dst.n - at < piece ? dst.n - at : piece;
        eq_stage *s = take_stage(be, &c->staging);
        eq_mut to = eq_mut_at(dst, at, n);
        const char *from = (const char *)host + at * size;
        if (there || same)
            copy(be, s->host, from, n * size);
        else
            eq_convert(s->host, dst.dt, from, host_dt, n);
        to_device(be, there ? raw : to.p, s, n * eq_dtype_size(there ? host_dt : dst.dt),
                  c->stream);
        if (there) EQ_DO(be, cast, to, (eq_view){raw, n, host_dt});
        eq_cuda_ok(be, cudaEventRecord(s->free, c->stream), "upload");
    }
}

/* On a stream of its own, which waits for the last `arrive` alone. */
static void upload_ahead(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt) {
    eq_cuda *c = eq_cuda_of(be);
    int64_t size = eq_dtype_size(dst.dt), piece = EQ_STAGE_BYTES / size;
    if (dst.dt != host_dt) { /* a conversion is an operation */
        upload(be, dst, host, host_dt);
        return;
    }
    eq_cuda_ok(be, cudaStreamWaitEvent(c->ahead, c->arrived, 0), "upload");
    for (int64_t at = 0, n; at < dst.n; at += n) {
        n = dst.n - at < piece ? dst.n - at : piece;
        eq_stage *s = take_stage(be, &c->staging_ahead);
        copy(be, s->host, (const char *)host + at * size, n * size);
        to_device(be, eq_mut_at(dst, at, n).p, s, n * size, c->ahead);
        eq_cuda_ok(be, cudaEventRecord(s->free, c->ahead), "upload");
    }
    eq_cuda_ok(be, cudaEventRecord(c->brought, c->ahead), "upload");
}

static void arrive(eq_backend *be) {
    eq_cuda *c = eq_cuda_of(be);
    eq_cuda_ok(be, cudaStreamWaitEvent(c->stream, c->brought, 0), "upload");
    eq_cuda_ok(be, cudaEventRecord(c->arrived, c->stream), "upload");
}

/* ---- down ------------------------------------------------------------------------------------ */

typedef struct {
    eq_stage *stage;
    int64_t at, n;
} piece;

/* Queues the copy of one piece into a staging buffer. */
static piece fetch(eq_backend *be, eq_view src, void *cast, eq_dtype dt, int64_t at, int64_t n) {
    eq_cuda *c = eq_cuda_of(be);
    piece p = {take_stage(be, &c->staging), at, n};
    eq_view from = eq_view_at(src, at, n);
    if (cast) {
        eq_mut to = {cast, n, dt};
        EQ_DO(be, cast, to, from);
        from = eq_ro(to);
    }
    eq_cuda_ok(be,
               cudaMemcpyAsync(p.stage->host, from.p, (size_t)(n * eq_dtype_size(from.dt)),
                               cudaMemcpyDeviceToHost, c->stream),
               "download");
    eq_cuda_ok(be, cudaEventRecord(p.stage->free, c->stream), "download");
    return p;
}

static void download(eq_backend *be, void *host, eq_dtype host_dt, eq_view src) {
    bool there = device_converts(host_dt, src.dt), same = host_dt == src.dt;
    int64_t n = piece_of(src.dt, host_dt), queued = 0, size = eq_dtype_size(host_dt);
    void *cast = there ? eq_cuda_scratch(be, EQ_STAGE_BYTES) : NULL;
    if (there && !cast) return;
    piece ring[EQ_STAGES];
    int64_t pieces = (src.n + n - 1) / n;
    for (int64_t i = 0; i < pieces; i++) {
        for (; queued < pieces && queued < i + EQ_STAGES; queued++) {
            int64_t at = queued * n, left = src.n - at;
            ring[queued % EQ_STAGES] = fetch(be, src, cast, host_dt, at, left < n ? left : n);
        }
        const piece *p = &ring[i % EQ_STAGES];
        char *to = (char *)host + p->at * size;
        eq_cuda_ok(be, cudaEventSynchronize(p->stage->free), "download");
        if (there || same)
            copy(be, to, p->stage->host, p->n * size);
        else
            eq_convert(to, host_dt, p->stage->host, src.dt, p->n);
    }
}

void eq_cuda_transfer_settle(eq_backend *be) {
    eq_cuda *c = eq_cuda_of(be);
    for (int i = 0; i < c->behinds; i++) {
        const eq_behind *b = &c->behind[i];
        copy(be, b->host, (char *)c->behind_host + b->at, b->bytes);
    }
    c->behinds = 0;
}

/* Room for bytes more of pinned memory; it can only grow while nothing is on its way into it. */
static bool behind_room(eq_cuda *c, int64_t at, int64_t bytes) {
    if (c->behinds == EQ_BEHIND) return false;
    if (at + bytes <= c->behind_bytes) return true;
    if (c->behinds) return false;
    if (c->behind_host) cudaFreeHost(c->behind_host);
    c->behind_bytes = 0, c->behind_host = NULL;
    if (cudaHostAlloc(&c->behind_host, (size_t)(2 * bytes), cudaHostAllocDefault) != cudaSuccess) {
        cudaGetLastError();
        return false;
    }
    c->behind_bytes = 2 * bytes;
    return true;
}

static void download_behind(eq_backend *be, void *host, eq_dtype host_dt, eq_view src) {
    eq_cuda *c = eq_cuda_of(be);
    const eq_behind *last = c->behinds ? &c->behind[c->behinds - 1] : NULL;
    int64_t bytes = src.n * eq_dtype_size(host_dt), at = last ? last->at + last->bytes : 0;
    bool there = device_converts(host_dt, src.dt);
    eq_mut cast = {there ? eq_cuda_scratch(be, bytes) : NULL, src.n, host_dt};
    if ((!there && host_dt != src.dt) || (there && !cast.p) || !behind_room(c, at, bytes)) {
        download(be, host, host_dt, src);
        return;
    }
    if (there) EQ_DO(be, cast, cast, src);
    c->behind[c->behinds++] = (eq_behind){host, at, bytes};
    eq_cuda_ok(be,
               cudaMemcpyAsync((char *)c->behind_host + at, there ? cast.p : src.p, (size_t)bytes,
                               cudaMemcpyDeviceToHost, c->stream),
               "download");
}

/* ---- open and close -------------------------------------------------------------------------- */

eq_status eq_cuda_transfer_open(eq_backend *be, eq_err *err) {
    eq_cuda *c = eq_cuda_of(be);
    cudaError_t e = open_stages(&c->staging);
    if (e == cudaSuccess) e = open_stages(&c->staging_ahead);
    if (e == cudaSuccess) e = event(&c->arrived);
    if (e == cudaSuccess) e = event(&c->brought);
    if (e != cudaSuccess)
        return eq_fail(err, EQ_ENOMEM, "backend cuda: pinned memory for copies: %s",
                       cudaGetErrorString(e));
    be->upload = upload, be->download = download;
    be->upload_ahead = upload_ahead, be->arrive = arrive;
    be->download_behind = download_behind;
    return EQ_OK;
}

void eq_cuda_transfer_close(eq_cuda *c) {
    if (c->arrived) cudaEventDestroy(c->arrived);
    if (c->brought) cudaEventDestroy(c->brought);
    if (c->behind_host) cudaFreeHost(c->behind_host);
    close_stages(&c->staging), close_stages(&c->staging_ahead);
}

/* Host memory to the device and back through pinned staging buffers, in pieces.
 * Invariant: when upload returns, the host's memory has been read; when download returns, it has
 * been written. */
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"

eq_status eq_cuda_stages_open(eq_backend *be, eq_err *err) {
    eq_cuda *c = eq_cuda_of(be);
    for (int i = 0; i < EQ_STAGES; i++) {
        eq_stage *s = &c->stage[i];
        cudaError_t e = cudaHostAlloc(&s->host, EQ_STAGE_BYTES, cudaHostAllocDefault);
        if (e == cudaSuccess) e = cudaEventCreateWithFlags(&s->free, cudaEventDisableTiming);
        if (e != cudaSuccess)
            return eq_fail(err, EQ_ENOMEM, "backend cuda: pinned memory for copies: %s",
                           cudaGetErrorString(e));
    }
    return EQ_OK;
}

void eq_cuda_stages_close(eq_cuda *c) {
    for (int i = 0; i < EQ_STAGES; i++) {
        if (c->stage[i].free) cudaEventDestroy(c->stage[i].free);
        if (c->stage[i].host) cudaFreeHost(c->stage[i].host);
    }
}

/* The next staging buffer, its last copy done. */
static eq_stage *take_stage(eq_backend *be) {
    eq_cuda *c = eq_cuda_of(be);
    eq_stage *s = &c->stage[c->next_stage];
    c->next_stage = (c->next_stage + 1) % EQ_STAGES;
    eq_cuda_ok(be, cudaEventSynchronize(s->free), "a copy");
    return s;
}

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

void eq_cuda_upload(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt) {
    eq_cuda *c = eq_cuda_of(be);
    bool there = device_converts(dst.dt, host_dt);
    int64_t piece = piece_of(dst.dt, host_dt), size = eq_dtype_size(host_dt);
    void *raw = there ? eq_cuda_scratch(be, EQ_STAGE_BYTES) : NULL;
    if (there && !raw) return;
    for (int64_t at = 0, n; at < dst.n; at += n) {
        n = dst.n - at < piece ? dst.n - at : piece;
        eq_stage *s = take_stage(be);
        eq_mut to = eq_mut_at(dst, at, n);
        const char *from = (const char *)host + at * size;
        if (there)
            memcpy(s->host, from, (size_t)(n * size));
        else
            eq_convert(s->host, dst.dt, from, host_dt, n);
        int64_t bytes = n * (there ? size : eq_dtype_size(dst.dt));
        eq_cuda_ok(be,
                   cudaMemcpyAsync(there ? raw : to.p, s->host, (size_t)bytes,
                                   cudaMemcpyHostToDevice, c->stream),
                   "upload");
        if (there) EQ_DO(be, cast, to, (eq_view){raw, n, host_dt});
        eq_cuda_ok(be, cudaEventRecord(s->free, c->stream), "upload");
    }
}

typedef struct {
    eq_stage *stage;
    int64_t at, n;
} piece;

/* Queues the copy of one piece into a staging buffer. */
static piece fetch(eq_backend *be, eq_view src, void *cast, eq_dtype dt, int64_t at, int64_t n) {
    eq_cuda *c = eq_cuda_of(be);
    piece p = {take_stage(be), at, n};
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

void eq_cuda_download(eq_backend *be, void *host, eq_dtype host_dt, eq_view src) {
    bool there = device_converts(host_dt, src.dt);
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
        eq_cuda_ok(be, cudaEventSynchronize(p->stage->free), "download");
        eq_convert((char *)host + p->at * size, host_dt, p->stage->host, there ? host_dt : src.dt,
                   p->n);
    }
}

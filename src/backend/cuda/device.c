/* The CUDA backend: opening a device, its memory, its errors.
 * Invariant: every slot of the table is filled, or the backend does not open. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend/plugin.h"
#include "base/mem.h"

enum { LEAST_MAJOR = 8 };

/* ---- errors ---------------------------------------------------------------------------------- */

void eq_cuda_error(eq_backend *be, eq_status status, const char *fmt, ...) {
    eq_err *first = &eq_cuda_of(be)->first;
    if (first->status != EQ_OK) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(first->msg, sizeof first->msg, fmt, ap);
    va_end(ap);
    first->status = status;
}

bool eq_cuda_ok(eq_backend *be, cudaError_t e, const char *what) {
    if (e != cudaSuccess)
        eq_cuda_error(be, EQ_EDEVICE, "CUDA, %s: %s", what, cudaGetErrorString(e));
    return e == cudaSuccess;
}

static eq_status cuda_sync(eq_backend *be, eq_err *err) {
    eq_cuda *c = eq_cuda_of(be);
    if (eq_cuda_ok(be, cudaStreamSynchronize(c->stream), "sync")) eq_cuda_transfer_settle(be);
    eq_err first = c->first;
    c->first = (eq_err){0};
    return first.status == EQ_OK ? EQ_OK : eq_fail(err, first.status, "%s", first.msg);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Freed blocks are kept for whoever asks for the same size (a job takes the same arenas again and
 * again, and cudaFree waits for the device) until memory is out. */
struct eq_cuda_block {
    eq_cuda_block *next;
    void *p;
    int64_t size;
    bool used;
};

static eq_cuda_block *find_kept(eq_cuda *c, int64_t size) {
    eq_cuda_block *b = c->blocks;
    while (b && (b->used || b->size != size)) b = b->next;
    return b;
}

static void give_back(eq_cuda *c, bool all) {
    for (eq_cuda_block **at = &c->blocks; *at;) {
        eq_cuda_block *b = *at;
        if (b->used && !all) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        cudaFree(b->p);
        eq_free(b);
    }
}

static eq_cuda_block *make_block(eq_cuda *c, int64_t size) {
    eq_cuda_block *b = eq_calloc(1, sizeof *b);
    if (!b) return NULL;
    if (cudaMalloc(&b->p, size ? (size_t)size : 1) != cudaSuccess) {
        cudaGetLastError();
        give_back(c, false);
        if (cudaMalloc(&b->p, size ? (size_t)size : 1) != cudaSuccess) {
            cudaGetLastError();
            eq_free(b);
            return NULL;
        }
    }
    b->size = size;
    b->next = c->blocks;
    return c->blocks = b;
}

void *eq_cuda_alloc(eq_backend *be, int64_t bytes) {
    eq_cuda *c = eq_cuda_of(be);
    if (bytes < 0 || (be->limit && bytes > be->limit - be->bytes)) return NULL;
    eq_cuda_block *b = find_kept(c, bytes);
    if (!b) b = make_block(c, bytes);
    if (!b) return NULL;
    b->used = true;
    be->bytes += bytes;
    if (be->bytes > be->peak) be->peak = be->bytes;
    return b->p;
}

void eq_cuda_free(eq_backend *be, void *p) {
    for (eq_cuda_block *b = eq_cuda_of(be)->blocks; p && b; b = b->next)
        if (b->p == p) be->bytes -= b->size, b->used = false;
}

/* The old scratch may still be read by what is queued; whoever gets its memory next comes later on
 * the same stream. */
void *eq_cuda_scratch(eq_backend *be, int64_t bytes) {
    eq_cuda *c = eq_cuda_of(be);
    if (c->scratch && bytes <= c->scratch_bytes) return c->scratch;
    if (c->recording) {
        eq_cuda_error(be, EQ_ENOMEM, "scratch of %lld bytes while operations are recorded",
                      (long long)bytes);
        return NULL;
    }
    eq_cuda_free(be, c->scratch);
    c->scratch = eq_cuda_alloc(be, bytes);
    c->scratch_bytes = c->scratch ? bytes : 0, c->scratches++;
    if (!c->scratch)
        eq_cuda_error(be, EQ_ENOMEM, "out of device memory: scratch of %lld bytes",
                      (long long)bytes);
    return c->scratch;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void cuda_close(eq_backend *be) {
    if (!be) return;
    eq_cuda *c = eq_cuda_of(be);
    if (c->ahead) cudaStreamSynchronize(c->ahead);
    if (c->stream) cudaStreamSynchronize(c->stream);
    eq_blas_close(c->blas);
    eq_cuda_transfer_close(c);
    give_back(c, true);
    if (c->ahead) cudaStreamDestroy(c->ahead);
    if (c->stream) cudaStreamDestroy(c->stream);
    eq_free(c);
    eq_free(be);
}

static eq_status failed(cudaError_t e, const char *what, eq_err *err) {
    return eq_fail(err, EQ_EDEVICE, "backend cuda: %s: %s", what, cudaGetErrorString(e));
}

static eq_status find_device(eq_cuda *c, eq_err *err) {
    int n = 0, driver = 0, runtime = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    cudaDriverGetVersion(&driver), cudaRuntimeGetVersion(&runtime);
    if (!driver) return eq_fail(err, EQ_EDEVICE, "backend cuda: no NVIDIA driver is installed");
    if (e != cudaSuccess) return failed(e, "looking for a device", err);
    if (!n) return eq_fail(err, EQ_EDEVICE, "backend cuda: the driver shows no device");
    struct cudaDeviceProp p;
    if ((e = cudaSetDevice(c->device)) != cudaSuccess) return failed(e, "device 0", err);
    if ((e = cudaGetDeviceProperties(&p, c->device)) != cudaSuccess)
        return failed(e, "device 0", err);
    if (p.major < LEAST_MAJOR)
        return eq_fail(err, EQ_EDEVICE,
                       "backend cuda: %s: expected compute capability %d.0 or later, found %d.%d",
                       p.name, LEAST_MAJOR, p.major, p.minor);
    c->shared = (int64_t)p.sharedMemPerBlockOptin;
    snprintf(c->kernels, sizeof c->kernels, "%s, sm_%d%d, %d multiprocessors, CUDA %d.%d", p.name,
             p.major, p.minor, p.multiProcessorCount, runtime / 1000, runtime % 1000 / 10);
    return EQ_OK;
}

static eq_status fill_table(eq_ops *ops, eq_err *err) {
    eq_cuda_elementwise(ops);
    eq_cuda_gather(ops);
    eq_cuda_matmul(ops);
    eq_cuda_norm(ops);
    eq_cuda_rope(ops);
    eq_cuda_attention(ops);
    eq_cuda_loss(ops);
    eq_cuda_reduce(ops);
    eq_cuda_quantize(ops);
    eq_cuda_variants(ops);
    eq_cuda_pack(ops);
    eq_cuda_matvec(ops);
    eq_cuda_optim(ops);
#define FILLED(name, params, args) \
    if (!ops->name) \
        return eq_fail(err, EQ_EDEVICE, "backend cuda: operation %s is not there", #name);
    EQ_OPS(FILLED)
#undef FILLED
    return EQ_OK;
}

static eq_status open_in(eq_backend *be, eq_err *err) {
    eq_cuda *c = eq_cuda_of(be);
    EQ_TRY(find_device(c, err));
    EQ_TRY(fill_table(&be->op, err));
    cudaError_t e = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
    if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&c->ahead, cudaStreamNonBlocking);
    if (e != cudaSuccess) return failed(e, "a stream", err);
    EQ_TRY(eq_cuda_transfer_open(be, err));
    return eq_blas_open(&c->blas, err);
}

eq_status eq_cuda_open(eq_backend **out, eq_par_for_fn par_for, eq_err *err) {
    eq_backend *be = eq_calloc(1, sizeof *be);
    eq_cuda *c = eq_calloc(1, sizeof *c);
    if (!be || !c) {
        eq_free(be), eq_free(c);
        return eq_nomem(err, "the CUDA backend", sizeof *c);
    }
    be->name = "cuda";
    be->device = true;
    be->self = c;
    c->par_for = par_for;
    be->kernels = c->kernels;
    be->alloc = eq_cuda_alloc;
    be->free_ = eq_cuda_free;
    be->sync = cuda_sync;
    be->close = cuda_close;
    eq_cuda_graph_calls(be);
    eq_status st = open_in(be, err);
    if (st != EQ_OK) {
        cuda_close(be);
        return st;
    }
    *out = be;
    return EQ_OK;
}

__attribute__((visibility("default"))) const eq_plugin *eq_backend_plugin(void) {
    static const eq_plugin p = {EQ_VERSION, EQ_PLUGIN_SIZES, eq_cuda_open};
    return &p;
}

/* The CUDA backend inside: one device, one stream that computes, sticky errors. Host code is C; a
 * .cu file holds the kernels of one group of operations and puts them into the table.
 *
 * Everything is queued and nothing waits but sync, download and the end of an upload's staging.
 * Geometry and order of sums are given by shapes alone: the same bits on every run of one card. */
#ifndef EQ_BACKEND_CUDA_CUDA_H
#define EQ_BACKEND_CUDA_CUDA_H
#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "backend/backend.h"
#include "base/par.h"

typedef struct eq_cuda_block eq_cuda_block; /* of device memory, used or kept for later */
typedef struct eq_blas eq_blas;

enum { EQ_STAGES = 4, EQ_STAGE_BYTES = 8 << 20 };
typedef struct {
    void *host;       /* pinned */
    cudaEvent_t free; /* its last copy is done */
} eq_stage;
/* Staging buffers of one stream, used in turn. */
typedef struct {
    eq_stage stage[EQ_STAGES];
    int next;
} eq_stages;
/* A copy to the host that nobody has waited for yet. */
typedef struct {
    void *host;
    int64_t at, bytes; /* in the pinned memory */
} eq_behind;
enum { EQ_BEHIND = 16 };
typedef void (*eq_par_for_fn)(int64_t n, eq_par_fn fn, void *ctx);

typedef struct {
    int device;
    cudaStream_t stream, ahead; /* of operations; of upload_ahead */
    eq_par_for_fn par_for;
    eq_err first; /* the first error since the last sync */
    eq_cuda_block *blocks;
    eq_stages staging, staging_ahead;
    cudaEvent_t arrived, brought; /* the last `arrive` on the stream; the last upload_ahead */
    eq_behind behind[EQ_BEHIND];
    int behinds;
    void *behind_host; /* pinned, grows to the largest that was asked for */
    int64_t behind_bytes;
    void *scratch; /* of one operation; grows to the largest that was asked for */
    int64_t scratch_bytes;
    bool recording;    /* operations are noted and not run */
    int64_t scratches; /* how often it was a new one, which recorded operations know nothing of */
    int64_t shared;    /* most shared memory a block can have, bytes */
    eq_blas *blas;
    char kernels[320];
} eq_cuda;

static inline eq_cuda *eq_cuda_of(eq_backend *be) { return (eq_cuda *)be->self; }

/* ---- device.c -------------------------------------------------------------------------------- */

eq_status eq_cuda_open(eq_backend **be, eq_par_for_fn par_for, eq_err *err);
/* Notes a failed call for sync; true when it did not fail. */
bool eq_cuda_ok(eq_backend *be, cudaError_t e, const char *what);
/* After each launch. */
static inline void eq_cuda_launched(eq_backend *be, const char *op) {
    eq_cuda_ok(be, cudaGetLastError(), op);
}
/* Notes an error for sync; the first one wins. */
void eq_cuda_error(eq_backend *be, eq_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Device memory that counts; NULL: there is none (not noted). */
void *eq_cuda_alloc(eq_backend *be, int64_t bytes);
void eq_cuda_free(eq_backend *be, void *p);
/* Device memory for one operation, valid until the next asks; NULL: out of memory, noted. */
void *eq_cuda_scratch(eq_backend *be, int64_t bytes);

/* ---- transfer.c ------------------------------------------------------------------------------ */

eq_status eq_cuda_transfer_open(eq_backend *be, eq_err *err); /* fills be's calls */
void eq_cuda_transfer_close(eq_cuda *c);
void eq_cuda_transfer_settle(eq_backend *be); /* the stream has been waited for */

/* ---- blas.c ---------------------------------------------------------------------------------- */

/* y[M, N] = op(a) op(b), + y if acc, row-major, sums in fp32; rows of a, b, y lie lda, ldb, ldy
 * elements apart. a_turned: a is [K, M]; b_turned: b is [N, K]. */
typedef struct {
    int64_t M, N, K, lda, ldb, ldy;
    bool a_turned, b_turned, acc;
    int64_t
        windows; /* 0 or 1: this one; else that many with one b, a's and y's behind each other */
} eq_product;
eq_status eq_blas_open(eq_blas **b, eq_err *err);
void eq_blas_close(eq_blas *b);
/* a and b of one type (F32 or BF16); y F32, or BF16 where a and b are. Errors go to sync. */
void eq_blas_product(eq_backend *be, eq_mut y, eq_view a, eq_view b, eq_product p);

/* ---- pack.cu --------------------------------------------------------------------------------- */

/* dequant of what matvec_q reads: s F16, z U8; groups are no odd ones. */
void eq_cuda_dequant_prepared(eq_backend *be, eq_mut w_hat, eq_view q, eq_view s, eq_view z,
                              eq_qshape qs);

/* ---- graph.c --------------------------------------------------------------------------------- */

void eq_cuda_graph_calls(eq_backend *be); /* fills be's */

/* ---- odd.cu: the number format for groups that are no multiples of 32 ------------------------ */

static inline bool eq_is_odd(const eq_qshape *q) { return q->G % 32 != 0; }
void eq_odd_fq_init(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q);
void eq_odd_fq_fwd(eq_backend *be, eq_mut w_hat, eq_view w, eq_view s, eq_view z, eq_qshape q);
void eq_odd_fq_bwd(eq_backend *be, eq_mut dw, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view w,
                   eq_view s, eq_view z, eq_qshape q);
void eq_odd_fq_pack(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_view w, eq_qshape qs);
void eq_odd_fq_step(eq_backend *be, eq_mut w_hat, eq_mut w, eq_mut mw, eq_mut vw, eq_mut s,
                    eq_mut ms, eq_mut vs, eq_mut z, eq_mut mz, eq_mut vz, eq_mut dw, eq_mut ds,
                    eq_mut dz, eq_qshape q, eq_adamw aw, eq_adamw aq);
void eq_odd_dequant(eq_backend *be, eq_mut w_hat, eq_view q, eq_view s, eq_view z, eq_qshape qs);
void eq_odd_dequant_bwd(eq_backend *be, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view q, eq_view s,
                        eq_view z, eq_qshape qs);
void eq_odd_matvec_q(eq_backend *be, eq_mut y, eq_view x, eq_view q, eq_view s, eq_view z,
                     int64_t rows, eq_qshape qs, int acc);

/* ---- variants.cu: fq_init on the grid of a K type -------------------------------------------- */

void eq_cuda_k_start(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q);

/* ---- each fills the slots of its file -------------------------------------------------------- */

void eq_cuda_elementwise(eq_ops *ops);
void eq_cuda_gather(eq_ops *ops);
void eq_cuda_matmul(eq_ops *ops);
void eq_cuda_norm(eq_ops *ops);
void eq_cuda_rope(eq_ops *ops);
void eq_cuda_attention(eq_ops *ops);
void eq_cuda_loss(eq_ops *ops);
void eq_cuda_reduce(eq_ops *ops);
void eq_cuda_quantize(eq_ops *ops);
void eq_cuda_variants(eq_ops *ops);
void eq_cuda_pack(eq_ops *ops);
void eq_cuda_matvec(eq_ops *ops);
void eq_cuda_optim(eq_ops *ops);
#ifdef __cplusplus
}
#endif
#endif

/* Rows of a matrix, picked by number; rows put into a matrix. A thread moves one piece of a row, of
 * 16, 4 or 2 bytes. Invariant: bits are moved, never converted. */
#include "backend/cuda/launch.cuh"

template <typename P> struct gather_args {
    P *y;
    const P *x;
    const int32_t *at; /* gather: a row of x for each row; put_rows: the first row, or NULL */
    int64_t rows, pieces;
};

template <typename P> static __global__ void gather_kernel(gather_args<P> a) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.rows * a.pieces) return;
    int32_t from = a.at[i / a.pieces];
    P none = {};
    a.y[i] = from < 0 ? none : a.x[from * a.pieces + i % a.pieces];
}
template <typename P> static __global__ void put_kernel(gather_args<P> a) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.rows * a.pieces) a.y[(a.at ? *a.at : 0) * a.pieces + i] = a.x[i];
}

typedef struct {
    eq_backend *be;
    const char *op;
    eq_mut y;
    eq_view x, at;
    int64_t rows, bytes; /* of a row */
    bool put;
} rows_job;

template <typename P> static void run_as(const rows_job &j) {
    int64_t pieces = j.bytes / (int64_t)sizeof(P);
    gather_args<P> a = {static_cast<P *>(j.y.p), static_cast<const P *>(j.x.p),
                        static_cast<const int32_t *>(j.at.n ? j.at.p : nullptr), j.rows, pieces};
    auto kernel = j.put ? put_kernel<P> : gather_kernel<P>;
    EQ_RUN(j.be, j.op, kernel, eq_ceil_div(j.rows * pieces, EQ_THREADS), EQ_THREADS, a);
}

static void run(const rows_job &j) {
    uintptr_t ends = (uintptr_t)j.y.p | (uintptr_t)j.x.p | (uintptr_t)j.bytes;
    if (ends % 16 == 0)
        run_as<uint4>(j);
    else if (ends % 4 == 0)
        run_as<uint32_t>(j);
    else
        run_as<uint16_t>(j);
}

static void gather(eq_backend *be, eq_mut y, eq_view x, eq_view index, int64_t rows, int64_t cols) {
    run({be, "gather", y, x, index, rows, cols * (y.dt == EQ_F32 ? 4 : 2), false});
}
static void put_rows(eq_backend *be, eq_mut y, eq_view x, eq_view at, int64_t rows, int64_t cols) {
    run({be, "put_rows", y, x, at, rows, cols * (y.dt == EQ_F32 ? 4 : 2), true});
}

void eq_cuda_gather(eq_ops *ops) { ops->gather = gather, ops->put_rows = put_rows; }

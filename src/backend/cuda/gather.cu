/* Rows of a matrix, picked by number. A thread moves one piece of a row, of 16, 4 or 2 bytes.
 * Invariant: bits are moved, never converted. */
#include "backend/cuda/launch.cuh"

template <typename P>
static __global__ void gather_kernel(P *y, const P *x, const int32_t *index, int64_t rows,
                                     int64_t pieces) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * pieces) return;
    int32_t from = index[i / pieces];
    P none = {};
    y[i] = from < 0 ? none : x[from * pieces + i % pieces];
}

template <typename P>
static void gather_as(eq_backend *be, eq_mut y, eq_view x, eq_view index, int64_t rows,
                      int64_t bytes) {
    int64_t pieces = bytes / (int64_t)sizeof(P);
    EQ_RUN(be, "gather", gather_kernel<P>, eq_ceil_div(rows * pieces, EQ_THREADS), EQ_THREADS,
           static_cast<P *>(y.p), static_cast<const P *>(x.p),
           static_cast<const int32_t *>(index.p), rows, pieces);
}

static void gather(eq_backend *be, eq_mut y, eq_view x, eq_view index, int64_t rows, int64_t cols) {
    int64_t bytes = cols * (y.dt == EQ_F32 ? 4 : 2);
    if (bytes % 16 == 0 && (uintptr_t)y.p % 16 == 0 && (uintptr_t)x.p % 16 == 0)
        gather_as<uint4>(be, y, x, index, rows, bytes);
    else if (bytes % 4 == 0 && (uintptr_t)y.p % 4 == 0 && (uintptr_t)x.p % 4 == 0)
        gather_as<uint32_t>(be, y, x, index, rows, bytes);
    else
        gather_as<uint16_t>(be, y, x, index, rows, bytes);
}

void eq_cuda_gather(eq_ops *ops) { ops->gather = gather; }

/* Launching, and the few things that the compiler for GPUs spells its own way. The tests bring
 * their own EQ_LAUNCH and EQ_DYNAMIC_SHARED with their cuda_runtime.h. */
#ifndef EQ_BACKEND_CUDA_LAUNCH_CUH
#define EQ_BACKEND_CUDA_LAUNCH_CUH
#include "backend/cuda/cuda.h"

#ifndef EQ_LAUNCH
/* A kernel with several template arguments stands in parentheses. */
#define EQ_LAUNCH(kernel, grid, block, shared, stream, ...) \
    kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
/* Dynamic shared memory, 128-byte aligned. */
#define EQ_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#endif

/* EQ_THREADS: of a block, where nothing speaks for another number. */
enum { EQ_WARP = 32, EQ_THREADS = 256 };

static inline int64_t eq_ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }

/* Launches op's kernel on the backend's stream with one-dimensional geometry; nothing when there
 * is nothing to do. */
#define EQ_RUN(be, op, kernel, blocks, threads, ...) \
    do { \
        int64_t blocks_ = (blocks); \
        if (blocks_ > 0) { \
            EQ_LAUNCH(kernel, dim3((unsigned)blocks_), dim3((unsigned)(threads)), 0, \
                      eq_cuda_of(be)->stream, __VA_ARGS__); \
            eq_cuda_launched(be, op); \
        } \
    } while (0)
#endif

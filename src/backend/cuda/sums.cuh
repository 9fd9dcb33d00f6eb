/* Sums over a warp and over a block, in an order that depends on nothing but the number of
 * threads. */
#ifndef EQ_BACKEND_CUDA_SUMS_CUH
#define EQ_BACKEND_CUDA_SUMS_CUH
#include "backend/cuda/launch.cuh"

#define EQ_ALL_LANES 0xffffffffu

/* Over `lanes` neighbouring lanes (a power of two); every one of them gets the sum. */
template <class T> static __device__ __forceinline__ T eq_lanes_sum(T v, int lanes) {
    for (int d = lanes / 2; d > 0; d /= 2) v += __shfl_xor_sync(EQ_ALL_LANES, v, d);
    return v;
}

/* Over all threads of a block of whole warps; every thread gets the sum. */
template <class T> static __device__ __forceinline__ T eq_block_sum(T v) {
    __shared__ T part[EQ_WARP];
    int lane = threadIdx.x % EQ_WARP, warp = threadIdx.x / EQ_WARP, warps = blockDim.x / EQ_WARP;
    v = eq_lanes_sum(v, EQ_WARP);
    __syncthreads(); /* the last call's sums are read */
    if (lane == 0) part[warp] = v;
    __syncthreads();
    v = part[0];
    for (int i = 1; i < warps; i++) v += part[i];
    return v;
}
#endif

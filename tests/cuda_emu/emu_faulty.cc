/* Kernels with the faults that the emulation is there to find, for its own test. */
#include "emu_faulty.h"
#include "backend/cuda/launch.cuh"

static __global__ void left_early(int *y) {
    if (threadIdx.x == 40) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}
static __global__ void other_barrier(int *y) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    y[threadIdx.x] = 1;
}
static __global__ void half_a_warp(int *y) {
    int v = (int)threadIdx.x;
    if (threadIdx.x < 16) v = __shfl_xor_sync(0xffffffffu, v, 1);
    y[threadIdx.x] = v;
}
static __global__ void outside_lane(int *y) {
    int v = (int)threadIdx.x;
    if (threadIdx.x < 16) v = __shfl_sync(0xffffu, v, 20);
    y[threadIdx.x] = v;
}
/* Each thread reads its neighbour's value without a barrier in between. */
static __global__ void race(int *y) {
    __shared__ int s[64];
    s[threadIdx.x] = (int)threadIdx.x;
    y[threadIdx.x] = s[(threadIdx.x + 1) % 64];
}
/* What the last block left there is not what this one finds. */
static __global__ void leftover(int *y) {
    __shared__ int s[64];
    y[blockIdx.x * 64 + threadIdx.x] = s[threadIdx.x];
    s[threadIdx.x] = 7;
}
/* Right: sums over lanes and over the block in every way there is. */
static __global__ void right(int *y) {
    __shared__ int s[2];
    int v = (int)threadIdx.x;
    for (int d = 16; d; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
    unsigned odd = __ballot_sync(0xffffffffu, threadIdx.x & 1);
    if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = v;
    __syncthreads();
    int down = __shfl_down_sync(0xffffffffu, (int)threadIdx.x, 1);
    y[threadIdx.x] = s[0] + s[1] + (odd == 0xaaaaaaaau ? 1000000 : 0) + 10000 * (down % 32);
}

extern "C" void emu_faulty_run(emu_faulty what, int *y, cudaStream_t s) {
    void (*const kernel[])(int *) = {left_early, other_barrier, half_a_warp, outside_lane,
                                     race,       leftover,      right};
    EQ_LAUNCH(kernel[what], what == EMU_LEFTOVER ? 2 : 1, 64, 0, s, y);
}
extern "C" cudaError_t emu_too_much(int *y, cudaStream_t s) {
    EQ_LAUNCH(right, 1, 2048, 0, s, y);
    cudaError_t threads = cudaGetLastError();
    EQ_LAUNCH(right, 1, 64, 100 << 10, s, y); /* without cudaFuncSetAttribute */
    cudaError_t shared = cudaGetLastError();
    return threads == shared ? threads : cudaSuccess;
}

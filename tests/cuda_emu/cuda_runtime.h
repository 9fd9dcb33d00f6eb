/* The CUDA runtime as the tests know it: what src/backend/cuda uses of it, on the CPU, so that its
 * kernels and its host code run as they are where there is no GPU and no nvcc.
 *
 * A kernel runs block after block; the threads of a block are fibers that give way at barriers and
 * shuffles only, in rising or falling order (eq_emu_falling), so a race shows as a difference
 * between the two. Work queued on a stream runs when a sync, an event or a blocking call asks for
 * it and not before, so a buffer that is given up too early is seen. A barrier that some threads do
 * not reach, a shuffle from a lane that takes no part and the like are faults: the launch is given
 * up and cudaErrorLaunchFailure comes back from the next sync; eq_emu_fault says what it was.
 * While a stream records a graph, whatever is no launch makes the recording invalid. */
#ifndef EQ_TESTS_CUDA_RUNTIME_H
#define EQ_TESTS_CUDA_RUNTIME_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the runtime's C interface --------------------------------------------------------------- */

typedef enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901
} cudaError_t;
typedef enum {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3
} cudaMemcpyKind;
typedef enum { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 } cudaFuncAttribute;
typedef struct eq_emu_stream *cudaStream_t;
typedef struct eq_emu_event *cudaEvent_t;
typedef struct eq_emu_graph *cudaGraph_t;
typedef struct eq_emu_graph *cudaGraphExec_t;
typedef enum { cudaStreamCaptureModeThreadLocal = 1 } cudaStreamCaptureMode;
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlockOptin;
    int major, minor, multiProcessorCount;
};
enum {
    cudaStreamNonBlocking = 1,
    cudaEventDisableTiming = 2,
    cudaHostAllocDefault = 0,
    cudaHostRegisterDefault = 0
};

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError(void);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s);
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t s);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x);
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute a, int value);

/* ---- for the tests --------------------------------------------------------------------------- */

extern int eq_emu_falling;      /* lanes, warps and blocks run from the last to the first */
const char *eq_emu_fault(void); /* what the last fault was; "" when there was none */
void eq_emu_clear_fault(void);
void eq_emu_memory(int64_t bytes);        /* of the device from now on */
void eq_emu_shared_memory(int64_t bytes); /* that a block can have from now on */
int64_t eq_emu_allocated(void);           /* device bytes now */
int64_t eq_emu_graph_launches(void);      /* so far */
/* Queues work on a stream, as a launch or a copy is: fn(ctx), then free_ctx(ctx). */
void eq_emu_queue(cudaStream_t s, void (*fn)(void *ctx), void *ctx, void (*free_ctx)(void *ctx));

#ifdef __cplusplus
}
#include "emu_device.h"
#endif
#endif

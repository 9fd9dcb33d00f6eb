/* The runtime's C interface of the emulation: memory, streams that run late, events.
 * Invariant: a stream's work runs in its order, and only when somebody waits for it. */
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "cuda_runtime.h"
#include "emu_inside.h"

namespace {
struct item {
    void (*fn)(void *);
    void *ctx;
    void (*free_ctx)(void *);
    cudaEvent_t record, wait;
};
enum { NEW_MEMORY = 0xff, DEFAULT_SHARED = 48 << 10, MAX_BLOCK = 1024 };
} // namespace

/* What a graph runs; the work belongs to the last of the graph and what was made of it. */
struct eq_emu_graph {
    std::shared_ptr<std::vector<item>> work;
};
struct eq_emu_stream {
    std::deque<item> work;
    std::shared_ptr<std::vector<item>> recording;
    bool spoilt = false;
};
struct eq_emu_event {
    cudaStream_t on; /* where it is still to be recorded; NULL: it has been */
};

namespace {
std::vector<cudaStream_t> streams;
std::map<void *, size_t> device_memory;
std::map<const void *, size_t> shared_limit;
int64_t most_shared = 227 << 10;
int64_t total_memory = int64_t{1} << 34, allocated, graph_launches;
cudaError_t last;

cudaError_t set(cudaError_t e) {
    if (e != cudaSuccess) last = e;
    return e;
}
/* A call that may not come while anything is recorded. */
bool spoils() {
    bool any = false;
    for (cudaStream_t s : streams)
        if (s->recording) any = s->spoilt = true;
    return any;
}
std::shared_ptr<std::vector<item>> new_recording() {
    return {new std::vector<item>, [](std::vector<item> *all) {
                for (const item &i : *all) i.free_ctx(i.ctx);
                delete all;
            }};
}
cudaError_t state() { return eq_emu_stopped() ? set(cudaErrorLaunchFailure) : cudaSuccess; }

void settle(cudaEvent_t e);
void run_first(cudaStream_t s) {
    item i = s->work.front();
    s->work.pop_front();
    if (i.wait) settle(i.wait);
    if (i.record && i.record->on == s) {
        bool again = false; /* recorded once more behind: that one counts */
        for (const item &o : s->work) again = again || o.record == i.record;
        if (!again) i.record->on = nullptr;
    }
    if (i.fn && !eq_emu_stopped()) i.fn(i.ctx);
    if (i.free_ctx) i.free_ctx(i.ctx);
}
void drain(cudaStream_t s) {
    while (!s->work.empty()) run_first(s);
}
void settle(cudaEvent_t e) {
    while (e->on && !e->on->work.empty()) run_first(e->on);
}

struct copy {
    void *dst;
    const void *src;
    size_t bytes;
    int value;
};
void run_copy(void *ctx) {
    copy *c = static_cast<copy *>(ctx);
    if (c->src)
        memmove(c->dst, c->src, c->bytes);
    else
        memset(c->dst, c->value, c->bytes);
}
void free_copy(void *ctx) { delete static_cast<copy *>(ctx); }
} // namespace

extern "C" {
void eq_emu_queue(cudaStream_t s, void (*fn)(void *), void *ctx, void (*free_ctx)(void *)) {
    if (s->recording)
        s->recording->push_back({fn, ctx, free_ctx, nullptr, nullptr});
    else
        s->work.push_back({fn, ctx, free_ctx, nullptr, nullptr});
}
int64_t eq_emu_graph_launches(void) { return graph_launches; }
void eq_emu_shared_memory(int64_t bytes) { most_shared = bytes; }
void eq_emu_memory(int64_t bytes) { total_memory = bytes; }
int64_t eq_emu_allocated(void) { return allocated; }

const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    default:
        return "invalid argument";
    }
}
cudaError_t cudaGetLastError(void) {
    cudaError_t e = last;
    last = cudaSuccess;
    return e;
}
cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    *p = cudaDeviceProp{};
    snprintf(p->name, sizeof p->name, "emulated");
    p->totalGlobalMem = static_cast<size_t>(total_memory);
    p->sharedMemPerBlockOptin = static_cast<size_t>(most_shared);
    p->major = 9, p->multiProcessorCount = 4;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *free_bytes = static_cast<size_t>(total_memory > allocated ? total_memory - allocated : 0);
    *total = static_cast<size_t>(total_memory);
    return cudaSuccess;
}
cudaError_t cudaMalloc(void **p, size_t bytes) {
    *p = nullptr;
    if (spoils()) return set(cudaErrorStreamCaptureUnsupported);
    if (allocated + static_cast<int64_t>(bytes) > total_memory)
        return set(cudaErrorMemoryAllocation);
    if (posix_memalign(p, 256, bytes ? bytes : 1)) return set(cudaErrorMemoryAllocation);
    memset(*p, NEW_MEMORY, bytes);
    device_memory[*p] = bytes;
    allocated += static_cast<int64_t>(bytes);
    return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
    if (!p) return cudaSuccess;
    if (spoils()) return set(cudaErrorStreamCaptureUnsupported);
    auto at = device_memory.find(p);
    if (at == device_memory.end()) return set(cudaErrorInvalidValue);
    cudaDeviceSynchronize();
    allocated -= static_cast<int64_t>(at->second);
    device_memory.erase(at);
    free(p);
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
    return set(posix_memalign(p, 4096, bytes ? bytes : 1) ? cudaErrorMemoryAllocation
                                                          : cudaSuccess);
}
cudaError_t cudaFreeHost(void *p) {
    free(p);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    streams.push_back(*s = new eq_emu_stream);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    drain(s);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s) streams.erase(streams.begin() + static_cast<long>(i));
    delete s;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    if (s->recording) return s->spoilt = true, set(cudaErrorStreamCaptureUnsupported);
    drain(s);
    return state();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
    if (s->recording) s->spoilt = true;
    if (e->on) s->work.push_back({nullptr, nullptr, nullptr, nullptr, e});
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
    if (spoils()) return set(cudaErrorStreamCaptureUnsupported);
    for (cudaStream_t s : streams) drain(s);
    return state();
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) {
    *e = new eq_emu_event{nullptr};
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    settle(e);
    delete e;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    if (s->recording) s->spoilt = true;
    if (e->on && e->on != s) settle(e);
    e->on = s;
    s->work.push_back({nullptr, nullptr, nullptr, e, nullptr});
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t e) { return e->on ? cudaErrorNotReady : state(); }
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    if (spoils()) return set(cudaErrorStreamCaptureUnsupported);
    settle(e);
    return state();
}
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind,
                            cudaStream_t s) {
    if (s->recording) s->spoilt = true;
    if (bytes) eq_emu_queue(s, run_copy, new copy{dst, src, bytes, 0}, free_copy);
    return state();
}
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t s) {
    if (bytes) eq_emu_queue(s, run_copy, new copy{dst, nullptr, bytes, value}, free_copy);
    return state();
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
    if (s->recording) return set(cudaErrorStreamCaptureUnsupported);
    s->recording = new_recording(), s->spoilt = false;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
    *g = nullptr;
    if (!s->recording) return set(cudaErrorInvalidValue);
    auto work = s->recording;
    s->recording = nullptr;
    if (s->spoilt) return set(cudaErrorStreamCaptureInvalidated);
    *g = new eq_emu_graph{work};
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long) {
    *x = new eq_emu_graph{g->work};
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s) {
    auto run = [](void *ctx) {
        for (const item &i : **static_cast<std::shared_ptr<std::vector<item>> *>(ctx))
            if (!eq_emu_stopped()) i.fn(i.ctx);
    };
    auto drop = [](void *ctx) { delete static_cast<std::shared_ptr<std::vector<item>> *>(ctx); };
    eq_emu_queue(s, run, new std::shared_ptr<std::vector<item>>(x->work), drop);
    graph_launches++;
    return state();
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    delete g;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x) {
    delete x;
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute, int value) {
    if (value > most_shared) return set(cudaErrorInvalidValue);
    shared_limit[kernel] = static_cast<size_t>(value);
    return cudaSuccess;
}
} // extern "C"

cudaError_t eq_emu_configure(dim3 grid, dim3 block, size_t shared, const void *kernel) {
    int64_t threads = static_cast<int64_t>(block.x) * block.y * block.z;
    auto limit = shared_limit.find(kernel);
    bool fits = shared <= (limit == shared_limit.end() ? size_t{DEFAULT_SHARED} : limit->second);
    bool some = grid.x && grid.y && grid.z && grid.y < 65536 && grid.z < 65536;
    return set(threads > 0 && threads <= MAX_BLOCK && fits && some ? cudaSuccess
                                                                   : cudaErrorInvalidConfiguration);
}

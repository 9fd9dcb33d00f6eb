/* The device side of the emulation: what a kernel may name. Included by cuda_runtime.h. */
#ifndef EQ_TESTS_EMU_DEVICE_H
#define EQ_TESTS_EMU_DEVICE_H
#include <math.h>
#include <string.h>

#include <tuple>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict
#define __grid_constant__
#define __constant__ static
/* In a section of its own, so that every block finds a pattern there, not what the last one left.
 * Kernels are static for that: gcc cannot put a variable that has one copy for all files there. */
#define __shared__ static __attribute__((section("eq_shared")))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
#define EQ_EMU_VECTOR(T, name) \
    struct alignas(2 * sizeof(T)) name##2 { \
        T x, y; \
    }; \
    struct alignas(4 * sizeof(T)) name##4 { \
        T x, y, z, w; \
    }; \
    static inline name##2 make_##name##2(T x, T y) { return {x, y}; } \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EQ_EMU_VECTOR(float, float)
EQ_EMU_VECTOR(int, int)
EQ_EMU_VECTOR(unsigned, uint)
#undef EQ_EMU_VECTOR

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

/* ---- barriers and what goes through them ----------------------------------------------------- */

#define EQ_EMU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
void eq_emu_fault_at(const char *file, int line, const char *what);
void eq_emu_block_barrier(const char *file, int line);
void eq_emu_warp_barrier(unsigned mask, const char *file, int line);
int eq_emu_lane(void);
/* Every lane of the mask shows a value of its own; what the others show stays readable until this
 * lane's next barrier or exchange of the warp: [32], NULL for lanes that take no part. */
const void *const *eq_emu_warp_show(unsigned mask, const void *mine, int bytes, const char *file,
                                    int line);
unsigned char *eq_emu_dynamic_shared(void);

static inline void __syncthreads(EQ_EMU_HERE) { eq_emu_block_barrier(file, line); }
static inline void __syncwarp(unsigned mask = 0xffffffffu, EQ_EMU_HERE) {
    eq_emu_warp_barrier(mask, file, line);
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}

template <class T>
static inline T eq_emu_from(unsigned mask, T v, int lane, const char *file, int line) {
    const void *const *all = eq_emu_warp_show(mask, &v, sizeof v, file, line);
    if (!all[lane & 31]) eq_emu_fault_at(file, line, "a value from a lane that takes no part");
    memcpy(&v, all[lane & 31], sizeof v);
    return v;
}
template <class T>
static inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32, EQ_EMU_HERE) {
    return eq_emu_from(mask, v, (eq_emu_lane() & ~(width - 1)) + (lane & (width - 1)), file, line);
}
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, EQ_EMU_HERE) {
    int me = eq_emu_lane(), to = me ^ bits;
    return eq_emu_from(mask, v, (to & ~(width - 1)) > (me | (width - 1)) ? me : to, file, line);
}
template <class T>
static inline T __shfl_down_sync(unsigned mask, T v, int by, int width = 32, EQ_EMU_HERE) {
    int me = eq_emu_lane(), to = (me & (width - 1)) + by;
    return eq_emu_from(mask, v, to < width ? me + by : me, file, line);
}
template <class T>
static inline T __shfl_up_sync(unsigned mask, T v, int by, int width = 32, EQ_EMU_HERE) {
    int me = eq_emu_lane(), to = (me & (width - 1)) - by;
    return eq_emu_from(mask, v, to >= 0 ? me - by : me, file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int yes, EQ_EMU_HERE) {
    unsigned bits = 0;
    const void *const *all = eq_emu_warp_show(mask, &yes, sizeof yes, file, line);
    for (int i = 0; i < 32; i++)
        if (all[i] && *static_cast<const int *>(all[i])) bits |= 1u << i;
    return bits;
}
static inline int __any_sync(unsigned mask, int yes, EQ_EMU_HERE) {
    return __ballot_sync(mask, yes, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int yes, EQ_EMU_HERE) {
    return __ballot_sync(mask, yes, file, line) == mask;
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

static inline float __fdividef(float a, float b) { return a / b; }
#define __expf expf
#define __logf logf
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __uint_as_float(unsigned u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline unsigned __float_as_uint(float f) {
    unsigned u;
    memcpy(&u, &f, 4);
    return u;
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned by) {
    return static_cast<unsigned>((static_cast<uint64_t>(hi) << 32 | lo) >> (by & 31));
}
template <class T> static inline T __ldg(const T *p) { return *p; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- launches -------------------------------------------------------------------------------- */

cudaError_t eq_emu_configure(dim3 grid, dim3 block, size_t shared, const void *kernel);
void eq_emu_run(dim3 grid, dim3 block, size_t shared, void (*body)(void *ctx), void *ctx);

template <class... P> struct eq_emu_call {
    dim3 grid, block;
    size_t shared;
    void (*kernel)(P...);
    std::tuple<P...> args;
    static void body(void *ctx) {
        eq_emu_call *c = static_cast<eq_emu_call *>(ctx);
        std::apply(c->kernel, c->args);
    }
    static void run(void *ctx) {
        eq_emu_call *c = static_cast<eq_emu_call *>(ctx);
        eq_emu_run(c->grid, c->block, c->shared, body, c);
    }
    static void destroy(void *ctx) { delete static_cast<eq_emu_call *>(ctx); }
};
/* The arguments are taken now, the kernel runs when the stream comes to it. */
template <class... P, class... A>
static inline void eq_emu_launch(dim3 grid, dim3 block, size_t shared, cudaStream_t s,
                                 void (*kernel)(P...), A... a) {
    using call = eq_emu_call<P...>;
    if (eq_emu_configure(grid, block, shared, reinterpret_cast<const void *>(kernel)) !=
        cudaSuccess)
        return;
    eq_emu_queue(s, call::run, new call{grid, block, shared, kernel, std::tuple<P...>(a...)},
                 call::destroy);
}
#define EQ_LAUNCH(kernel, grid, block, shared, stream, ...) \
    eq_emu_launch(grid, block, shared, stream, kernel, __VA_ARGS__)
#define EQ_DYNAMIC_SHARED(name) unsigned char *name = eq_emu_dynamic_shared()
#endif

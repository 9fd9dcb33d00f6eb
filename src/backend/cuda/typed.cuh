/* Reading and writing any float type, eight elements at a time: the unit of every kernel whose work
 * is elements. A thread owns elements [8c, 8c + 8); whole and aligned they move in 16 bytes.
 * Invariant: elements beyond the end are never touched; read, they are 0. */
#ifndef EQ_BACKEND_CUDA_TYPED_CUH
#define EQ_BACKEND_CUDA_TYPED_CUH
#include "backend/cuda/launch.cuh"
#include "backend/cuda/ptx.cuh"

enum { EQ_UNIT = 8 };

/* An operand as kernels take it. */
typedef struct {
    void *p; /* NULL: none */
    int dt;
    int wide; /* 16-byte aligned */
} eq_dev;

static inline eq_dev eq_dev_of(eq_view v) {
    return eq_dev{v.n ? const_cast<void *>(v.p) : nullptr, v.dt, (uintptr_t)v.p % 16 == 0};
}
static inline eq_dev eq_dev_of(eq_mut m) { return eq_dev_of(eq_ro(m)); }

typedef struct {
    uint4 a, b; /* as they lie in memory; two-byte types need `a` alone */
} eq_raw;

static __device__ __forceinline__ float eq_bf16_low(uint32_t u) { return __uint_as_float(u << 16); }
static __device__ __forceinline__ float eq_bf16_high(uint32_t u) {
    return __uint_as_float(u & 0xffff0000u);
}

/* One element. */
static __device__ __forceinline__ float eq_get(eq_dev x, int64_t i) {
    if (x.dt == EQ_F32) return static_cast<const float *>(x.p)[i];
    uint16_t h = static_cast<const uint16_t *>(x.p)[i];
    return x.dt == EQ_BF16 ? eq_bf16_low(h) : eq_ptx_f16(h);
}
static __device__ __forceinline__ void eq_put(eq_dev y, int64_t i, float v) {
    if (y.dt == EQ_F32)
        static_cast<float *>(y.p)[i] = v;
    else
        static_cast<uint16_t *>(y.p)[i] = (uint16_t)eq_ptx_bf16x2(v, 0.0f);
}

/* Fetching and unpacking are apart so that a kernel can have all its loads under way before it
 * waits for the first. n: elements from 8c on that exist. */
static __device__ __forceinline__ eq_raw eq_fetch(eq_dev x, int64_t c, int64_t n) {
    eq_raw r;
    r.a = r.b = make_uint4(0, 0, 0, 0);
    if (x.wide && n >= EQ_UNIT) {
        if (x.dt == EQ_F32) {
            r.a = static_cast<const uint4 *>(x.p)[2 * c];
            r.b = static_cast<const uint4 *>(x.p)[2 * c + 1];
        } else {
            r.a = static_cast<const uint4 *>(x.p)[c];
        }
        return r;
    }
    uint32_t w[8] = {0, 0, 0, 0, 0, 0, 0, 0};
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) {
        if (k >= n) continue;
        if (x.dt == EQ_F32)
            w[k] = static_cast<const uint32_t *>(x.p)[c * EQ_UNIT + k];
        else
            w[k / 2] |= (uint32_t) static_cast<const uint16_t *>(x.p)[c * EQ_UNIT + k]
                        << k % 2 * 16;
    }
    r.a = make_uint4(w[0], w[1], w[2], w[3]);
    r.b = make_uint4(w[4], w[5], w[6], w[7]);
    return r;
}

static __device__ __forceinline__ void eq_unpack(float v[EQ_UNIT], const eq_raw &r, int dt) {
    const uint32_t w[8] = {r.a.x, r.a.y, r.a.z, r.a.w, r.b.x, r.b.y, r.b.z, r.b.w};
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) {
        if (dt == EQ_F32)
            v[k] = __uint_as_float(w[k]);
        else if (dt == EQ_BF16)
            v[k] = k % 2 ? eq_bf16_high(w[k / 2]) : eq_bf16_low(w[k / 2]);
        else
            v[k] = eq_ptx_f16((uint16_t)(w[k / 2] >> k % 2 * 16));
    }
}

static __device__ __forceinline__ void eq_read(float v[EQ_UNIT], eq_dev x, int64_t c, int64_t n) {
    eq_unpack(v, eq_fetch(x, c, n), x.dt);
}

static __device__ __forceinline__ void eq_write(eq_dev y, int64_t c, int64_t n,
                                                const float v[EQ_UNIT]) {
    if (y.wide && n >= EQ_UNIT) {
        if (y.dt == EQ_F32) {
            float4 *to = static_cast<float4 *>(y.p) + 2 * c;
            to[0] = make_float4(v[0], v[1], v[2], v[3]);
            to[1] = make_float4(v[4], v[5], v[6], v[7]);
        } else {
            static_cast<uint4 *>(y.p)[c] =
                make_uint4(eq_ptx_bf16x2(v[0], v[1]), eq_ptx_bf16x2(v[2], v[3]),
                           eq_ptx_bf16x2(v[4], v[5]), eq_ptx_bf16x2(v[6], v[7]));
        }
        return;
    }
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++)
        if (k < n) eq_put(y, c * EQ_UNIT + k, v[k]);
}

/* The unit of this thread in a one-dimensional grid. */
static __device__ __forceinline__ int64_t eq_unit(void) {
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
/* Blocks of EQ_THREADS threads for n elements. */
static inline int64_t eq_unit_blocks(int64_t n) { return eq_ceil_div(n, EQ_UNIT * EQ_THREADS); }
#endif

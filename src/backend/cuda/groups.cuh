/* Which lanes a group of weights belongs to, and METHOD's table of gradients on one unit of it. */
#ifndef EQ_BACKEND_CUDA_GROUPS_CUH
#define EQ_BACKEND_CUDA_GROUPS_CUH
#include "backend/cuda/number.cuh"
#include "backend/cuda/sums.cuh"
#include "backend/cuda/typed.cuh"

/* Groups are multiples of 32 weights, so of 4 units. One of 256 weights gives each lane of a warp a
 * unit; longer ones go round. */
typedef struct {
    int64_t groups, units, blocks; /* units: of a group */
    int lanes;                     /* of a group, a power of two */
} eq_grouping;
static inline eq_grouping eq_grouping_of(const eq_qshape *q) {
    eq_grouping g;
    g.groups = q->O * (q->I / q->G), g.units = q->G / EQ_UNIT;
    g.lanes = g.units == 4 || g.units == 8 || g.units == 16 ? (int)g.units : EQ_WARP;
    g.blocks = eq_ceil_div(g.groups, EQ_THREADS / g.lanes);
    return g;
}

/* Lanes without a group stay for the shuffles. */
typedef struct {
    int64_t index;
    int lane;
    bool exists;
} eq_group;
static __device__ __forceinline__ eq_group eq_my_group(int64_t groups, int lanes) {
    eq_group g;
    g.index = (int64_t)blockIdx.x * (blockDim.x / lanes) + threadIdx.x / lanes;
    g.lane = threadIdx.x % lanes;
    g.exists = g.index < groups;
    return g;
}

/* s' of a group from unit `first` of w on, whose weights are looked at only where the step is low.
 */
static __device__ __forceinline__ float eq_step_used(float s, eq_dev w, int64_t first,
                                                     int64_t units) {
    float v[EQ_UNIT], most = 0.0f;
    for (int64_t u = 0; s < EQ_S_MIN && u < units; u++) {
        eq_read(v, w, first + u, EQ_UNIT);
        for (int k = 0; k < EQ_UNIT; k++) most = fmaxf(most, fabsf(v[k]));
    }
    return eq_s_used(s, most);
}

/* s: sum of dw_hat times the derivative by s; z: sum of dw_hat beyond the codes. */
typedef struct {
    float s, z;
} eq_fq_sums;
/* d: dw_hat, becomes dw. s, z as used. */
static __device__ __forceinline__ void eq_fq_unit(float d[EQ_UNIT], const float w[EQ_UNIT], float s,
                                                  float z, float top, eq_fq_sums *sums) {
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) {
        float x = w[k] / s, r = rintf(x), t = r + z;
        bool inside = t >= 0.0f && t <= top;
        sums->s += d[k] * (inside ? r - x : t < 0.0f ? -z : top - z);
        sums->z += inside ? 0.0f : d[k];
        d[k] = inside ? d[k] : 0.0f;
    }
}
#endif

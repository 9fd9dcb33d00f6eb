/* One AdamW step: read p, m, v, g once, write p, m, v once.
 * Invariant: scalars are formed in double on the host (1 - beta2 in fp32 is off by 1.3e-5). */
#include "backend/cuda/adamw.cuh"
#include "backend/cuda/typed.cuh"

static __global__ void adamw_kernel(eq_dev p, eq_dev m, eq_dev v, eq_dev g, eq_adamw_rates a,
                                    int64_t n) {
    int64_t c = eq_unit(), left = n - c * EQ_UNIT;
    float vp[EQ_UNIT], vm[EQ_UNIT], vv[EQ_UNIT], vg[EQ_UNIT];
    if (left <= 0) return;
    eq_raw rp = eq_fetch(p, c, left), rm = eq_fetch(m, c, left), rv = eq_fetch(v, c, left);
    eq_raw rg = eq_fetch(g, c, left);
    eq_unpack(vp, rp, p.dt), eq_unpack(vm, rm, m.dt), eq_unpack(vv, rv, v.dt);
    eq_unpack(vg, rg, g.dt);
#pragma unroll
    for (int k = 0; k < EQ_UNIT; k++) eq_adamw_one(&vp[k], &vm[k], &vv[k], vg[k], a);
    eq_write(p, c, left, vp);
    eq_write(m, c, left, vm);
    eq_write(v, c, left, vv);
}

static void adamw(eq_backend *be, eq_mut p, eq_mut m, eq_mut v, eq_view g, eq_adamw a) {
    EQ_RUN(be, "adamw", adamw_kernel, eq_unit_blocks(p.n), EQ_THREADS, eq_dev_of(p), eq_dev_of(m),
           eq_dev_of(v), eq_dev_of(g), eq_adamw_rates_of(&a), p.n);
}

void eq_cuda_optim(eq_ops *ops) { ops->adamw = adamw; }

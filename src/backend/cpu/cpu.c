/* The CPU backend: host memory, the reference table, overridden by threaded operations whose inner
 * loops come from the best kernel table this CPU has.
 * Invariant: a slot that nothing overrides keeps the reference's meaning. */
#include "backend/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"

static eq_status cpu_sync(eq_backend *be, eq_err *err) {
    eq_cpu *c = eq_cpu_of(be);
    eq_err product = {0};
    if (eq_gemm_error(c->gemm, &product) != EQ_OK)
        eq_host_error(be, product.status, "%s", product.msg);
    return c->host_sync(be, err);
}

static void cpu_free(void *own) {
    eq_cpu *c = own;
    eq_gemm_close(c->gemm);
    eq_free(c->scratch);
    eq_free(c);
}

static const eq_kernels *const tables[] = {[EQ_CPU_SSE2] = &eq_kernels_base,
                                           [EQ_CPU_AVX2] = &eq_kernels_avx2,
                                           [EQ_CPU_AVX512] = &eq_kernels_avx512};

static eq_status cpu_init(eq_backend *be, const char *cpu_mask, eq_err *err) {
    eq_cpu_level level;
    EQ_TRY(eq_cpu_detect(&level, cpu_mask, err));
    eq_cpu *c = eq_calloc(1, sizeof *c);
    if (!c) return eq_nomem(err, "the CPU backend", sizeof *c);
    eq_host *h = be->self;
    h->own = c;
    h->free_own = cpu_free;
    c->k = tables[level];
    c->lowbit = eq_lowbit_choose(level, cpu_mask);
    eq_ref_ops(&c->ref);
    EQ_TRY(eq_gemm_open(&c->gemm, level, c->k, true, err));
    char version[32], mode[64];
    snprintf(c->kernels, sizeof c->kernels, "%s, %s %s (bf16 %s)", c->k->name,
             eq_gemm_version(version), eq_gemm_mode(mode),
             eq_gemm_native_bf16(c->gemm) ? "native" : "through fp32");
    be->kernels = c->kernels;
    c->host_sync = be->sync;
    be->sync = cpu_sync;
    return EQ_OK;
}

eq_status eq_cpu_open(eq_backend **out, const char *cpu_mask, eq_err *err) {
    eq_backend *be;
    EQ_TRY(eq_host_open(&be, "cpu", err));
    eq_status st = cpu_init(be, cpu_mask, err);
    if (st != EQ_OK) {
        be->close(be);
        return st;
    }
    be->op = eq_cpu_of(be)->ref;
    eq_cpu_elementwise(&be->op);
    eq_cpu_gather(&be->op);
    eq_cpu_matmul(&be->op);
    eq_cpu_norm(&be->op);
    eq_cpu_attention(&be->op);
    eq_cpu_attention_bwd(&be->op);
    eq_cpu_loss(&be->op);
    eq_cpu_quantize(&be->op);
    eq_cpu_variants(&be->op);
    eq_cpu_matvec(&be->op);
    eq_cpu_optim(&be->op);
    *out = be;
    return EQ_OK;
}

eq_scratch eq_cpu_scratch(eq_backend *be, int64_t mine, int64_t shared) {
    eq_cpu *c = eq_cpu_of(be);
    int64_t stride = eq_parts(mine, 64) * 64, all = stride * eq_par_count() + shared;
    if (all > c->scratch_bytes || !c->scratch) {
        eq_free(c->scratch);
        c->scratch = eq_host_scratch(be, all, 1);
        c->scratch_bytes = c->scratch ? all : 0;
    }
    if (!c->scratch) return (eq_scratch){0};
    return (eq_scratch){c->scratch, c->scratch + stride * eq_par_count(), stride};
}

int64_t eq_even_parts(int64_t n, int64_t least, int64_t most) {
    enum { THREADS = 16 };
    for (int64_t parts = 1; parts < most; parts++) {
        int64_t items = n * parts, turns = eq_parts(items, THREADS);
        if (items >= least && 10 * items >= 9 * turns * THREADS) return parts;
    }
    return most;
}

const float *eq_chunk_in(const eq_kernels *k, eq_view v, int64_t at, int64_t n, float *buf) {
    switch (v.dt) {
    case EQ_F32:
        return (const float *)v.p + at;
    case EQ_BF16:
        k->f32_from_bf16(buf, (const uint16_t *)v.p + at, n);
        break;
    case EQ_F16:
        k->f32_from_f16(buf, (const uint16_t *)v.p + at, n);
        break;
    default:
        for (int64_t i = 0; i < n; i++) buf[i] = eq_load(v.p, v.dt, at + i);
    }
    return buf;
}

void eq_chunk_out(const eq_kernels *k, eq_mut m, int64_t at, int64_t n, const float *from) {
    float *to = eq_elem(m, at);
    if (m.dt == EQ_F32) {
        if (to != from) memcpy(to, from, (size_t)n * sizeof *to);
    } else if (m.dt == EQ_BF16) {
        k->bf16_from_f32((uint16_t *)m.p + at, from, n);
    } else {
        for (int64_t i = 0; i < n; i++) eq_store(m.p, m.dt, at + i, from[i]);
    }
}

/* The sections of `eqat bench`, in order. Every figure is a ratio to something measured beside
 * it. */
#define _GNU_SOURCE
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "bench_eval.h"
#include "bench_items.h"
#include "bench_kernels.h"
#include "bench_ops.h"
#include "bench_steps.h"

static eq_status roof(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    (void)p, (void)err;
    int t = o->compute.threads;
    fprintf(o->out, "roof: copy %.1f GB/s (read + written)\n", eq_roof_copy() * 1e-9);
    for (int bf16 = 0; bf16 < 2; bf16++)
        fprintf(o->out,
                "roof: oneDNN %s products of 2048 x 4096 x 4096: a b^T %.0f, a b %.0f, a^T b %.0f "
                "GFLOP/s\n",
                bf16 ? "bf16" : "fp32",
                eq_roof_product(EQ_ROOF_NT, 2048, 4096, 4096, bf16, false, t) * 1e-9,
                eq_roof_product(EQ_ROOF_NN, 2048, 4096, 4096, bf16, false, t) * 1e-9,
                eq_roof_product(EQ_ROOF_TN, 4096, 4096, 2048, bf16, true, t) * 1e-9);
    return EQ_OK;
}

static eq_status ops(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    (void)p;
    eq_backend *be;
    EQ_TRY(eq_backend_open(&be, o->compute.backend, o->compute.cpu_mask, err));
    eq_bench_ops(NULL, be, o->out, NULL);
    eq_status st = be->sync(be, err);
    be->close(be);
    return st;
}

static eq_status items(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    (void)p;
    return eq_bench_items(o->out, err);
}

static const struct {
    const char *name;
    eq_status (*run)(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err);
} sections[] = {
    {"roof", roof},
    {"ops", ops},
    {"items", items},
    {"kernels", eq_bench_kernels},
    {"generate", eq_bench_generate},
    {"eval", eq_bench_eval},
    {"block-ap", eq_bench_block_ap},
    {"threads", eq_bench_threads},
    {"e2e-qp", eq_bench_e2e},
    {"pack", eq_bench_pack},
};

/* Fresh paths for one section below dir. */
static bool paths(eq_bench_paths *p, const char *dir, const char *name) {
    p->model = eq_sprintf("%s/%s-model", dir, name);
    p->quantized = eq_sprintf("%s/%s-quantized", dir, name);
    p->out = eq_sprintf("%s/%s-out", dir, name);
    p->data = eq_sprintf("%s/%s-data.npy", dir, name);
    return p->model && p->quantized && p->out && p->data;
}

static eq_status section(const eq_bench_opts *o, int i, const char *dir, eq_err *err) {
    eq_bench_paths p;
    eq_status st = paths(&p, dir, sections[i].name) ? sections[i].run(o, &p, err)
                                                    : eq_nomem(err, "paths", 256);
    if (!o->scratch && eq_exists(p.model)) eq_remove_tree(p.model, err);
    eq_free(p.model), eq_free(p.quantized), eq_free(p.out), eq_free(p.data);
    fflush(o->out);
    return st;
}

static eq_status scratch(char **dir, int *lock, eq_err *err) {
    const char *tmp = getenv("TMPDIR");
    char *path = eq_path(tmp && *tmp ? tmp : "/tmp", "eqat-bench");
    eq_status st = path ? eq_temporary_folder(path, dir, lock, err) : eq_nomem(err, "a path", 256);
    eq_free(path);
    return st;
}

eq_status eq_bench_run(const eq_bench_opts *opts, eq_err *err) {
    eq_bench_opts o = *opts;
    char *temporary = NULL;
    int lock = -1;
    if (!o.scratch) EQ_TRY(scratch(&temporary, &lock, err));
    const char *dir = o.scratch ? o.scratch : temporary;
    eq_status st = eq_mkdir(dir, err);
    o.compute.threads = eq_par_threads(o.compute.threads);
    fprintf(o.out, "%d threads\n", o.compute.threads);
    int ran = 0;
    for (size_t i = 0; i < sizeof sections / sizeof *sections && st == EQ_OK; i++) {
        if (o.filter && !strstr(sections[i].name, o.filter)) continue;
        ran++;
        eq_par_threads(o.compute.threads);
        st = section(&o, (int)i, dir, err);
    }
    if (st == EQ_OK && !ran)
        st = eq_fail(err, EQ_EINPUT,
                     "--filter %s: expected part of roof, ops, items, kernels, generate, eval, "
                     "block-ap, threads, e2e-qp, pack",
                     o.filter);
    eq_err ignored = {0};
    if (!o.scratch) eq_remove_tree(dir, &ignored);
    if (lock >= 0) close(lock);
    eq_free(temporary);
    return st;
}

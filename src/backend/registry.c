/* From a name to a backend: "fenced:finite:cpu" is the CPU in two wrappers, the inner one first.
 * Invariant: after an error nothing is left open. */
#include <string.h>

#include "backend/plugin.h"
#include "backend/wrap.h"
#include "base/observe.h"

static eq_status open_cpu(eq_backend **be, const char *cpu_mask, eq_err *err) {
    static const char *const masks[] = {"sse2", "avx2", "avx512"};
    for (size_t i = 0; cpu_mask && i < sizeof masks / sizeof *masks; i++)
        if (!strcmp(cpu_mask, masks[i])) return eq_cpu_open(be, cpu_mask, err);
    if (!cpu_mask) return eq_cpu_open(be, NULL, err);
    return eq_fail(err, EQ_EINPUT, "cpu mask \"%s\": expected sse2, avx2 or avx512", cpu_mask);
}
static eq_status open_ref(eq_backend **be, const char *cpu_mask, eq_err *err) {
    (void)cpu_mask;
    return eq_ref_open(be, err);
}

static eq_status open_cuda(eq_backend **be, const char *cpu_mask, eq_err *err) {
    (void)cpu_mask;
    return eq_plugin_open(be, "cuda", err);
}
/* The GPU where it can be used; what is missing for that is no error here. */
static eq_status open_auto(eq_backend **be, const char *cpu_mask, eq_err *err) {
    eq_err missing = {0};
    if (open_cuda(be, cpu_mask, &missing) == EQ_OK) return EQ_OK;
    return open_cpu(be, cpu_mask, err);
}

/* 34 MB of dW stay in an H100's second-level cache from the product to the step, and are two full
 * waves of its tiles of 128 x 256 for the usual 4096 and 11008 columns. */
static const eq_hints cuda_hints = {.dw_elements = 768 * 11008,
                                    .dw_step = 128,
                                    .logits_bytes = 512 << 20,
                                    .keep_weights = true,
                                    .ahead = true};

static const struct {
    const char *name;
    eq_status (*open)(eq_backend **be, const char *cpu_mask, eq_err *err);
    const eq_hints *hints;
} backends[] = {{"auto", open_auto, NULL},
                {"cpu", open_cpu, NULL},
                {"cuda", open_cuda, &cuda_hints},
                {"ref", open_ref, NULL}};

static const struct {
    const char *prefix;
    eq_status (*wrap)(eq_backend **be, eq_err *err);
} wrappers[] = {
    {"trace:", eq_trace_wrap}, {"finite:", eq_finite_wrap}, {"fenced:", eq_fenced_wrap}};

enum {
    BACKENDS = sizeof backends / sizeof *backends,
    WRAPPERS = sizeof wrappers / sizeof *wrappers
};

const eq_hints *eq_backend_hints(const char *spec) {
    const char *name = spec ? strrchr(spec, ':') : NULL;
    name = name ? name + 1 : spec;
    for (int i = 0; name && i < BACKENDS; i++)
        if (!strcmp(name, backends[i].name)) return backends[i].hints;
    return NULL;
}

/* Recursion goes to the innermost name first and wraps on the way back. */
static eq_status open_at(eq_backend **be, const char *spec, const char *whole, const char *cpu_mask,
                         eq_err *err) {
    for (int i = 0; i < WRAPPERS; i++) {
        size_t n = strlen(wrappers[i].prefix);
        if (strncmp(spec, wrappers[i].prefix, n) != 0) continue;
        EQ_TRY(open_at(be, spec + n, whole, cpu_mask, err));
        eq_status st = wrappers[i].wrap(be, err);
        if (st != EQ_OK) (*be)->close(*be);
        return st;
    }
    for (int i = 0; i < BACKENDS; i++)
        if (!strcmp(spec, backends[i].name)) return backends[i].open(be, cpu_mask, err);
    return eq_fail(
        err, EQ_EINPUT,
        "backend \"%s\": expected auto, cpu, cuda or ref, with trace:, finite: or fenced: in front",
        whole);
}

eq_status eq_backend_open(eq_backend **out, const char *spec, const char *cpu_mask, eq_err *err) {
    eq_backend *be = NULL;
    if (!spec) spec = "cpu";
    EQ_TRY(open_at(&be, spec, spec, cpu_mask, err));
    if (be->device) be->hints = &cuda_hints;
    *out = be;
    return EQ_OK;
}

eq_status eq_backend_open_for(eq_backend **be, const eq_compute_opts *o, const eq_observer *obs,
                              eq_err *err) {
    EQ_TRY(eq_backend_open(be, o->backend, o->cpu_mask, err));
    if (o->backend && strstr(o->backend, "auto"))
        eq_note(obs, "backend %s: %s (%s)", o->backend, (*be)->name, (*be)->kernels);
    if ((*be)->device) (*be)->limit = o->device_memory;
    if ((*be)->device || !o->device_memory) return EQ_OK;
    eq_fail(err, EQ_EINPUT, "device memory: expected a backend that is a device, found %s",
            (*be)->name);
    (*be)->close(*be);
    return EQ_EINPUT;
}

/* Operations recorded once and launched as one graph: generation is hundreds of kernels a token,
 * each shorter than its launch.
 * Invariant: a recording knows the scratch memory of its time, so it is good as long as that is. */
#include <stdio.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"

typedef struct {
    cudaGraphExec_t exec;
    int64_t scratches;
} graph;

static bool graph_begin(eq_backend *be) {
    eq_cuda *c = eq_cuda_of(be);
    if (c->first.status != EQ_OK) return false;
    c->recording =
        cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    if (!c->recording) cudaGetLastError();
    return c->recording;
}

/* What could not be recorded is called, so it is no error; the kernels' line says it. */
static void *refused(eq_backend *be, graph *g, cudaError_t e) {
    eq_cuda *c = eq_cuda_of(be);
    size_t at = strlen(c->kernels);
    if (!strstr(c->kernels, "no graphs"))
        snprintf(c->kernels + at, sizeof c->kernels - at, ", no graphs: %s",
                 c->first.status != EQ_OK ? c->first.msg : cudaGetErrorString(e));
    cudaGetLastError();
    c->first = (eq_err){0};
    eq_free(g);
    return NULL;
}

static void *graph_end(eq_backend *be) {
    eq_cuda *c = eq_cuda_of(be);
    cudaGraph_t recorded = NULL;
    graph *g = eq_calloc(1, sizeof *g);
    cudaError_t e = cudaStreamEndCapture(c->stream, &recorded);
    c->recording = false;
    bool good = g && e == cudaSuccess && c->first.status == EQ_OK;
    if (good) e = cudaGraphInstantiate(&g->exec, recorded, 0);
    if (recorded) cudaGraphDestroy(recorded);
    if (!good || e != cudaSuccess) return refused(be, g, e);
    g->scratches = c->scratches;
    return g;
}

static bool graph_launch(eq_backend *be, void *p) {
    const graph *g = p;
    eq_cuda *c = eq_cuda_of(be);
    if (g->scratches != c->scratches) return false;
    eq_cuda_ok(be, cudaGraphLaunch(g->exec, c->stream), "graph");
    return true;
}

static void graph_free(eq_backend *be, void *p) {
    graph *g = p;
    if (!g) return;
    eq_cuda_ok(be, cudaStreamSynchronize(eq_cuda_of(be)->stream), "graph");
    cudaGraphExecDestroy(g->exec);
    eq_free(g);
}

void eq_cuda_graph_calls(eq_backend *be) {
    be->graph_begin = graph_begin, be->graph_end = graph_end;
    be->graph_launch = graph_launch, be->graph_free = graph_free;
}

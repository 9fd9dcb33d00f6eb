/* Times of the CUDA backend's own kernels against roofs measured in the same run: attention,
 * losses, packed matrix-vector products. `device-bench [attention|loss|matvec]`; without a word,
 * all.
 *
 * Device events around single calls, the median of many; what is shorter than a launch is captured
 * in a graph, over operands that together exceed the L2 cache.
 * Invariant: inputs are random numbers; zeros run faster than real data. */
#include <cuda_runtime.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "backend/cuda/cuda.h"

static eq_backend *be;
static cudaStream_t stream;
static double copy_rate; /* bytes a second, read and written */

static void must(cudaError_t e, const char *what) {
    if (e == cudaSuccess) return;
    fprintf(stderr, "device-bench: %s: %s\n", what, cudaGetErrorString(e));
    exit(1);
}
static void serial(int64_t n, eq_par_fn fn, void *ctx) {
    for (int64_t i = 0; i < n; i++) fn(ctx, i, 0);
}
static void sync_or_die(void) {
    eq_err err = {};
    if (be->sync(be, &err) == EQ_OK) return;
    fprintf(stderr, "device-bench: %s\n", err.msg);
    exit(1);
}

/* ---- operands -------------------------------------------------------------------------------- */

static std::vector<eq_mut> taken;
static eq_mut room(eq_dtype dt, int64_t n) {
    eq_mut m = {be->alloc(be, n * eq_dtype_size(dt)), n, dt};
    if (!m.p) {
        fprintf(stderr, "device-bench: no device memory for %lld elements\n", (long long)n);
        exit(1);
    }
    taken.push_back(m);
    return m;
}
static void free_all(void) {
    for (eq_mut m : taken) be->free_(be, m.p);
    taken.clear();
}
static uint64_t state = 88172645463325252u;
static uint64_t draw(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}
/* About N(0, size^2): the sum of four uniform numbers. */
static eq_mut numbers(eq_dtype dt, int64_t n, float size) {
    std::vector<float> host((size_t)n);
    for (float &x : host) {
        uint64_t r = draw();
        float sum = 0.0f;
        for (int i = 0; i < 4; i++) sum += (float)(r >> 16 * i & 0xffff) / 65536.0f - 0.5f;
        x = sum * 1.7320508f * size;
    }
    eq_mut m = room(dt, n);
    be->upload(be, m, host.data(), EQ_F32);
    return m;
}

/* ---- timing ---------------------------------------------------------------------------------- */

static double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}
/* Seconds of one call on the stream. */
static double seconds(int times, const std::function<void()> &call) {
    std::vector<double> all;
    cudaEvent_t from, to;
    must(cudaEventCreate(&from), "event"), must(cudaEventCreate(&to), "event");
    for (int i = 0; i < 3; i++) call();
    for (int i = 0; i < times; i++) {
        float ms;
        must(cudaEventRecord(from, stream), "event");
        call();
        must(cudaEventRecord(to, stream), "event");
        must(cudaEventSynchronize(to), "a timed call");
        must(cudaEventElapsedTime(&ms, from, to), "event");
        all.push_back(ms * 1e-3);
    }
    cudaEventDestroy(from), cudaEventDestroy(to);
    sync_or_die();
    return median(all);
}
/* The same for `n` calls at once, without launches in between. */
static double graph_seconds(int n, const std::function<void(int)> &call) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    call(0);
    sync_or_die();
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < n; i++) call(i);
    must(cudaStreamEndCapture(stream, &graph), "capture");
    must(cudaGraphInstantiate(&exec, graph, 0), "graph");
    double s = seconds(30, [&] { must(cudaGraphLaunch(exec, stream), "graph"); });
    cudaGraphExecDestroy(exec), cudaGraphDestroy(graph);
    return s / n;
}

static void measure_copy(void) {
    int64_t bytes = 1 << 30;
    eq_mut a = room(EQ_U8, bytes), b = room(EQ_U8, bytes);
    must(cudaMemsetAsync(a.p, 0x5a, (size_t)bytes, stream), "memset");
    double s = seconds(20, [&] {
        must(cudaMemcpyAsync(b.p, a.p, (size_t)bytes, cudaMemcpyDeviceToDevice, stream), "copy");
    });
    copy_rate = 2.0 * (double)bytes / s;
    printf("copy                                  %8.3f ms  %7.0f GB/s\n", s * 1e3,
           copy_rate * 1e-9);
    free_all();
}

/* ---- attention ------------------------------------------------------------------------------- */

static bool same_bits(const std::vector<eq_mut> &out, const std::function<void()> &call) {
    std::vector<std::vector<uint8_t>> first;
    for (int pass = 0; pass < 2; pass++) {
        call();
        for (size_t i = 0; i < out.size(); i++) {
            std::vector<uint8_t> host((size_t)(out[i].n * eq_dtype_size(out[i].dt)));
            eq_view bytes = {out[i].p, (int64_t)host.size(), EQ_U8};
            be->download(be, host.data(), EQ_U8, bytes);
            if (pass == 0)
                first.push_back(host);
            else if (memcmp(first[i].data(), host.data(), host.size()))
                return false;
        }
    }
    return true;
}

static void attention(int64_t B, int64_t T, int64_t NH, int64_t NKV, int64_t HD, int64_t window) {
    eq_attn_shape s = {B, T, NH, NKV, HD, window, 0.0884f, 0, 0.0f};
    int64_t nq = B * T * NH * HD, nk = B * T * NKV * HD;
    eq_mut q = numbers(EQ_BF16, nq, 1.0f), k = numbers(EQ_BF16, nk, 1.0f);
    eq_mut v = numbers(EQ_BF16, nk, 1.0f), g = numbers(EQ_BF16, nq, 1.0f);
    eq_mut o = room(EQ_BF16, nq), lse = room(EQ_F32, B * NH * T);
    eq_mut dq = room(EQ_BF16, nq), dk = room(EQ_BF16, nk), dv = room(EQ_BF16, nk);
    auto fwd = [&] { EQ_DO(be, attn_fwd, o, lse, eq_ro(q), eq_ro(k), eq_ro(v), EQ_NONE_VIEW, s); };
    auto bwd = [&] {
        EQ_DO(be, attn_bwd, dq, dk, dv, eq_ro(g), eq_ro(q), eq_ro(k), eq_ro(v), eq_ro(o),
              eq_ro(lse), s);
    };
    double pairs = window ? (double)(T * window) - 0.5 * (double)(window * window)
                          : 0.5 * (double)T * (double)T;
    double product = 2.0 * (double)(B * NH * HD) * pairs; /* one q k^T under the diagonal */
    double f = seconds(30, fwd), b = seconds(30, bwd);
    bool same = same_bits({o, lse}, fwd) && same_bits({dq, dk, dv}, bwd);
    char name[64];
    snprintf(name, sizeof name, "%lldx%lldx%lld/%lldx%lld", (long long)B, (long long)T,
             (long long)NH, (long long)NKV, (long long)HD);
    if (window) snprintf(name + strlen(name), 16, " w%lld", (long long)window);
    printf("attention %-24s fwd %8.3f ms  %5.0f TFLOP/s   bwd %8.3f ms  %5.0f TFLOP/s   %s\n", name,
           f * 1e3, 2.0 * product / f * 1e-12, b * 1e3, 5.0 * product / b * 1e-12,
           same ? "same bits twice" : "OTHER BITS");
    free_all();
}

/* One query behind `keys` others, as generation asks for it; caches together exceed the L2. */
static void attention_one(int64_t keys, int64_t NH, int64_t NKV, int64_t HD) {
    eq_attn_shape s = {1, 1, NH, NKV, HD, 0, 0.0884f, 0, 0.0f};
    int64_t row = NKV * HD, bytes = 2 * 2 * (keys + 1) * row;
    int n = (int)std::max<int64_t>(2, (256 << 20) / bytes + 1);
    int32_t past = (int32_t)keys;
    eq_mut q = numbers(EQ_BF16, NH * HD, 1.0f), o = room(EQ_BF16, NH * HD);
    eq_mut lse = room(EQ_F32, NH), at = room(EQ_I32, 1);
    eq_mut k = numbers(EQ_BF16, n * (keys + 1) * row, 1.0f), v = room(EQ_BF16, k.n);
    EQ_DO(be, cast, v, eq_ro(k));
    be->upload(be, at, &past, EQ_I32);
    double t = graph_seconds(n, [&](int i) {
        int64_t from = i * (keys + 1) * row, all = (keys + 1) * row;
        EQ_DO(be, attn_fwd, o, lse, eq_ro(q), eq_view_at(eq_ro(k), from, all),
              eq_view_at(eq_ro(v), from, all), eq_ro(at), s);
    });
    double rate = (double)bytes / t;
    printf("attention of one query, %5lld keys, %lld/%lld heads of %lld %8.2f us  %6.0f GB/s  "
           "%3.0f %% "
           "of the copy\n",
           (long long)keys, (long long)NH, (long long)NKV, (long long)HD, t * 1e6, rate * 1e-9,
           100.0 * rate / copy_rate);
    free_all();
}

/* ---- losses ---------------------------------------------------------------------------------- */

static void cross_entropy(int64_t rows, int64_t V) {
    eq_mut logits = numbers(EQ_F32, rows * V, 2.0f), d = room(EQ_BF16, rows * V);
    eq_mut loss = room(EQ_F32, rows), targets = room(EQ_I32, rows);
    std::vector<int32_t> host((size_t)rows);
    for (int32_t &t : host) t = (int32_t)(draw() % (uint64_t)V);
    be->upload(be, targets, host.data(), EQ_I32);
    double s = seconds(20, [&] {
        EQ_DO(be, cross_entropy, loss, d, eq_ro(logits), eq_ro(targets), rows, V, 1.0f, 0.0f);
    });
    double rate = 6.0 * (double)(rows * V) / s;
    printf("cross-entropy %5lld x %-6lld            %8.3f ms  %7.0f GB/s  %3.0f %% of the copy\n",
           (long long)rows, (long long)V, s * 1e3, rate * 1e-9, 100.0 * rate / copy_rate);
    free_all();
}

/* ---- products with packed weights ------------------------------------------------------------ */

/* Weights in more copies than the L2 cache holds, each used once in a graph. */
static void matvec(int64_t O, int64_t I, int bits, int64_t G, int64_t rows) {
    eq_qshape q = {O, I, G, bits, EQ_GRID_FREE};
    int64_t words = O * I / 32 * bits, groups = O * I / G, bytes = 4 * words + 3 * groups;
    int n = (int)std::max<int64_t>(2, (256 << 20) / bytes + 1),
        dense = (int)(1 + (256 << 20) / (2 * O * I));
    std::vector<uint32_t> code((size_t)words);
    std::vector<uint8_t> zero((size_t)groups);
    for (uint32_t &w : code) w = (uint32_t)(draw() >> 32);
    for (uint8_t &z : zero) z = (uint8_t)(draw() >> (64 - bits));
    std::vector<eq_mut> w, s, z, d;
    for (int i = 0; i < n; i++) {
        w.push_back(room(EQ_U32, words)), z.push_back(room(EQ_U8, groups));
        be->upload(be, w.back(), code.data(), EQ_U32);
        be->upload(be, z.back(), zero.data(), EQ_U8);
        s.push_back(numbers(EQ_F16, groups, 0.01f));
    }
    d.push_back(numbers(EQ_BF16, O * I, 0.02f));
    for (int i = 1; i < dense; i++) {
        d.push_back(room(EQ_BF16, O * I));
        EQ_DO(be, cast, d.back(), eq_ro(d[0]));
    }
    eq_mut x = numbers(EQ_BF16, rows * I, 1.0f), y = room(EQ_BF16, rows * O);
    double packed = graph_seconds(n, [&](int i) {
        size_t k = (size_t)i;
        EQ_DO(be, matvec_q, y, eq_ro(x), eq_ro(w[k]), eq_ro(s[k]), eq_ro(z[k]), rows, q, 0, 0);
    });
    double blas = graph_seconds(dense, [&](int i) {
        EQ_DO(be, matmul_nt, y, eq_ro(x), eq_ro(d[(size_t)i]), rows, O, I, rows, 0);
    });
    double rate = (double)bytes / packed;
    printf("matvec w%dg%-3lld %5lldx%-5lld rows %lld %8.2f us  %6.0f GB/s  %3.0f %% of the copy   "
           "cuBLASLt bf16 %7.2f us, %4.1f x\n",
           bits, (long long)G, (long long)O, (long long)I, (long long)rows, packed * 1e6,
           rate * 1e-9, 100.0 * rate / copy_rate, blas * 1e6, blas / packed);
    free_all();
}

/* ---- the run --------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    const char *only = argc > 1 ? argv[1] : "";
    auto wanted = [&](const char *what) { return !*only || !strcmp(only, what); };
    eq_err err = {};
    if (eq_cuda_open(&be, serial, &err) != EQ_OK) {
        fprintf(stderr, "device-bench: %s\n", err.msg);
        return 1;
    }
    stream = eq_cuda_of(be)->stream;
    printf("%s\n", be->kernels);
    measure_copy();
    if (wanted("attention")) {
        attention(2, 2048, 32, 32, 128, 0);
        attention(2, 2048, 32, 8, 128, 0);
        attention(1, 4096, 32, 32, 128, 0);
        attention(2, 2048, 32, 32, 64, 0);
        attention(2, 2048, 32, 32, 80, 0);
        attention(2, 2048, 32, 32, 96, 0);
        attention(2, 2048, 16, 16, 256, 0);
        attention(1, 8192, 32, 8, 128, 1024);
        attention_one(2047, 32, 32, 128);
        attention_one(8191, 32, 8, 128);
    }
    if (wanted("loss")) {
        cross_entropy(4096, 32000);
        cross_entropy(1024, 128256);
    }
    if (wanted("matvec")) {
        static const int64_t shapes[][2] = {{4096, 4096},  {11008, 4096}, {5120, 5120},
                                            {13824, 5120}, {8192, 8192},  {28672, 8192}};
        for (const int64_t *shape : shapes) matvec(shape[0], shape[1], 2, 64, 1);
        matvec(8192, 8192, 3, 128, 1);
        matvec(8192, 8192, 4, 128, 1);
        matvec(8192, 8192, 2, 64, 2);
        matvec(8192, 8192, 2, 64, 8);
    }
    be->close(be);
    return 0;
}

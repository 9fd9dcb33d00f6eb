/* Training steps of real shapes on random models: their rate against oneDNN's products of the same
 * shapes, their memory, and the same step in PyTorch; threads; packing against copying a file. */
#define _GNU_SOURCE
#include "bench_steps.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/rng.h"
#include "bench_device.h"
#include "format/npy.h"
#include "quant/pack.h"

enum { MAX_STEPS = 64, DEVICE_STEPS = 32, WARM_UP = 4, DEVICE_T = 4096 };

/* ---- random models and data ------------------------------------------------------------------ */

static const eq_bench_model seven_b = {
    .name = "7b-block", .D = 4096, .F = 11008, .NH = 32, .NKV = 32, .V = 512, .T = 2048};

static eq_status make_model(const eq_bench_opts *o, const char *folder, const char *args,
                            eq_err *err) {
    char *cmd = eq_sprintf("%s %s %s >/dev/null", o->make_model, folder, args);
    if (!cmd) return eq_nomem(err, "a command", 256);
    int rc = eq_exists(folder) ? 0 : system(cmd);
    eq_status st = rc ? eq_fail(err, EQ_EIO, "%s: exit %d", cmd, rc) : EQ_OK;
    eq_free(cmd);
    return st;
}

static eq_status make_windows(const char *path, int64_t n, int64_t T, int64_t V, eq_err *err) {
    int32_t *ids = eq_calloc(n * T, sizeof *ids);
    if (!ids) return eq_nomem(err, "token ids", n * T * 4);
    for (int64_t i = 0; i < n * T; i++)
        ids[i] = (int32_t)(eq_rand_u64(7, (uint64_t)i) % (uint64_t)V);
    eq_status st = eq_npy_write(path, ids, n, T, true, err);
    eq_free(ids);
    return st;
}

/* ---- one run, watched through its events ----------------------------------------------------- */

typedef struct {
    double at[MAX_STEPS]; /* time of each step's event */
    int n;
    int64_t host_peak, backend_peak; /* of the phase that stepped */
} watch;

static void on_event(void *ctx, const char *line) {
    watch *w = ctx;
    json_t *v = json_loads(line, 0, NULL);
    const char *kind = json_string_value(json_object_get(v, "event"));
    if (kind && (!strcmp(kind, "block_step") || !strcmp(kind, "e2e_step")) && w->n < MAX_STEPS)
        w->at[w->n++] = eq_now();
    if (kind && !strcmp(kind, "phase") &&
        strcmp(json_string_value(json_object_get(v, "phase")), "write")) {
        w->host_peak = json_integer_value(json_object_get(v, "host_peak_bytes"));
        w->backend_peak = json_integer_value(json_object_get(v, "backend_peak_bytes"));
    }
    json_decref(v);
}

/* A device is named as such: "auto" may be one, and is timed as the CPU. */
static bool on_device(const eq_bench_opts *o) { return strstr(o->compute.backend, "cuda") != NULL; }

/* The fastest step; of a device the median, behind the first few: its clocks follow its load. */
static double step_seconds(const eq_bench_opts *o, const watch *w) {
    double t[MAX_STEPS];
    int n = 0;
    for (int i = on_device(o) ? WARM_UP : 1; i < w->n; i++) {
        double x = w->at[i] - w->at[i - 1];
        int at = n++;
        for (; at > 0 && t[at - 1] > x; at--) t[at] = t[at - 1];
        t[at] = x;
    }
    return n ? t[on_device(o) ? n / 2 : 0] : 1e30;
}

/* Sum of FLOP of the products over the sum of their times alone: the roof for a block's shapes.
 * Each shape counts in its fastest orientation, since a step may transpose first. */
static double block_roof(eq_backend *be, const eq_bench_model *m, int64_t tokens, bool bf16,
                         int threads) {
    const int64_t shapes[][3] = {{m->D, m->D, 4}, {m->F, m->D, 2}, {m->D, m->F, 1}};
    double flop = 0, seconds = 0;
    for (int i = 0; i < 3; i++) {
        int64_t O = shapes[i][0], I = shapes[i][1];
        double f = 2.0 * (double)tokens * (double)O * (double)I;
        double forward = eq_bench_product(be, EQ_ROOF_NT, tokens, O, I, bf16, false, threads);
        double dx = eq_bench_product(be, EQ_ROOF_NN, tokens, I, O, bf16, false, threads);
        double tn = eq_bench_product(be, EQ_ROOF_TN, O, I, tokens, bf16, true, threads);
        double nn = eq_bench_product(be, EQ_ROOF_NN, O, I, tokens, bf16, true, threads);
        double dw = tn > nn ? tn : nn;
        if (!forward || !dx || !dw) return 0;
        flop += 3 * f * (double)shapes[i][2];
        seconds += (double)shapes[i][2] * (f / forward + f / dx + f / dw);
    }
    return flop / seconds;
}

static eq_status roof_of(const eq_bench_opts *o, const eq_bench_model *m, int64_t tokens,
                         double *roof, eq_err *err) {
    eq_backend *be;
    EQ_TRY(eq_backend_open(&be, o->compute.backend, o->compute.cpu_mask, err));
    *roof = block_roof(be, m, tokens, o->compute.precision == EQ_PREC_BF16, o->compute.threads);
    be->close(be);
    return EQ_OK;
}

static void peer(const eq_bench_opts *o, const char *phase, double seconds, double mib) {
    char line[512], *cmd;
    json_t *v = NULL;
    if (!o->python) {
        fprintf(o->out, "  PyTorch: SKIP (name an interpreter with torch: --python)\n");
        return;
    }
    cmd = eq_sprintf("%s tools/peer_step.py %s --threads %d 2>/dev/null", o->python, phase,
                     o->compute.threads);
    FILE *f = cmd ? popen(cmd, "r") : NULL;
    if (f && fgets(line, sizeof line, f)) v = json_loads(line, 0, NULL);
    if (f) pclose(f);
    eq_free(cmd);
    double s = json_number_value(json_object_get(v, "seconds")),
           p = json_number_value(json_object_get(v, "peak_mib"));
    if (s > 0)
        fprintf(o->out,
                "  PyTorch: %.2f s a step, %.0f MiB; eqat is %.2f x as fast in %.2f x the memory\n",
                s, p, s / seconds, mib / p);
    else
        fprintf(o->out, "  PyTorch: SKIP (tools/peer_step.py printed nothing with %s)\n",
                o->python);
    json_decref(v);
}

/* ---- sections -------------------------------------------------------------------------------- */

static eq_quantize_opts base_opts(const eq_bench_opts *o, const char *model, const char *out,
                                  const char *data) {
    eq_quantize_opts q;
    eq_quantize_opts_init(&q);
    q.model = model, q.out = out, q.data = data, q.compute = o->compute;
    q.e2e = false, q.ap.val_size = 0, q.ap.epochs = 1, q.ap.batch_size = 1;
    q.qp.batch_size = 1, q.qp.micro_batch = 1, q.qp.save_every = 1000;
    return q;
}

static eq_status block_step(const eq_bench_opts *o, eq_bench_paths *p, int64_t batch, watch *w,
                            eq_err *err) {
    const eq_bench_model *m = &seven_b;
    EQ_TRY(make_model(o, p->model,
                      "--family llama --hidden 4096 --inner 11008 --heads 32 --kv-heads 32 "
                      "--layers 1 --vocab 512 --context 2048 --dtype bf16",
                      err));
    EQ_TRY(make_windows(p->data, (on_device(o) ? DEVICE_STEPS : 4) * batch, m->T, m->V, err));
    eq_quantize_opts q = base_opts(o, p->model, p->out, p->data);
    eq_observer obs = {.ctx = w, .event = on_event};
    q.ap.batch_size = batch;
    EQ_TRY(eq_quantize(&q, &obs, NULL, err));
    return eq_remove_tree(p->out, err);
}

eq_status eq_bench_block_ap(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    const eq_bench_model *m = &seven_b;
    bool bf16 = o->compute.precision == EQ_PREC_BF16, device = on_device(o);
    double P = (double)(4 * m->D * m->D + 3 * m->D * m->F), roof;
    for (int64_t batch = 1; batch <= 2; batch++) {
        watch w = {0};
        EQ_TRY(block_step(o, p, batch, &w, err));
        int64_t tokens = batch * m->T, streams = 2 * 4 * tokens * m->D * (bf16 ? 2 : 4);
        double s = step_seconds(o, &w), rate = 6 * P * (double)tokens / s;
        double mib = (double)(device ? w.backend_peak : w.host_peak - streams) / (1 << 20);
        fprintf(o->out,
                "Block-AP step, Llama-2-7B block, %lld x %lld tokens: %.4g s, %.0f GFLOP/s, %.0f "
                "MiB %s\n",
                (long long)batch, (long long)m->T, s, rate * 1e-9, mib,
                device ? "of the device" : "beside model and streams");
        if (batch > 1 && !device) break;
        EQ_TRY(roof_of(o, m, tokens, &roof, err));
        fprintf(o->out,
                "  %s products of the same shapes: %.0f GFLOP/s; the step reaches %.0f %% of "
                "that\n",
                device ? "the device's" : "oneDNN", roof * 1e-9, 100 * rate / roof);
        if (batch == 1 && !device) peer(o, "block-ap", s, mib);
    }
    return EQ_OK;
}

eq_status eq_bench_e2e(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    bool device = on_device(o);
    eq_bench_model longer = seven_b;
    if (device) longer.T = DEVICE_T;
    const eq_bench_model *m = &longer;
    const int64_t L = 2, tokens = m->T;
    watch w = {0};
    EQ_TRY(make_model(o, p->model,
                      "--family llama --hidden 4096 --inner 11008 --heads 32 --kv-heads 32 "
                      "--layers 2 --vocab 512 --context 4096 --dtype bf16",
                      err));
    EQ_TRY(make_windows(p->data, device ? DEVICE_STEPS : 4, m->T, m->V, err));
    eq_quantize_opts q = base_opts(o, p->model, p->quantized, NULL);
    q.method = EQ_METHOD_RTN;
    EQ_TRY(eq_quantize(&q, NULL, NULL, err));
    q = base_opts(o, p->quantized, p->out, p->data);
    eq_observer obs = {.ctx = &w, .event = on_event};
    EQ_TRY(eq_tune(&q, &obs, NULL, err));
    double P = (double)(4 * m->D * m->D + 3 * m->D * m->F), s = step_seconds(o, &w), roof;
    /* Forward of all blocks, recomputation of all but the last, dW and dX of all; the first block's
     * q, k and v pass no gradient on. */
    double flop = (2.0 * (double)(4 * L - 1) * P - 6.0 * (double)(m->D * m->D)) * (double)tokens;
    EQ_TRY(roof_of(o, m, tokens, &roof, err));
    double mib = (double)(device ? w.backend_peak : w.host_peak) / (1 << 20);
    fprintf(o->out,
            "E2E-QP step, 2 Llama-2-7B blocks, 1 x %lld tokens: %.4g s, %.0f GFLOP/s, %.0f MiB %s\n"
            "  %s products of the same shapes: %.0f GFLOP/s; the step reaches %.0f %% of that\n",
            (long long)m->T, s, flop / s * 1e-9, mib, device ? "of the device" : "beside the model",
            device ? "the device's" : "oneDNN", roof * 1e-9, 100 * flop / s / roof);
    /* PyTorch runs one block's forward and backward, without recomputation: 6 of our 7 P tokens. */
    if (!device) peer(o, "e2e-qp", s * 6 * P * (double)tokens / flop, mib);
    EQ_TRY(eq_remove_tree(p->out, err));
    return eq_remove_tree(p->quantized, err);
}

eq_status eq_bench_threads(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    double s[3] = {0};
    eq_bench_opts one = *o;
    for (int t = 1; t <= 2; t++) {
        watch w = {0};
        one.compute.threads = t;
        EQ_TRY(block_step(&one, p, 1, &w, err));
        s[t] = step_seconds(&one, &w);
    }
    fprintf(
        o->out,
        "threads: Block-AP step of a Llama-2-7B block: 1 thread %.2f s, 2 threads %.2f s: %.2f x\n",
        s[1], s[2], s[1] / s[2]);
    return EQ_OK;
}

/* Reading and writing as much as RTN does, by the copy of the same file. */
static double copy_seconds(const char *model, const char *to, eq_err *err) {
    char *from = eq_path(model, "model.safetensors");
    double t = eq_now();
    eq_status st = from ? eq_copy_file(from, to, err) : EQ_ENOMEM;
    t = eq_now() - t;
    eq_free(from);
    remove(to);
    return st == EQ_OK ? t : 0;
}

/* GPTQ's columns from rows and back, of more than caches hold, against copying as many bytes. */
static eq_status pack_rates(const eq_bench_opts *o, eq_err *err) {
    enum { LINEARS = 8, RUNS = 4 };
    const int64_t O = seven_b.F, I = seven_b.D;
    double roof = eq_roof_copy();
    for (int bits = 2; bits <= 4; bits++) {
        int64_t n = O * eq_pack_words(I, bits);
        uint32_t *rows = eq_calloc(LINEARS * n, sizeof *rows);
        int32_t *columns = eq_calloc(LINEARS * n, sizeof *columns);
        double best[2] = {1e30, 1e30};
        for (int run = 0; run <= RUNS && rows && columns; run++)
            for (int back = 0; back < 2; back++) {
                double t = eq_now();
                for (int64_t at = 0; at < LINEARS * n; at += n)
                    if (back)
                        eq_rows_from_gptq(rows + at, columns + at, O, I, bits);
                    else
                        eq_gptq_from_rows(columns + at, rows + at, O, I, bits);
                t = eq_now() - t;
                if (run && t < best[back]) best[back] = t; /* the first run pays for the pages */
            }
        eq_free(rows), eq_free(columns);
        if (best[0] > 1e29) return eq_nomem(err, "packed linears", 2 * LINEARS * n * 4);
        double bytes = 2.0 * LINEARS * (double)n * 4, pack = bytes / best[0],
               unpack = bytes / best[1];
        fprintf(
            o->out,
            "packing %lld x %lld w%d: %.1f GB/s, unpacking %.1f GB/s (read + written); %.0f %% and "
            "%.0f %% of a copy\n",
            (long long)O, (long long)I, bits, pack * 1e-9, unpack * 1e-9, 100 * pack / roof,
            100 * unpack / roof);
    }
    return EQ_OK;
}

eq_status eq_bench_pack(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    EQ_TRY(pack_rates(o, err));
    EQ_TRY(make_model(o, p->model, "--like tinyllama-1.1b --dtype bf16", err));
    eq_quantize_opts q = base_opts(o, p->model, p->quantized, NULL);
    q.method = EQ_METHOD_RTN;
    eq_quantize_result r;
    double t = eq_now();
    EQ_TRY(eq_quantize(&q, NULL, &r, err));
    t = eq_now() - t;
    double copy = copy_seconds(p->model, p->data, err);
    fprintf(o->out,
            "RTN and packing, TinyLlama-1.1B to w2g64: %.1f s (writing and checking %.1f s); "
            "copying the full-precision file: %.1f s: %.2f x\n",
            t, r.seconds_write, copy, copy / t);
    watch w = {0};
    eq_observer obs = {.ctx = &w, .event = on_event};
    EQ_TRY(make_windows(p->data, 2, 2048, 32000, err));
    q = base_opts(o, p->quantized, p->out, p->data);
    EQ_TRY(eq_tune(&q, &obs, NULL, err));
    fprintf(o->out,
            "E2E-QP, TinyLlama-1.1B w2g64, 1 x 2048 tokens: %.2f s a step, %.0f MiB beside the "
            "mapped model\n",
            step_seconds(o, &w), (double)w.host_peak / (1 << 20));
    EQ_TRY(eq_remove_tree(p->out, err));
    return eq_remove_tree(p->quantized, err);
}

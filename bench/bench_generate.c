/* Reading a prompt and generating with whole models of real shapes and random weights. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/rng.h"
#include "bench_device.h"
#include "bench_generate.h"
#include "bench_kernels.h"
#include "bench_read.h"

enum { PROMPT = 512, TOKENS = 64, RUNS = 3, READS = 8 };

static const struct {
    const char *name, *args;
    bool device; /* of a size for devices alone */
} models[] = {
    {"TinyLlama-1.1B", "--like tinyllama-1.1b --dtype bf16", false},
    {"SmolLM2-135M",
     "--family llama --hidden 576 --inner 1536 --layers 30 --heads 9 --kv-heads 3 "
     "--head-dim 64 --vocab 49152 --context 8192 --tied --dtype bf16",
     false},
    {"Llama-2-7B, 4 of its 32 blocks", "--like llama-2-7b --layers 4 --dtype bf16", true},
};
/* bits 0: full precision in bf16. 128 does not divide 576. */
static const struct {
    int bits;
    int64_t group[2];
} formats[] = {{2, {64, 64}}, {3, {128, 64}}, {4, {128, 64}}, {0, {0, 0}}};

static int32_t any_token(int64_t i, int64_t V) {
    return (int32_t)(eq_rand_u64(7, (uint64_t)i) % (uint64_t)V);
}

static double processors(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

eq_status eq_bench_session(eq_session *s, int64_t V, int prompt, int tokens, eq_bench_times *t,
                           eq_err *err) {
    float *logits = eq_calloc(V + prompt, sizeof *logits);
    if (!logits) return eq_nomem(err, "logits", 4 * (V + prompt));
    int32_t *ids = (int32_t *)(void *)(logits + V);
    for (int i = 0; i < prompt; i++) ids[i] = any_token(i, V);
    eq_session_truncate(s, 0);
    double begin = eq_now(), begin_cpu = processors();
    eq_status st = eq_session_feed(s, ids, prompt, NULL, NULL, err);
    double middle = eq_now(), middle_cpu = processors();
    for (int i = 0; i < tokens && st == EQ_OK; i++) {
        int32_t next = any_token(prompt + i, V);
        st = eq_session_logits(s, logits, err);
        if (st == EQ_OK) st = eq_session_feed(s, &next, 1, NULL, NULL, err);
    }
    *t = (eq_bench_times){middle - begin, eq_now() - middle, middle_cpu - begin_cpu,
                          processors() - middle_cpu};
    eq_free(logits);
    return st;
}

/* Seconds of a prompt, of a token behind it and of reading a byte: each the fastest of some runs.
 */
static eq_status times(eq_session *s, int64_t V, double *prompt, double *token, double *byte,
                       eq_err *err) {
    eq_bench_reader reader;
    eq_status st = eq_bench_reader_open(&reader, err);
    *prompt = *token = *byte = 1e30;
    for (int r = 0; r < RUNS && st == EQ_OK; r++) {
        eq_bench_times t = {0};
        st = eq_bench_session(s, V, PROMPT, TOKENS, &t, err);
        if (r && t.prompt < *prompt) *prompt = t.prompt; /* the first run makes oneDNN's kernels */
        if (t.tokens / TOKENS < *token) *token = t.tokens / TOKENS;
        for (int i = 0; i < READS; i++) {
            double b = eq_bench_read(&reader) / EQ_READ_BYTES;
            if (b < *byte) *byte = b;
        }
    }
    eq_bench_reader_close(&reader);
    return st;
}

/* A device's own rate of reading, and a token without recorded graphs. */
static eq_status on_device(const eq_bench_opts *o, eq_backend *be, const eq_weights *src,
                           double *token, double *byte, eq_err *err) {
    eq_session *s;
    double prompt, unused;
    double rate = eq_bench_copy(be);
    *byte = rate > 0 ? 1 / rate : NAN;
    be->graph_begin = NULL;
    EQ_TRY(eq_session_open(&s, be, src, &o->compute, PROMPT + TOKENS, err));
    eq_status st = times(s, src->cfg.V, &prompt, token, &unused, err);
    eq_session_close(s);
    return st;
}

static eq_status one(const eq_bench_opts *o, const char *name, const char *folder, int bits,
                     int64_t group, eq_err *err) {
    eq_weights *src;
    eq_backend *be = NULL;
    eq_session *s = NULL;
    double prompt, token, byte, called = 0;
    EQ_TRY(eq_weights_open(&src, folder, err));
    eq_status st = eq_backend_open(&be, o->compute.backend, o->compute.cpu_mask, err);
    if (st == EQ_OK) st = eq_session_open(&s, be, src, &o->compute, PROMPT + TOKENS, err);
    if (st == EQ_OK) st = times(s, src->cfg.V, &prompt, &token, &byte, err);
    if (st == EQ_OK && be->device) st = on_device(o, be, src, &called, &byte, err);
    if (st == EQ_OK) {
        const eq_config *c = &src->cfg;
        double P = (double)eq_config_linear_params(c), G = (double)group;
        double head = (double)(c->V * c->D), packed = bits ? bits / 8.0 + 3 / G : 2;
        double bytes = P * packed + head * (bits && !be->device ? 1 + 3 / 64.0 : 2);
        fprintf(o->out,
                "%s %s%.0d%s%.0lld: prompt of %d: %.0f tokens/s; generation: %.1f tokens/s, "
                "weights at %.0f %% of the rate of reading (%.1f GB/s)\n",
                name, bits ? "w" : "bf16", bits, bits ? "g" : "", (long long)group, PROMPT,
                PROMPT / prompt, 1 / token, 100 * bytes / token * byte, 1e-9 / byte);
        if (be->device)
            fprintf(o->out, "%s: %.1f tokens/s without graphs; %s\n", name, 1 / called,
                    be->kernels);
    }
    eq_session_close(s);
    if (be) be->close(be);
    eq_weights_close(src);
    return st;
}

static eq_status model(const eq_bench_opts *o, eq_bench_paths *p, int m, eq_err *err) {
    char *cmd = eq_sprintf("%s %s %s >/dev/null", o->make_model, p->model, models[m].args);
    if (!cmd) return eq_nomem(err, "a command", 256);
    int rc = system(cmd);
    eq_status st = rc ? eq_fail(err, EQ_EIO, "%s: exit %d", cmd, rc) : EQ_OK;
    eq_free(cmd);
    for (size_t f = 0; f < sizeof formats / sizeof *formats && st == EQ_OK; f++) {
        int bits = formats[f].bits;
        int64_t group = formats[f].group[m == 1];
        eq_quantize_opts q;
        eq_quantize_opts_init(&q);
        q.model = p->model, q.out = p->quantized, q.compute = o->compute;
        q.method = EQ_METHOD_RTN, q.e2e = false, q.bits = bits, q.group_size = group;
        if (bits) st = eq_quantize(&q, NULL, NULL, err);
        if (st == EQ_OK)
            st = one(o, models[m].name, bits ? p->quantized : p->model, bits, group, err);
        if (bits && st == EQ_OK) st = eq_remove_tree(p->quantized, err);
    }
    return st == EQ_OK ? eq_remove_tree(p->model, err) : st;
}

eq_status eq_bench_generate(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    bool device = eq_backend_hints(o->compute.backend) != NULL;
    for (int m = 0; m < (int)(sizeof models / sizeof *models); m++)
        if (device || !models[m].device) EQ_TRY(model(o, p, m, err));
    return EQ_OK;
}

/* Generation through the CUDA backend on the CPU (tests/cuda_emu) beside the reference: prompts,
 * greedy tokens and their logits, going back, for packed and full-precision models; the operations
 * of a token as one graph, recorded anew where memory of its time is gone; the same bytes with
 * lanes in falling order and without graphs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"
#include "base/par.h"
#include "infer/session.h"
#include "scratch.h"
#include "tiny_model.h"

enum { V = 50, T_MAX = 128, SHORT = 3, LONG = 66, TOKENS = 4 };
enum { PLAIN, FALLING, NO_GRAPH, WAYS };
static eq_err err;
static void ok(eq_status st) {
    if (st != EQ_OK) fail_msg("%s %s", err.msg, eq_emu_fault());
}

/* Heads of 64, two to a key head: what the kernels for one query take. */
static char *folder(int bits) {
    char config[512], *dir = tiny_dir();
    snprintf(config, sizeof config,
             "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,\n"
             " \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": 1,\n"
             " \"head_dim\": 64, \"vocab_size\": %d, \"max_position_embeddings\": %d,\n"
             " \"rms_norm_eps\": 1e-05, \"torch_dtype\": \"float32\", \"rope_theta\": 10000.0,\n"
             " \"tie_word_embeddings\": false, \"bos_token_id\": 1, \"eos_token_id\": 2}",
             V, T_MAX);
    tiny_write(dir, config, &(tiny_opts){.dt = EQ_F32, .seed = 5});
    return bits ? tiny_rounded(dir, bits) : dir;
}

/* What a conversation of two turns was: a short prompt and some tokens, then back to its beginning
 * and a long one. */
typedef struct {
    int32_t ids[2 * TOKENS];
    float logits[2 * TOKENS * V];
    int64_t launches;
} talk;

static int best_of(const float *x) {
    int best = 0;
    for (int i = 1; i < V; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* given: NULL, or the tokens that are fed whatever the likeliest are. */
static void turn(talk *k, int which, eq_session *s, int64_t prompt, const talk *given) {
    int32_t ids[LONG];
    for (int i = 0; i < prompt; i++) ids[i] = (i * i + 3 * i + which) % V;
    ok(eq_session_feed(s, ids, prompt, NULL, NULL, &err));
    for (int n = which * TOKENS; n < (which + 1) * TOKENS; n++) {
        float *logits = k->logits + n * V;
        ok(eq_session_logits(s, logits, &err));
        k->ids[n] = given ? given->ids[n] : best_of(logits);
        ok(eq_session_feed(s, k->ids + n, 1, NULL, NULL, &err));
    }
}

static void run(talk *k, eq_backend *be, const char *dir, eq_precision precision,
                const talk *given) {
    eq_weights *src;
    eq_session *s;
    eq_compute_opts compute = {.backend = "cuda", .precision = precision};
    int64_t before = eq_emu_graph_launches();
    ok(eq_weights_open(&src, dir, &err));
    ok(eq_session_open(&s, be, src, &compute, T_MAX, &err));
    turn(k, 0, s, SHORT, given);
    eq_session_truncate(s, 1);
    turn(k, 1, s, LONG, given);
    k->launches = eq_emu_graph_launches() - before;
    eq_session_close(s);
    eq_weights_close(src);
}

static eq_backend *open_emu(void) {
    eq_backend *be;
    ok(eq_cuda_open(&be, eq_par_for, &err));
    be->hints = eq_backend_hints("cuda");
    return be;
}

/* Root of the mean squared difference over that of the logits. */
static double apart(const talk *a, const talk *b) {
    double e = 0, w = 0;
    for (int i = 0; i < 2 * TOKENS * V; i++) {
        double d = (double)a->logits[i] - (double)b->logits[i];
        e += d * d, w += (double)b->logits[i] * (double)b->logits[i];
    }
    return sqrt(e / w);
}

/* ways: how many of them beside the plain one, whose bytes they have. */
static void check(int bits, eq_precision precision, double tolerance, int ways) {
    static talk want, got[WAYS];
    char *dir = folder(bits);
    eq_backend *ref;
    ok(eq_backend_open(&ref, "ref", NULL, &err));
    run(&want, ref, dir, precision, NULL);
    ref->close(ref);
    for (int way = 0; way <= ways; way++) {
        eq_backend *emu = open_emu();
        eq_emu_falling = way == FALLING;
        if (way == NO_GRAPH) emu->graph_begin = NULL;
        /* In bf16 near ones may change places. */
        run(&got[way], emu, dir, precision, precision == EQ_PREC_F32 ? NULL : &want);
        emu->close(emu);
        assert_int_equal(eq_emu_allocated(), 0);
        /* The first token of a session is called. */
        assert_int_equal(got[way].launches, way == NO_GRAPH ? 0 : 2 * TOKENS - 1);
        assert_memory_equal(got[0].logits, got[way].logits, sizeof got[0].logits);
    }
    eq_emu_falling = 0;
    assert_memory_equal(got[0].ids, want.ids, sizeof want.ids);
    double d = apart(&got[0], &want);
    if (!(d < tolerance)) fail_msg("%d bits: logits are %g apart", bits, d);
    tiny_remove(dir);
}

/* fp32 sums in other orders. */
static void exact(void **state) {
    (void)state;
    check(2, EQ_PREC_F32, 1e-5, NO_GRAPH);
    check(3, EQ_PREC_F32, 1e-5, PLAIN);
    check(0, EQ_PREC_F32, 1e-5, PLAIN);
}
/* Some dozen bf16 roundings a token, each of 2^-9. */
static void rounded(void **state) {
    (void)state;
    check(4, EQ_PREC_BF16, 0.02, FALLING);
    check(0, EQ_PREC_BF16, 0.02, PLAIN);
}

/* ---- recordings ------------------------------------------------------------------------------ */

static eq_mut floats(eq_backend *be, int64_t n, float v) {
    eq_mut m = {be->alloc(be, 4 * n), n, EQ_F32};
    assert_non_null(m.p);
    EQ_DO(be, fill, m, v);
    return m;
}
static float first(eq_backend *be, eq_mut m) {
    float v;
    be->download(be, &v, EQ_F32, eq_ro(eq_mut_at(m, 0, 1)));
    ok(be->sync(be, &err));
    return v;
}

/* Nothing runs while it is recorded; everything with each launch. What would have to wait or to
 * find memory cannot be recorded: that is said, and nothing has happened. */
static void recordings(void **state) {
    (void)state;
    eq_backend *be = open_emu();
    eq_mut a = floats(be, 64, 1), b = floats(be, 64, 2);
    assert_true(be->graph_begin(be));
    EQ_DO(be, add, a, eq_ro(a), eq_ro(b));
    EQ_DO(be, affine, a, eq_ro(a), 2.0f, 0.0f);
    void *graph = be->graph_end(be);
    assert_non_null(graph);
    assert_true(first(be, a) == 1);
    assert_true(be->graph_launch(be, graph) && be->graph_launch(be, graph));
    assert_true(first(be, a) == ((1 + 2) * 2 + 2) * 2);
    assert_non_null(eq_cuda_scratch(be, 1 << 10));
    assert_false(be->graph_launch(be, graph)); /* its memory may be somebody else's */
    be->graph_free(be, graph);

    assert_true(be->graph_begin(be));
    EQ_DO(be, fill, a, 0.0f);
    assert_null(eq_cuda_scratch(be, 1 << 20));
    assert_null(be->graph_end(be));
    assert_non_null(strstr(be->kernels, "no graphs: scratch of 1048576 bytes"));
    assert_true(first(be, a) == 16);
    be->free_(be, a.p), be->free_(be, b.p);
    be->close(be);
}

static int tear_down(void **state) {
    (void)state;
    eq_par_shutdown();
    return eq_mem_current() == 0 && eq_emu_allocated() == 0 ? 0 : -1;
}

int main(void) {
#if defined(__SANITIZE_THREAD__)
    puts("SKIP the emulated device has fibers, which ThreadSanitizer does not follow");
    return 77;
#endif
    const struct CMUnitTest tests[] = {cmocka_unit_test(exact), cmocka_unit_test(rounded),
                                       cmocka_unit_test(recordings)};
    return cmocka_run_group_tests_name("generation on the CUDA backend", tests, NULL, tear_down);
}

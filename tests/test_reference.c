/* Both phases against an independent PyTorch run on TinyStories-656K (../shared/reference and its
 * README): losses of every epoch, of E2E-QP, gradient norms, and the perplexities of full
 * precision, round-to-nearest, Block-AP and both. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/io.h"
#include "base/mem.h"
#include "eqat.h"

#define R "../shared/reference/tinystories-656k-w2g64/"
#define MODEL "../shared/models/TinyStories-656K"

typedef struct {
    const char *file; /* expected results */
    double quant_lr, weight_lr, e2e_lr;
    /* Relative tolerances, derived below: figures that no training has touched (fp, rtn, the first
     * loss of block 0); means (over 64 steps, over a batch of E2E-QP); single losses of block 0;
     * the first loss of block 1; its other single losses; perplexities; gradient norms. */
    double exact, mean, single0, start1, single1, ppl, norm;
    eq_precision precision;
    bool untrained; /* fp and rtn too: no rate touches them, once is enough */
} setting;

static const char *backend = "cpu";
static char folder[] = "/tmp/eqat-reference-XXXXXX";
static json_t *events; /* of the run under way */
static int misses;     /* figures beyond their tolerance */

static void on_event(void *ctx, const char *line) {
    (void)ctx;
    json_t *v = json_loads(line, 0, NULL);
    assert_non_null(v);
    json_array_append_new(events, v);
}
static void on_note(void *ctx, const char *line) { (void)ctx, printf("note: %s\n", line); }
static const eq_observer observer = {.event = on_event, .note = on_note};

/* The event with these two fields (b < 0: only the first is looked at). */
static json_t *event(const char *kind, const char *ka, int a, const char *kb, int b) {
    size_t i;
    json_t *v;
    json_array_foreach(events, i, v) {
        if (strcmp(json_string_value(json_object_get(v, "event")), kind)) continue;
        if (json_integer_value(json_object_get(v, ka)) != a) continue;
        if (b < 0 || json_integer_value(json_object_get(v, kb)) == b) return v;
    }
    fail_msg("no event %s %s=%d", kind, ka, a);
    return NULL;
}

static void near(const char *what, const json_t *want, const char *wk, double got,
                 double tolerance) {
    double w = json_number_value(json_object_get(want, wk)), off = fabs(got - w) / w;
    printf("%-28s PyTorch %-12.6g eqat %-12.6g off %.3f %% (%.2f %% allowed)%s\n", what, w, got,
           100 * off, 100 * tolerance, off <= tolerance ? "" : "  <--");
    if (!(off <= tolerance)) misses++;
}

static double perplexity(const char *model, eq_precision precision) {
    eq_ppl_opts o;
    eq_ppl_result r;
    eq_err err = {0};
    eq_ppl_opts_init(&o);
    o.model = model, o.data = R "test.npy", o.limit = 400;
    o.compute.precision = precision, o.compute.threads = 1, o.compute.backend = backend;
    if (eq_ppl(&o, NULL, &r, &err)) fail_msg("%s", err.msg);
    assert_int_equal(r.windows, 400);
    return r.ppl;
}

static eq_quantize_opts options(const setting *s, const char *model, const char *out) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    o.model = model, o.out = out, o.data = R "train.npy", o.val_data = R "val.npy";
    o.qp.data = R "e2e.npy", o.qp.batch_size = 32, o.qp.lr = s->e2e_lr;
    o.ap.batch_size = 4, o.ap.epochs = 2, o.ap.quant_lr = s->quant_lr,
    o.ap.weight_lr = s->weight_lr;
    o.compute.precision = s->precision, o.compute.threads = 1, o.compute.backend = backend;
    return o;
}

static char *quantized(const setting *s, const char *name, eq_method method) {
    char *out = eq_path(folder, name);
    eq_quantize_opts o = options(s, MODEL, out);
    eq_err err = {0};
    o.method = method, o.e2e = false;
    if (eq_quantize(&o, &observer, NULL, &err)) fail_msg("%s", err.msg);
    return out;
}

static char *tuned(const setting *s, const char *name, const char *model) {
    char *out = eq_path(folder, name);
    eq_quantize_opts o = options(s, model, out);
    eq_err err = {0};
    if (eq_tune(&o, &observer, NULL, &err)) fail_msg("%s", err.msg);
    return out;
}

/* Losses of the run's events against one expected line. */
static void compare(const setting *s, const json_t *want) {
    const char *kind = json_string_value(json_object_get(want, "event"));
    char what[64];
    if (!strcmp(kind, "block")) {
        int b = (int)json_integer_value(json_object_get(want, "block"));
        int e = (int)json_integer_value(json_object_get(want, "epoch"));
        const json_t *got = event("block_epoch", "block", b, "epoch", e);
        const char *pairs[][2] = {
            {"first", "first_loss"}, {"train", "train_loss"}, {"val", "val_loss"}};
        for (int k = 0; k < 3; k++) {
            snprintf(what, sizeof what, "block %d epoch %d %s", b, e, pairs[k][0]);
            bool start = e == 0 && k == 0;
            double tolerance = k == 1 ? s->mean : b == 0 ? s->single0 : s->single1;
            if (start) tolerance = b == 0 ? s->exact : s->start1;
            near(what, want, pairs[k][0], json_number_value(json_object_get(got, pairs[k][1])),
                 tolerance);
        }
    } else if (!strcmp(kind, "e2e")) {
        int step = (int)json_integer_value(json_object_get(want, "step"));
        const json_t *got = event("e2e_step", "step", step, NULL, -1);
        snprintf(what, sizeof what, "e2e step %d loss", step);
        near(what, want, "loss", json_number_value(json_object_get(got, "loss")), s->mean);
        snprintf(what, sizeof what, "e2e step %d norm", step);
        near(what, want, "norm", json_number_value(json_object_get(got, "grad_norm")), s->norm);
    }
}

static void run(const setting *s) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("SKIP reference run: minutes under a sanitizer, and tests/cli covers the same code\n");
    skip();
#endif
    if (!eq_exists(R "train.npy")) {
        printf("SKIP reference run: no " R "\n");
        skip();
    }
    json_t *line;
    FILE *f = fopen(s->file, "r");
    assert_non_null(f);
    events = json_array();
    char *rtn = s->untrained ? quantized(s, "rtn", EQ_METHOD_RTN) : NULL;
    char *ap = quantized(s, "block-ap", EQ_METHOD_BLOCK_AP), *both = tuned(s, "both", ap);
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL))) {
        const char *kind = json_string_value(json_object_get(line, "event"));
        eq_precision p = s->precision;
        if (!strcmp(kind, "fp") && s->untrained)
            near("fp ppl", line, "ppl", perplexity(MODEL, p), s->exact);
        else if (!strcmp(kind, "rtn") && rtn)
            near("rtn ppl", line, "ppl", perplexity(rtn, p), s->exact);
        else if (!strcmp(kind, "block_ap"))
            near("block-ap ppl", line, "ppl", perplexity(ap, p), s->ppl);
        else if (!strcmp(kind, "e2e_qp"))
            near("e2e-qp ppl", line, "ppl", perplexity(both, p), s->ppl);
        else
            compare(s, line);
        json_decref(line);
    }
    fclose(f);
    json_decref(events);
    int missed = misses;
    misses = 0;
    eq_err err = {0};
    char *folders[] = {ap, rtn, both};
    for (int i = 0; i < 3; i++)
        if (folders[i]) eq_remove_tree(folders[i], &err), eq_free(folders[i]);
    assert_int_equal(missed, 0);
}

/* Runs agree to 1e-7 until the first code of one weight falls on the other side of a tie, some 60
 * to 200 steps in at the large rates. From there on a run is a sample, ours and the reference's:
 * any change of last bits (an instruction set, an order of sums, other weights by 1e-7) draws
 * another. How far samples lie from the reference, in percent, largest of 13 (large rates) and 5
 * (paper's rates) fp32 runs on AVX2, all but one of each from weights perturbed by 1e-7:
 *
 *                                   large rates         paper's rates
 *     means over 64 steps           1.7                 0.3
 *     E2E-QP losses                 1.1                 0.1
 *     perplexities                  2.1                 0.5
 *     single losses of block 0      5.6                 0.2
 *     first loss of block 1         12.6 (deviation 5)  0.6
 *     other single losses there     2.1                 5.4, on a second branch in 2 of 5 runs
 *     gradient norms                22 (deviation 7)    2.3
 *
 * 17 PyTorch runs at the large rates put the first loss of block 1 at 315 +- 10 too. Means tell a
 * mistake from chance, and are kept tight; a single loss is there to be in the right place at all.
 * Allowed is about three deviations behind the mean distance, which the reference, itself a sample,
 * has. Before any rounding counts (exact) there is no chance: 0.1 %, twice that in bf16. */
static void paper_rates(void **state) {
    (void)state;
    run(&(setting){.file = R "expected-paper-rates.jsonl",
                   .quant_lr = 1e-4,
                   .weight_lr = 2e-5,
                   .e2e_lr = 2e-5,
                   .exact = 0.001,
                   .mean = 0.005,
                   .single0 = 0.005,
                   .start1 = 0.02,
                   .single1 = 0.07,
                   .ppl = 0.01,
                   .norm = 0.05,
                   .precision = EQ_PREC_F32});
}
static void large_rates(void **state) {
    (void)state;
    run(&(setting){.file = R "expected.jsonl",
                   .quant_lr = 5e-3,
                   .weight_lr = 2e-3,
                   .e2e_lr = 1e-3,
                   .exact = 0.001,
                   .mean = 0.03,
                   .single0 = 0.1,
                   .start1 = 0.2,
                   .single1 = 0.06,
                   .ppl = 0.03,
                   .norm = 0.3,
                   .precision = EQ_PREC_F32,
                   .untrained = true});
}
static void paper_rates_bf16(void **state) {
    (void)state;
    run(&(setting){.file = R "expected-paper-rates.jsonl",
                   .quant_lr = 1e-4,
                   .weight_lr = 2e-5,
                   .e2e_lr = 2e-5,
                   .exact = 0.002,
                   .mean = 0.01,
                   .single0 = 0.01,
                   .start1 = 0.02,
                   .single1 = 0.07,
                   .ppl = 0.015,
                   .norm = 0.05,
                   .precision = EQ_PREC_BF16});
}
static void large_rates_bf16(void **state) {
    (void)state;
    run(&(setting){.file = R "expected.jsonl",
                   .quant_lr = 5e-3,
                   .weight_lr = 2e-3,
                   .e2e_lr = 1e-3,
                   .exact = 0.002,
                   .mean = 0.04,
                   .single0 = 0.1,
                   .start1 = 0.2,
                   .single1 = 0.1,
                   .ppl = 0.04,
                   .norm = 0.3,
                   .precision = EQ_PREC_BF16,
                   .untrained = true});
}

/* An argument names the one run that is wanted (tests/run.sh has them side by side), a second one
 * the backend. */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paper_rates),
        cmocka_unit_test(large_rates),
        cmocka_unit_test(paper_rates_bf16),
        cmocka_unit_test(large_rates_bf16),
    };
    bool known = argc == 1;
    for (size_t i = 0; !known && i < sizeof tests / sizeof *tests; i++)
        known = !strcmp(tests[i].name, argv[1]);
    if (!known || !mkdtemp(folder)) return 1;
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    if (argc > 2) backend = argv[2];
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return rc;
}

/* Multiple choice on real models against lm-evaluation-harness 0.4.13 and transformers in fp32: the
 * log-likelihood of every choice of the first items of every task (tests/golden/eval-*.txt, made by
 * tools/peer_eval.py --golden). Both sides compute in fp32 with other orders of sums: 1e-3 is the
 * distance that has to hold, a tenth of it is what is seen. Needs ../shared. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "eqat.h"
#include "format/json_rows.h"
#include "scratch.h"

#define SHARED "../shared"

typedef struct {
    const char *golden, *model, *tasks;
    eq_harness harness;
    int limit, shots;
} golden_run;
static const golden_run runs[] = {
    {"tests/golden/eval-tinystories.txt", "TinyStories-656K", "paper,mmlu_anatomy,mmlu_virology",
     EQ_HARNESS_0_4_9_2, 100, 0},
    {"tests/golden/eval-tinystories-no-bos.txt", "TinyStories-656K", "paper,lambada",
     EQ_HARNESS_0_4_2, 25, 0},
    {"tests/golden/eval-tinystories-5-shot.txt", "TinyStories-656K",
     "mmlu_anatomy,mmlu_econometrics", EQ_HARNESS_0_4_9_2, 20, 5},
    {"tests/golden/eval-novels.txt", "novels-15M", "paper,lambada", EQ_HARNESS_0_4_9_2, 10, 0},
};

/* "task item ll ll ...": the numbers of this item, how many there are. */
static int golden_line(char **at, char *task, int *item, double ll[16]) {
    int n = 0;
    char *line = *at, *end = strchr(line, '\n');
    if (!end) return 0;
    *end = 0, *at = end + 1;
    assert_int_equal(sscanf(line, "%63s %d", task, item), 2);
    char *p = strchr(strchr(line, ' ') + 1, ' ');
    while (p && *p && n < 16) ll[n++] = strtod(p, &p);
    return n;
}

typedef struct {
    char *text, *at;
    double worst;
    int items;
} checker;
static eq_status check_sample(void *ctx, const json_t *row, const char *where, eq_err *err) {
    (void)where, (void)err;
    checker *c = ctx;
    char task[64];
    int item, n;
    double ll[16];
    n = golden_line(&c->at, task, &item, ll);
    const json_t *resps = json_object_get(row, "resps");
    assert_string_equal(json_string_value(json_object_get(row, "task")), task);
    assert_int_equal(json_integer_value(json_object_get(row, "doc_id")), item);
    assert_int_equal(json_array_size(resps), n);
    for (int k = 0; k < n; k++) {
        double found = json_number_value(json_array_get(resps, (size_t)k)), d = fabs(found - ll[k]);
        if (d > 1e-3)
            fail_msg("%s, item %d, choice %d: %.6f, the harness has %.4f", task, item, k, found,
                     ll[k]);
        if (d > c->worst) c->worst = d;
    }
    c->items++;
    return EQ_OK;
}

static void one_run(const golden_run *r) {
    char model[256], samples[256];
    eq_eval_opts o;
    eq_err err = {0};
    checker c = {0};
    int64_t n;
    snprintf(model, sizeof model, SHARED "/models/%s", r->model);
    snprintf(samples, sizeof samples, "%s", scratch_path("samples.jsonl"));
    eq_eval_opts_init(&o);
    o.model = model, o.tasks = r->tasks, o.task_data = SHARED "/tasks", o.harness = r->harness;
    o.limit = r->limit, o.fewshot = r->shots, o.samples = samples;
    o.compute.precision = EQ_PREC_F32;
    char *json = NULL;
    if (eq_eval(&o, NULL, &json, &err)) fail_msg("%s", err.msg);
    eq_text_free(json);
    if (eq_read_unpacked(r->golden, &c.text, &n, &err)) fail_msg("%s", err.msg);
    c.at = c.text;
    if (eq_json_rows(samples, check_sample, &c, &err)) fail_msg("%s", err.msg);
    assert_true(c.items > 0 && !*c.at);
    printf("%s: %d items, largest difference %.1e\n", r->golden, c.items, c.worst);
    eq_text_free(c.text);
}

static void goldens(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) one_run(&runs[i]);
}

int main(void) {
    if (access(SHARED "/tasks", R_OK)) {
        puts("SKIP test_eval_goldens: ../shared is not there");
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(goldens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

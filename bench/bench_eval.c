/* Multiple choice as PIQA has it, two answers of some 24 tokens behind questions of some 26, by a
 * random model of SmolLM2-135M's shape in fp32; beside it the same rows in lm-evaluation-harness.
 */
#include "bench_eval.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

enum { ITEMS = 96, GOAL = 8, ANSWER = 23 };
static const char shape[] = "--family llama --hidden 576 --inner 1536 --layers 30 --heads 9 "
                            "--kv-heads 3 --head-dim 64 --vocab 49152 --context 8192 --tied "
                            "--dtype bf16";

/* Letters that no tokenizer joins into words it knows. */
static void letters(eq_str *s, int n, uint64_t seed) {
    for (int i = 0; i < n; i++)
        eq_str_printf(s, "%c", (int)('A' + eq_rand_u64(seed, (uint64_t)i) % 26));
}

static eq_status make_rows(const char *folder, char **file, eq_err *err) {
    eq_str s = {0};
    for (uint64_t i = 0; i < ITEMS; i++) {
        eq_str_puts(&s, "{\"goal\": \"");
        letters(&s, GOAL, 3 * i);
        for (uint64_t k = 1; k <= 2; k++) {
            eq_str_printf(&s, "\", \"sol%d\": \"", (int)k);
            letters(&s, ANSWER, 3 * i + k);
        }
        eq_str_printf(&s, "\", \"label\": %d}\n", (int)(i % 2));
    }
    char *dir = eq_path(folder, "piqa");
    eq_status st = dir && !s.oom ? eq_mkdir(dir, err) : eq_nomem(err, "rows", s.n);
    *file = st == EQ_OK ? eq_path(dir, "valid.jsonl") : NULL;
    if (st == EQ_OK && !*file) st = eq_nomem(err, "a path", 256);
    if (st == EQ_OK) st = eq_write_file(*file, s.p, s.n, err);
    eq_free(dir);
    eq_str_free(&s);
    return st;
}

/* Seconds of one evaluation: the second, since the first makes oneDNN's kernels. */
static eq_status ours(const eq_bench_opts *o, const char *model, const char *folder, double *s,
                      eq_err *err) {
    eq_eval_opts e;
    eq_eval_opts_init(&e);
    e.model = model, e.tasks = "piqa", e.task_data = folder, e.compute = o->compute;
    e.compute.precision = EQ_PREC_F32;
    for (int run = 0; run < 2; run++) {
        char *text;
        EQ_TRY(eq_eval(&e, NULL, &text, err));
        json_t *v = json_loads(text, 0, NULL);
        *s = json_number_value(json_object_get(json_object_get(v, "eqat"), "seconds"));
        json_decref(v);
        eq_text_free(text);
    }
    return EQ_OK;
}

static void peer(const eq_bench_opts *o, const char *model, const char *folder, double s) {
    char line[512];
    json_t *v = NULL;
    if (!o->python) {
        fprintf(o->out, "  lm-evaluation-harness: SKIP (name an interpreter that has it: "
                        "--python)\n");
        return;
    }
    char *cmd = eq_sprintf("%s tools/peer_eval.py - %s %s --tasks piqa --threads %d 2>/dev/null",
                           o->python, model, folder, o->compute.threads);
    FILE *f = cmd ? popen(cmd, "r") : NULL;
    while (f && fgets(line, sizeof line, f))
        if (*line == '{' && !v) v = json_loads(line, 0, NULL);
    if (f) pclose(f);
    eq_free(cmd);
    double theirs = json_number_value(json_object_get(v, "seconds"));
    if (theirs > 0)
        fprintf(o->out, "  lm-evaluation-harness, PyTorch fp32: %.2f s; eqat is %.2f x as fast\n",
                theirs, theirs / s);
    else
        fprintf(o->out, "  lm-evaluation-harness: SKIP (tools/peer_eval.py told nothing with %s)\n",
                o->python);
    json_decref(v);
}

eq_status eq_bench_eval(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    char *cmd = eq_sprintf("%s %s %s >/dev/null", o->make_model, p->model, shape), *file = NULL;
    double s = 0;
    if (!cmd) return eq_nomem(err, "a command", 256);
    int rc = eq_exists(p->model) ? 0 : system(cmd);
    eq_status st = rc ? eq_fail(err, EQ_EIO, "%s: exit %d", cmd, rc) : EQ_OK;
    eq_free(cmd);
    if (st == EQ_OK) st = make_rows(p->out, &file, err);
    if (st == EQ_OK) st = ours(o, p->model, p->out, &s, err);
    if (st == EQ_OK) {
        fprintf(o->out,
                "multiple choice, PIQA's lengths, SmolLM2-135M's shape, fp32: %.2f s for %d "
                "items, %.1f items/s\n",
                s, ITEMS, ITEMS / s);
        peer(o, p->model, p->out, s);
        st = eq_remove_tree(p->out, err);
    }
    eq_free(file);
    return st;
}

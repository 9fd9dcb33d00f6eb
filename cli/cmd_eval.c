/* eqat eval: multiple choice by the prompts of lm-evaluation-harness (METHOD section 6). */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "common_options.h"
#include "observer.h"
#include "output.h"

typedef struct {
    cli_common common;
    eq_eval_opts o;
} eval_args;

#define AT(field) offsetof(eval_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "model and tasks"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model),
     .help = "model folder, full precision or quantized"},
    {OPT_STR, 0, "tasks", .arg = "LIST", .at = AT(tasks),
     .help = "some of winogrande, piqa, hellaswag, arc_easy, arc_challenge, lambada, mmlu "
             "(mmlu_stem, mmlu_anatomy, ...), joined by commas; paper: the first five and their "
             "mean; NAME=FILE: out of this file"},
    {OPT_STR, 0, "task-data", .arg = "DIR", .at = AT(task_data),
     .help = "the tasks' files: piqa/valid.jsonl, mmlu/mmlu.zip, ..., as they were distributed or "
             "as the hub exports them"},
    {OPT_ENUM, 0, "harness", .arg = "0.4.9.2|0.4.2", .at = AT(harness),
     .help = "the lm-evaluation-harness to compare with: since 0.4.9.2 the tokenizer's BOS stands "
             "in front, up to 0.4.9.1, as in the paper, nothing"},
    {OPT_INT, 0, "num-fewshot", "fewshot", "N", AT(fewshot), 0, 100,
     .help = "examples in front of each question of mmlu; the paper: 5"},
    {OPT_I64, 0, "limit", NULL, "N", AT(limit), 1, BIG, .fallback = "all",
     .help = "the first items of each task"},
    {OPT_I64, 0, "batch-tokens", NULL, "N", AT(batch_tokens), 1, 1 << 24,
     .help = "tokens at once; what several choices begin with counts once"},
    {OPT_STR, 0, "samples", .arg = "FILE", .at = AT(samples),
     .help = "write every item's texts, log-likelihoods and score, one JSON object a line"},
    {OPT_FLAG, 0, "as-written", .at = AT(as_written),
     .help = "steps as fp16 and zero points as integers, as other runtimes read them; else as "
             "trained, of eqat.state where the folder has it"},
    {OPT_HEADING, .help = "running"},
    EQ_TALK_ROWS(eval_args),
    EQ_COMMON_ROWS(eval_args),
    EQ_COMPUTE_ROWS(eval_args, o.compute),
    {.kind = OPT_END},
};

static void init(void *args) { eq_eval_opts_init(&((eval_args *)args)->o); }

static bool no_mmlu(const void *args) {
    const char *tasks = ((const eval_args *)args)->o.tasks;
    return tasks && !strstr(tasks, "mmlu");
}
static const opt_rule rules[] = {{"num-fewshot", no_mmlu, "without mmlu among the tasks"}, {0}};

/* ---- the table ------------------------------------------------------------------------------- */

/* THE list of columns: metric, head. One that no task has is left out. */
static const struct {
    const char *metric, *head;
} columns[] = {{"acc", "acc"}, {"acc_norm", "acc_norm"}, {"perplexity", "ppl"}};
enum { COLUMNS = sizeof columns / sizeof *columns };

static const json_t *figure(const json_t *row, const char *metric, const char *what) {
    char key[64];
    snprintf(key, sizeof key, "%s%s,none", metric, what);
    return json_object_get(row, key);
}

static bool has(const json_t *results, int column) {
    const char *name;
    json_t *row;
    json_object_foreach((json_t *)results, name, row) {
        if (figure(row, columns[column].metric, "")) return true;
    }
    return false;
}

/* Blanks in front of what comes next: none stand at the end of a line. */
static void put(int *pad, int width, const char *text) {
    int n = (int)strlen(text), blanks = *pad + 2 + (width > n ? width - n : 0);
    if (!n) {
        *pad += 2 + width;
        return;
    }
    printf("%*s%s", blanks, "", text);
    *pad = 0;
}

static void number(char out[32], const json_t *v) {
    double x = json_number_value(v);
    *out = 0;
    if (json_is_number(v)) snprintf(out, 32, x < 1e4 ? "%.4f" : "%.4g", x);
}

static void print_row(const char *name, const json_t *row, const json_t *results,
                      const json_t *shots, int width) {
    const json_t *k = json_object_get(shots, name);
    char text[32] = "";
    int pad = 0;
    printf("%-*s  %6lld", width, name,
           (long long)json_integer_value(json_object_get(row, "sample_len")));
    if (k) snprintf(text, sizeof text, "%lld", (long long)json_integer_value(k));
    put(&pad, 5, text);
    for (int c = 0; c < COLUMNS; c++) {
        if (!has(results, c)) continue;
        number(text, figure(row, columns[c].metric, ""));
        put(&pad, 9, text);
        number(text, figure(row, columns[c].metric, "_stderr"));
        put(&pad, 7, text);
    }
    putchar('\n');
}

static void print(const json_t *root) {
    const json_t *results = json_object_get(root, "results"), *eqat = json_object_get(root, "eqat");
    const json_t *shots = json_object_get(root, "n-shot");
    const char *name, *steps = json_string_value(json_object_get(eqat, "steps"));
    char time[32];
    json_t *row;
    int width = 4, pad = 0;
    json_object_foreach((json_t *)results, name, row) {
        if ((int)strlen(name) > width) width = (int)strlen(name);
    }
    printf("%-*s  %6s", width, "task", "items");
    put(&pad, 5, "shots");
    for (int c = 0; c < COLUMNS; c++)
        if (has(results, c)) put(&pad, 9, columns[c].head), put(&pad, 7, "+-");
    putchar('\n');
    json_object_foreach((json_t *)results, name, row) {
        print_row(name, row, results, shots, width);
    }
    printf("as lm-evaluation-harness %s (%s), %s, %s%s, %s\n",
           json_string_value(json_object_get(eqat, "harness")),
           json_is_true(json_object_get(eqat, "bos")) ? "BOS" : "no BOS",
           json_string_value(json_object_get(eqat, "precision")), steps ? steps : "full precision",
           steps ? " steps" : "",
           cli_seconds(time, json_number_value(json_object_get(eqat, "seconds"))));
}

static int run(void *arguments) {
    eval_args *a = arguments;
    eq_err err = {0};
    char *text = NULL;
    json_t *root = NULL;
    cli_observer c;
    if (!a->o.model) return cli_usage("eval", "no MODEL given");
    if (!a->o.tasks) return cli_usage("eval", "no tasks given: --tasks LIST");
    const cli_used used[] = {
        {"MODEL", a->o.model}, {"--task-data", a->o.task_data}, {"--samples", a->o.samples}, {0}};
    if (cli_observer_open(&c, &a->common, used, false, &err)) return cli_fail(&err);
    eq_status st = eq_eval(&a->o, &c.obs, &text, &err);
    if (st == EQ_OK) st = eq_json_parse(&root, text, (int64_t)strlen(text), "results", &err);
    json_t *results = root ? json_pack("{s:O}", "results", json_object_get(root, "results")) : NULL;
    st = cli_observer_close(&c, st, results, &err);
    if (st == EQ_OK && a->common.json)
        puts(text);
    else if (st == EQ_OK)
        print(root);
    json_decref(root);
    eq_text_free(text);
    return cli_finish(&a->common, st, &err, NULL, c.begun);
}

const cli_command cmd_eval = {
    .name = "eval",
    .summary = "accuracy at multiple choice: the paper's tasks, MMLU, LAMBADA",
    .usage = "eval MODEL --tasks LIST --task-data DIR [options]",
    .about =
        "The answer is the choice that the model thinks likeliest behind its context (acc), or\n"
        "likeliest per character (acc_norm). Prompts, tokens and scores are those of\n"
        "lm-evaluation-harness; --json is laid out as its results are.",
    .example = "  eqat eval Llama-3.2-1B-w2g64 --tasks paper --task-data tasks\n"
               "  eqat eval Llama-3.2-1B --tasks mmlu=mmlu.zip --num-fewshot 5 --json",
    .options = options,
    .rules = rules,
    .args_size = sizeof(eval_args),
    .init = init,
    .run = run,
};

/* eqat compare: schemes and methods on one model, in one table and one page. Its options are those
 * of quantize, less what the rows decide, behind its own. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "common_options.h"
#include "compare.h"
#include "model_folder.h"
#include "observer.h"
#include "output.h"
#include "protocol.h"

#define AT(field) offsetof(compare_args, field)
static const opt own[] = {
    {OPT_HEADING, .help = "comparison"},
    {OPT_STR, 0, "schemes", .arg = "LIST", .at = AT(schemes),
     .help = "number formats, joined by commas: w4g64,w3g64,w2g64"},
    {OPT_STR, 0, "methods", .arg = "LIST", .at = AT(methods),
     .help = "rtn (round to nearest), gptq, awq, block-ap (first phase alone), e2e (second phase "
             "alone, "
             "from rtn: PEQA), both (EfficientQAT), joined by commas"},
    {OPT_STR, 0, "train-variants", .arg = "LIST", .at = AT(train_variants), .fallback = "--train",
     .help = "a row for each set that Block-AP trains, joined by slashes: clip/s,z/w/s,z,w"},
    {OPT_STR, 0, "e2e-variants", .arg = "LIST", .at = AT(e2e_variants), .fallback = "--e2e-train",
     .help = "a row for each set that E2E-QP trains: s/z/s,z"},
    {OPT_STR, 'o', "out", .arg = "DIR", .at = offsetof(quantize_args, o.out),
     .help = "folder for the models, their logs, results.json and report.html; absent or empty, or "
             "with --resume one to go on in"},
    {OPT_HEADING, .help = "measures"},
    {OPT_STR, 0, "wikitext2", .arg = "FILE", .at = AT(text[EQ_PPL_WIKITEXT2]),
     .help = "perplexity by the paper's WikiText-2 protocol; FILE is the raw test split"},
    {OPT_STR, 0, "c4", .arg = "FILE", .at = AT(text[EQ_PPL_C4]),
     .help = "perplexity by the paper's C4 protocol; FILE is c4-validation.00000-of-00008"},
    {OPT_STR, 0, "ppl-data", .arg = "FILE", .at = AT(text[EQ_PPL_WINDOWS]),
     .help = "perplexity over windows of a text, or the rows of an .npy; on the first of these "
             "three the KL divergence from the model in full precision, too"},
    {OPT_I64, 0, "ppl-seqlen", NULL, "N", AT(ppl_seqlen), 2, 1 << 24,
     .fallback = "2048, or the model's context if shorter", .help = "tokens a window"},
    {OPT_I64, 0, "ppl-limit", NULL, "N", AT(ppl_limit), 1, BIG, .fallback = "all",
     .help = "windows at most"},
    {OPT_STR, 0, "tasks", .arg = "LIST", .at = AT(tasks.tasks), .help = "as eqat eval takes them"},
    {OPT_STR, 0, "task-data", .arg = "DIR", .at = AT(tasks.task_data), .help = "the tasks' files"},
    {OPT_ENUM, 0, "harness", .arg = "0.4.9.2|0.4.2", .at = AT(tasks.harness),
     .help = "the lm-evaluation-harness to compare with"},
    {OPT_INT, 0, "num-fewshot", "fewshot", "N", AT(tasks.fewshot), 0, 100,
     .help = "examples in front of each question of mmlu"},
    {OPT_I64, 0, "task-limit", NULL, "N", AT(tasks.limit), 1, BIG, .fallback = "all",
     .help = "the first items of each task"},
    {OPT_FLAG, 0, "as-written", .at = AT(as_written),
     .help = "measure steps as fp16 and zero points as integers, as other runtimes read them"},
    {.kind = OPT_END},
};

/* Of quantize: what the rows, or the options above, decide. */
static const char *const left_out[] = {"out",    "to",     "bits",     "group-size",
                                       "scheme", "method", "no-e2e",   "dry-run",
                                       "log",    "report", "work-dir", NULL};

enum { MOST = 128 }; /* rows that an option table can have (cli_given) */
static opt options[MOST + 1];

static bool is_left_out(const opt *o) {
    for (int i = 0; left_out[i]; i++)
        if (o->kind > OPT_POSITIONAL && !strcmp(o->name, left_out[i])) return true;
    return false;
}

void cli_join_tables(void) {
    int n = 0;
    for (const opt *o = own; o->kind != OPT_END; o++) options[n++] = *o;
    for (const opt *o = quantize_options; o->kind != OPT_END && n < MOST; o++)
        if (!is_left_out(o)) options[n++] = *o;
    options[n].kind = OPT_END;
}

static void init(void *args) {
    compare_args *a = args;
    quantize_args_init(&a->q);
    eq_eval_opts_init(&a->tasks);
}

/* Rows of its own lie outside of what a recipe sets. */
static void recipes_help(const opt *table) {
    (void)table;
    cli_recipes_help(quantize_options);
}

static bool no_tasks(const void *args) { return !((const compare_args *)args)->tasks.tasks; }
static bool no_mmlu(const void *args) {
    const char *tasks = ((const compare_args *)args)->tasks.tasks;
    return tasks && !strstr(tasks, "mmlu");
}
static bool no_text(const void *args) {
    const compare_args *a = args;
    return !a->text[0] && !a->text[1] && !a->text[2];
}
static const opt_rule rules[] = {
    {"task-data harness num-fewshot task-limit", no_tasks, "without --tasks"},
    {"num-fewshot", no_mmlu, "without mmlu among the tasks"},
    {"ppl-seqlen ppl-limit", no_text, "without --wikitext2, --c4 or --ppl-data"},
    {0},
};

static int missing(const compare_args *a) {
    if (!a->q.o.model) return cli_usage("compare", "no MODEL given");
    if (!a->q.o.out) return cli_usage("compare", "no output given: -o DIR");
    if (!a->schemes) return cli_usage("compare", "no schemes given: --schemes w4g64,w2g64");
    if (!a->methods) return cli_usage("compare", "no methods given: --methods rtn,both");
    if (no_text(a) && !a->tasks.tasks)
        return cli_usage(
            "compare", "nothing to measure: --wikitext2, --c4 or --ppl-data FILE, or --tasks LIST");
    return EXIT_DONE;
}

/* A row that trains, or looks at its inputs, needs a text. */
static bool needs_data(const compare_job *j) {
    for (int64_t i = 0; i < j->n; i++)
        if (j->cell[i].method->e2e || j->cell[i].method->method != EQ_METHOD_RTN) return true;
    return false;
}

static eq_status work(compare_job *j, eq_err *err) {
    EQ_TRY(compare_run(j, err));
    char *page = compare_path(j, "report", ".html");
    eq_status st = page ? compare_page(j, page, err) : eq_nomem(err, "a path", 256);
    eq_free(page);
    return st;
}

static int run(void *arguments) {
    compare_args *a = arguments;
    compare_job j = {.args = a, .options = options};
    eq_err err = {0};
    int code = missing(a);
    if (code != EXIT_DONE) return code;
    if (compare_cells(&j, &err)) {
        eq_free(j.cell);
        return cli_usage("compare", "%s", err.msg);
    }
    if (needs_data(&j) && !a->q.o.data) {
        eq_free(j.cell);
        return cli_usage("compare", "no training text given: --data FILE");
    }
    eq_status st = work(&j, &err);
    if (st == EQ_OK && a->q.common.json) {
        cli_print_json(json_incref(j.results));
    } else if (st == EQ_OK) {
        html_grid g;
        compare_grid(&j, &g);
        compare_print(&g);
        html_grid_free(&g);
        printf("page: %s/report.html\n", a->q.o.out);
    }
    json_decref(j.results);
    eq_free(j.cell);
    return cli_finish(&a->q.common, st, &err, &a->q.o.resume, j.begun);
}

const cli_command cmd_compare = {
    .name = "compare",
    .summary = "schemes and methods on one model: a table and a page",
    .usage = "compare MODEL --schemes LIST --methods LIST --data FILE -o DIR [measures] [options]",
    .about =
        "Makes a model for every scheme and method and measures it: perplexity by protocol, KL\n"
        "divergence from full precision, accuracies, bits, size, time, memory. Models, logs and\n"
        "figures lie in DIR, with a page of plots, report.html. What is done is kept: --resume\n"
        "goes on, also with more schemes or methods.",
    .example =
        "  eqat compare Llama-3.2-1B --recipe light --data corpus.jsonl.zst --schemes w4g64,w2g64 "
        "--methods rtn,gptq,both --wikitext2 wiki.test.raw -o compared",
    .options = options,
    .rules = rules,
    .more_help = recipes_help,
    .args_size = sizeof(compare_args),
    .init = init,
    .run = run,
};

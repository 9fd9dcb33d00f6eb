/* eqat inspect: what a model folder holds. */
#include "common_options.h"
#include "report.h"

typedef struct {
    cli_common common;
    const char *model;
    bool tensors;
} inspect_args;

static const opt options[] = {
    {OPT_HEADING, .help = "options"},
    {OPT_POSITIONAL, .name = "MODEL", .at = offsetof(inspect_args, model),
     .help = "model folder, full precision or quantized"},
    {OPT_FLAG, 0, "tensors", .at = offsetof(inspect_args, tensors), .help = "list every tensor"},
    EQ_COMMON_ROWS(inspect_args),
    {.kind = OPT_END},
};

static void init(void *args) { (void)args; }

static int run(void *arguments) {
    inspect_args *a = arguments;
    eq_err err = {0};
    char *text = NULL;
    if (!a->model) return cli_usage("inspect", "no MODEL given");
    if (eq_inspect(a->model, a->tensors, &text, &err)) return cli_fail(&err);
    return cli_report(text, a->common.json);
}

const cli_command cmd_inspect = {
    .name = "inspect",
    .summary = "architecture, tensors, bits per weight and size of a folder",
    .usage = "inspect MODEL [--tensors] [--json]",
    .example = "  eqat inspect Llama-3.2-1B-w2g64\n"
               "  eqat inspect Llama-3.2-1B --tensors",
    .options = options,
    .args_size = sizeof(inspect_args),
    .init = init,
    .run = run,
};

/* eqat generate: a prompt and what the model says next. */
#include <stdio.h>

#include "base/json.h"
#include "common_options.h"
#include "output.h"

typedef struct {
    cli_common common;
    eq_generate_opts o;
} generate_args;

#define AT(field) offsetof(generate_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "model and text"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model),
     .help = "model folder, full precision or quantized"},
    {OPT_STR, 0, "prompt", .arg = "TEXT", .at = AT(prompt), .help = "where it starts"},
    {OPT_INT, 0, "max-tokens", NULL, "N", AT(max_tokens), 1, 1 << 20, .help = "tokens to add"},
    {OPT_NUM, 0, "temperature", NULL, "X", AT(temperature), 0, 100,
     .help = "0: the most likely token each time"},
    {OPT_U64, 0, "seed", .arg = "N", .at = AT(seed), .help = "of the sampling"},
    {OPT_HEADING, .help = "running"},
    EQ_COMMON_ROWS(generate_args),
    EQ_COMPUTE_ROWS(generate_args, o.compute),
    {.kind = OPT_END},
};

static bool greedy(const void *args) { return !(((const generate_args *)args)->o.temperature > 0); }
static const opt_rule rules[] = {{"seed", greedy, "without --temperature"}, {0}};

static void init(void *args) { eq_generate_opts_init(&((generate_args *)args)->o); }

static int run(void *arguments) {
    generate_args *a = arguments;
    eq_err err = {0};
    char *text = NULL;
    if (!a->o.model) return cli_usage("generate", "no MODEL given");
    if (!a->o.prompt) return cli_usage("generate", "no text given: --prompt TEXT");
    if (eq_generate(&a->o, &text, &err)) return cli_fail(&err);
    if (a->common.json)
        cli_print_json(json_pack("{s:o, s:o, s:o}", "model", eq_json_lossy(a->o.model), "prompt",
                                 eq_json_lossy(a->o.prompt), "text", eq_json_lossy(text)));
    else
        puts(text);
    eq_text_free(text);
    return EXIT_DONE;
}

const cli_command cmd_generate = {
    .name = "generate",
    .summary = "continue a text",
    .usage = "generate MODEL --prompt TEXT [options]",
    .about =
        "The whole context is computed again for every token: meant for looking at a model, not\n"
        "for serving it.",
    .example = "  eqat generate Llama-3.2-1B-w2g64 --prompt \"Once upon a time\" --max-tokens 40",
    .options = options,
    .rules = rules,
    .args_size = sizeof(generate_args),
    .init = init,
    .run = run,
};

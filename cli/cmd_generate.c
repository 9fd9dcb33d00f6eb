/* eqat generate: a prompt and what the model says next, as it comes. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "generate_options.h"
#include "output.h"
#include "signals.h"

enum { STOPS = 16 };

typedef struct {
    cli_common common;
    eq_generate_opts o;
    bool exact;
    const char *stops[STOPS];
} generate_args;

static const char *add_stop(void *args, const char *text) {
    generate_args *a = args;
    if (!*text) return "a text";
    if (a->o.stop_count == STOPS) return "at most 16 of them";
    a->stops[a->o.stop_count++] = text;
    return NULL;
}

#define AT(field) offsetof(generate_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "model and text"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model),
     .help = "model folder, full precision or quantized"},
    {OPT_STR, 'p', "prompt", .arg = "TEXT", .at = AT(prompt), .help = "where it starts"},
    {OPT_INT, 'n', "max-tokens", NULL, "N", AT(max_tokens), 1, 1 << 20, .help = "tokens to add"},
    {OPT_I64, 0, "context", NULL, "N", AT(context), 2, 1 << 24, .fallback = "the model's",
     .help = "tokens of prompt and continuation at most"},
    {OPT_CALL, 0, "stop", .arg = "TEXT", .apply = add_stop,
     .help = "a text that ends it and is left out; may be given several times"},
    EQ_SAMPLING_ROWS(generate_args, o.sampling),
    {OPT_HEADING, .help = "running"},
    {OPT_FLAG, 'q', "quiet", .at = offsetof(generate_args, common.quiet),
     .help = "no line about speed"},
    EQ_COMMON_ROWS(generate_args),
    EQ_EXACT_ROW(generate_args),
    EQ_COMPUTE_ROWS(generate_args, o.compute),
    {.kind = OPT_END},
};

static bool greedy(const void *args) {
    return !(((const generate_args *)args)->o.sampling.temperature > 0);
}
static const opt_rule rules[] = {{EQ_SAMPLED, greedy, "without --temperature"}, {0}};

static void init(void *args) { eq_generate_opts_init(&((generate_args *)args)->o); }

static void print_piece(void *ctx, const char *piece) {
    (void)ctx;
    fputs(piece, stdout);
    fflush(stdout);
}

static void print_result(const generate_args *a, const eq_generate_result *r) {
    static const char *const ends[] = {"token", "stop", "length", "context", "asked"};
    if (a->common.json) {
        cli_print_json(json_pack(
            "{s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:s}", "model", eq_json_lossy(a->o.model),
            "prompt", eq_json_lossy(a->o.prompt), "text", eq_json_lossy(r->text), "prompt_tokens",
            (json_int_t)r->prompt_tokens, "tokens", (json_int_t)r->tokens, "prompt_seconds",
            cli_number(r->prompt_seconds), "seconds", cli_number(r->seconds), "end", ends[r->end]));
        return;
    }
    putchar('\n');
    if (!a->common.quiet) cli_print_speed(r);
}

static int run(void *arguments) {
    generate_args *a = arguments;
    eq_err err = {0};
    eq_generate_result r;
    eq_observer obs = {.stop = &cli_stop};
    if (!a->o.model) return cli_usage("generate", "no MODEL given");
    if (!a->o.prompt) return cli_usage("generate", "no text given: --prompt TEXT");
    if (a->exact) a->o.compute.precision = EQ_PREC_F32;
    a->o.stops = a->stops;
    if (!a->common.json) a->o.text = print_piece;
    cli_catch_signals();
    if (eq_generate(&a->o, &obs, &r, &err)) return cli_fail(&err);
    print_result(a, &r);
    eq_text_free(r.text);
    return r.end == EQ_END_ASKED ? EXIT_STOPPED : EXIT_DONE;
}

const cli_command cmd_generate = {
    .name = "generate",
    .summary = "continue a text",
    .usage = "generate MODEL --prompt TEXT [options]",
    .about = "Packed weights stay packed, keys and values of the text so far are kept. The most\n"
             "likely token is taken each time unless --temperature says otherwise. A speed line\n"
             "goes to stderr; Ctrl-C ends the text.",
    .example =
        "  eqat generate Llama-3.2-1B-w2g64 -p \"Once upon a time\" -n 200 --temperature 0.8",
    .options = options,
    .rules = rules,
    .args_size = sizeof(generate_args),
    .init = init,
    .run = run,
};

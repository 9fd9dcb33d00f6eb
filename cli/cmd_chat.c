/* eqat chat: a conversation on the terminal. A line is a message; what is piped in is taken the
 * same way, a line at a time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "generate_options.h"
#include "signals.h"

typedef struct {
    cli_common common;
    eq_talk_opts o;
    bool exact;
} chat_args;

#define AT(field) offsetof(chat_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "model and conversation"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model),
     .help = "model folder, full precision or quantized"},
    {OPT_STR, 0, "system", .arg = "TEXT", .at = AT(system), .fallback = "the template's own",
     .help = "system prompt"},
    {OPT_STR, 0, "template", .arg = "NAME|FILE", .at = AT(template_name),
     .fallback = "the model's own",
     .help = "chat template: chatml, llama-2, llama-3, mistral, zephyr, vicuna, alpaca, ... or a "
             ".jinja file"},
    {OPT_INT, 'n', "max-tokens", NULL, "N", AT(max_tokens), 1, 1 << 20,
     .help = "of one answer at most"},
    {OPT_I64, 0, "context", NULL, "N", AT(context), 2, 1 << 24,
     .fallback = "4096, or the model's if shorter", .help = "tokens of the whole conversation"},
    EQ_SAMPLING_ROWS(chat_args, o.sampling),
    {OPT_HEADING, .help = "running"},
    {OPT_FLAG, 'q', "quiet", .at = offsetof(chat_args, common.quiet),
     .help = "no lines about template and speed, no prompt sign"},
    {OPT_FLAG, 'h', "help", .at = offsetof(chat_args, common.help), .help = "this text"},
    EQ_EXACT_ROW(chat_args),
    EQ_COMPUTE_ROWS(chat_args, o.compute),
    {.kind = OPT_END},
};

static bool greedy(const void *args) {
    return !(((const chat_args *)args)->o.sampling.temperature > 0);
}
static const opt_rule rules[] = {{EQ_SAMPLED, greedy, "without --temperature"}, {0}};

static void init(void *args) { eq_talk_opts_init(&((chat_args *)args)->o); }

static void print_piece(void *ctx, const char *piece) {
    (void)ctx;
    fputs(piece, stdout);
    fflush(stdout);
}

/* A line without its end; NULL: there is no more. Ctrl-C leaves an unfinished line. */
static const char *read_line(const chat_args *a, char **line, size_t *cap) {
    bool terminal = isatty(0) && !a->common.quiet;
    for (;;) {
        if (terminal) fputs("> ", stderr);
        cli_stop = 0;
        cli_catch_interrupts(true);
        ssize_t n = getline(line, cap, stdin);
        cli_catch_interrupts(false);
        if (n < 0 && cli_stop) {
            clearerr(stdin);
            fputc('\n', stderr);
            continue;
        }
        if (n < 0) {
            if (terminal) fputc('\n', stderr);
            return NULL;
        }
        if (n && (*line)[n - 1] == '\n') (*line)[--n] = 0;
        if (n && (*line)[n - 1] == '\r') (*line)[--n] = 0;
        if (n) return *line;
    }
}

static int talk(const chat_args *a, eq_talk *t) {
    eq_observer obs = {.stop = &cli_stop};
    char *line = NULL;
    size_t cap = 0;
    int rc = EXIT_DONE;
    while (rc == EXIT_DONE && read_line(a, &line, &cap)) {
        eq_err err = {0};
        eq_generate_result r;
        if (!strcmp(line, "/new")) {
            eq_talk_forget(t);
            continue;
        }
        if (eq_talk_say(t, line, &obs, &r, &err) != EQ_OK) {
            int failed = cli_fail(&err);
            if (isatty(0)) continue; /* /new is at hand */
            rc = failed;
            break;
        }
        putchar('\n');
        fflush(stdout);
        if (!a->common.quiet) cli_print_speed(&r);
        eq_text_free(r.text);
        if (ferror(stdout)) break; /* main says it */
    }
    free(line);
    return rc;
}

static int run(void *arguments) {
    chat_args *a = arguments;
    eq_err err = {0};
    eq_talk *t;
    if (!a->o.model) return cli_usage("chat", "no MODEL given");
    if (a->exact) a->o.compute.precision = EQ_PREC_F32;
    a->o.text = print_piece;
    if (eq_talk_open(&t, &a->o, &err) != EQ_OK) return cli_fail(&err);
    if (!a->common.quiet)
        fprintf(stderr,
                "eqat: template %s; /new begins anew, Ctrl-C ends an answer, Ctrl-D the "
                "conversation\n",
                eq_talk_template(t));
    int rc = talk(a, t);
    eq_talk_close(t);
    return rc;
}

const cli_command cmd_chat = {
    .name = "chat",
    .summary = "a conversation with a model",
    .usage = "chat MODEL [options]",
    .about =
        "A line is a message; the whole conversation goes through the model's own chat template,\n"
        "or through one that is named. A template that is not known is refused. Ctrl-C ends the\n"
        "answer, not the program; /new begins a new conversation.",
    .example = "  eqat chat SmolLM2-135M-Instruct-w4g64 --temperature 0.7 --top-p 0.9",
    .options = options,
    .rules = rules,
    .args_size = sizeof(chat_args),
    .init = init,
    .run = run,
};

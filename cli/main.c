/* eqat: the program around include/eqat.h. Holds the list of commands; everything a command does is
 * in its own file. Results go to stdout, everything else to stderr. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "command.h"
#include "model_folder.h"
#include "report.h"
#include "signals.h"

const cli_command *const cli_commands[] = {
    &cmd_quantize, &cmd_tune,    &cmd_export, &cmd_import,   &cmd_ppl,  &cmd_eval,
    &cmd_kld,      &cmd_compare, &cmd_report, &cmd_generate, &cmd_chat, &cmd_inspect,
    &cmd_plan,     &cmd_demo,    &cmd_bench,  NULL,
};
enum { COMMANDS = sizeof cli_commands / sizeof *cli_commands - 1 };

int cli_usage(const char *command, const char *fmt, ...) {
    va_list ap;
    fprintf(stderr, "eqat: ");
    if (command) fprintf(stderr, "%s: ", command);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (command)
        fprintf(stderr, " (eqat help %s)\n", command);
    else
        fprintf(stderr, " (eqat help)\n");
    return EXIT_USAGE;
}

int cli_fail(const eq_err *err) {
    fprintf(stderr, "eqat: %s\n", err->msg[0] ? err->msg : "failed without a reason");
    return EXIT_FAILED;
}

static const cli_command *find(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(cli_commands[i]->name, name)) return cli_commands[i];
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[COMMANDS + 3] = {"help", "version"};
    for (int i = 0; i < COMMANDS; i++) names[i + 2] = cli_commands[i]->name;
    const char *near = eq_nearest(name, names);
    if (near) return cli_usage(NULL, "unknown command \"%s\"; did you mean %s?", name, near);
    return cli_usage(NULL, "unknown command \"%s\"", name);
}

static void help_all(FILE *to) {
    fprintf(to, "eqat %s: 2-, 3- and 4-bit language models by EfficientQAT (arXiv 2407.11062)\n\n",
            EQ_VERSION);
    fprintf(to, "usage: eqat COMMAND [options]\n\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    fprintf(to, "  %-10s %s\n", "help",
            "this text; eqat help COMMAND: its options; --man, --completion bash|zsh|fish");
    fprintf(to, "  %-10s %s\n", "version",
            "version, compiler, oneDNN, instruction set and machine");
    fprintf(
        to,
        "\nexample:\n"
        "  eqat quantize Llama-3.2-1B --recipe light --data corpus.jsonl.zst -o "
        "Llama-3.2-1B-w2g64\n"
        "  eqat ppl Llama-3.2-1B-w2g64 --wikitext2 wiki.test.raw\n"
        "\nexit: 0 done, 1 failed, 2 usage, 130 stopped (quantize and tune: --resume goes on)\n");
}

static int help_command(const cli_command *c, const void *args) {
    printf("usage: eqat %s\n", c->usage);
    if (c->about) printf("\n%s\n", c->about);
    opt_help(c->options, args);
    if (c->more_help) c->more_help(c->options);
    printf("\nexample:\n%s\n", c->example);
    return EXIT_DONE;
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--")) return false;
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    }
    return false;
}

cli_common *cli_args(const cli_command *c) {
    cli_common *args = calloc(1, c->args_size);
    if (!args) return NULL;
    args->progress_every = 120;
    c->init(args);
    return args;
}

/* The argument MODEL of a command, NULL: it takes none, or none is given. */
static const char *model_of(const cli_command *c, const cli_common *args) {
    for (const opt *o = c->options; o->kind != OPT_END; o++)
        if (o->kind == OPT_POSITIONAL && !strcmp(o->name, "MODEL"))
            return *(const char *const *)((const char *)args + o->at);
    return NULL;
}

static int run(const cli_command *c, int argc, char **argv, bool help) {
    eq_err err = {0};
    int code;
    cli_given given = {0};
    const char *model;
    cli_common *args = cli_args(c);
    if (!args) return fputs("eqat: out of memory\n", stderr), EXIT_FAILED;
    args->argc = argc;
    args->argv = argv;
    if (help)
        code = help_command(c, args);
    else if (opt_parse(c->options, args, &given, argc - 2, argv + 2, &err) ||
             opt_check(c->options, c->rules, args, &given, &err))
        code = cli_usage(c->name, "%s", err.msg);
    else if ((model = model_of(c, args)) && cli_model_folder(model, &err))
        code = cli_fail(&err);
    else
        code = c->run(args);
    opt_free(c->options, args);
    free(args);
    return code;
}

static int help(int argc, char **argv) {
    if (argc < 3) return help_all(stdout), EXIT_DONE;
    if (!strcmp(argv[2], "--man")) return cli_man();
    if (!strcmp(argv[2], "--completion")) return cli_completion(argc > 3 ? argv[3] : "");
    const cli_command *c = find(argv[2]);
    return c ? run(c, argc, argv, true) : unknown_command(argv[2]);
}

static int version(void) {
    eq_err err = {0};
    char *text;
    printf("eqat %s\n", EQ_VERSION);
    return eq_about(&text, &err) ? cli_fail(&err) : cli_report(text, false);
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) return help_all(stderr), EXIT_USAGE;
    const char *name = argv[1];
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc, argv);
    if (!strcmp(name, "version") || !strcmp(name, "--version")) return version();
    const cli_command *c = find(name);
    if (!c) return unknown_command(name);
    return run(c, argc, argv, asks_for_help(argc - 2, argv + 2));
}

int main(int argc, char **argv) {
    cli_hold_streams();
    cli_catch_bus_errors();
    cli_join_tables();
    int code = dispatch(argc, argv);
    /* A full disk behind a redirection must not look like success. */
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "eqat: the output could not be written\n");
        return code ? code : EXIT_FAILED;
    }
    return code;
}

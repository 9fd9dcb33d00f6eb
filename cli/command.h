/* A command is one row: what it takes, what it says about itself, what it runs. main.c holds the
 * list, every cmd_*.c one row. Invariant: exit codes are 0 done, 1 failed, 2 usage, 130 stopped. */
#ifndef EQ_CLI_COMMAND_H
#define EQ_CLI_COMMAND_H
#include "options.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_STOPPED = 130 };

/* Settings of every command: how to talk. First member of each command's arguments. */
typedef struct {
    bool json, quiet, verbose, help;
    const char *log, *report;
    double progress_every; /* seconds */
    int argc;              /* the whole command line, to repeat it with --resume */
    char **argv;
} cli_common;

typedef struct {
    const char *name, *summary;
    const char *usage;   /* behind "eqat " */
    const char *about;   /* a paragraph or two, NULL: none */
    const char *example; /* complete lines */
    const opt *options;
    const opt_rule *rules;                 /* NULL: none */
    void (*more_help)(const opt *options); /* behind the options; NULL: nothing */
    size_t args_size;                      /* bytes of the arguments, a cli_common first */
    void (*init)(void *args);
    int (*run)(void *args);
} cli_command;

/* All of them, NULL at the end. */
extern const cli_command *const cli_commands[];
/* Arguments as initialised, free() them; NULL when memory is out. */
cli_common *cli_args(const cli_command *c);

/* Made from the tables, to stdout: eqat.1, and completion for "bash", "zsh" or "fish". */
int cli_man(void);
int cli_completion(const char *shell);

extern const cli_command cmd_quantize, cmd_tune, cmd_export, cmd_import, cmd_ppl, cmd_eval, cmd_kld,
    cmd_compare, cmd_report, cmd_generate, cmd_chat, cmd_inspect, cmd_plan, cmd_demo, cmd_bench;

/* Once, at the start: makes the option table that consists of others (cmd_compare.c). */
void cli_join_tables(void);

/* "eqat: " and one line to stderr; returns the exit code. */
int cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int cli_fail(const eq_err *err);
void cli_catch_bus_errors(void); /* once, at the start */

/* The exit code of a job's status: prints the error, or that it was stopped and, where `resume` has
 * the job's --resume flag (NULL: it knows none), the command that goes on. begun: state may be
 * saved. */
int cli_finish(const cli_common *common, eq_status st, const eq_err *err, const bool *resume,
               bool begun);

/* Bytes and seconds for people: "2.21 GiB", "3 h 12 min". Into a buffer of 32. */
const char *cli_bytes(char out[32], double bytes);
const char *cli_seconds(char out[32], double seconds);

#endif

/* Option tables: parsing, range checks, the defaults in the help texts and the suggestion for a
 * mistyped name are all derived from one array of rows per command.
 * Invariant: a value that is not inside its row's range is never stored. */
#ifndef EQ_CLI_OPTIONS_H
#define EQ_CLI_OPTIONS_H
#include <stddef.h>

#include "eqat.h"

typedef enum {
    OPT_END,     /* last row */
    OPT_HEADING, /* help only: `help` opens a group */
    OPT_REST,    /* char *, all arguments without a name behind the others, one a line (opt_free) */
    OPT_POSITIONAL, /* const char *, an argument without a name */
    OPT_FLAG,       /* bool, true when given */
    OPT_UNSET,      /* bool, false when given (--no-x) */
    OPT_INT,        /* int, lo .. hi */
    OPT_I64,        /* int64_t, lo .. hi */
    OPT_U64,        /* uint64_t */
    OPT_NUM,        /* double, lo .. hi */
    OPT_BYTES,      /* int64_t, lo .. hi, with K M G T for powers of 1024 */
    OPT_STR,        /* const char *, any text */
    OPT_LIST,       /* char *, any text, one a line when given several times (opt_free) */
    OPT_WORD,       /* const char *, one of `arg` */
    OPT_ENUM,       /* int-sized enum, the index of the word in `arg` */
    OPT_ONE_OF,     /* int64_t, one of the numbers in `arg` */
    OPT_SET,        /* unsigned, bit i for word i of `arg`; words joined by commas */
    OPT_CALL,       /* `apply` decides */
    OPT_BASE        /* the same, one of the words in `arg`, taken before all others wherever it
                       stands: they win over what it sets */
} opt_kind;

typedef struct {
    opt_kind kind;
    char letter;          /* -o; 0: none */
    const char *name;     /* without "--" */
    const char *alias;    /* NULL: none */
    const char *arg;      /* "N", "FILE", or the words it can be: "bf16|f32" */
    size_t at;            /* offset into the command's arguments */
    double lo, hi;        /* of numbers */
    const char *fallback; /* shown as default where the stored one says nothing; "" hides it */
    const char *help;
    /* OPT_CALL, OPT_BASE: NULL, or what was expected. */
    const char *(*apply)(void *args, const char *value);
} opt;

/* Which rows of a table the command line had: bit i for row i. */
typedef struct {
    uint64_t bit[2];
} cli_given;

/* Options (names joined by spaces) that change nothing when the other settings say so. A list ends
 * with names == NULL. */
typedef struct {
    const char *names;
    bool (*when)(const void *args);
    const char *why; /* "with --no-e2e" */
} opt_rule;

/* Reads argv[0 .. argc) into `args`. EQ_EINPUT with one line on the first thing wrong. */
eq_status opt_parse(const opt *table, void *args, cli_given *given, int argc, char **argv,
                    eq_err *err);
/* One value, as if the option of this name had been given. */
eq_status opt_store(const opt *table, void *args, const char *name, const char *value, eq_err *err);
/* What is stored for a row: "512", "bf16", "s,z"; "" where that is nothing or no text. */
void opt_value(const opt *o, const void *args, char *out, size_t cap);
/* Refuses options that were given and change nothing. rules NULL: none. */
eq_status opt_check(const opt *table, const opt_rule *rules, const void *args,
                    const cli_given *given, eq_err *err);

/* Frees what OPT_LIST rows hold. */
void opt_free(const opt *table, void *args);

/* One row for people: "-o, --out DIR", and its help with the default, read from `args` as
 * initialised, and the alias. */
typedef struct {
    char head[96], help[640];
} opt_text;
void opt_describe(const opt *o, const void *args, opt_text *t);

/* Where two arguments of a row differ: "--epochs 3" as b has it. false: they are the same. */
bool opt_differs(const opt *o, const void *a, const void *b, char *out, size_t cap);

/* Help lines of a table; defaults are read from `args` as initialised. To stdout. */
void opt_help(const opt *table, const void *args);

#endif

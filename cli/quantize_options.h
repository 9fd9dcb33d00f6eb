/* The options of quantize, which plan takes too: a command line of one is a command line of the
 * other. */
#ifndef EQ_CLI_QUANTIZE_OPTIONS_H
#define EQ_CLI_QUANTIZE_OPTIONS_H
#include "command.h"
#include "export_report.h"

typedef struct {
    cli_common common;
    eq_quantize_opts o;
    const char *to; /* what is written is exported to this format, too; NULL: to none */
} quantize_args;
/* Of quantize and tune. */
#define EQ_TO_ROW \
    { \
        OPT_WORD, 0, "to", \
            .arg = EQ_TO_WORDS, .at = offsetof(quantize_args, to), .fallback = "", \
            .help = \
                "write OUT.gguf or OUT-FORMAT as well (eqat help export); refused before the run " \
                "where the format could not hold what it trains" \
    }

extern const opt quantize_options[];
extern const opt_rule quantize_rules[];
void quantize_args_init(void *args);

/* For rules: no --log is given. */
bool cli_no_log(const void *args);

/* --recipe of a command whose arguments begin as quantize_args do (EQ_RECIPE_ROW); and what each
 * recipe sets of the options in a table, to stdout. */
const char *cli_recipe_apply(void *args, const char *name);
void cli_recipes_help(const opt *table);

#endif

/* The options of quantize, which plan takes too: a command line of one is a command line of the
 * other. */
#ifndef EQ_CLI_QUANTIZE_OPTIONS_H
#define EQ_CLI_QUANTIZE_OPTIONS_H
#include "command.h"

typedef struct {
    cli_common common;
    eq_quantize_opts o;
} quantize_args;

extern const opt quantize_options[];
extern const opt_rule quantize_rules[];
void quantize_args_init(void *args);

#endif

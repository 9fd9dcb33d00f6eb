/* Rows and lines that generate and chat share. T is the command's argument struct, `f` the place of
 * the eq_sampling in it. */
#ifndef EQ_CLI_GENERATE_OPTIONS_H
#define EQ_CLI_GENERATE_OPTIONS_H
#include "common_options.h"

/* clang-format off */
#define EQ_SAMPLING_ROWS(T, f) \
    {OPT_HEADING, .help = "sampling"}, \
    {OPT_NUM, 't', "temperature", NULL, "X", offsetof(T, f.temperature), 0, 100, \
     .help = "0: the most likely token each time"}, \
    {OPT_INT, 0, "top-k", NULL, "N", offsetof(T, f.top_k), 0, 1 << 24, \
     .help = "draw from that many most likely tokens; 0: from all"}, \
    {OPT_NUM, 0, "top-p", NULL, "X", offsetof(T, f.top_p), 1e-6, 1, \
     .help = "draw from the fewest that together have this probability"}, \
    {OPT_NUM, 0, "min-p", NULL, "X", offsetof(T, f.min_p), 0, 1, \
     .help = "draw from those with at least this share of the most likely one's probability"}, \
    {OPT_NUM, 0, "repetition-penalty", NULL, "X", offsetof(T, f.repetition_penalty), 0.01, 100, \
     .help = "makes tokens that were there less likely where it is above 1"}, \
    {OPT_U64, 0, "seed", .arg = "N", .at = offsetof(T, f.seed), .help = "of the sampling"}
#define EQ_EXACT_ROW(T) \
    {OPT_FLAG, 0, "exact", .at = offsetof(T, exact), \
     .help = "fp32 throughout, nothing rounded: the same as --precision f32"}
/* clang-format on */
#define EQ_SAMPLED "top-k top-p min-p seed" /* change nothing where nothing is drawn */

/* One line to stderr. */
void cli_print_speed(const eq_generate_result *r);
#endif

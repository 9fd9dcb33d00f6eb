/* Running quantize or tune: observer around it, result or error behind it. */
#ifndef EQ_CLI_JOB_H
#define EQ_CLI_JOB_H
#include <jansson.h>

#include "quantize_options.h"

typedef eq_status (*cli_job_fn)(const eq_quantize_opts *o, const eq_observer *obs,
                                eq_quantize_result *res, eq_err *err);
json_t *cli_job_result(const char *out, const eq_quantize_result *r); /* of the last event */
/* --to (none: all is fine): could its format hold what the run will make? */
eq_status cli_job_ahead(const quantize_args *a, eq_err *err);
int cli_job(quantize_args *a, cli_job_fn run);

#endif

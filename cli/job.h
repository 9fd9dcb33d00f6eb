/* Running quantize or tune: observer around it, result or error behind it. */
#ifndef EQ_CLI_JOB_H
#define EQ_CLI_JOB_H
#include "quantize_options.h"

typedef eq_status (*cli_job_fn)(const eq_quantize_opts *o, const eq_observer *obs,
                                eq_quantize_result *res, eq_err *err);
int cli_job(quantize_args *a, cli_job_fn run);

#endif

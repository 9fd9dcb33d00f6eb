/* The log of a run, read back: what a page or a table says of it comes from here alone. */
#ifndef EQ_CLI_RUN_LOG_H
#define EQ_CLI_RUN_LOG_H
#include <jansson.h>

#include "eqat.h"

typedef struct {
    double x, y;
} run_point;
typedef struct {
    run_point *p;
    int64_t n, cap;
} run_series;

/* A block in training: its steps, and what its last epoch came to (NaN: not said). */
typedef struct {
    run_series steps; /* step, loss */
    double first, train, val, train_share, val_share;
    json_t *linears; /* name: error of the weights; NULL: not said */
} run_block;

typedef struct {
    const char *path; /* as given */
    json_t *run;      /* the newest first event of a run; NULL: there is none */
    json_t *result;   /* the last one; NULL: it did not end well */
    json_t *data;     /* array of the "data" events of that run */
    json_t *phases;   /* array of all "phase" events */
    char *end;        /* what a run that was stopped or failed said; NULL: nothing */
    run_block *block;
    int64_t blocks, runs, rollbacks;
    run_series e2e, held_out; /* step, loss */
    double seconds;           /* of all its runs, also of those that were stopped */
    double memory_peak;       /* bytes */
    double rate;              /* tokens a second, the newest known; NaN: none */
} run_log;

/* Lines of events that it does not know are passed over. Free it, on failure too. */
eq_status run_log_read(run_log *l, const char *path, eq_err *err);
void run_log_free(run_log *l);
bool run_log_trains_blocks(const run_log *l); /* there is a loss of a block */
#endif

/* What the program shows of a running job: progress, notes, the JSONL log, and Ctrl-C. */
#ifndef EQ_CLI_OBSERVER_H
#define EQ_CLI_OBSERVER_H
#include <stdio.h>

#include "command.h"

typedef struct {
    eq_observer obs; /* hand this to the library; ctx is the cli_observer itself, so do not copy */
    FILE *log;
    bool quiet, verbose, terminal;
    bool line_shown;  /* an unfinished progress line stands on the terminal */
    eq_progress last; /* phase copied below */
    char phase[32];
    double began;         /* of the phase */
    double unit_began;    /* of the block, or of the phase where there are none */
    double drawn;         /* when the line was last written */
    double rate, rate_at; /* smoothed units a second, and when it was last updated */
    int64_t rate_done;
} cli_observer;

/* Opens the log (appending when `resume`) and catches SIGINT and SIGTERM. */
eq_status cli_observer_open(cli_observer *c, const cli_common *common, bool resume, eq_err *err);
/* Ends the progress line and closes the log; a log that could not be written is an error. */
eq_status cli_observer_close(cli_observer *c, eq_err *err);

/* The exit code of a job's status: prints the error, or how to resume when `can_resume`. */
int cli_finish(const cli_common *common, eq_status st, const eq_err *err, bool can_resume);

#endif

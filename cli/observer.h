/* What the program shows of a running job: progress, notes, the JSONL log, and Ctrl-C. */
#ifndef EQ_CLI_OBSERVER_H
#define EQ_CLI_OBSERVER_H
#include <stdio.h>

#include "command.h"

/* Time and work done at one report. */
typedef struct {
    double at;
    int64_t done;
} cli_mark;

typedef struct {
    eq_observer obs; /* hand this to the library; its ctx is this struct, so do not copy it */
    FILE *log;
    bool quiet, verbose, terminal;
    bool line_shown; /* an unfinished progress line stands on the terminal */
    bool unit_told;  /* the line of the unit that ended is written */
    double drawn;    /* when it was written */
    char phase[32];
    eq_progress last;
    double last_at;
    /* A unit is a block, or a phase without blocks. The first report of a phase comes after its
     * first step, and a resumed one starts half-way: rates are counted from that report on. */
    cli_mark phase_first, unit_first, rate_mark;
    double unit_began; /* when the unit before ended */
    double rate;       /* smoothed, a second */
} cli_observer;

/* Opens the log (appending when `resume`) and catches SIGINT and SIGTERM. */
eq_status cli_observer_open(cli_observer *c, const cli_common *common, bool resume, eq_err *err);
/* Ends the progress line and closes the log; a log that could not be written is an error. */
eq_status cli_observer_close(cli_observer *c, eq_err *err);

/* The exit code of a job's status: prints the error, or how to resume when `can_resume`. */
int cli_finish(const cli_common *common, eq_status st, const eq_err *err, bool can_resume);

#endif

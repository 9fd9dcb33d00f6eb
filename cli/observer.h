/* What the program makes of a running job's reports: progress and notes on stderr, events in the
 * log. */
#ifndef EQ_CLI_OBSERVER_H
#define EQ_CLI_OBSERVER_H
#include <jansson.h>

#include "log.h"
#include "progress.h"

typedef struct {
    eq_observer obs; /* hand this to the library; its ctx is this struct, so do not copy it */
    cli_log log;
    cli_progress progress;
    const cli_common *common;
    bool begun; /* the library has checked everything and gave its first event */
} cli_observer;

/* Looks at the log (see log.h: `used`, `resume`) and catches signals. */
eq_status cli_observer_open(cli_observer *c, const cli_common *common, const cli_used *used,
                            bool resume, eq_err *err);
/* The last event, with the fields of `result` (taken over, NULL allowed) when all went well; the
 * end of progress and of the log. Returns st, or the error of a log that could not be written. */
eq_status cli_observer_close(cli_observer *c, eq_status st, json_t *result, eq_err *err);

#endif

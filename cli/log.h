/* The JSONL log of a job. A refused command changes no log: the file is proved writable when the
 * job begins, and emptied (or continued, with --resume) at the first event, which the library gives
 * when everything has been checked. */
#ifndef EQ_CLI_LOG_H
#define EQ_CLI_LOG_H
#include <stdio.h>

#include "command.h"

/* A file or folder that the job reads or writes, or data (see eq_text_opts); a list ends with what
 * == NULL. path NULL: none. */
typedef struct {
    const char *what, *path;
} cli_used;

typedef struct {
    FILE *file; /* NULL: no log */
    const char *path;
    bool made;  /* by this job: removed when the job is refused */
    bool begun; /* an event is in it */
    bool resume;
} cli_log;

/* Refuses a path for `what` ("the log") that is, or lies in, something that is used. */
eq_status cli_check_own_file(const char *path, const char *what, const cli_used *used, eq_err *err);

eq_status cli_log_open(cli_log *l, const char *path, const cli_used *used, bool resume,
                       eq_err *err);
void cli_log_line(cli_log *l, const char *line); /* one JSON object */
eq_status cli_log_close(cli_log *l, eq_err *err);

#endif

/* The progress of a job on stderr: one line that is drawn again and again on a terminal, one now
 * and then elsewhere, and one for every unit (a block, or a phase without blocks) that is done.
 * Invariant: on a terminal at most one progress line exists, and nothing else lands on it. */
#ifndef EQ_CLI_PROGRESS_H
#define EQ_CLI_PROGRESS_H
#include "command.h"

/* Time and work done at one report. */
typedef struct {
    double at;
    int64_t done;
} cli_mark;

typedef struct {
    bool quiet, terminal;
    bool line_shown; /* an unfinished progress line stands on the terminal */
    double every;    /* seconds between two lines where there is no terminal */
    double began;    /* the job */
    double shown;    /* when the newest line was written */
    char phase[32];  /* of the newest report, which may come from a text that is gone */
    eq_progress last;
    bool unit_told;                /* the line of the unit that ended is written */
    double unit_began, unit_ended; /* ended: the newest report of it */
    double job_at, job_first;      /* the first report that knew its share of the job */
    double job_known;              /* the share of the newest report that knew it */
    /* The first report of a phase comes after its first step, and a resumed one starts half-way:
     * rates are counted from that report on. */
    cli_mark rate_mark;
    double rate; /* units of work a second, smoothed */
    int64_t memory, memory_peak;
} cli_progress;

void cli_progress_open(cli_progress *c, const cli_common *common);
void cli_progress_say(cli_progress *c, const eq_progress *p);
void cli_progress_clear(cli_progress *c); /* before anything else is written to stderr */
/* whole: the job ended by itself, the last unit's line is due. */
void cli_progress_close(cli_progress *c, bool whole);

/* Bytes of this process that no file backs; 0: not known. Kept in c with its high-water mark. */
int64_t cli_memory(cli_progress *c);

#endif

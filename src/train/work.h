/* The work folder of a run: what it was asked for (run.json) and what is done (blocks, E2E-QP
 * state), so that a killed run can go on and end in the same bytes. */
#ifndef EQ_TRAIN_WORK_H
#define EQ_TRAIN_WORK_H
#include "base/json.h"
#include "model/qblock.h"

typedef struct {
    char *dir, *state; /* state: path of the E2E-QP state */
    char *run;         /* text of run.json */
} eq_work;

/* run: settings and fingerprints that decide the result. A new folder gets them; an old one is
 * refused without `resume`, and with it when any of them differs, naming the first that does. */
eq_status eq_work_open(eq_work *w, const char *dir, bool resume, const json_t *run, eq_err *err);
void eq_work_close(eq_work *w);
/* The folder outside that this run's streams lie in, as noted by an earlier start (eq_free it);
 * NULL: none. */
eq_status eq_work_cache(const eq_work *w, char **dir, eq_err *err);
eq_status eq_work_note_cache(const eq_work *w, const char *dir, eq_err *err);
char *eq_work_block(const eq_work *w, int64_t i); /* path of block i's file; eq_free it */
#endif

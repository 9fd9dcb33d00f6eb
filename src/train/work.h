/* The work folder of a run: what it was asked for (run.json) and what is done (blocks, states), so
 * that a killed run can go on and end in the same bytes. Every file in it carries a checksum. */
#ifndef EQ_TRAIN_WORK_H
#define EQ_TRAIN_WORK_H
#include "base/json.h"
#include "model/qblock.h"

/* Of the files in it and of the arithmetic of training: raised when a run that was begun before the
 * change could not end in the bytes it would have ended in. */
enum { EQ_WORK_VERSION = 2 };

/* What decides the result. Memory, threads and micro-batches do not. */
typedef struct {
    const json_t *first;  /* model, data and settings as far as phase one knows them */
    const json_t *second; /* those of phase two, NULL: it does not run. They count when it began */
    const char *kernels;  /* of the backend: others give other last bits */
} eq_identity;

typedef struct {
    char *dir, *state; /* state: path of the E2E-QP state */
    char *first;       /* text of what decides phase one: names its streams' files */
    char *all;         /* the same of both phases */
    int lock;          /* -1: not held */
    bool keep_dir;     /* the folder was there, empty, before the run: it stays so */
} eq_work;

/* Before anything is read or made: may a run begin in `dir`, or with `resume` go on there? *begun:
 * there is one to go on with. Refused are another run that uses the folder, foreign files in it, an
 * unfinished run without resume. Changes nothing. */
eq_status eq_work_look(const char *dir, bool resume, bool *begun, eq_err *err);
/* Names the first thing in which the run that was begun in `dir` is another one; NULL cases of
 * `who` as in eq_identity. Changes nothing. */
eq_status eq_work_compare(const char *dir, const eq_identity *who, eq_err *err);
/* Takes the folder for this run, with eq_work_look and eq_work_compare. Damaged files that can be
 * made again are removed, with a note. */
eq_status eq_work_open(eq_work *w, const char *dir, bool resume, const eq_identity *who,
                       const eq_observer *obs, eq_err *err);
void eq_work_close(eq_work *w);
/* The run's files, and the folder unless it was the user's or holds something else. */
eq_status eq_work_remove(eq_work *w, eq_err *err);
/* What a run that was killed while it removed a folder left there: the lock, and with `folder` the
 * empty folder itself, of which nothing says any more whose it was. Others' files stay. */
eq_status eq_work_clear(const char *dir, bool folder, eq_err *err);

/* The folder outside that this run's streams lie in, as noted by an earlier start (eq_free it);
 * NULL: none. */
eq_status eq_work_cache(const eq_work *w, char **dir, eq_err *err);
eq_status eq_work_note_cache(const eq_work *w, const char *dir, eq_err *err);
char *eq_work_block(const char *dir, int64_t i);    /* path of block i's file; eq_free it */
int64_t eq_work_blocks(const char *dir, int64_t L); /* how many of the first are there */
bool eq_work_second_begun(const char *dir);         /* phase two has a state */

/* The first difference between two values, by path: "FILE: cannot resume: path is a in that run and
 * b now". */
eq_status eq_work_differ(const json_t *was, const json_t *is, const char *file, eq_err *err);
#endif

/* The last good state of the block under training: masters, moments and step of its student, kept
 * in a file without a name. In memory it would double what a block takes (2.4 GB of a 7B model's);
 * on disk it costs seconds an epoch. Nobody reads it after a kill, a resumed run begins the block
 * anew. */
#ifndef EQ_TRAIN_SNAPSHOT_H
#define EQ_TRAIN_SNAPSHOT_H
#include "train/student.h"

typedef struct {
    const char *dir; /* where the file lies */
    bool kept;       /* there is one */
    int fd;
    int64_t step;
} eq_snapshot;

int64_t
eq_snapshot_bytes(const eq_student *st); /* of the file; the student may be bound for measuring */
eq_status eq_snapshot_keep(eq_snapshot *s, const eq_student *st, eq_err *err);
/* The student has the bits it had when it was kept. */
eq_status eq_snapshot_restore(const eq_snapshot *s, eq_student *st, eq_err *err);
void eq_snapshot_drop(eq_snapshot *s); /* the file is gone */
#endif

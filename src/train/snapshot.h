/* The state of the block under training in a file of the work folder: masters and moments of its
 * student, and where its training is, as bytes that only the trainer knows. Written atomically with
 * a checksum, piece by piece: a copy in memory would double what a block takes (2.4 GB of a 7B
 * model's), on disk it costs seconds. */
#ifndef EQ_TRAIN_SNAPSHOT_H
#define EQ_TRAIN_SNAPSHOT_H
#include "train/student.h"

typedef struct {
    const char *path;
    const char *run; /* what decides the result: a file of another run is refused */
    int64_t block;
    void *at; /* where the training is, at_bytes of it (a multiple of 8) */
    int64_t at_bytes;
} eq_snapshot;

int64_t eq_snapshot_bytes(const eq_student *st); /* of a file; st may be bound for measuring */
eq_status eq_snapshot_save(const eq_snapshot *s, const eq_student *st, eq_err *err);
/* The student has the bits it had when it was saved (its step is the caller's to set), *s->at too.
 * EQ_EINPUT: the file is damaged or of something else; the student is then undefined. */
eq_status eq_snapshot_load(const eq_snapshot *s, eq_student *st, eq_err *err);
/* The same without the student: is the file whole, and where was the training? */
eq_status eq_snapshot_look(const eq_snapshot *s, const eq_student *st, eq_err *err);
#endif

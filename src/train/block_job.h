/* Inside of Block-AP, shared by block_ap.c (memory, streams, passes) and block_train.c (the
 * training of one block). */
#ifndef EQ_TRAIN_BLOCK_JOB_H
#define EQ_TRAIN_BLOCK_JOB_H
#include "train/block_ap.h"
#include "train/stream.h"
#include "train/student.h"

struct eq_block_ap {
    eq_backend *be;
    const eq_weights *src;
    const eq_config *cfg;
    eq_block_ap_setup setup;
    int64_t n_train, n_val, T;
    eq_dtype ct;
    eq_arena model, step;
    eq_student student;
    eq_block_w w;    /* the student's */
    eq_block_w room; /* of a whole block before and after its training */
    eq_rope rope;
    eq_block_acts acts;
    eq_mut x, target, dy, loss, power; /* power: F64 [1], sum of squares of a batch's targets */
    eq_mut slot[2][2];                 /* of x and target: the batch under way, the next */
    int turn;                          /* the slots that the next batch comes into */
    struct {
        const void *x, *target; /* the host's that is in them, or on its way; x NULL: none */
        int64_t B;
    } brought;
    float *loss32; /* as they come: of the batch's windows */
    double *losses, power64;
    eq_stream fp, q; /* train windows, then validation windows */
};

/* After an upload of the model's tensors: the files still are what was opened, so nothing is
 * computed from another model's. */
eq_status eq_block_job_uploaded(const eq_block_ap *j, eq_err *err);
/* Windows of the batch that begins at `from` in [.., to). */
int64_t eq_block_job_batch(const eq_block_ap *j, int64_t from, int64_t to);
/* The block with weights w on B windows; target (NULL: none) comes with them. */
void eq_block_job_forward(eq_block_ap *j, const eq_block_w *w, const void *x, const void *target,
                          int64_t B);
/* Brings the next batch during the one under way, where there is room for it. */
void eq_block_job_ahead(eq_block_ap *j, const void *x, const void *target, int64_t B);
/* Windows of the validation loss: all that are held out, or where there are none the first batch of
 * the training windows, which is enough to see whether the loss is finite after the last step. */
int64_t eq_block_job_val(const eq_block_ap *j, int64_t *from);
/* Progress in units of training: block i has this many windows behind it, where a forward pass
 * counts a third of a step's. */
void eq_block_job_say(const eq_block_ap *j, int64_t i, double windows, double loss,
                      const eq_observer *obs);
/* Trains block i into *out; both streams hold its inputs (q) and its targets (fp). */
eq_status eq_block_job_train(eq_block_ap *j, int64_t i, eq_qblock *out, const eq_observer *obs,
                             eq_err *err);
/* The student becomes block i as GPTQ rounds it, on the training windows of the quantized stream:
 * gptq_start.c. */
eq_status eq_block_job_gptq(eq_block_ap *j, int64_t i, const eq_observer *obs, eq_err *err);
/* The student becomes block i as AWQ scales and clips it, on the same windows: awq_start.c. */
eq_status eq_block_job_awq(eq_block_ap *j, int64_t i, const eq_observer *obs, eq_err *err);
/* Block i is saved: its states go. */
eq_status eq_block_job_forget(eq_block_ap *j, int64_t i, eq_err *err);
#endif

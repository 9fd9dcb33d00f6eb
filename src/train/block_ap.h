/* Block-AP (paper section 3.2, METHOD section 2): each transformer block in turn is trained, all of
 * W, s, z and the norms, to reproduce the full-precision block's output. */
#ifndef EQ_TRAIN_BLOCK_AP_H
#define EQ_TRAIN_BLOCK_AP_H
#include "data/windows.h"
#include "model/block.h"
#include "model/qblock.h"

typedef struct eq_block_ap eq_block_ap;

typedef struct {
    eq_schemes schemes;
    eq_precision precision;
    eq_block_ap_opts ap;   /* rates resolved (>= 0) */
    double save_seconds;   /* between two saved states of the block under training */
    const char *work_dir;  /* where they lie: see block_train.c */
    const char *cache_dir; /* activation streams in files there; NULL: in memory */
    const char *run; /* what decides the result (run.json): files of another run are not touched */
    int64_t done;    /* blocks that are finished */
    const eq_hints *hints; /* of the backend, for eq_block_ap_bytes */
} eq_block_ap_setup;

/* Takes backend memory for one block and the two streams; these go on from the files of a killed
 * run or begin with the embeddings of all windows. train->T == val->T; val->n may be 0. obs may
 * stop that. */
eq_status eq_block_ap_open(eq_block_ap **job, eq_backend *be, const eq_weights *src,
                           const eq_block_ap_setup *s, const eq_windows *train,
                           const eq_windows *val, const eq_observer *obs, eq_err *err);
void eq_block_ap_close(eq_block_ap *job);               /* streams in files stay */
bool eq_block_ap_has_files(const eq_block_ap_setup *s); /* this run's streams lie in cache_dir */
eq_status eq_block_ap_remove_files(const eq_block_ap_setup *s, eq_err *err);
/* Backend memory of a job, and bytes of its two streams; from the code that allocates. */
int64_t eq_block_ap_bytes(const eq_config *c, const eq_block_ap_setup *s, int64_t T);
int64_t eq_block_ap_snapshot_bytes(const eq_config *c,
                                   const eq_block_ap_setup *s); /* in work_dir */

/* Memory that a start by GPTQ, or AWQ, takes beside the job's. */
int64_t eq_gptq_start_bytes(const eq_config *c);
int64_t eq_awq_start_bytes(const eq_config *c, const eq_block_ap_setup *s, int64_t T);

/* Trains block i (blocks must come in order) into *out, from where a run was that had begun it.
 * EQ_EINTR when the observer asks to stop: the block is not done, its state is saved. */
eq_status eq_block_ap_train(eq_block_ap *job, int64_t i, eq_qblock *out, const eq_observer *obs,
                            eq_err *err);
/* Block i is finished and saved: removes the states of its training and brings the streams behind
 * it, as far as they are not. */
eq_status eq_block_ap_pass(eq_block_ap *job, int64_t i, const eq_qblock *done,
                           const eq_observer *obs, eq_err *err);
/* Finished blocks that streams still have to pass: 0 unless they were lost with a killed run. */
int64_t eq_block_ap_behind(const eq_block_ap *job);
#endif

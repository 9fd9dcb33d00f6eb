/* Inside of eq_quantize and eq_tune, shared by preflight.c (what is looked at before the first
 * step) and quantize.c (the steps). */
#ifndef EQ_TRAIN_QUANTIZE_JOB_H
#define EQ_TRAIN_QUANTIZE_JOB_H
#include "backend/backend.h"
#include "model/checkpoint.h"
#include "train/e2e_qp.h"
#include "train/settings.h"
#include "train/share.h"
#include "train/work.h"

/* How a block came about: see eq_qblock. */
typedef struct {
    int64_t rollbacks;
    bool untrained;
} eq_fate;

typedef struct {
    eq_settings set;
    bool tune;
    const eq_observer *obs; /* of share */
    eq_share share;
    eq_run_cost cost;
    eq_weights *src;
    eq_weights *teacher;  /* of phase two; in eq_quantize the model itself. NULL: none */
    char teacher_sum[33]; /* of eq_tune's */
    eq_backend *be;
    eq_windows train, val, e2e, e2e_val; /* e2e_val: held out; n == 0: none */
    json_t *first, *second;              /* see eq_identity; second NULL: no phase two */
    json_t *side_files;                  /* of the model, see eq_checkpoint_side_sums */
    char *recipe;                        /* both, as text */
    const char *bos; /* does a text begin with one: "yes", "no"; NULL: no text */
    eq_work work;
    char *work_dir, *cache; /* cache: see stream_folder */
    bool streams_in_files;
    bool complete; /* the output is there already, whole */
    eq_e2e *qp;
    eq_qblock block; /* the one under way */
    int64_t rounded; /* blocks that were rounded to nearest once */
    int64_t told;    /* blocks whose error is in the log */
    eq_fate *fate;   /* [L] */
    eq_quantize_result res;
} eq_job;

/* Block-AP is part of the job; GPTQ and AWQ are its starts and no epoch. */
static inline bool eq_job_trains_blocks(const eq_job *j) {
    return !j->tune && j->set.o.method != EQ_METHOD_RTN;
}
/* Tokens of a window that phase two has room for. */
static inline int64_t eq_job_e2e_T(const eq_job *j) {
    return j->e2e_val.T > j->e2e.T ? j->e2e_val.T : j->e2e.T;
}
static inline eq_identity eq_job_identity(const eq_job *j) {
    return (eq_identity){j->first, j->second, j->be->kernels ? j->be->kernels : j->be->name};
}

/* Opens model, data and backend and refuses what can be refused: everything that would stop a run
 * later and can be known now. Changes nothing, so a refused command leaves nothing. */
eq_status eq_job_look(eq_job *j, const eq_quantize_opts *o, eq_err *err);

/* All rates times rate_scale, or times what the model's weights ask for (rates.c). */
eq_status eq_job_scale_rates(eq_job *j, eq_err *err);

/* Bytes that the output, and the work folder at its fullest, will take at least. rest: of the
 * tensors outside of the quantized linears; T, windows: of phase two. */
typedef struct {
    int64_t out, packed;   /* packed: of the quantized linears alone */
    int64_t blocks;        /* finished blocks in the work folder */
    int64_t first, second; /* states beside them, in each phase */
} eq_job_disk;
eq_job_disk eq_job_disk_of(const eq_settings *s, const eq_config *c, int64_t rest, int64_t T,
                           int64_t windows);
/* Have the disks room for it? The blocks stay until the output is written, the states of phase two
 * too. */
eq_status eq_job_disk_check(const eq_job_disk *d, const char *out, const char *work, eq_err *err);
char *eq_job_existing(const char *path);    /* the nearest folder on the way there; eq_free it */
int64_t eq_job_disk_free(const char *path); /* where it is or would be made; -1: unknown */
#endif

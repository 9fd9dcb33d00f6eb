/* E2E-QP (paper section 3.3, METHOD section 3): the whole model, integers fixed, trains its step
 * sizes s (options: z, norms, the weights behind the integers) on next-token cross-entropy, or on
 * the divergence from the full-precision model's predictions. */
#ifndef EQ_TRAIN_E2E_QP_H
#define EQ_TRAIN_E2E_QP_H
#include "data/windows.h"
#include "model/lm.h"

typedef struct eq_e2e eq_e2e;

typedef struct {
    eq_schemes schemes;
    eq_precision precision;
    eq_e2e_opts qp;        /* rate resolved (>= 0), micro_batch > 0 */
    const eq_hints *hints; /* of the backend, for eq_e2e_bytes */
    bool on_host; /* z, moments and gradients of s and z lie on the host, a block at a time on
                     the device: the same bytes, where a device has no room; without W */
    eq_qblock_source source; /* the start */
    void *ctx;
    const eq_weights *teacher; /* with the loss EQ_E2E_KL: eq_lm_opts */
    const eq_windows *val;     /* of the held-out loss; NULL: none. Then: */
    int64_t eval_every;        /* steps between two looks at it */
    double save_seconds;       /* between two saved places within a step */
    const char *run;           /* what decides the result: states of another run are refused */
    const char *state_path; /* the newest state, with .good behind it the last one known to be good,
                               with .step the step under way, with .best the one whose held-out
                               loss is lowest; read when they exist */
} eq_e2e_setup;

eq_status eq_e2e_open(eq_e2e **job, eq_backend *be, const eq_weights *src, const eq_e2e_setup *s,
                      int64_t T, eq_err *err);
/* The same with smaller micro-batches, at last with on_host, and a note, while the device has no
 * room; *s becomes what it was opened with. What is trained does not depend on it. */
eq_status eq_e2e_open_within(eq_e2e **job, eq_backend *be, const eq_weights *src, eq_e2e_setup *s,
                             int64_t T, const eq_observer *obs, eq_err *err);
void eq_e2e_close(eq_e2e *job);
/* Backend memory of a job, from the code that allocates. */
int64_t eq_e2e_bytes(const eq_config *c, const eq_e2e_setup *s, int64_t T);
/* s as it needs the least of a device. */
eq_e2e_setup eq_e2e_least(const eq_e2e_setup *s);
/* Host memory of on_host, 0 without. */
int64_t eq_e2e_host_bytes(const eq_config *c, const eq_e2e_setup *s);
/* Windows held at once for a batch of windows of T tokens when the user does not say. */
int64_t eq_e2e_micro_batch(int64_t batch, int64_t T);
/* Bytes of all that it may have on disk at once, from the code that writes. */
int64_t eq_e2e_disk_bytes(const eq_config *c, const eq_e2e_setup *s, int64_t T);
/* Losses, gradients or steps that were not finite, so far. */
int64_t eq_e2e_rollbacks(const eq_e2e *job);
/* Runs the steps that are left. EQ_EINTR: stopped, state saved, the place within a step too. What
 * is not finite rolls back; the result is always a state whose loss is finite, unless that of the
 * start is not. With a held-out set it is the state with the lowest loss there. */
eq_status eq_e2e_run(eq_e2e *job, const eq_windows *data, const eq_observer *obs, eq_err *err);
int64_t eq_e2e_rollbacks(const eq_e2e *job); /* losses and gradients that were not finite */
/* Puts the trained s and z of block i into b (which holds the start's integers). */
eq_status eq_e2e_apply(eq_e2e *job, int64_t i, eq_qblock *b, eq_err *err);
#endif

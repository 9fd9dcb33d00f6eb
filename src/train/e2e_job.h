/* Inside of E2E-QP, shared by e2e_memory.c, e2e_qp.c (updates, roll-backs, the run), e2e_step.c
 * (the walk of a batch through the model) and e2e_state.c (what is saved). */
#ifndef EQ_TRAIN_E2E_JOB_H
#define EQ_TRAIN_E2E_JOB_H
#include "train/e2e_batch.h"
#include "train/e2e_qp.h"

/* THE list of what can be trained: X(id, EQ_TRAIN_ bit, name in files, place in eq_lm_quant,
 * count).
 */
#define EQ_E2E_PARAMS(X) \
    X(S, S, "s", s, groups) \
    X(Z, Z, "z", z, groups) \
    X(W, W, "w", W, weights) \
    X(NORM, NORM, "norm", norm, norms)
enum {
#define EQ_ID(id, ...) EQ_E2E_##id,
    EQ_E2E_PARAMS(EQ_ID)
#undef EQ_ID
        EQ_E2E_PARAM_COUNT
};

typedef struct {
    const char *name;
    eq_lm_values p, m, v, g; /* F32 over the whole model, host NULL but for s and z; m.m.n == 0: not
                                trained */
    eq_lm_values part;       /* of g, where a batch is added up in parts */
} eq_e2e_param;

/* Where the step under way is. A micro-batch goes through 2 L + 1 pieces: the L blocks forwards,
 * the loss, the L blocks backwards; with a teacher through its L blocks first. Saved as it is, so
 * every field has 8 bytes. */
typedef struct {
    int64_t n;     /* windows of the batch; 0: not begun */
    int64_t done;  /* of those, the ones that went through */
    int64_t B;     /* the ones on their way; 0: none */
    int64_t piece; /* pieces behind them */
} eq_e2e_place;

struct eq_e2e {
    eq_backend *be;
    eq_e2e_setup setup;
    eq_lm *lm;
    eq_arena arena;
    eq_e2e_param par[EQ_E2E_PARAM_COUNT];
    eq_mut total; /* F64 [1] */
    int64_t step; /* updates done */
    int64_t rollbacks;
    double scale; /* of the rate, halved by every roll-back; 0: no rate is left to try */
    eq_e2e_place at;
    double *nll; /* [batch_size]: losses of the step's windows: each one's mean, or, where
                    only some of its targets count, their sum */
    eq_e2e_room room;
    bool whole;                /* parameters, gradients and place fit together: false inside a piece
                                  that changes them */
    char *good, *step_path;    /* paths: the last good state, the step under way */
    char *best_path;           /* the state with the lowest held-out loss */
    double best;               /* that loss; INFINITY: none is known */
    int64_t best_step, looked; /* its step; the step whose held-out loss is known; -1: none */
    int64_t newest, proven; /* steps of the newest and of the good state on disk; -1: not there */
    double saved;           /* when */
};

/* Has parameter k values for every group? */
static inline bool eq_e2e_by_groups(int k) { return k == EQ_E2E_S || k == EQ_E2E_Z; }
/* The model and what is beside its parameters, moments 0; all of it away, j itself stays. */
eq_status eq_e2e_take_memory(eq_e2e *j, const eq_weights *src, int64_t T, eq_err *err);
void eq_e2e_free_memory(eq_e2e *j);
void eq_e2e_clear_gradients(eq_e2e *j); /* and the part under way */

/* Progress: `windows` of the step under way are done. */
void eq_e2e_say(const eq_e2e *j, const eq_windows *w, double windows, double loss,
                const eq_observer *obs);

/* The windows of step j->step, from where j->at is: their gradients, and their mean loss. Saves by
 * time. EQ_EINTR: stopped. */
eq_status eq_e2e_gradients(eq_e2e *j, const eq_windows *w, double *loss, const eq_observer *obs,
                           eq_err *err);
/* The loss of the first window, without gradients; nothing of the step changes. */
eq_status eq_e2e_first_loss(eq_e2e *j, const eq_windows *w, double *loss, const eq_observer *obs,
                            eq_err *err);

/* s, z, moments, step, rate scale to a file and back. */
eq_status eq_e2e_save(eq_e2e *j, const char *path, eq_err *err);
eq_status eq_e2e_load(eq_e2e *j, const char *path, eq_err *err);
/* All that a later run needs to go on at this place: the state of this step if no file has it, and
 * the step under way. */
eq_status eq_e2e_save_place(eq_e2e *j, eq_err *err);
/* The place within step j->step where a run was that had saved it; else the step's beginning. */
eq_status eq_e2e_load_place(eq_e2e *j, const eq_windows *w, const eq_observer *obs, eq_err *err);
/* The held-out loss of this step where one is due, and the state to best_path where it is the
 * lowest so far. */
eq_status eq_e2e_look(eq_e2e *j, bool end, const eq_observer *obs, eq_err *err);
/* What is known of the state at best_path: nothing of one of a step behind j->step, which a killed
 * run came to and this one will come to again. */
eq_status eq_e2e_best_known(eq_e2e *j, eq_err *err);
/* A roll-back: a best state behind the step it went back to is gone. */
eq_status eq_e2e_best_forget(eq_e2e *j, eq_err *err);
/* s and z of the best state, where it is not the last one; the step stays. */
eq_status eq_e2e_take_best(eq_e2e *j, const eq_observer *obs, eq_err *err);

/* Inside e2e_state.c: the state with its held-out loss; back without touching the step. */
eq_status eq_e2e_save_best(eq_e2e *j, eq_err *err);
eq_status eq_e2e_load_best(eq_e2e *j, bool arrays, int64_t *step, double *loss, eq_err *err);

/* Pieces of a micro-batch before the model's own. */
static inline int64_t eq_e2e_lessons(const eq_e2e *j) {
    return j->setup.qp.loss == EQ_E2E_KL ? j->lm->cfg->L : 0;
}
/* First window of a step, and how many it has. */
int64_t eq_e2e_batch(const eq_e2e *j, const eq_windows *w, int64_t *n);
#endif

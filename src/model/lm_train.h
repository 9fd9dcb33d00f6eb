/* What training needs of a whole model beside its passes: masters, from which codes are made anew
 * in every pass, and the way back. Used by lm.c and lm_train.c alone. */
#ifndef EQ_MODEL_LM_TRAIN_H
#define EQ_MODEL_LM_TRAIN_H
#include "model/lm.h"

/* Room for the masters of `weights` weights and for one linear on its way. */
void eq_lm_masters_bind(eq_lm *lm, eq_arena *a, int64_t weights);
/* Those of linear l of block i: of the teacher's weights the nearest that have q's codes. */
eq_status eq_lm_masters_start(eq_lm *lm, int64_t i, eq_lin l, const eq_qlinear *q, eq_err *err);
/* Room for steps as they are used (eq_lm_steps), where that is not q.s. */
void eq_lm_steps_bind(eq_lm *lm, eq_arena *a);
/* Parts of q.W, or gradients; of q.rows. */
eq_mut eq_lm_weights(const eq_lm *lm, eq_mut all, int64_t i, eq_lin l);
eq_mut eq_lm_words(const eq_lm *lm, int64_t i, eq_lin l);
/* Makes block i the current one. */
eq_status eq_lm_enter(eq_lm *lm, int64_t i, eq_err *err);
#endif

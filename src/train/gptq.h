/* GPTQ (Frantar et al., arXiv 2210.17323) for one linear: its inputs' columns are rounded one after
 * the other, and what rounding one changes is made up for by those that are still to come. Steps
 * and zero points are given before ("static groups"), columns go in their order. */
#ifndef EQ_TRAIN_GPTQ_H
#define EQ_TRAIN_GPTQ_H
#include "backend/backend.h"

enum { EQ_GPTQ_COLUMNS = 128 }; /* that are made up for one by one; the rest once behind them */
#define EQ_GPTQ_DAMP 0.01       /* of the mean of the Hessian's diagonal */

/* w [O, I], in/out: the weights become what they were when they were rounded, so that their codes
 * by equation (1) are GPTQ's. s, z [O, I / G]: steps and zero points as used. u, dead: of the
 * Hessian of the inputs (hessian.h). */
eq_status eq_gptq_linear(eq_backend *be, float *w, const float *s, const float *z, const float *u,
                         const bool *dead, eq_qshape q, eq_err *err);
#endif

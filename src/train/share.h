/* The observer of a run whose reports of progress gain the share of the whole run that is done. */
#ifndef EQ_TRAIN_SHARE_H
#define EQ_TRAIN_SHARE_H
#include "train/cost.h"

typedef struct {
    eq_observer obs;       /* what the phases report to */
    const eq_observer *to; /* the caller's */
    double ap, e2e, write; /* shares of the whole, of phases that run; all 0: not known yet */
} eq_share;

/* The observer to hand on: that of s, or NULL where nobody listens. s must not move. */
const eq_observer *eq_share_open(eq_share *s, const eq_observer *to);
void eq_share_weigh(eq_share *s, const eq_run_cost *cost, const eq_config *c);

#endif

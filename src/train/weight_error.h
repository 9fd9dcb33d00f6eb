/* How far a quantized block's weights are from the model's, for the log. */
#ifndef EQ_TRAIN_WEIGHT_ERROR_H
#define EQ_TRAIN_WEIGHT_ERROR_H
#include "model/qblock.h"

/* An event "linears" for block i: for each linear sqrt(sum (w_hat - w)^2 / sum w^2). Nothing where
 * nobody takes events. */
eq_status eq_weight_error_say(const eq_qblock *b, const eq_weights *src, int64_t i,
                              const eq_observer *obs, eq_err *err);
#endif

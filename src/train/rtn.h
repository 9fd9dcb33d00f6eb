/* Round-to-nearest: the min-max start of a block, finalised. Needs no data. */
#ifndef EQ_TRAIN_RTN_H
#define EQ_TRAIN_RTN_H
#include "backend/backend.h"
#include "model/qblock.h"

/* Block i of src into *out, whose shapes say bits and groups. */
eq_status eq_rtn_block(eq_backend *be, const eq_weights *src, int64_t i, eq_qblock *out,
                       eq_err *err);
/* Says how many steps of block i are held at their floor, in an event and a note, where some are.
 */
void eq_rtn_say_held(const eq_qblock *b, const eq_config *c, int64_t i, const eq_observer *obs);
#endif

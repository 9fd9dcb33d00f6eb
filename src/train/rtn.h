/* Round-to-nearest: the start of a block, finalised. Needs no data. */
#ifndef EQ_TRAIN_RTN_H
#define EQ_TRAIN_RTN_H
#include "backend/backend.h"
#include "model/qblock.h"

/* s and z of weights w, shaped as for fq_init, from their groups' ranges. */
void eq_first_grid(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q, eq_range range);
/* Block i of src into *out, whose shapes say bits and groups. */
eq_status eq_rtn_block(eq_backend *be, const eq_weights *src, int64_t i, eq_range range,
                       eq_qblock *out, eq_err *err);
/* Says how many steps of block i are held at their floor, in an event and a note, where some are.
 */
void eq_rtn_say_held(const eq_qblock *b, const eq_config *c, int64_t i, const eq_observer *obs);
#endif

/* Round-to-nearest: the min-max start of a block, finalised. Needs no data. */
#ifndef EQ_TRAIN_RTN_H
#define EQ_TRAIN_RTN_H
#include "backend/backend.h"
#include "model/qblock.h"

/* Block i of src into *out, whose shapes say bits and groups. */
eq_status eq_rtn_block(eq_backend *be, const eq_weights *src, int64_t i, eq_qblock *out,
                       eq_err *err);
#endif

/* What the files of qblock*.c share. */
#ifndef EQ_MODEL_QBLOCK_PARTS_H
#define EQ_MODEL_QBLOCK_PARTS_H
#include "model/qblock.h"

/* Reading fills a block that is allocated already, or allocates one that is all zero. */
eq_status eq_qblock_have(eq_qblock *b, bool *own, const eq_config *c, const eq_schemes *t,
                         int64_t i, eq_err *err);
/* Elements [from, from + n) of p, which stand at the same places in t. */
eq_status eq_qblock_check_finite(const float *p, int64_t from, int64_t n, const eq_tensor *t,
                                 eq_err *err);
#endif

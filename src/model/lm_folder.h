/* A model folder, full precision or quantized, opened for inference. */
#ifndef EQ_MODEL_LM_FOLDER_H
#define EQ_MODEL_LM_FOLDER_H
#include "model/lm.h"

/* Forward passes over windows of up to B x T tokens. A quantized folder computes with what runtimes
 * will read: fp16 steps, integer zero points. */
eq_status eq_lm_open_folder(eq_lm **lm, eq_backend *be, const eq_weights *src, eq_precision prec,
                            int64_t B, int64_t T, eq_err *err);
#endif

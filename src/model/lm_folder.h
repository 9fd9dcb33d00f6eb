/* A model folder, full precision or quantized, opened for inference. */
#ifndef EQ_MODEL_LM_FOLDER_H
#define EQ_MODEL_LM_FOLDER_H
#include "model/lm.h"

/* Forward passes over windows of up to B x T tokens. as_written: with the fp16 steps that other
 * runtimes read, else with the trained fp32 steps where eqat.state has them. What does not
 * fit into compute->memory_limit is refused before anything is computed. */
eq_status eq_lm_open_folder(eq_lm **lm, eq_backend *be, const eq_weights *src,
                            const eq_compute_opts *compute, bool as_written, int64_t B, int64_t T,
                            eq_err *err);
/* For eq_lm_forward_shared: up to so many rows, places, and positions of a window. */
eq_status eq_lm_open_shared(eq_lm **lm, eq_backend *be, const eq_weights *src,
                            const eq_compute_opts *compute, bool as_written, int64_t rows,
                            int64_t places, int64_t longest, eq_err *err);
/* One sequence that grows by pieces of up to T tokens, to `context` in all (lm_resident.h). */
eq_status eq_lm_open_context(eq_lm **lm, eq_backend *be, const eq_weights *src,
                             const eq_compute_opts *compute, int64_t T, int64_t context,
                             eq_err *err);
#endif

/* Attention sinks: tokens, mostly a window's first, whose activations are hundreds of times as
 * large as all others ("massive activations", Sun et al., arXiv 2402.17762). In SmolLM2-135M one
 * position of 512 holds 98 % of the power of a stream from block 11 to 27. What the quantized model
 * gets wrong there no later block can mend, as it passes by them, yet it would be nearly all of
 * their losses and gradients. */
#ifndef EQ_TRAIN_SINKS_H
#define EQ_TRAIN_SINKS_H
#include "base/mem.h"
#include "base/num.h"

/* Rows of a window, [T, D], with more than this times the power of the full-precision window's
 * median row are sinks. */
#define EQ_SINK_RATIO 100

/* Rows that are sinks in either window become the full-precision one's in the quantized one. Both
 * on the host, of type dt (BF16 or F32). *n: how many there are. */
eq_status eq_sinks_copy(void *quantized, const void *full, eq_dtype dt, int64_t T, int64_t D,
                        int64_t *n, eq_err *err);
#endif

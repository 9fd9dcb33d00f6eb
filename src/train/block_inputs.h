/* What the linears of a block take in, looked at before the block is rounded: X^T X of every input
 * on the training windows of the quantized stream, through the full-precision block. GPTQ's and
 * AWQ's starts read it. */
#ifndef EQ_TRAIN_BLOCK_INPUTS_H
#define EQ_TRAIN_BLOCK_INPUTS_H
#include "train/block_job.h"

typedef enum { EQ_IN_NORMED, EQ_IN_ATTENDED, EQ_IN_NORMED2, EQ_IN_GATED, EQ_INS } eq_in;
typedef struct {
    int64_t I; /* its width */
    int n;     /* of the linears that share it */
    eq_lin lin[3];
} eq_in_spec;
eq_in_spec eq_in_of(const eq_config *c, eq_in k);

typedef struct {
    eq_mut h[EQ_INS];     /* F32 [I, I] */
    double *mean[EQ_INS]; /* host [I]: of |x|; NULL where it is not wanted */
    eq_arena a;           /* of h */
} eq_block_inputs;

int64_t eq_block_inputs_bytes(const eq_config *c); /* of h */
/* means: those of |x| too. what names the memory in an error. Close it, on failure too. */
eq_status eq_block_inputs_open(eq_block_inputs *x, eq_backend *be, const eq_config *c, bool means,
                               const char *what, eq_err *err);
void eq_block_inputs_close(eq_block_inputs *x);
eq_status eq_block_inputs_gather(eq_block_ap *j, int64_t i, eq_block_inputs *x,
                                 const eq_observer *obs, eq_err *err);
#endif

/* Small quantized checkpoints with codes, steps and zero points made up, for tests of what reads
 * and exports them. */
#ifndef TESTS_TINY_QUANT_H
#define TESTS_TINY_QUANT_H
#include "model/qblock.h"

typedef enum {
    TINY_FREE,     /* z anywhere, 0 and Q among them */
    TINY_PORTABLE, /* 2^(bits - 1) - 1 or 2^(bits - 1) */
    TINY_SHORT,    /* free z, steps of 7 significant bits */
    TINY_GRID      /* z = 2^(bits - 1), steps whole multiples (1 to 15) of one of 256 weights */
} tiny_zeros;

typedef struct {
    int bits;
    int64_t group;
    tiny_zeros zeros;
    int trained; /* as E2E-QP leaves them in eqat.state: 1: steps beside fp16 numbers, 2: real z */
} tiny_quant;

/* One block's numbers, which depend on the settings, the block and the linear alone. */
void tiny_quant_block(eq_qblock *b, const tiny_quant *o, int64_t block);
/* A checkpoint of the full-precision folder `base` in `out`; aborts the test where it cannot. */
void tiny_quant_write(const char *base, const char *out, const tiny_quant *o);
#endif

/* What the buffers of a case are filled with. */
#ifndef EQ_BENCH_OP_DATA_H
#define EQ_BENCH_OP_DATA_H
#include "op_cases.h"

enum {
    EQ_FILL_NONE,
    EQ_FILL_VALUES,  /* activations, by flavour */
    EQ_FILL_UNIT,    /* N(0, 1) whatever the flavour */
    EQ_FILL_LOGITS,  /* as values, larger */
    EQ_FILL_QUERIES, /* large: scores of 300, beyond exp's range */
    EQ_FILL_MOMENTS, /* AdamW's first moment, */
    EQ_FILL_SQUARES, /* its second one, not negative, */
    EQ_FILL_GRADS,   /* its gradient */
    EQ_FILL_WEIGHTS, /* what is quantized, by flavour */
    EQ_FILL_STEPS,   /* s */
    EQ_FILL_ZEROS,   /* z, real numbers */
    EQ_FILL_CODES,   /* U8 of d[3] bits: z, integers */
    EQ_FILL_WORDS,   /* packed integers: any bits */
    EQ_FILL_TARGETS, /* I32, -1 .. V - 1, V = d[1] */
    EQ_FILL_ROWS,    /* I32, -1 .. d[2] - 1: numbers of rows */
    EQ_FILL_AT,      /* I32: d[6], a place */
    EQ_FILL_COS,
    EQ_FILL_SIN,
    EQ_FILL_TOTAL /* F64 that something is added to */
};

/* The quantized matrix of a case: O, I, G, bits = d[0 .. 3], grid = d[5]. */
static inline eq_qshape eq_case_qshape(const eq_op_case *c) {
    return (eq_qshape){c->d[0], c->d[1], c->d[2], (int)c->d[3], (eq_grid)c->d[5]};
}
#endif

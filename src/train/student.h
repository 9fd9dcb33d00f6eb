/* The trainable copy of one block: fp32 masters of W, s, z and the norms with their AdamW moments
 * (METHOD section 2). Fake-quantized weights are made one linear at a time when a product needs
 * them, and rows are updated the moment their gradient exists, so neither copies of all weights nor
 * a whole gradient matrix are ever kept. */
#ifndef EQ_TRAIN_STUDENT_H
#define EQ_TRAIN_STUDENT_H
#include "model/block.h"
#include "model/qblock.h"

typedef struct {
    eq_mut p, m, v; /* F32; moments n == 0: not trained */
} eq_param;

/* AdamW rates of one update: of s and z; of W and the norms; of what else may be trained. */
typedef struct {
    double quant, weight, clip, offset;
} eq_rates;

typedef struct {
    eq_backend *be;
    const eq_config *cfg;
    eq_schemes schemes;
    int64_t block;  /* the one that W, s and z are of */
    unsigned train; /* set of EQ_TRAIN_* */
    eq_range range; /* of the start; set after eq_student_bind where it is not min-max */
    eq_param W[EQ_LINS], s[EQ_LINS], z[EQ_LINS], norm[EQ_NORM_COUNT];
    eq_param clip[EQ_LINS], offset[EQ_LINS]; /* n == 0 where not trained; then s and z follow from
                                                clip, and W is rounded with its offsets */
    eq_mut ds, dz;          /* of the largest linear; also scratch when finalising */
    eq_mut dclip, moved;    /* of the largest linear, where needed; moved: W with its offsets */
    eq_mut used;            /* likewise: steps on the grid of a K type */
    eq_mut rows;            /* packed integers of one linear */
    eq_mut total;           /* F64 [1] */
    const eq_block_w *kept; /* fake-quantized weights that follow every update; NULL: none */
    bool stale;             /* the masters are not what kept was made from */
    int64_t step;           /* updates done */
    eq_rates lr;            /* of the update under way */
} eq_student;

/* Room for any block of the model. */
void eq_student_bind(eq_student *st, eq_arena *a, const eq_config *c, const eq_schemes *t,
                     unsigned train);
/* From here on it is block i, with undefined masters: eq_student_start or a snapshot fills them. */
void eq_student_turn(eq_student *st, int64_t i);
/* Block i from its full-precision weights: the grid's start, moments zero. */
eq_status eq_student_start(eq_student *st, const eq_weights *src, int64_t i, eq_err *err);
/* The start's grid again, from what W has become; nothing learned yet. */
void eq_student_regrid(eq_student *st);
eq_qshape eq_student_shape(const eq_student *st, eq_lin l);
/* Rows [row, row + rows) of W as equation (1) rounds them with the steps s of these rows: with
 * their offsets where those are trained, then good until the next call. */
eq_view eq_student_rows(const eq_student *st, eq_lin l, int64_t row, int64_t rows, eq_view s);
/* Steps of the same rows as they are used: s, or on the grid of a K type what that makes of s, then
 * good until the next call. */
eq_view eq_student_steps(const eq_student *st, eq_lin l, int64_t row, int64_t rows);
/* Linear l fake-quantized (equations 1, 2) into w; for eq_block_w, with the student as context. */
void eq_student_make(void *student, eq_lin l, eq_mut w);
/* What the student is so far into w: the norms, and weights that are kept and stale. */
void eq_student_show(eq_student *st, eq_block_w *w);
/* Begins an update with these rates; then eq_student_sink takes rows of each dW (an eq_dw_sink with
 * the student as context) and eq_student_norms the norms' gradients. */
void eq_student_step(eq_student *st, eq_rates lr);
void eq_student_sink(void *student, eq_lin l, int64_t row, int64_t rows, int64_t window, eq_mut dw);
void eq_student_norms(eq_student *st, const eq_block_acts *acts);
/* True when every master is finite. */
eq_status eq_student_finite(eq_student *st, bool *finite, eq_err *err);
/* Step 4 of METHOD section 2: s to fp16, z to integers, codes from fp32 W and that s; the student
 * stays as it is. (Plain round-to-nearest, rtn.h, takes its codes from the fp32 s.) */
eq_status eq_student_finalise(eq_student *st, eq_qblock *out, eq_err *err);
/* Room for all linears of one block in the type ct, in place of the masters W, which are then gone
 * until the next eq_student_start. Biases and norms are those of w. */
eq_block_w eq_student_room(const eq_student *st, const eq_block_w *w, eq_dtype ct);
/* A finished block's weights into w (eq_student_room), as runtimes will compute with them. */
void eq_student_load(eq_student *st, const eq_qblock *b, eq_block_w *w);
#endif

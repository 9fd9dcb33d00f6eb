/* One quantized transformer block on the host: what RTN and Block-AP produce, what E2E-QP trains,
 * what a checkpoint is written from and read into, and what a work folder keeps for --resume. */
#ifndef EQ_MODEL_QBLOCK_H
#define EQ_MODEL_QBLOCK_H
#include "backend/backend.h"
#include "model/weights.h"

typedef struct {
    int bits;
    eq_grid grid;
    int64_t O, I, G; /* G > 0 */
    uint32_t *rows;  /* [O, eq_pack_words(I, bits)], see quant/pack.h */
    float *s;        /* [O, I / G]: fp16 values after Block-AP, any fp32 after E2E-QP */
    float *z;        /* [O, I / G]: integers, or trained reals (rounded when written as GPTQ) */
    int64_t held;    /* steps at their floor, counted by who makes the block; 0 when it is read */
} eq_qlinear;

typedef struct {
    eq_qlinear lin[EQ_LINS];
    float *norm[EQ_NORM_COUNT]; /* fp32, NULL where the model has none */
    /* How its training went; kept in work files alone. */
    int64_t rollbacks; /* losses that were not finite */
    bool untrained;    /* no epoch held: round-to-nearest */
} eq_qblock;

/* The shape that operations see. */
static inline eq_qshape eq_qlinear_shape(const eq_qlinear *q) {
    return (eq_qshape){q->O, q->I, q->G, q->bits, q->grid};
}

/* Its weights by equation (2), rows [o, o + n); ctx: an eq_qlinear. */
void eq_qlinear_rows(const void *ctx, float *out, int64_t o, int64_t n);

/* Room for any block of the model; it is block 0. eq_qblock_turn makes it block i, whatever it
 * holds undefined. Those below turn what they fill. */
eq_status eq_qblock_alloc(eq_qblock *b, const eq_config *c, const eq_schemes *t, eq_err *err);
void eq_qblock_turn(eq_qblock *b, const eq_config *c, const eq_schemes *t, int64_t i);
void eq_qblock_free(eq_qblock *b);
int64_t eq_qblock_bytes(const eq_config *c, const eq_schemes *t); /* host memory of one */

/* Read and load fill a block that is allocated, or allocate one that is all zero ({0}).
 * From a quantized model folder: fp32 s and z of eqat.state where present, else scales and
 * qzeros. Checks z <= Q, g_idx == i / G, finite s, and that the state rounds to what is written. */
eq_status eq_qblock_read(eq_qblock *b, const eq_weights *w, int64_t block, eq_err *err);

/* Work files: one safetensors file a block, written atomically, sealed (base/io.h). Loading checks
 * the seal and the shapes. */
eq_status eq_qblock_save(const eq_qblock *b, const eq_config *c, const char *path, eq_err *err);
eq_status eq_qblock_load(eq_qblock *b, const eq_config *c, const eq_schemes *t, int64_t i,
                         const char *path, eq_err *err);
#endif

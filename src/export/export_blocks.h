/* Blocks on their way out: as written, with other zero points, compared. */
#ifndef EQ_EXPORT_BLOCKS_H
#define EQ_EXPORT_BLOCKS_H
#include "export/export.h"

/* Files of some families join linears to one tensor (EQ_LINEARS_IN_FILES), which goes by the first
 * of them. */
static inline bool eq_export_leads(const eq_config *c, eq_lin l) { return !eq_lin_of(c, l).first; }
/* bits, O, I, G of the tensor that a linear begins; rows, s, z are NULL. */
eq_qlinear eq_export_shape(const eq_weights *w, int64_t block, eq_lin l);
/* "model.layers.3.mlp.up_proj" */
void eq_export_name(char out[96], const eq_weights *w, int64_t block, eq_lin l);
/* The tensor itself: the linear of the block, or all that are joined, copied. */
eq_status eq_export_join(eq_qlinear *t, const eq_qblock *b, const eq_config *c, eq_lin l,
                         eq_err *err);
void eq_export_join_free(eq_qlinear *t, const eq_qblock *b, eq_lin l);

/* Steps as they are stored and zero points as whole numbers: what other readers of the model see.
 * Fills a block that is allocated, or allocates one that is all zero. */
eq_status eq_export_block(eq_qblock *b, const eq_weights *w, int64_t block, bool real, eq_err *err);

/* (q - z) s = ((Q - q) - (Q - z)) (-s): codes of the groups for which `turn` says so are reversed,
 * no weight changes. */
eq_status eq_turn_groups(eq_qlinear *q, bool (*turn)(float s, float z, int bits), eq_err *err);
/* Every zero point becomes 2^(bits - 1). Exact where it was that or one less; else the first that
 * is not is named, or with `lossy` the nearest codes are taken. */
eq_status eq_make_symmetric(eq_qlinear *q, const char *name, bool lossy, eq_err *err);
/* Steps as fp16: [O, NG], or turned round to [NG, O]. What fp16 does not hold is an error, or
 * rounded with `lossy`. */
eq_status eq_put_steps(uint16_t *to, bool turned, const eq_qlinear *q, const char *name, bool lossy,
                       eq_err *err);

/* Rows [o, o + n) of a matrix as numbers, [n, its columns]. */
typedef struct {
    void (*get)(const void *ctx, float *out, int64_t o, int64_t n);
    const void *ctx;
} eq_rows;
void eq_tensor_rows(const void *t, float *out, int64_t o, int64_t n); /* t: eq_tensor */

/* Every number of [O, I] against what it was. The first difference is an error that names it,
 * unless it may differ; x->diff counts. -0 is 0. */
eq_status eq_compare_rows(eq_export_job *x, const char *name, int64_t O, int64_t I, eq_rows was,
                          eq_rows is, bool may_differ, eq_err *err);

/* `bits` bits from a little-endian stream. For readers; writers pack by quant/pack.h. */
static inline unsigned eq_bits_at(const void *bytes, int64_t bit, int bits) {
    const uint8_t *p = (const uint8_t *)bytes;
    unsigned v = 0;
    for (int k = 0; k < bits; k++, bit++) v |= (p[bit >> 3] >> (bit & 7) & 1u) << k;
    return v;
}
#endif

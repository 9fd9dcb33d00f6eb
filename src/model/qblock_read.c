/* A block of a quantized folder, whatever its layout. Invariant: after a read every step and zero
 * point is finite, and the zero point is a code. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/layouts.h"
#include "model/qblock_parts.h"
#include "quant/number.h"
#include "quant/pack.h"

static eq_status check_g_idx(const eq_tensor *t, int64_t G, eq_err *err) {
    const int32_t *g = t->data;
    for (int64_t i = 0; i < t->n; i++)
        if (g[i] != i / G)
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %s: expected group %lld at input %lld, found %d (activation "
                           "order is not supported)",
                           t->file, t->name, (long long)(i / G), (long long)i, (int)g[i]);
    return EQ_OK;
}

enum { TILE = 64 }; /* outputs an item reads */
typedef struct {
    eq_qlinear *q;
    const eq_lin_spec *spec;                 /* which rows of the tensors below they are */
    const eq_tensor *scales, *zeros, *s, *z; /* s and z NULL: no state */
    const uint8_t *stored;                   /* zero points, unpacked */
    const eq_layout_spec *layout;
} group_job;

/* scales [NG, O], or [O, NG] as they are, -> s [O, NG] */
static eq_status read_scales(const group_job *j, int64_t o, int64_t n, eq_err *err) {
    const eq_qlinear *q = j->q;
    const eq_tensor *t = j->scales;
    int64_t NG = q->I / q->G;
    for (int64_t g = 0; g < NG; g++)
        for (int64_t k = o; k < o + n; k++) {
            int64_t row = eq_lin_row(j->spec, k);
            int64_t at = j->layout->turned ? g * j->spec->rows + row : row * NG + g;
            q->s[k * NG + g] = eq_load(t->data, t->dt, at);
        }
    return eq_qblock_check_finite(q->s, o * NG, n * NG, t, err);
}

/* Version 1 stores z - 1 in N bits, so a stored Q is either z = Q + 1 or the wrapped z = 0: readers
 * disagree about it, and it is refused, unless the file says who wrote it
 * (EQ_LAYOUT_GPTQ_V1_WORDS).
 */
static eq_status read_zeros(const group_job *j, int64_t from, int64_t n, eq_err *err) {
    const eq_qlinear *q = j->q;
    int64_t NG = q->I / q->G;
    for (int64_t i = from; i < from + n; i++) {
        int v = j->stored[eq_lin_row(j->spec, i / NG) * NG + i % NG] + j->layout->plus;
        q->z[i] = (float)v;
        if (v >= 1 << q->bits)
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %s: expected zero points up to %d, found %d at output %lld, "
                           "group %lld%s",
                           j->zeros->file, j->zeros->name, (1 << q->bits) - 1, v,
                           (long long)(i / NG), (long long)(i % NG),
                           j->layout->plus ? " (0 looks the same in GPTQ version 1)" : "");
    }
    return EQ_OK;
}

/* The trained values replace the written ones, which must be their rounding: else the two files are
 * of different checkpoints. */
static eq_status take_state(const group_job *j, int64_t from, int64_t n, eq_err *err) {
    const eq_qlinear *q = j->q;
    const float *ts = j->s->data, *tz = j->z->data;
    EQ_TRY(eq_qblock_check_finite(ts, from, n, j->s, err));
    EQ_TRY(eq_qblock_check_finite(tz, from, n, j->z, err));
    for (int64_t i = from; i < from + n; i++) {
        float ws = eq_f16_to_f32(eq_f32_to_f16(ts[i])), wz = eq_z_used(tz[i], q->bits, q->grid);
        if (ws != q->s[i] || wz != q->z[i])
            return eq_fail(
                err, EQ_EINPUT,
                "%s: tensor %s: expected values that round to the model's (step %g, zero "
                "%g), found %g, %g at element %lld",
                j->s->file, j->s->name, (double)q->s[i], (double)q->z[i], (double)ts[i],
                (double)tz[i], (long long)i);
    }
    memcpy(q->s + from, ts + from, (size_t)n * sizeof *ts);
    memcpy(q->z + from, tz + from, (size_t)n * sizeof *tz);
    return EQ_OK;
}

static eq_status read_groups(void *ctx, int64_t item, eq_err *err) {
    const group_job *j = ctx;
    int64_t NG = j->q->I / j->q->G, o = item * TILE, n = j->q->O - o < TILE ? j->q->O - o : TILE;
    EQ_TRY(read_scales(j, o, n, err));
    EQ_TRY(read_zeros(j, o * NG, n * NG, err));
    return j->s ? take_state(j, o * NG, n * NG, err) : EQ_OK;
}

/* rows: room for all of the tensor where it is joined, else q->rows. */
static eq_status read_tensor(eq_qlinear *q, const eq_lin_spec *spec, const eq_block_tensors *t,
                             int l, const eq_layout_spec *layout, uint8_t *z, uint32_t *rows,
                             eq_err *err) {
    int64_t NG = q->I / q->G, words = eq_pack_words(q->I, q->bits);
    layout->rows(rows, t->qweight[l], spec->rows, q->I, q->bits);
    layout->zeros(z, t->qzeros[l], spec->rows, NG, q->bits);
    for (int64_t o = 0; rows != q->rows && o < q->O; o++)
        memcpy(q->rows + o * words, rows + eq_lin_row(spec, o) * words,
               (size_t)words * sizeof *rows);
    group_job j = {.q = q,
                   .spec = spec,
                   .scales = t->scales[l],
                   .zeros = t->qzeros[l],
                   .s = t->state_s[l],
                   .z = t->state_z[l],
                   .stored = z,
                   .layout = layout};
    return eq_par_try((q->O + TILE - 1) / TILE, read_groups, &j, err);
}

static eq_status read_linear(eq_qlinear *q, const eq_config *c, const eq_block_tensors *t, int l,
                             eq_err *err) {
    eq_lin_spec spec = eq_lin_of(c, (eq_lin)l);
    int64_t NG = q->I / q->G, words = eq_pack_words(q->I, q->bits);
    if (t->g_idx[l]) EQ_TRY(check_g_idx(t->g_idx[l], q->G, err));
    bool joined = spec.rows != q->O;
    uint8_t *z = eq_calloc(spec.rows * NG, 1);
    uint32_t *rows = joined ? eq_calloc(spec.rows * words, sizeof *rows) : q->rows;
    eq_status st = z && rows ? read_tensor(q, &spec, t, l, eq_layout_of(c->layout), z, rows, err)
                             : eq_nomem(err, "a quantized linear", spec.rows * (NG + 4 * words));
    if (joined) eq_free(rows);
    eq_free(z);
    return st;
}

static eq_status read_block(eq_qblock *b, const eq_weights *w, const eq_block_tensors *t,
                            eq_err *err) {
    for (int l = 0; l < EQ_LINS; l++) EQ_TRY(read_linear(&b->lin[l], &w->cfg, t, l, err));
    for (int n = 0; n < EQ_NORM_COUNT; n++) {
        const eq_tensor *norm = t->norm[n];
        if (!b->norm[n]) continue;
        eq_convert(b->norm[n], EQ_F32, norm->data, norm->dt, norm->n);
        EQ_TRY(eq_qblock_check_finite(b->norm[n], 0, norm->n, norm, err));
    }
    return EQ_OK;
}

eq_status eq_qblock_read(eq_qblock *b, const eq_weights *w, int64_t block, eq_err *err) {
    bool own;
    if (!eq_config_quantized(&w->cfg))
        return eq_fail(err, EQ_EINPUT, "%s: expected a quantized model, found full precision",
                       w->dir);
    EQ_TRY(eq_qblock_have(b, &own, &w->cfg, &w->cfg.schemes, block, err));
    eq_status st = read_block(b, w, &w->blocks[block], err);
    if (st != EQ_OK && own) eq_qblock_free(b);
    return st;
}

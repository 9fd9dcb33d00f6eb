/* See rtn.h. Linears go through in runs of rows that stay in the cache from the file's bytes to the
 * packed integers: a whole fp32 matrix would cost more in fresh pages than all its arithmetic.
 * Invariant: rows do not know of each other, so the runs' length shows in no result. */
#include "train/rtn.h"

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "base/str.h"
#include "quant/kgrid.h"
#include "quant/pack.h"

enum { RUN = 1 << 20, PIECE = 1 << 14 }; /* weights of a run, steps of an item */

typedef struct {
    eq_mut w, s, z, rows;
} buffers;

static int64_t rows_of_run(const eq_qlinear *q) {
    int64_t n = RUN / q->I;
    return n < 1 ? 1 : n < q->O ? n : q->O;
}

/* Large enough for a run of any linear. */
static void bind(buffers *b, eq_arena *a, const eq_qblock *out) {
    int64_t w = 0, groups = 0, words = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &out->lin[l];
        int64_t n = rows_of_run(q);
        if (n * q->I > w) w = n * q->I;
        if (n * (q->I / q->G) > groups) groups = n * (q->I / q->G);
        if (n * eq_pack_words(q->I, q->bits) > words) words = n * eq_pack_words(q->I, q->bits);
    }
    b->w = eq_take(a, EQ_F32, w);
    b->s = eq_take(a, EQ_F32, groups), b->z = eq_take(a, EQ_F32, groups);
    b->rows = eq_take(a, EQ_U32, words);
}

/* Rows [o, o + n). The integers come from the fp32 steps; fp16 ones are written beside them. */
static eq_status run(eq_backend *be, const buffers *b, const eq_weights *src, int64_t i, eq_lin l,
                     eq_range range, eq_qlinear *q, int64_t o, int64_t n, eq_err *err) {
    int64_t NG = q->I / q->G, words = eq_pack_words(q->I, q->bits);
    eq_qshape shape = eq_qlinear_shape(q);
    eq_mut w = eq_mut_at(b->w, 0, n * q->I), rows = eq_mut_at(b->rows, 0, n * words);
    eq_mut s = eq_mut_at(b->s, 0, n * NG), z = eq_mut_at(b->z, 0, n * NG);
    EQ_TRY(eq_weights_check_rows(src, i, l, o, n, err));
    eq_weights_put_rows(src, i, l, o, n, be, w);
    shape.O = n;
    eq_first_grid(be, s, z, eq_ro(w), shape, range);
    if (eq_k_grid(q->grid)) EQ_DO(be, fq_steps, s, eq_ro(s), eq_ro(w), shape);
    EQ_DO(be, fq_pack, rows, s, z, eq_ro(w), shape);
    be->download(be, q->rows + o * words, EQ_U32, eq_ro(rows));
    be->download(be, q->s + o * NG, EQ_F32, eq_ro(s));
    be->download(be, q->z + o * NG, EQ_F32, eq_ro(z));
    EQ_TRY(be->sync(be, err));
    for (int64_t k = o * NG; k < (o + n) * NG; k++) q->held += eq_s_held(q->s[k]);
    return EQ_OK;
}

static void round_steps(void *ctx, int64_t item, int thread) {
    const eq_qlinear *q = ctx;
    int64_t n = q->O * (q->I / q->G), end = (item + 1) * PIECE < n ? (item + 1) * PIECE : n;
    (void)thread;
    for (int64_t i = item * PIECE; i < end; i++) q->s[i] = eq_f16_to_f32(eq_f32_to_f16(q->s[i]));
}

static eq_status linears(eq_backend *be, const buffers *b, const eq_weights *src, int64_t i,
                         eq_range range, eq_qblock *out, eq_err *err) {
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_qlinear *q = &out->lin[l];
        int64_t step = rows_of_run(q);
        q->held = 0;
        for (int64_t o = 0; o < q->O; o += step)
            EQ_TRY(run(be, b, src, i, l, range, q, o, step < q->O - o ? step : q->O - o, err));
        eq_par_for((q->O * (q->I / q->G) + PIECE - 1) / PIECE, round_steps, q);
    }
    return EQ_OK;
}

void eq_first_grid(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q, eq_range range) {
    if (range == EQ_RANGE_MSE)
        EQ_DO(be, fq_shrink, s, z, w, q);
    else
        EQ_DO(be, fq_init, s, z, w, q);
}

eq_status eq_rtn_block(eq_backend *be, const eq_weights *src, int64_t i, eq_range range,
                       eq_qblock *out, eq_err *err) {
    const eq_block_tensors *t = &src->blocks[i];
    buffers b;
    eq_arena a = {0};
    bind(&b, &a, out);
    EQ_TRY(eq_arena_alloc(&a, be, "a run of rows", err));
    bind(&b, &a, out);
    eq_status st = linears(be, &b, src, i, range, out, err);
    eq_arena_free(&a);
    for (int n = 0; n < EQ_NORM_COUNT; n++)
        if (out->norm[n])
            eq_convert(out->norm[n], EQ_F32, t->norm[n]->data, t->norm[n]->dt, t->norm[n]->n);
    return st;
}

void eq_rtn_say_held(const eq_qblock *b, const eq_config *c, int64_t i, const eq_observer *obs) {
    int64_t held = 0, all = 0;
    eq_str linears = {0};
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &b->lin[l];
        all += q->O * (q->I / q->G);
        if (!q->held) continue;
        eq_str_printf(&linears, "%s\"%s\":%lld", held ? "," : "", eq_lin_of(c, l).name,
                      (long long)q->held);
        held += q->held;
    }
    if (held && linears.p) {
        eq_event(obs,
                 "{\"event\":\"steps_at_floor\",\"block\":%lld,\"steps\":%lld,\"of\":%lld,"
                 "\"linears\":{%s}}",
                 (long long)i, (long long)held, (long long)all, linears.p);
        eq_note(
            obs,
            "block %lld: %lld of %lld group steps are held at their floor (weights that are all "
            "equal, or too small for fp16 steps)",
            (long long)i, (long long)held, (long long)all);
    }
    eq_str_free(&linears);
}

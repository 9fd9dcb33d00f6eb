/* See student.h. */
#include "train/student.h"

#include <math.h>

#include "quant/kgrid.h"
#include "quant/pack.h"
#include "train/rtn.h"

static eq_qshape shape_in(const eq_student *st, int64_t block, eq_lin l) {
    eq_lin_spec s = eq_lin_of(st->cfg, l);
    eq_scheme q = eq_scheme_at(&st->schemes, block, l);
    return (eq_qshape){s.O, s.I, eq_group(q.group, s.I), q.bits, q.grid};
}
static eq_qshape shape(const eq_student *st, eq_lin l) { return shape_in(st, st->block, l); }
eq_qshape eq_student_shape(const eq_student *st, eq_lin l) { return shape(st, l); }
static int64_t groups(eq_qshape q) { return q.O * (q.I / q.G); }
static int64_t words(eq_qshape q) { return q.O * eq_pack_words(q.I, q.bits); }

static eq_param take(eq_arena *a, int64_t n, bool trained) {
    return (eq_param){.p = eq_take(a, EQ_F32, n),
                      .m = trained ? eq_take(a, EQ_F32, n) : EQ_NONE_MUT,
                      .v = trained ? eq_take(a, EQ_F32, n) : EQ_NONE_MUT};
}

void eq_student_bind(eq_student *st, eq_arena *a, const eq_config *c, const eq_schemes *t,
                     unsigned train) {
    int64_t most_groups = 0, most_words = 0, most_weights = 0;
    st->cfg = c, st->schemes = *t, st->train = train;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_qshape q = shape_in(st, 0, l);
        int64_t n = 0; /* groups in the block that has most of them */
        for (int64_t i = 0; i < (t->at ? c->L : 1); i++) {
            q = shape_in(st, i, l);
            if (groups(q) > n) n = groups(q);
            if (words(q) > most_words) most_words = words(q);
        }
        st->W[l] = take(a, q.O * q.I, train & EQ_TRAIN_W);
        st->s[l] = take(a, n, train & EQ_TRAIN_S);
        st->z[l] = take(a, n, train & EQ_TRAIN_Z);
        st->clip[l] = train & EQ_TRAIN_CLIP ? take(a, 2 * n, true) : (eq_param){0};
        st->offset[l] = train & EQ_TRAIN_ROUND ? take(a, q.O * q.I, true) : (eq_param){0};
        if (n > most_groups) most_groups = n;
        if (q.O * q.I > most_weights) most_weights = q.O * q.I;
    }
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        eq_norm_spec s = eq_norm_of(c, n);
        st->norm[n] = s.exists ? take(a, s.n, train & EQ_TRAIN_NORM) : (eq_param){0};
    }
    st->ds = eq_take(a, EQ_F32, most_groups);
    st->dz = eq_take(a, EQ_F32, most_groups);
    st->dclip = train & EQ_TRAIN_CLIP ? eq_take(a, EQ_F32, 2 * most_groups) : EQ_NONE_MUT;
    st->used = eq_k_grid(t->all.grid) ? eq_take(a, EQ_F32, most_groups) : EQ_NONE_MUT;
    st->moved = train & EQ_TRAIN_ROUND ? eq_take(a, EQ_F32, most_weights) : EQ_NONE_MUT;
    st->rows = eq_take(a, EQ_U32, most_words);
    st->total = eq_take(a, EQ_F64, 1);
}

/* The arrays stay where they are, only how much of them is used changes. */
void eq_student_turn(eq_student *st, int64_t i) {
    st->block = i;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_param *const of[] = {&st->s[l], &st->z[l], &st->clip[l]};
        int64_t n = groups(shape(st, l)), size[] = {n, n, 2 * n};
        for (int k = 0; k < 3; k++) {
            if (of[k]->p.n) of[k]->p.n = size[k];
            if (of[k]->m.n) of[k]->m.n = of[k]->v.n = size[k];
        }
    }
}

static void forget(eq_backend *be, const eq_param *p) {
    if (p->m.n) EQ_DO(be, fill, p->m, 0.0f);
    if (p->v.n) EQ_DO(be, fill, p->v, 0.0f);
}

/* The grid of linear l, and nothing learned yet. */
static void start_grid(eq_student *st, eq_lin l) {
    eq_backend *be = st->be;
    const eq_param *const of[] = {&st->W[l], &st->s[l], &st->z[l], &st->clip[l], &st->offset[l]};
    eq_mut s = st->s[l].p, z = st->z[l].p, clip = st->clip[l].p;
    for (size_t k = 0; k < sizeof of / sizeof *of; k++) forget(be, of[k]);
    if (st->offset[l].p.n) EQ_DO(be, fill, st->offset[l].p, 0.0f);
    if (clip.n) EQ_DO(be, fill, clip, EQ_CLIP_START);
    if (clip.n)
        EQ_DO(be, fq_clip, s, z, eq_ro(st->W[l].p), eq_ro(clip), shape(st, l));
    else
        eq_first_grid(be, s, z, eq_ro(st->W[l].p), shape(st, l), st->range);
}

void eq_student_regrid(eq_student *st) {
    for (eq_lin l = 0; l < EQ_LINS; l++) start_grid(st, l);
}

eq_status eq_student_start(eq_student *st, const eq_weights *src, int64_t i, eq_err *err) {
    eq_backend *be = st->be;
    const eq_block_tensors *b = &src->blocks[i];
    eq_student_turn(st, i);
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        EQ_TRY(eq_weights_check_rows(src, i, l, 0, eq_lin_of(&src->cfg, l).O, err));
        eq_weights_put_rows(src, i, l, 0, eq_lin_of(st->cfg, l).O, be, st->W[l].p);
    }
    eq_student_regrid(st);
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        if (!st->norm[n].p.n) continue;
        be->upload(be, st->norm[n].p, b->norm[n]->data, b->norm[n]->dt);
        forget(be, &st->norm[n]);
    }
    st->step = 0, st->stale = true;
    return be->sync(be, err);
}

eq_view eq_student_rows(const eq_student *st, eq_lin l, int64_t row, int64_t rows, eq_view s) {
    eq_qshape q = shape(st, l);
    int64_t at = row * q.I, n = rows * q.I;
    eq_view w = eq_ro(eq_mut_at(st->W[l].p, at, n));
    if (!st->offset[l].p.n) return w;
    eq_mut moved = eq_mut_at(st->moved, 0, n);
    q.O = rows;
    EQ_DO(st->be, fq_offset, moved, w, eq_ro(eq_mut_at(st->offset[l].p, at, n)), s, q);
    return eq_ro(moved);
}

eq_view eq_student_steps(const eq_student *st, eq_lin l, int64_t row, int64_t rows) {
    eq_qshape q = shape(st, l);
    int64_t NG = q.I / q.G;
    eq_view s = eq_ro(eq_mut_at(st->s[l].p, row * NG, rows * NG));
    if (!eq_k_grid(q.grid)) return s;
    eq_mut used = eq_mut_at(st->used, 0, s.n);
    q.O = rows;
    EQ_DO(st->be, fq_steps, used, s, eq_ro(eq_mut_at(st->W[l].p, row * q.I, rows * q.I)), q);
    return eq_ro(used);
}

void eq_student_make(void *student, eq_lin l, eq_mut w) {
    const eq_student *st = student;
    eq_qshape q = shape(st, l);
    eq_view s = eq_student_steps(st, l, 0, q.O), z = eq_ro(st->z[l].p);
    EQ_DO(st->be, fq_fwd, w, eq_student_rows(st, l, 0, q.O, s), s, z, q);
}

void eq_student_show(eq_student *st, eq_block_w *w) {
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++)
        if (st->norm[n].p.n) eq_norm_weight(st->be, st->cfg, w->norm[n], eq_ro(st->norm[n].p));
    for (eq_lin l = 0; st->kept && st->stale && l < EQ_LINS; l++)
        eq_student_make(st, l, st->kept->w[l]);
    st->stale = false;
}

/* ---- the end of a block ---------------------------------------------------------------------- */

static void add_squares(eq_student *st, const eq_param *p) {
    if (p->p.n) EQ_DO(st->be, sumsq, st->total, eq_ro(p->p));
}

eq_status eq_student_finite(eq_student *st, bool *finite, eq_err *err) {
    eq_backend *be = st->be;
    double total = 0;
    be->upload(be, st->total, &total, EQ_F64);
    for (eq_lin l = 0; l < EQ_LINS; l++)
        add_squares(st, &st->W[l]), add_squares(st, &st->s[l]), add_squares(st, &st->z[l]),
            add_squares(st, &st->clip[l]), add_squares(st, &st->offset[l]);
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) add_squares(st, &st->norm[n]);
    be->download(be, &total, EQ_F64, eq_ro(st->total));
    *finite = isfinite(total);
    return be->sync(be, err);
}

/* Steps as used to fp16; how many are held at their floor. */
static int64_t round_fp16(float *s, int64_t n) {
    int64_t held = 0;
    for (int64_t i = 0; i < n; i++) {
        held += eq_s_held(s[i]);
        s[i] = eq_f16_to_f32(eq_f32_to_f16(s[i]));
    }
    return held;
}

eq_status eq_student_finalise(eq_student *st, eq_qblock *out, eq_err *err) {
    eq_backend *be = st->be;
    eq_qblock_turn(out, st->cfg, &st->schemes, st->block);
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_qshape q = shape(st, l);
        eq_qlinear *o = &out->lin[l];
        eq_mut s = eq_mut_at(st->ds, 0, groups(q)), z = eq_mut_at(st->dz, 0, groups(q));
        eq_mut rows = eq_mut_at(st->rows, 0, words(q));
        /* Twice: first for the steps as used, which only then go to fp16; the codes are of those.
         */
        EQ_DO(be, cast, s, eq_student_steps(st, l, 0, q.O));
        EQ_DO(be, cast, z, eq_ro(st->z[l].p));
        EQ_DO(be, fq_pack, rows, s, z, eq_student_rows(st, l, 0, q.O, eq_ro(s)), q);
        be->download(be, o->s, EQ_F32, eq_ro(s));
        EQ_TRY(be->sync(be, err));
        o->held = round_fp16(o->s, s.n);
        be->upload(be, s, o->s, EQ_F32);
        EQ_DO(be, cast, z, eq_ro(st->z[l].p));
        EQ_DO(be, fq_pack, rows, s, z, eq_student_rows(st, l, 0, q.O, eq_ro(s)), q);
        be->download(be, o->rows, EQ_U32, eq_ro(rows));
        be->download(be, o->z, EQ_F32, eq_ro(z));
        EQ_TRY(be->sync(be, err));
    }
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++)
        if (st->norm[n].p.n) be->download(be, out->norm[n], EQ_F32, eq_ro(st->norm[n].p));
    return be->sync(be, err);
}

eq_block_w eq_student_room(const eq_student *st, const eq_block_w *w, eq_dtype ct) {
    eq_block_w room = *w;
    room.make = NULL;
    for (eq_lin l = 0; l < EQ_LINS; l++) room.w[l] = (eq_mut){st->W[l].p.p, st->W[l].p.n, ct};
    return room;
}

void eq_student_load(eq_student *st, const eq_qblock *b, eq_block_w *w) {
    eq_backend *be = st->be;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_qshape q = eq_qlinear_shape(&b->lin[l]);
        eq_mut s = eq_mut_at(st->ds, 0, groups(q)), z = eq_mut_at(st->dz, 0, groups(q));
        eq_mut rows = eq_mut_at(st->rows, 0, words(q));
        be->upload(be, rows, b->lin[l].rows, EQ_U32);
        be->upload(be, s, b->lin[l].s, EQ_F32);
        be->upload(be, z, b->lin[l].z, EQ_F32);
        EQ_DO(be, dequant, w->w[l], eq_ro(rows), eq_ro(s), eq_ro(z), q);
    }
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        if (!b->norm[n]) continue;
        be->upload(be, w->norm[n], b->norm[n], EQ_F32);
        eq_norm_weight(be, st->cfg, w->norm[n], eq_ro(w->norm[n]));
    }
}

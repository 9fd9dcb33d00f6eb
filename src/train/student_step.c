/* One update of the student: rows of a weight gradient become those of everything that is trained,
 * and AdamW follows at once. The paper's own set is one operation (fq_step); what its Table 5
 * trains beside or instead goes through fq_bwd and one link of the chain more, and so do steps on
 * the grid of a K type, between s and what is used of it. Invariant: rows know
 * nothing of each other, so how many come at once shows in no bit. */
#include "train/schedule.h"
#include "train/student.h"

void eq_student_step(eq_student *st, eq_rates lr) { st->step++, st->lr = lr; }

/* Elements [from, from + n) of a parameter with its moments. */
static eq_param part(const eq_param *p, int64_t from, int64_t n) {
    bool trained = p->m.n > 0;
    return (eq_param){eq_mut_at(p->p, from, n), trained ? eq_mut_at(p->m, from, n) : EQ_NONE_MUT,
                      trained ? eq_mut_at(p->v, from, n) : EQ_NONE_MUT};
}

static void update(eq_student *st, const eq_param *p, eq_mut grad, double lr) {
    if (!p->m.n) return;
    eq_adamw a = eq_adamw_at(lr, st->step, 1);
    EQ_DO(st->be, adamw, p->p, p->m, p->v, eq_ro(grad), a);
}

/* The rows of one linear under update, and what of the student belongs to them. */
typedef struct {
    eq_lin l;
    int64_t row, rows;
    eq_qshape q;
    eq_param W, s, z, clip, offset;
    eq_mut w_hat; /* kept; n == 0: none */
} rows_of;

static rows_of take_rows(const eq_student *st, eq_lin l, int64_t row, int64_t rows) {
    rows_of r = {.l = l, .row = row, .rows = rows, .q = eq_student_shape(st, l)};
    int64_t I = r.q.I, NG = I / r.q.G;
    r.q.O = rows;
    r.W = part(&st->W[l], row * I, rows * I);
    r.s = part(&st->s[l], row * NG, rows * NG), r.z = part(&st->z[l], row * NG, rows * NG);
    if (st->clip[l].p.n) r.clip = part(&st->clip[l], 2 * row * NG, 2 * rows * NG);
    if (st->offset[l].p.n) r.offset = part(&st->offset[l], row * I, rows * I);
    r.w_hat = st->kept ? eq_mut_at(st->kept->w[l], row * I, rows * I) : EQ_NONE_MUT;
    return r;
}

/* dw: the gradient by w_hat, used up. */
static void step_learned(eq_student *st, const rows_of *r, eq_mut dw) {
    eq_backend *be = st->be;
    int64_t NG = r->s.p.n;
    eq_view w = eq_ro(r->W.p), s = eq_student_steps(st, r->l, r->row, r->rows), z = eq_ro(r->z.p);
    eq_mut ds = eq_mut_at(st->ds, 0, NG), dz = eq_mut_at(st->dz, 0, NG);
    eq_view at = eq_student_rows(st, r->l, r->row, r->rows, s);
    EQ_DO(be, fq_bwd, dw, ds, dz, eq_ro(dw), at, s, z, r->q);
    if (r->offset.p.n) {
        EQ_DO(be, fq_offset_bwd, dw, ds, eq_ro(dw), w, eq_ro(r->offset.p), s, r->q);
        update(st, &r->offset, dw, st->lr.offset);
    }
    update(st, &r->W, dw, st->lr.weight);
    update(st, &r->s, ds, st->lr.quant);
    update(st, &r->z, dz, st->lr.quant);
    if (r->clip.p.n) {
        eq_mut dclip = eq_mut_at(st->dclip, 0, 2 * NG);
        EQ_DO(be, fq_clip_bwd, dclip, eq_ro(ds), eq_ro(dz), w, eq_ro(r->clip.p), r->q);
        update(st, &r->clip, dclip, st->lr.clip);
        EQ_DO(be, fq_clip, r->s.p, r->z.p, w, eq_ro(r->clip.p), r->q);
    }
    s = eq_student_steps(st, r->l, r->row, r->rows);
    if (r->w_hat.n)
        EQ_DO(be, fq_fwd, r->w_hat, eq_student_rows(st, r->l, r->row, r->rows, s), s, z, r->q);
}

void eq_student_sink(void *student, eq_lin l, int64_t row, int64_t rows, int64_t window,
                     eq_mut dw) {
    (void)window; /* the sum over all of them */
    eq_student *st = student;
    rows_of r = take_rows(st, l, row, rows);
    if (r.clip.p.n || r.offset.p.n || st->used.n) {
        step_learned(st, &r, dw);
        return;
    }
    int64_t n = r.s.p.n;
    EQ_DO(st->be, fq_step, r.w_hat, r.W.p, r.W.m, r.W.v, r.s.p, r.s.m, r.s.v, r.z.p, r.z.m, r.z.v,
          dw, eq_mut_at(st->ds, 0, n), eq_mut_at(st->dz, 0, n), r.q,
          eq_adamw_at(st->lr.weight, st->step, 1), eq_adamw_at(st->lr.quant, st->step, 1));
}

void eq_student_norms(eq_student *st, const eq_block_acts *acts) {
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++)
        update(st, &st->norm[n], acts->dnorm[n], st->lr.weight);
}

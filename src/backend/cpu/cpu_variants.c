/* What Block-AP trains beside s, z and W (Table 5), the grids of K types and shrunk ranges: the
 * reference's operations on runs of rows, which know nothing of each other, so that threads share
 * them. */
#include "backend/cpu/cpu.h"
#include "base/par.h"

typedef struct {
    eq_backend *be;
    eq_mut a, b; /* outputs */
    eq_view c, d, e, f;
    eq_qshape q;
    int64_t rows; /* of an item */
} rows_job;

/* What belongs to the item's rows of something that has `per` elements a row; none stays none. */
static eq_mut out_of(eq_mut m, int64_t row, int64_t rows, int64_t per) {
    return m.n ? eq_mut_at(m, row * per, rows * per) : m;
}
static eq_view in_of(eq_view v, int64_t row, int64_t rows, int64_t per) {
    return v.n ? eq_view_at(v, row * per, rows * per) : v;
}

#define EQ_ROWS(name, call) \
    static void name##_rows(void *ctx, int64_t item, int thread) { \
        (void)thread; \
        const rows_job *j = ctx; \
        int64_t at = item * j->rows, n = eq_least(j->rows, j->q.O - at); \
        int64_t I = j->q.I, NG = I / j->q.G; \
        eq_qshape q = j->q; \
        q.O = n; \
        eq_cpu_of(j->be)->ref.name call; \
    }
#define OUT(m, per) out_of(j->m, at, n, per)
#define IN(v, per) in_of(j->v, at, n, per)
EQ_ROWS(fq_clip, (j->be, OUT(a, NG), OUT(b, NG), IN(c, I), IN(d, 2 * NG), q))
EQ_ROWS(fq_clip_bwd, (j->be, OUT(a, 2 * NG), IN(c, NG), IN(d, NG), IN(e, I), IN(f, 2 * NG), q))
EQ_ROWS(fq_offset, (j->be, OUT(a, I), IN(c, I), IN(d, I), IN(e, NG), q))
EQ_ROWS(fq_offset_bwd, (j->be, OUT(a, I), OUT(b, NG), IN(c, I), IN(d, I), IN(e, I), IN(f, NG), q))
EQ_ROWS(fq_steps, (j->be, OUT(a, NG), IN(c, NG), IN(d, I), q))
EQ_ROWS(fq_shrink, (j->be, OUT(a, NG), OUT(b, NG), IN(c, I), q))
EQ_ROWS(fq_init, (j->be, OUT(a, NG), OUT(b, NG), IN(c, I), q))

static void over(rows_job j, eq_par_fn fn) {
    j.rows = eq_rows_per_item(j.q.O, j.q.I);
    eq_par_for(eq_parts(j.q.O, j.rows), fn, &j);
}

static void fq_clip(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_view clip, eq_qshape q) {
    over((rows_job){.be = be, .a = s, .b = z, .c = w, .d = clip, .q = q}, fq_clip_rows);
}
static void fq_clip_bwd(eq_backend *be, eq_mut dclip, eq_view ds, eq_view dz, eq_view w,
                        eq_view clip, eq_qshape q) {
    over((rows_job){.be = be, .a = dclip, .c = ds, .d = dz, .e = w, .f = clip, .q = q},
         fq_clip_bwd_rows);
}
static void fq_offset(eq_backend *be, eq_mut y, eq_view w, eq_view v, eq_view s, eq_qshape q) {
    over((rows_job){.be = be, .a = y, .c = w, .d = v, .e = s, .q = q}, fq_offset_rows);
}
static void fq_offset_bwd(eq_backend *be, eq_mut dv, eq_mut ds, eq_view dy, eq_view w, eq_view v,
                          eq_view s, eq_qshape q) {
    over((rows_job){.be = be, .a = dv, .b = ds, .c = dy, .d = w, .e = v, .f = s, .q = q},
         fq_offset_bwd_rows);
}
static void fq_steps(eq_backend *be, eq_mut y, eq_view s, eq_view w, eq_qshape q) {
    over((rows_job){.be = be, .a = y, .c = s, .d = w, .q = q}, fq_steps_rows);
}
static void fq_shrink(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    over((rows_job){.be = be, .a = s, .b = z, .c = w, .q = q}, fq_shrink_rows);
}
void eq_cpu_k_start(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    over((rows_job){.be = be, .a = s, .b = z, .c = w, .q = q}, fq_init_rows);
}

void eq_cpu_variants(eq_ops *ops) {
    ops->fq_clip = fq_clip;
    ops->fq_clip_bwd = fq_clip_bwd;
    ops->fq_offset = fq_offset;
    ops->fq_offset_bwd = fq_offset_bwd;
    ops->fq_steps = fq_steps;
    ops->fq_shrink = fq_shrink;
}

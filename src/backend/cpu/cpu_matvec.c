/* Products of few rows with packed weights: a row of weights becomes numbers, a piece after the
 * other in the first-level cache, and meets all rows of x there. Invariant: a sum is one of pieces
 * of EQ_CHUNK inputs, each in fp32, added in rising order in double. */
#include "backend/cpu/cpu.h"
#include "base/par.h"

typedef struct {
    const eq_kernels *k;
    eq_mut y;
    const float *x; /* [rows, I] */
    const uint32_t *words;
    const uint16_t *s; /* fp16 [O, I / G] */
    const uint8_t *z;
    int64_t rows;
    eq_qshape q;
    eq_scratch scratch; /* of a thread: s and z of a row as fp32, then a sum for each row of x */
} matvec_job;

static void one_output(const matvec_job *j, int64_t o, float *s, float *z, double *sum) {
    const eq_qshape *q = &j->q;
    int64_t groups = q->I / q->G;
    float w[EQ_CHUNK];
    j->k->f32_from_f16(s, j->s + o * groups, groups);
    for (int64_t g = 0; g < groups; g++) z[g] = (float)j->z[o * groups + g];
    for (int64_t r = 0; r < j->rows; r++) sum[r] = 0.0;
    for (int64_t i = 0; i < q->I; i += EQ_CHUNK) {
        int64_t n = eq_least(EQ_CHUNK, q->I - i), g = i / q->G;
        eq_groups at = {s + g, z + g, q->G, i % q->G, q->bits};
        j->k->dequant(w, j->words + (o * q->I + i) / 32 * q->bits, at, n);
        for (int64_t r = 0; r < j->rows; r++)
            sum[r] += (double)j->k->dot(w, j->x + r * q->I + i, n);
    }
    for (int64_t r = 0; r < j->rows; r++) eq_store(j->y.p, j->y.dt, r * q->O + o, (float)sum[r]);
}

static void some_outputs(void *ctx, int64_t item, int thread) {
    const matvec_job *j = ctx;
    int64_t per = eq_rows_per_item(j->q.O, j->q.I), groups = j->q.I / j->q.G;
    double *sum = eq_scratch_of(j->scratch, thread);
    float *s = (float *)(sum + j->rows);
    for (int64_t o = item * per; o < eq_least((item + 1) * per, j->q.O); o++)
        one_output(j, o, s, s + groups, sum);
}

static void matvec_q(eq_backend *be, eq_mut y, eq_view x, eq_view q, eq_view s, eq_view z,
                     int64_t rows, eq_qshape qs) {
    if (qs.G % 32) {
        eq_cpu_of(be)->ref.matvec_q(be, y, x, q, s, z, rows, qs);
        return;
    }
    int64_t mine = 8 * rows + 8 * (qs.I / qs.G), copy = x.dt == EQ_F32 ? 0 : 4 * rows * qs.I;
    matvec_job j = {.k = eq_cpu_of(be)->k,
                    .y = y,
                    .words = q.p,
                    .s = s.p,
                    .z = z.p,
                    .rows = rows,
                    .q = qs,
                    .scratch = eq_cpu_scratch(be, mine, copy)};
    if (!j.scratch.base) return;
    j.x = x.dt == EQ_F32 ? x.p : (const float *)(const void *)j.scratch.shared;
    if (copy) eq_convert(j.scratch.shared, EQ_F32, x.p, x.dt, rows * qs.I);
    eq_par_for(eq_parts(qs.O, eq_rows_per_item(qs.O, qs.I)), some_outputs, &j);
}

void eq_cpu_matvec(eq_ops *ops) { ops->matvec_q = matvec_q; }

/* From the mapped files to where numbers are computed with: linears, which the files may hold
 * joined, and embeddings. Invariant: nothing is copied on the host but rows that change on the way.
 */
#include "base/mem.h"
#include "model/weights.h"

/* Rows of a linear from o on that lie together: at most `most`. */
static int64_t together(const eq_lin_spec *s, int64_t o, int64_t most) {
    int64_t n = s->run - o % s->run;
    return n < most ? n : most;
}

eq_status eq_weights_check_rows(const eq_weights *w, int64_t i, eq_lin l, int64_t row, int64_t rows,
                                eq_err *err) {
    eq_lin_spec s = eq_lin_of(&w->cfg, l);
    const eq_tensor *t = w->blocks[i].weight[l];
    for (int64_t o = row, n; o < row + rows; o += n) {
        eq_tensor part = *t;
        n = together(&s, o, row + rows - o);
        part.n = n * s.I;
        part.data = (const char *)t->data + eq_lin_row(&s, o) * s.I * eq_dtype_size(t->dt);
        /* the whole tensor knows the number's place */
        if (eq_tensor_check_finite(&part, NULL) != EQ_OK) return eq_tensor_check_finite(t, err);
    }
    return EQ_OK;
}

enum { PIECE = 4096 };

/* n elements of row `row` of an fp8 tensor, from column `at` on, with the scales of their blocks.
 */
static void scaled(float *to, const eq_tensor *t, const eq_tensor *scale, const int64_t each[2],
                   int64_t row, int64_t at, int64_t n) {
    const uint8_t *from = (const uint8_t *)t->data + row * t->shape[1];
    int64_t first = row / each[0] * scale->shape[1];
    for (int64_t i = 0; i < n; i++)
        to[i] = eq_f8_to_f32(from[at + i]) *
                eq_load(scale->data, scale->dt, first + (at + i) / each[1]);
}

static void put_fp8(const eq_weights *w, const eq_tensor *t, const eq_tensor *scale, int64_t row,
                    eq_backend *be, eq_mut dst) {
    float piece[PIECE];
    int64_t I = t->shape[1];
    for (int64_t at = 0, n; at < dst.n; at += n) {
        n = I - at % I < PIECE ? I - at % I : PIECE;
        scaled(piece, t, scale, w->cfg.fp8, row + at / I, at % I, n);
        be->upload(be, eq_mut_at(dst, at, n), piece, EQ_F32);
    }
}

void eq_weights_put_rows(const eq_weights *w, int64_t i, eq_lin l, int64_t row, int64_t rows,
                         eq_backend *be, eq_mut dst) {
    eq_lin_spec s = eq_lin_of(&w->cfg, l);
    const eq_tensor *t = w->blocks[i].weight[l];
    for (int64_t o = row, n; o < row + rows; o += n) {
        n = together(&s, o, row + rows - o);
        eq_mut to = eq_mut_at(dst, (o - row) * s.I, n * s.I);
        if (t->dt == EQ_F8)
            put_fp8(w, t, w->blocks[i].scale8[l], eq_lin_row(&s, o), be, to);
        else
            be->upload(be, to,
                       (const char *)t->data + eq_lin_row(&s, o) * s.I * eq_dtype_size(t->dt),
                       t->dt);
    }
}

void eq_weights_row(const eq_weights *w, int64_t i, eq_lin l, int64_t row, float *out) {
    eq_lin_spec s = eq_lin_of(&w->cfg, l);
    const eq_tensor *t = w->blocks[i].weight[l];
    int64_t at = eq_lin_row(&s, row);
    if (t->dt == EQ_F8)
        scaled(out, t, w->blocks[i].scale8[l], w->cfg.fp8, at, 0, s.I);
    else
        eq_convert(out, EQ_F32, (const char *)t->data + at * s.I * eq_dtype_size(t->dt), t->dt,
                   s.I);
}

void eq_weights_put_bias(const eq_weights *w, int64_t i, eq_lin l, eq_backend *be, eq_mut dst) {
    eq_lin_spec s = eq_lin_of(&w->cfg, l);
    const eq_tensor *t = w->blocks[i].bias[l];
    for (int64_t o = 0; t && o < s.O; o += s.run)
        be->upload(be, eq_mut_at(dst, o, s.run),
                   (const char *)t->data + eq_lin_row(&s, o) * eq_dtype_size(t->dt), t->dt);
}

void eq_embed_row(void *to, eq_dtype dt, const eq_tensor *embed, int64_t id, int64_t n,
                  double scale) {
    const char *from = (const char *)embed->data + id * n * eq_dtype_size(embed->dt);
    if (scale == 1) {
        eq_convert(to, dt, from, embed->dt, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) eq_store(to, dt, i, (float)scale * eq_load(from, embed->dt, i));
}

/* See export_blocks.h. Invariant: nothing here changes a weight but what `lossy` allows, and that
 * shows in eq_compare_rows, which looks at files alone. */
#include "export/export_blocks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "quant/number.h"
#include "quant/pack.h"

enum { TILE = 16 }; /* rows an item takes */

static int64_t tiles(int64_t O) { return (O + TILE - 1) / TILE; }
static int64_t tile_end(int64_t item, int64_t O) {
    return (item + 1) * TILE < O ? (item + 1) * TILE : O;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

eq_qlinear eq_export_shape(const eq_weights *w, int64_t block, eq_lin l) {
    eq_lin_spec s = eq_lin_of(&w->cfg, l);
    eq_scheme q = eq_scheme_at(&w->cfg.schemes, block, l);
    return (eq_qlinear){q.bits, q.grid, .O = s.rows, .I = s.I, .G = eq_group(q.group, s.I)};
}

void eq_export_name(char out[96], const eq_weights *w, int64_t block, eq_lin l) {
    snprintf(out, 96, "model.layers.%lld.%s", (long long)block, eq_lin_of(&w->cfg, l).file);
}

/* Rows of one linear to their places in the tensor. */
static void join_rows(eq_qlinear *t, const eq_qlinear *q, const eq_lin_spec *spec) {
    int64_t words = eq_pack_words(q->I, q->bits), NG = q->I / q->G;
    for (int64_t o = 0; o < q->O; o++) {
        int64_t r = eq_lin_row(spec, o);
        memcpy(t->rows + r * words, q->rows + o * words, (size_t)words * sizeof *t->rows);
        memcpy(t->s + r * NG, q->s + o * NG, (size_t)NG * sizeof *t->s);
        memcpy(t->z + r * NG, q->z + o * NG, (size_t)NG * sizeof *t->z);
    }
}

eq_status eq_export_join(eq_qlinear *t, const eq_qblock *b, const eq_config *c, eq_lin l,
                         eq_err *err) {
    eq_lin_spec spec = eq_lin_of(c, l);
    *t = b->lin[l];
    if (!eq_lin_joined(&spec)) return EQ_OK;
    int64_t words = spec.rows * eq_pack_words(t->I, t->bits), groups = spec.rows * (t->I / t->G);
    t->O = spec.rows;
    t->rows = eq_calloc(words, sizeof *t->rows);
    t->s = eq_calloc(groups, sizeof *t->s), t->z = eq_calloc(groups, sizeof *t->z);
    for (int k = 0; t->rows && t->s && t->z && k < EQ_LINS; k++) {
        eq_lin_spec other = eq_lin_of(c, (eq_lin)k);
        if (!strcmp(other.file, spec.file)) join_rows(t, &b->lin[k], &other);
    }
    if (t->rows && t->s && t->z) return EQ_OK;
    eq_export_join_free(t, b, l);
    return eq_nomem(err, "joining linears", words * 4 + groups * 8);
}

void eq_export_join_free(eq_qlinear *t, const eq_qblock *b, eq_lin l) {
    if (t->rows != b->lin[l].rows) eq_free(t->rows);
    if (t->s != b->lin[l].s) eq_free(t->s);
    if (t->z != b->lin[l].z) eq_free(t->z);
    *t = (eq_qlinear){0};
}

/* What training keeps beyond the stored steps and zero points goes; real: these stay. */
static void as_written(eq_qlinear *q, bool real) {
    int64_t n = q->O * (q->I / q->G);
    for (int64_t i = 0; i < n; i++) {
        q->s[i] = eq_f16_to_f32(eq_f32_to_f16(q->s[i]));
        if (!real) q->z[i] = eq_z_used(q->z[i], q->bits, q->grid);
    }
}

eq_status eq_export_block(eq_qblock *b, const eq_weights *w, int64_t block, bool real,
                          eq_err *err) {
    EQ_TRY(eq_qblock_read(b, w, block, err));
    eq_weights_drop(w, block);
    for (int l = 0; w->state && l < EQ_LINS; l++) as_written(&b->lin[l], real);
    return EQ_OK;
}

void eq_tensor_rows(const void *ctx, float *out, int64_t o, int64_t n) {
    const eq_tensor *t = ctx;
    int64_t I = t->shape[t->ndim - 1];
    eq_convert(out, EQ_F32, (const char *)t->data + o * I * eq_dtype_size(t->dt), t->dt, n * I);
}

/* ---- other zero points ----------------------------------------------------------------------- */

typedef struct {
    eq_qlinear *q;
    const char *name;
    bool (*turn)(float s, float z, int bits);
    bool symmetric, lossy;
} recode_job;

/* Codes of one group after q -> Q - q, or moved to another zero point. */
static void turn_group(uint8_t *codes, int64_t n, int Q) {
    for (int64_t i = 0; i < n; i++) codes[i] = (uint8_t)(Q - codes[i]);
}
static void move_group(uint8_t *codes, int64_t n, int by, int Q) {
    for (int64_t i = 0; i < n; i++) {
        int c = codes[i] + by;
        codes[i] = (uint8_t)(c < 0 ? 0 : c > Q ? Q : c);
    }
}

static eq_status recode_group(const recode_job *j, uint8_t *codes, int64_t at, eq_err *err) {
    eq_qlinear *q = j->q;
    int Q = (1 << q->bits) - 1, half = 1 << (q->bits - 1);
    float z = q->z[at];
    bool turn = j->symmetric ? z < (float)half : j->turn(q->s[at], z, q->bits);
    if (j->symmetric && !j->lossy && z != (float)half && z != (float)(half - 1))
        return eq_fail(err, EQ_EINPUT,
                       "%s: a symmetric format holds zero points %d and %d at %d bits, found %g in "
                       "group %lld (--grid portable trains such models; --lossy writes the nearest "
                       "codes)",
                       j->name, half - 1, half, q->bits, (double)z, (long long)at);
    if (turn) {
        turn_group(codes, q->G, Q);
        q->s[at] = -q->s[at], q->z[at] = z = (float)Q - z;
    }
    if (j->symmetric && z != (float)half) {
        move_group(codes, q->G, half - (int)z, Q);
        q->z[at] = (float)half;
    }
    return EQ_OK;
}

static eq_status recode_rows(void *ctx, int64_t item, eq_err *err) {
    const recode_job *j = ctx;
    eq_qlinear *q = j->q;
    int64_t NG = q->I / q->G, words = eq_pack_words(q->I, q->bits);
    uint8_t *codes = eq_calloc(q->I, 1);
    if (!codes) return eq_nomem(err, "a row", q->I);
    eq_status st = EQ_OK;
    for (int64_t o = item * TILE; o < tile_end(item, q->O) && st == EQ_OK; o++) {
        eq_unpack_row(codes, q->rows + o * words, q->I, q->bits);
        for (int64_t g = 0; g < NG && st == EQ_OK; g++)
            st = recode_group(j, codes + g * q->G, o * NG + g, err);
        eq_pack_row(q->rows + o * words, codes, q->I, q->bits);
    }
    eq_free(codes);
    return st;
}

eq_status eq_turn_groups(eq_qlinear *q, bool (*turn)(float s, float z, int bits), eq_err *err) {
    recode_job j = {.q = q, .turn = turn};
    return eq_par_try(tiles(q->O), recode_rows, &j, err);
}

eq_status eq_make_symmetric(eq_qlinear *q, const char *name, bool lossy, eq_err *err) {
    recode_job j = {.q = q, .name = name, .symmetric = true, .lossy = lossy};
    return eq_par_try(tiles(q->O), recode_rows, &j, err);
}

eq_status eq_put_steps(uint16_t *to, bool turned, const eq_qlinear *q, const char *name, bool lossy,
                       eq_err *err) {
    int64_t NG = q->I / q->G;
    for (int64_t o = 0; o < q->O; o++)
        for (int64_t g = 0; g < NG; g++) {
            float s = q->s[o * NG + g];
            uint16_t h = eq_f32_to_f16(s);
            if ((!lossy && eq_f16_to_f32(h) != s) || fabsf(s) >= 65520.0f)
                return eq_fail(err, EQ_EINPUT,
                               "%s: expected steps that fp16 holds, found %.9g at row %lld, group "
                               "%lld",
                               name, (double)s, (long long)o, (long long)g);
            to[turned ? g * q->O + o : o * NG + g] = h;
        }
    return EQ_OK;
}

/* ---- comparing ------------------------------------------------------------------------------- */

typedef struct {
    int64_t different, first; /* -1: none */
    float was, is, worst;
    double sum;
} tally;

static void count(tally *t, int64_t at, float was, float is) {
    if (was == is) return;
    float d = fabsf(was - is);
    if (!t->different++) t->first = at, t->was = was, t->is = is;
    if (!(d <= t->worst)) t->worst = d;
    t->sum += d;
}

/* Pieces in order, so that the sum does not depend on threads. */
static eq_status add_up(eq_export_job *x, const char *name, const tally *t, int64_t n,
                        int64_t weights, int64_t cols, bool may_differ, eq_err *err) {
    eq_difference *d = &x->diff;
    d->weights += weights;
    for (int64_t i = 0; i < n; i++) {
        if (t[i].different && !may_differ)
            return eq_fail(err, EQ_EINPUT,
                           "%s: read back, weight [%lld, %lld] is %.9g, expected %.9g", name,
                           (long long)(t[i].first / cols), (long long)(t[i].first % cols),
                           (double)t[i].is, (double)t[i].was);
        d->different += t[i].different, d->sum += t[i].sum;
        if (t[i].worst > d->worst || isnan(t[i].worst)) {
            d->worst = t[i].worst;
            snprintf(d->worst_at, sizeof d->worst_at, "%s", name);
        }
    }
    return EQ_OK;
}

typedef struct {
    int64_t O, I;
    eq_rows was, is;
    tally *tally;
} rows_job;

static eq_status compare_item(void *ctx, int64_t item, eq_err *err) {
    const rows_job *j = ctx;
    int64_t o = item * TILE, n = tile_end(item, j->O) - o, m = n * j->I;
    float *is = eq_calloc(m, 2 * sizeof *is), *was = is + m;
    if (!is) return eq_nomem(err, "rows to compare", m * 8);
    j->was.get(j->was.ctx, was, o, n);
    j->is.get(j->is.ctx, is, o, n);
    for (int64_t i = 0; i < m; i++) count(&j->tally[item], o * j->I + i, was[i], is[i]);
    eq_free(is);
    return EQ_OK;
}

eq_status eq_compare_rows(eq_export_job *x, const char *name, int64_t O, int64_t I, eq_rows was,
                          eq_rows is, bool may_differ, eq_err *err) {
    int64_t n = tiles(O);
    tally *t = eq_calloc(n, sizeof *t);
    if (!t) return eq_nomem(err, "a comparison", n * (int64_t)sizeof *t);
    rows_job j = {O, I, was, is, t};
    eq_status st = eq_par_try(n, compare_item, &j, err);
    if (st == EQ_OK) st = add_up(x, name, t, n, O * I, I, may_differ, err);
    eq_free(t);
    return st;
}

/* See qblock.h. One allocation holds a block; the walk over its arrays measures and binds.
 * Invariant: after a read or load every step and zero point is finite. */
#include "model/qblock_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/schemes.h"
#include "quant/number.h"
#include "quant/pack.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static void *take(char *base, int64_t *used, int64_t n, int64_t size) {
    char *p = base ? base + *used : NULL;
    *used += (n * size + 63) / 64 * 64;
    return p;
}

/* base == NULL measures. The first array lies at base, which is how eq_qblock_free finds it. */
static int64_t bind(eq_qblock *b, const eq_config *c, const eq_schemes *t, int64_t i, char *base) {
    int64_t used = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec spec = eq_lin_of(c, (eq_lin)l);
        eq_qlinear *q = &b->lin[l];
        eq_scheme of = eq_scheme_at(t, i, (eq_lin)l);
        *q = (eq_qlinear){.bits = of.bits, .grid = of.grid, .O = spec.O, .I = spec.I};
        q->G = eq_group(of.group, spec.I);
        q->rows = take(base, &used, q->O * eq_pack_words(q->I, q->bits), sizeof *q->rows);
        q->s = take(base, &used, q->O * (q->I / q->G), sizeof *q->s);
        q->z = take(base, &used, q->O * (q->I / q->G), sizeof *q->z);
    }
    for (int n = 0; n < EQ_NORM_COUNT; n++) {
        eq_norm_spec spec = eq_norm_of(c, (eq_norm)n);
        b->norm[n] = spec.exists ? take(base, &used, spec.n, sizeof *b->norm[n]) : NULL;
    }
    return used;
}

int64_t eq_qblock_bytes(const eq_config *c, const eq_schemes *t) {
    eq_qblock b;
    int64_t most = 0;
    for (int64_t i = 0; i < (t->at ? c->L : 1); i++) {
        int64_t bytes = bind(&b, c, t, i, NULL);
        if (bytes > most) most = bytes;
    }
    return most;
}

eq_status eq_qblock_alloc(eq_qblock *b, const eq_config *c, const eq_schemes *t, eq_err *err) {
    *b = (eq_qblock){0};
    EQ_TRY(eq_schemes_check(t, c, err));
    int64_t bytes = eq_qblock_bytes(c, t);
    char *base = eq_calloc(bytes, 1);
    if (!base) return eq_nomem(err, "a quantized block", bytes);
    bind(b, c, t, 0, base);
    return EQ_OK;
}

void eq_qblock_turn(eq_qblock *b, const eq_config *c, const eq_schemes *t, int64_t i) {
    bind(b, c, t, i, (char *)b->lin[0].rows);
    b->rollbacks = 0, b->untrained = false;
}

void eq_qblock_free(eq_qblock *b) {
    eq_free(b->lin[0].rows);
    *b = (eq_qblock){0};
}

eq_status eq_qblock_have(eq_qblock *b, bool *own, const eq_config *c, const eq_schemes *t,
                         int64_t i, eq_err *err) {
    *own = b->lin[0].rows == NULL;
    if (*own) EQ_TRY(eq_qblock_alloc(b, c, t, err));
    eq_qblock_turn(b, c, t, i);
    return EQ_OK;
}

/* ---- its weights ----------------------------------------------------------------------------- */

void eq_qlinear_rows(const void *ctx, float *out, int64_t o0, int64_t n) {
    enum { PIECE = 512 };
    const eq_qlinear *q = ctx;
    int64_t NG = q->I / q->G;
    uint8_t codes[PIECE];
    for (int64_t o = o0; o < o0 + n; o++, out += q->I)
        for (int64_t at = 0; at < q->I; at += PIECE) {
            int64_t m = q->I - at < PIECE ? q->I - at : PIECE;
            const uint32_t *row = q->rows + o * eq_pack_words(q->I, q->bits);
            eq_unpack_row(codes, row + eq_pack_words(at, q->bits), m, q->bits);
            for (int64_t i = 0; i < m; i++) {
                int64_t g = o * NG + (at + i) / q->G;
                out[at + i] = ((float)codes[i] - q->z[g]) * q->s[g];
            }
        }
}

eq_status eq_qblock_check_finite(const float *p, int64_t from, int64_t n, const eq_tensor *t,
                                 eq_err *err) {
    for (int64_t i = from; i < from + n; i++)
        if (!isfinite(p[i]))
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %s: expected finite numbers, found %g at element %lld",
                           t->file, t->name, (double)p[i], (long long)i);
    return EQ_OK;
}

/* ---- work files ------------------------------------------------------------------------------ */

typedef struct {
    char name[64];
    eq_dtype dt;
    int ndim;
    int64_t shape[2];
    void *p;
    int64_t bytes;
} array;
enum { ARRAYS = 3 * EQ_LINS + EQ_NORM_COUNT };

/* Everything a block holds, in the order of its file. Returns how many. */
static int arrays_of(array *a, const eq_qblock *b, const eq_config *c) {
    int n = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &b->lin[l];
        const char *name = eq_lin_of(c, (eq_lin)l).name;
        int64_t words = eq_pack_words(q->I, q->bits), NG = q->I / q->G;
        a[n] = (array){.dt = EQ_U32, .ndim = 2, .shape = {q->O, words}, .p = q->rows};
        a[n + 1] = (array){.dt = EQ_F32, .ndim = 2, .shape = {q->O, NG}, .p = q->s};
        a[n + 2] = (array){.dt = EQ_F32, .ndim = 2, .shape = {q->O, NG}, .p = q->z};
        for (int k = 0; k < 3; k++)
            snprintf(a[n + k].name, sizeof a->name, "%s.%s", name,
                     (const char *[]){"rows", "s", "z"}[k]);
        n += 3;
    }
    for (int k = 0; k < EQ_NORM_COUNT; k++) {
        eq_norm_spec spec = eq_norm_of(c, (eq_norm)k);
        if (!spec.exists) continue;
        a[n] = (array){.dt = EQ_F32, .ndim = 1, .shape = {spec.n}, .p = b->norm[k]};
        snprintf(a[n++].name, sizeof a->name, "%s.weight", spec.name);
    }
    for (int k = 0; k < n; k++) {
        a[k].bytes = a[k].shape[0] * eq_dtype_size(a[k].dt);
        if (a[k].ndim == 2) a[k].bytes *= a[k].shape[1];
    }
    return n;
}

static eq_status put_all(eq_stw *w, const eq_qblock *b, const array *a, int n, eq_err *err) {
    char rollbacks[32];
    snprintf(rollbacks, sizeof rollbacks, "%lld", (long long)b->rollbacks);
    EQ_TRY(eq_stw_meta(w, "rollbacks", rollbacks, err));
    EQ_TRY(eq_stw_meta(w, "untrained", b->untrained ? "yes" : "no", err));
    for (int i = 0; i < n; i++)
        EQ_TRY(eq_stw_tensor(w, a[i].name, a[i].dt, a[i].ndim, a[i].shape, err));
    EQ_TRY(eq_stw_begin(w, err));
    for (int i = 0; i < n; i++) EQ_TRY(eq_stw_put(w, a[i].p, a[i].bytes, err));
    return EQ_OK;
}

eq_status eq_qblock_save(const eq_qblock *b, const eq_config *c, const char *path, eq_err *err) {
    array a[ARRAYS];
    int n = arrays_of(a, b, c);
    eq_stw *w;
    EQ_TRY(eq_stw_new(&w, path, err));
    eq_stw_seal(w);
    eq_status st = put_all(w, b, a, n, err);
    if (st == EQ_OK) return eq_stw_end(w, err);
    eq_stw_abort(w);
    return st;
}

static eq_status load_all(const array *a, int n, const eq_st *st, const char *path, eq_err *err) {
    if (eq_st_count(st) != n)
        return eq_fail(err, EQ_EINPUT, "%s: expected the %d tensors of a block, found %lld", path,
                       n, (long long)eq_st_count(st));
    for (int i = 0; i < n; i++) {
        const eq_tensor *t = eq_st_find(st, a[i].name);
        bool same = t && t->dt == a[i].dt && t->ndim == a[i].ndim && t->bytes == a[i].bytes &&
                    t->shape[0] == a[i].shape[0];
        if (!same)
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %s: expected %s of %lld rows and %lld bytes, found %s", path,
                           a[i].name, eq_dtype_name(a[i].dt), (long long)a[i].shape[0],
                           (long long)a[i].bytes, t ? "another type or shape" : "none");
        memcpy(a[i].p, t->data, (size_t)t->bytes);
        if (t->dt == EQ_F32) EQ_TRY(eq_qblock_check_finite(a[i].p, 0, t->n, t, err));
    }
    return EQ_OK;
}

eq_status eq_qblock_load(eq_qblock *b, const eq_config *c, const eq_schemes *t, int64_t i,
                         const char *path, eq_err *err) {
    array a[ARRAYS];
    eq_st *file;
    bool own;
    EQ_TRY(eq_qblock_have(b, &own, c, t, i, err));
    int n = arrays_of(a, b, c);
    eq_status st = eq_st_open_sealed(&file, path, err);
    if (st == EQ_OK) {
        const char *rollbacks = eq_st_meta(file, "rollbacks"),
                   *untrained = eq_st_meta(file, "untrained");
        b->rollbacks = rollbacks ? strtoll(rollbacks, NULL, 10) : 0;
        b->untrained = untrained && !strcmp(untrained, "yes");
        st = load_all(a, n, file, path, err);
        eq_st_close(file);
    }
    if (st != EQ_OK && own) eq_qblock_free(b);
    return st;
}

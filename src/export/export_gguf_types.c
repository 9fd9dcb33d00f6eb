/* Which type of GGUF each linear gets: the first of the table, smallest first, that holds every
 * product of it, or the one that was asked for. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "export/export_blocks.h"
#include "export/export_gguf.h"
#include "quant/pack.h"

enum { TILE = 16 };
typedef struct {
    const eq_qlinear *q;
    eq_ggml type;
    atomic_bool fails;
} try_job;

static eq_status try_tile(void *ctx, int64_t item, eq_err *err) {
    try_job *j = ctx;
    const eq_qlinear *q = j->q;
    int64_t end = (item + 1) * TILE < q->O ? (item + 1) * TILE : q->O, NG = q->I / q->G;
    if (atomic_load(&j->fails)) return EQ_OK;
    uint8_t *codes = eq_calloc(q->I, 1), *out = eq_calloc(eq_ggml_row_bytes(j->type, q->I), 1);
    bool ok = codes && out;
    for (int64_t o = item * TILE; ok && o < end && !atomic_load(&j->fails); o++) {
        eq_unpack_row(codes, q->rows + o * eq_pack_words(q->I, q->bits), q->I, q->bits);
        eq_code_row r = {codes, q->s + o * NG, q->z + o * NG, q->I, q->G, q->bits};
        if (!eq_ggml_pack(out, j->type, &r, false)) atomic_store(&j->fails, true);
    }
    eq_free(codes), eq_free(out);
    return ok ? EQ_OK : eq_nomem(err, "a row of blocks", q->I * 2);
}

/* *exact: every row of q. */
static eq_status holds(bool *exact, const eq_qlinear *q, eq_ggml t, eq_err *err) {
    try_job j = {.q = q, .type = t};
    *exact = false;
    if (q->I % eq_ggml_of(t).block) return EQ_OK;
    EQ_TRY(try_tile(&j, 0, err)); /* most types fail in the first block */
    if (!atomic_load(&j.fails)) EQ_TRY(eq_par_try((q->O + TILE - 1) / TILE, try_tile, &j, err));
    *exact = !atomic_load(&j.fails);
    return EQ_OK;
}

/* "q2_0, q4_0": types whose blocks divide the rows. */
static eq_status refuse(const char *name, const eq_qlinear *q, const char *type, eq_err *err) {
    return eq_fail(err, EQ_EINPUT,
                   "%s [%lld, %lld], %d bits, groups of %lld: %s holds its weights exactly (--grid "
                   "portable trains models that Q2_0 and Q4_0 hold; --type f32 holds all; --lossy "
                   "writes the nearest)",
                   name, (long long)q->O, (long long)q->I, q->bits, (long long)q->G, type);
}

static eq_status choose_one(eq_ggml *out, const eq_export_job *x, const char *name,
                            const eq_qlinear *q, eq_err *err) {
    bool exact;
    if (x->o->type) {
        eq_ggml_find(out, x->o->type);
        if (q->I % eq_ggml_of(*out).block)
            return eq_fail(err, EQ_EINPUT,
                           "%s [%lld, %lld]: %s has blocks of %lld, which do not divide a row",
                           name, (long long)q->O, (long long)q->I, x->o->type,
                           (long long)eq_ggml_of(*out).block);
        EQ_TRY(holds(&exact, q, *out, err));
        char why[48];
        snprintf(why, sizeof why, "not every block of %s", x->o->type);
        return exact || x->o->lossy ? EQ_OK : refuse(name, q, why, err);
    }
    for (int t = 0; t <= EQ_GGML_Q8_0; t++) {
        *out = (eq_ggml)t;
        EQ_TRY(holds(&exact, q, *out, err));
        if (exact) return EQ_OK;
    }
    if (x->o->lossy && q->I % eq_ggml_of(EQ_GGML_Q8_0).block == 0) return EQ_OK;
    return refuse(name, q, "no type up to q8_0", err);
}

eq_status eq_gguf_choose(eq_ggml *types, eq_export_job *x, eq_err *err) {
    eq_qblock b = {0};
    eq_status st = EQ_OK;
    eq_ggml t;
    if (x->o->type && !eq_ggml_find(&t, x->o->type))
        return eq_fail(err, EQ_EINPUT, "expected a type of GGUF, found \"%s\"", x->o->type);
    for (int64_t i = 0; i < x->src->cfg.L && st == EQ_OK; i++) {
        if (eq_stopped(x->obs)) st = eq_fail(err, EQ_EINTR, "stopped on request");
        if (st == EQ_OK) st = eq_export_block(&b, x->src, i, false, err);
        for (int l = 0; l < EQ_LINS && st == EQ_OK; l++) {
            char name[96];
            eq_export_name(name, x->src, i, (eq_lin)l);
            st = choose_one(&types[i * EQ_LINS + l], x, name, &b.lin[l], err);
        }
    }
    eq_qblock_free(&b);
    return st;
}

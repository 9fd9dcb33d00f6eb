/* Which type of GGUF each linear gets: the one that was asked for, or that its grid is of, or the
 * first of the table, smallest first, that holds every product of it. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "export/export_blocks.h"
#include "export/export_gguf.h"
#include "quant/kgrid.h"
#include "quant/pack.h"
#include "quant/scheme.h"

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
                   "portable trains models that Q2_0 and Q4_0 hold, q2_k and q4_k those types'; "
                   "--type f32 holds all; --lossy writes the nearest)",
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
    /* Every llama.cpp reads it, of the smaller Q2_0 that cannot be said. */
    if (eq_k_grid(q->grid) && eq_ggml_find(out, eq_grid_name(q->grid))) {
        EQ_TRY(holds(&exact, q, *out, err));
        if (exact) return EQ_OK;
    }
    for (int t = 0; t <= EQ_GGML_Q8_0; t++) {
        *out = (eq_ggml)t;
        EQ_TRY(holds(&exact, q, *out, err));
        if (exact) return EQ_OK;
    }
    if (x->o->lossy && q->I % eq_ggml_of(EQ_GGML_Q8_0).block == 0) return EQ_OK;
    return refuse(name, q, "no type up to q8_0", err);
}

static eq_status choose_block(eq_ggml *types, const eq_export_job *x, const eq_qblock *b, int64_t i,
                              eq_err *err) {
    const eq_config *c = &x->src->cfg;
    const eq_gguf_arch *a = eq_gguf_arch_of(c);
    for (int l = 0; l < EQ_LINS; l++) {
        char name[96];
        eq_qlinear q;
        if (!eq_gguf_leads(c, a, (eq_lin)l)) {
            types[l] = EQ_GGML_COUNT; /* lies in another's tensor */
            continue;
        }
        eq_export_name(name, x->src, i, (eq_lin)l);
        EQ_TRY(eq_gguf_linear(&q, b, c, a, (eq_lin)l, err));
        eq_status st = choose_one(&types[l], x, name, &q, err);
        eq_export_join_free(&q, b, (eq_lin)l);
        EQ_TRY(st);
    }
    return EQ_OK;
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
        if (st == EQ_OK) st = choose_block(&types[i * EQ_LINS], x, &b, i, err);
    }
    eq_qblock_free(&b);
    return st;
}

/* ---- before there are numbers ----------------------------------------------------------------
 */

/* Rows of a linear of this scheme with every zero point that its grid allows, all codes with each,
 * and a step of eleven significant bits of its own for every group, or what a K type's grid makes
 * of them: a type that holds them holds any numbers that training finds. */
static void put_worst(eq_qlinear *q, uint8_t *codes) {
    int64_t NG = q->I / q->G, words = eq_pack_words(q->I, q->bits);
    int64_t sharing = eq_zero_groups(q->grid, q->G);
    int64_t least = (int64_t)eq_z_least(q->bits, q->grid),
            many = (int64_t)eq_z_most(q->bits, q->grid) - least + 1;
    for (int64_t o = 0; o < q->O; o++) {
        for (int64_t g = 0; g < NG; g++) {
            int64_t k = o * NG + g;
            q->z[k] = (float)(least + (o + g / sharing) % many);
            q->s[k] = eq_f16_to_f32((uint16_t)(0x2801 + 2 * (k * 37 % 512)));
        }
        for (int64_t g = 0; eq_k_grid(q->grid) && g < NG; g += sharing) {
            float *s = q->s + o * NG + g;
            eq_k_steps(s, s, NULL, (int)sharing, q->bits);
        }
        for (int64_t i = 0; i < q->I; i++)
            codes[i] = (uint8_t)((i * 5 + i / 32) & ((1 << q->bits) - 1));
        eq_pack_row(q->rows + o * words, codes, q->I, q->bits);
    }
}

static eq_status choose_worst(const eq_export_job *x, int64_t block, eq_lin l, eq_err *err) {
    char name[96];
    eq_ggml t;
    eq_qlinear q = eq_export_shape(x->src, block, l);
    q.O = 1 << q.bits;
    int64_t NG = q.I / q.G, words = q.O * eq_pack_words(q.I, q.bits);
    q.rows = eq_calloc(words, sizeof *q.rows);
    q.s = eq_calloc(q.O * NG, sizeof *q.s), q.z = eq_calloc(q.O * NG, sizeof *q.z);
    uint8_t *codes = eq_calloc(q.I, 1);
    eq_status st = q.rows && q.s && q.z && codes ? EQ_OK : eq_nomem(err, "a linear", words * 4);
    eq_export_name(name, x->src, block, l);
    if (st == EQ_OK) put_worst(&q, codes), st = choose_one(&t, x, name, &q, err);
    eq_free(q.rows), eq_free(q.s), eq_free(q.z), eq_free(codes);
    return st;
}

eq_status eq_gguf_choose_ahead(const eq_export_job *x, eq_err *err) {
    const eq_config *c = &x->src->cfg;
    for (int64_t i = 0; i < (c->schemes.at ? c->L : 1); i++)
        for (int l = 0; l < EQ_LINS; l++)
            if (eq_gguf_leads(c, eq_gguf_arch_of(c), (eq_lin)l))
                EQ_TRY(choose_worst(x, i, (eq_lin)l, err));
    return EQ_OK;
}

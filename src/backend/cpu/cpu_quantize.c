/* The number format (METHOD section 1): training forward and backward, start, packing, and packed
 * weights back to numbers. Runs of a group inside a cached chunk go to the kernels.
 * Invariant: weight i of row o belongs to group (o * I + i) / G, and a chunk never crosses a
 * row. */
#include "backend/cpu/cpu.h"
#include "base/par.h"
#include "quant/kgrid.h"
#include "quant/pack.h"

typedef struct {
    const eq_kernels *k;
    eq_qshape q;
    float *s, *z, *ds, *dz, *dw; /* s and z are written by fq_init and fq_pack only */
    const float *w, *dw_hat;
    eq_mut w_hat;
    eq_view grad;
    uint32_t *words;
} quant_job;

/* The kernels take groups of whole vectors, which all but test shapes are. */
static bool fits(const eq_qshape *q) { return q->G % 32 == 0; }

/* The groups of the weights from `at` on. */
static eq_groups groups_at(const quant_job *j, int64_t at) {
    int64_t g = at / j->q.G;
    return (eq_groups){j->s + g, j->z + g, j->q.G, at % j->q.G, j->q.bits, j->q.grid};
}

/* ---- whole groups: start and gradients ------------------------------------------------------- */

static int64_t groups_per_item(const eq_qshape *q) {
    int64_t piece = eq_piece(q->O * q->I);
    return q->G < piece ? piece / q->G : 1;
}
static int64_t groups_of(const eq_qshape *q) { return q->O * (q->I / q->G); }

static void init_groups(void *ctx, int64_t item, int thread) {
    (void)thread;
    const quant_job *j = ctx;
    int64_t per = groups_per_item(&j->q), end = eq_least((item + 1) * per, groups_of(&j->q));
    for (int64_t g = item * per; g < end; g++) {
        const float *w = j->w + g * j->q.G;
        eq_minmax_start(j->k->min(w, j->q.G), j->k->max(w, j->q.G), j->q.bits, j->q.grid, j->s + g,
                        j->z + g);
    }
}

static void bwd_groups(void *ctx, int64_t item, int thread) {
    (void)thread;
    const quant_job *j = ctx;
    int64_t per = groups_per_item(&j->q), g = item * per, at = g * j->q.G;
    int64_t n = eq_least(per, groups_of(&j->q) - g) * j->q.G;
    j->k->fq_bwd(j->dw ? j->dw + at : NULL, j->ds ? j->ds + g : NULL, j->dz ? j->dz + g : NULL,
                 j->dw_hat + at, j->w + at, groups_at(j, at), n);
}

static void over_groups(quant_job *j, eq_par_fn fn) {
    eq_par_for(eq_parts(groups_of(&j->q), groups_per_item(&j->q)), fn, j);
}

/* ---- rows in chunks -------------------------------------------------------------------------- */

static void fwd_chunk(const quant_job *j, int64_t at, int64_t n) {
    float buf[EQ_CHUNK], *y = eq_chunk_at(j->w_hat, at, buf);
    j->k->fq_fwd(y, j->w + at, groups_at(j, at), n);
    eq_chunk_out(j->k, j->w_hat, at, n, y);
}

static void pack_chunk(const quant_job *j, int64_t at, int64_t n) {
    uint8_t code[EQ_CHUNK];
    j->k->fq_code(code, j->w + at, groups_at(j, at), n);
    eq_pack_row(j->words + eq_pack_words(at, j->q.bits), code, n, j->q.bits);
}

static void dequant_chunk(const quant_job *j, int64_t at, int64_t n) {
    float buf[EQ_CHUNK], *y = eq_chunk_at(j->w_hat, at, buf);
    j->k->dequant(y, j->words + eq_pack_words(at, j->q.bits), groups_at(j, at), n);
    eq_chunk_out(j->k, j->w_hat, at, n, y);
}

/* ds and dz of n weights from `at` on, which are whole groups or a part of one. */
static void dequant_sums(const quant_job *j, float *ds, float *dz, int64_t at, int64_t n) {
    float buf[EQ_CHUNK];
    j->k->dequant_bwd(ds, dz, eq_chunk_in(j->k, j->grad, at, n, buf),
                      j->words + eq_pack_words(at, j->q.bits), groups_at(j, at), n);
}

/* A group's sum is completed before it is added. */
static void dequant_bwd_row(const quant_job *j, int64_t row) {
    int64_t G = j->q.G, first = row * j->q.I, end = first + j->q.I, chunk = EQ_CHUNK / G * G;
    for (int64_t at = first; at < end && chunk; at += chunk)
        dequant_sums(j, j->ds ? j->ds + at / G : NULL, j->dz ? j->dz + at / G : NULL, at,
                     eq_least(chunk, end - at));
    for (int64_t at = first; at < end && !chunk; at += G) {
        float ds = 0.0f, dz = 0.0f;
        for (int64_t i = 0; i < G; i += EQ_CHUNK)
            dequant_sums(j, &ds, &dz, at + i, eq_least(EQ_CHUNK, G - i));
        if (j->ds) j->ds[at / G] += ds;
        if (j->dz) j->dz[at / G] += dz;
    }
}

static void dequant_bwd_rows(void *ctx, int64_t item, int thread) {
    (void)thread;
    const quant_job *j = ctx;
    int64_t per = eq_rows_per_item(j->q.O, j->q.I), end = eq_least((item + 1) * per, j->q.O);
    for (int64_t row = item * per; row < end; row++) dequant_bwd_row(j, row);
}

/* Packing reads s and z as they will be read back: clamped, z an integer. */
static void round_row(const quant_job *j, int64_t row) {
    int64_t per_row = j->q.I / j->q.G;
    for (int64_t g = row * per_row; g < (row + 1) * per_row; g++) {
        j->s[g] = j->k->fq_step(j->s[g], j->w + g * j->q.G, j->q.G);
        j->z[g] = eq_z_used(j->z[g], j->q.bits, j->q.grid);
    }
}

/* CHUNK is a multiple of 32, so a chunk of a packed row begins at a word. */
#define EQ_ROWS_ITEM(name, before_row, chunk) \
    static void name(void *ctx, int64_t item, int thread) { \
        (void)thread; \
        const quant_job *j = ctx; \
        int64_t I = j->q.I, per = eq_rows_per_item(j->q.O, I); \
        for (int64_t row = item * per; row < eq_least((item + 1) * per, j->q.O); row++) { \
            before_row; \
            for (int64_t c = 0; c < I; c += EQ_CHUNK) \
                chunk(j, row *I + c, eq_least(EQ_CHUNK, I - c)); \
        } \
    }
EQ_ROWS_ITEM(fwd_rows, , fwd_chunk)
EQ_ROWS_ITEM(pack_rows, round_row(j, row), pack_chunk)
EQ_ROWS_ITEM(dequant_rows, , dequant_chunk)

static void over_rows(quant_job *j, eq_par_fn fn) {
    eq_par_for(eq_parts(j->q.O, eq_rows_per_item(j->q.O, j->q.I)), fn, j);
}

/* ---- the operations -------------------------------------------------------------------------- */

static void fq_init(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    if (eq_k_grid(q.grid)) {
        eq_cpu_k_start(be, s, z, w, q);
        return;
    }
    over_groups(&(quant_job){.k = eq_cpu_of(be)->k, .q = q, .s = s.p, .z = z.p, .w = w.p},
                init_groups);
}

static void fq_fwd(eq_backend *be, eq_mut w_hat, eq_view w, eq_view s, eq_view z, eq_qshape q) {
    if (!fits(&q)) {
        eq_cpu_of(be)->ref.fq_fwd(be, w_hat, w, s, z, q);
        return;
    }
    over_rows(&(quant_job){.k = eq_cpu_of(be)->k,
                           .q = q,
                           .s = (float *)s.p,
                           .z = (float *)z.p,
                           .w = w.p,
                           .w_hat = w_hat},
              fwd_rows);
}

static void fq_bwd(eq_backend *be, eq_mut dw, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view w,
                   eq_view s, eq_view z, eq_qshape q) {
    if (!fits(&q)) {
        eq_cpu_of(be)->ref.fq_bwd(be, dw, ds, dz, dw_hat, w, s, z, q);
        return;
    }
    over_groups(&(quant_job){.k = eq_cpu_of(be)->k,
                             .q = q,
                             .s = (float *)s.p,
                             .z = (float *)z.p,
                             .w = w.p,
                             .dw_hat = dw_hat.p,
                             .dw = dw.n ? dw.p : NULL,
                             .ds = ds.n ? ds.p : NULL,
                             .dz = dz.n ? dz.p : NULL},
                bwd_groups);
}

static void fq_pack(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_view w, eq_qshape qs) {
    if (!fits(&qs)) {
        eq_cpu_of(be)->ref.fq_pack(be, q, s, z, w, qs);
        return;
    }
    over_rows(
        &(quant_job){.k = eq_cpu_of(be)->k, .q = qs, .s = s.p, .z = z.p, .w = w.p, .words = q.p},
        pack_rows);
}

static void dequant(eq_backend *be, eq_mut w_hat, eq_view q, eq_view s, eq_view z, eq_qshape qs) {
    if (!fits(&qs)) {
        eq_cpu_of(be)->ref.dequant(be, w_hat, q, s, z, qs);
        return;
    }
    over_rows(&(quant_job){.k = eq_cpu_of(be)->k,
                           .q = qs,
                           .s = (float *)s.p,
                           .z = (float *)z.p,
                           .w_hat = w_hat,
                           .words = (uint32_t *)q.p},
              dequant_rows);
}

static void dequant_bwd(eq_backend *be, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view q, eq_view s,
                        eq_view z, eq_qshape qs) {
    if (!fits(&qs)) {
        eq_cpu_of(be)->ref.dequant_bwd(be, ds, dz, dw_hat, q, s, z, qs);
        return;
    }
    over_rows(&(quant_job){.k = eq_cpu_of(be)->k,
                           .q = qs,
                           .s = (float *)s.p,
                           .z = (float *)z.p,
                           .grad = dw_hat,
                           .words = (uint32_t *)q.p,
                           .ds = ds.n ? ds.p : NULL,
                           .dz = dz.n ? dz.p : NULL},
              dequant_bwd_rows);
}

void eq_cpu_quantize(eq_ops *ops) {
    ops->fq_init = fq_init;
    ops->fq_fwd = fq_fwd;
    ops->fq_bwd = fq_bwd;
    ops->fq_pack = fq_pack;
    ops->dequant = dequant;
    ops->dequant_bwd = dequant_bwd;
}

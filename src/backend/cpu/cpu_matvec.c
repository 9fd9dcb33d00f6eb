/* Products with packed weights. Rows of weights that lie in tiles (lowbit.h) meet all rows of x
 * tile by tile, some rows of x at a time; many rows of x in fp32 meet dequantized tiles in products
 * of oneDNN. What is in no tile is taken row by row. Work is cut by the shape alone. Invariant:
 * with 8-bit activations every path gives the bits that quant/act8.h defines. */
#include "backend/cpu/cpu_lowbit.h"
#include "base/par.h"
#include "quant/act8.h"
#include "quant/pack.h"

/* Rows of x that meet an item's tiles while they are in the cache; codes that are worth an item;
 * rows of x from which on tiles are dequantized, rows in one product and bytes of numbers. */
enum { X_ROWS = 64, LEAST_CODES = 1 << 15, MANY = 16, PRODUCT_ROWS = 256, NUMBERS = 1 << 19 };

typedef struct {
    const eq_cpu *c;
    eq_mut y;
    eq_view x;
    const uint32_t *q;
    const uint16_t *s;
    const uint8_t *z;
    int64_t rows;
    eq_qshape qs;
    bool act8, acc, dense; /* dense: tiles are dequantized */
    int64_t tiles, per;    /* whole tiles of weights; of an item */
    int64_t chunks;        /* of X_ROWS rows of x */
    int64_t rest_per;      /* rows of weights without a tile, of an item */
    eq_scratch scratch;    /* of a thread: see thread_bytes */
    /* shared; codes of EQ_BLOCK_ROWS rows lie together as eq_tile_in wants them, as long as there
     * are so many, then those of single rows */
    int8_t *x8;
    float *step, *xf;
    int32_t *sum8;
} matvec_job;

/* ---- activations ----------------------------------------------------------------------------- */

/* The rows that lie together with row r. */
static int64_t together(const matvec_job *j, int64_t r) {
    return r < j->rows / EQ_BLOCK_ROWS * EQ_BLOCK_ROWS ? EQ_BLOCK_ROWS : 1;
}

/* Row r as codes. */
static void row_to_codes(const matvec_job *j, int64_t r, int thread) {
    const eq_kernels *k = j->c->k;
    int64_t I = j->qs.I, G = j->qs.G, groups = I / G, n = together(j, r), at = r % n,
            first = r - at;
    float *mine = eq_scratch_of(j->scratch, thread);
    int8_t *to = j->x8 + first * I, *code = n == 1 ? to : (int8_t *)(mine + I);
    const float *x = eq_chunk_in(k, j->x, r * I, I, mine);
    for (int64_t g = 0; g < groups; g++) {
        int64_t o = first * groups + g * n + at;
        j->step[o] = k->act8(code + g * G, &j->sum8[o], x + g * G, G);
    }
    for (int64_t i = 0; n > 1 && i < I; i += 4) memcpy(to + i * n + 4 * at, code + i, 4);
}

static void activation_item(void *ctx, int64_t item, int thread) {
    const matvec_job *j = ctx;
    int64_t first = item * EQ_BLOCK_ROWS, end = eq_least(first + EQ_BLOCK_ROWS, j->rows);
    for (int64_t r = first; r < end; r++)
        if (j->act8)
            row_to_codes(j, r, thread);
        else
            eq_chunk_in(j->c->k, j->x, r * j->qs.I, j->qs.I, j->xf + r * j->qs.I);
}

/* Not worth waking a thread for a few rows. */
static void activations(matvec_job *j) {
    int64_t items = eq_parts(j->rows, EQ_BLOCK_ROWS);
    if (!j->act8 && j->x.dt == EQ_F32) {
        j->xf = (float *)(uintptr_t)j->x.p;
    } else if (j->rows * j->qs.I < LEAST_CODES) {
        for (int64_t i = 0; i < items; i++) activation_item(j, i, 0);
    } else {
        eq_par_for(items, activation_item, j);
    }
}

/* ---- results --------------------------------------------------------------------------------- */

/* n outputs of row r from output o on. */
static void put(const matvec_job *j, int64_t r, int64_t o, const float *from, int64_t n) {
    const eq_kernels *k = j->c->k;
    int64_t at = r * j->qs.O + o;
    if (j->acc)
        k->add((float *)j->y.p + at, (float *)j->y.p + at, from, n);
    else
        eq_chunk_out(k, j->y, at, n, from);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static eq_tile_in tile_in(const matvec_job *j, int64_t tile, int64_t r) {
    int64_t I = j->qs.I, groups = I / j->qs.G;
    eq_tile_in t = {.q = (const uint8_t *)(j->q + tile * EQ_TILE * eq_pack_words(I, j->qs.bits)),
                    .s = j->s + tile * EQ_TILE * groups,
                    .z = j->z + tile * EQ_TILE * groups,
                    .I = I,
                    .G = j->qs.G};
    if (j->act8)
        t.x8 = j->x8 + r * I, t.step = j->step + r * groups, t.sum8 = j->sum8 + r * groups;
    else
        t.x = j->xf + r * I;
    return t;
}

/* Rows [from, to) of x with a tile, or with two. */
static void tile_rows(const matvec_job *j, int64_t tile, int64_t tiles, int64_t from, int64_t to) {
    const eq_lowbit *l = j->c->lowbit;
    const eq_tile_fn *f = (j->act8 ? l->act8 : l->exact)[eq_lowbit_at(j->qs.bits)];
    float y[EQ_BLOCK_ROWS * EQ_TILE];
    for (int64_t r = from, n; r < to; r += n) {
        n = together(j, r);
        for (int64_t t = tile; n > 1 && t < tile + tiles; t++) {
            eq_tile_in in = tile_in(j, t, r);
            f[EQ_BLOCK](y, &in);
            for (int i = 0; i < n; i++) put(j, r + i, t * EQ_TILE, y + i * EQ_TILE, EQ_TILE);
        }
        if (n > 1) continue;
        eq_tile_in in = tile_in(j, tile, r);
        f[tiles == 2 ? EQ_PAIR : EQ_ONE](y, &in);
        put(j, r, tile * EQ_TILE, y, tiles * EQ_TILE);
    }
}

static void tiles_item(const matvec_job *j, int64_t item) {
    int64_t chunk = item % j->chunks, first = item / j->chunks * j->per;
    int64_t from = chunk * X_ROWS, to = eq_least(from + X_ROWS, j->rows);
    int64_t end = eq_least(first + j->per, j->tiles);
    for (int64_t t = first; t < end; t += 2) tile_rows(j, t, eq_least(2, end - t), from, to);
}

/* A run of tiles as numbers, then products with all rows of x. */
static void dense_item(const matvec_job *j, int64_t item, int thread) {
    int64_t first = item * j->per, n = eq_least(j->per, j->tiles - first), I = j->qs.I;
    float *w = eq_scratch_of(j->scratch, thread), *y = w + j->per * EQ_TILE * I;
    int64_t cols = n * EQ_TILE;
    for (int64_t t = 0; t < n; t++) {
        eq_tile_in in = tile_in(j, first + t, 0);
        eq_lowbit_dequant(j->c->k, w + t * EQ_TILE * I, &in, j->qs.bits);
    }
    for (int64_t r = 0; r < j->rows; r += PRODUCT_ROWS) {
        int64_t m = eq_least(PRODUCT_ROWS, j->rows - r);
        eq_product p = {y, j->xf + r * I, w, m, cols, I, cols, I, I, EQ_F32, EQ_F32, true, false};
        eq_gemm_run(j->c->gemm, thread, &p);
        for (int64_t i = 0; i < m; i++) put(j, r + i, first * EQ_TILE, y + i * cols, cols);
    }
}

/* ---- rows without a tile --------------------------------------------------------------------- */

/* Codes, steps and zero points of a row. */
typedef struct {
    float *s, *z;  /* [I / G] */
    uint8_t *code; /* [I] */
} row_in;

static float rest_act8(const matvec_job *j, const row_in *w, int64_t r) {
    int64_t G = j->qs.G, groups = j->qs.I / G, n = together(j, r), at = r % n, first = r - at;
    const int8_t *x = j->x8 + first * j->qs.I + 4 * at;
    const float *step = j->step + first * groups + at;
    float sum = 0.0f;
    for (int64_t g = 0; g < groups; g++) {
        int64_t whole = 0;
        for (int64_t i = g * G; i < (g + 1) * G; i++)
            whole += (w->code[i] - (int)w->z[g]) * x[i / 4 * 4 * n + i % 4];
        sum = eq_act8_add(sum, whole, w->s[g], step[g * n]);
    }
    return sum;
}

static float rest_exact(const matvec_job *j, const row_in *w, int64_t r) {
    int64_t G = j->qs.G, groups = j->qs.I / G;
    double sum = 0.0;
    for (int64_t g = 0; g < groups; g++) {
        const float *x = j->xf + r * j->qs.I + g * G;
        float part = 0.0f;
        for (int64_t i = 0; i < G; i++) part += ((float)w->code[g * G + i] - w->z[g]) * x[i];
        sum += (double)part * (double)w->s[g];
    }
    return (float)sum;
}

static void rest_item(const matvec_job *j, int64_t item, int thread) {
    int64_t I = j->qs.I, groups = I / j->qs.G, first = j->tiles * EQ_TILE + item * j->rest_per;
    row_in w = {.s = eq_scratch_of(j->scratch, thread)};
    w.z = w.s + groups, w.code = (uint8_t *)(w.z + groups);
    for (int64_t o = first; o < eq_least(first + j->rest_per, j->qs.O); o++) {
        j->c->k->f32_from_f16(w.s, j->s + o * groups, groups);
        for (int64_t g = 0; g < groups; g++) w.z[g] = (float)j->z[o * groups + g];
        eq_unpack_row(w.code, j->q + o * eq_pack_words(I, j->qs.bits), I, j->qs.bits);
        for (int64_t r = 0; r < j->rows; r++) {
            float y = j->act8 ? rest_act8(j, &w, r) : rest_exact(j, &w, r);
            put(j, r, o, &y, 1);
        }
    }
}

/* ---- the operation --------------------------------------------------------------------------- */

static int64_t tile_items(const matvec_job *j) {
    return eq_parts(j->tiles, j->per) * (j->dense ? 1 : j->chunks);
}
static void matvec_item(void *ctx, int64_t item, int thread) {
    const matvec_job *j = ctx;
    int64_t tiled = tile_items(j);
    if (item >= tiled)
        rest_item(j, item - tiled, thread);
    else if (j->dense)
        dense_item(j, item, thread);
    else
        tiles_item(j, item);
}

static void cut(matvec_job *j) {
    int64_t I = j->qs.I, codes = EQ_TILE * I * eq_least(j->rows, X_ROWS);
    j->tiles = eq_lowbit_rows(&j->qs) / EQ_TILE;
    j->dense = !j->act8 && j->rows >= MANY;
    j->chunks = eq_parts(j->rows, X_ROWS);
    j->per = j->dense ? NUMBERS / (4 * EQ_TILE * I) : eq_parts(LEAST_CODES, codes);
    if (!j->dense && j->tiles / EQ_ITEMS > j->per) j->per = j->tiles / EQ_ITEMS;
    if (j->dense) j->per = eq_least(j->per, eq_parts(j->tiles, EQ_ITEMS));
    if (j->per < 1) j->per = 1;
    if (!j->dense) j->per += j->per % 2; /* EQ_PAIR */
    j->rest_per = eq_rows_per_item(j->qs.O, I);
}

static bool take_scratch(eq_backend *be, matvec_job *j) {
    int64_t I = j->qs.I, groups = I / j->qs.G, N = j->rows * I, NG = j->rows * groups;
    int64_t mine = 8 * groups + I; /* row_in */
    int64_t dense = j->dense ? 4 * j->per * EQ_TILE * (I + PRODUCT_ROWS) : 0;
    int64_t shared = j->act8 ? N + 8 * NG : j->x.dt == EQ_F32 ? 0 : 4 * N;
    if (mine < 5 * I) mine = 5 * I; /* row_to_codes */
    j->scratch = eq_cpu_scratch(be, mine > dense ? mine : dense, shared + 64);
    if (!j->scratch.base) return false;
    j->xf = (float *)(void *)j->scratch.shared;
    j->step = j->xf, j->sum8 = (int32_t *)(j->step + NG), j->x8 = (int8_t *)(j->sum8 + NG);
    return true;
}

static void matvec_q(eq_backend *be, eq_mut y, eq_view x, eq_view q, eq_view s, eq_view z,
                     int64_t rows, eq_qshape qs, int act8, int acc) {
    if (qs.G % EQ_RUN) {
        eq_cpu_of(be)->ref.matvec_q(be, y, x, q, s, z, rows, qs, act8, acc);
        return;
    }
    matvec_job j = {.c = eq_cpu_of(be),
                    .y = y,
                    .x = x,
                    .q = q.p,
                    .s = s.p,
                    .z = z.p,
                    .rows = rows,
                    .qs = qs,
                    .act8 = act8 != 0,
                    .acc = acc != 0};
    cut(&j);
    if (!rows || !take_scratch(be, &j)) return;
    activations(&j);
    int64_t rest = qs.O - j.tiles * EQ_TILE;
    eq_par_for(tile_items(&j) + eq_parts(rest, j.rest_per), matvec_item, &j);
}

void eq_cpu_matvec(eq_ops *ops) {
    ops->prepare_q = eq_cpu_prepare_q;
    ops->matvec_q = matvec_q;
}

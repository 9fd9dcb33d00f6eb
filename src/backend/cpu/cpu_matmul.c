/* The three products of a linear layer, cut into tiles of y by the shape of one window alone; a
 * window's part of a tile is one oneDNN call on one thread. A transposed left side is turned first,
 * a band of y's rows at a time: on some CPUs oneDNN's own way through it is several times slower,
 * and turning costs about 3 %. Invariant: a window's product is always the same oneDNN primitive,
 * however many windows there are, started from zero and written to y; what it is added to waits in
 * a scratch tile. So oneDNN can neither start a sum from y nor choose another order for a longer
 * batch. */
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/par.h"

/* 1024 x 512 is where oneDNN's general kernel is fastest with bf16 and K from 2048 to 11008: some
 * 10 % above 512 x 512, 20 % above 512 x 128. */
enum { TILE_M = 1024, TILE_N = 512, TILES = 16, LEAST = 32, STEP = 16 };
/* Rows of y per turned band; columns and rows of a turned at once. */
enum { BAND = 4096, TURN = 64, TURN_ROWS = 512 };
/* Multiply-adds of a tile (of SHORT_K at least, since windows that are added share one): a smaller
 * one is not worth a thread. */
enum { LEAST_WORK = 4 << 20, SHORT_K = 512 };

typedef struct {
    const eq_cpu *c;
    eq_product p;                   /* the first window's product, or a band of it */
    int64_t windows;                /* of rows of y, each with tiles of its own */
    int64_t chain;                  /* windows of K that are added up in a tile */
    int64_t a_step, b_step, c_step; /* bytes from window to window */
    bool acc;                       /* y is added to */
    int64_t bm, bn;
    eq_scratch scratch;
    const char *turn; /* the columns of a[K, M] that become p.a's rows, ld `turn_ld` */
    int64_t turn_ld;
} matmul_job;

/* Even parts of n, none above `most`, rounded up to whole vectors. */
static int64_t even_part(int64_t n, int64_t most) {
    int64_t part = eq_parts(n, eq_parts(n, most));
    return eq_least(n, eq_parts(part, STEP) * STEP);
}

/* ---- one tile -------------------------------------------------------------------------------- */

/* The tile's elements of y wait in `kept` while its next product takes their place. */
static void keep(float *kept, const eq_product *t) {
    for (int64_t r = 0; r < t->M; r++)
        memcpy(kept + r * t->N, (const float *)t->c + r * t->ldc, (size_t)t->N * sizeof *kept);
}
static void add_kept(const eq_kernels *k, const eq_product *t, const float *kept) {
    for (int64_t r = 0; r < t->M; r++) {
        float *y = (float *)t->c + r * t->ldc;
        k->add(y, kept + r * t->N, y, t->N);
    }
}

static void tile_item(void *ctx, int64_t item, int thread) {
    const matmul_job *j = ctx;
    int64_t rows = eq_parts(j->p.M, j->bm), tiles = rows * eq_parts(j->p.N, j->bn);
    int64_t w = item / tiles, m = item % tiles % rows * j->bm, n = item % tiles / rows * j->bn;
    int64_t in = eq_dtype_size(j->p.in), out = eq_dtype_size(j->p.out);
    float *before = j->scratch.base ? eq_scratch_of(j->scratch, thread) : NULL;
    float *sum = j->acc && before ? before + j->bm * j->bn : before;
    eq_product t = j->p;
    t.M = eq_least(j->bm, j->p.M - m);
    t.N = eq_least(j->bn, j->p.N - n);
    t.a = (const char *)j->p.a + w * j->a_step + m * j->p.lda * in;
    t.b = (const char *)j->p.b + w * j->b_step + n * (j->p.b_t ? j->p.ldb : 1) * in;
    t.c = (char *)j->p.c + w * j->c_step + (m * j->p.ldc + n) * out;
    if (j->acc) keep(before, &t);
    for (int64_t i = 0; i < j->chain; i++) {
        if (i) keep(sum, &t);
        eq_gemm_run(j->c->gemm, thread, &t);
        if (i) add_kept(j->c->k, &t, sum);
        t.a = (const char *)t.a + j->a_step;
        t.b = (const char *)t.b + j->b_step;
    }
    if (j->acc) add_kept(j->c->k, &t, before);
}

static void choose_tiles(matmul_job *j) {
    const eq_product *p = &j->p;
    int64_t depth = p->K > SHORT_K ? p->K : SHORT_K;
    j->bm = even_part(p->M, TILE_M);
    j->bn = even_part(p->N, TILE_N);
    while (eq_parts(p->M, j->bm) * eq_parts(p->N, j->bn) < TILES &&
           j->bm * j->bn * depth > LEAST_WORK && (j->bm > LEAST || j->bn > LEAST)) {
        int64_t *side = j->bn >= j->bm ? &j->bn : &j->bm;
        *side = even_part(*side, eq_parts(*side, 2));
    }
}

/* Tiles in which elements of y wait: those that are added to, the sum of the windows so far. Where
 * nothing waits and nothing is turned there is no scratch. */
static bool take_scratch(eq_backend *be, matmul_job *j, int64_t turned) {
    int64_t tiles = (j->acc ? 1 : 0) + (j->chain > 1 ? 1 : 0);
    if (!tiles && !turned) return true;
    j->scratch = eq_cpu_scratch(be, tiles * j->bm * j->bn * (int64_t)sizeof(float), turned);
    return j->scratch.base != NULL;
}

static void run_tiles(matmul_job *j) {
    eq_par_for(j->windows * eq_parts(j->p.M, j->bm) * eq_parts(j->p.N, j->bn), tile_item, j);
}

/* ---- few rows -------------------------------------------------------------------------------- */

/* Windows of a few rows, as generation has them: each row of b is read once, from memory, and meets
 * all rows of a, in fp32. oneDNN would pack b first, or widen it. */
enum { FEW = 4, FEW_WORK = 1 << 15 };

typedef struct {
    const eq_kernels *k;
    eq_mut y;
    const float *a; /* [M, K] */
    eq_view b;
    int64_t M, N, K, per;
    bool acc;
} few_job;

static void few_item(void *ctx, int64_t item, int thread) {
    const few_job *j = ctx;
    (void)thread;
    for (int64_t n = item * j->per; n < eq_least((item + 1) * j->per, j->N); n++)
        for (int64_t m = 0; m < j->M; m++) {
            const float *a = j->a + m * j->K;
            float p = j->b.dt == EQ_F32
                          ? j->k->row_f32((const float *)j->b.p + n * j->K, a, j->K)
                          : j->k->row_bf16((const uint16_t *)j->b.p + n * j->K, a, j->K);
            int64_t at = m * j->N + n;
            eq_store(j->y.p, j->y.dt, at, j->acc ? ((const float *)j->y.p)[at] + p : p);
        }
}

static void few_rows(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                     int64_t K, int acc) {
    const eq_kernels *k = eq_cpu_of(be)->k;
    few_job j = {k, y, a.p, b, M, N, K, eq_parts(N, EQ_ITEMS), acc != 0};
    int64_t least = eq_parts(FEW_WORK, K);
    if (j.per < least) j.per = least;
    if (a.dt != EQ_F32) {
        float *wide = (float *)(void *)eq_cpu_scratch(be, 0, 4 * M * K).shared;
        if (!wide) return;
        eq_chunk_in(k, a, 0, M * K, wide);
        j.a = wide;
    }
    eq_par_for(eq_parts(N, j.per), few_item, &j);
}

/* ---- rows in windows ------------------------------------------------------------------------- */

static void rows_product(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                         int64_t K, int64_t T, bool b_t, int acc) {
    if (M <= 0 || N <= 0) return;
    if (b_t && T <= FEW) {
        few_rows(be, y, a, b, M, N, K, acc);
        return;
    }
    matmul_job j = {.c = eq_cpu_of(be),
                    .p = {y.p, a.p, b.p, T, N, K, N, K, b_t ? K : N, a.dt, y.dt, b_t, false},
                    .windows = M / T,
                    .chain = 1,
                    .a_step = T * K * eq_dtype_size(a.dt),
                    .c_step = T * N * eq_dtype_size(y.dt),
                    .acc = acc != 0};
    choose_tiles(&j);
    if (take_scratch(be, &j, 0)) run_tiles(&j);
}

static void matmul_nt(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int acc) {
    rows_product(be, y, a, b, M, N, K, T, true, acc);
}

static void matmul_nn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int acc) {
    rows_product(be, y, a, b, M, N, K, T, false, acc);
}

/* ---- a transposed left side ------------------------------------------------------------------ */

/* A piece: TURN columns of TURN_ROWS rows of a window, the columns first. */
static int64_t turn_pieces(const matmul_job *j) {
    return j->chain * eq_parts(j->p.K, TURN_ROWS) * eq_parts(j->p.M, TURN);
}

static void turn_piece(const matmul_job *j, int64_t piece) {
    int64_t across = eq_parts(j->p.M, TURN), down = eq_parts(j->p.K, TURN_ROWS);
    int64_t m = piece % across * TURN, r = piece / across % down * TURN_ROWS;
    int64_t window = piece / across / down, size = eq_dtype_size(j->p.in);
    int64_t n = eq_least(TURN, j->p.M - m), rows = eq_least(TURN_ROWS, j->p.K - r);
    const void *from = j->turn + ((window * j->p.K + r) * j->turn_ld + m) * size;
    void *to = (char *)j->p.a + window * j->a_step + (m * j->p.lda + r) * size;
    if (size == 2)
        j->c->k->transpose16(to, j->p.lda, from, j->turn_ld, rows, n);
    else
        j->c->k->transpose32(to, j->p.lda, from, j->turn_ld, rows, n);
}

/* Pieces of an item: few where windows are short. */
static int64_t turn_per_item(const matmul_job *j) {
    return eq_parts(TURN_ROWS, eq_least(j->p.K, TURN_ROWS) + 1);
}

static void turn_item(void *ctx, int64_t item, int thread) {
    (void)thread;
    const matmul_job *j = ctx;
    int64_t per = turn_per_item(j), end = eq_least((item + 1) * per, turn_pieces(j));
    for (int64_t i = item * per; i < end; i++) turn_piece(j, i);
}

static void matmul_tn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int64_t lda, int acc) {
    if (M <= 0 || N <= 0) return;
    if (K <= 0) T = 0;
    int64_t band = even_part(M, BAND), in = eq_dtype_size(a.dt), chain = T ? K / T : 1;
    /* Off the powers of two: else all rows of a block fall into one set of the cache. */
    int64_t ld = T % 512 ? T : T + 32, turned = band * ld * in;
    matmul_job j = {.c = eq_cpu_of(be),
                    .p = {y.p, NULL, b.p, band, N, T, N, ld, N, a.dt, y.dt, false, false},
                    .windows = 1,
                    .chain = chain,
                    .a_step = turned,
                    .b_step = T * N * in,
                    .acc = acc != 0,
                    .turn_ld = lda};
    choose_tiles(&j);
    if (!take_scratch(be, &j, chain * turned)) return;
    j.p.a = j.scratch.shared;
    for (int64_t m = 0; m < M; m += band) {
        j.turn = (const char *)a.p + m * in;
        j.p.c = (char *)y.p + m * N * eq_dtype_size(y.dt);
        j.p.M = eq_least(band, M - m);
        eq_par_for(eq_parts(turn_pieces(&j), turn_per_item(&j)), turn_item, &j);
        run_tiles(&j);
    }
}

void eq_cpu_matmul(eq_ops *ops) {
    ops->matmul_nt = matmul_nt;
    ops->matmul_nn = matmul_nn;
    ops->matmul_tn = matmul_tn;
}

/* The three products of a linear layer, cut into tiles of y by shape alone; a tile is one oneDNN
 * call on one thread. A transposed left side is turned first, a band of y's rows at a time: on some
 * CPUs oneDNN's own way through it is several times slower, and turning costs about 3 %.
 * Invariant: an element of y is summed over K in an order that no thread count changes. */
#include "backend/cpu/cpu.h"
#include "base/par.h"

/* 1024 x 512 is where oneDNN's general kernel is fastest with bf16 and K from 2048 to 11008: some
 * 10 % above 512 x 512, 20 % above 512 x 128. */
enum { TILE_M = 1024, TILE_N = 512, TILES = 16, LEAST = 32, STEP = 16 };
enum { BAND = 4096, TURN = 128 }; /* rows of y per turned band, columns of a per item of turning */
#define LEAST_WORK (4 << 20)      /* multiply-adds of a tile; a smaller one is not worth a thread */

typedef struct {
    const eq_cpu *c;
    eq_product p; /* the whole product, or a band of it */
    int64_t bm, bn;
    const char *turn; /* the columns of a[K, M] that become p.a's rows, ld `turn_ld` */
    int64_t turn_ld;
} matmul_job;

/* Even parts of n, none above `most`, rounded up to whole vectors. */
static int64_t even_part(int64_t n, int64_t most) {
    int64_t part = eq_parts(n, eq_parts(n, most));
    return eq_least(n, eq_parts(part, STEP) * STEP);
}

static void tile_item(void *ctx, int64_t item, int thread) {
    const matmul_job *j = ctx;
    int64_t rows = eq_parts(j->p.M, j->bm), m = item % rows * j->bm, n = item / rows * j->bn;
    int64_t in = eq_dtype_size(j->p.in), out = eq_dtype_size(j->p.out);
    eq_product t = j->p;
    t.M = eq_least(j->bm, j->p.M - m);
    t.N = eq_least(j->bn, j->p.N - n);
    t.a = (const char *)j->p.a + m * j->p.lda * in;
    t.b = (const char *)j->p.b + n * (j->p.b_t ? j->p.ldb : 1) * in;
    t.c = (char *)j->p.c + (m * j->p.ldc + n) * out;
    eq_gemm_run(j->c->gemm, thread, &t);
}

static void run_tiles(matmul_job *j) {
    const eq_product *p = &j->p;
    if (p->M <= 0 || p->N <= 0) return;
    j->bm = even_part(p->M, TILE_M);
    j->bn = even_part(p->N, TILE_N);
    while (eq_parts(p->M, j->bm) * eq_parts(p->N, j->bn) < TILES &&
           j->bm * j->bn * p->K > LEAST_WORK && (j->bm > LEAST || j->bn > LEAST)) {
        int64_t *side = j->bn >= j->bm ? &j->bn : &j->bm;
        *side = even_part(*side, eq_parts(*side, 2));
    }
    eq_par_for(eq_parts(p->M, j->bm) * eq_parts(p->N, j->bn), tile_item, j);
}

static matmul_job job_of(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                         int64_t K, bool b_t, int acc) {
    return (matmul_job){
        .c = eq_cpu_of(be),
        .p = {y.p, a.p, b.p, M, N, K, N, K, b_t ? K : N, a.dt, y.dt, b_t, acc != 0}};
}

static void matmul_nt(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    matmul_job j = job_of(be, y, a, b, M, N, K, true, acc);
    run_tiles(&j);
}

static void matmul_nn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    matmul_job j = job_of(be, y, a, b, M, N, K, false, acc);
    run_tiles(&j);
}

/* ---- a transposed left side ------------------------------------------------------------------ */

static void turn_item(void *ctx, int64_t item, int thread) {
    (void)thread;
    const matmul_job *j = ctx;
    int64_t m = item * TURN, n = eq_least(TURN, j->p.M - m), size = eq_dtype_size(j->p.in);
    const void *from = j->turn + m * size;
    void *to = (char *)j->p.a + m * j->p.lda * size;
    if (size == 2)
        j->c->k->transpose16(to, j->p.lda, from, j->turn_ld, j->p.K, n);
    else
        j->c->k->transpose32(to, j->p.lda, from, j->turn_ld, j->p.K, n);
}

static void matmul_tn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t lda, int acc) {
    matmul_job j = job_of(be, y, a, b, M, N, K, false, acc);
    if (M <= 0 || N <= 0) return;
    int64_t band = even_part(M, BAND), in = eq_dtype_size(a.dt);
    /* Off the powers of two: else all rows of a block fall into one set of the cache. */
    j.p.lda = K % 512 ? K : K + 32;
    j.p.a = eq_cpu_scratch(be, 0, band * j.p.lda * in).shared;
    if (!j.p.a) return;
    j.turn_ld = lda;
    for (int64_t m = 0; m < M; m += band) {
        j.turn = (const char *)a.p + m * in;
        j.p.c = (char *)y.p + m * N * eq_dtype_size(y.dt);
        j.p.M = eq_least(band, M - m);
        eq_par_for(eq_parts(j.p.M, TURN), turn_item, &j);
        run_tiles(&j);
    }
}

void eq_cpu_matmul(eq_ops *ops) {
    ops->matmul_nt = matmul_nt;
    ops->matmul_nn = matmul_nn;
    ops->matmul_tn = matmul_tn;
}

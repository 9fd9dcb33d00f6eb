/* The three products of a linear layer, cut into tiles of y by shape alone; a tile is one oneDNN
 * call on one thread. A transposed left side is turned once per band of rows: oneDNN's own way
 * through it is several times slower.
 * Invariant: an element of y is summed over K in an order that no thread count changes. */
#include "backend/cpu/cpu.h"
#include "base/par.h"

enum { TILE_M = 512, TILE_N = 1024, TILES = 16, LEAST = 32, STEP = 16 };
#define LEAST_WORK \
    (4 << 20) /* multiply-adds below which waking a thread costs more than it gives */

typedef struct {
    const eq_cpu *c;
    eq_product p; /* the whole product; of a transposed left side, after turning it */
    int64_t bm, bn;
    const char *at; /* a[K, M], to be turned; NULL: p.a is used as it is */
    eq_scratch scratch;
} matmul_job;

/* Even parts of n, none above `most`, rounded up to whole vectors. */
static int64_t even_part(int64_t n, int64_t most) {
    int64_t part = eq_parts(n, eq_parts(n, most));
    return eq_least(n, eq_parts(part, STEP) * STEP);
}

static void cut(matmul_job *j) {
    const eq_product *p = &j->p;
    j->bm = even_part(p->M, TILE_M);
    j->bn = even_part(p->N, TILE_N);
    while (eq_parts(p->M, j->bm) * eq_parts(p->N, j->bn) < TILES &&
           j->bm * j->bn * p->K > LEAST_WORK && (j->bm > LEAST || j->bn > LEAST)) {
        int64_t *side = j->bn >= j->bm ? &j->bn : &j->bm;
        *side = even_part(*side, eq_parts(*side, 2));
    }
}

static void tile(const matmul_job *j, int thread, const void *a, int64_t lda, int64_t m,
                 int64_t n) {
    int64_t in = eq_dtype_size(j->p.in), out = eq_dtype_size(j->p.out);
    eq_product t = j->p;
    t.M = eq_least(j->bm, j->p.M - m);
    t.N = eq_least(j->bn, j->p.N - n);
    t.a = a;
    t.lda = lda;
    t.b = (const char *)j->p.b + n * (j->p.b_t ? j->p.ldb : 1) * in;
    t.c = (char *)j->p.c + (m * j->p.ldc + n) * out;
    eq_gemm_run(j->c->gemm, thread, &t);
}

static void tile_item(void *ctx, int64_t item, int thread) {
    const matmul_job *j = ctx;
    int64_t rows = eq_parts(j->p.M, j->bm), m = item % rows * j->bm, n = item / rows * j->bn;
    tile(j, thread, (const char *)j->p.a + m * j->p.lda * eq_dtype_size(j->p.in), j->p.lda, m, n);
}

/* One band of y's rows, all columns: the turned piece of a serves every tile of the band. */
static void band_item(void *ctx, int64_t item, int thread) {
    const matmul_job *j = ctx;
    int64_t m = item * j->bm, rows = eq_least(j->bm, j->p.M - m), K = j->p.K;
    void *a = eq_scratch_of(j->scratch, thread);
    if (j->p.in == EQ_BF16)
        j->c->k->transpose16(a, K, (const uint16_t *)(const void *)j->at + m, j->p.M, K, rows);
    else
        j->c->k->transpose32(a, K, (const uint32_t *)(const void *)j->at + m, j->p.M, K, rows);
    for (int64_t n = 0; n < j->p.N; n += j->bn) tile(j, thread, a, K, m, n);
}

static matmul_job job_of(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                         int64_t K, int acc) {
    matmul_job j = {.c = eq_cpu_of(be)};
    j.p = (eq_product){.c = y.p,
                       .a = a.p,
                       .b = b.p,
                       .M = M,
                       .N = N,
                       .K = K,
                       .ldc = N,
                       .lda = K,
                       .ldb = N,
                       .in = a.dt,
                       .out = y.dt,
                       .acc = acc != 0};
    if (M > 0 && N > 0) cut(&j);
    return j;
}

static void run_tiles(const matmul_job *j) {
    if (j->p.M <= 0 || j->p.N <= 0) return;
    eq_par_for(eq_parts(j->p.M, j->bm) * eq_parts(j->p.N, j->bn), tile_item, (void *)j);
}

static void matmul_nt(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    matmul_job j = job_of(be, y, a, b, M, N, K, acc);
    j.p.b_t = true;
    j.p.ldb = K;
    run_tiles(&j);
}

static void matmul_nn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    matmul_job j = job_of(be, y, a, b, M, N, K, acc);
    run_tiles(&j);
}

static void matmul_tn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    matmul_job j = job_of(be, y, a, b, M, N, K, acc);
    if (M <= 0 || N <= 0) return;
    j.at = a.p;
    j.scratch = eq_cpu_scratch(be, j.bm * K * eq_dtype_size(a.dt) + 64);
    if (j.scratch.base) eq_par_for(eq_parts(M, j.bm), band_item, &j);
}

void eq_cpu_matmul(eq_ops *ops) {
    ops->matmul_nt = matmul_nt;
    ops->matmul_nn = matmul_nn;
    ops->matmul_tn = matmul_tn;
}

/* The roofs: oneDNN's matmul called plainly on whole matrices with its own threads, and a memory
 * copy. */
#include <dnnl.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/observe.h"
#include "base/par.h"
#include "bench.h"

void omp_set_num_threads(int);

enum { RUNS = 4 };

typedef struct {
    dnnl_memory_desc_t a, b, y;
    dnnl_primitive_t prim;
    dnnl_memory_t ma, mb, my;
    dnnl_stream_t stream;
    dnnl_engine_t engine;
} product;

/* Strides of a row-major [rows, cols] matrix, or of its transpose seen as [rows, cols]. */
static dnnl_memory_desc_t desc(int64_t rows, int64_t cols, bool transposed, dnnl_data_type_t t) {
    dnnl_memory_desc_t d;
    dnnl_dims_t dims = {rows, cols}, strides = {transposed ? 1 : cols, transposed ? rows : 1};
    dnnl_memory_desc_init_by_strides(&d, 2, dims, t, strides);
    return d;
}

static bool make(product *p, eq_roof_kind kind, int64_t M, int64_t N, int64_t K, bool bf16,
                 bool f32_out) {
    dnnl_data_type_t in = bf16 ? dnnl_bf16 : dnnl_f32,
                     out = bf16 && !f32_out ? dnnl_bf16 : dnnl_f32;
    dnnl_matmul_desc_t md;
    dnnl_primitive_desc_t pd;
    p->a = desc(M, K, kind == EQ_ROOF_TN, in);
    p->b = desc(K, N, kind == EQ_ROOF_NT, in);
    p->y = desc(M, N, false, out);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) ||
        dnnl_stream_create(&p->stream, p->engine, 0) ||
        dnnl_matmul_desc_init(&md, &p->a, &p->b, NULL, &p->y) ||
        dnnl_primitive_desc_create(&pd, &md, NULL, p->engine, NULL))
        return false;
    bool ok = !dnnl_primitive_create(&p->prim, pd) &&
              !dnnl_memory_create(&p->ma, &p->a, p->engine, DNNL_MEMORY_ALLOCATE) &&
              !dnnl_memory_create(&p->mb, &p->b, p->engine, DNNL_MEMORY_ALLOCATE) &&
              !dnnl_memory_create(&p->my, &p->y, p->engine, DNNL_MEMORY_ALLOCATE);
    dnnl_primitive_desc_destroy(pd);
    return ok;
}

/* Numbers of ordinary size: products of zeros are faster than real ones on some machines. */
static void fill(dnnl_memory_t m, const dnnl_memory_desc_t *d, bool bf16) {
    void *p;
    dnnl_memory_get_data_handle(m, &p);
    int64_t n = (int64_t)dnnl_memory_desc_get_size(d) / (bf16 ? 2 : 4);
    for (int64_t i = 0; i < n; i++)
        eq_store(p, bf16 ? EQ_BF16 : EQ_F32, i, (float)(i % 97 - 48) / 64);
}

static void drop(product *p) {
    if (p->ma) dnnl_memory_destroy(p->ma);
    if (p->mb) dnnl_memory_destroy(p->mb);
    if (p->my) dnnl_memory_destroy(p->my);
    if (p->prim) dnnl_primitive_destroy(p->prim);
    if (p->stream) dnnl_stream_destroy(p->stream);
    if (p->engine) dnnl_engine_destroy(p->engine);
}

double eq_roof_product(eq_roof_kind kind, int64_t M, int64_t N, int64_t K, bool bf16, bool f32_out,
                       int threads) {
    product p = {0};
    double best = 0;
    omp_set_num_threads(threads);
    bool made = make(&p, kind, M, N, K, bf16, f32_out);
    if (!made &&
        bf16) { /* no bf16 on this CPU: such products go through fp32, so that is their roof */
        drop(&p);
        p = (product){0};
        bf16 = false;
        made = make(&p, kind, M, N, K, bf16, f32_out);
    }
    if (made) {
        fill(p.ma, &p.a, bf16), fill(p.mb, &p.b, bf16);
        dnnl_exec_arg_t args[] = {
            {DNNL_ARG_SRC, p.ma}, {DNNL_ARG_WEIGHTS, p.mb}, {DNNL_ARG_DST, p.my}};
        for (int r = 0; r < RUNS; r++) {
            double t = eq_now();
            dnnl_primitive_execute(p.prim, p.stream, 3, args);
            dnnl_stream_wait(p.stream);
            double f = 2.0 * (double)M * (double)N * (double)K / (eq_now() - t);
            if (f > best) best = f;
        }
    }
    drop(&p);
    omp_set_num_threads(1);
    return best;
}

enum { COPY_BYTES = 256 << 20, PIECE = 1 << 20 };
typedef struct {
    char *to, *from;
} copy_job;
static void copy_piece(void *ctx, int64_t i, int thread) {
    (void)thread;
    const copy_job *j = ctx;
    memcpy(j->to + i * PIECE, j->from + i * PIECE, PIECE);
}

double eq_roof_copy(void) {
    copy_job j = {eq_calloc(COPY_BYTES, 1), eq_calloc(COPY_BYTES, 1)};
    double best = 0;
    if (j.to && j.from) {
        memset(j.from, 1, COPY_BYTES);
        for (int r = 0; r < RUNS; r++) {
            double t = eq_now();
            eq_par_for(COPY_BYTES / PIECE, copy_piece, &j);
            double f = 2.0 * COPY_BYTES / (eq_now() - t);
            if (r && f > best) best = f; /* the first run pays for the pages */
        }
    }
    eq_free(j.to), eq_free(j.from);
    return best;
}

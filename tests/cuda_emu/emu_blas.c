/* The products of src/backend/cuda/blas.c in plain loops, queued on the stream as the library's
 * are: sums in double, one rounding to fp32, then one more with what is added to or to bf16. */
#include <stdlib.h>

#include "backend/cuda/cuda.h"

typedef struct {
    eq_mut y;
    eq_view a, b;
    eq_product p;
} job;

static void window(const job *j, int64_t w) {
    const eq_product *p = &j->p;
    int64_t a0 = w * p->M * p->lda, y0 = w * p->M * p->ldy;
    for (int64_t m = 0; m < p->M; m++)
        for (int64_t n = 0; n < p->N; n++) {
            double sum = 0.0;
            for (int64_t k = 0; k < p->K; k++) {
                int64_t ia = a0 + (p->a_turned ? k * p->lda + m : m * p->lda + k);
                int64_t ib = p->b_turned ? n * p->ldb + k : k * p->ldb + n;
                sum += (double)eq_load(j->a.p, j->a.dt, ia) * (double)eq_load(j->b.p, j->b.dt, ib);
            }
            float v = (float)sum,
                  old = p->acc ? eq_load(j->y.p, j->y.dt, y0 + m * p->ldy + n) : 0.0f;
            eq_store(j->y.p, j->y.dt, y0 + m * p->ldy + n, p->acc ? old + v : v);
        }
}

static void run(void *ctx) {
    const job *j = ctx;
    for (int64_t w = 0; w < (j->p.windows > 1 ? j->p.windows : 1); w++) window(j, w);
}

eq_status eq_blas_open(eq_blas **b, eq_err *err) {
    (void)err;
    *b = NULL;
    return EQ_OK;
}
void eq_blas_close(eq_blas *b) { (void)b; }
void eq_blas_product(eq_backend *be, eq_mut y, eq_view a, eq_view b, eq_product p) {
    job *j = malloc(sizeof *j);
    if (!j) abort();
    *j = (job){y, a, b, p};
    eq_emu_queue(eq_cuda_of(be)->stream, run, j, free);
}

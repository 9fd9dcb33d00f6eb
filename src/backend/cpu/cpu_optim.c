/* AdamW over pieces. Invariant: an element's step depends on that element alone. */
#include "backend/cpu/cpu.h"
#include "base/par.h"

typedef struct {
    const eq_kernels *k;
    float *p, *m, *v;
    const float *g;
    int64_t n;
    eq_adamw a;
} adamw_job;

static void adamw_piece(void *ctx, int64_t item, int thread) {
    (void)thread;
    const adamw_job *j = ctx;
    int64_t size = eq_piece(j->n), at = item * size, n = eq_least(size, j->n - at);
    j->k->adamw(j->p + at, j->m + at, j->v + at, j->g + at, &j->a, n);
}

static void adamw(eq_backend *be, eq_mut p, eq_mut m, eq_mut v, eq_view g, eq_adamw a) {
    adamw_job j = {eq_cpu_of(be)->k, p.p, m.p, v.p, g.p, p.n, a};
    eq_par_for(eq_parts(p.n, eq_piece(p.n)), adamw_piece, &j);
}

void eq_cpu_optim(eq_ops *ops) { ops->adamw = adamw; }

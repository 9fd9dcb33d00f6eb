/* The three products of a linear layer as the library's one.
 * Invariant: a and b have one type. */
#include "backend/cuda/cuda.h"

/* fp32 operands give fp32 results there; a bf16 result is rounded from one behind it. */
static void product(eq_backend *be, eq_mut y, eq_view a, eq_view b, eq_product p) {
    if (!p.M || !p.N) return;
    if (a.dt == y.dt || y.dt == EQ_F32) {
        eq_blas_product(be, y, a, b, p);
        return;
    }
    eq_mut wide = {eq_cuda_scratch(be, y.n * eq_dtype_size(EQ_F32)), y.n, EQ_F32};
    if (!wide.p) return;
    eq_blas_product(be, wide, a, b, p);
    EQ_DO(be, cast, y, eq_ro(wide));
}

/* Elements [from, from + n) without the checks of eq_view_at, which knows no empty tensors. */
static eq_view view_from(eq_view v, int64_t from) {
    return (eq_view){(const char *)v.p + from * eq_dtype_size(v.dt), v.n - from, v.dt};
}

/* Windows of T rows, one product each. */
static void rows(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t T,
                 eq_product p) {
    p.windows = T ? M / T : 0;
    product(be, y, a, b, p);
}

static void matmul_nt(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int acc) {
    eq_product p = {T, N, K, .lda = K, .ldb = K, .ldy = N, .b_turned = true, .acc = acc};
    rows(be, y, a, b, M, T, p);
}
static void matmul_nn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int acc) {
    rows(be, y, a, b, M, T, (eq_product){T, N, K, .lda = K, .ldb = N, .ldy = N, .acc = acc});
}

/* The first window's product, then the others added to it: into y, or where y is itself added to
 * into scratch memory first. */
static void matmul_tn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int64_t lda, int acc) {
    bool aside = acc && K > T;
    eq_mut sum = aside ? (eq_mut){eq_cuda_scratch(be, y.n * 4), y.n, EQ_F32} : y;
    eq_product p = {M, N, T, .lda = lda, .ldb = N, .ldy = N, .a_turned = true};
    if (!sum.p) return;
    for (int64_t from = 0; from < K || !from; from += T ? T : 1) {
        p.acc = from > 0 || (acc && !aside);
        product(be, sum, view_from(a, from * lda), view_from(b, from * N), p);
    }
    if (aside) EQ_DO(be, add, y, eq_ro(y), eq_ro(sum));
}

void eq_cuda_matmul(eq_ops *ops) {
    ops->matmul_nt = matmul_nt;
    ops->matmul_nn = matmul_nn;
    ops->matmul_tn = matmul_tn;
}

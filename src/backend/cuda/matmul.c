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

static void matmul_nt(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    eq_product p = {M, N, K, .lda = K, .ldb = K, .ldy = N, .b_turned = true, .acc = acc};
    product(be, y, a, b, p);
}
static void matmul_nn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    product(be, y, a, b, (eq_product){M, N, K, .lda = K, .ldb = N, .ldy = N, .acc = acc});
}
static void matmul_tn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t lda, int acc) {
    eq_product p = {M, N, K, .lda = lda, .ldb = N, .ldy = N, .a_turned = true, .acc = acc};
    product(be, y, a, b, p);
}

void eq_cuda_matmul(eq_ops *ops) {
    ops->matmul_nt = matmul_nt;
    ops->matmul_nn = matmul_nn;
    ops->matmul_tn = matmul_tn;
}

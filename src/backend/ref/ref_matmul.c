/* Reference: the three products of a linear layer's forward and backward pass.
 * Invariant: y's element (m, n) is one sum over k in rising order, kept in double. */
#include "backend/ref/ref.h"

/* a's element (m, k) lies at m * am + k * ak, b's (k, n) at k * bk + n * bn. */
typedef struct {
    int64_t am, ak, bk, bn;
} strides;

static void product(eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N, int64_t K, int acc,
                    strides s) {
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double sum = acc ? eq_get(eq_ro(y), m * N + n) : 0.0;
            for (int64_t k = 0; k < K; k++)
                sum += eq_get(a, m * s.am + k * s.ak) * eq_get(b, k * s.bk + n * s.bn);
            eq_put(y, m * N + n, sum);
        }
}

static void matmul_nt(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    (void)be;
    product(y, a, b, M, N, K, acc, (strides){K, 1, 1, K});
}

static void matmul_nn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int acc) {
    (void)be;
    product(y, a, b, M, N, K, acc, (strides){K, 1, N, 1});
}

static void matmul_tn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t lda, int acc) {
    (void)be;
    product(y, a, b, M, N, K, acc, (strides){1, lda, N, 1});
}

void eq_ref_matmul(eq_ops *ops) {
    ops->matmul_nt = matmul_nt;
    ops->matmul_nn = matmul_nn;
    ops->matmul_tn = matmul_tn;
}

/* Reference: the three products of a linear layer's forward and backward pass.
 * Invariant: a window's part of y's element (m, n) is one sum over k in rising order, kept in
 * double and rounded to F32; windows, and y where it is added to, come on top with one rounding
 * each. */
#include "backend/ref/ref.h"

/* a's element (m, k) lies at m * am + k * ak, b's (k, n) at k * bk + n * bn. */
typedef struct {
    int64_t am, ak, bk, bn;
} strides;

/* K in windows of T. */
static void product(eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N, int64_t K, int64_t T,
                    int acc, strides s) {
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            float all = 0.0f;
            for (int64_t from = 0; from < K; from += T) {
                double sum = 0.0;
                for (int64_t k = from; k < from + T; k++)
                    sum += eq_get(a, m * s.am + k * s.ak) * eq_get(b, k * s.bk + n * s.bn);
                all = from ? all + (float)sum : (float)sum;
            }
            if (acc) all += eq_load(y.p, y.dt, m * N + n);
            eq_store(y.p, y.dt, m * N + n, all);
        }
}

static void matmul_nt(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int acc) {
    (void)be, (void)T;
    product(y, a, b, M, N, K, K, acc, (strides){K, 1, 1, K});
}

static void matmul_nn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int acc) {
    (void)be, (void)T;
    product(y, a, b, M, N, K, K, acc, (strides){K, 1, N, 1});
}

static void matmul_tn(eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N,
                      int64_t K, int64_t T, int64_t lda, int acc) {
    (void)be;
    product(y, a, b, M, N, K, T, acc, (strides){1, lda, N, 1});
}

void eq_ref_matmul(eq_ops *ops) {
    ops->matmul_nt = matmul_nt;
    ops->matmul_nn = matmul_nn;
    ops->matmul_tn = matmul_tn;
}

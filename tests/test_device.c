/* The real CUDA device, where there is one: the case table against the reference, the same bytes
 * twice, gradients. Without the library, a driver or a device it is skipped, with the line that
 * says which. "first": only the first case of each operation, for compute-sanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/par.h"
#include "op_grads.h"
#include "op_run.h"

static eq_backend *ref, *cuda;
static bool first;

#define TEST(name, params, args) \
    static void test_##name(void **state) { \
        (void)state; \
        op_check(EQ_OP_##name, ref, cuda, NULL, first); \
    }
EQ_OPS(TEST)

static void test_gradients(void **state) {
    (void)state;
    op_grads_check(cuda);
}

/* A window's rows have the same bits alone and in company, at the sizes where libraries choose
 * their tiles by the number of rows. */
static void test_windows(void **state) {
    (void)state;
    enum { WINDOWS = 3 };
    static const int64_t shape[][3] = {
        {2048, 4096, 4096}, {2048, 11008, 4096}, {512, 4096, 11008}, {192, 512, 128}};
    for (size_t i = 0; i < (first ? 1 : sizeof shape / sizeof *shape); i++) {
        int64_t T = shape[i][0], N = shape[i][1], K = shape[i][2], M = WINDOWS * T;
        for (int turned = 0; turned < 2; turned++) {
            eq_mut a = {cuda->alloc(cuda, 2 * M * K), M * K, EQ_BF16};
            eq_mut b = {cuda->alloc(cuda, 2 * N * K), N * K, EQ_BF16};
            eq_mut y = {cuda->alloc(cuda, 2 * M * N), M * N, EQ_BF16};
            eq_mut one = {cuda->alloc(cuda, 2 * T * N), T * N, EQ_BF16};
            int64_t most = M * K > N * K ? M * K : N * K;
            float *host = eq_calloc(most, sizeof *host);
            uint16_t *got = eq_calloc(M * N, 2), *alone = eq_calloc(T * N, 2);
            assert_non_null(a.p), assert_non_null(b.p), assert_non_null(y.p);
            assert_non_null(one.p), assert_non_null(alone);
            for (int64_t k = 0; k < most; k++) host[k] = (float)(k * 7919 % 4093) / 2048 - 1;
            cuda->upload(cuda, a, host, EQ_F32);
            cuda->upload(cuda, b, host, EQ_F32);
            if (turned)
                EQ_DO(cuda, matmul_nn, y, eq_ro(a), eq_ro(b), M, N, K, T, 0);
            else
                EQ_DO(cuda, matmul_nt, y, eq_ro(a), eq_ro(b), M, N, K, T, 0);
            cuda->download(cuda, got, EQ_BF16, eq_ro(y));
            for (int64_t w = 0; w < WINDOWS; w++) {
                eq_view part = eq_view_at(eq_ro(a), w * T * K, T * K);
                if (turned)
                    EQ_DO(cuda, matmul_nn, one, part, eq_ro(b), T, N, K, T, 0);
                else
                    EQ_DO(cuda, matmul_nt, one, part, eq_ro(b), T, N, K, T, 0);
                cuda->download(cuda, alone, EQ_BF16, eq_ro(one));
                assert_memory_equal(got + w * T * N, alone, (size_t)(2 * T * N));
            }
            cuda->free_(cuda, a.p), cuda->free_(cuda, b.p), cuda->free_(cuda, y.p);
            cuda->free_(cuda, one.p);
            eq_free(host), eq_free(got), eq_free(alone);
        }
    }
}

static void test_nothing_left(void **state) {
    (void)state;
    eq_err err = {0};
    if (cuda->sync(cuda, &err) != EQ_OK) fail_msg("%s", err.msg);
}

int main(int argc, char **argv) {
#define ROW(name, params, args) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {EQ_OPS(ROW) cmocka_unit_test(test_gradients),
                                       cmocka_unit_test(test_windows),
                                       cmocka_unit_test(test_nothing_left)};
    eq_err err = {0};
    if (eq_backend_open(&cuda, "cuda", NULL, &err) != EQ_OK) {
        printf("SKIP %s\n", err.msg);
        return 77;
    }
    if (eq_backend_open(&ref, "ref", NULL, &err) != EQ_OK) return 1;
    printf("%s\n", cuda->kernels);
    first = argc > 1 && !strcmp(argv[1], "first");
    if (argc > 1 && !strcmp(argv[1], "none")) return 0;
    int rc = cmocka_run_group_tests_name("the CUDA device", tests, NULL, NULL);
    cuda->close(cuda), ref->close(ref);
    eq_par_shutdown();
    return rc;
}

/* The real CUDA device, where there is one: the case table against the reference, the same bytes
 * twice, gradients. Without the library, a driver or a device it is skipped, with the line that
 * says which. "first": only the first case of each operation, for compute-sanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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

static void test_nothing_left(void **state) {
    (void)state;
    eq_err err = {0};
    if (cuda->sync(cuda, &err) != EQ_OK) fail_msg("%s", err.msg);
}

int main(int argc, char **argv) {
#define ROW(name, params, args) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {EQ_OPS(ROW) cmocka_unit_test(test_gradients),
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

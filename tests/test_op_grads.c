/* The gradient checks of op_grads.c on the CPU's backends and METHOD's table of straight-through
 * gradients row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/par.h"
#include "op_grads.h"

static void check(const char *spec) {
    eq_backend *be;
    eq_err err = {0};
    assert_int_equal(eq_backend_open(&be, spec, NULL, &err), EQ_OK);
    op_grads_check(be);
    assert_int_equal(be->bytes, 0);
    be->close(be);
}
static void test_ref(void **state) {
    (void)state;
    check("ref");
}
static void test_cpu(void **state) {
    (void)state;
    check("cpu");
}

/* METHOD's table, row by row, on one group each: s = 1, z = 2, Q = 3, dw_hat = 1. */
static void test_table(void **state) {
    (void)state;
    static const struct {
        float w, dw, ds, dz;
    } row[] = {
        {0.3f, 1, -0.3f, 0}, {0.7f, 1, 0.3f, 0},   {-2.0f, 1, 0, 0},    /* t = 0 is inside */
        {-2.4f, 1, 0.4f, 0}, {1.0f, 1, 0, 0},                           /* t = Q is inside */
        {-3.0f, 0, -2, -1},  {2.0f, 0, 1, -1},     {0.5f, 1, -0.5f, 0}, /* ties to even */
        {1.5f, 0, 1, -1},    {-1.5f, 1, -0.5f, 0},
    };
    eq_backend *be;
    assert_int_equal(eq_backend_open(&be, "ref", NULL, NULL), EQ_OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        float w = row[i].w, s = 1, z = 2.2f, one = 1, dw, ds, dz;
        EQ_DO(be, fq_bwd, (eq_mut){&dw, 1, EQ_F32}, (eq_mut){&ds, 1, EQ_F32},
              (eq_mut){&dz, 1, EQ_F32}, (eq_view){&one, 1, EQ_F32}, (eq_view){&w, 1, EQ_F32},
              (eq_view){&s, 1, EQ_F32}, (eq_view){&z, 1, EQ_F32},
              (eq_qshape){1, 1, 1, 2, EQ_GRID_FREE});
        assert_float_equal(dw, row[i].dw, 0);
        assert_float_equal(ds, row[i].ds, 1e-6);
        assert_float_equal(dz, row[i].dz, 0);
    }
    be->close(be);
}

/* A backward operation without a problem here is an error. */
static void test_complete(void **state) {
    (void)state;
    for (int op = 0; op < EQ_OP_COUNT; op++) {
        const char *tail = strrchr(eq_op_names[op], '_');
        if (tail && !strcmp(tail, "_bwd") && !op_grads_has((eq_op_id)op))
            fail_msg("operation %s has no gradient check", eq_op_names[op]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref),
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_complete),
    };
    int rc = cmocka_run_group_tests_name("gradients", tests, NULL, NULL);
    eq_par_shutdown();
    return rc;
}

/* The kernels of the CUDA backend on the CPU (tests/cuda_emu): every row of the case table against
 * the reference, on aligned memory, one element off and at an allocation's end (where
 * AddressSanitizer watches), lanes in rising and in falling order with the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"
#include "base/par.h"
#include "op_grads.h"
#include "op_run.h"

static eq_backend *ref, *emu;
static void falling(int yes) { eq_emu_falling = yes; }

#define TEST(name, params, args) \
    static void test_##name(void **state) { \
        (void)state; \
        op_check(EQ_OP_##name, ref, emu, falling, false); \
    }
EQ_OPS(TEST)

/* A card whose blocks have 99 KiB of shared memory, as sm_89: kernels with fewer stages. */
static void test_small_card(void **state) {
    (void)state;
    eq_backend *large = emu;
    eq_err err = {0};
    eq_emu_shared_memory(99 << 10);
    assert_int_equal(eq_cuda_open(&emu, eq_par_for, &err), EQ_OK);
    for (int i = 0; i < eq_op_case_count; i++) {
        const eq_op_case *c = &eq_op_cases[i];
        bool attention = c->op == EQ_OP_attn_fwd || c->op == EQ_OP_attn_bwd;
        if (attention && c->in == EQ_BF16 && c->d[4] >= 64 && !c->bench) op_check_once(c, ref, emu);
    }
    emu->close(emu);
    emu = large;
    *op_label = '\0';
    eq_emu_shared_memory(227 << 10);
}

static void test_gradients(void **state) {
    (void)state;
    op_grads_check(emu);
}

static int say_where(void **state) {
    (void)state;
    if (*op_label) print_error("last case: %s %s\n", op_label, eq_emu_fault());
    *op_label = '\0';
    eq_emu_clear_fault();
    return 0;
}
static int set_up(void **state) {
    (void)state;
    eq_err err = {0};
    if (eq_backend_open(&ref, "ref", NULL, &err) != EQ_OK) return -1;
    if (eq_cuda_open(&emu, eq_par_for, &err) == EQ_OK) return 0;
    print_error("%s\n", err.msg);
    return -1;
}
static int tear_down(void **state) {
    (void)state;
    ref->close(ref);
    emu->close(emu);
    eq_par_shutdown();
    return eq_mem_current() == 0 && eq_emu_allocated() == 0 ? 0 : -1;
}

int main(int argc, char **argv) {
#if defined(__SANITIZE_THREAD__)
    puts("SKIP the emulated device has fibers, which ThreadSanitizer does not follow");
    return 77;
#endif
#define ROW(name, params, args) cmocka_unit_test_teardown(test_##name, say_where),
    const struct CMUnitTest tests[] = {EQ_OPS(ROW)
                                           cmocka_unit_test_teardown(test_small_card, say_where),
                                       cmocka_unit_test(test_gradients)};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("operations of the CUDA backend", tests, set_up, tear_down);
}

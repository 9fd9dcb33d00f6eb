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
#include "op_run.h"

static eq_backend *ref, *emu;
static char label[128];

static void must(const op_run *r, const uint8_t *const want[], bool exact, const char *what) {
    char why[160];
    int i = op_run_compare(r, want, exact, why, sizeof why);
    if (i >= 0) fail_msg("%s, %s: %s %s", label, what, r->bufs[i].name, why);
}

/* Takes over the outputs of r, so that the next run can be compared with them. */
static void keep(uint8_t *kept[], op_run *r) {
    for (int i = 0; i < r->n; i++) {
        if (!r->after[i]) continue;
        int64_t bytes = r->bufs[i].n * eq_dtype_size(r->bufs[i].dt);
        if (!kept[i]) kept[i] = eq_calloc(bytes, 1);
        assert_non_null(kept[i]);
        memcpy(kept[i], r->after[i], (size_t)bytes);
    }
}

static void check_case(const eq_op_case *c) {
    eq_case_label(c, label, sizeof label);
    op_run r;
    uint8_t *want[EQ_CASE_BUFS] = {0}, *rising[EQ_CASE_BUFS] = {0};
    op_run_inputs(&r, c, ref);
    op_run_do(&r, ref, OP_ALIGNED);
    keep(want, &r);
    eq_emu_falling = 0;
    op_run_do(&r, emu, OP_ALIGNED);
    must(&r, (const uint8_t *const *)want, false, "rising lanes");
    keep(rising, &r);
    eq_emu_falling = 1;
    op_run_do(&r, emu, OP_ALIGNED);
    must(&r, (const uint8_t *const *)rising, true, "falling lanes");
    op_run_do(&r, emu, OP_SHIFTED);
    must(&r, (const uint8_t *const *)want, false, "one element off");
    op_run_do(&r, emu, OP_PAGE_END);
    must(&r, (const uint8_t *const *)want, false, "at the end of an allocation");
    for (int i = 0; i < r.n; i++) eq_free(want[i]), eq_free(rising[i]);
    op_run_free(&r);
}

#define FILLED(name, params, args) [EQ_OP_##name] = (void (*)(void))emu->op.name,
static void check_op(eq_op_id op) {
    void (*const filled[EQ_OP_COUNT])(void) = {EQ_OPS(FILLED)};
    if (!filled[op]) skip();
    for (int i = 0; i < eq_op_case_count; i++)
        if (eq_op_cases[i].op == op && !eq_op_cases[i].bench) check_case(&eq_op_cases[i]);
    *label = '\0';
}

#define TEST(name, params, args) \
    static void test_##name(void **state) { \
        (void)state; \
        check_op(EQ_OP_##name); \
    }
EQ_OPS(TEST)

/* A card whose blocks have 99 KiB of shared memory, as sm_89: kernels with fewer stages. */
static void test_small_card(void **state) {
    (void)state;
    eq_backend *large = emu;
    eq_err err = {0};
    eq_emu_shared_memory(99 << 10);
    assert_int_equal(eq_cuda_open(&emu, &err), EQ_OK);
    for (int i = 0; i < eq_op_case_count; i++) {
        const eq_op_case *c = &eq_op_cases[i];
        bool attention = c->op == EQ_OP_attn_fwd || c->op == EQ_OP_attn_bwd;
        if (attention && c->in == EQ_BF16 && c->d[4] >= 64 && !c->bench) check_case(c);
    }
    emu->close(emu);
    emu = large;
    *label = '\0';
    eq_emu_shared_memory(227 << 10);
}

static int say_where(void **state) {
    (void)state;
    if (*label) print_error("last case: %s %s\n", label, eq_emu_fault());
    *label = '\0';
    eq_emu_clear_fault();
    return 0;
}
static int set_up(void **state) {
    (void)state;
    eq_err err = {0};
    if (eq_backend_open(&ref, "ref", NULL, &err) != EQ_OK) return -1;
    if (eq_cuda_open(&emu, &err) == EQ_OK) return 0;
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

int main(void) {
#if defined(__SANITIZE_THREAD__)
    puts("SKIP the emulated device has fibers, which ThreadSanitizer does not follow");
    return 77;
#endif
#define ROW(name, params, args) cmocka_unit_test_teardown(test_##name, say_where),
    const struct CMUnitTest tests[] = {EQ_OPS(ROW)
                                           cmocka_unit_test_teardown(test_small_card, say_where)};
    return cmocka_run_group_tests_name("operations of the CUDA backend", tests, set_up, tear_down);
}

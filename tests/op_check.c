/* One operation of a device backend on the case table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "op_run.h"

enum { LARGE = 2 << 20 }; /* products and sums of a case that take a while on an emulated device */
char op_label[128];

static void must(const op_run *r, const uint8_t *const want[], bool exact, const char *what) {
    char why[160];
    int i = op_run_compare(r, want, exact, why, sizeof why);
    if (i >= 0) fail_msg("%s, %s: %s %s", op_label, what, r->bufs[i].name, why);
}

/* Copies the outputs of r, so that the next run can be compared with them. */
static void keep(uint8_t *kept[], const op_run *r) {
    for (int i = 0; i < r->n; i++) {
        if (!r->after[i]) continue;
        int64_t bytes = r->bufs[i].n * eq_dtype_size(r->bufs[i].dt);
        assert_non_null(kept[i] = eq_calloc(bytes, 1));
        memcpy(kept[i], r->after[i], (size_t)bytes);
    }
}

void op_check_case(const eq_op_case *c, eq_backend *ref, eq_backend *be, void (*turn)(int)) {
    eq_case_label(c, op_label, sizeof op_label);
    op_run r;
    uint8_t *want[EQ_CASE_BUFS] = {0}, *once[EQ_CASE_BUFS] = {0};
    op_run_inputs(&r, c, ref);
    op_run_do(&r, ref, OP_ALIGNED);
    keep(want, &r);
    if (turn) turn(0);
    op_run_do(&r, be, OP_ALIGNED);
    must(&r, (const uint8_t *const *)want, false, "aligned");
    keep(once, &r);
    if (turn) turn(1);
    op_run_do(&r, be, OP_ALIGNED);
    must(&r, (const uint8_t *const *)once, true, "a second time");
    if (eq_case_flop(c) > LARGE)
        goto done; /* alignment and ends: smaller cases of the same kernels */
    op_run_do(&r, be, OP_SHIFTED);
    must(&r, (const uint8_t *const *)want, false, "one element off");
    op_run_do(&r, be, OP_PAGE_END);
    must(&r, (const uint8_t *const *)want, false, "at the end of an allocation");
done:
    for (int i = 0; i < r.n; i++) eq_free(want[i]), eq_free(once[i]);
    op_run_free(&r);
}

void op_check_once(const eq_op_case *c, eq_backend *ref, eq_backend *be) {
    op_run r;
    uint8_t *want[EQ_CASE_BUFS] = {0};
    eq_case_label(c, op_label, sizeof op_label);
    op_run_inputs(&r, c, ref);
    op_run_do(&r, ref, OP_ALIGNED);
    keep(want, &r);
    op_run_do(&r, be, OP_ALIGNED);
    must(&r, (const uint8_t *const *)want, false, "aligned");
    for (int i = 0; i < r.n; i++) eq_free(want[i]);
    op_run_free(&r);
}

void op_check(eq_op_id op, eq_backend *ref, eq_backend *be, void (*turn)(int), bool first) {
    for (int i = 0; i < eq_op_case_count; i++) {
        const eq_op_case *c = &eq_op_cases[i];
        if (c->op != op || c->bench || (be->device && c->opt & EQ_OPT_ACT8))
            continue; /* its hints */
        op_check_case(c, ref, be, turn);
        if (first) break;
    }
    *op_label = '\0';
}

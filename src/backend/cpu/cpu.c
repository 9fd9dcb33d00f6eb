/* The CPU backend: host memory, the reference table, overridden upward per instruction set.
 * Invariant: a slot that nothing overrides keeps the reference's meaning. */
#include "backend/hostmem.h"

eq_status eq_cpu_open(eq_backend **be, const char *cpu_mask, eq_err *err) {
    (void)cpu_mask;
    EQ_TRY(eq_host_open(be, "cpu", err));
    (*be)->kernels = "scalar";
    eq_ref_ops(&(*be)->op);
    return EQ_OK;
}

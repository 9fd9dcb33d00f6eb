/* The reference backend: host memory and the scalar operations.
 * Invariant: every slot of the table is filled; a backend that overrides some starts from here. */
#include "backend/ref/ref.h"

#include "backend/hostmem.h"

void eq_ref_ops(eq_ops *ops) {
    eq_ref_elementwise(ops);
    eq_ref_gather(ops);
    eq_ref_matmul(ops);
    eq_ref_norm(ops);
    eq_ref_rope(ops);
    eq_ref_attention(ops);
    eq_ref_loss(ops);
    eq_ref_quantize(ops);
    eq_ref_variants(ops);
    eq_ref_optim(ops);
}

eq_status eq_ref_open(eq_backend **be, eq_err *err) {
    EQ_TRY(eq_host_open(be, "ref", err));
    (*be)->kernels = "scalar";
    eq_ref_ops(&(*be)->op);
    return EQ_OK;
}

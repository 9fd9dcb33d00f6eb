/* The scalar reference: what every operation means, in loops that can be read beside the comments
 * of backend.h. Sums and products are kept in double, each output is rounded once. */
#ifndef EQ_BACKEND_REF_H
#define EQ_BACKEND_REF_H
#include "backend/backend.h"

/* Each fills the slots of its file. */
void eq_ref_elementwise(eq_ops *ops);
void eq_ref_gather(eq_ops *ops);
void eq_ref_matmul(eq_ops *ops);
void eq_ref_norm(eq_ops *ops);
void eq_ref_rope(eq_ops *ops);
void eq_ref_attention(eq_ops *ops);
void eq_ref_loss(eq_ops *ops);
void eq_ref_quantize(eq_ops *ops);
void eq_ref_variants(eq_ops *ops);
void eq_ref_optim(eq_ops *ops);

static inline double eq_get(eq_view v, int64_t i) { return (double)eq_load(v.p, v.dt, i); }
static inline void eq_put(eq_mut m, int64_t i, double x) { eq_store(m.p, m.dt, i, (float)x); }
#endif

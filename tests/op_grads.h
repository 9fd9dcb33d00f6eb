/* The backward operations against central differences of forward functions in double. */
#ifndef EQ_TESTS_OP_GRADS_H
#define EQ_TESTS_OP_GRADS_H
#include "backend/wrap.h"

/* Every problem on this backend; fails the test where one is off. */
void op_grads_check(eq_backend *be);
bool op_grads_has(eq_op_id op); /* a problem checks its gradient */
#endif

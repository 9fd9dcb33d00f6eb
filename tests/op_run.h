/* One case of the operation table on one backend: memory laid out between guards, filled, run, read
 * back and compared. */
#ifndef EQ_TESTS_OP_RUN_H
#define EQ_TESTS_OP_RUN_H
#include "op_cases.h"

/* Where a buffer lies: behind a 64-byte boundary, one element off it, or ending at a page's end (so
 * that with "fenced:" a read behind it is a segmentation fault). */
typedef enum { OP_ALIGNED, OP_SHIFTED, OP_PAGE_END } op_place;

typedef struct {
    const eq_op_case *c;
    eq_case_buf bufs[EQ_CASE_BUFS];
    int n;
    /* Content before the operation (inputs; 0xff in outputs) and after it; NULL where shared. */
    uint8_t *before[EQ_CASE_BUFS], *after[EQ_CASE_BUFS];
} op_run;

/* Fills the inputs, the derived ones by be's own forward operations. */
void op_run_inputs(op_run *r, const eq_op_case *c, eq_backend *be);
/* Runs the case on `before`, result in `after`. Fails the test when a guard or an input changed. */
void op_run_do(op_run *r, eq_backend *be, op_place place);
void op_run_free(op_run *r);
/* Index of the first output in which `got` is further from `want` than the case allows (then `why`
 * says how far), or -1. exact: no tolerance at all. */
int op_run_compare(const op_run *got, const uint8_t *const want[EQ_CASE_BUFS], bool exact,
                   char *why, int n);

/* The rows of an operation on `be` against the reference: aligned (a second time after `turn`, with
 * the same bytes), one element off, at an allocation's end. first: only the first row. turn may be
 * NULL. */
void op_check(eq_op_id op, eq_backend *ref, eq_backend *be, void (*turn)(int times), bool first);
void op_check_case(const eq_op_case *c, eq_backend *ref, eq_backend *be, void (*turn)(int times));
/* One row, once, aligned. */
void op_check_once(const eq_op_case *c, eq_backend *ref, eq_backend *be);
extern char op_label[128]; /* of the row under way, "" between operations */
#endif

/* THE case table of all operations. The tests compare backends with the reference on it, check that
 * guards and inputs stay whole and that threads do not change a byte; `bench` times its large rows.
 * An operation of EQ_OPS without a row fails the test. */
#ifndef EQ_BENCH_OP_CASES_H
#define EQ_BENCH_OP_CASES_H
#include "backend/wrap.h"

/* Flavour of a case's numbers. What each means for weights, scores and logits: op_data.c. */
typedef enum {
    EQ_PLAIN,    /* normal numbers of a usual size */
    EQ_LARGE,    /* large magnitudes: saturation, one-hot softmax */
    EQ_TINY,     /* subnormals and zeros: where eps decides */
    EQ_CONSTANT, /* every group or row all-equal, zeros among them */
    EQ_TIES,     /* w / s exactly on .5 */
    EQ_SMALL,    /* weights far below the paper's least step, steps at and beyond their floor */
    EQ_CLIPPED,  /* most weights beyond the codes; s and z beyond their clamps */
    EQ_DECAYED,  /* AdamW late in a run: moments of gradients that have long been 0 */
    EQ_SPECIAL   /* NaN, infinities, the largest, the smallest */
} eq_flavour;

/* Option bits; the operation says which it knows. */
enum {
    EQ_OPT_ACC = 1,      /* add to the output */
    EQ_OPT_INPLACE = 2,  /* outputs on inputs, where backend.h allows it */
    EQ_OPT_NO_FIRST = 4, /* the first, second, third gradient is not wanted */
    EQ_OPT_NO_SECOND = 8,
    EQ_OPT_NO_THIRD = 16,
    EQ_OPT_BACK = 32,  /* rope: turn back */
    EQ_OPT_DECAY = 64, /* adamw: weight decay and a scaled gradient */
    EQ_OPT_CAP = 128,  /* attention: scores are capped */
    EQ_OPT_ACT8 = 256  /* matvec_q: activations of 8 bits */
};

enum { EQ_CASE_SIZES = 7 };
typedef struct {
    eq_op_id op;
    eq_dtype in, out; /* of the operands whose type is free */
    eq_flavour flavour;
    unsigned opt;
    bool bench;               /* too large for the reference: timed, not compared */
    int64_t d[EQ_CASE_SIZES]; /* sizes, in the order of backend.h; see op_calls.c */
} eq_op_case;

extern const eq_op_case eq_op_cases[];
extern const int eq_op_case_count;

/* DERIVED: input, see prepare. OWN: input that a backend first brings into its own order. */
typedef enum { EQ_IN, EQ_OUT, EQ_INOUT, EQ_DERIVED, EQ_OWN } eq_role;
typedef struct {
    const char *name;
    eq_role role;
    eq_dtype dt;
    int64_t n;
    int kind;         /* what it is filled with; private to op_data.c and op_calls.c */
    double tolerance; /* outputs: largest squared error over squared size; 0: the same bits; < 0:
                         undefined afterwards, not compared */
    double floor;     /* the size counts as at least this: of the terms, where they may cancel */
    int on;           /* shares the memory of this buffer (same type, same n); -1: its own */
} eq_case_buf;
enum { EQ_CASE_BUFS = 14 };

/* The buffers of a case; returns how many. */
int eq_case_describe(const eq_op_case *c, eq_case_buf bufs[EQ_CASE_BUFS]);
/* Is buffer b filled from the case? */
bool eq_case_filled(const eq_case_buf *b);
/* Its numbers into host memory of bufs[i].n elements. */
void eq_case_fill(const eq_op_case *c, const eq_case_buf *bufs, int i, void *host);
/* Computes the derived inputs (log-sum-exp of attention, ...) from the filled ones by be's own
 * operations. mem: backend memory of every buffer. */
void eq_case_prepare(eq_backend *be, const eq_op_case *c, const eq_mut *mem);
/* Brings the inputs that are OWN into be's order: once, before it runs. */
void eq_case_own(eq_backend *be, const eq_op_case *c, const eq_mut *mem);
void eq_case_run(eq_backend *be, const eq_op_case *c, const eq_mut *mem);
/* Multiplications and additions, of products and attention only; else 0. */
double eq_case_flop(const eq_op_case *c);
/* "fq_fwd F32>BF16 ties 5x256 g128 w3", at most `n` bytes. */
void eq_case_label(const eq_op_case *c, char *text, int n);
#endif

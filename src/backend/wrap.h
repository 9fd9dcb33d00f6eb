/* Wrapping backends. The operation list carries parameters and arguments, so one macro gives every
 * wrapper all operations; a wrapper only says what happens before and after one. */
#ifndef EQ_BACKEND_WRAP_H
#define EQ_BACKEND_WRAP_H
#include "backend/backend.h"

typedef enum {
#define EQ_OP_ID(name, params, args) EQ_OP_##name,
    EQ_OPS(EQ_OP_ID)
#undef EQ_OP_ID
        EQ_OP_COUNT
} eq_op_id;
extern const char *const eq_op_names[EQ_OP_COUNT];

/* One argument of a call, in the order of the list (the backend itself is number 0). */
typedef struct {
    enum { EQ_ARG_OTHER, EQ_ARG_VIEW, EQ_ARG_MUT } kind;
    const void *p;
    int64_t n;
    eq_dtype dt;
} eq_arg;
enum { EQ_MAX_ARGS = 17 };

typedef struct eq_wrap eq_wrap;
struct eq_wrap {
    eq_backend *in; /* what is wrapped, owned */
    eq_err first;   /* the wrapper's own first error since the last sync */
    void *own;
    /* before: false leaves the call out. Either may be NULL. */
    bool (*before)(eq_wrap *w, eq_op_id op, const eq_arg *args, int n);
    void (*after)(eq_wrap *w, eq_op_id op, const eq_arg *args, int n);
    void (*free_own)(void *own);
};

/* Turns *be into a backend called "prefix" + its name that owns the old one, with all memory calls
 * passed on. On failure *be is as before. */
eq_status eq_wrap_open(eq_backend **be, const char *prefix, eq_wrap **w, eq_err *err);
/* be->self of a wrapper, NULL for any other backend. */
eq_wrap *eq_wrap_of(const eq_backend *be);
/* Notes an error (the first one is kept until sync). */
void eq_wrap_error(eq_wrap *w, eq_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

eq_status eq_trace_wrap(eq_backend **be, eq_err *err);
eq_status eq_finite_wrap(eq_backend **be, eq_err *err);
eq_status eq_fenced_wrap(eq_backend **be, eq_err *err);
#endif

/* "finite:" — the first operation that puts out a NaN or an infinity is an error that names it.
 * Invariant: only outputs are read, through download, so any backend can be wrapped. */
#include <math.h>
#include <string.h>

#include "backend/wrap.h"
#include "base/mem.h"

enum { PIECE = 1 << 14 };

static const char *const arg_text[EQ_OP_COUNT] = {
#define ARG_TEXT(name, params, args) #args,
    EQ_OPS(ARG_TEXT)
#undef ARG_TEXT
};

/* The name of argument `i`, from the text "(be, y, x)" of the list: `*n` characters. */
static const char *arg_name(eq_op_id op, int i, int *n) {
    const char *p = arg_text[op] + 1;
    while (i-- > 0) p = strchr(p, ',') + 2;
    *n = (int)strcspn(p, ",)");
    return p;
}

/* The first element that is not finite, or -1. */
static int64_t first_bad(eq_wrap *w, const eq_arg *a, double *piece) {
    eq_view v = {a->p, a->n, a->dt};
    eq_dtype as = a->dt == EQ_F64 ? EQ_F64 : EQ_F32;
    for (int64_t from = 0; from < a->n; from += PIECE) {
        int64_t n = a->n - from < PIECE ? a->n - from : PIECE;
        w->in->download(w->in, piece, as, eq_view_at(v, from, n));
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(as == EQ_F64 ? piece[i] : (double)((float *)piece)[i])) return from + i;
    }
    return -1;
}

static void after(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    if (w->first.status != EQ_OK) return;
    eq_err err = {0};
    if (w->in->sync(w->in, &err) != EQ_OK) {
        eq_wrap_error(w, err.status, "%s", err.msg);
        return;
    }
    for (int i = 0; i < n; i++) {
        const eq_arg *a = &args[i];
        bool is_float = a->dt == EQ_F32 || a->dt == EQ_BF16 || a->dt == EQ_F16 || a->dt == EQ_F64;
        if (a->kind != EQ_ARG_MUT || !a->n || !is_float) continue;
        int64_t bad = first_bad(w, a, w->own);
        int len;
        const char *name = arg_name(op, i, &len);
        if (bad >= 0)
            eq_wrap_error(w, EQ_EDEVICE, "operation %s: %.*s[%lld] of %lld (%s) is not finite",
                          eq_op_names[op], len, name, (long long)bad, (long long)a->n,
                          eq_dtype_name(a->dt));
    }
}

eq_status eq_finite_wrap(eq_backend **be, eq_err *err) {
    double *piece = eq_calloc(PIECE, sizeof *piece);
    if (!piece) return eq_nomem(err, "the finite wrapper", PIECE * (int64_t)sizeof *piece);
    eq_wrap *w;
    eq_status st = eq_wrap_open(be, "finite:", &w, err);
    if (st != EQ_OK) {
        eq_free(piece);
        return st;
    }
    w->own = piece;
    w->free_own = eq_free;
    w->after = after;
    return EQ_OK;
}

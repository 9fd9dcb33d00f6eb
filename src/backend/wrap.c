/* The one set of wrapped operations. Arguments are told apart by their type alone.
 * Invariant: the inner backend sees exactly the arguments of the outer call, or no call at all. */
#include "backend/wrap.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

const char *const eq_op_names[EQ_OP_COUNT] = {
#define EQ_OP_NAME(name, params, args) #name,
    EQ_OPS(EQ_OP_NAME)
#undef EQ_OP_NAME
};

static eq_arg arg_mut(int number, eq_mut m) {
    (void)number;
    return (eq_arg){EQ_ARG_MUT, m.p, m.n, m.dt};
}
static eq_arg arg_view(int number, eq_view v) {
    (void)number;
    return (eq_arg){EQ_ARG_VIEW, v.p, v.n, v.dt};
}
static eq_arg arg_other(int number, ...) {
    (void)number;
    return (eq_arg){EQ_ARG_OTHER, NULL, 0, EQ_F32};
}
#define ARG(i, x) _Generic((x), eq_mut : arg_mut, eq_view : arg_view, default : arg_other)(i, x)

/* LIST(a, b, ...) = {ARG(0, a), ARG(1, b), ...} for 2 to 17 arguments */
#define PICK(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, name, \
             ...) \
    name
#define A2(a, b) ARG(0, a), ARG(1, b)
#define A3(a, b, c) A2(a, b), ARG(2, c)
#define A4(a, b, c, d) A3(a, b, c), ARG(3, d)
#define A5(a, b, c, d, e) A4(a, b, c, d), ARG(4, e)
#define A6(a, b, c, d, e, f) A5(a, b, c, d, e), ARG(5, f)
#define A7(a, b, c, d, e, f, g) A6(a, b, c, d, e, f), ARG(6, g)
#define A8(a, b, c, d, e, f, g, h) A7(a, b, c, d, e, f, g), ARG(7, h)
#define A9(a, b, c, d, e, f, g, h, i) A8(a, b, c, d, e, f, g, h), ARG(8, i)
#define A10(a, b, c, d, e, f, g, h, i, j) A9(a, b, c, d, e, f, g, h, i), ARG(9, j)
#define A11(a, b, c, d, e, f, g, h, i, j, k) A10(a, b, c, d, e, f, g, h, i, j), ARG(10, k)
#define A12(a, b, c, d, e, f, g, h, i, j, k, l) A11(a, b, c, d, e, f, g, h, i, j, k), ARG(11, l)
#define A13(a, b, c, d, e, f, g, h, i, j, k, l, m) \
    A12(a, b, c, d, e, f, g, h, i, j, k, l), ARG(12, m)
#define A14(a, b, c, d, e, f, g, h, i, j, k, l, m, n) \
    A13(a, b, c, d, e, f, g, h, i, j, k, l, m), ARG(13, n)
#define A15(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o) \
    A14(a, b, c, d, e, f, g, h, i, j, k, l, m, n), ARG(14, o)
#define A16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    A15(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o), ARG(15, p)
#define A17(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q) \
    A16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p), ARG(16, q)
#define LIST(...) \
    { \
        PICK(__VA_ARGS__, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, \
             A1, ) \
        (__VA_ARGS__) \
    }

#define WRAPPED(name, params, args) \
    static void name##_wrapped params { \
        eq_wrap *const w_ = be->self; \
        const eq_arg list_[] = LIST args; \
        const int n_ = (int)(sizeof list_ / sizeof list_[0]); \
        if (w_->before && !w_->before(w_, EQ_OP_##name, list_, n_)) return; \
        be = w_->in; \
        be->op.name args; \
        if (w_->after) w_->after(w_, EQ_OP_##name, list_, n_); \
    }
EQ_OPS(WRAPPED)

static const eq_ops wrapped_ops = {
#define SLOT(name, params, args) .name = name##_wrapped,
    EQ_OPS(SLOT)};

static eq_backend *inner(const eq_backend *be) { return ((eq_wrap *)be->self)->in; }

static void count(eq_backend *be) {
    be->bytes = inner(be)->bytes;
    if (be->bytes > be->peak) be->peak = be->bytes;
}
static void *wrap_alloc(eq_backend *be, int64_t bytes) {
    inner(be)->limit = be->limit;
    void *p = inner(be)->alloc(inner(be), bytes);
    count(be);
    return p;
}
static void wrap_free(eq_backend *be, void *p) {
    inner(be)->free_(inner(be), p);
    count(be);
}
static void wrap_upload(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt) {
    inner(be)->upload(inner(be), dst, host, host_dt);
}
static void wrap_download(eq_backend *be, void *host, eq_dtype host_dt, eq_view src) {
    inner(be)->download(inner(be), host, host_dt, src);
}
static void wrap_upload_ahead(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt) {
    inner(be)->upload_ahead(inner(be), dst, host, host_dt);
}
static void wrap_download_behind(eq_backend *be, void *host, eq_dtype host_dt, eq_view src) {
    inner(be)->download_behind(inner(be), host, host_dt, src);
}
static void wrap_arrive(eq_backend *be) { inner(be)->arrive(inner(be)); }
static eq_status wrap_sync(eq_backend *be, eq_err *err) {
    eq_wrap *w = be->self;
    eq_err first = w->first, in = {0};
    w->first = (eq_err){0};
    eq_status st = w->in->sync(w->in, &in);
    if (first.status == EQ_OK && st != EQ_OK) first = in;
    return first.status == EQ_OK ? EQ_OK : eq_fail(err, first.status, "%s", first.msg);
}
static void wrap_close(eq_backend *be) {
    eq_wrap *w = be->self;
    if (w->free_own) w->free_own(w->own);
    w->in->close(w->in);
    eq_free(w);
    eq_free((void *)(uintptr_t)be->name);
    eq_free(be);
}

eq_wrap *eq_wrap_of(const eq_backend *be) { return be->close == wrap_close ? be->self : NULL; }

eq_status eq_wrap_open(eq_backend **be, const char *prefix, eq_wrap **out, eq_err *err) {
    eq_backend *outer = eq_calloc(1, sizeof *outer);
    eq_wrap *w = eq_calloc(1, sizeof *w);
    char *name = eq_sprintf("%s%s", prefix, (*be)->name);
    if (!outer || !w || !name) {
        eq_free(outer);
        eq_free(w);
        eq_free(name);
        return eq_nomem(err, "a wrapping backend", sizeof *outer);
    }
    w->in = *be;
    *outer = **be; /* name of the kernels, bytes, peak */
    outer->name = name;
    outer->op = wrapped_ops;
    outer->self = w;
    outer->alloc = wrap_alloc;
    outer->free_ = wrap_free;
    outer->upload = wrap_upload;
    outer->download = wrap_download;
    outer->upload_ahead = wrap_upload_ahead;
    outer->download_behind = wrap_download_behind;
    outer->arrive = wrap_arrive;
    outer->graph_begin = NULL; /* every call is looked at */
    outer->sync = wrap_sync;
    outer->close = wrap_close;
    *be = outer;
    *out = w;
    return EQ_OK;
}

void eq_wrap_error(eq_wrap *w, eq_status status, const char *fmt, ...) {
    if (w->first.status != EQ_OK) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->first.msg, sizeof w->first.msg, fmt, ap);
    va_end(ap);
    w->first.status = status;
}

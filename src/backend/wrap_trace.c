/* "trace:" — how often each operation ran, how long, on how many output elements.
 * Invariant: the clock stops after the inner backend has synced, so queued work is not missed. */
#include <string.h>

#include "backend/wrap.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/str.h"

typedef struct {
    double began;
    struct {
        int64_t calls, elements;
        double seconds;
    } op[EQ_OP_COUNT];
} trace;

static bool before(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    (void)op, (void)args, (void)n;
    ((trace *)w->own)->began = eq_now();
    return true;
}

static void after(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    trace *t = w->own;
    eq_err err = {0};
    if (w->in->sync(w->in, &err) != EQ_OK) eq_wrap_error(w, err.status, "%s", err.msg);
    t->op[op].seconds += eq_now() - t->began;
    t->op[op].calls++;
    for (int i = 0; i < n; i++)
        if (args[i].kind == EQ_ARG_MUT) t->op[op].elements += args[i].n;
}

eq_status eq_trace_wrap(eq_backend **be, eq_err *err) {
    trace *t = eq_calloc(1, sizeof *t);
    if (!t) return eq_nomem(err, "the trace", sizeof *t);
    eq_wrap *w;
    eq_status st = eq_wrap_open(be, "trace:", &w, err);
    if (st != EQ_OK) {
        eq_free(t);
        return st;
    }
    w->own = t;
    w->free_own = eq_free;
    w->before = before;
    w->after = after;
    return EQ_OK;
}

static char *table(const trace *t) {
    double all = 0.0;
    for (int i = 0; i < EQ_OP_COUNT; i++) all += t->op[i].seconds;
    eq_str s = {0};
    eq_str_printf(&s, "%-14s %9s %11s %6s %14s\n", "operation", "calls", "seconds", "%",
                  "elements");
    for (int i = 0; i < EQ_OP_COUNT; i++)
        if (t->op[i].calls)
            eq_str_printf(&s, "%-14s %9lld %11.4f %6.1f %14lld\n", eq_op_names[i],
                          (long long)t->op[i].calls, t->op[i].seconds,
                          all > 0.0 ? 100.0 * t->op[i].seconds / all : 0.0,
                          (long long)t->op[i].elements);
    if (!s.oom) return s.p;
    eq_str_free(&s);
    return NULL;
}

void eq_backend_say_trace(eq_backend *be, const eq_observer *obs) {
    char *text = be ? eq_backend_trace(be) : NULL;
    for (char *line = text, *end; line && *line; line = end ? end + 1 : NULL) {
        end = strchr(line, '\n');
        eq_note(obs, "%.*s", (int)(end ? end - line : (ptrdiff_t)strlen(line)), line);
    }
    eq_free(text);
}

char *eq_backend_trace(eq_backend *be) {
    for (eq_wrap *w; (w = eq_wrap_of(be)); be = w->in)
        if (w->before == before) return table(w->own);
    return NULL;
}

/* A backend that can be stopped in the middle of a forward or backward pass: when the caller asks
 * for an end, operations are left out and the next sync says EQ_EINTR. What they would have written
 * is then undefined, so whoever sees EQ_EINTR throws it away, back to the last consistent state.
 * Invariant: nothing is left out without a sync that says so. */
#include "backend/wrap.h"
#include "base/mem.h"
#include "base/observe.h"

/* From the request on, so that a short step ends by itself and nothing of it is lost. */
static const double GRACE = 0.5;

typedef struct {
    const eq_observer *obs;
    double seen; /* when an operation met the request; 0: not yet */
} stop;

static bool before(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    (void)op, (void)args, (void)n;
    stop *s = w->own;
    if (!eq_stopped(s->obs)) {
        s->seen = 0;
        return true;
    }
    double now = eq_now();
    if (s->seen == 0) s->seen = now;
    if (now - s->seen < GRACE) return true;
    eq_wrap_error(w, EQ_EINTR, "stopped on request");
    return false;
}

eq_status eq_stop_wrap(eq_backend **be, const eq_observer *obs, eq_err *err) {
    if (!obs || !obs->stop) return EQ_OK;
    stop *s = eq_calloc(1, sizeof *s);
    if (!s) return eq_nomem(err, "a backend that can be stopped", sizeof *s);
    eq_wrap *w;
    eq_status st = eq_wrap_open(be, "", &w, err);
    if (st != EQ_OK) {
        eq_free(s);
        return st;
    }
    s->obs = obs;
    w->own = s;
    w->free_own = eq_free;
    w->before = before;
    return EQ_OK;
}

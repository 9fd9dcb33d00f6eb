/* Views and the bump arena of backend memory.
 * Invariant: binding twice with the same shapes takes the same bytes, measured or fed. */
#include <assert.h>

#include "backend/backend.h"
#include "base/mem.h"

enum { LINE = 64 };

/* Enough rows of dW at once that their product runs at full speed, few enough that the quantizer
 * finds them in the cache. */
const eq_hints eq_host_hints = {.dw_elements = 8 << 20,
                                .dw_step = 16,
                                .logits_bytes = 64 << 20,
                                .keep_weights = false,
                                .ahead = false,
                                .act8 = true};

eq_mut eq_mut_at(eq_mut m, int64_t from, int64_t n) {
    assert(from >= 0 && n >= 0 && from + n <= m.n);
    return (eq_mut){m.p ? (char *)m.p + from * eq_dtype_size(m.dt) : NULL, n, m.dt};
}
eq_view eq_view_at(eq_view v, int64_t from, int64_t n) {
    assert(from >= 0 && n >= 0 && from + n <= v.n);
    return (eq_view){v.p ? (const char *)v.p + from * eq_dtype_size(v.dt) : NULL, n, v.dt};
}

/* A size beyond 63 bits sticks at INT64_MAX while measuring; eq_arena_alloc then refuses it. */
eq_mut eq_take(eq_arena *a, eq_dtype dt, int64_t n) {
    int64_t at = a->used, bytes, end;
    if (!eq_mul(n, eq_dtype_size(dt), &bytes) || !eq_add(bytes, LINE - 1, &bytes) ||
        !eq_add(at, bytes / LINE * LINE, &end))
        end = INT64_MAX;
    a->used = end;
    if (!a->base) return (eq_mut){NULL, n, dt};
    assert(end <= a->size);
    return (eq_mut){a->base + at, n, dt};
}

eq_status eq_arena_alloc(eq_arena *a, eq_backend *be, const char *what, eq_err *err) {
    if (a->used == INT64_MAX) return eq_fail(err, EQ_ENOMEM, "%s: size beyond 2^63 bytes", what);
    a->base = be->alloc(be, a->used);
    if (!a->base && be->device)
        return eq_fail(err, EQ_ENOMEM, "out of device memory: %s needs %.3g GiB more than %.3g GiB",
                       what, (double)a->used / (1 << 30), (double)be->bytes / (1 << 30));
    if (!a->base) return eq_nomem(err, what, a->used);
    a->be = be;
    a->size = a->used;
    a->used = 0;
    return EQ_OK;
}

void eq_arena_free(eq_arena *a) {
    if (a->base) a->be->free_(a->be, a->base);
    *a = (eq_arena){0};
}

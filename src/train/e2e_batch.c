/* See e2e_batch.h. */
#include "train/e2e_batch.h"

#include <string.h>

#include "base/mem.h"

/* Products come in tiles of rows: a width that is no multiple of this gains nothing. */
enum { STEP = 16 };

eq_status eq_e2e_room_open(eq_e2e_room *r, const eq_windows *w, int64_t most, eq_err *err) {
    *r = (eq_e2e_room){0};
    if (!w || !w->len) return EQ_OK;
    r->ids = eq_calloc(most * w->T, sizeof *r->ids), r->learn = eq_calloc(most, w->T);
    return r->ids && r->learn ? EQ_OK : eq_nomem(err, "windows of a batch", most * w->T * 5);
}

void eq_e2e_room_close(eq_e2e_room *r) {
    eq_free(r->ids), eq_free(r->learn);
    *r = (eq_e2e_room){0};
}

int64_t eq_e2e_width(const eq_windows *w, int64_t from, int64_t n) {
    int64_t T = 2;
    if (!w->len) return w->T;
    for (int64_t i = from; i < from + n; i++)
        if (w->len[i] > T) T = w->len[i];
    T = (T + STEP - 1) / STEP * STEP;
    return T < w->T ? T : w->T;
}

int64_t eq_e2e_targets(const eq_windows *w, int64_t from, int64_t n) {
    int64_t targets = 0;
    if (!w->learn) return n * (w->T - 1);
    for (int64_t i = from * w->T; i < (from + n) * w->T; i++) targets += w->learn[i];
    return targets;
}

eq_e2e_micro eq_e2e_take(const eq_e2e_room *r, const eq_windows *w, int64_t from, int64_t B,
                         int64_t T) {
    eq_e2e_micro m = {.ids = w->ids + from * w->T, .B = B, .T = T};
    if (w->learn) m.learn = w->learn + from * w->T;
    if (T == w->T) return m;
    for (int64_t b = 0; b < B; b++) {
        memcpy(r->ids + b * T, m.ids + b * w->T, (size_t)T * sizeof *r->ids);
        memcpy(r->learn + b * T, m.learn + b * w->T, (size_t)T);
    }
    m.ids = r->ids, m.learn = r->learn;
    return m;
}

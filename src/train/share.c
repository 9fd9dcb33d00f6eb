/* See share.h. Phases report how much of themselves is done in units of their own work; here they
 * are weighted by their operations. */
#include "train/share.h"

#include <string.h>

#include "base/observe.h"

/* Packing, writing and reading back a weight, as operations of training. */
static const double WRITE_FLOP = 200;

static void on_progress(void *ctx, const eq_progress *p) {
    const eq_share *s = ctx;
    eq_progress q = *p;
    double done = p->total > 0 ? (double)p->done / (double)p->total : 0;
    if (!strcmp(p->phase, "block-ap"))
        q.job = s->ap * done;
    else if (!strcmp(p->phase, "e2e-qp"))
        q.job = s->ap + s->e2e * done;
    else if (!strcmp(p->phase, "write"))
        q.job = s->ap + s->e2e + s->write * done;
    if (q.job > 1) q.job = 1;
    eq_progress_say(s->to, &q);
}
static void on_note(void *ctx, const char *line) {
    eq_note(((const eq_share *)ctx)->to, "%s", line);
}
static void on_event(void *ctx, const char *json) {
    eq_event_text(((const eq_share *)ctx)->to, json);
}

const eq_observer *eq_share_open(eq_share *s, const eq_observer *to) {
    *s = (eq_share){.to = to};
    if (!to) return NULL;
    s->obs = (eq_observer){s, on_progress, on_note, on_event, to->stop};
    return &s->obs;
}

void eq_share_weigh(eq_share *s, const eq_run_cost *cost, const eq_config *c) {
    double write = WRITE_FLOP * (double)eq_config_linear_params(c);
    double all = cost->ap_flop + cost->e2e_flop + write;
    s->ap = cost->ap_flop / all, s->e2e = cost->e2e_flop / all, s->write = write / all;
}

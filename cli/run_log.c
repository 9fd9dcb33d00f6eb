/* See run_log.h. A run that went on after a kill repeats steps that the log has already: the newest
 * say of a step counts. Invariant: whatever stands in the file, what is kept of it is bounded by
 * its size. */
#include "run_log.h"

#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"

enum { MOST_BLOCKS = 100000 };

typedef struct {
    run_log *l;
    double elapsed; /* of the run under way */
    int64_t bad;    /* the line, counted from 1, that is no object; 0: none */
    int64_t line;
} reader;

static eq_status put(run_series *s, double x, double y, eq_err *err) {
    if (!isfinite(x)) return EQ_OK;
    while (s->n && s->p[s->n - 1].x >= x) s->n--; /* said again by a run that went on */
    if (s->n == s->cap) {
        int64_t cap = s->cap ? 2 * s->cap : 64;
        run_point *p = eq_realloc(s->p, cap, sizeof *p);
        if (!p) return eq_nomem(err, "a log", cap * (int64_t)sizeof *p);
        s->p = p, s->cap = cap;
    }
    s->p[s->n++] = (run_point){x, y};
    return EQ_OK;
}

/* NULL without an error: the event names no block. */
static eq_status block_of(reader *r, const json_t *o, run_block **out, eq_err *err) {
    double i = eq_json_real(o, "block");
    run_log *l = r->l;
    *out = NULL;
    if (!(i >= 0 && i < MOST_BLOCKS)) return EQ_OK;
    int64_t n = (int64_t)i + 1;
    if (n > l->blocks) {
        run_block *b = eq_realloc(l->block, n, sizeof *b);
        if (!b) return eq_nomem(err, "a log", n * (int64_t)sizeof *b);
        for (int64_t k = l->blocks; k < n; k++)
            b[k] = (run_block){
                .first = NAN, .train = NAN, .val = NAN, .train_share = NAN, .val_share = NAN};
        l->block = b, l->blocks = n;
    }
    *out = &l->block[n - 1];
    return EQ_OK;
}

/* ---- one event each -------------------------------------------------------------------------- */

static eq_status on_run(reader *r, json_t *o, eq_err *err) {
    run_log *l = r->l;
    (void)err;
    l->seconds += r->elapsed, r->elapsed = 0, l->runs++;
    json_decref(l->run), json_decref(l->result);
    l->run = json_incref(o), l->result = NULL;
    eq_free(l->end);
    l->end = NULL;
    json_array_clear(l->data);
    return EQ_OK;
}
static eq_status on_data(reader *r, json_t *o, eq_err *err) {
    return json_array_append(r->l->data, o) ? eq_nomem(err, "a log", 1 << 10) : EQ_OK;
}
static eq_status on_phase(reader *r, json_t *o, eq_err *err) {
    return json_array_append(r->l->phases, o) ? eq_nomem(err, "a log", 1 << 10) : EQ_OK;
}
static eq_status on_step(reader *r, json_t *o, eq_err *err) {
    run_block *b;
    EQ_TRY(block_of(r, o, &b, err));
    return b ? put(&b->steps, eq_json_real(o, "step"), eq_json_real(o, "loss"), err) : EQ_OK;
}
static eq_status on_epoch(reader *r, json_t *o, eq_err *err) {
    run_block *b;
    EQ_TRY(block_of(r, o, &b, err));
    if (!b) return EQ_OK;
    if (eq_json_real(o, "epoch") == 0) b->first = eq_json_real(o, "first_loss");
    b->train = eq_json_real(o, "train_loss"), b->val = eq_json_real(o, "val_loss");
    b->train_share = eq_json_real(o, "train_share"), b->val_share = eq_json_real(o, "val_share");
    return EQ_OK;
}
static eq_status on_linears(reader *r, json_t *o, eq_err *err) {
    run_block *b;
    json_t *e = json_object_get(o, "error");
    EQ_TRY(block_of(r, o, &b, err));
    if (!b || !json_is_object(e)) return EQ_OK;
    json_decref(b->linears);
    b->linears = json_incref(e);
    return EQ_OK;
}
static eq_status on_e2e(reader *r, json_t *o, eq_err *err) {
    return put(&r->l->e2e, eq_json_real(o, "step"), eq_json_real(o, "loss"), err);
}
static eq_status on_held_out(reader *r, json_t *o, eq_err *err) {
    return put(&r->l->held_out, eq_json_real(o, "step"), eq_json_real(o, "loss"), err);
}
static eq_status on_rollback(reader *r, json_t *o, eq_err *err) {
    (void)o, (void)err;
    r->l->rollbacks++;
    return EQ_OK;
}
static eq_status on_result(reader *r, json_t *o, eq_err *err) {
    (void)err;
    json_decref(r->l->result);
    r->l->result = json_incref(o);
    return EQ_OK;
}
static eq_status on_end(reader *r, json_t *o, eq_err *err) {
    const char *message = json_string_value(json_object_get(o, "message"));
    eq_free(r->l->end);
    r->l->end = eq_strdup(message ? message : "");
    return r->l->end ? EQ_OK : eq_nomem(err, "a log", 1 << 10);
}

/* THE list of events that are looked at. */
static const struct {
    const char *name;
    eq_status (*take)(reader *r, json_t *o, eq_err *err);
} events[] = {
    {"run", on_run},         {"data", on_data},         {"phase", on_phase},
    {"block_step", on_step}, {"block_epoch", on_epoch}, {"linears", on_linears},
    {"e2e_step", on_e2e},    {"held_out", on_held_out}, {"rollback", on_rollback},
    {"result", on_result},   {"stopped", on_end},       {"error", on_end},
};

static eq_status take(reader *r, json_t *o, eq_err *err) {
    const char *name = json_string_value(json_object_get(o, "event"));
    double elapsed = eq_json_real(o, "elapsed"), peak = eq_json_real(o, "memory_peak_bytes");
    double rate = eq_json_real(o, "tokens_per_second");
    eq_status st = EQ_OK;
    for (size_t i = 0; name && i < sizeof events / sizeof *events; i++)
        if (!strcmp(events[i].name, name)) st = events[i].take(r, o, err);
    if (elapsed > r->elapsed) r->elapsed = elapsed;
    if (peak > r->l->memory_peak) r->l->memory_peak = peak;
    if (isfinite(rate)) r->l->rate = rate;
    return st;
}

/* ---- the file -------------------------------------------------------------------------------- */

static eq_status no_object(const reader *r, eq_err *err) {
    return eq_fail(err, EQ_EINPUT,
                   "%s: line %lld: expected an event of a log, found no JSON object", r->l->path,
                   (long long)r->bad);
}

/* A line that a kill cut short is the last one of the file or of its run. */
static eq_status one_line(reader *r, const char *bytes, int64_t n, eq_err *err) {
    eq_err ignored = {0};
    json_t *o = NULL;
    r->line++;
    if (!n) return EQ_OK;
    bool good = eq_json_parse(&o, bytes, n, "a log", &ignored) == EQ_OK && json_is_object(o);
    const char *name = good ? json_string_value(json_object_get(o, "event")) : NULL;
    eq_status st = EQ_OK;
    if (r->bad && !(name && !strcmp(name, "run"))) st = no_object(r, err);
    r->bad = good ? 0 : r->line;
    if (st == EQ_OK && good) st = take(r, o, err);
    json_decref(o);
    return st;
}

static eq_status lines(reader *r, const char *at, int64_t left, eq_err *err) {
    while (left > 0) {
        const char *end = memchr(at, '\n', (size_t)left);
        int64_t n = end ? end - at : left;
        EQ_TRY(one_line(r, at, n, err));
        n += end != NULL;
        at += n, left -= n;
    }
    if (!r->l->run && r->bad) return no_object(r, err);
    return EQ_OK;
}

eq_status run_log_read(run_log *l, const char *path, eq_err *err) {
    eq_map m;
    *l = (run_log){.path = path, .rate = NAN, .data = json_array(), .phases = json_array()};
    if (!l->data || !l->phases) return eq_nomem(err, "a log", 1 << 10);
    EQ_TRY(eq_map_open(&m, path, err));
    reader r = {.l = l};
    eq_status st = lines(&r, (const char *)m.data, m.size, err);
    eq_map_close(&m);
    l->seconds += r.elapsed;
    if (st != EQ_OK || l->run) return st;
    return eq_fail(err, EQ_EINPUT, "%s: expected the log of a run (--log), found no \"run\" event",
                   path);
}

void run_log_free(run_log *l) {
    for (int64_t i = 0; i < l->blocks; i++) {
        eq_free(l->block[i].steps.p);
        json_decref(l->block[i].linears);
    }
    eq_free(l->block), eq_free(l->e2e.p), eq_free(l->held_out.p), eq_free(l->end);
    json_decref(l->run), json_decref(l->result), json_decref(l->data), json_decref(l->phases);
    *l = (run_log){0};
}

bool run_log_trains_blocks(const run_log *l) {
    for (int64_t i = 0; i < l->blocks; i++)
        if (l->block[i].steps.n) return true;
    return false;
}

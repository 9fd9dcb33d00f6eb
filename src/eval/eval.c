/* eqat eval: items to token ids, token ids to batches, batches to scores; see eval_report.h for
 * what becomes of these. Items are taken longest first, those that have examples in front subject
 * by subject, so that a batch shares as much as it can and time left is not underestimated. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "eval/batch.h"
#include "eval/eval_report.h"
#include "model/lm_folder.h"

enum { BATCH_TOKENS = 8192, PLACES_A_ROW = 4 };

void eq_eval_opts_init(eq_eval_opts *o) {
    *o = (eq_eval_opts){.batch_tokens = BATCH_TOKENS,
                        .compute = {.backend = "cpu", .precision = EQ_PREC_BF16}};
}

typedef struct {
    const eq_eval_opts *o;
    const eq_item_sets *sets;
    const eq_tokenizer *tok;
    int64_t context;
    int64_t n, choices; /* of all sets */
    int64_t *set;       /* [n]: its set */
    int64_t *item;      /* [n]: its number there */
    int64_t *id;        /* [n]: of its first choice among all */
    eq_asked *asked;    /* [n] */
    int64_t *order;     /* [n] */
    double *ll;         /* [choices] */
    bool *likeliest;    /* [choices] */
} job;

static eq_status job_open(job *j, const eq_eval_opts *o, const eq_item_sets *sets,
                          const eq_tokenizer *tok, int64_t context, eq_err *err) {
    *j = (job){.o = o, .sets = sets, .tok = tok, .context = context};
    for (int64_t s = 0; s < sets->n; s++)
        j->n += sets->set[s].items.n, j->choices += sets->set[s].items.choices;
    j->set = eq_calloc(j->n, sizeof *j->set);
    j->item = eq_calloc(j->n, sizeof *j->item);
    j->id = eq_calloc(j->n, sizeof *j->id);
    j->asked = eq_calloc(j->n, sizeof *j->asked);
    j->order = eq_calloc(j->n, sizeof *j->order);
    j->ll = eq_calloc(j->choices, sizeof *j->ll);
    j->likeliest = eq_calloc(j->choices, sizeof *j->likeliest);
    if (!j->set || !j->item || !j->id || !j->asked || !j->order || !j->ll || !j->likeliest)
        return eq_nomem(err, "items", j->n * 128);
    int64_t at = 0, first = 0;
    for (int64_t s = 0; s < sets->n; first += sets->set[s++].items.choices)
        for (int64_t i = 0; i < sets->set[s].items.n; i++, at++)
            j->set[at] = s, j->item[at] = i, j->id[at] = first + sets->set[s].items.item[i].first;
    memset(j->likeliest, 1, (size_t)j->choices * sizeof *j->likeliest);
    return EQ_OK;
}

static void job_close(job *j) {
    for (int64_t i = 0; j->asked && i < j->n; i++) eq_asked_free(&j->asked[i]);
    eq_free(j->set), eq_free(j->item), eq_free(j->id), eq_free(j->asked), eq_free(j->order);
    eq_free(j->ll), eq_free(j->likeliest);
}

/* ---- token ids ------------------------------------------------------------------------------- */

static eq_status ask(void *ctx, int64_t i, eq_err *err) {
    job *j = ctx;
    const eq_item_set *s = &j->sets->set[j->set[i]];
    return eq_asked_make(&j->asked[i], j->tok, &s->items, &s->items.item[j->item[i]],
                         j->o->harness == EQ_HARNESS_0_4_9_2, j->context, s->path, err);
}

/* Where examples stand in front, a set is taken by itself. */
static int64_t part_of(const job *j, int64_t i) {
    return j->sets->set[j->set[i]].shots ? j->set[i] : -1;
}

typedef struct {
    int64_t part, longest, at;
} place;
static int by_length(const void *a, const void *b) {
    const place *p = a, *q = b;
    if (p->part != q->part) return p->part < q->part ? -1 : 1;
    if (p->longest != q->longest) return p->longest > q->longest ? -1 : 1;
    return p->at < q->at ? -1 : p->at > q->at;
}

static eq_status put_in_order(job *j, eq_err *err) {
    place *p = eq_calloc(j->n, sizeof *p);
    if (!p) return eq_nomem(err, "items", j->n * (int64_t)sizeof *p);
    for (int64_t i = 0; i < j->n; i++) p[i] = (place){part_of(j, i), j->asked[i].longest, i};
    qsort(p, (size_t)j->n, sizeof *p, by_length);
    for (int64_t i = 0; i < j->n; i++) j->order[i] = p[i].at;
    eq_free(p);
    return EQ_OK;
}

/* ---- batches --------------------------------------------------------------------------------- */

/* What a batch needs at least and may have. */
typedef struct {
    int64_t rows, places, longest, least_rows, least_places;
} room;

static room room_of(const job *j) {
    room r = {0};
    for (int64_t i = 0; i < j->n; i++) {
        const eq_asked *a = &j->asked[i];
        if (a->rows > r.least_rows) r.least_rows = a->rows;
        if (a->longest > r.longest) r.longest = a->longest;
        if (a->n * a->longest > r.least_places) r.least_places = a->n * a->longest;
        r.rows += a->rows, r.places += a->n * a->longest;
    }
    int64_t rows = j->o->batch_tokens, places = PLACES_A_ROW * rows;
    if (r.rows > rows) r.rows = rows > r.least_rows ? rows : r.least_rows;
    if (r.places > places) r.places = places > r.least_places ? places : r.least_places;
    return r;
}

/* Smaller batches where there is no room; false: they are as small as they can be. */
static bool halve(room *r) {
    if (r->rows == r->least_rows && r->places == r->least_places) return false;
    r->rows = r->rows / 2 > r->least_rows ? r->rows / 2 : r->least_rows;
    r->places = r->places / 2 > r->least_places ? r->places / 2 : r->least_places;
    return true;
}

static eq_status open_lm(eq_lm **lm, eq_backend *be, const eq_weights *src, const job *j, room *r,
                         const eq_observer *obs, eq_err *err) {
    for (;;) {
        eq_err why = {0};
        eq_status st = eq_lm_open_shared(lm, be, src, &j->o->compute, j->o->as_written, r->rows,
                                         r->places, r->longest, &why);
        if (st == EQ_OK) return EQ_OK;
        if (st != EQ_ENOMEM || !halve(r)) return eq_fail(err, st, "%s", why.msg);
        eq_note(obs, "%s: going on with %lld tokens at once", why.msg, (long long)r->rows);
    }
}

typedef struct {
    eq_lm *lm;
    eq_batch *batch;
    const eq_observer *obs;
    int64_t done, total; /* rows, those that a batch shares counted as often as it was asked */
    bool greedy;         /* some task asks whether its answers are the likeliest */
} run;

static eq_status flush(job *j, run *r, int64_t counted, eq_err *err) {
    if (!eq_batch_rows(r->batch)) return EQ_OK;
    if (eq_stopped(r->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
    EQ_TRY(eq_batch_run(r->batch, r->lm, j->ll, r->greedy ? j->likeliest : NULL, err));
    r->done += counted;
    eq_progress p = {.phase = "eval",
                     .done = r->done,
                     .total = r->total,
                     .tokens = true,
                     .loss = NAN,
                     .job = (double)r->done / (double)r->total};
    eq_progress_say(r->obs, &p);
    return EQ_OK;
}

static eq_status score_all(job *j, run *r, eq_err *err) {
    int64_t counted = 0;
    for (int64_t i = 0; i < j->n; i++) r->total += j->asked[i].rows;
    for (int64_t k = 0; k < j->n; k++) {
        int64_t i = j->order[k];
        const eq_asked *a = &j->asked[i];
        bool alone = (j->sets->set[j->set[i]].metrics & EQ_METRIC_PPL) != 0;
        if (alone != r->greedy || !eq_batch_has_room(r->batch, a)) {
            EQ_TRY(flush(j, r, counted, err));
            counted = 0;
        }
        r->greedy = alone;
        EQ_TRY(eq_batch_add(r->batch, a, j->id[i], err));
        counted += a->rows;
    }
    return flush(j, r, counted, err);
}

/* A score that is no number would sort anywhere. */
static eq_status check_finite(const job *j, eq_err *err) {
    for (int64_t i = 0; i < j->n; i++)
        for (int k = 0; k < j->asked[i].n; k++)
            if (!isfinite(j->ll[j->id[i] + k]))
                return eq_fail(err, EQ_EINPUT,
                               "%s: task %s, item %lld: expected a finite log-likelihood, found %g "
                               "(the weights or the compute type overflow)",
                               j->o->model, j->sets->set[j->set[i]].name, (long long)j->item[i],
                               j->ll[j->id[i] + k]);
    return EQ_OK;
}

static eq_status score(job *j, const eq_weights *src, eq_backend *be, const eq_observer *obs,
                       eq_err *err) {
    room size = room_of(j);
    run r = {.obs = obs};
    EQ_TRY(open_lm(&r.lm, be, src, j, &size, obs, err));
    r.batch = eq_batch_new(size.rows, size.places);
    eq_status st = r.batch ? EQ_OK : eq_nomem(err, "a batch", 40 * size.rows + 8 * size.places);
    if (st == EQ_OK) st = score_all(j, &r, err);
    if (st == EQ_OK) st = check_finite(j, err);
    eq_batch_free(r.batch);
    eq_lm_close(r.lm);
    return st;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static eq_status evaluate(const eq_eval_opts *o, const eq_item_sets *sets, const eq_tokenizer *tok,
                          const eq_weights *src, eq_backend *be, eq_writer *samples,
                          const eq_observer *obs, char **json, eq_err *err) {
    job j;
    double t = eq_now();
    eq_status st = job_open(&j, o, sets, tok, src->cfg.T_max, err);
    if (st == EQ_OK) st = eq_par_try(j.n, ask, &j, err);
    if (st == EQ_OK) st = put_in_order(&j, err);
    if (st == EQ_OK) {
        eq_json_event(obs,
                      json_pack("{s:s, s:s, s:I, s:I, s:i, s:s, s:i}", "event", "run", "tasks",
                                o->tasks, "items", (json_int_t)j.n, "choices",
                                (json_int_t)j.choices, "bits", src->cfg.schemes.all.bits, "kernels",
                                be->kernels ? be->kernels : be->name, "threads", eq_par_count()));
        st = score(&j, src, be, obs, err);
    }
    eq_eval_scores scores = {.sets = sets, .ll = j.ll, .likeliest = j.likeliest};
    if (st == EQ_OK) {
        eq_eval_run about = {.opts = o,
                             .cfg = &src->cfg,
                             .bos = o->harness == EQ_HARNESS_0_4_9_2 && eq_tokenizer_bos(tok),
                             .fp32_steps =
                                 eq_config_quantized(&src->cfg) && src->state && !o->as_written,
                             .seconds = eq_now() - t};
        st = eq_eval_report(&scores, &about, json, err);
    }
    if (st == EQ_OK && samples) st = eq_eval_samples(&scores, samples, err);
    job_close(&j);
    return st;
}

static eq_status with_model(const eq_eval_opts *o, const eq_item_sets *sets, eq_writer *samples,
                            const eq_observer *obs, char **json, eq_err *err) {
    eq_weights *src;
    eq_tokenizer *tok = NULL;
    eq_backend *be = NULL;
    EQ_TRY(eq_weights_open(&src, o->model, err));
    eq_par_threads(o->compute.threads);
    eq_status st = eq_tokenizer_open(&tok, o->model, err);
    if (st == EQ_OK) st = eq_backend_open_for(&be, &o->compute, obs, err);
    if (st == EQ_OK) st = eq_stop_wrap(&be, obs, err);
    if (st == EQ_OK) st = evaluate(o, sets, tok, src, be, samples, obs, json, err);
    eq_backend_say_trace(be, obs);
    if (be) be->close(be);
    eq_tokenizer_close(tok);
    eq_weights_close(src);
    return st;
}

/* Samples are written over what is there: not over what is read. */
static eq_status check_samples(const eq_eval_opts *o, const eq_item_sets *sets, eq_err *err) {
    if (!o->samples) return EQ_OK;
    if (eq_lies_in(o->samples, o->model))
        return eq_fail(err, EQ_EINPUT, "samples: expected a file outside of the model %s, found %s",
                       o->model, o->samples);
    for (int64_t i = 0; i < sets->n; i++)
        if (eq_exists(o->samples) && eq_same_file(o->samples, sets->set[i].path))
            return eq_fail(err, EQ_EINPUT,
                           "samples: expected another file than %s, which task %s "
                           "is read from",
                           o->samples, sets->set[i].name);
    return EQ_OK;
}

eq_status eq_eval(const eq_eval_opts *o, const eq_observer *obs, char **json, eq_err *err) {
    eq_item_sets sets;
    eq_writer *samples = NULL;
    *json = NULL;
    if (!o->model || !o->tasks)
        return eq_fail(err, EQ_EINPUT, "eval: expected a model folder and --tasks");
    EQ_TRY(eq_item_sets_read(&sets, o->tasks, o->task_data, o->fewshot, o->limit, err));
    eq_status st = check_samples(o, &sets, err);
    if (st == EQ_OK && o->samples) st = eq_writer_open(&samples, o->samples, err);
    if (st == EQ_OK) st = with_model(o, &sets, samples, obs, json, err);
    if (samples && st == EQ_OK)
        st = eq_writer_commit(samples, err);
    else
        eq_writer_abort(samples);
    if (st != EQ_OK) {
        eq_text_free(*json);
        *json = NULL;
    }
    eq_item_sets_free(&sets);
    return st;
}

/* The work of a comparison: each cell is trained or rounded, then measured, through the functions
 * of eqat.h. results.json is written behind every step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "compare.h"
#include "job.h"
#include "observer.h"
#include "output.h"
#include "protocol.h"
#include "run_log.h"

enum { PROTOCOLS = 3 };

/* ---- results.json ---------------------------------------------------------------------------- */

static eq_status save(compare_job *j, eq_err *err) {
    return eq_json_write(j->results, j->args->q.o.out, "results.json", err);
}

json_t *compare_cell_results(const compare_job *j, const char *name) {
    return json_object_get(json_object_get(j->results, "rows"), name);
}

static eq_status results_of(compare_job *j, const char *name, json_t **out, eq_err *err) {
    json_t *rows = json_object_get(j->results, "rows");
    *out = json_object_get(rows, name);
    if (!*out) {
        json_object_set_new(rows, name, json_object());
        *out = json_object_get(rows, name);
    }
    return *out ? EQ_OK : eq_nomem(err, "results", 1 << 10);
}

/* Options that may be others when a comparison goes on: rows may come, machines may change. */
static bool free_to_change(const char *name) {
    static const char *const list[] = {"schemes",
                                       "methods",
                                       "train-variants",
                                       "e2e-variants",
                                       "out",
                                       "resume",
                                       "json",
                                       "progress-every",
                                       "quiet",
                                       "verbose",
                                       "help",
                                       "threads",
                                       "backend",
                                       "memory-limit",
                                       "device-memory",
                                       "cpu-mask",
                                       "e2e-micro-batch",
                                       "recipe",
                                       "cache-dir",
                                       "save-every",
                                       "save-seconds",
                                       NULL};
    for (int i = 0; list[i]; i++)
        if (!strcmp(list[i], name)) return true;
    return false;
}

/* Every option that decides a figure, by name. */
static json_t *settings_json(const compare_job *j) {
    json_t *o = json_object();
    for (const opt *k = j->options; k->kind != OPT_END; k++) {
        char text[512] = "";
        bool flag = false;
        if (k->kind == OPT_HEADING || free_to_change(k->name)) continue;
        if (k->kind == OPT_FLAG || k->kind == OPT_UNSET) {
            memcpy(&flag, (const char *)j->args + k->at, sizeof flag);
            json_object_set_new(o, k->name, json_boolean(flag));
        } else if (k->kind == OPT_POSITIONAL || k->kind == OPT_STR || k->kind == OPT_LIST) {
            const char *s = *(const char *const *)((const char *)j->args + k->at);
            json_object_set_new(o, k->name, s ? eq_json_lossy(s) : json_null());
        } else {
            opt_value(k, j->args, text, sizeof text);
            json_object_set_new(o, k->name, json_string(text));
        }
    }
    for (int p = 0; p < PROTOCOLS; p++) {
        const char *s = j->args->text[p];
        json_object_set_new(o, cli_protocol_names[p], s ? eq_json_lossy(s) : json_null());
    }
    return o;
}

static void value_words(const json_t *v, char out[128]) {
    if (json_is_string(v))
        snprintf(out, 128, "%s", json_string_value(v));
    else
        snprintf(out, 128, "%s", json_is_true(v) ? "on" : json_is_false(v) ? "off" : "none");
}

static eq_status same_settings(const compare_job *j, const char *path, const json_t *now,
                               eq_err *err) {
    const json_t *was = json_object_get(j->results, "settings");
    cli_common *plain = cli_args(&cmd_compare);
    if (!plain) return eq_nomem(err, "settings", 1 << 10);
    const compare_job without = {.args = (const compare_args *)plain, .options = j->options};
    json_t *usual = settings_json(&without), *v;
    eq_status st = EQ_OK;
    const char *key;
    json_object_foreach((json_t *)now, key, v) {
        char had[128], has[128];
        const json_t *w = json_object_get(was, key);
        if (!w) w = json_object_get(usual, key); /* an option that came later */
        if (st != EQ_OK || (w && json_equal(w, v))) continue;
        value_words(w, had), value_words(v, has);
        st = eq_fail(err, EQ_EINPUT,
                     "%s: the comparison was begun with %s %s, found %s: go on with the same, or "
                     "into another folder",
                     path, key, had, has);
    }
    json_decref(usual);
    free(plain);
    return st;
}

static eq_status begin(compare_job *j, eq_err *err) {
    const eq_quantize_opts *o = &j->args->q.o;
    char *path = eq_path(o->out, "results.json");
    json_t *settings = settings_json(j);
    bool empty = false;
    eq_status st = path && settings ? eq_dir_is_empty(o->out, &empty, err)
                                    : eq_nomem(err, "settings", 1 << 10);
    if (st == EQ_OK && !empty && !o->resume)
        st = eq_fail(err, EQ_EINPUT,
                     "%s: expected an empty or absent folder (--resume goes on with a comparison)",
                     o->out);
    if (st == EQ_OK && !empty) {
        st = eq_json_load(&j->results, path, err);
        if (st == EQ_OK && !json_is_object(json_object_get(j->results, "rows")))
            st = eq_fail(err, EQ_EINPUT, "%s: expected the results of eqat compare", path);
        if (st == EQ_OK) st = same_settings(j, path, settings, err);
    } else if (st == EQ_OK) {
        st = eq_mkdir(o->out, err);
        j->results =
            json_pack("{s:s, s:O, s:{}}", "version", EQ_VERSION, "settings", settings, "rows");
        if (st == EQ_OK && !j->results) st = eq_nomem(err, "results", 1 << 10);
        if (st == EQ_OK) st = save(j, err);
    }
    json_decref(settings);
    eq_free(path);
    return st;
}

/* ---- one step with an observer around it ----------------------------------------------------- */

typedef struct {
    cli_common common; /* the command's, with this step's log */
    cli_observer c;
} step;

static eq_status step_open(step *s, compare_job *j, const char *log, const char *say, eq_err *err) {
    s->common = j->args->q.common;
    s->common.log = log;
    EQ_TRY(cli_observer_open(&s->c, &s->common, NULL, log && eq_exists(log), err));
    eq_note(&s->c.obs, "%s", say);
    j->begun = true;
    return EQ_OK;
}

/* ---- making a cell --------------------------------------------------------------------------- */

static void cell_options(const compare_job *j, const compare_cell *c, eq_quantize_opts *o) {
    *o = j->args->q.o;
    (void)eq_scheme_set(o, c->scheme);
    o->method = c->method->method;
    o->e2e = c->method->e2e;
    if (*c->train) o->ap.train = c->train_set;
    if (*c->e2e_train) o->qp.train = c->e2e_set;
    if (!o->e2e && o->method == EQ_METHOD_RTN) o->data = NULL;
}

static eq_status train(compare_job *j, const compare_cell *c, const char *dir, const char *log,
                       eq_quantize_result *res, eq_err *err) {
    eq_quantize_opts o;
    step s;
    char *from = c->from >= 0 ? compare_path(j, j->cell[c->from].name, "") : NULL;
    char *work = compare_path(j, c->name, ".work");
    bool paths = work && (c->from < 0 || from);
    eq_status st = paths ? step_open(&s, j, log, c->name, err) : eq_nomem(err, "a path", 256);
    if (st == EQ_OK) {
        cell_options(j, c, &o);
        o.out = dir, o.resume = eq_exists(dir) || eq_exists(work);
        if (from) {
            o.qp.teacher = eq_has_teacher(&o) ? o.model : NULL;
            o.model = from;
        }
        st = from ? eq_tune(&o, &s.c.obs, res, err) : eq_quantize(&o, &s.c.obs, res, err);
        st = cli_observer_close(&s.c, st, cli_job_result(dir, res), err);
    }
    eq_free(from), eq_free(work);
    return st;
}

/* Time and memory come from the log, which knows of runs that were stopped too. */
static eq_status made(compare_job *j, const compare_cell *c, const char *log,
                      const eq_quantize_result *res, json_t *to, eq_err *err) {
    run_log l;
    const json_t *base = c->from >= 0 ? compare_cell_results(j, j->cell[c->from].name) : NULL;
    eq_status st = run_log_read(&l, log, err);
    if (st == EQ_OK) {
        double before = json_number_value(json_object_get(base, "seconds"));
        double peak = json_number_value(json_object_get(base, "memory_peak_bytes"));
        if (l.memory_peak > peak) peak = l.memory_peak;
        json_object_set_new(to, "scheme", json_string(c->scheme));
        json_object_set_new(to, "method", json_string(c->method->name));
        if (*c->train) json_object_set_new(to, "train", json_string(c->train));
        if (*c->e2e_train) json_object_set_new(to, "e2e_train", json_string(c->e2e_train));
        json_object_set_new(to, "bits_per_weight", cli_number(res->bits_per_weight));
        json_object_set_new(to, "seconds", cli_number(before + l.seconds));
        json_object_set_new(to, "memory_peak_bytes", cli_number(peak));
        json_object_set_new(to, "rollbacks", json_integer(res->rollbacks));
    }
    run_log_free(&l);
    return st;
}

/* Bytes of the model's tensors; bits a parameter of a model in full precision. */
static eq_status look(const char *dir, json_t *to, bool full, eq_err *err) {
    char *text;
    json_t *o;
    EQ_TRY(eq_inspect(dir, false, &text, err));
    eq_status st = eq_json_parse(&o, text, (int64_t)strlen(text), "inspect", err);
    eq_text_free(text);
    EQ_TRY(st);
    const json_t *files = eq_json_get(o, "files");
    json_object_set(to, "bytes", json_object_get(files, "tensor_bytes"));
    if (full) json_object_set(to, "bits_per_weight", json_object_get(files, "bits_per_parameter"));
    json_decref(o);
    return EQ_OK;
}

static eq_status make(compare_job *j, const compare_cell *c, const char *dir, json_t *to,
                      eq_err *err) {
    eq_quantize_result res = {0};
    if (json_object_get(to, "bytes")) return EQ_OK;
    char *log = compare_path(j, c->name, ".jsonl");
    if (!log) return eq_nomem(err, "a path", 256);
    eq_status st = train(j, c, dir, log, &res, err);
    if (st == EQ_OK) st = made(j, c, log, &res, to, err);
    if (st == EQ_OK) st = look(dir, to, false, err);
    if (st == EQ_OK) st = save(j, err);
    eq_free(log);
    return st;
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* The first text that was given says the distance from the full-precision model, too. */
static int first_text(const compare_args *a) {
    for (int p = 0; p < PROTOCOLS; p++)
        if (a->text[p]) return p;
    return -1;
}

static eq_status ppl_alone(const compare_job *j, const char *dir, int p, const eq_observer *obs,
                           json_t **out, eq_err *err) {
    const compare_args *a = j->args;
    eq_ppl_opts o;
    eq_ppl_result r = {0};
    eq_ppl_opts_init(&o);
    o.model = dir, o.data = a->text[p], o.protocol = (eq_ppl_protocol)p;
    o.seqlen = a->ppl_seqlen, o.limit = a->ppl_limit, o.as_written = a->as_written;
    o.bos = a->q.o.bos, o.text = a->q.o.text, o.compute = a->q.o.compute;
    o.text.pack = false; /* of the training windows */
    EQ_TRY(eq_ppl(&o, obs, &r, err));
    *out = json_pack("{s:o, s:I, s:I}", "ppl", cli_number(r.ppl), "windows", (json_int_t)r.windows,
                     "seqlen", (json_int_t)r.seqlen);
    return *out ? EQ_OK : eq_nomem(err, "results", 1 << 10);
}

static eq_status ppl_and_distance(const compare_job *j, const char *dir, int p,
                                  const eq_observer *obs, json_t **out, eq_err *err) {
    const compare_args *a = j->args;
    eq_kld_opts o;
    eq_kld_result r = {0};
    eq_kld_opts_init(&o);
    o.model = dir, o.reference = a->q.o.model;
    o.data = a->text[p], o.protocol = (eq_ppl_protocol)p;
    o.seqlen = a->ppl_seqlen, o.limit = a->ppl_limit, o.as_written = a->as_written;
    o.bos = a->q.o.bos, o.text = a->q.o.text, o.compute = a->q.o.compute;
    o.text.pack = false;
    EQ_TRY(eq_kld(&o, obs, &r, err));
    *out = json_pack("{s:o, s:I, s:I, s:o, s:o, s:o}", "ppl", cli_number(r.ppl), "windows",
                     (json_int_t)r.windows, "seqlen", (json_int_t)r.seqlen, "kl", cli_number(r.kl),
                     "kl_stderr", cli_number(r.kl_err), "same_top", cli_number(r.same_top));
    return *out ? EQ_OK : eq_nomem(err, "results", 1 << 10);
}

static eq_status measure_text(compare_job *j, const char *name, const char *dir, int p, json_t *to,
                              eq_err *err) {
    bool full = !strcmp(name, COMPARE_FULL);
    const char *protocol = cli_protocol_names[p];
    json_t *texts = json_object_get(to, "ppl"), *r = NULL;
    step s;
    if (json_object_get(texts, protocol)) return EQ_OK;
    EQ_TRY(step_open(&s, j, NULL, name, err));
    bool distance = !full && p == first_text(j->args);
    eq_status st = distance ? ppl_and_distance(j, dir, p, &s.c.obs, &r, err)
                            : ppl_alone(j, dir, p, &s.c.obs, &r, err);
    st = cli_observer_close(&s.c, st, NULL, err);
    EQ_TRY(st);
    if (!texts) json_object_set_new(to, "ppl", texts = json_object());
    json_object_set_new(texts, protocol, r);
    return save(j, err);
}

/* Of each task and group its accuracies, without the harness's ",none". */
static json_t *accuracies(const json_t *root) {
    json_t *out = json_object(), *row;
    const char *name;
    json_object_foreach(json_object_get(root, "results"), name, row) {
        json_t *t = json_object();
        static const char *const keys[][2] = {{"acc", "acc,none"},
                                              {"acc_stderr", "acc_stderr,none"},
                                              {"acc_norm", "acc_norm,none"},
                                              {"acc_norm_stderr", "acc_norm_stderr,none"},
                                              {"perplexity", "perplexity,none"},
                                              {"items", "sample_len"}};
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            json_t *v = json_object_get(row, keys[k][1]);
            if (json_is_number(v)) json_object_set(t, keys[k][0], v);
        }
        json_object_set_new(out, name, t);
    }
    return out;
}

static eq_status measure_tasks(compare_job *j, const char *name, const char *dir, json_t *to,
                               eq_err *err) {
    eq_eval_opts o = j->args->tasks;
    char *text = NULL;
    json_t *root = NULL;
    step s;
    if (!o.tasks || json_object_get(to, "tasks")) return EQ_OK;
    o.model = dir, o.as_written = j->args->as_written, o.compute = j->args->q.o.compute;
    EQ_TRY(step_open(&s, j, NULL, name, err));
    eq_status st = eq_eval(&o, &s.c.obs, &text, err);
    if (st == EQ_OK) st = eq_json_parse(&root, text, (int64_t)strlen(text), "results", err);
    st = cli_observer_close(&s.c, st, NULL, err);
    if (st == EQ_OK) json_object_set_new(to, "tasks", accuracies(root));
    json_decref(root);
    eq_text_free(text);
    return st == EQ_OK ? save(j, err) : st;
}

static eq_status measure(compare_job *j, const char *name, const char *dir, json_t *to,
                         eq_err *err) {
    for (int p = 0; p < PROTOCOLS; p++)
        if (j->args->text[p]) EQ_TRY(measure_text(j, name, dir, p, to, err));
    return measure_tasks(j, name, dir, to, err);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static eq_status full_precision(compare_job *j, eq_err *err) {
    const char *model = j->args->q.o.model;
    json_t *to;
    EQ_TRY(results_of(j, COMPARE_FULL, &to, err));
    EQ_TRY(look(model, to, true, err));
    return measure(j, COMPARE_FULL, model, to, err);
}

static eq_status one_cell(compare_job *j, const compare_cell *c, eq_err *err) {
    json_t *to;
    EQ_TRY(results_of(j, c->name, &to, err));
    char *dir = compare_path(j, c->name, "");
    eq_status st = dir ? make(j, c, dir, to, err) : eq_nomem(err, "a path", 256);
    if (st == EQ_OK) st = measure(j, c->name, dir, to, err);
    eq_free(dir);
    return st;
}

eq_status compare_run(compare_job *j, eq_err *err) {
    EQ_TRY(begin(j, err));
    EQ_TRY(full_precision(j, err));
    for (int64_t i = 0; i < j->n; i++) EQ_TRY(one_cell(j, &j->cell[i], err));
    return EQ_OK;
}

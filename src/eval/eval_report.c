/* See eval_report.h. Standard errors are those of a mean: the sample's deviation over sqrt(n); of a
 * group weighted by size the pooled one, of an unweighted mean sqrt(sum of squares) / k. */
#include "eval/eval_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

int eq_eval_best(const eq_items *items, const eq_item *item, const double *ll, bool norm) {
    int best = 0;
    double top = 0;
    for (int k = 0; k < item->n; k++) {
        double v = ll[k] / (norm ? (double)items->choice[item->first + k].chars : 1.0);
        if (k == 0 || v > top) top = v, best = k;
    }
    return best;
}

static bool right(const eq_item_set *s, const eq_item *item, const eq_eval_scores *all,
                  int64_t first, bool norm) {
    if (s->metrics & EQ_METRIC_PPL) return all->likeliest[first];
    return eq_eval_best(&s->items, item, all->ll + first, norm) == item->gold;
}

/* ---- a task's numbers ------------------------------------------------------------------------ */

typedef struct {
    double mean, err;
} figure;
typedef struct {
    figure acc, norm, ppl;
    int64_t n;
} figures;

/* Of n values with this sum and sum of squares about their mean. */
static figure mean_of(double sum, double squares, int64_t n) {
    double count = (double)n;
    return (figure){sum / count, n > 1 ? sqrt(squares / (count - 1)) / sqrt(count) : NAN};
}
/* Of n ones and zeros. */
static figure share_of(int64_t hits, int64_t n) {
    double p = (double)hits / (double)n;
    return mean_of((double)hits, (double)n * p * (1 - p), n);
}

/* exp of minus the mean; its error by the slope there. */
static figure perplexity(const eq_items *items, const double *ll) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < items->n; i++) sum += ll[items->item[i].first];
    double mean = sum / (double)items->n;
    for (int64_t i = 0; i < items->n; i++) {
        double d = ll[items->item[i].first] - mean;
        squares += d * d;
    }
    figure f = mean_of(sum, squares, items->n);
    return (figure){exp(-f.mean), exp(-f.mean) * f.err};
}

static figures figures_of(const eq_eval_scores *s, int64_t at) {
    const eq_item_set *set = &s->sets->set[at];
    int64_t first = 0, acc = 0, norm = 0;
    for (int64_t i = 0; i < at; i++) first += s->sets->set[i].items.choices;
    for (int64_t i = 0; i < set->items.n; i++) {
        const eq_item *item = &set->items.item[i];
        acc += right(set, item, s, first + item->first, false);
        norm += right(set, item, s, first + item->first, true);
    }
    return (figures){.acc = share_of(acc, set->items.n),
                     .norm = share_of(norm, set->items.n),
                     .ppl = perplexity(&set->items, s->ll + first),
                     .n = set->items.n};
}

/* ---- the harness's layout -------------------------------------------------------------------- */

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_string("N/A"); }
static void put_figure(json_t *o, const char *name, figure f) {
    char key[64];
    snprintf(key, sizeof key, "%s,none", name);
    json_object_set_new(o, key, number(f.mean));
    snprintf(key, sizeof key, "%s_stderr,none", name);
    json_object_set_new(o, key, number(f.err));
}

typedef struct {
    json_t *results, *groups, *subtasks, *configs, *versions, *shots, *higher, *samples;
} layout;

static void put_set(layout *l, const eq_item_set *s, const figures *f) {
    json_t *r = json_pack("{s:s, s:s, s:I}", "name", s->name, "alias", s->alias, "sample_len",
                          (json_int_t)f->n);
    json_t *higher = json_pack("{s:b}", "acc", 1);
    if (s->metrics & EQ_METRIC_PPL) {
        put_figure(r, "perplexity", f->ppl);
        json_object_set_new(higher, "perplexity", json_false());
    }
    put_figure(r, "acc", f->acc);
    if (s->metrics & EQ_METRIC_NORM) {
        put_figure(r, "acc_norm", f->norm);
        json_object_set_new(higher, "acc_norm", json_true());
    }
    json_object_set_new(l->results, s->name, r);
    json_object_set_new(l->higher, s->name, higher);
    json_object_set_new(l->versions, s->name, json_real(s->version));
    json_object_set_new(l->shots, s->name, json_integer(s->shots));
    json_object_set_new(l->configs, s->name,
                        json_pack("{s:s, s:o, s:i}", "task", s->name, "data",
                                  eq_json_lossy(s->path), "num_fewshot", s->shots));
    json_object_set_new(l->samples, s->name,
                        json_pack("{s:I, s:I}", "original", (json_int_t)s->of, "effective",
                                  (json_int_t)s->items.n));
    if (!s->parent) json_object_set_new(l->subtasks, s->name, json_array());
}

static void put_group(layout *l, const char *name, figure acc, int64_t n, json_t *members) {
    json_t *r =
        json_pack("{s:s, s:s, s:I}", "name", name, "alias", name, "sample_len", (json_int_t)n);
    put_figure(r, "acc", acc);
    json_object_set(l->results, name, r);
    json_object_set_new(l->groups, name, r);
    json_object_set_new(l->higher, name, json_pack("{s:b}", "acc", 1));
    json_object_set_new(l->subtasks, name, members);
}

static bool lies_in(const eq_item_set *s, const char *group) {
    return s->parent && (!strcmp(s->parent, group) || !strcmp(group, "mmlu"));
}

/* mmlu or a group of it, where all of it was asked for: weighted by size. */
static void put_mmlu_group(layout *l, const eq_eval_scores *s, const figures *f, const char *name) {
    double hits = 0, squares = 0;
    int64_t n = 0, k = 0;
    json_t *members = json_array();
    for (int64_t i = 0; i < s->sets->n; i++) {
        if (!lies_in(&s->sets->set[i], name)) continue;
        double size = (double)f[i].n;
        hits += f[i].acc.mean * size;
        squares += (size - 1) * f[i].acc.err * f[i].acc.err * size;
        n += f[i].n, k++;
        if (strcmp(name, "mmlu")) json_array_append_new(members, json_string(s->sets->set[i].name));
    }
    for (int i = 1; !strcmp(name, "mmlu") && eq_mmlu_name(i); i++)
        if (!strcmp(eq_mmlu_group(i), "mmlu"))
            json_array_append_new(members, json_string(eq_mmlu_name(i)));
    figure acc = {hits / (double)n, n > k ? sqrt(squares / (double)(n - k) / (double)n) : NAN};
    put_group(l, name, acc, n, members);
}

/* Sets of a group, against those that it has. */
static bool complete(const eq_item_sets *sets, const char *group) {
    int64_t have = 0, all = 0;
    for (int64_t i = 0; i < sets->n; i++) have += lies_in(&sets->set[i], group);
    for (int i = 1; eq_mmlu_name(i); i++) {
        bool subject = strcmp(eq_mmlu_group(i), "mmlu") != 0;
        all += subject && (!strcmp(group, "mmlu") || !strcmp(group, eq_mmlu_group(i)));
    }
    return have == all;
}

/* The mean over the paper's tasks of their plain accuracies. */
static void put_paper(layout *l, const eq_eval_scores *s, const figures *f) {
    double sum = 0, squares = 0, k = 0;
    int64_t n = 0;
    json_t *members = json_array();
    for (int64_t i = 0; i < s->sets->n; i++) {
        const eq_item_set *set = &s->sets->set[i];
        if (!set->paper) continue;
        sum += f[i].acc.mean, squares += f[i].acc.err * f[i].acc.err, k++, n += f[i].n;
        json_array_append_new(members, json_string(set->name));
    }
    put_group(l, "paper", (figure){sum / k, sqrt(squares) / k}, n, members);
}

static void put_groups(layout *l, const eq_eval_scores *s, const figures *f) {
    for (int i = 0; eq_mmlu_name(i); i++) {
        const char *group = eq_mmlu_group(i);
        if ((!group || !strcmp(group, "mmlu")) && complete(s->sets, eq_mmlu_name(i)))
            put_mmlu_group(l, s, f, eq_mmlu_name(i));
    }
    if (s->sets->paper) put_paper(l, s, f);
}

static json_t *about(const eq_eval_run *r) {
    const eq_eval_opts *o = r->opts;
    return json_pack("{s:s, s:o, s:i, s:s, s:s, s:b, s:s, s:s?, s:o, s:f}", "version", EQ_VERSION,
                     "model", eq_json_lossy(o->model), "bits", r->cfg->schemes.all.bits, "harness",
                     o->harness == EQ_HARNESS_0_4_2 ? "0.4.2" : "0.4.9.2", "special_tokens",
                     o->harness == EQ_HARNESS_0_4_2 ? "none" : "the tokenizer's", "bos", r->bos,
                     "precision", o->compute.precision == EQ_PREC_F32 ? "f32" : "bf16", "steps",
                     !r->cfg->schemes.all.bits ? NULL
                     : r->fp32_steps           ? "fp32"
                                               : "as written",
                     "limit", o->limit ? json_integer(o->limit) : json_null(), "seconds",
                     r->seconds);
}

eq_status eq_eval_report(const eq_eval_scores *s, const eq_eval_run *run, char **json,
                         eq_err *err) {
    int64_t n = s->sets->n;
    figures *f = eq_calloc(n, sizeof *f);
    if (!f) return eq_nomem(err, "results", n * (int64_t)sizeof *f);
    layout l = {json_object(), json_object(), json_object(), json_object(),
                json_object(), json_object(), json_object(), json_object()};
    for (int64_t i = 0; i < n; i++) {
        f[i] = figures_of(s, i);
        put_set(&l, &s->sets->set[i], &f[i]);
    }
    put_groups(&l, s, f);
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%.3f", run->seconds);
    json_t *root =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:s, s:o, s:s, s:o}", "results",
                  l.results, "groups", l.groups, "group_subtasks", l.subtasks, "configs", l.configs,
                  "versions", l.versions, "n-shot", l.shots, "higher_is_better", l.higher,
                  "n-samples", l.samples, "max_length", (json_int_t)run->cfg->T_max, "model_source",
                  "eqat", "model_name", eq_json_lossy(run->opts->model),
                  "total_evaluation_time_seconds", seconds, "eqat", about(run));
    *json = root ? eq_json_text(root, 0) : NULL;
    json_decref(root);
    eq_free(f);
    return *json ? EQ_OK : eq_nomem(err, "results", 1 << 16);
}

/* ---- item by item ---------------------------------------------------------------------------- */

static json_t *text(const eq_items *items, eq_span s) {
    return json_stringn(items->text.p + s.at, (size_t)s.n);
}

static json_t *sample(const eq_eval_scores *s, const eq_item_set *set, int64_t i, int64_t first) {
    const eq_item *item = &set->items.item[i];
    const double *ll = s->ll + first;
    json_t *arguments = json_array(), *resps = json_array();
    for (int k = 0; k < item->n; k++) {
        const eq_choice *c = &set->items.choice[item->first + k];
        json_array_append_new(arguments, json_pack("[o, o]", text(&set->items, c->context),
                                                   text(&set->items, c->continuation)));
        json_array_append_new(resps, json_real(ll[k]));
    }
    json_t *o = json_pack("{s:s, s:I, s:I, s:i, s:o, s:o}", "task", set->name, "doc_id",
                          (json_int_t)i, "line", (json_int_t)item->line, "target", item->gold,
                          "arguments", arguments, "resps", resps);
    json_object_set_new(o, "acc", json_integer(right(set, item, s, first, false)));
    if (set->metrics & EQ_METRIC_NORM)
        json_object_set_new(o, "acc_norm", json_integer(right(set, item, s, first, true)));
    return o;
}

eq_status eq_eval_samples(const eq_eval_scores *s, eq_writer *to, eq_err *err) {
    int64_t first = 0;
    for (int64_t k = 0; k < s->sets->n; first += s->sets->set[k++].items.choices) {
        const eq_item_set *set = &s->sets->set[k];
        for (int64_t i = 0; i < set->items.n; i++) {
            json_t *o = sample(s, set, i, first + set->items.item[i].first);
            char *line = o ? eq_json_text(o, 0) : NULL;
            json_decref(o);
            if (!line) return eq_nomem(err, "a sample", 1 << 12);
            eq_status st = eq_writer_put(to, line, (int64_t)strlen(line), err);
            eq_free(line);
            if (st == EQ_OK) st = eq_writer_put(to, "\n", 1, err);
            EQ_TRY(st);
        }
    }
    return EQ_OK;
}

/* The page of a comparison: the table, perplexity and accuracy against size, what blocks learned of
 * their training windows alone, errors of the linears, and each row's run. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compare.h"
#include "run_page.h"
#include "svg_plot.h"

/* ---- a figure against size ------------------------------------------------------------------- */

/* A number of a row's results: results[group][name][key]. */
typedef struct {
    const char *group, *name, *key;
    double times;
} place;

static double value_at(const json_t *results, const place *at) {
    const json_t *o = json_object_get(json_object_get(results, at->group), at->name);
    return at->times * eq_json_real(o, at->key);
}
static double mib(const json_t *results) { return eq_json_real(results, "bytes") / (1 << 20); }

/* What a row is called among those of its scheme. */
static void cell_label(char out[160], const compare_cell *c) {
    int n = snprintf(out, 160, "%s", c->method->name);
    if (*c->train) n += snprintf(out + n, 160 - (size_t)n, ", blocks: %s", c->train);
    if (*c->e2e_train) snprintf(out + n, 160 - (size_t)n, ", e2e: %s", c->e2e_train);
}

typedef struct {
    plot_series *series; /* one a method and variant, and the model in full precision */
    run_point *points;
    char (*label)[160];
    int64_t n;
    html_grid figures;
} size_plot;

/* The cells that are called alike, over the schemes, by size. */
static void add_series(size_plot *s, const compare_job *j, int64_t first, const place *at) {
    char label[160];
    cell_label(s->label[s->n], &j->cell[first]);
    run_point *to = s->points + s->n * (j->n + 1);
    int64_t n = 0;
    for (int64_t i = 0; i < j->n; i++) {
        const json_t *r = compare_cell_results(j, j->cell[i].name);
        cell_label(label, &j->cell[i]);
        if (strcmp(label, s->label[s->n])) continue;
        run_point p = {mib(r), value_at(r, at)};
        if (!isfinite(p.x) || !isfinite(p.y)) continue;
        int64_t k = n++;
        for (; k > 0 && to[k - 1].x > p.x; k--) to[k] = to[k - 1];
        to[k] = p;
        html_cell(&s->figures, "%s %s", j->cell[i].scheme, label);
        html_cell_number(&s->figures, p.x), html_cell_number(&s->figures, p.y);
    }
    s->series[s->n] = (plot_series){s->label[s->n], to, n, .line = true, .marks = true};
    s->n++;
}

static bool seen(const size_plot *s, const compare_cell *c) {
    char label[160];
    cell_label(label, c);
    for (int64_t i = 0; i < s->n; i++)
        if (!strcmp(s->label[i], label)) return true;
    return false;
}

static void against_size(eq_str *page, const compare_job *j, const char *title, const char *y,
                         bool log_y, const char *about, place at) {
    size_plot s = {.series = eq_calloc(j->n + 1, sizeof *s.series),
                   .points = eq_calloc((j->n + 1) * (j->n + 1), sizeof *s.points),
                   .label = eq_calloc(j->n + 1, sizeof *s.label),
                   .figures = {.columns = 3}};
    const json_t *full = compare_cell_results(j, COMPARE_FULL);
    run_point level = {0, value_at(full, &at)};
    if (s.series && s.points && s.label) {
        html_cell(&s.figures, "row"), html_cell(&s.figures, "MiB"), html_cell(&s.figures, "%s", y);
        if (isfinite(level.y)) {
            html_cell(&s.figures, "full precision");
            html_cell_number(&s.figures, mib(full)), html_cell_number(&s.figures, level.y);
        }
        for (int64_t i = 0; i < j->n; i++)
            if (!seen(&s, &j->cell[i])) add_series(&s, j, i, &at);
        if (isfinite(level.y))
            s.series[s.n++] = (plot_series){"full precision", &level, 1, .level = true};
        svg_figure(page,
                   &(svg_plot){.title = title,
                               .x = "size of the model, MiB",
                               .y = y,
                               .log_y = log_y,
                               .series = s.series,
                               .n = s.n,
                               .about = about},
                   &s.figures);
    } else {
        page->oom = true;
    }
    html_grid_free(&s.figures);
    eq_free(s.series), eq_free(s.points), eq_free(s.label);
}

static void sizes(eq_str *page, const compare_job *j) {
    const json_t *full = compare_cell_results(j, COMPARE_FULL);
    const char *name;
    char title[256], about[256];
    bool first = true;
    json_t *v;
    json_object_foreach(json_object_get(full, "ppl"), name, v) {
        snprintf(title, sizeof title, "Perplexity against size, %s", name);
        snprintf(about, sizeof about, "%.0f windows of %.0f tokens; lower is better.",
                 eq_json_real(v, "windows"), eq_json_real(v, "seqlen"));
        against_size(page, j, title, "perplexity", true, about, (place){"ppl", name, "ppl", 1});
        if (first)
            against_size(
                page, j, "Distance from full precision against size", "KL divergence, nats", true,
                "Mean over the same windows; lower is better.", (place){"ppl", name, "kl", 1});
        first = false;
    }
    const json_t *tasks = json_object_get(full, "tasks");
    json_object_foreach((json_t *)tasks, name, v) {
        if (!strncmp(name, "mmlu_", 5) && json_object_get(tasks, "mmlu")) continue;
        snprintf(title, sizeof title, "Accuracy against size, %s", name);
        snprintf(about, sizeof about, "%.0f items; higher is better.", eq_json_real(v, "items"));
        against_size(page, j, title, "accuracy, %", false, about,
                     (place){"tasks", name, "acc", 100});
    }
}

/* ---- what the logs say ----------------------------------------------------------------------- */

/* Gap of each block of each row that trained blocks, in percent; the row's linears. */
static void gaps(eq_str *page, const compare_job *j, const run_log *logs) {
    plot_series *s = eq_calloc(j->n + 1, sizeof *s);
    run_point **points = eq_calloc(j->n + 1, sizeof *points);
    html_grid g = {.columns = 3};
    int64_t n = 0;
    html_cell(&g, "row"), html_cell(&g, "mean gap, %%"), html_cell(&g, "largest, %%");
    for (int64_t i = 0; s && points && i < j->n; i++) {
        const run_log *l = &logs[i];
        int64_t k = 0;
        double sum = 0, most = -INFINITY;
        if (!l->blocks || !run_log_trains_blocks(l)) continue;
        points[n] = eq_calloc(l->blocks, sizeof **points);
        for (int64_t b = 0; points[n] && b < l->blocks; b++) {
            double gap = 100 * (l->block[b].val / l->block[b].train - 1);
            if (!isfinite(gap)) continue;
            points[n][k++] = (run_point){(double)b, gap};
            sum += gap, most = fmax(most, gap);
        }
        if (!k) {
            eq_free(points[n]);
            points[n] = NULL;
            continue;
        }
        html_cell(&g, "%s", j->cell[i].name);
        html_cell_number(&g, sum / (double)k), html_cell_number(&g, most);
        s[n] = (plot_series){j->cell[i].name, points[n], k, .line = true, .marks = true};
        n++;
    }
    if (s && points)
        svg_figure(page,
                   &(svg_plot){.title = "Validation gap, block by block",
                               .x = "block",
                               .y = "validation over training loss, % more",
                               .series = s,
                               .n = n,
                               .about = "What a block learned of its training windows alone "
                                        "(Figure 3 of the paper)."},
                   &g);
    else
        page->oom = true;
    for (int64_t i = 0; points && i < n; i++) eq_free(points[i]);
    html_grid_free(&g);
    eq_free(s), eq_free(points);
}

static void linears(eq_str *page, const compare_job *j, const run_log *logs) {
    html_grid g = {0};
    int64_t most = 0;
    for (int64_t i = 0; i < j->n; i++) {
        int64_t n = 0;
        run_linear *m = run_linear_means(&logs[i], &n);
        if (m && !g.columns) {
            html_cell(&g, "row");
            for (int64_t k = 0; k < n; k++) html_cell(&g, "%s", m[k].name);
            g.columns = n + 1, most = n;
        }
        if (m && n == most) {
            html_cell(&g, "%s", j->cell[i].name);
            for (int64_t k = 0; k < n; k++)
                html_cell_number(&g, m[k].n ? m[k].sum / (double)m[k].n : NAN);
        }
        eq_free(m);
    }
    if (g.columns) {
        eq_str_puts(page, "<h2>Error of the linears</h2>\n");
        html_table(page, &g,
                   "Relative error of the weights, mean over the blocks; block by block in each "
                   "row's run below.");
    }
    html_grid_free(&g);
}

static void runs(eq_str *page, const compare_job *j, const run_log *logs) {
    eq_str_puts(page, "<h2>Each row's run</h2>\n");
    for (int64_t i = 0; i < j->n; i++) {
        if (!logs[i].run) continue;
        eq_str_puts(page, "<details><summary>");
        html_text(page, j->cell[i].name);
        eq_str_puts(page, ": ");
        html_text(page, j->cell[i].method->about);
        eq_str_puts(page, "</summary>\n");
        run_sections(page, &logs[i]);
        eq_str_puts(page, "</details>\n");
    }
}

static eq_status read_logs(const compare_job *j, run_log *logs, char **paths, eq_err *err) {
    for (int64_t i = 0; i < j->n; i++) {
        paths[i] = compare_path(j, j->cell[i].name, ".jsonl");
        if (!paths[i]) return eq_nomem(err, "a path", 256);
        EQ_TRY(run_log_read(&logs[i], paths[i], err));
    }
    return EQ_OK;
}

static void put_page(eq_str *page, const compare_job *j, const run_log *logs) {
    html_grid g;
    char *title = eq_sprintf("Comparison: %s", j->args->q.o.model);
    if (!title) page->oom = true;
    html_open(page, title ? title : "");
    eq_free(title);
    compare_grid(j, &g);
    html_table(page, &g,
               "Perplexity by protocol; KL divergence from the full-precision model and share of "
               "targets where both find the same token likeliest; accuracies; seconds of making it "
               "and its peak of memory.");
    html_grid_free(&g);
    sizes(page, j);
    gaps(page, j, logs);
    linears(page, j, logs);
    runs(page, j, logs);
    html_close(page);
}

eq_status compare_page(const compare_job *j, const char *path, eq_err *err) {
    eq_str page = {0};
    run_log *logs = eq_calloc(j->n + 1, sizeof *logs);
    char **paths = eq_calloc(j->n + 1, sizeof *paths);
    eq_status st = logs && paths ? read_logs(j, logs, paths, err) : eq_nomem(err, "logs", 1 << 10);
    if (st == EQ_OK) {
        put_page(&page, j, logs);
        st = html_write(&page, path, err);
    }
    for (int64_t i = 0; logs && paths && i < j->n; i++) {
        run_log_free(&logs[i]);
        eq_free(paths[i]);
    }
    eq_free(logs), eq_free(paths);
    return st;
}

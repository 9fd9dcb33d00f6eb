/* The table of a comparison: the same cells for the terminal and the page. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare.h"
#include "protocol.h"

/* Tasks with a column: all, but no subject of a group that has one. */
static bool task_shown(const json_t *tasks, const char *name) {
    return strncmp(name, "mmlu_", 5) != 0 || !json_object_get(tasks, "mmlu");
}

typedef struct {
    const compare_job *j;
    const json_t *tasks, *texts; /* of the model in full precision: the columns */
    bool train, e2e;             /* columns of variants */
} table;

static void head(const table *t, html_grid *g) {
    const char *name;
    json_t *v;
    html_cell(g, "scheme"), html_cell(g, "method");
    if (t->train) html_cell(g, "trained");
    if (t->e2e) html_cell(g, "e2e trained");
    bool first = true;
    json_object_foreach((json_t *)t->texts, name, v) {
        html_cell(g, "ppl %s", name);
        if (first) html_cell(g, "KL"), html_cell(g, "same top %%");
        first = false;
    }
    json_object_foreach((json_t *)t->tasks, name, v) {
        if (task_shown(t->tasks, name)) html_cell(g, "%s %%", name);
    }
    html_cell(g, "bits"), html_cell(g, "MiB"), html_cell(g, "seconds"), html_cell(g, "peak MiB");
    g->columns = g->n;
}

static void row(const table *t, html_grid *g, const json_t *r, const char *scheme,
                const char *method, const compare_cell *c) {
    const char *name;
    json_t *v;
    html_cell(g, "%s", scheme), html_cell(g, "%s", method);
    if (t->train) html_cell(g, "%s", c && *c->train ? c->train : "-");
    if (t->e2e) html_cell(g, "%s", c && *c->e2e_train ? c->e2e_train : "-");
    bool first = true;
    json_object_foreach((json_t *)t->texts, name, v) {
        const json_t *p = json_object_get(json_object_get(r, "ppl"), name);
        html_cell_number(g, eq_json_real(p, "ppl"));
        if (first) {
            html_cell_number(g, c ? eq_json_real(p, "kl") : NAN);
            html_cell_number(g, c ? 100 * eq_json_real(p, "same_top") : NAN);
        }
        first = false;
    }
    json_object_foreach((json_t *)t->tasks, name, v) {
        const json_t *k = json_object_get(json_object_get(r, "tasks"), name);
        if (task_shown(t->tasks, name)) html_cell_number(g, 100 * eq_json_real(k, "acc"));
    }
    html_cell_number(g, eq_json_real(r, "bits_per_weight"));
    html_cell_number(g, eq_json_real(r, "bytes") / (1 << 20));
    html_cell_number(g, eq_json_real(r, "seconds"));
    html_cell_number(g, eq_json_real(r, "memory_peak_bytes") / (1 << 20));
}

void compare_grid(const compare_job *j, html_grid *g) {
    const json_t *full = compare_cell_results(j, COMPARE_FULL);
    table t = {j, json_object_get(full, "tasks"), json_object_get(full, "ppl"), false, false};
    for (int64_t i = 0; i < j->n; i++) {
        t.train = t.train || *j->cell[i].train;
        t.e2e = t.e2e || *j->cell[i].e2e_train;
    }
    *g = (html_grid){0};
    head(&t, g);
    row(&t, g, full, "-", "full precision", NULL);
    for (int64_t i = 0; i < j->n; i++) {
        const compare_cell *c = &j->cell[i];
        row(&t, g, compare_cell_results(j, c->name), c->scheme, c->method->name, c);
    }
}

void compare_print(const html_grid *g) {
    for (int64_t i = 0; i < g->n; i++) {
        int64_t column = i % g->columns;
        size_t width = 0, n = strlen(g->cell[i]);
        for (int64_t k = column; k < g->n; k += g->columns)
            if (strlen(g->cell[k]) > width) width = strlen(g->cell[k]);
        bool last = column + 1 == g->columns, words = column < 2;
        printf("%*s%s%*s%s", words ? 0 : (int)(width - n), "", g->cell[i],
               words ? (int)(width - n) : 0, "", last ? "\n" : "  ");
    }
}

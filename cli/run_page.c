/* See run_page.h. */
#include "run_page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "command.h"
#include "svg_plot.h"

enum { STEPS_SHOWN = 48, ROWS = 24, LINEARS = 16 };

/* ---- what was run ---------------------------------------------------------------------------- */

static void row(html_grid *g, const char *name, const char *value) {
    html_cell(g, "%s", name);
    html_cell(g, "%s", value);
}

static void command_text(const json_t *command, eq_str *out) {
    for (size_t i = 0; i < json_array_size(command); i++) {
        const char *word = json_string_value(json_array_get(command, i));
        eq_str_printf(out, "%s%s", i ? " " : "", word ? word : "?");
    }
}

static void data_row(html_grid *g, const json_t *d) {
    eq_str s = {0};
    const char *digest = json_string_value(json_object_get(d, "digest"));
    const char *name, *before = ": ";
    json_t *file;
    eq_str_printf(&s, "%lld windows of %lld tokens, %s",
                  (long long)json_integer_value(json_object_get(d, "windows")),
                  (long long)json_integer_value(json_object_get(d, "tokens_a_window")),
                  digest ? digest : "?");
    json_object_foreach(json_object_get(d, "files"), name, file) {
        const char *sum = json_string_value(json_object_get(file, "sum"));
        eq_str_printf(&s, "%s%s (%.12s)", before, name, sum ? sum : "?");
        before = ", ";
    }
    const char *what = json_string_value(json_object_get(d, "for"));
    html_cell(g, "data, %s", what ? what : "?");
    html_cell(g, "%s", s.p ? s.p : "?");
    eq_str_free(&s);
}

static void phase_rows(html_grid *g, const run_log *l) {
    static const char *const names[] = {"block-ap", "e2e-qp", "write"};
    for (int k = 0; k < 3; k++) {
        const json_t *newest = NULL, *p;
        char time[32], memory[32];
        size_t i;
        json_array_foreach(l->phases, i, p) {
            const char *name = json_string_value(json_object_get(p, "phase"));
            if (name && !strcmp(name, names[k])) newest = p;
        }
        if (!newest) continue;
        html_cell(g, "phase %s", names[k]);
        html_cell(g, "%s, %s at most in the library's hands",
                  cli_seconds(time, json_number_value(json_object_get(newest, "seconds"))),
                  cli_bytes(memory, json_number_value(json_object_get(newest, "host_peak_bytes"))));
    }
}

static void text_row(html_grid *g, const json_t *o, const char *key, const char *name) {
    const char *s = json_string_value(json_object_get(o, key));
    if (s) row(g, name, s);
}

static void facts(eq_str *page, const run_log *l) {
    html_grid g = {.columns = 2};
    char text[32];
    eq_str command = {0};
    const json_t *machine = json_object_get(l->run, "machine"), *d, *r = l->result;
    size_t i;
    row(&g, "what", "value");
    command_text(json_object_get(l->run, "command"), &command);
    row(&g, "command", command.p ? command.p : "?");
    eq_str_free(&command);
    row(&g, "ended", r ? "well" : l->end ? l->end : "not yet, or killed");
    text_row(&g, l->run, "utc", "began");
    html_cell(&g, "time"), html_cell(&g, "%s%s", cli_seconds(text, l->seconds),
                                     l->runs > 1 ? ", in several runs" : "");
    phase_rows(&g, l);
    row(&g, "memory at most", cli_bytes(text, l->memory_peak));
    if (isfinite(l->rate)) html_cell(&g, "tokens a second"), html_cell_number(&g, l->rate);
    if (r) {
        row(&g, "size", cli_bytes(text, json_number_value(json_object_get(r, "bytes"))));
        html_cell(&g, "bits a weight");
        html_cell_number(&g, json_number_value(json_object_get(r, "bits_per_weight")));
    }
    html_cell(&g, "losses that were not finite"), html_cell(&g, "%lld", (long long)l->rollbacks);
    json_array_foreach(l->data, i, d) data_row(&g, d);
    text_row(&g, l->run, "version", "eqat");
    text_row(&g, l->run, "kernels", "kernels");
    text_row(&g, machine, "cpu", "processor");
    html_cell(&g, "threads"),
        html_cell(&g, "%lld", (long long)json_integer_value(json_object_get(l->run, "threads")));
    html_table(page, &g, NULL);
    html_grid_free(&g);
}

/* ---- losses of the blocks -------------------------------------------------------------------- */

/* Block i lies between i and i + 1; its steps are averaged to as many points as can be told apart.
 */
static int64_t block_points(const run_series *s, int64_t block, run_point *out) {
    int64_t n = s->n < STEPS_SHOWN ? s->n : STEPS_SHOWN;
    double last = s->n ? s->p[s->n - 1].x : 0;
    for (int64_t k = 0; k < n; k++) {
        int64_t from = k * s->n / n, to = (k + 1) * s->n / n;
        double x = 0, y = 0;
        for (int64_t i = from; i < to; i++) x += s->p[i].x, y += s->p[i].y;
        double count = (double)(to - from);
        out[k] = (run_point){(double)block + 0.9 * (x / count) / (last > 0 ? last : 1), y / count};
    }
    return n;
}

static double last_loss(const run_block *b) {
    return b->steps.n ? b->steps.p[b->steps.n - 1].y : NAN;
}

static void block_figures(html_grid *g, const run_log *l) {
    static const char *const head[] = {"block",      "steps",           "first loss",
                                       "train loss", "validation loss", "share of the power"};
    for (g->columns = 0; g->columns < 6; g->columns++) html_cell(g, "%s", head[g->columns]);
    for (int64_t i = 0; i < l->blocks; i++) {
        const run_block *b = &l->block[i];
        if (!b->steps.n) continue;
        html_cell(g, "%lld", (long long)i), html_cell(g, "%lld", (long long)b->steps.n);
        html_cell_number(g, isfinite(b->first) ? b->first : b->steps.p->y);
        html_cell_number(g, isfinite(b->train) ? b->train : last_loss(b));
        html_cell_number(g, b->val), html_cell_number(g, b->train_share);
    }
}

static void block_losses(eq_str *page, const run_log *l) {
    run_point *p = eq_calloc(l->blocks + 1, STEPS_SHOWN * (int64_t)sizeof *p);
    run_point *val = eq_calloc(l->blocks + 1, sizeof *val);
    plot_series *s = eq_calloc(l->blocks + 2, sizeof *s);
    html_grid g = {0};
    int64_t n = 0, vals = 0;
    for (int64_t i = 0; p && val && s && i < l->blocks; i++) {
        const run_block *b = &l->block[i];
        if (!b->steps.n) continue;
        run_point *to = p + i * STEPS_SHOWN;
        s[n] = (plot_series){n ? NULL : "loss of a step, from the left of its block to the right",
                             to, block_points(&b->steps, i, to), .line = true};
        n++;
        if (isfinite(b->val)) val[vals++] = (run_point){(double)i + 0.95, b->val};
    }
    if (p && val && s) {
        s[n++] = (plot_series){"validation loss behind its last epoch", val, vals, .marks = true};
        block_figures(&g, l);
        svg_figure(page,
                   &(svg_plot){.title = "Losses of the blocks",
                               .x = "block",
                               .y = "mean squared error",
                               .log_y = true,
                               .series = s,
                               .n = n,
                               .about = "Block-AP: mean squared error between a block's output "
                                        "and the full-precision block's. The last column is the "
                                        "training loss over the power of what it should be."},
                   &g);
    } else {
        page->oom = true;
    }
    html_grid_free(&g);
    eq_free(p), eq_free(val), eq_free(s);
}

static void gap_figures(html_grid *g, const run_log *l) {
    static const char *const head[] = {"block", "train loss", "validation loss", "gap, %"};
    for (g->columns = 0; g->columns < 4; g->columns++) html_cell(g, "%s", head[g->columns]);
    for (int64_t i = 0; i < l->blocks; i++) {
        const run_block *b = &l->block[i];
        if (!isfinite(b->train) || !isfinite(b->val)) continue;
        html_cell(g, "%lld", (long long)i);
        html_cell_number(g, b->train), html_cell_number(g, b->val);
        html_cell_number(g, 100 * (b->val / b->train - 1));
    }
}

static void gap(eq_str *page, const run_log *l) {
    run_point *train = eq_calloc(l->blocks + 1, sizeof *train);
    run_point *val = eq_calloc(l->blocks + 1, sizeof *val);
    html_grid g = {0};
    int64_t n = 0;
    for (int64_t i = 0; train && val && i < l->blocks; i++) {
        const run_block *b = &l->block[i];
        if (!isfinite(b->train) || !isfinite(b->val)) continue;
        train[n] = (run_point){(double)i, b->train};
        val[n++] = (run_point){(double)i, b->val};
    }
    if (train && val) {
        const plot_series s[] = {
            {"training windows, last epoch", train, n, .line = true, .marks = true},
            {"held-out windows", val, n, .line = true, .marks = true}};
        gap_figures(&g, l);
        svg_figure(page,
                   &(svg_plot){.title = "Training and validation, block by block",
                               .x = "block",
                               .y = "mean squared error",
                               .log_y = true,
                               .series = s,
                               .n = 2,
                               .about = "The gap between the two is what a block learned of its "
                                        "training windows alone (Figure 3 of the paper)."},
                   &g);
    } else {
        page->oom = true;
    }
    html_grid_free(&g);
    eq_free(train), eq_free(val);
}

/* ---- the second phase ------------------------------------------------------------------------ */

static void e2e_figures(html_grid *g, const run_log *l) {
    const run_series *s = &l->e2e, *h = &l->held_out;
    g->columns = h->n ? 3 : 2;
    html_cell(g, "steps"), html_cell(g, "mean loss");
    if (h->n) html_cell(g, "held-out loss behind them");
    int64_t n = s->n < ROWS ? s->n : ROWS;
    for (int64_t k = 0, look = 0; k < n; k++) {
        int64_t from = k * s->n / n, to = (k + 1) * s->n / n;
        double sum = 0, held_out = NAN;
        for (int64_t i = from; i < to; i++) sum += s->p[i].y;
        for (; look < h->n && (h->p[look].x <= s->p[to - 1].x + 1 || k + 1 == n); look++)
            held_out = h->p[look].y;
        if (to - from > 1)
            html_cell(g, "%.0f to %.0f", s->p[from].x, s->p[to - 1].x);
        else
            html_cell(g, "%.0f", s->p[from].x);
        html_cell_number(g, sum / (double)(to - from));
        if (h->n) html_cell_number(g, held_out);
    }
}

static void e2e(eq_str *page, const run_log *l) {
    if (!l->e2e.n) return;
    html_grid g = {0};
    const plot_series s[] = {
        {"a step's batch", l->e2e.p, l->e2e.n, .line = true},
        {"held-out rows", l->held_out.p, l->held_out.n, .line = true, .marks = true}};
    e2e_figures(&g, l);
    svg_figure(page,
               &(svg_plot){.title = "Loss of the second phase",
                           .x = "step",
                           .y = "cross-entropy, nats a token",
                           .series = s,
                           .n = l->held_out.n ? 2 : 1,
                           .about = "E2E-QP: the loss of each step's batch before its update."},
               &g);
    html_grid_free(&g);
}

/* ---- linears --------------------------------------------------------------------------------- */

/* "self_attn.q_proj" -> "q_proj" */
static const char *short_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* Their names, in the order in which they come; how many. */
static int64_t linear_names(const run_log *l, const char *names[LINEARS]) {
    int64_t n = 0;
    for (int64_t i = 0; i < l->blocks; i++) {
        const char *key;
        json_t *v;
        if (!l->block[i].linears) continue;
        json_object_foreach(l->block[i].linears, key, v) {
            int64_t k = 0;
            while (k < n && strcmp(names[k], key)) k++;
            if (k == n && n < LINEARS) names[n++] = key;
        }
    }
    return n;
}

static double linear_error(const run_log *l, int64_t block, const char *name) {
    return eq_json_real(l->block[block].linears, name);
}

run_linear *run_linear_means(const run_log *l, int64_t *n) {
    const char *names[LINEARS];
    *n = linear_names(l, names);
    run_linear *m = *n ? eq_calloc(*n, sizeof *m) : NULL;
    for (int64_t k = 0; m && k < *n; k++) {
        snprintf(m[k].name, sizeof m[k].name, "%s", short_name(names[k]));
        for (int64_t i = 0; i < l->blocks; i++) {
            double e = linear_error(l, i, names[k]);
            if (isfinite(e)) m[k].sum += e, m[k].n++;
        }
    }
    return m;
}

static void linears(eq_str *page, const run_log *l) {
    const char *names[LINEARS];
    int64_t n = linear_names(l, names);
    if (!n) return;
    html_grid g = {.columns = n + 1};
    plot_series s[LINEARS];
    run_point *p = eq_calloc(n * l->blocks, sizeof *p);
    if (!p) {
        page->oom = true;
        return;
    }
    html_cell(&g, "block");
    for (int64_t k = 0; k < n; k++) html_cell(&g, "%s", short_name(names[k]));
    for (int64_t i = 0; i < l->blocks; i++) {
        if (l->block[i].linears) html_cell(&g, "%lld", (long long)i);
        for (int64_t k = 0; k < n; k++) {
            double e = linear_error(l, i, names[k]);
            p[k * l->blocks + i] = (run_point){(double)i, e};
            if (l->block[i].linears) html_cell_number(&g, e);
        }
    }
    for (int64_t k = 0; k < n; k++)
        s[k] = (plot_series){short_name(names[k]), p + k * l->blocks, l->blocks, .line = true,
                             .marks = true};
    svg_figure(page,
               &(svg_plot){.title = "Error of each linear",
                           .x = "block",
                           .y = "relative error of the weights",
                           .series = s,
                           .n = n,
                           .about = "Root of the sum of squares of what the weights are off from "
                                    "the model's, over that of the model's. Training and GPTQ "
                                    "move weights on purpose, so that outputs, not weights, come "
                                    "near."},
               &g);
    html_grid_free(&g);
    eq_free(p);
}

/* ---- the page -------------------------------------------------------------------------------- */

void run_plots(eq_str *page, const run_log *l) {
    if (run_log_trains_blocks(l)) block_losses(page, l), gap(page, l);
    e2e(page, l);
    linears(page, l);
}

static void settings(eq_str *page, const run_log *l) {
    const json_t *s = json_object_get(l->run, "settings");
    char *text = s ? eq_json_text(s, 2) : NULL;
    if (!text) return;
    eq_str_puts(page, "<details><summary>All settings</summary><pre>");
    html_text(page, text);
    eq_str_puts(page, "</pre></details>\n");
    eq_free(text);
}

void run_sections(eq_str *page, const run_log *l) {
    facts(page, l);
    run_plots(page, l);
    settings(page, l);
}

static eq_status one_log(eq_str *page, const char *path, bool head, eq_err *err) {
    run_log l;
    eq_status st = run_log_read(&l, path, err);
    if (st == EQ_OK && head) {
        eq_str_puts(page, "<h2>");
        html_text(page, path);
        eq_str_puts(page, "</h2>\n");
    }
    if (st == EQ_OK) run_sections(page, &l);
    run_log_free(&l);
    return st;
}

eq_status run_page(const char *logs, const char *path, eq_err *err) {
    eq_str page = {0};
    eq_status st = EQ_OK;
    bool several = strchr(logs, '\n') != NULL;
    char *title = several ? eq_strdup("Runs of eqat") : eq_sprintf("Run of eqat: %s", logs);
    if (!title) return eq_nomem(err, "a page", 256);
    html_open(&page, title);
    for (const char *at = logs; st == EQ_OK && *at;) {
        size_t n = strcspn(at, "\n");
        char *one = eq_sprintf("%.*s", (int)n, at);
        st = one ? one_log(&page, one, several, err) : eq_nomem(err, "a path", 256);
        eq_free(one);
        at += n + (at[n] != 0);
    }
    html_close(&page);
    eq_free(title);
    if (st == EQ_OK) return html_write(&page, path, err);
    eq_str_free(&page);
    return st;
}

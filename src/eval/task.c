/* See task.h: from the names of tasks to files, from files to items. */
#include "eval/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "eval/task_rows.h"
#include "format/json_rows.h"

static const char *const mmlu_files[EQ_TASK_FILES] = {"mmlu/mmlu.zip", "mmlu.zip", "mmlu", "data"};

/* ---- files ----------------------------------------------------------------------------------- */

/* A file of labels beside "valid.jsonl" is "valid-labels.lst": one number a line. */
typedef struct {
    char *path; /* NULL: there is none */
    int64_t *p, n;
} labels;

static eq_status parse_labels(labels *l, const char *text, eq_err *err) {
    int64_t cap = 1;
    for (const char *c = text; *c; c++) cap += *c == '\n';
    if (!(l->p = eq_calloc(cap, sizeof *l->p))) return eq_nomem(err, l->path, 8 * cap);
    for (const char *c = text; *c; l->n++) {
        char *end;
        long long v = strtoll(c, &end, 10);
        if (end == c || (*end && *end != '\n' && *end != '\r'))
            return eq_fail(err, EQ_EINPUT, "%s: line %lld: expected a number, found \"%.20s\"",
                           l->path, (long long)l->n + 1, c);
        l->p[l->n] = v;
        c = end + strspn(end, "\r\n");
    }
    return EQ_OK;
}

static eq_status read_labels(labels *l, const char *rows, eq_err *err) {
    const char *dot = strrchr(rows, '.');
    char *text;
    int64_t n;
    *l = (labels){0};
    if (!dot) return EQ_OK;
    l->path = eq_sprintf("%.*s-labels.lst", (int)(dot - rows), rows);
    if (!l->path) return eq_nomem(err, rows, 256);
    if (!eq_exists(l->path)) {
        eq_free(l->path);
        l->path = NULL;
        return EQ_OK;
    }
    EQ_TRY(eq_read_unpacked(l->path, &text, &n, err));
    eq_status st = parse_labels(l, text, err);
    eq_free(text);
    return st;
}

typedef struct {
    const eq_task *task;
    eq_items *items;
    labels labels;
    int64_t limit, rows;
} reader;

static eq_status take_row(void *ctx, const json_t *row, const char *where, eq_err *err) {
    reader *r = ctx;
    int64_t i = r->rows++, label = EQ_NO_LABEL;
    if (r->labels.path) {
        if (i >= r->labels.n)
            return eq_fail(err, EQ_EINPUT, "%s: expected a label for every row, found %lld", where,
                           (long long)r->labels.n);
        label = r->labels.p[i] - r->task->label_base;
        if (label < 0)
            return eq_fail(err, EQ_EINPUT,
                           "%s: line %lld: expected a label of at least %lld, "
                           "found %lld",
                           r->labels.path, (long long)i + 1, (long long)r->task->label_base,
                           (long long)r->labels.p[i]);
    }
    if (r->limit && i >= r->limit) return EQ_OK;
    const char *number = strrchr(where, ' ');
    EQ_TRY(r->task->row(r->items, row, label, number ? atoll(number) : i + 1, where, err));
    return eq_items_close(r->items, r->task->least, where, err);
}

static eq_status read_task(eq_item_sets *s, const eq_task *t, const char *path, int64_t limit,
                           eq_err *err) {
    eq_item_set *set;
    EQ_TRY(eq_item_sets_add(s, t->name, &set, err));
    set->metrics = t->metrics, set->version = t->version, set->alias = t->name;
    set->paper = t->paper;
    if (!(set->path = eq_strdup(path))) return eq_nomem(err, path, 256);
    reader r = {.task = t, .items = &set->items, .limit = limit};
    eq_status st = read_labels(&r.labels, path, err);
    if (st == EQ_OK) st = eq_json_rows(path, take_row, &r, err);
    if (st == EQ_OK && r.labels.path && r.labels.n != r.rows)
        st = eq_fail(err, EQ_EINPUT, "%s: expected %lld labels, one for each row of %s, found %lld",
                     r.labels.path, (long long)r.rows, path, (long long)r.labels.n);
    set->of = r.rows;
    eq_free(r.labels.path), eq_free(r.labels.p);
    return st;
}

/* The first of a task's files below dir (eq_free it). */
static eq_status find_file(char **path, const char *name, const char *dir,
                           const char *const files[EQ_TASK_FILES], eq_err *err) {
    *path = NULL;
    if (!dir)
        return eq_fail(err, EQ_EINPUT, "task %s: expected its file (%s=FILE) or a folder of tasks",
                       name, name);
    for (int i = 0; i < EQ_TASK_FILES && files[i]; i++) {
        char *p = eq_path(dir, files[i]);
        if (!p) return eq_nomem(err, dir, 256);
        if (eq_exists(p)) return *path = p, EQ_OK;
        eq_free(p);
    }
    return eq_fail(err, EQ_EINPUT, "%s: task %s: expected %s, or %s=FILE, found neither", dir, name,
                   files[0], name);
}

/* ---- names ----------------------------------------------------------------------------------- */

eq_status eq_item_sets_add(eq_item_sets *s, const char *name, eq_item_set **set, eq_err *err) {
    for (int64_t i = 0; i < s->n; i++)
        if (!strcmp(s->set[i].name, name))
            return eq_fail(err, EQ_EINPUT, "tasks: expected each once, found %s again", name);
    if (s->n == s->cap) {
        int64_t cap = s->cap ? 2 * s->cap : 64;
        eq_item_set *p = eq_realloc(s->set, cap, sizeof *p);
        if (!p) return eq_nomem(err, "tasks", cap * (int64_t)sizeof *p);
        s->set = p, s->cap = cap;
    }
    *set = &s->set[s->n++];
    **set = (eq_item_set){.name = eq_strdup(name)};
    return (*set)->name ? EQ_OK : eq_nomem(err, name, 64);
}

static const eq_task *find_task(const char *name) {
    for (int i = 0; i < eq_task_count; i++)
        if (!strcmp(eq_tasks[i].name, name)) return &eq_tasks[i];
    return strcmp(name, "lambada") ? NULL : find_task("lambada_openai");
}

/* All names, for a suggestion. */
static eq_status unknown(const char *name, eq_err *err) {
    enum { MOST = 128 };
    const char *names[MOST] = {"paper"};
    int n = 1;
    for (int i = 0; i < eq_task_count; i++) names[n++] = eq_tasks[i].name;
    for (int i = 0; n < MOST - 1 && eq_mmlu_name(i); i++) names[n++] = eq_mmlu_name(i);
    const char *near = eq_nearest(name, names);
    if (near)
        return eq_fail(err, EQ_EINPUT, "tasks: unknown task \"%s\"; did you mean %s?", name, near);
    eq_str all = {0};
    for (int i = 0; i < eq_task_count; i++) eq_str_printf(&all, "%s, ", eq_tasks[i].name);
    eq_status st = eq_fail(err, EQ_EINPUT,
                           "tasks: unknown task \"%s\"; there are %smmlu (also mmlu_GROUP and "
                           "mmlu_SUBJECT) and paper",
                           name, all.p ? all.p : "");
    eq_str_free(&all);
    return st;
}

static eq_status read_named(eq_item_sets *s, const char *name, const char *file, const char *dir,
                            int shots, int64_t limit, eq_err *err) {
    const eq_task *t = find_task(name);
    bool mmlu = eq_mmlu_knows(name);
    char *path = NULL;
    if (!t && !mmlu) return unknown(name, err);
    if (file && !eq_exists(file))
        return eq_fail(err, EQ_EINPUT, "%s: expected the rows of %s, found no such file", file,
                       name);
    eq_status st = EQ_OK;
    if (!file) st = find_file(&path, name, dir, t ? t->files : mmlu_files, err);
    const char *from = file ? file : path;
    if (st == EQ_OK)
        st = t ? read_task(s, t, from, limit, err) : eq_mmlu_read(s, name, from, shots, limit, err);
    eq_free(path);
    return st;
}

static eq_status read_paper(eq_item_sets *s, const char *dir, int64_t limit, eq_err *err) {
    s->paper = true;
    for (int i = 0; i < eq_task_count; i++)
        if (eq_tasks[i].paper) EQ_TRY(read_named(s, eq_tasks[i].name, NULL, dir, 0, limit, err));
    return EQ_OK;
}

eq_status eq_item_sets_read(eq_item_sets *s, const char *names, const char *dir, int shots,
                            int64_t limit, eq_err *err) {
    char *list = eq_strdup(names);
    eq_status st = list ? EQ_OK : eq_nomem(err, "tasks", 256);
    *s = (eq_item_sets){0};
    for (char *at = list, *next; at && st == EQ_OK; at = next) {
        next = strchr(at, ',');
        if (next) *next++ = 0;
        char *file = strchr(at, '=');
        if (file) *file++ = 0;
        st = strcmp(at, "paper") ? read_named(s, at, file, dir, shots, limit, err)
                                 : read_paper(s, dir, limit, err);
    }
    eq_free(list);
    if (st != EQ_OK) eq_item_sets_free(s);
    return st;
}

void eq_item_sets_free(eq_item_sets *s) {
    for (int64_t i = 0; i < s->n; i++) {
        eq_free(s->set[i].name), eq_free(s->set[i].path);
        eq_items_free(&s->set[i].items);
    }
    eq_free(s->set);
    *s = (eq_item_sets){0};
}

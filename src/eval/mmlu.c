/* MMLU (Hendrycks et al., 2021): 57 subjects in four groups, each with five worked examples ("dev")
 * that may stand in front of every question. Out of the original csv files, in a folder or in their
 * zip archive, or out of the hub's rows (test.jsonl and dev.jsonl with a "subject" each). */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "eval/pytext.h"
#include "eval/task.h"
#include "format/csv.h"
#include "format/json_rows.h"
#include "format/zip.h"
#include "text/utf8.h"

enum { CHOICES = 4 };

#define SUBJECT(group, name) \
    { "mmlu_" #name, "mmlu_" #group }
#define GROUP(name) \
    { "mmlu_" #name, "mmlu" }
static const struct {
    const char *name, *group;
} names[] = {
    {"mmlu", NULL},
    GROUP(humanities),
    GROUP(social_sciences),
    GROUP(stem),
    GROUP(other),
    SUBJECT(stem, abstract_algebra),
    SUBJECT(stem, anatomy),
    SUBJECT(stem, astronomy),
    SUBJECT(other, business_ethics),
    SUBJECT(other, clinical_knowledge),
    SUBJECT(stem, college_biology),
    SUBJECT(stem, college_chemistry),
    SUBJECT(stem, college_computer_science),
    SUBJECT(stem, college_mathematics),
    SUBJECT(other, college_medicine),
    SUBJECT(stem, college_physics),
    SUBJECT(stem, computer_security),
    SUBJECT(stem, conceptual_physics),
    SUBJECT(social_sciences, econometrics),
    SUBJECT(stem, electrical_engineering),
    SUBJECT(stem, elementary_mathematics),
    SUBJECT(humanities, formal_logic),
    SUBJECT(other, global_facts),
    SUBJECT(stem, high_school_biology),
    SUBJECT(stem, high_school_chemistry),
    SUBJECT(stem, high_school_computer_science),
    SUBJECT(humanities, high_school_european_history),
    SUBJECT(social_sciences, high_school_geography),
    SUBJECT(social_sciences, high_school_government_and_politics),
    SUBJECT(social_sciences, high_school_macroeconomics),
    SUBJECT(stem, high_school_mathematics),
    SUBJECT(social_sciences, high_school_microeconomics),
    SUBJECT(stem, high_school_physics),
    SUBJECT(social_sciences, high_school_psychology),
    SUBJECT(stem, high_school_statistics),
    SUBJECT(humanities, high_school_us_history),
    SUBJECT(humanities, high_school_world_history),
    SUBJECT(other, human_aging),
    SUBJECT(social_sciences, human_sexuality),
    SUBJECT(humanities, international_law),
    SUBJECT(humanities, jurisprudence),
    SUBJECT(humanities, logical_fallacies),
    SUBJECT(stem, machine_learning),
    SUBJECT(other, management),
    SUBJECT(other, marketing),
    SUBJECT(other, medical_genetics),
    SUBJECT(other, miscellaneous),
    SUBJECT(humanities, moral_disputes),
    SUBJECT(humanities, moral_scenarios),
    SUBJECT(other, nutrition),
    SUBJECT(humanities, philosophy),
    SUBJECT(humanities, prehistory),
    SUBJECT(other, professional_accounting),
    SUBJECT(humanities, professional_law),
    SUBJECT(other, professional_medicine),
    SUBJECT(social_sciences, professional_psychology),
    SUBJECT(social_sciences, public_relations),
    SUBJECT(social_sciences, security_studies),
    SUBJECT(social_sciences, sociology),
    SUBJECT(social_sciences, us_foreign_policy),
    SUBJECT(other, virology),
    SUBJECT(humanities, world_religions),
};
enum { NAMES = sizeof names / sizeof *names, FIRST_SUBJECT = 5 };

const char *eq_mmlu_name(int i) { return i < NAMES ? names[i].name : NULL; }
const char *eq_mmlu_group(int i) { return names[i].group; }
bool eq_mmlu_knows(const char *name) {
    for (int i = 0; i < NAMES; i++)
        if (!strcmp(names[i].name, name)) return true;
    return false;
}
static bool wanted(int subject, const char *name) {
    return !strcmp(name, "mmlu") || !strcmp(names[subject].group, name) ||
           !strcmp(names[subject].name, name);
}

/* ---- one question ---------------------------------------------------------------------------- */

typedef struct {
    eq_text question, choice[CHOICES];
    int gold;
} mmlu_row;

static void put(eq_str *to, eq_text t) { eq_str_put(to, t.p, t.n); }

static void put_question(eq_str *to, const mmlu_row *r) {
    put(to, eq_py_strip(r->question));
    for (int i = 0; i < CHOICES; i++) {
        eq_str_printf(to, "\n%c. ", 'A' + i);
        put(to, r->choice[i]);
    }
    eq_str_puts(to, "\nAnswer:");
}

/* What stands in front of every question of a subject. */
typedef struct {
    eq_str text;
    int shots, wanted;
} front;

static void front_begin(front *f, int subject, int shots) {
    *f = (front){.wanted = shots};
    eq_str_puts(&f->text, "The following are multiple choice questions (with answers) about ");
    for (const char *c = names[subject].name + 5; *c; c++)
        eq_str_put(&f->text, *c == '_' ? " " : c, 1);
    eq_str_puts(&f->text, ".\n\n");
}
static void front_put(front *f, const mmlu_row *r) {
    if (f->shots == f->wanted) return;
    f->shots++;
    put_question(&f->text, r);
    eq_str_printf(&f->text, " %c\n\n", 'A' + r->gold);
}

static eq_status put_item(eq_items *items, const front *f, const mmlu_row *r, int64_t line,
                          const char *where, eq_err *err) {
    EQ_TRY(eq_items_open(items, r->gold, line, err));
    eq_span context = eq_span_begin(items);
    eq_str_put(&items->text, f->text.p, f->text.n);
    put_question(&items->text, r);
    context = eq_span_end(items, context);
    for (int i = 0; i < CHOICES; i++) {
        char letter[2] = {' ', (char)('A' + i)};
        EQ_TRY(
            eq_items_choice(items, (eq_choice){context, eq_items_put(items, letter, 2), 1}, err));
    }
    return eq_items_close(items, CHOICES, where, err);
}

static eq_status check_shots(const front *f, const char *where, eq_err *err) {
    if (f->text.oom) return eq_nomem(err, where, f->text.n);
    if (f->shots == f->wanted) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: expected %d examples, found %d: lower the few-shot count",
                   where, f->wanted, f->shots);
}

/* ---- csv files ------------------------------------------------------------------------------- */

typedef struct {
    char *path;
    eq_zip *zip; /* NULL: a folder */
} source;

/* "PATH/data/test/anatomy_test.csv", or the same within the archive, with "data/" or without. */
static eq_status read_csv(const source *s, const char *split, const char *subject, char **where,
                          char **bytes, int64_t *n, eq_err *err) {
    static const char *const below[] = {"data/", ""};
    *where = *bytes = NULL;
    for (int i = 0; i < 2; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s/%s_%s.csv", below[i], split, subject, split);
        int64_t entry = s->zip ? eq_zip_find(s->zip, name) : -1;
        if (!(*where = eq_path(s->path, name))) return eq_nomem(err, name, 256);
        if (entry >= 0) return eq_zip_read(s->zip, entry, bytes, n, err);
        if (!s->zip && eq_exists(*where)) return eq_read_unpacked(*where, bytes, n, err);
        eq_free(*where);
    }
    *where = NULL;
    return eq_fail(err, EQ_EINPUT, "%s: expected %s/%s_%s.csv in it, found none", s->path, split,
                   subject, split);
}

static eq_status csv_row(const eq_csv *c, int64_t i, mmlu_row *r, const char *where, eq_err *err) {
    const eq_csv_row *row = &c->rows[i];
    eq_text t[CHOICES + 2];
    if (row->count != CHOICES + 2)
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected a question, %d choices and a letter, found %lld fields", where,
                       CHOICES, (long long)row->count);
    for (int k = 0; k < CHOICES + 2; k++) {
        const eq_csv_field *f = &c->fields[row->first + k];
        t[k] = (eq_text){c->text.p + f->at, f->n};
    }
    eq_text letter = eq_py_strip(t[CHOICES + 1]);
    if (letter.n != 1 || *letter.p < 'A' || *letter.p >= 'A' + CHOICES)
        return eq_fail(err, EQ_EINPUT, "%s: expected a letter from A to D, found \"%.*s\"", where,
                       (int)(letter.n < 20 ? letter.n : 20), letter.p);
    *r = (mmlu_row){.question = t[0], .gold = *letter.p - 'A'};
    memcpy(r->choice, t + 1, sizeof r->choice);
    return EQ_OK;
}

typedef eq_status (*row_fn)(void *ctx, const mmlu_row *r, int64_t line, const char *where,
                            eq_err *err);

static eq_status each_csv(const source *s, const char *split, const char *subject, int64_t limit,
                          row_fn fn, void *ctx, int64_t *rows, eq_err *err) {
    char *path, *bytes;
    int64_t n;
    eq_csv c = {0};
    eq_status st = read_csv(s, split, subject, &path, &bytes, &n, err);
    if (st == EQ_OK && eq_utf8_valid(bytes, n) != n)
        st = eq_fail(err, EQ_EINPUT, "%s: byte %lld: not UTF-8", path,
                     (long long)eq_utf8_valid(bytes, n));
    if (st == EQ_OK) st = eq_csv_parse(&c, bytes, n, path, err);
    for (int64_t i = 0; i < c.n_rows && (!limit || i < limit) && st == EQ_OK; i++) {
        mmlu_row r;
        char where[768];
        snprintf(where, sizeof where, "%.700s: line %lld", path, (long long)c.rows[i].line);
        st = csv_row(&c, i, &r, where, err);
        if (st == EQ_OK) st = fn(ctx, &r, c.rows[i].line, where, err);
    }
    if (st == EQ_OK && !c.n_rows)
        st = eq_fail(err, EQ_EINPUT, "%s: expected rows, found none", path);
    *rows = c.n_rows;
    eq_csv_free(&c);
    eq_free(path), eq_free(bytes);
    return st;
}

/* ---- the hub's rows -------------------------------------------------------------------------- */

typedef struct {
    const char *subject; /* only these */
    int64_t limit, found;
    row_fn fn;
    void *ctx;
} hub_reader;

static eq_status hub_row(void *ctx, const json_t *row, const char *where, eq_err *err) {
    hub_reader *h = ctx;
    const char *subject, *question;
    int64_t gold;
    EQ_TRY(eq_json_str(row, "subject", "", &subject, where, err));
    if (strcmp(subject, h->subject)) return EQ_OK;
    if (++h->found > h->limit && h->limit) return EQ_OK;
    EQ_TRY(eq_json_str(row, "question", "", &question, where, err));
    EQ_TRY(eq_json_need_int(row, "answer", 0, CHOICES - 1, &gold, where, err));
    const json_t *choices = eq_json_get(row, "choices");
    mmlu_row r = {.question = {question, (int64_t)strlen(question)}, .gold = (int)gold};
    if (json_array_size(choices) != CHOICES)
        return eq_fail(err, EQ_EINPUT, "%s: \"choices\": expected %d, found %zu", where, CHOICES,
                       json_array_size(choices));
    for (size_t i = 0; i < CHOICES; i++) {
        const json_t *c = json_array_get(choices, i);
        if (!json_is_string(c))
            return eq_fail(err, EQ_EINPUT, "%s: \"choices\": expected texts, found %s", where,
                           eq_json_type(c));
        r.choice[i] = (eq_text){json_string_value(c), (int64_t)json_string_length(c)};
    }
    const char *number = strrchr(where, ' ');
    long long line = 0;
    if (number) sscanf(number, "%lld", &line);
    return h->fn(h->ctx, &r, line, where, err);
}

static eq_status each_hub(const char *path, const char *split, const char *subject, int64_t limit,
                          row_fn fn, void *ctx, int64_t *rows, eq_err *err) {
    hub_reader h = {subject, limit, 0, fn, ctx};
    char *file = eq_sprintf("%s/%s.jsonl", path, split);
    if (!file) return eq_nomem(err, path, 256);
    eq_status st = eq_json_rows(file, hub_row, &h, err);
    if (st == EQ_OK && !h.found)
        st = eq_fail(err, EQ_EINPUT, "%s: expected rows whose \"subject\" is %s, found none", file,
                     subject);
    *rows = h.found;
    eq_free(file);
    return st;
}

/* ---- a subject ------------------------------------------------------------------------------- */

static eq_status each(const source *s, const char *split, const char *subject, int64_t limit,
                      row_fn fn, void *ctx, int64_t *found, eq_err *err) {
    char *hub = eq_path(s->path, "test.jsonl");
    if (!hub) return eq_nomem(err, s->path, 256);
    bool rows = !s->zip && eq_exists(hub);
    eq_free(hub);
    return rows ? each_hub(s->path, split, subject, limit, fn, ctx, found, err)
                : each_csv(s, split, subject, limit, fn, ctx, found, err);
}

static eq_status take_example(void *ctx, const mmlu_row *r, int64_t line, const char *where,
                              eq_err *err) {
    (void)line, (void)where, (void)err;
    front_put(ctx, r);
    return EQ_OK;
}

typedef struct {
    eq_items *items;
    const front *front;
} item_ctx;
static eq_status take_item(void *ctx, const mmlu_row *r, int64_t line, const char *where,
                           eq_err *err) {
    const item_ctx *c = ctx;
    return put_item(c->items, c->front, r, line, where, err);
}

static eq_status read_subject(eq_item_sets *s, const source *from, int subject, int shots,
                              int64_t limit, eq_err *err) {
    const char *name = names[subject].name + 5;
    eq_item_set *set;
    front f;
    EQ_TRY(eq_item_sets_add(s, names[subject].name, &set, err));
    set->alias = name, set->parent = names[subject].group;
    set->metrics = EQ_METRIC_ACC, set->version = 1.0, set->shots = shots;
    if (!(set->path = eq_strdup(from->path))) return eq_nomem(err, from->path, 256);
    front_begin(&f, subject, shots);
    eq_status st = EQ_OK;
    int64_t found;
    if (shots) st = each(from, "dev", name, 0, take_example, &f, &found, err);
    if (st == EQ_OK) st = check_shots(&f, name, err);
    item_ctx ctx = {&set->items, &f};
    if (st == EQ_OK) st = each(from, "test", name, limit, take_item, &ctx, &set->of, err);
    eq_str_free(&f.text);
    return st;
}

eq_status eq_mmlu_read(eq_item_sets *s, const char *name, const char *path, int shots,
                       int64_t limit, eq_err *err) {
    source from = {.path = eq_path_trimmed(path)};
    eq_status st = from.path ? EQ_OK : eq_nomem(err, path, 256);
    if (st == EQ_OK && !eq_is_dir(path)) st = eq_zip_open(&from.zip, path, err);
    for (int i = FIRST_SUBJECT; i < NAMES && st == EQ_OK; i++)
        if (wanted(i, name)) st = read_subject(s, &from, i, shots, limit, err);
    eq_zip_close(from.zip);
    eq_free(from.path);
    return st;
}

/* See task_rows.h. A new task is one function and one row: docs/add-a-task.md. */
#include "eval/task_rows.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "eval/pytext.h"

enum { MOST_CHOICES = 16 };

/* ---- pieces of a row ------------------------------------------------------------------------- */

static eq_status text_of(const json_t *row, const char *key, eq_text *t, const char *where,
                         eq_err *err) {
    const json_t *v = eq_json_get(row, key);
    *t = (eq_text){"", 0};
    if (!json_is_string(v))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected a text, found %s", where, key,
                       eq_json_type(v));
    *t = (eq_text){json_string_value(v), (int64_t)json_string_length(v)};
    return EQ_OK;
}

static eq_status text_at(const json_t *list, size_t i, const char *key, eq_text *t,
                         const char *where, eq_err *err) {
    const json_t *v = json_array_get(list, i);
    *t = (eq_text){"", 0};
    if (!json_is_string(v))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected texts, found %s", where, key,
                       eq_json_type(v));
    *t = (eq_text){json_string_value(v), (int64_t)json_string_length(v)};
    return EQ_OK;
}

/* A label as data sets write it: 1, "1", or nothing. *label keeps what a file of labels said, with
 * which the row must agree. */
static eq_status label_of(const json_t *row, const char *key, int64_t base, int64_t *label,
                          const char *where, eq_err *err) {
    const json_t *v = eq_json_get(row, key);
    int64_t found = EQ_NO_LABEL;
    if (json_is_integer(v)) found = json_integer_value(v) - base;
    if (json_is_string(v) && json_string_length(v) == 1 && json_string_value(v)[0] >= '0' &&
        json_string_value(v)[0] <= '9')
        found = json_string_value(v)[0] - '0' - base;
    if (found < 0 && *label < 0)
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected a label (\"%s\", or a file of labels beside), "
                       "found none",
                       where, key);
    if (found >= 0 && *label >= 0 && found != *label)
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": the row says %lld, the file of labels %lld",
                       where, key, (long long)(found + base), (long long)(*label + base));
    if (*label < 0) *label = found;
    return EQ_OK;
}

/* " " and the answer. */
static eq_status answer(eq_items *items, eq_span context, eq_text t, eq_err *err) {
    eq_span s = eq_span_begin(items);
    eq_str_puts(&items->text, " ");
    eq_str_put(&items->text, t.p, t.n);
    return eq_items_choice(items, (eq_choice){context, eq_span_end(items, s), eq_py_len(t)}, err);
}

static eq_span question(eq_items *items, eq_text t) {
    eq_span s = eq_span_begin(items);
    eq_str_puts(&items->text, "Question: ");
    eq_str_put(&items->text, t.p, t.n);
    eq_str_puts(&items->text, "\nAnswer:");
    return eq_span_end(items, s);
}

/* ---- one function a task --------------------------------------------------------------------- */

static eq_status piqa_row(eq_items *items, const json_t *row, int64_t label, int64_t line,
                          const char *where, eq_err *err) {
    eq_text goal, sol[2];
    EQ_TRY(text_of(row, "goal", &goal, where, err));
    EQ_TRY(text_of(row, "sol1", &sol[0], where, err));
    EQ_TRY(text_of(row, "sol2", &sol[1], where, err));
    EQ_TRY(label_of(row, "label", 0, &label, where, err));
    EQ_TRY(eq_items_open(items, (int)label, line, err));
    eq_span context = question(items, goal);
    for (int i = 0; i < 2; i++) EQ_TRY(answer(items, context, sol[i], err));
    return EQ_OK;
}

/* The sentence is cut at its "_": either option goes into the context, the rest follows both. */
static eq_status winogrande_row(eq_items *items, const json_t *row, int64_t label, int64_t line,
                                const char *where, eq_err *err) {
    eq_text sentence, option[2];
    EQ_TRY(text_of(row, "sentence", &sentence, where, err));
    EQ_TRY(text_of(row, "option1", &option[0], where, err));
    EQ_TRY(text_of(row, "option2", &option[1], where, err));
    EQ_TRY(label_of(row, "answer", 1, &label, where, err));
    const char *gap = memchr(sentence.p, '_', (size_t)sentence.n);
    if (!gap)
        return eq_fail(err, EQ_EINPUT, "%s: \"sentence\": expected a \"_\", found none", where);
    eq_text rest = eq_py_strip((eq_text){gap + 1, sentence.p + sentence.n - gap - 1});
    if (!rest.n)
        return eq_fail(err, EQ_EINPUT, "%s: \"sentence\": expected a text behind \"_\", found none",
                       where);
    EQ_TRY(eq_items_open(items, (int)label, line, err));
    eq_span both = eq_span_begin(items);
    eq_str_puts(&items->text, " ");
    eq_str_put(&items->text, rest.p, rest.n);
    both = eq_span_end(items, both);
    for (int i = 0; i < 2; i++) {
        eq_span context = eq_span_begin(items);
        eq_str_put(&items->text, sentence.p, gap - sentence.p);
        eq_str_put(&items->text, option[i].p, option[i].n);
        context = eq_span_end(items, context);
        EQ_TRY(eq_items_choice(items, (eq_choice){context, both, eq_py_len(option[i])}, err));
    }
    return EQ_OK;
}

/* strip; " [title]" -> ". "; without what stands in brackets; two blanks -> one. */
static eq_status wikihow(eq_str *out, eq_text t, eq_err *err) {
    eq_str a = {0}, b = {0};
    eq_py_replace(&a, eq_py_strip(t), " [title]", ". ");
    eq_py_drop_brackets(&b, (eq_text){a.p, a.n});
    eq_py_replace(out, (eq_text){b.p, b.n}, "  ", " ");
    bool oom = a.oom || b.oom;
    eq_str_free(&a), eq_str_free(&b);
    return oom ? eq_nomem(err, "a row", t.n) : EQ_OK;
}

/* Its context: activity_label ": " ctx_a " " capitalize(ctx_b); of rows that were prepared before,
 * "query" as it is. */
static eq_status hellaswag_context(eq_items *items, const json_t *row, eq_span *context,
                                   bool *prepared, const char *where, eq_err *err) {
    eq_text query, activity, a, b;
    *prepared = eq_json_get(row, "query") != NULL;
    if (*prepared) {
        EQ_TRY(text_of(row, "query", &query, where, err));
        *context = eq_items_put(items, query.p, query.n);
        return EQ_OK;
    }
    EQ_TRY(text_of(row, "activity_label", &activity, where, err));
    EQ_TRY(text_of(row, "ctx_a", &a, where, err));
    EQ_TRY(text_of(row, "ctx_b", &b, where, err));
    eq_str s = {0};
    eq_str_put(&s, activity.p, activity.n);
    eq_str_puts(&s, ": ");
    eq_str_put(&s, a.p, a.n);
    eq_str_puts(&s, " ");
    eq_py_capitalize(&s, b);
    *context = eq_span_begin(items);
    eq_status st =
        s.oom ? eq_nomem(err, where, s.n) : wikihow(&items->text, (eq_text){s.p, s.n}, err);
    *context = eq_span_end(items, *context);
    eq_str_free(&s);
    return st;
}

static eq_status hellaswag_row(eq_items *items, const json_t *row, int64_t label, int64_t line,
                               const char *where, eq_err *err) {
    eq_span context;
    bool prepared;
    const json_t *endings = eq_json_get(row, "endings");
    EQ_TRY(label_of(row, "label", 0, &label, where, err));
    if (!json_is_array(endings))
        return eq_fail(err, EQ_EINPUT, "%s: \"endings\": expected a list, found %s", where,
                       eq_json_type(endings));
    EQ_TRY(eq_items_open(items, (int)label, line, err));
    EQ_TRY(hellaswag_context(items, row, &context, &prepared, where, err));
    for (size_t i = 0; i < json_array_size(endings); i++) {
        eq_text t;
        eq_str made = {0};
        EQ_TRY(text_at(endings, i, "endings", &t, where, err));
        eq_status st = prepared ? EQ_OK : wikihow(&made, t, err);
        if (!prepared) t = (eq_text){made.p ? made.p : "", made.n};
        if (st == EQ_OK) st = made.oom ? eq_nomem(err, where, t.n) : answer(items, context, t, err);
        eq_str_free(&made);
        EQ_TRY(st);
    }
    return EQ_OK;
}

/* The original rows have a list of {text, label} in the question, the hub's two lists beside it. */
static eq_status arc_choice(const json_t *choices, size_t i, eq_text *t, eq_text *name,
                            const char *where, eq_err *err) {
    const json_t *c = json_array_get(choices, i);
    if (c) {
        EQ_TRY(text_of(c, "label", name, where, err));
        return text_of(c, "text", t, where, err);
    }
    EQ_TRY(text_at(json_object_get(choices, "label"), i, "label", name, where, err));
    return text_at(json_object_get(choices, "text"), i, "text", t, where, err);
}

static eq_status arc_row(eq_items *items, const json_t *row, int64_t label, int64_t line,
                         const char *where, eq_err *err) {
    (void)label;
    const json_t *q = eq_json_get(row, "question"), *choices;
    eq_text stem, key, t, name;
    bool original = json_is_object(q);
    EQ_TRY(original ? text_of(q, "stem", &stem, where, err)
                    : text_of(row, "question", &stem, where, err));
    EQ_TRY(text_of(row, "answerKey", &key, where, err));
    choices = eq_json_get(original ? q : row, "choices");
    size_t n = json_array_size(original ? choices : json_object_get(choices, "text"));
    if (n > MOST_CHOICES)
        return eq_fail(err, EQ_EINPUT, "%s: expected at most %d choices, found %zu", where,
                       MOST_CHOICES, n);
    EQ_TRY(eq_items_open(items, EQ_NO_LABEL, line, err));
    eq_span context = question(items, stem);
    for (size_t i = 0; i < n; i++) {
        EQ_TRY(arc_choice(choices, i, &t, &name, where, err));
        int *gold = &items->item[items->n - 1].gold;
        if (*gold < 0 && name.n == key.n && !memcmp(name.p, key.p, (size_t)key.n)) *gold = (int)i;
        EQ_TRY(answer(items, context, t, err));
    }
    if (items->item[items->n - 1].gold < 0)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"answerKey\": expected one of the choices' labels, "
                       "found \"%.40s\"",
                       where, key.p);
    return EQ_OK;
}

/* The last word behind a blank is to be said. */
static eq_status lambada_row(eq_items *items, const json_t *row, int64_t label, int64_t line,
                             const char *where, eq_err *err) {
    (void)label;
    eq_text text, word;
    if (eq_json_get(row, "text")) {
        EQ_TRY(text_of(row, "text", &text, where, err));
        int64_t at = text.n;
        while (at > 0 && text.p[at - 1] != ' ') at--;
        word = (eq_text){text.p + at, text.n - at};
        text.n = at > 0 ? at - 1 : 0;
    } else {
        EQ_TRY(text_of(row, "context", &text, where, err));
        EQ_TRY(text_of(row, "continuation", &word, where, err));
    }
    EQ_TRY(eq_items_open(items, 0, line, err));
    return answer(items, eq_items_put(items, text.p, text.n), word, err);
}

/* ---- the table ------------------------------------------------------------------------------- */

enum { ACC = EQ_METRIC_ACC, NORM = EQ_METRIC_NORM, PPL = EQ_METRIC_PPL };
/* clang-format off */
const eq_task eq_tasks[] = {
    {"winogrande", ACC, 2, 1.0, true, winogrande_row, 1,
     {"winogrande/dev.jsonl", "winogrande/validation.jsonl", "winogrande/validation.json", "dev.jsonl"}},
    {"piqa", ACC | NORM, 2, 1.0, true, piqa_row, 0,
     {"piqa/valid.jsonl", "piqa/validation.jsonl", "piqa/validation.json", "valid.jsonl"}},
    {"hellaswag", ACC | NORM, 2, 1.0, true, hellaswag_row, 0,
     {"hellaswag/hellaswag_val.jsonl", "hellaswag/validation.jsonl", "hellaswag/validation.json",
      "hellaswag/hellaswag_val_1000.jsonl", "hellaswag_val.jsonl"}},
    {"arc_easy", ACC | NORM, 2, 1.0, true, arc_row, 0,
     {"arc/ARC-Easy-Test.jsonl", "ARC-Easy/ARC-Easy-Test.jsonl", "arc_easy/test.jsonl", "arc_easy/test.json",
      "ARC-Easy-Test.jsonl"}},
    {"arc_challenge", ACC | NORM, 2, 1.0, true, arc_row, 0,
     {"arc/ARC-Challenge-Test.jsonl", "ARC-Challenge/ARC-Challenge-Test.jsonl", "arc_challenge/test.jsonl",
      "arc_challenge/test.json", "ARC-Challenge-Test.jsonl"}},
    {"lambada_openai", ACC | PPL, 1, 1.0, false, lambada_row, 0,
     {"lambada/lambada_openai.jsonl", "lambada_openai/test.jsonl", "lambada_openai/test.json", "lambada/test.jsonl"}},
};
/* clang-format on */
const int eq_task_count = sizeof eq_tasks / sizeof *eq_tasks;

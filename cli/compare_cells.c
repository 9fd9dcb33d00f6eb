/* The list of methods, and the cells that a command line asks for. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/nearest.h"
#include "compare.h"

/* THE list. A method comes behind the one it goes on from. */
const compare_method compare_methods[] = {
    {"rtn", "rounded to nearest", EQ_METHOD_RTN, false, NULL, false},
    {"gptq", "GPTQ on the training windows", EQ_METHOD_GPTQ, false, NULL, false},
    {"awq", "AWQ on the training windows", EQ_METHOD_AWQ, false, NULL, false},
    {"block-ap", "the first phase alone", EQ_METHOD_BLOCK_AP, false, NULL, true},
    {"e2e", "the second phase alone, from rtn (PEQA)", EQ_METHOD_RTN, true, "rtn", false},
    {"both", "EfficientQAT: both phases", EQ_METHOD_BLOCK_AP, true, "block-ap", true},
};
const int compare_method_count = sizeof compare_methods / sizeof *compare_methods;

/* ---- lists ----------------------------------------------------------------------------------- */

typedef struct {
    char word[64];
    const char *rest; /* behind it */
} item;

/* The next piece of a list. false: there are no more. */
static bool next(item *it, char separator) {
    if (!it->rest || !*it->rest) return false;
    const char *end = strchr(it->rest, separator);
    int n = end ? (int)(end - it->rest) : (int)strlen(it->rest);
    snprintf(it->word, sizeof it->word, "%.*s", n, it->rest);
    it->rest += n + (end != NULL);
    return true;
}

static const compare_method *find_method(const char *name) {
    for (int i = 0; i < compare_method_count; i++)
        if (!strcmp(compare_methods[i].name, name)) return &compare_methods[i];
    return NULL;
}

static eq_status unknown_method(const char *name, eq_err *err) {
    enum { MAX = 16 };
    const char *names[MAX + 1] = {NULL};
    char all[256] = "";
    for (int i = 0; i < compare_method_count && i < MAX; i++) {
        names[i] = compare_methods[i].name;
        size_t n = strlen(all);
        snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", names[i]);
    }
    const char *near = eq_nearest(name, names);
    if (near)
        return eq_fail(err, EQ_EINPUT, "--methods: unknown method \"%s\"; did you mean %s?", name,
                       near);
    return eq_fail(err, EQ_EINPUT, "--methods: unknown method \"%s\"; there are %s", name, all);
}

/* ---- cells ----------------------------------------------------------------------------------- */

static eq_status add(compare_job *j, const compare_cell *c, eq_err *err) {
    for (int64_t i = 0; i < j->n; i++)
        if (!strcmp(j->cell[i].name, c->name))
            return eq_fail(err, EQ_EINPUT, "compare: expected every row once, found %s again",
                           c->name);
    compare_cell *p = eq_realloc(j->cell, j->n + 1, sizeof *p);
    if (!p) return eq_nomem(err, "a list of rows", (j->n + 1) * (int64_t)sizeof *p);
    j->cell = p;
    j->cell[j->n++] = *c;
    return EQ_OK;
}

/* "s,z" -> "-s+z" */
static void add_variant(char *name, size_t cap, const char *what, const char *variant) {
    size_t n = strlen(name);
    if (!*variant) return;
    snprintf(name + n, cap - n, "-%s%s", what, variant);
    for (char *c = name + n; *c; c++)
        if (*c == ',') *c = '+';
}

static int64_t find_from(const compare_job *j, const compare_cell *c) {
    for (int64_t i = 0; c->method->from && i < j->n; i++) {
        const compare_cell *p = &j->cell[i];
        bool same = !strcmp(p->scheme, c->scheme) && !strcmp(p->method->name, c->method->from);
        if (same && !strcmp(p->train, c->train)) return i;
    }
    return -1;
}

static eq_status read_variant(const compare_job *j, const char *option, const char *text,
                              unsigned *set, eq_err *err) {
    quantize_args a = j->args->q;
    EQ_TRY(opt_store(j->options, &a, option, text, err));
    *set = strcmp(option, "train") ? a.o.qp.train : a.o.ap.train;
    return EQ_OK;
}

/* A scheme with a method: one cell, or one for every variant of what its phases train. */
static eq_status variants(compare_job *j, compare_cell c, eq_err *err) {
    const compare_args *a = j->args;
    item train = {.rest = c.method->trains_blocks ? a->train_variants : NULL};
    for (bool first = true; next(&train, '/') || first; first = false) {
        item e2e = {.rest = c.method->e2e ? a->e2e_variants : NULL};
        if (*train.word) EQ_TRY(read_variant(j, "train", train.word, &c.train_set, err));
        for (bool one = true; next(&e2e, '/') || one; one = false) {
            if (*e2e.word) EQ_TRY(read_variant(j, "e2e-train", e2e.word, &c.e2e_set, err));
            snprintf(c.train, sizeof c.train, "%s", train.word);
            snprintf(c.e2e_train, sizeof c.e2e_train, "%s", e2e.word);
            snprintf(c.name, sizeof c.name, "%s-%s", c.scheme, c.method->name);
            add_variant(c.name, sizeof c.name, "", c.train);
            add_variant(c.name, sizeof c.name, "e2e-", c.e2e_train);
            c.from = find_from(j, &c);
            EQ_TRY(add(j, &c, err));
        }
    }
    return EQ_OK;
}

static eq_status check_lists(const compare_args *a, eq_err *err) {
    quantize_args ignored = a->q;
    item it = {.rest = a->methods};
    while (next(&it, ','))
        if (!find_method(it.word)) return unknown_method(it.word, err);
    for (it = (item){.rest = a->schemes}; next(&it, ',');) {
        const char *expected = eq_scheme_set(&ignored.o, it.word);
        if (expected)
            return eq_fail(err, EQ_EINPUT, "--schemes: expected %s, found \"%s\"", expected,
                           it.word);
    }
    return EQ_OK;
}

/* "W2A16G64" -> "w2g64", as every table has it. */
static void scheme_name(char out[24], const compare_args *a, const char *word) {
    eq_quantize_opts o = a->q.o;
    (void)eq_scheme_set(&o, word);
    snprintf(out, 24, "w%dg%lld", o.bits, (long long)o.group_size);
}

static bool asked(const compare_args *a, const char *method) {
    item it = {.rest = a->methods};
    while (next(&it, ','))
        if (!strcmp(it.word, method)) return true;
    return false;
}

eq_status compare_cells(compare_job *j, eq_err *err) {
    const compare_args *a = j->args;
    item scheme = {.rest = a->schemes};
    EQ_TRY(check_lists(a, err));
    while (next(&scheme, ',')) {
        for (int m = 0; m < compare_method_count; m++) {
            compare_cell c = {.method = &compare_methods[m], .from = -1};
            scheme_name(c.scheme, a, scheme.word);
            if (asked(a, c.method->name)) EQ_TRY(variants(j, c, err));
        }
    }
    return EQ_OK;
}

char *compare_path(const compare_job *j, const char *name, const char *tail) {
    return eq_sprintf("%s/%s%s", j->args->q.o.out, name, tail);
}

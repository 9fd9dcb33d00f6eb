/* THE table of multiple-choice tasks: where their files are, how a row becomes an item, what is
 * reported. Prompts are those of lm-evaluation-harness (METHOD section 6). */
#ifndef EQ_EVAL_TASK_H
#define EQ_EVAL_TASK_H
#include "eval/items.h"

/* What is reported of a task. */
enum {
    EQ_METRIC_ACC = 1,
    EQ_METRIC_NORM = 2, /* by the sum of logs over the answer's characters */
    EQ_METRIC_PPL = 4   /* of the answers, and acc is: each of their tokens is the likeliest */
};

/* One set of items with a score of its own: a task, or a subject of mmlu. */
typedef struct {
    char *name;         /* "piqa", "mmlu_anatomy" */
    const char *alias;  /* for people: "piqa", "anatomy" */
    const char *parent; /* "mmlu_stem"; NULL: none */
    char *path;         /* the file the items come from */
    unsigned metrics;
    bool paper; /* one of the paper's five */
    int shots;
    double version; /* of the harness's definition */
    int64_t of;     /* rows of the file, of which a limit may have taken fewer */
    eq_items items;
} eq_item_set;

typedef struct {
    eq_item_set *set;
    int64_t n, cap;
    bool paper; /* asked for by that name */
} eq_item_sets;

/* names: "piqa,mmlu", "paper", "arc_easy=FILE"; dir: where files are looked for, NULL: nowhere.
 * shots: examples in front of each question of mmlu. limit: the first items of each, 0: all. */
eq_status eq_item_sets_read(eq_item_sets *s, const char *names, const char *dir, int shots,
                            int64_t limit, eq_err *err);
void eq_item_sets_free(eq_item_sets *s);

/* ---- inside ---------------------------------------------------------------------------------- */

/* A new set at the end; name is copied. */
eq_status eq_item_sets_add(eq_item_sets *s, const char *name, eq_item_set **set, eq_err *err);

/* mmlu.c: the subjects that `name` stands for ("mmlu", "mmlu_stem", "mmlu_anatomy") out of a zip
 * archive, a folder of csv files, or a folder with the hub's rows. */
eq_status eq_mmlu_read(eq_item_sets *s, const char *name, const char *path, int shots,
                       int64_t limit, eq_err *err);
bool eq_mmlu_knows(const char *name);
/* The i-th name of mmlu, its groups and subjects; NULL: no more. The parents are the groups. */
const char *eq_mmlu_name(int i);
const char *eq_mmlu_group(int i);
#endif

/* Scores become accuracies: per task, per group, and item by item. */
#ifndef EQ_EVAL_EVAL_REPORT_H
#define EQ_EVAL_EVAL_REPORT_H
#include "base/io.h"
#include "eval/task.h"
#include "model/config.h"

typedef struct {
    const eq_item_sets *sets;
    const double *ll;      /* log-likelihood of every choice, set by set */
    const bool *likeliest; /* each of its tokens is the likeliest */
} eq_eval_scores;

typedef struct {
    const eq_eval_opts *opts;
    const eq_config *cfg;
    bool bos, fp32_steps;
    double seconds;
} eq_eval_run;

/* lm-evaluation-harness's layout, and what it has no key for below "eqat". */
eq_status eq_eval_report(const eq_eval_scores *s, const eq_eval_run *run, char **json, eq_err *err);
/* One JSON object an item. */
eq_status eq_eval_samples(const eq_eval_scores *s, eq_writer *to, eq_err *err);

/* The choice with the largest score, the first of equals; norm: score over characters. */
int eq_eval_best(const eq_items *items, const eq_item *item, const double *ll, bool norm);
#endif

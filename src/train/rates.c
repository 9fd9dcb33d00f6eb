/* Rates by the size of a model's weights. AdamW moves a number by about its rate an update,
 * whatever the gradient, so a rate says nothing without the size of what it moves: the groups of
 * Llama-2-7B, which the paper's rates are of, reach over 0.09, those of SmolLM2-135M over 0.93, and
 * the same rates move them a tenth as far. Invariant: the factor follows from the model and the
 * number format alone, and is the same for both phases, in one run or in two. */
#include <math.h>

#include "base/observe.h"
#include "model/schemes.h"
#include "quant/number.h"
#include "train/quantize_job.h"
#include "train/rtn.h"

/* What a group of Llama-2-7B's weights reaches over on average (normal weights of 0.02, 64 of
 * them), and blocks that are looked at. */
static const double USUAL_REACH = 0.09;
enum { BLOCKS = 4 };

static void add_reach(const eq_qblock *b, double *sum, double *groups) {
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &b->lin[l];
        int64_t n = q->O * (q->I / q->G);
        for (int64_t i = 0; i < n; i++) *sum += (double)q->s[i] * (double)eq_q_max(q->bits);
        *groups += (double)n;
    }
}

/* What the run that made a checkpoint found. 0: it did not look. */
static double recorded_reach(const eq_job *j) {
    const char *text = j->src->state ? eq_st_meta(j->src->state, "recipe") : NULL;
    json_t *run = text ? json_loads(text, 0, NULL) : NULL;
    double reach = json_number_value(json_object_get(json_object_get(run, "recipe"), "reach"));
    json_decref(run);
    return isfinite(reach) && reach > 0 ? reach : 0;
}

static eq_status mean_reach(eq_job *j, double *reach, eq_err *err) {
    int64_t L = j->src->cfg.L, before = -1;
    double sum = 0, groups = 0;
    for (int k = 0; k < BLOCKS; k++) {
        int64_t i = k * (L - 1) / (BLOCKS - 1);
        if (i == before) continue;
        before = i;
        if (j->tune) {
            EQ_TRY(eq_qblock_read(&j->block, j->src, i, err));
        } else {
            eq_qblock_turn(&j->block, &j->src->cfg, &j->set.schemes, i);
            EQ_TRY(eq_rtn_block(j->be, j->src, i, EQ_RANGE_MINMAX, &j->block, err));
        }
        add_reach(&j->block, &sum, &groups);
    }
    *reach = sum / groups;
    return EQ_OK;
}

eq_status eq_job_scale_rates(eq_job *j, eq_err *err) {
    double factor = j->set.o.rate_scale;
    double *const rates[] = {&j->set.o.ap.quant_lr, &j->set.o.ap.weight_lr, &j->set.o.qp.lr,
                             &j->set.o.qp.weight_lr};
    if (factor == 1) return EQ_OK;
    if (factor == 0) {
        double reach = recorded_reach(j);
        if (!reach) EQ_TRY(mean_reach(j, &reach, err));
        factor = reach > 0 ? reach / USUAL_REACH : 1;
        j->set.reach = reach;
        eq_note(j->obs, "rates x %.3g: groups reach over %.3g on average, Llama-2-7B's over %.2g",
                factor, reach, USUAL_REACH);
    }
    for (int k = 0; k < 4; k++) *rates[k] *= factor;
    return EQ_OK;
}

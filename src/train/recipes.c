/* Named settings: what a recipe decides and why. Everything it does not name stays the paper's;
 * model, data, number format and machine are never its business. */
#include <string.h>

#include "eqat.h"

static void paper(eq_quantize_opts *o) { (void)o; }

/* What all but the paper's take: attention sinks apart, rates by the size of the weights, and a
 * second phase that meets the full-precision model's predictions. */
static void beyond(eq_quantize_opts *o) {
    o->ap.range = EQ_RANGE_MSE; /* see quant/range.h */
    o->ap.exact_sinks = true;   /* light's second phase is 0.06 nats ahead after twelve steps */
    o->rate_scale = 0;
    o->qp.loss = EQ_E2E_KL;
    o->qp.train = EQ_TRAIN_S | EQ_TRAIN_NORM;
}

/* For models of 135M to 1B weights on a laptop: 0.4 million tokens in the first phase, a third of
 * them in the second; half an hour of two cores with bf16 products for SmolLM2-135M, an hour
 * without. */
static void light(eq_quantize_opts *o) {
    beyond(o);
    /* Windows of the first phase are worth more than anything else: SmolLM2-135M's second phase at
     * 2 bits begins at a divergence of 2.1 after 48 of them, of 0.86 after 256, of 0.61 after 1024
     * (with this start and the rates below). */
    o->ap.train_size = 768;
    o->ap.val_size = 16;
    o->ap.seqlen = 512;
    o->ap.batch_size = 1; /* few tokens: as many steps as they give */
    o->ap.epochs = 1;
    /* Validation losses of its blocks 1 and 2 after 256 windows, for steps that are ten times
     * Llama-2-7B's: 0.284 and 0.570 at 1e-4, 1.5e-4 (times 10); 0.295 and 0.637 at 5e-4, 1.5e-4;
     * 0.323 and 0.678 at 2.5e-4, 7.5e-5; 0.285 and 0.687 at 2.5e-4, 3e-4. */
    o->ap.quant_lr = 1.5e-4;
    o->ap.weight_lr = 1.5e-4;
    o->qp.train_size = 256;
    o->qp.seqlen = 512;
    o->qp.batch_size = 1;
    /* From 3.5e-5 to 1.5e-4 the mean divergence of steps 17 to 23 is the same, 0.50; twice that
     * makes it 0.59. Weights trained too: it rises in few steps. */
    o->qp.lr = 1e-4;
    o->qp.weight_lr = 1e-5;
}

/* The paper's amount of data and more passes, where time is no matter. */
static void best(eq_quantize_opts *o) {
    beyond(o);
    o->ap.epochs = 3; /* as the authors' released 2-bit model */
    o->ap.keep_best = true;
    o->qp.train_size = 8192; /* Table 8: the more the better, 7.68 to 7.63 */
}

/* THE list. */
static const struct {
    const char *name, *about;
    void (*set)(eq_quantize_opts *o);
} recipes[] = {
    {"paper", "the paper's settings, which are the defaults", paper},
    {"light", "for small models and machines: minutes to an hour for 135M to 1B weights", light},
    {"best", "more than the paper's, where time is no matter", best},
};

bool eq_recipe(int i, const char **name, const char **about) {
    if (i < 0 || i >= (int)(sizeof recipes / sizeof *recipes)) return false;
    *name = recipes[i].name, *about = recipes[i].about;
    return true;
}

bool eq_recipe_set(eq_quantize_opts *o, const char *name) {
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        if (strcmp(recipes[i].name, name)) continue;
        eq_quantize_opts fresh;
        eq_quantize_opts_init(&fresh);
        fresh.qp.data = o->qp.data;
        o->ap = fresh.ap, o->qp = fresh.qp, o->rate_scale = fresh.rate_scale;
        recipes[i].set(o);
        return true;
    }
    return false;
}

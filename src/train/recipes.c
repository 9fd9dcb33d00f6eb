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

/* For models of 135M to 1B weights on a laptop: an eighth of a million tokens in the first phase, a
 * third less in the second; forty minutes of two cores without bf16 products for SmolLM2-135M. */
static void light(eq_quantize_opts *o) {
    beyond(o);
    /* The second phase of SmolLM2-135M at 2 bits begins at a divergence of 2.1 after 48 windows, of
     * 0.86 after these. */
    o->ap.train_size = 256;
    o->ap.val_size = 16;
    o->ap.seqlen = 512;
    o->ap.batch_size = 1; /* few tokens: as many steps as they give */
    o->ap.epochs = 1;
    /* Validation losses of its blocks 0 and 1 after 48 windows, for steps that are ten times
     * Llama-2-7B's: 0.585 and 1.291 at 5e-5, 1e-5 (times 10), 0.412 and 0.791 at 2e-4, 5e-5, 0.331
     * and 0.608 at 5e-4, 1.5e-4; twice that is no better, and four times worse. */
    o->ap.quant_lr = 5e-4;
    o->ap.weight_lr = 1.5e-4;
    o->qp.train_size = 160;
    o->qp.seqlen = 512;
    o->qp.batch_size = 1;
    /* Mean divergence of steps 9 to 16 at these rates 1.71, at half of them 1.75, at a
     * quarter 1.85, with the weights trained too 1.85 (at ten times the rate they take it to 7). */
    o->qp.lr = 1.5e-4;
    o->qp.weight_lr = 1.5e-5;
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

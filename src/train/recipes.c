/* Named settings: what a recipe decides and why. Everything it does not name stays the paper's;
 * model, data, number format and machine are never its business. */
#include <string.h>

#include "eqat.h"

static void paper(eq_quantize_opts *o) { (void)o; }

/* For models of 135M to 1B weights on a laptop: an eighth of a million tokens in the first phase, a
 * quarter in the second: 5e14 operations for SmolLM2-135M, an hour of two cores without bf16
 * products. */
static void light(eq_quantize_opts *o) {
    o->ap.train_size = 256; /* Table 15: 64 to 4096 windows of Block-AP are 2.5 % apart */
    o->ap.val_size = 16;
    o->ap.seqlen = 512;
    o->ap.batch_size = 1; /* few tokens: as many steps as they give */
    /* Validation losses of SmolLM2-135M's blocks 0 and 1 at 2 bits after 48 windows, for steps that
     * are ten times Llama-2-7B's: 0.585 and 1.291 at 5e-5, 1e-5 (times 10), 0.412 and 0.791 at
     * 2e-4, 5e-5, 0.331 and 0.608 at 5e-4, 1.5e-4; twice that is no better, and four times worse.
     */
    o->rate_scale = 0;
    o->ap.quant_lr = 5e-4;
    o->ap.weight_lr = 1.5e-4;
    o->qp.train_size = 512;
    o->qp.seqlen = 512;
    o->qp.batch_size = 4; /* 128 steps */
    o->qp.lr = 4e-4;
    /* SmolLM2-135M from one start (851): 8192 tokens bring cross-entropy to 765, this to 376. */
    o->qp.loss = EQ_E2E_KL;
    o->qp.train = EQ_TRAIN_S | EQ_TRAIN_NORM;
    o->qp.weight_lr = 2e-4;
}

/* The paper's amount of data and more passes, where time is no matter. */
static void best(eq_quantize_opts *o) {
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

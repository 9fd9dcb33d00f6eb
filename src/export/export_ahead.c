/* What can be said of an export before a model is trained: shapes, schemes, tokenizer and place are
 * known, of steps and zero points only which ones the grid allows. Invariant: what passes here is
 * refused later for numbers alone that no training is expected to find (steps beyond fp16). */
#include <string.h>

#include "base/par.h"
#include "export/export_blocks.h"
#include "model/schemes.h"
#include "quant/kgrid.h"

/* ---- zero points ----------------------------------------------------------------------------- */

static bool in_the_middle(const eq_qlinear *q) {
    int64_t n = q->O * (q->I / q->G);
    for (int64_t i = 0; i < n; i++)
        if (q->z[i] != eq_z_used(q->z[i], q->bits, EQ_GRID_PORTABLE)) return false;
    return true;
}

/* E2E-QP leaves zero points as they are, so a quantized model's own say what a format must hold:
 * one grid for all of its linears. */
static eq_status find_grid(eq_grid *grid, const eq_weights *w, eq_err *err) {
    eq_qblock b = {0};
    eq_status st = EQ_OK;
    *grid = EQ_GRID_PORTABLE;
    for (int64_t i = 0; i < w->cfg.L && st == EQ_OK && *grid == EQ_GRID_PORTABLE; i++) {
        st = eq_export_block(&b, w, i, true, err);
        for (int l = 0; l < EQ_LINS && st == EQ_OK; l++)
            if (!in_the_middle(&b.lin[l])) *grid = EQ_GRID_FREE;
    }
    eq_qblock_free(&b);
    return st;
}

static void set_grid(eq_schemes *t, const eq_config *c, eq_grid grid) {
    t->all.grid = grid;
    for (int64_t k = 0; t->at && k < c->L * EQ_LINS; k++) t->at[k].grid = grid;
}

/* w's config is then the quantized model's. */
static eq_status take_schemes(eq_weights *w, const eq_quantize_opts *q, eq_err *err) {
    eq_config *c = &w->cfg;
    eq_grid grid;
    if (!eq_config_quantized(c)) {
        eq_scheme all = {q->bits, q->group_size, q->grid};
        EQ_TRY(eq_schemes_make(&c->schemes, c, all, q->scheme, err));
        return eq_schemes_check(&c->schemes, c, err);
    }
    if (eq_k_grid(c->schemes.all.grid)) return eq_schemes_check(&c->schemes, c, err);
    EQ_TRY(find_grid(&grid, w, err));
    set_grid(&c->schemes, c, grid);
    return EQ_OK;
}

static eq_status check_middle(const eq_export_job *x, bool trained, eq_err *err) {
    if (!x->format->middle || x->src->cfg.schemes.all.grid != EQ_GRID_FREE) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: %s holds zero points in the middle of the codes, %s",
                   x->src->dir, x->format->name,
                   trained ? "found others (tune leaves them as they are)"
                           : "which --grid portable trains");
}

/* Training zero points makes real numbers of them. */
static eq_status check_real(const eq_export_job *x, const eq_quantize_opts *q, bool trained,
                            eq_err *err) {
    const eq_format *f = x->format;
    bool trains = q->qp.train & EQ_TRAIN_Z && (trained || q->e2e);
    if (trains && (f->middle || !f->real_zeros))
        return eq_fail(err, EQ_EINPUT,
                       "%s: %s holds whole zero points, and training them (z) leaves real ones",
                       x->src->dir, f->name);
    return f->real_zeros ? EQ_OK : eq_export_check_zeros(x, err);
}

/* Of full precision config.json says all that is asked here; the run looks at the tensors. */
static eq_status open_model(eq_weights **w, const char *dir, eq_err *err) {
    EQ_TRY(eq_weights_shapes(w, dir, err));
    if (!eq_config_quantized(&(*w)->cfg)) return EQ_OK;
    eq_weights_close(*w);
    return eq_weights_open(w, dir, err);
}

/* ---- the whole ------------------------------------------------------------------------------- */

eq_status eq_export_ahead(const eq_export_opts *o, const eq_quantize_opts *q, eq_err *err) {
    eq_weights *w;
    const eq_format *f = o->to ? eq_format_find(o->to) : NULL;
    if (!f)
        return eq_fail(err, EQ_EINPUT, "expected the name of a format, found %s",
                       o->to ? o->to : "none");
    eq_par_threads(q->compute.threads);
    EQ_TRY(open_model(&w, o->model, err));
    eq_export_job x = {.o = o, .format = f, .src = w};
    bool trained = eq_config_quantized(&w->cfg);
    eq_status st = o->out ? eq_export_check_place(&x, err) : EQ_OK;
    if (st == EQ_OK) st = take_schemes(w, q, err);
    if (st == EQ_OK) st = check_real(&x, q, trained, err);
    if (st == EQ_OK) st = check_middle(&x, trained, err);
    if (st == EQ_OK) st = eq_export_check(&x, err);
    if (st == EQ_OK && f->ahead) st = f->ahead(&x, err);
    eq_weights_close(w);
    return st;
}

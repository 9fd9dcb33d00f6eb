/* Perplexity by the paper's protocols (METHOD section 5): the mean over windows of each window's
 * mean cross-entropy over its T - 1 targets; ppl = exp of it. */
#include <math.h>

#include "backend/backend.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "eval/eval_windows.h"
#include "model/lm_folder.h"

enum { BATCH_TOKENS = 8192 };

void eq_ppl_opts_init(eq_ppl_opts *o) {
    *o = (eq_ppl_opts){.protocol = EQ_PPL_WINDOWS,
                       .compute = {.backend = "cpu", .precision = EQ_PREC_BF16}};
}

/* Stops at the first loss that is not finite: what follows cannot make a perplexity of it. */
static eq_status measure(eq_lm *lm, const eq_ppl_opts *o, const eq_windows *w,
                         const eq_observer *obs, double *nll, eq_err *err) {
    double *one = eq_calloc(lm->opts.B, sizeof *one), sum = 0;
    if (!one) return eq_nomem(err, "losses", lm->opts.B * 8);
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < w->n && st == EQ_OK; i += lm->opts.B) {
        int64_t B = w->n - i < lm->opts.B ? w->n - i : lm->opts.B;
        const int32_t *ids = w->ids + i * w->T;
        if (eq_stopped(obs)) st = eq_fail(err, EQ_EINTR, "stopped on request");
        if (st == EQ_OK) st = eq_lm_forward(lm, ids, B, w->T, err);
        if (st == EQ_OK) st = eq_lm_loss(lm, ids, B, w->T, 0, one, err);
        for (int64_t b = 0; b < B && st == EQ_OK; b++) {
            sum += one[b];
            if (!isfinite(one[b]))
                st = eq_fail(err, EQ_EINPUT,
                             "%s: window %lld of %lld: expected a finite loss, found %g (the "
                             "weights or the compute type overflow)",
                             o->model, (long long)(i + b) + 1, (long long)w->n, one[b]);
        }
        if (st != EQ_OK) break;
        eq_progress p = {.phase = "ppl",
                         .done = (i + B) * w->T,
                         .total = w->n * w->T,
                         .tokens = true,
                         .loss = sum / (double)(i + B),
                         .job = (double)(i + B) / (double)w->n};
        eq_progress_say(obs, &p);
    }
    eq_free(one);
    *nll = sum / (double)w->n;
    return st;
}

static eq_status run(const eq_ppl_opts *o, const eq_weights *src, eq_backend *be,
                     const eq_windows *w, const eq_observer *obs, eq_ppl_result *res, eq_err *err) {
    int64_t B = o->batch ? o->batch : BATCH_TOKENS / w->T;
    B = B < 1 ? 1 : B > w->n ? w->n : B;
    eq_lm *lm;
    double nll = NAN, t = eq_now();
    for (;; B /= 2) { /* fewer windows at once where the device has no room */
        eq_err why = {0};
        eq_status st = eq_lm_open_folder(&lm, be, src, &o->compute, o->as_written, B, w->T, &why);
        if (st == EQ_OK) break;
        if (st != EQ_ENOMEM || !be->device || B == 1) return eq_fail(err, st, "%s", why.msg);
        eq_note(obs, "%s: going on with %lld windows at once", why.msg, (long long)(B / 2));
    }
    eq_json_event(obs, json_pack("{s:s, s:I, s:I, s:i, s:o, s:s, s:i}", "event", "run", "windows",
                                 (json_int_t)w->n, "seqlen", (json_int_t)w->T, "bits",
                                 src->cfg.schemes.all.bits, "bos",
                                 res->text ? json_boolean(res->bos) : json_null(), "kernels",
                                 be->kernels ? be->kernels : be->name, "threads", eq_par_count()));
    eq_status st = measure(lm, o, w, obs, &nll, err);
    eq_lm_close(lm);
    EQ_TRY(st);
    bool fp32 = eq_config_quantized(&src->cfg) && src->state && !o->as_written;
    *res = (eq_ppl_result){.bits = src->cfg.schemes.all.bits,
                           .fp32_steps = fp32,
                           .text = res->text,
                           .bos = res->bos,
                           .ppl = exp(nll),
                           .nll = nll,
                           .windows = w->n,
                           .seqlen = w->T,
                           .targets = w->n * (w->T - 1),
                           .seconds = eq_now() - t};
    return EQ_OK;
}

eq_status eq_ppl(const eq_ppl_opts *o, const eq_observer *obs, eq_ppl_result *res, eq_err *err) {
    eq_weights *src;
    eq_windows w = {0};
    eq_backend *be = NULL;
    eq_ppl_result r = {0};
    if (!o->model || !o->data)
        return eq_fail(err, EQ_EINPUT, "ppl: expected a model folder and --data");
    EQ_TRY(eq_weights_open(&src, o->model, err));
    eq_par_threads(o->compute.threads); /* tokenizing keeps to them, too */
    eq_status st = eq_backend_open_for(&be, &o->compute, obs, err);
    if (st == EQ_OK) st = eq_stop_wrap(&be, obs, err);
    eq_eval_text text = {
        o->model, o->data, o->protocol, o->seqlen, o->limit, o->bos, o->compute.memory_limit,
        o->text};
    if (st == EQ_OK) st = eq_eval_windows(&w, &text, &src->cfg, obs, &r.text, &r.bos, err);
    if (st == EQ_OK) st = run(o, src, be, &w, obs, &r, err);
    if (st == EQ_OK) *res = r;
    eq_backend_say_trace(be, obs);
    if (be) be->close(be);
    eq_windows_free(&w);
    eq_weights_close(src);
    return st;
}

/* How far a model's predictions are from another's: Kullback-Leibler divergence at every target,
 * and what it does to the likeliest token, to the target's probability and to perplexity. Both
 * models are open at once; of a batch their logits meet a few rows at a time, so no matrix of all
 * logits exists. Sums are in double, in the order of the targets. */
#include <math.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "eval/eval_windows.h"
#include "model/lm_folder.h"

enum { BATCH_TOKENS = 4096 };

void eq_kld_opts_init(eq_kld_opts *o) {
    *o = (eq_kld_opts){.protocol = EQ_PPL_WINDOWS,
                       .compute = {.backend = "cpu", .precision = EQ_PREC_BF16}};
}

/* ---- one row --------------------------------------------------------------------------------- */

typedef struct {
    double kl, nll, nll_reference, p, p_reference;
    bool same_top;
} row_result;

/* log of the sum of exp(x), and the first of the largest. */
static double log_sum(const float *x, int64_t n, int64_t *top) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    double most = (double)x[best], sum = 0;
    for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - most);
    *top = best;
    return most + log(sum);
}

static row_result compare(const float *q, const float *p, int64_t V, int32_t target) {
    int64_t top_q, top_p;
    double lq = log_sum(q, V, &top_q), lp = log_sum(p, V, &top_p), kl = 0;
    for (int64_t i = 0; i < V; i++) {
        double log_p = (double)p[i] - lp;
        kl += exp(log_p) * (log_p - ((double)q[i] - lq));
    }
    row_result r = {.kl = kl > 0 ? kl : 0, .same_top = top_q == top_p};
    r.nll = lq - (double)q[target], r.nll_reference = lp - (double)p[target];
    r.p = exp(-r.nll), r.p_reference = exp(-r.nll_reference);
    return r;
}

/* ---- all rows -------------------------------------------------------------------------------- */

typedef struct {
    const eq_kld_opts *o;
    const eq_windows *w;
    eq_lm *lm, *reference;
    int64_t B, V, chunk;
    float *q, *p;    /* [chunk, V]: logits of the model, of the reference */
    row_result *row; /* [chunk] */
    float *kl;       /* [targets], in order; sorted at the end */
    int64_t n;       /* targets so far */
    /* Sums of a value and of its square. */
    double kl_1, kl_2, d_1, d_2, diff_1, diff_2, nll, nll_reference;
    int64_t same;
} job;

typedef struct {
    job *j;
    const int32_t *target; /* of the first row */
} chunk_ctx;
static void compare_row(void *ctx, int64_t r, int thread) {
    (void)thread;
    const chunk_ctx *c = ctx;
    c->j->row[r] = compare(c->j->q + r * c->j->V, c->j->p + r * c->j->V, c->j->V, c->target[r]);
}

static eq_status add_row(job *j, const row_result *r, eq_err *err) {
    double d = r->p - r->p_reference, diff = r->nll - r->nll_reference;
    if (!isfinite(r->kl) || !isfinite(diff))
        return eq_fail(err, EQ_EINPUT,
                       "%s: target %lld: expected finite logits of both models, found a divergence "
                       "of %g (the weights or the compute type overflow)",
                       j->o->model, (long long)j->n + 1, r->kl);
    j->kl[j->n++] = (float)r->kl;
    j->kl_1 += r->kl, j->kl_2 += r->kl * r->kl;
    j->d_1 += d, j->d_2 += d * d;
    j->diff_1 += diff, j->diff_2 += diff * diff;
    j->nll += r->nll, j->nll_reference += r->nll_reference;
    j->same += r->same_top;
    return EQ_OK;
}

/* Window b of the batch: every row but the last predicts the id behind it. */
static eq_status one_window(job *j, const int32_t *ids, int64_t b, eq_err *err) {
    int64_t T = j->w->T;
    for (int64_t t = 0, n; t < T - 1; t += n) {
        n = T - 1 - t < j->chunk ? T - 1 - t : j->chunk;
        chunk_ctx c = {j, ids + t + 1};
        EQ_TRY(eq_lm_logits(j->lm, b * T + t, n, j->q, err));
        EQ_TRY(eq_lm_logits(j->reference, b * T + t, n, j->p, err));
        eq_par_for(n, compare_row, &c);
        for (int64_t r = 0; r < n; r++) EQ_TRY(add_row(j, &j->row[r], err));
    }
    return EQ_OK;
}

static eq_status all_windows(job *j, const eq_observer *obs, eq_err *err) {
    const eq_windows *w = j->w;
    for (int64_t i = 0, B; i < w->n; i += B) {
        B = w->n - i < j->B ? w->n - i : j->B;
        const int32_t *ids = w->ids + i * w->T;
        if (eq_stopped(obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        EQ_TRY(eq_lm_forward(j->lm, ids, B, w->T, err));
        EQ_TRY(eq_lm_forward(j->reference, ids, B, w->T, err));
        for (int64_t b = 0; b < B; b++) EQ_TRY(one_window(j, ids + b * w->T, b, err));
        eq_progress p = {.phase = "kld",
                         .done = (i + B) * w->T,
                         .total = w->n * w->T,
                         .tokens = true,
                         .loss = j->kl_1 / (double)j->n,
                         .job = (double)(i + B) / (double)w->n};
        eq_progress_say(obs, &p);
    }
    return EQ_OK;
}

/* ---- figures --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    float p = *(const float *)a, q = *(const float *)b;
    return p < q ? -1 : p > q;
}

/* Of sorted values: between the two that the share falls between, as numpy.percentile has it. */
static double at_share(const float *v, int64_t n, double share) {
    double at = share * (double)(n - 1);
    int64_t i = (int64_t)at;
    double low = (double)v[i], high = (double)v[i + 1 < n ? i + 1 : i];
    return low + (high - low) * (at - (double)i);
}

/* Standard error of the mean of n values with these sums. */
static double error_of(double sum, double squares, int64_t n) {
    double count = (double)n, mean = sum / count, var = squares / count - mean * mean;
    return n > 1 && var > 0 ? sqrt(var / (count - 1)) : 0;
}

static void figures(job *j, eq_kld_result *r) {
    double n = (double)j->n, same = (double)j->same;
    qsort(j->kl, (size_t)j->n, sizeof *j->kl, by_value);
    r->kl = j->kl_1 / n, r->kl_err = error_of(j->kl_1, j->kl_2, j->n);
    r->median = at_share(j->kl, j->n, 0.5), r->p90 = at_share(j->kl, j->n, 0.9);
    r->p99 = at_share(j->kl, j->n, 0.99), r->p999 = at_share(j->kl, j->n, 0.999);
    r->max = (double)j->kl[j->n - 1];
    r->same_top = same / n, r->same_top_err = error_of(same, same, j->n);
    r->rms_dp = sqrt(j->d_2 / n), r->mean_dp = j->d_1 / n;
    r->ppl = exp(j->nll / n), r->ppl_reference = exp(j->nll_reference / n);
    r->ratio = exp(j->diff_1 / n);
    r->ratio_err = r->ratio * error_of(j->diff_1, j->diff_2, j->n);
    r->windows = j->w->n, r->seqlen = j->w->T, r->targets = j->n;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Both models with room for B windows; fewer where there is none. */
static eq_status open_both(job *j, eq_backend *be, const eq_weights *src, const eq_weights *ref,
                           const eq_observer *obs, eq_err *err) {
    const eq_kld_opts *o = j->o;
    for (;; j->B /= 2) {
        eq_err why = {0};
        eq_status st =
            eq_lm_open_folder(&j->lm, be, src, &o->compute, o->as_written, j->B, j->w->T, &why);
        if (st == EQ_OK)
            st = eq_lm_open_folder(&j->reference, be, ref, &o->compute, o->as_written, j->B,
                                   j->w->T, &why);
        if (st == EQ_OK) return EQ_OK;
        eq_lm_close(j->lm);
        j->lm = NULL;
        if (st != EQ_ENOMEM || j->B == 1) return eq_fail(err, st, "%s", why.msg);
        eq_note(obs, "%s: going on with %lld windows at once", why.msg, (long long)(j->B / 2));
    }
}

static eq_status room(job *j, eq_err *err) {
    int64_t targets = j->w->n * (j->w->T - 1);
    j->chunk = eq_lm_logit_rows(j->lm);
    j->q = eq_calloc(j->chunk * j->V, sizeof *j->q);
    j->p = eq_calloc(j->chunk * j->V, sizeof *j->p);
    j->row = eq_calloc(j->chunk, sizeof *j->row);
    j->kl = eq_calloc(targets, sizeof *j->kl);
    return j->q && j->p && j->row && j->kl ? EQ_OK : eq_nomem(err, "logits", 8 * j->chunk * j->V);
}

static eq_status measure(const eq_kld_opts *o, eq_backend *be, const eq_weights *src,
                         const eq_weights *ref, const eq_windows *w, const eq_observer *obs,
                         eq_kld_result *res, eq_err *err) {
    job j = {.o = o, .w = w, .V = src->cfg.V, .B = o->batch ? o->batch : BATCH_TOKENS / w->T};
    double t = eq_now();
    j.B = j.B < 1 ? 1 : j.B > w->n ? w->n : j.B;
    EQ_TRY(open_both(&j, be, src, ref, obs, err));
    eq_json_event(obs, json_pack("{s:s, s:I, s:I, s:i, s:i, s:s, s:i}", "event", "run", "windows",
                                 (json_int_t)w->n, "seqlen", (json_int_t)w->T, "bits",
                                 src->cfg.schemes.all.bits, "reference_bits",
                                 ref->cfg.schemes.all.bits, "kernels",
                                 be->kernels ? be->kernels : be->name, "threads", eq_par_count()));
    eq_status st = room(&j, err);
    if (st == EQ_OK) st = all_windows(&j, obs, err);
    if (st == EQ_OK) figures(&j, res);
    res->bits = src->cfg.schemes.all.bits;
    res->fp32_steps = res->bits && src->state && !o->as_written;
    res->seconds = eq_now() - t;
    eq_free(j.q), eq_free(j.p), eq_free(j.row), eq_free(j.kl);
    eq_lm_close(j.lm), eq_lm_close(j.reference);
    return st;
}

static eq_status with_models(const eq_kld_opts *o, const eq_weights *src, const eq_weights *ref,
                             const eq_observer *obs, eq_kld_result *res, eq_err *err) {
    eq_windows w = {0};
    eq_backend *be = NULL;
    eq_eval_text text = {
        o->reference, o->data, o->protocol, o->seqlen, o->limit, o->bos, o->compute.memory_limit,
        o->text};
    if (src->cfg.V != ref->cfg.V)
        return eq_fail(err, EQ_EINPUT, "%s: expected the vocabulary of %s, %lld, found %lld",
                       o->model, o->reference, (long long)ref->cfg.V, (long long)src->cfg.V);
    eq_par_threads(o->compute.threads);
    eq_status st = eq_backend_open_for(&be, &o->compute, obs, err);
    if (st == EQ_OK) st = eq_stop_wrap(&be, obs, err);
    if (st == EQ_OK) st = eq_eval_windows(&w, &text, &src->cfg, obs, &res->text, &res->bos, err);
    if (st == EQ_OK) st = measure(o, be, src, ref, &w, obs, res, err);
    eq_backend_say_trace(be, obs);
    if (be) be->close(be);
    eq_windows_free(&w);
    return st;
}

eq_status eq_kld(const eq_kld_opts *o, const eq_observer *obs, eq_kld_result *res, eq_err *err) {
    eq_weights *src, *ref;
    eq_kld_result r = {0};
    if (!o->model || !o->reference || !o->data)
        return eq_fail(err, EQ_EINPUT, "kld: expected a model folder, --reference and --data");
    EQ_TRY(eq_weights_open(&src, o->model, err));
    eq_status st = eq_weights_open(&ref, o->reference, err);
    if (st == EQ_OK) {
        st = with_models(o, src, ref, obs, &r, err);
        eq_weights_close(ref);
    }
    eq_weights_close(src);
    if (st == EQ_OK) *res = r;
    return st;
}

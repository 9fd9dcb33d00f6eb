/* Perplexity and divergence of whole tiny models, full precision and quantized, against a
 * transformer of a few loops in double that shares nothing with src but the reading of tensors:
 * embedding, blocks, head, the shift by one token, the mean of means, the dropped tail. fp32: 4e-7
 * of the loss is ten times what is seen. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"
#include "eqat.h"
#include "model/qblock.h"
#include "tiny_train.h"

/* distance() looks at the folder that quantized() made. */
enum { D = 64, F = 96, NH = 4, NKV = 2, HD = 16, V = 50, L = 2, IDS = 5 * TINY_T + 7 };

/* ---- the loops --------------------------------------------------------------------------------
 */

typedef struct {
    const double *w[EQ_LINS], *in, *post; /* [O, I], norms [D] */
} block;
typedef struct {
    block blocks[L];
    const double *embed, *head, *norm;
} model;

static void linear(double *y, const double *w, const double *x, int O, int I) {
    for (int o = 0; o < O; o++) {
        y[o] = 0;
        for (int i = 0; i < I; i++) y[o] += w[o * I + i] * x[i];
    }
}
static void rms_norm(double *y, const double *x, const double *w) {
    double ss = 0;
    for (int d = 0; d < D; d++) ss += x[d] * x[d] / D;
    for (int d = 0; d < D; d++) y[d] = x[d] / sqrt(ss + 1e-5) * w[d];
}
/* Pairs (i, i + HD / 2) of every head, turned by t * 10000^(-2i / HD). */
static void turn(double *x, int heads, int t) {
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < HD / 2; i++) {
            double a = t * pow(10000, -2.0 * i / HD), *p = x + h * HD + i, *q = p + HD / 2, u = *p;
            *p = u * cos(a) - *q * sin(a);
            *q = *q * cos(a) + u * sin(a);
        }
}
static void attend(double *o, const double *q, double k[][NKV * HD], double v[][NKV * HD], int t) {
    for (int h = 0; h < NH; h++) {
        int kv = h / (NH / NKV) * HD;
        double p[TINY_T], sum = 0;
        for (int j = 0; j <= t; j++) {
            double dot = 0;
            for (int d = 0; d < HD; d++) dot += q[h * HD + d] * k[j][kv + d];
            sum += p[j] = exp(dot / sqrt(HD));
        }
        for (int d = 0; d < HD; d++) {
            o[h * HD + d] = 0;
            for (int j = 0; j <= t; j++) o[h * HD + d] += p[j] / sum * v[j][kv + d];
        }
    }
}
static void through(const block *b, double x[][D]) {
    double k[TINY_T][NKV * HD], v[TINY_T][NKV * HD], n[D], q[NH * HD], o[NH * HD], g[F], u[F], y[D];
    for (int t = 0; t < TINY_T; t++) { /* causal: what is behind t has not been changed yet */
        rms_norm(n, x[t], b->in);
        linear(q, b->w[EQ_LIN_Q], n, NH * HD, D);
        linear(k[t], b->w[EQ_LIN_K], n, NKV * HD, D);
        linear(v[t], b->w[EQ_LIN_V], n, NKV * HD, D);
        turn(q, NH, t), turn(k[t], NKV, t);
        attend(o, q, k, v, t);
        linear(y, b->w[EQ_LIN_O], o, D, NH * HD);
        for (int d = 0; d < D; d++) x[t][d] += y[d];
        rms_norm(n, x[t], b->post);
        linear(g, b->w[EQ_LIN_GATE], n, F, D), linear(u, b->w[EQ_LIN_UP], n, F, D);
        for (int i = 0; i < F; i++) g[i] = g[i] / (1 + exp(-g[i])) * u[i];
        linear(y, b->w[EQ_LIN_DOWN], g, D, F);
        for (int d = 0; d < D; d++) x[t][d] += y[d];
    }
}
/* log p of every token behind every position of a window. */
static void log_probs(const model *m, const int32_t *ids, double p[TINY_T][V]) {
    double x[TINY_T][D], n[D];
    for (int t = 0; t < TINY_T; t++) memcpy(x[t], m->embed + ids[t] * D, sizeof x[t]);
    for (int i = 0; i < L; i++) through(&m->blocks[i], x);
    for (int t = 0; t < TINY_T; t++) {
        double sum = 0;
        rms_norm(n, x[t], m->norm);
        linear(p[t], m->head, n, V, D);
        for (int i = 0; i < V; i++) sum += exp(p[t][i]);
        for (int i = 0; i < V; i++) p[t][i] -= log(sum);
    }
}
static double window_loss(const model *m, const int32_t *ids) {
    double p[TINY_T][V], loss = 0;
    log_probs(m, ids, p);
    for (int t = 0; t + 1 < TINY_T; t++) loss -= p[t][ids[t + 1]];
    return loss / (TINY_T - 1);
}
/* Of the first n windows. */
static double mean_loss(const model *m, const int32_t *ids, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += window_loss(m, ids + i * TINY_T);
    return sum / n;
}

/* ---- a folder's numbers ------------------------------------------------------------------------
 */

static double *held[64];
static int nheld;
static const double *doubles(const eq_tensor *t) {
    double *p = held[nheld++] = eq_calloc(t->n, sizeof *p);
    eq_convert(p, EQ_F64, t->data, t->dt, t->n);
    return p;
}
static const double *dequantized(const eq_qlinear *q, bool as_written) {
    double *p = held[nheld++] = eq_calloc(q->O * q->I, sizeof *p);
    for (int64_t i = 0; i < q->O * q->I; i++) {
        int64_t g = i / q->G;
        float s = as_written ? eq_f16_to_f32(eq_f32_to_f16(q->s[g])) : q->s[g];
        int code = (int)(q->rows[i / 16] >> (i % 16 * 2) & 3);
        p[i] = (code - (double)q->z[g]) * (double)s;
    }
    return p;
}
static void drop(void) {
    while (nheld) eq_free(held[--nheld]);
}
static void read_model(model *m, const eq_weights *w, bool as_written) {
    eq_err err = {0};
    m->embed = doubles(w->embed), m->head = doubles(w->head), m->norm = doubles(w->norm);
    for (int i = 0; i < L; i++) {
        eq_qblock b = {0};
        if (eq_config_quantized(&w->cfg)) tiny_ok(eq_qblock_read(&b, w, i, &err), &err);
        for (int l = 0; l < EQ_LINS; l++)
            m->blocks[i].w[l] = eq_config_quantized(&w->cfg) ? dequantized(&b.lin[l], as_written)
                                                             : doubles(w->blocks[i].weight[l]);
        m->blocks[i].in = doubles(w->blocks[i].norm[EQ_NORM_IN]);
        m->blocks[i].post = doubles(w->blocks[i].norm[EQ_NORM_POST]);
        eq_qblock_free(&b);
    }
}

/* ---- the tests
 * ------------------------------------------------------------------------------------ */

static int32_t ids[IDS];
static const char *data_file(void) {
    char npy[128 + IDS] = "\x93NUMPY\x01\x00\x76\x00", head[128];
    snprintf(head, sizeof head, "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", IDS);
    assert_int_equal(snprintf(npy + 10, 119, "%-117s\n", head), 118);
    for (int i = 0; i < IDS; i++) npy[128 + i] = (char)(ids[i] = (i * i + i / 9) % V);
    return scratch_file("d.npy", npy, sizeof npy);
}

/* All windows, then fewer, then a batch that the windows do not fill: the same windows' mean. */
static void same_ppl(const char *folder, const model *m, bool as_written, bool quantized) {
    static const int limits[] = {0, 0, 3, 1}, batches[] = {0, 2, 2, 1};
    for (int k = 0; k < 4; k++) {
        eq_ppl_opts o;
        eq_ppl_result r;
        eq_err err = {0};
        eq_ppl_opts_init(&o);
        o.model = folder, o.data = data_file(), o.seqlen = TINY_T;
        o.limit = limits[k], o.batch = batches[k], o.as_written = as_written;
        o.compute.precision = EQ_PREC_F32;
        tiny_ok(eq_ppl(&o, NULL, &r, &err), &err);
        int n = limits[k] ? limits[k] : IDS / TINY_T;
        double want = mean_loss(m, ids, n);
        assert_int_equal(r.windows, n);
        assert_int_equal(r.targets, n * (TINY_T - 1));
        if (fabs(r.nll - want) > 4e-7 * want || fabs(log(r.ppl) - want) > 4e-7 * want)
            fail_msg("%d windows: loss %.9g, perplexity %.9g, expected %.9g and its exponential", n,
                     r.nll, r.ppl, want);
        assert_int_equal(r.bits, quantized ? 2 : 0);
        assert_int_equal(r.fp32_steps, quantized && !as_written);
    }
}

static void full_precision(void **state) {
    (void)state;
    model m;
    read_model(&m, tiny.src, false);
    same_ppl(tiny.model, &m, false, false);
    drop();
}

static void quantized(void **state) {
    (void)state;
    eq_err err = {0};
    eq_quantize_opts o;
    eq_weights *w;
    model m;
    char *out = eq_strdup(scratch_path("quantized"));
    eq_quantize_opts_init(&o);
    o.model = tiny.model, o.out = out, o.method = EQ_METHOD_RTN, o.group_size = 32;
    o.qp.data = data_file(), o.qp.seqlen = TINY_T, o.qp.batch_size = 1, o.qp.lr = 1e-3;
    o.compute.precision = EQ_PREC_F32;
    tiny_ok(eq_quantize(&o, NULL, NULL, &err), &err);
    tiny_ok(eq_weights_open(&w, out, &err), &err);
    double loss[2];
    for (int as_written = 0; as_written < 2; as_written++) {
        read_model(&m, w, as_written);
        same_ppl(out, &m, as_written, true);
        loss[as_written] = mean_loss(&m, ids, 5);
        drop();
    }
    assert_true(fabs(loss[0] - loss[1]) > 4e-6 * loss[0]); /* fp16 steps are told from fp32 ones */
    eq_weights_close(w);
    eq_free(out);
}

/* ---- divergence ------------------------------------------------------------------------------ */

enum { TARGETS = 5 * (TINY_T - 1) };
typedef struct {
    double kl[TARGETS], mean, same, squares, change, diff[TARGETS], ratio;
    int n;
} divergence;

static int by_value(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}
static int top(const double *p) {
    int best = 0;
    for (int i = 1; i < V; i++)
        if (p[i] > p[best]) best = i;
    return best;
}
static void one_target(divergence *d, const double *q, const double *p, int target) {
    double kl = 0, change = exp(q[target]) - exp(p[target]);
    for (int i = 0; i < V; i++) kl += exp(p[i]) * (p[i] - q[i]);
    d->mean += kl / TARGETS, d->same += (top(q) == top(p)) / (double)TARGETS;
    d->squares += change * change / TARGETS, d->change += change / TARGETS;
    d->diff[d->n] = p[target] - q[target], d->ratio += d->diff[d->n] / TARGETS;
    d->kl[d->n++] = kl;
}
static double deviation(const double *v, double mean) { /* of the mean of all */
    double s = 0;
    for (int i = 0; i < TARGETS; i++) s += (v[i] - mean) * (v[i] - mean);
    return sqrt(s / (TARGETS - 1) / TARGETS);
}
/* numpy.percentile: linear between neighbours. */
static double share(const double *sorted, double at) {
    double x = at * (TARGETS - 1);
    int i = (int)x, j = i + 1 < TARGETS ? i + 1 : i;
    return sorted[i] + (sorted[j] - sorted[i]) * (x - i);
}
static void near(const char *what, double found, double want, double tolerance) {
    if (fabs(found - want) > tolerance) fail_msg("%s: %.9g, expected %.9g", what, found, want);
}

static void distance(void **state) {
    (void)state;
    eq_err err = {0};
    eq_kld_opts o;
    eq_kld_result r;
    eq_weights *w;
    model full, less;
    divergence d = {0};
    double p[TINY_T][V], q[TINY_T][V], kl_err, ratio_err;
    tiny_ok(eq_weights_open(&w, scratch_path("quantized"), &err), &err);
    read_model(&full, tiny.src, false), read_model(&less, w, true);
    eq_kld_opts_init(&o);
    o.model = scratch_path("quantized"), o.reference = tiny.model, o.data = data_file();
    o.seqlen = TINY_T, o.batch = 2, o.as_written = true, o.compute.precision = EQ_PREC_F32;
    tiny_ok(eq_kld(&o, NULL, &r, &err), &err);
    for (int i = 0; i < 5; i++) {
        log_probs(&full, ids + i * TINY_T, p), log_probs(&less, ids + i * TINY_T, q);
        for (int t = 0; t + 1 < TINY_T; t++) one_target(&d, q[t], p[t], ids[i * TINY_T + t + 1]);
    }
    assert_int_equal(r.targets, TARGETS);
    assert_int_equal(r.bits, 2);
    kl_err = deviation(d.kl, d.mean), ratio_err = deviation(d.diff, d.ratio);
    qsort(d.kl, TARGETS, sizeof *d.kl, by_value);
    assert_true(d.mean > 1e-3 && d.same < 1);
    near("mean", r.kl, d.mean, 1e-6), near("its error", r.kl_err, kl_err, 1e-6);
    near("median", r.median, share(d.kl, 0.5), 1e-6), near("90 %", r.p90, share(d.kl, 0.9), 2e-6);
    near("99 %", r.p99, share(d.kl, 0.99), 2e-6);
    near("99.9 %", r.p999, share(d.kl, 0.999), 2e-6);
    near("largest", r.max, d.kl[TARGETS - 1], 2e-6);
    near("same", r.same_top, d.same, 1e-12);
    near("its error", r.same_top_err, sqrt(d.same * (1 - d.same) / (TARGETS - 1)), 1e-9);
    near("rms", r.rms_dp, sqrt(d.squares), 1e-6), near("change", r.mean_dp, d.change, 1e-6);
    near("perplexity", log(r.ppl), mean_loss(&less, ids, 5), 2e-6);
    near("of the reference", log(r.ppl_reference), mean_loss(&full, ids, 5), 2e-6);
    near("ratio", r.ratio, exp(d.ratio), 3e-6);
    near("its error", r.ratio_err, exp(d.ratio) * ratio_err, 3e-6);
    o.model = tiny.model;
    tiny_ok(eq_kld(&o, NULL, &r, &err), &err); /* from itself */
    assert_true(r.kl == 0 && r.max == 0 && r.same_top == 1 && r.ratio == 1 && r.rms_dp == 0);
    eq_weights_close(w);
    drop();
}

static int set_up(void **state) {
    (void)state;
    tiny_train_open("llama", "cpu");
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    tiny_train_close();
    return 0;
}
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_precision),
        cmocka_unit_test(quantized),
        cmocka_unit_test(distance),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

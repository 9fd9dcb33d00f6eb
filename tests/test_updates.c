/* Every update of both phases against METHOD's formulas: rates by step, AdamW, clipping, the
 * gradient of a batch in parts. The jobs run as they are; a look at each adamw call gives what went
 * in and what came out, and the closed form is computed here, in double.
 *
 * Tolerance of an update: the backend computes it in fp32 (a dozen roundings, 1e-6 of the rate) and
 * stores p rounded to 2^-24 of its size; 2e-5 of the rate leaves room for both. What a mistake
 * would do (another eps, no clipping, a step too few in the bias correction) is shown to be further
 * off than that. */
#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tiny_train.h"
#include "train/rtn.h"

static const double pi = 3.14159265358979323846;

/* ---- adamw calls of the step under way --------------------------------------------------------
 */

typedef struct {
    const void *at; /* the parameter's place: what it is */
    int64_t n;
    float *p, *m, *v, *g, *p1, *m1, *v1; /* before and after */
} call;
enum { CALLS = 64, SEEN = 256 };
static call calls[CALLS];
static int ncalls;
static const void *quant[SEEN]; /* places of step sizes and zero points */
static int nquant;
static double misfit[3]; /* the largest distance to the closed form with eps 1e-5; without clipping;
                            with the bias of the step before; in units of the rate */

static bool before(eq_wrap *w, eq_op_id op, const eq_arg *a, int n) {
    (void)w, (void)n;
    if (op == EQ_OP_fq_bwd) quant[nquant++] = a[6].p, quant[nquant++] = a[7].p;
    assert_true(nquant < SEEN);
    if (op != EQ_OP_adamw) return true;
    assert_true(ncalls < CALLS);
    calls[ncalls] = (call){a[1].p,
                           a[1].n,
                           tiny_floats(a[1]),
                           tiny_floats(a[2]),
                           tiny_floats(a[3]),
                           tiny_floats(a[4]),
                           NULL,
                           NULL,
                           NULL};
    return true;
}
static void after(eq_wrap *w, eq_op_id op, const eq_arg *a, int n) {
    (void)w, (void)n;
    if (op != EQ_OP_adamw) return;
    call *c = &calls[ncalls++];
    c->p1 = tiny_floats(a[1]), c->m1 = tiny_floats(a[2]), c->v1 = tiny_floats(a[3]);
}
static void forget(void) {
    while (ncalls) {
        call *c = &calls[--ncalls];
        eq_free(c->p), eq_free(c->m), eq_free(c->v), eq_free(c->g);
        eq_free(c->p1), eq_free(c->m1), eq_free(c->v1);
    }
    nquant = 0;
}
static bool is_quant(const void *p) {
    for (int i = 0; i < nquant; i++)
        if (quant[i] == p) return true;
    return false;
}

/* AdamW (Loshchilov and Hutter, algorithm 2, no decay) at step t = 1, 2, ..: the new p. */
static double adamw(double p, double m, double v, double lr, double eps, int t) {
    double m_hat = m / (1 - pow(0.9, t)), v_hat = v / (1 - pow(0.999, t));
    return p - lr * m_hat / (sqrt(v_hat) + eps);
}

/* One parameter's update number k (from 0) at this rate, its gradient multiplied by `scale`. */
static void check_call(const call *c, double lr, double scale, int k) {
    for (int64_t i = 0; i < c->n; i++) {
        double g = scale * (double)c->g[i], m = 0.9 * (double)c->m[i] + 0.1 * g,
               v = 0.999 * (double)c->v[i] + 0.001 * g * g;
        double p = adamw((double)c->p[i], m, v, lr, 1e-8, k + 1), got = (double)c->p1[i];
        if (k == 0) assert_true(c->m[i] == 0 && c->v[i] == 0);
        if (fabs((double)c->m1[i] - m) > 1e-6 * (fabs(m) + fabs(g)))
            fail_msg("step %d: first moment %g, expected %g", k, (double)c->m1[i], m);
        if (fabs((double)c->v1[i] - v) > 1e-6 * v + 1e-37)
            fail_msg("step %d: second moment %g, expected %g", k, (double)c->v1[i], v);
        if (fabs(got - p) > 2e-5 * lr + 6.1e-8 * fabs(p))
            fail_msg("step %d: %.9g became %.9g, expected %.9g", k, (double)c->p[i], got, p);
        double g1 = (double)c->g[i], m1 = 0.9 * (double)c->m[i] + 0.1 * g1,
               v1 = 0.999 * (double)c->v[i] + 0.001 * g1 * g1;
        double wrong[] = {adamw((double)c->p[i], m, v, lr, 1e-5, k + 1),
                          adamw((double)c->p[i], m1, v1, lr, 1e-8, k + 1),
                          k ? adamw((double)c->p[i], m, v, lr, 1e-8, k) : p};
        for (int j = 0; j < 3; j++) misfit[j] = fmax(misfit[j], fabs(wrong[j] - p) / lr);
    }
}

/* ---- Block-AP ----------------------------------------------------------------------------------
 */

enum {
    WINDOWS = 9,
    EPOCHS = 3,
    AP_STEPS = EPOCHS * 5
}; /* batches of 2: the fifth has one window */
static int steps;

/* From lr to lr / 20 over all n steps; cos^2 x = (1 + cos 2x) / 2. */
static double cosine(double lr, int k, int n) {
    double c = cos(pi * k / (2.0 * n));
    return lr / 20 + (lr - lr / 20) * c * c;
}
static void same_rate(double got, double want) {
    if (fabs(got - want) > 1e-5 * want) fail_msg("a rate of %g, expected %g", got, want);
}

static void block_step(const char *kind, const json_t *v) {
    if (strcmp(kind, "block_step")) return;
    double q = cosine(1e-3, steps, AP_STEPS), w = cosine(3e-4, steps, AP_STEPS);
    assert_int_equal(tiny_number(v, "step"), steps);
    same_rate(tiny_number(v, "quant_lr"), q), same_rate(tiny_number(v, "weight_lr"), w);
    int64_t trained[2] = {0};
    for (int i = 0; i < ncalls; i++) {
        bool s_or_z = is_quant(calls[i].at);
        check_call(&calls[i], s_or_z ? q : w, 1, steps);
        trained[s_or_z] += calls[i].n;
    }
    /* everything once: W [64,64] [32,64] [32,64] [64,64] [96,64] [96,64] [64,96] and two norms; a
     * step and a zero point to 32 weights */
    assert_int_equal(trained[0], 30720 + 2 * 64);
    assert_int_equal(trained[1], 2 * 30720 / TINY_GROUP);
    steps++;
    forget();
}

static void block_ap(void **state) {
    (void)state;
    eq_err err = {0};
    eq_windows train = tiny_windows(WINDOWS, 3), val = tiny_windows(2, 11);
    eq_block_ap_setup s = tiny_block_ap();
    s.ap.epochs = EPOCHS, s.ap.batch_size = 2;
    eq_block_ap *job;
    eq_qblock out = tiny_qblock();
    tiny.wrap->before = before, tiny.wrap->after = after, tiny.on_event = block_step;
    steps = 0, memset(misfit, 0, sizeof misfit);
    tiny_ok(eq_block_ap_open(&job, tiny.be, tiny.src, &s, &train, &val, NULL, &err), &err);
    for (int64_t i = 0; i < 2; i++) { /* the second block begins anew */
        tiny_ok(eq_block_ap_train(job, i, &out, &tiny_observer, &err), &err);
        tiny_ok(eq_block_ap_pass(job, i, &out, &tiny_observer, &err), &err);
        assert_int_equal(steps, AP_STEPS);
        steps = 0;
    }
    assert_true(misfit[0] > 1e-3 && misfit[2] > 1e-3);
    eq_block_ap_close(job);
    eq_qblock_free(&out);
    eq_windows_free(&train), eq_windows_free(&val);
    tiny.wrap->before = NULL, tiny.wrap->after = NULL, tiny.on_event = NULL;
}

/* ---- E2E-QP ------------------------------------------------------------------------------------
 */

static eq_qblock rounded;
static double nudge; /* along a fixed direction, in units of each step */
static double direction(int64_t block, int l, int64_t i) {
    return (double)eq_rand_normal((uint64_t)(1 + block * EQ_LINS + l), (uint64_t)i);
}
static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    (void)ctx;
    *b = &rounded;
    EQ_TRY(eq_rtn_block(tiny.be, tiny.src, i, EQ_RANGE_MINMAX, &rounded, err));
    for (int l = 0; l < EQ_LINS; l++) {
        eq_qlinear *q = &rounded.lin[l];
        for (int64_t k = 0; k < q->O * (q->I / q->G); k++)
            q->s[k] *= (float)(1 + nudge * direction(i, l, k));
    }
    return EQ_OK;
}

static double clip;
static int e2e_steps, e2e_clipped, e2e_free;
/* share 0.25 of 9 steps: three of warm-up reach the rate, then a cosine to 0 */
static double warmup(double lr, int k) {
    double c = cos(pi * (k - 3) / (2.0 * 6));
    return k < 3 ? lr * (k + 1) / 3 : lr * c * c;
}
static void e2e_step(const char *kind, const json_t *v) {
    if (strcmp(kind, "e2e_step")) return;
    double total = 0, lr = warmup(1e-3, e2e_steps);
    for (int i = 0; i < ncalls; i++)
        for (int64_t k = 0; k < calls[i].n; k++)
            total += (double)calls[i].g[k] * (double)calls[i].g[k];
    double norm = sqrt(total), scale = clip > 0 ? clip / (norm + 1e-6) : 1;
    assert_int_equal(tiny_number(v, "step"), e2e_steps);
    same_rate(tiny_number(v, "lr"), lr);
    same_rate(tiny_number(v, "grad_norm"), norm);
    scale < 1 ? e2e_clipped++ : e2e_free++;
    for (int i = 0; i < ncalls; i++) check_call(&calls[i], lr, scale < 1 ? scale : 1, e2e_steps);
    e2e_steps++;
    forget();
}

static double first_loss;
static float *first_gradient;
static int64_t groups;
static void only_first(const char *kind, const json_t *v) {
    if (strcmp(kind, "e2e_step")) return;
    if (!first_gradient) {
        assert_int_equal(ncalls, 2); /* a block each */
        groups = calls[0].n + calls[1].n, first_loss = tiny_number(v, "loss");
        assert_non_null(first_gradient = eq_calloc(groups, sizeof *first_gradient));
        for (int i = 0; i < 2; i++)
            memcpy(first_gradient + i * calls[0].n, calls[i].g,
                   (size_t)calls[i].n * sizeof *first_gradient);
    }
    forget();
}

static void e2e(const eq_e2e_setup *s, const eq_windows *w,
                void (*look)(const char *, const json_t *)) {
    eq_err err = {0};
    eq_e2e *job;
    tiny_ok(eq_e2e_open(&job, tiny.be, tiny.src, s, TINY_T, &err), &err);
    tiny.wrap->before = before, tiny.wrap->after = after, tiny.on_event = look;
    tiny_ok(eq_e2e_run(job, w, &tiny_observer, &err), &err);
    tiny.wrap->before = NULL, tiny.wrap->after = NULL, tiny.on_event = NULL;
    eq_e2e_close(job);
    tiny_e2e_forget_state();
}

/* Nine windows in batches of four (the third has one), three epochs; s alone, z alone, both; a
 * gradient that is clipped in some steps, in all, in none. */
static void e2e_qp(void **state) {
    (void)state;
    eq_windows w = tiny_windows(WINDOWS, 3);
    const unsigned sets[] = {EQ_TRAIN_S, EQ_TRAIN_Z, EQ_TRAIN_S | EQ_TRAIN_Z};
    const double clips[] = {1e-3, 0, 1e6};
    rounded = tiny_qblock();
    for (int k = 0; k < 9; k++) {
        eq_e2e_setup s = tiny_e2e(source, NULL);
        s.qp.train = sets[k / 3], s.qp.epochs = EPOCHS, s.qp.warmup = 0.25, s.qp.micro_batch = 3;
        s.qp.clip = clip = clips[k % 3];
        e2e_steps = e2e_clipped = e2e_free = 0, memset(misfit, 0, sizeof misfit);
        e2e(&s, &w, e2e_step);
        assert_int_equal(e2e_steps, 9);
        assert_int_equal(k % 3 == 0 ? e2e_clipped : e2e_free, 9);
        /* clipped gradients differ in size from step to step, else AdamW would not feel it */
        assert_true(misfit[0] > 1e-3 && misfit[2] > 1e-3 && (k % 3 || misfit[1] > 1e-3));
    }
    eq_qblock_free(&rounded);
    eq_windows_free(&w);
}

/* The batch's gradient has the same bytes however it is cut: an odd micro-batch, single windows. It
 * is also that of the loss the step reports, by central differences along a random direction: the
 * loss is good to 1e-7, steps change by 1e-3 of their size, 1e-3 of the slope holds both. */
static void micro_batches(void **state) {
    (void)state;
    rounded = tiny_qblock();
    for (int64_t n = 4; n <= 7; n += 3) { /* whole batches of 4 and 7 windows */
        eq_windows w = tiny_windows(n, 3);
        float *whole = NULL;
        double loss = 0;
        for (int64_t micro = n; micro > 0; micro--) {
            eq_e2e_setup s = tiny_e2e(source, NULL);
            s.qp.batch_size = n, s.qp.micro_batch = micro;
            e2e(&s, &w, only_first);
            if (!whole) {
                whole = first_gradient, loss = first_loss;
            } else {
                assert_memory_equal(first_gradient, whole, (size_t)groups * sizeof *whole);
                assert_true(first_loss == loss);
                eq_free(first_gradient);
            }
            first_gradient = NULL;
        }
        const double h = 1e-3;
        double f[2], slope = 0;
        for (int side = 0; side < 2; side++) {
            eq_e2e_setup s = tiny_e2e(source, NULL);
            s.qp.batch_size = n, s.qp.micro_batch = 3, nudge = side ? h : -h;
            e2e(&s, &w, only_first);
            f[side] = first_loss;
            eq_free(first_gradient), first_gradient = NULL;
        }
        nudge = 0;
        int64_t at = 0;
        for (int64_t i = 0; i < 2; i++) {
            const eq_qblock *b;
            eq_err err = {0};
            tiny_ok(source(NULL, i, &b, &err), &err);
            for (int l = 0; l < EQ_LINS; l++)
                for (int64_t k = 0; k < b->lin[l].O * (b->lin[l].I / b->lin[l].G); k++, at++)
                    slope += (double)whole[at] * (double)b->lin[l].s[k] * direction(i, l, k);
        }
        assert_int_equal(at, groups);
        if (fabs((f[1] - f[0]) / (2 * h) - slope) > 1e-3 * fabs(slope))
            fail_msg("slope %g, differences of the loss say %g", slope, (f[1] - f[0]) / (2 * h));
        eq_free(whole);
        eq_windows_free(&w);
    }
    eq_qblock_free(&rounded);
}

/* METHOD sections 2 and 3, as a library user gets them; rates < 0 follow from the bits. */
static void paper_settings(void **state) {
    (void)state;
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    assert_true(o.bits == 2 && o.group_size == 64 && o.seed == 2 && o.e2e);
    assert_true(o.ap.train_size == 4096 && o.ap.val_size == 64 && o.ap.batch_size == 2);
    assert_true(o.ap.epochs == 2 && o.ap.min_lr_factor == 20 && !o.ap.keep_best);
    assert_true(o.ap.early_stop == 0 && o.ap.quant_lr < 0 && o.ap.weight_lr < 0);
    assert_true(o.ap.train == (EQ_TRAIN_S | EQ_TRAIN_Z | EQ_TRAIN_W | EQ_TRAIN_NORM));
    assert_true(o.qp.batch_size == 32 && o.qp.epochs == 1);
    assert_true(o.qp.warmup == 0.03 && o.qp.clip == 0.3 && o.qp.lr < 0);
    assert_true(o.qp.train == EQ_TRAIN_S);
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
        cmocka_unit_test(block_ap),
        cmocka_unit_test(e2e_qp),
        cmocka_unit_test(micro_batches),
        cmocka_unit_test(paper_settings),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

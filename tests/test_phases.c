/* What each phase works on and what it hands back, seen at its operations: which windows in which
 * order, which stream is input and which is target, what the reported losses are means of, which
 * epoch is kept, and the integers, steps, zero points and norms of a finished block. */
#include <math.h>

#include "base/mem.h"
#include "model/lm.h"
#include "tiny_train.h"
#include "train/rtn.h"

enum { D = 64, Q = (1 << TINY_BITS) - 1 };

/* ---- a look at every loss ----------------------------------------------------------------------
 */

/* The masters of a block in force at a loss, as the operations of its forward pass saw them. */
typedef struct {
    float *W[EQ_LINS], *s[EQ_LINS], *z[EQ_LINS], *norm[2];
} masters;
static masters now, at_epoch[8];
static int linears, epochs_seen;

typedef struct {
    int64_t n; /* windows */
    float *x, *t;
    double loss;
} loss_call;
enum { LOSSES = 1024 };
static loss_call trained[LOSSES], checked[LOSSES]; /* with a gradient, without */
static int ntrained, nchecked, val_calls;
static float *last_x;
static int64_t last_n;
static bool keep_data;       /* x and t too */
static const double *script; /* validation losses of the epochs, instead of the real ones */

static bool spread; /* some masters are moved to where rounding, range and floor are felt */

static void put(float **to, float *from) { eq_free(*to), *to = from; }

static eq_mut mut(eq_arg a) { return (eq_mut){(void *)(uintptr_t)a.p, a.n, a.dt}; }
static bool before(eq_wrap *w, eq_op_id op, const eq_arg *a, int n) {
    (void)n;
    if (op == EQ_OP_fq_fwd) {
        int l = linears++ % EQ_LINS;
        const float z[] = {-0.7f, 3.6f, 1.4f, -2.3f}, s[] = {5e-5f, -0.1f};
        if (spread) w->in->upload(w->in, eq_mut_at(mut(a[4]), 0, 4), z, EQ_F32);
        if (spread) w->in->upload(w->in, eq_mut_at(mut(a[3]), 4, 2), s, EQ_F32);
        if (l == EQ_LINS - 1) spread = false;
        put(&now.W[l], tiny_floats(a[2])), put(&now.s[l], tiny_floats(a[3]));
        put(&now.z[l], tiny_floats(a[4]));
    } else if (op == EQ_OP_rmsnorm_fwd) { /* two a forward pass: the block's input and norms */
        float *x = now.norm[0];
        now.norm[0] = now.norm[1], now.norm[1] = x;
        put(&now.norm[1], tiny_floats(a[4]));
        static float *previous;
        eq_free(last_x);
        last_x = previous, last_n = a[3].n;
        previous = tiny_floats(a[3]);
    }
    return true;
}
static masters copy(const masters *m) {
    masters c = {0};
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(&tiny.src->cfg, (eq_lin)l);
        int64_t size[] = {s.O * s.I, s.O * s.I / TINY_GROUP, s.O * s.I / TINY_GROUP};
        float *const from[] = {m->W[l], m->s[l], m->z[l]}, **to[] = {&c.W[l], &c.s[l], &c.z[l]};
        for (int k = 0; k < 3; k++) {
            *to[k] = eq_calloc(size[k], sizeof(float));
            memcpy(*to[k], from[k], (size_t)size[k] * sizeof(float));
        }
    }
    for (int k = 0; k < 2; k++) {
        c.norm[k] = eq_calloc(D, sizeof(float));
        memcpy(c.norm[k], m->norm[k], D * sizeof(float));
    }
    return c;
}
static void drop(masters *m) {
    for (int l = 0; l < EQ_LINS; l++) eq_free(m->W[l]), eq_free(m->s[l]), eq_free(m->z[l]);
    for (int k = 0; k < 2; k++) eq_free(m->norm[k]);
    *m = (masters){0};
}
static void after(eq_wrap *w, eq_op_id op, const eq_arg *a, int n) {
    (void)n;
    if (op != EQ_OP_mse) return;
    bool grad = a[2].n > 0;
    float *v = tiny_floats(a[1]);
    loss_call *c = grad ? &trained[ntrained++] : &checked[nchecked++];
    assert_true(ntrained < LOSSES && nchecked < LOSSES);
    *c = (loss_call){.n = a[4].n / (D * TINY_T)};
    assert_int_equal(a[1].n, c->n); /* a loss for every window */
    for (int64_t i = 0; i < c->n; i++) c->loss += (double)v[i] / (double)c->n;
    if (keep_data) c->x = last_x, c->t = tiny_floats(a[4]), last_x = NULL;
    eq_free(v);
    linears = 0;
    if (grad) return;
    if (val_calls++ % 2 == 0) { /* three windows in batches of two: two calls an epoch */
        drop(&at_epoch[epochs_seen]);
        at_epoch[epochs_seen] = copy(&now);
    } else {
        epochs_seen++;
    }
    if (script) {
        float value = (float)script[(val_calls - 1) / 2], each[] = {value, value};
        w->in->upload(w->in, mut(a[1]), each, EQ_F32);
    }
}
static void begin(const double *losses, bool data) {
    for (int i = 0; i < ntrained; i++) eq_free(trained[i].x), eq_free(trained[i].t);
    for (int i = 0; i < nchecked; i++) eq_free(checked[i].x), eq_free(checked[i].t);
    ntrained = nchecked = val_calls = linears = epochs_seen = 0;
    script = losses, keep_data = data;
    tiny_train_forget();
}

/* ---- a finished block ------------------------------------------------------------------------ */

/* METHOD section 2, step 4, one weight after the other: s as fp16 holds it, z an integer of the
 * format, codes from the fp32 weight and that s. `codes`: from these steps instead. */
static int64_t wrong_codes(const eq_qblock *b, const masters *m, bool fp32_steps) {
    int64_t wrong = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &b->lin[l];
        for (int64_t i = 0; i < q->O * q->I; i++) {
            int64_t g = i / q->G;
            float s = fminf(fmaxf(m->s[l][g], 1e-4f), 1e4f);
            if (!fp32_steps) s = eq_f16_to_f32(eq_f32_to_f16(s));
            float z = fminf(fmaxf(rintf(m->z[l][g]), 0), Q);
            float code = fminf(fmaxf(rintf(m->W[l][i] / s) + z, 0), Q);
            uint32_t word = q->rows[i * TINY_BITS / 32];
            wrong += (word >> (i * TINY_BITS % 32) & Q) != (uint32_t)code;
        }
    }
    return wrong;
}
static bool is_state(const eq_qblock *b, const masters *m) {
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &b->lin[l];
        for (int64_t g = 0; g < q->O * q->I / q->G; g++) {
            float s = eq_f16_to_f32(eq_f32_to_f16(fminf(fmaxf(m->s[l][g], 1e-4f), 1e4f)));
            if (q->s[g] != s || q->z[g] != fminf(fmaxf(rintf(m->z[l][g]), 0), Q)) return false;
        }
    }
    return !wrong_codes(b, m, false) && !memcmp(b->norm[EQ_NORM_IN], m->norm[0], D * 4) &&
           !memcmp(b->norm[EQ_NORM_POST], m->norm[1], D * 4);
}
/* Which of the epochs seen the block is; fails where it is none, or more than one. */
static int epoch_of(const eq_qblock *b) {
    int found = -1;
    for (int e = 0; e < epochs_seen; e++) {
        if (!is_state(b, &at_epoch[e])) continue;
        if (found >= 0) fail_msg("epochs %d and %d end in the same block", found, e);
        found = e;
    }
    if (found < 0) fail_msg("the block is not what any of its epochs left");
    return found;
}

static void train(eq_block_ap_setup *s, eq_windows *windows, eq_qblock *out) {
    eq_err err = {0};
    eq_windows val = tiny_windows(3, 11);
    eq_block_ap *job;
    s->ap.batch_size = 2;
    tiny.wrap->before = before, tiny.wrap->after = after;
    tiny_ok(eq_block_ap_open(&job, tiny.be, tiny.src, s, windows, &val, NULL, &err), &err);
    tiny_ok(eq_block_ap_train(job, 0, out, &tiny_observer, &err), &err);
    tiny.wrap->before = NULL, tiny.wrap->after = NULL;
    tiny_ok(eq_block_ap_pass(job, 0, out, NULL, &err), &err); /* the states of its training go */
    eq_block_ap_close(job);
    eq_windows_free(&val);
}

static void which_epoch(void **state) {
    (void)state;
    static const struct {
        bool keep_best;
        int early_stop, epochs_run, kept; /* kept -1: not said */
        double val[4];
    } cases[] = {
        {true, 0, 4, 0, {1, 2, 3, 4}},   {true, 0, 4, 1, {3, 1, 2, 1.5}},
        {true, 0, 4, 3, {4, 3, 2, 1}},   {true, 0, 4, 0, {1, 1, 1, 1}}, /* none is better */
        {false, 0, 4, 3, {1, 2, 3, 4}},  {false, 0, 4, 3, {4, 3, 2, 1}},
        {true, 1, 2, 0, {1, 2, 0, 0}},   {true, 2, 4, 1, {3, 1, 2, 1.5}},
        {true, 2, 3, 0, {1, 2, 1.5, 0}}, {false, 1, 2, -1, {1, 2, 0, 0}},
        {true, 1, 4, 3, {4, 3, 2, 1}},
    };
    eq_windows w = tiny_windows(9, 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_block_ap_setup s = tiny_block_ap();
        eq_qblock b = tiny_qblock();
        s.ap.epochs = 4, s.ap.keep_best = cases[i].keep_best, s.ap.early_stop = cases[i].early_stop;
        begin(cases[i].val, false);
        train(&s, &w, &b);
        assert_int_equal(epochs_seen, cases[i].epochs_run);
        assert_int_equal(tiny_count("block_epoch"), cases[i].epochs_run);
        int kept = epoch_of(&b);
        if (cases[i].kept >= 0 && kept != cases[i].kept)
            fail_msg("case %d: epoch %d was kept, expected %d", (int)i, kept, cases[i].kept);
        eq_qblock_free(&b);
    }
    eq_windows_free(&w);
}

/* With zero points between integers and outside the format's range, and steps below its floor: the
 * comparison tells codes of fp32 steps, unrounded zero points and the base's norms from the right
 * ones. */
static void finished_block(void **state) {
    (void)state;
    eq_windows w = tiny_windows(9, 3);
    eq_block_ap_setup s = tiny_block_ap();
    eq_qblock b = tiny_qblock();
    begin(NULL, false);
    spread = true;
    train(&s, &w, &b);
    assert_int_equal(epoch_of(&b), 1);
    const masters *m = &at_epoch[1];
    int fractions = 0, outside = 0, floored = 0;
    for (int l = 0; l < EQ_LINS; l++)
        for (int64_t g = 0; g < b.lin[l].O * b.lin[l].I / TINY_GROUP; g++) {
            float z = m->z[l][g];
            fractions += fabsf(z - rintf(z)) > 0.3f;
            outside += rintf(z) < 0 || rintf(z) > Q;
            floored += m->s[l][g] < 1e-4f;
        }
    assert_true(fractions > 0 && outside > 0 && floored > 0);
    assert_true(wrong_codes(&b, m, true) > 0);
    const float *base = tiny.src->blocks[0].norm[EQ_NORM_POST]->data;
    assert_memory_not_equal(base, b.norm[EQ_NORM_POST], D * 4);
    eq_qblock_free(&b);
    eq_windows_free(&w);
}

/* ---- losses that are reported ---------------------------------------------------------------- */

static void same_number(double got, double want) {
    if (!(fabs(got - want) <= 1e-7 * fabs(want))) fail_msg("%.9g, expected %.9g", got, want);
}
static void reported_losses(void **state) {
    (void)state;
    enum { STEPS = 71 };
    eq_windows w = tiny_windows(2 * STEPS - 1, 3);
    eq_block_ap_setup s = tiny_block_ap();
    eq_qblock b = tiny_qblock();
    begin(NULL, false);
    train(&s, &w, &b);
    assert_int_equal(ntrained, 2 * STEPS);
    assert_int_equal(nchecked, 4);
    for (int e = 0; e < 2; e++) {
        const json_t *v = tiny_event("block_epoch", e);
        double tail = 0;
        for (int k = STEPS - 64; k < STEPS; k++) tail += trained[e * STEPS + k].loss / 64;
        same_number(tiny_number(v, "first_loss"), trained[e * STEPS].loss);
        same_number(tiny_number(v, "train_loss"), tail);
        /* of three windows, not of two batches */
        same_number(tiny_number(v, "val_loss"),
                    (2 * checked[2 * e].loss + checked[2 * e + 1].loss) / 3);
        assert_int_equal(trained[e * STEPS + STEPS - 1].n, 1);
    }
    eq_qblock_free(&b);
    eq_windows_free(&w);
}

/* ---- streams -----------------------------------------------------------------------------------
 */

static eq_qblock first;
static eq_status first_block(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    (void)ctx, (void)i, (void)err;
    *b = &first;
    return EQ_OK;
}
/* What the whole model (bits 0: full precision, else with `first` in it) has behind `blocks`
 * blocks, for every window; eq_free it. */
static float *behind(int bits, int64_t blocks, const eq_windows *w) {
    eq_err err = {0};
    eq_lm *lm;
    eq_lm_opts o = {.B = 1,
                    .T = TINY_T,
                    .ct = EQ_F32,
                    .backward = true,
                    .schemes = EQ_ONE_SCHEME(bits, TINY_GROUP),
                    .source = first_block};
    int64_t one = TINY_T * D;
    float *all = eq_calloc(w->n * one, sizeof *all);
    tiny_ok(eq_lm_open(&lm, tiny.be, tiny.src, &o, &err), &err);
    for (int64_t i = 0; i < w->n; i++) {
        tiny_ok(eq_lm_forward(lm, w->ids + i * TINY_T, 1, TINY_T, &err), &err);
        tiny.be->download(tiny.be, all + i * one, EQ_F32, eq_ro(lm->x[blocks]));
    }
    eq_lm_close(lm);
    return all;
}
static void same_windows(const char *what, const float *got, const float *want, int64_t n) {
    double most = 0, off = 0;
    for (int64_t i = 0; i < n * TINY_T * D; i++) {
        most = fmax(most, fabs((double)want[i]));
        off = fmax(off, fabs((double)got[i] - (double)want[i]));
    }
    if (off > 1e-5 * most) fail_msg("%s: off by %g where values reach %g", what, off, most);
}
static void look_at_block(int64_t i, const eq_windows *w, const eq_windows *val) {
    float *x = behind(i ? TINY_BITS : 0, i, w), *t = behind(0, i + 1, w);
    float *vx = behind(i ? TINY_BITS : 0, i, val), *vt = behind(0, i + 1, val);
    int64_t one = TINY_T * D;
    assert_int_equal(ntrained, 2 * 5);
    for (int k = 0; k < ntrained; k++) { /* the same order in both epochs */
        int64_t at = k % 5 * 2, n = k % 5 == 4 ? 1 : 2;
        assert_int_equal(trained[k].n, n);
        same_windows("a step's input", trained[k].x, x + at * one, n);
        same_windows("a step's target", trained[k].t, t + at * one, n);
    }
    assert_int_equal(nchecked, 2 * 2);
    for (int k = 0; k < nchecked; k++) {
        int64_t at = k % 2 * 2, n = k % 2 ? 1 : 2;
        same_windows("an input of validation", checked[k].x, vx + at * one, n);
        same_windows("a target of validation", checked[k].t, vt + at * one, n);
    }
    eq_free(x), eq_free(t), eq_free(vx), eq_free(vt);
}
static void streams(void **state) {
    (void)state;
    eq_err err = {0};
    eq_windows w = tiny_windows(9, 3), val = tiny_windows(3, 11);
    eq_block_ap_setup s = tiny_block_ap();
    eq_qblock second = tiny_qblock();
    eq_block_ap *job;
    s.ap.batch_size = 2;
    first = tiny_qblock();
    tiny_ok(eq_block_ap_open(&job, tiny.be, tiny.src, &s, &w, &val, NULL, &err), &err);
    for (int64_t i = 0; i < 2; i++) {
        eq_qblock *b = i ? &second : &first;
        begin(NULL, true);
        tiny.wrap->before = before, tiny.wrap->after = after;
        tiny_ok(eq_block_ap_train(job, i, b, &tiny_observer, &err), &err);
        tiny.wrap->before = NULL, tiny.wrap->after = NULL;
        look_at_block(i, &w, &val);
        tiny_ok(eq_block_ap_pass(job, i, b, &tiny_observer, &err), &err);
    }
    float *full = behind(0, 1, &w), *quantized = behind(TINY_BITS, 1, &w);
    double off = 0;
    for (int64_t i = 0; i < w.n * TINY_T * D; i++)
        off = fmax(off, fabs((double)full[i] - (double)quantized[i]));
    assert_true(off > 0.1); /* the two streams cannot be taken for each other */
    eq_free(full), eq_free(quantized);
    begin(NULL, false);
    eq_block_ap_close(job);
    eq_qblock_free(&first), eq_qblock_free(&second);
    eq_windows_free(&w), eq_windows_free(&val);
}

/* ---- E2E-QP --------------------------------------------------------------------------------- */

static int calls;
static double loss_sum[LOSSES];
static const eq_windows *e2e_windows;
/* Windows [from, from + n) in the order of calls: batches of four, at most three at a time. */
static const int plan[][2] = {{0, 3}, {3, 1}, {4, 3}, {7, 1}, {8, 1}};
static bool at_targets(eq_wrap *w, eq_op_id op, const eq_arg *a, int n) {
    (void)n;
    if (op != EQ_OP_cross_entropy || calls >= 10) return true;
    const int *p = plan[calls % 5];
    int32_t got[4 * TINY_T];
    assert_int_equal(a[4].n, p[1] * TINY_T);
    w->in->download(w->in, got, EQ_I32, (eq_view){a[4].p, a[4].n, EQ_I32});
    for (int i = 0; i < p[1] * TINY_T; i++) {
        const int32_t *id = e2e_windows->ids + p[0] * TINY_T + i;
        assert_int_equal(got[i], i % TINY_T == TINY_T - 1 ? -1 : id[1]);
    }
    return true;
}
static void at_losses(eq_wrap *w, eq_op_id op, const eq_arg *a, int n) {
    (void)w, (void)n;
    if (op != EQ_OP_cross_entropy || calls >= 10) return;
    float *loss = tiny_floats(a[1]);
    double sum = 0;
    for (int64_t i = 0; i < a[1].n; i++) sum += (double)loss[i];
    loss_sum[calls++] = sum;
    eq_free(loss);
}
static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    (void)ctx;
    *b = &first;
    return eq_rtn_block(tiny.be, tiny.src, i, EQ_RANGE_MINMAX, &first, err);
}
static void e2e_batches(void **state) {
    (void)state;
    eq_err err = {0};
    eq_windows w = tiny_windows(9, 3);
    eq_e2e_setup s = tiny_e2e(source, NULL);
    eq_e2e *job;
    s.qp.epochs = 2, s.qp.micro_batch = 3;
    first = tiny_qblock(), e2e_windows = &w, calls = 0;
    tiny_train_forget();
    tiny_ok(eq_e2e_open(&job, tiny.be, tiny.src, &s, TINY_T, &err), &err);
    tiny.wrap->before = at_targets, tiny.wrap->after = at_losses;
    tiny_ok(eq_e2e_run(job, &w, &tiny_observer, &err), &err);
    tiny.wrap->before = NULL, tiny.wrap->after = NULL;
    assert_int_equal(calls, 10);
    /* the step's loss: the mean over its windows of their mean over T - 1 predictions */
    for (int k = 0; k < 6; k++) {
        int c = k / 3 * 5 + k % 3 * 2;
        double sum = loss_sum[c] + (k % 3 == 2 ? 0 : loss_sum[c + 1]);
        same_number(tiny_number(tiny_event("e2e_step", k), "loss"),
                    sum / (TINY_T - 1) / (k % 3 == 2 ? 1 : 4));
    }
    /* s alone is trained: the integers and z are those of the start */
    eq_qblock done = tiny_qblock();
    const eq_qblock *b;
    for (int64_t i = 0; i < 2; i++) {
        tiny_ok(source(NULL, i, &b, &err), &err);
        for (int l = 0; l < EQ_LINS; l++)
            memcpy(done.lin[l].rows, b->lin[l].rows, 4 * (size_t)(b->lin[l].O * b->lin[l].I / 16));
        tiny_ok(eq_e2e_apply(job, i, &done, &err), &err);
        for (int l = 0; l < EQ_LINS; l++) {
            size_t groups = (size_t)(b->lin[l].O * b->lin[l].I / TINY_GROUP);
            assert_memory_equal(done.lin[l].z, b->lin[l].z, 4 * groups);
            for (size_t g = 0; g < groups; g++)
                assert_true(fabsf(done.lin[l].s[g] - b->lin[l].s[g]) < 6e-3f);
            assert_memory_not_equal(done.lin[l].s, b->lin[l].s, 4 * groups);
        }
    }
    eq_qblock_free(&done), eq_qblock_free(&first);
    eq_e2e_close(job);
    tiny_e2e_forget_state();
    eq_windows_free(&w);
}

static int set_up(void **state) {
    (void)state;
    tiny_train_open("llama", "cpu");
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    begin(NULL, false);
    tiny_train_close();
    return 0;
}
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_epoch),     cmocka_unit_test(finished_block),
        cmocka_unit_test(reported_losses), cmocka_unit_test(streams),
        cmocka_unit_test(e2e_batches),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

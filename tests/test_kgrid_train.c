/* Training on the grids of Q2_K and Q4_K: masters move freely, and what both phases compute with is
 * what is written of them, bit for bit. */
#include "base/mem.h"
#include "base/rng.h"
#include "model/lm.h"
#include "quant/kgrid.h"
#include "quant/pack.h"
#include "scratch.h"
#include "tiny_model.h"
#include "train/schedule.h"
#include "train/student.h"

enum { T = 16, V = 50 };
static const char config[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 256, \"intermediate_size\": 512,\n"
    " \"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
    " \"head_dim\": 64, \"vocab_size\": 50, \"max_position_embeddings\": 32,\n"
    " \"rms_norm_eps\": 1e-05, \"torch_dtype\": \"float32\", \"tie_word_embeddings\": false,\n"
    " \"bos_token_id\": 1, \"eos_token_id\": 2}\n";
static const eq_scheme grids[] = {{2, 64, EQ_GRID_Q2_K}, {4, 32, EQ_GRID_Q4_K}};

static char *dir;
static eq_weights *src;
static eq_backend *be;

static void ok(eq_status st, const eq_err *err) {
    if (st != EQ_OK) fail_msg("%s", err->msg);
}
static int setup(void **state) {
    (void)state;
    eq_err err = {0};
    dir = tiny_dir();
    tiny_write(dir, config, &(tiny_opts){.dt = EQ_F32, .seed = 3});
    ok(eq_weights_open(&src, dir, &err), &err);
    ok(eq_backend_open(&be, "cpu", NULL, &err), &err);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    be->close(be);
    eq_weights_close(src);
    tiny_remove(dir);
    return 0;
}

static float *host(eq_view m) {
    float *p = eq_calloc(m.n, sizeof *p);
    be->download(be, p, EQ_F32, m);
    return p;
}
/* Each step up or down by up to a fifth. */
static void scatter(eq_mut s, uint64_t seed) {
    float *p = host(eq_ro(s));
    for (int64_t i = 0; i < s.n; i++) p[i] *= 0.8f + 0.4f * (float)eq_rand_unit(seed, (uint64_t)i);
    be->upload(be, s, p, EQ_F32);
    eq_free(p);
}
static void same(eq_view a, eq_view b) {
    float *p = host(a), *q = host(b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(p, q, (size_t)a.n * sizeof *p);
    eq_free(p), eq_free(q);
}

/* ---- Block-AP -------------------------------------------------------------------------------- */

typedef struct {
    eq_student st;
    eq_arena a;
    eq_mut w_hat, kept[EQ_LINS];
    eq_block_w keep;
} student;

static void bind(student *s, const eq_schemes *t) {
    eq_student_bind(&s->st, &s->a, &src->cfg, t, EQ_TRAIN_S | EQ_TRAIN_W);
    s->w_hat = eq_take(&s->a, EQ_F32, 512 * 256);
    for (int l = 0; l < EQ_LINS; l++)
        s->keep.w[l] = s->kept[l] = eq_take(&s->a, EQ_F32, s->st.W[l].p.n);
}

/* What the student multiplies with is what the finished block holds. */
static void as_written(student *s, eq_qblock *b) {
    eq_err err = {0};
    ok(eq_student_finalise(&s->st, b, &err), &err);
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &b->lin[l];
        float *w = eq_calloc(q->O * q->I, sizeof *w), *made;
        eq_mut room = eq_mut_at(s->w_hat, 0, q->O * q->I);
        eq_student_make(&s->st, l, room);
        made = host(eq_ro(room));
        eq_qlinear_rows(q, w, 0, q->O);
        assert_memory_equal(w, made, (size_t)(q->O * q->I) * sizeof *w);
        eq_free(w), eq_free(made);
    }
}

static void block_ap(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        eq_schemes t = {.all = grids[k]};
        student s = {.st = {.be = be}};
        eq_qblock b = {0};
        eq_err err = {0};
        bind(&s, &t);
        ok(eq_arena_alloc(&s.a, be, "a student", &err), &err);
        bind(&s, &t);
        ok(eq_qblock_alloc(&b, &src->cfg, &t, &err), &err);
        ok(eq_student_start(&s.st, src, 0, &err), &err);
        as_written(&s, &b);
        for (int l = 0; l < EQ_LINS; l++) scatter(s.st.s[l].p, (uint64_t)l);
        as_written(&s, &b);

        /* an update moves masters, whose kept weights follow; zero points stay */
        s.st.kept = &s.keep, s.st.stale = true;
        eq_student_step(&s.st, (eq_rates){.quant = 1e-2, .weight = 1e-3});
        for (eq_lin l = 0; l < EQ_LINS; l++) {
            eq_qshape q = eq_student_shape(&s.st, l);
            float *was = host(eq_ro(s.st.s[l].p)), *w = host(eq_ro(s.st.W[l].p));
            float *z = host(eq_ro(s.st.z[l].p));
            EQ_DO(be, cast, eq_mut_at(s.w_hat, 0, q.O * q.I), eq_ro(s.st.W[l].p));
            eq_student_sink(&s.st, l, 0, 3, 0, eq_mut_at(s.w_hat, 0, 3 * q.I));
            eq_student_sink(&s.st, l, 3, q.O - 3, 0, eq_mut_at(s.w_hat, 3 * q.I, (q.O - 3) * q.I));
            float *s_now = host(eq_ro(s.st.s[l].p)), *w_now = host(eq_ro(s.st.W[l].p));
            int64_t moved = 0, weights = 0, n = s.st.s[l].p.n;
            for (int64_t i = 0; i < n; i++) moved += was[i] != s_now[i];
            for (int64_t i = 0; i < q.O * q.I; i++) weights += w[i] != w_now[i];
            assert_true(moved > n / 2 && weights > q.O * q.I / 2);
            eq_student_make(&s.st, l, eq_mut_at(s.w_hat, 0, q.O * q.I));
            same(eq_ro(eq_mut_at(s.w_hat, 0, q.O * q.I)), eq_ro(s.kept[l]));
            float *z_now = host(eq_ro(s.st.z[l].p));
            assert_memory_equal(z, z_now, (size_t)n * sizeof *z);
            eq_free(was), eq_free(w), eq_free(z), eq_free(s_now), eq_free(w_now), eq_free(z_now);
        }
        as_written(&s, &b);
        eq_qblock_free(&b);
        eq_arena_free(&s.a);
    }
}

/* ---- E2E-QP ---------------------------------------------------------------------------------- */

static eq_qblock rounded;
static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    (void)ctx, (void)i, (void)err;
    *b = &rounded;
    return EQ_OK;
}

/* Loss and the gradient of all steps, into ds. */
static double loss(eq_lm *lm, eq_mut ds) {
    eq_err err = {0};
    int32_t ids[T];
    double nll;
    eq_lm_grads g = {.ds = ds, .batch = 1};
    for (int i = 0; i < T; i++) ids[i] = (i * i + 3) % V;
    EQ_DO(be, fill, ds, 0.0f);
    ok(eq_lm_forward(lm, ids, 1, T, &err), &err);
    ok(eq_lm_loss(lm, ids, 1, T, 1.0f / (T - 1), &nll, &err), &err);
    ok(eq_lm_backward(lm, &g, &err), &err);
    return nll;
}

/* From masters beside the grid: the loss and gradients of the steps on it, whether codes are free
 * or not. */
static void e2e(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        eq_err err = {0};
        eq_lm *lm;
        student s = {.st = {.be = be}};
        eq_lm_opts o = {.B = 1, .T = T, .ct = EQ_F32, .backward = true, .source = source};
        o.schemes.all = grids[k % 2], o.masters = k >= 2, o.teacher = src;
        bind(&s, &o.schemes);
        ok(eq_arena_alloc(&s.a, be, "a student", &err), &err);
        bind(&s, &o.schemes);
        ok(eq_qblock_alloc(&rounded, &src->cfg, &o.schemes, &err), &err);
        ok(eq_student_start(&s.st, src, 0, &err), &err);
        ok(eq_student_finalise(&s.st, &rounded, &err), &err);
        ok(eq_lm_open(&lm, be, src, &o, &err), &err);
        eq_mut ds[2];
        for (int i = 0; i < 2; i++)
            ds[i] = (eq_mut){be->alloc(be, 4 * lm->q.s.n), lm->q.s.n, EQ_F32};
        double start = loss(lm, ds[0]);
        scatter(lm->q.s, 70);
        double beside = loss(lm, ds[0]);
        for (eq_lin l = 0; l < EQ_LINS; l++) {
            eq_mut own = eq_lm_groups(lm, lm->q.s, 0, l);
            EQ_DO(be, fq_steps, own, eq_ro(own), EQ_NONE_VIEW, eq_lm_qshape(lm, 0, l));
        }
        double on = loss(lm, ds[1]);
        assert_true(start != beside && beside == on);
        same(eq_ro(ds[0]), eq_ro(ds[1]));
        for (int i = 0; i < 2; i++) be->free_(be, ds[i].p);
        eq_lm_close(lm);
        eq_qblock_free(&rounded);
        eq_arena_free(&s.a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_ap),
        cmocka_unit_test(e2e),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* AWQ for linears that share an input: scales, clipped ranges and integers against a plain
 * statement in numpy (tests/golden/awq.safetensors, tools/make_awq_golden.py), on every host
 * backend, and the same bits for any number of threads. */
#include <math.h>

#include "backend/backend.h"
#include "base/mem.h"
#include "base/par.h"
#include "format/safetensors.h"
#include "quant/number.h"
#include "tiny_train.h"
#include "train/awq.h"
#include "train/block_inputs.h"

static void ok(eq_status st, const eq_err *err) {
    if (st != EQ_OK) fail_msg("%s", err->msg);
}
static const eq_tensor *tensor(const eq_st *st, const char *name, int bits) {
    char text[16];
    snprintf(text, sizeof text, bits ? "%s%d" : "%s", name, bits);
    const eq_tensor *t = eq_st_find(st, text);
    if (!t) fail_msg("no tensor %s in the golden file", text);
    return t;
}

typedef struct {
    int64_t I, O[2];
    float *w[2], *h, *scale;
    double *mean;
} problem;

static problem read_problem(const eq_st *golden) {
    const eq_tensor *x = tensor(golden, "x", 0);
    const uint8_t *bytes = x->data;
    int64_t N = x->shape[0], I = x->shape[1];
    problem p = {.I = I};
    p.h = eq_calloc(I * I, sizeof *p.h), p.mean = eq_calloc(I, sizeof *p.mean);
    p.scale = eq_calloc(I, sizeof *p.scale);
    for (int64_t i = 0; i < I; i++)
        for (int64_t j = 0; j < I; j++) {
            double sum = 0;
            for (int64_t r = 0; r < N; r++)
                sum += ((int)bytes[r * I + i] - 128) * ((int)bytes[r * I + j] - 128);
            p.h[i * I + j] = (float)sum;
        }
    for (int64_t r = 0; r < N; r++)
        for (int64_t i = 0; i < I; i++)
            p.mean[i] += fabs((double)((int)bytes[r * I + i] - 128)) / (double)N;
    for (int k = 0; k < 2; k++) {
        const eq_tensor *w = tensor(golden, k ? "w1" : "w0", 0);
        p.O[k] = w->shape[0];
        p.w[k] = eq_calloc(w->n, sizeof *p.w[k]);
        eq_convert(p.w[k], EQ_F32, w->data, w->dt, w->n);
    }
    return p;
}
static void free_problem(problem *p) {
    eq_free(p->w[0]), eq_free(p->w[1]), eq_free(p->h), eq_free(p->scale), eq_free(p->mean);
}

/* Codes of a min-max grid as it is read back. */
static int code_of(const float *w, int64_t i, int64_t G, int bits) {
    const float *group = w + i / G * G;
    float lo = group[0], hi = lo, s, z;
    for (int64_t k = 0; k < G; k++) lo = fminf(lo, group[k]), hi = fmaxf(hi, group[k]);
    eq_minmax_start(lo, hi, bits, EQ_GRID_FREE, &s, &z);
    s = eq_f16_to_f32(eq_f32_to_f16(s)), z = eq_z_used(z, bits, EQ_GRID_FREE);
    return (int)eq_clampf(eq_code(w[i], s, z), 0, eq_q_max(bits));
}

static void one(const eq_st *golden, eq_backend *be, int bits, int64_t G) {
    eq_err err = {0};
    problem p = read_problem(golden);
    const float *scale = tensor(golden, "scale", bits)->data;
    const uint8_t *want = tensor(golden, "codes", bits)->data;
    int ratio = *(const uint8_t *)tensor(golden, "ratio", bits)->data;
    eq_mut h = {be->alloc(be, 4 * p.I * p.I), p.I * p.I, EQ_F32};
    eq_awq_linear l[2];
    eq_awq_choice found;
    be->upload(be, h, p.h, EQ_F32);
    for (int k = 0; k < 2; k++)
        l[k] = (eq_awq_linear){p.w[k], {.O = p.O[k], .I = p.I, .G = G, .bits = bits}};
    ok(eq_awq_scale(be, p.scale, &found, l, 2, p.mean, eq_ro(h), &err), &err);
    assert_int_equal((int)(found.ratio * EQ_AWQ_RATIOS + 0.5), ratio);
    assert_true(ratio > 0 && found.error < found.rounded);
    for (int64_t i = 0; i < p.I; i++) assert_true(fabsf(p.scale[i] - scale[i]) <= 1e-7f * scale[i]);
    for (int64_t i = 0; i < p.O[0] * p.I; i++) p.w[0][i] *= scale[i % p.I];
    for (int64_t i = 0; i < p.I * p.I; i++) p.h[i] /= scale[i / p.I] * scale[i % p.I];
    ok(eq_awq_clip(be, p.w[0], l[0].q, p.h, &err), &err);
    for (int64_t i = 0; i < p.O[0] * p.I; i++)
        if (code_of(p.w[0], i, G, bits) != want[i])
            fail_msg("%s, %d bits: code [%d, %d] is %d, expected %d", be->name, bits,
                     (int)(i / p.I), (int)(i % p.I), code_of(p.w[0], i, G, bits), want[i]);
    be->free_(be, h.p);
    free_problem(&p);
}

static void golden_integers(void **state) {
    (void)state;
    static const char *const specs[] = {"cpu", "ref", "fenced:cpu"};
    eq_st *golden;
    eq_err err = {0};
    ok(eq_st_open(&golden, "tests/golden/awq.safetensors", &err), &err);
    for (int i = 0; i < 3; i++) {
        eq_backend *be;
        eq_par_threads(1 + i % 2);
        ok(eq_backend_open(&be, specs[i], NULL, &err), &err);
        one(golden, be, 3, 104);
        if (i == 0) one(golden, be, 2, 16), one(golden, be, 4, 208);
        be->close(be);
    }
    eq_st_close(golden);
}

/* Inputs of one size have nothing to gain; the weights stay what they are. */
static void even_inputs(void **state) {
    (void)state;
    enum { I = 64, O = 3 };
    eq_err err = {0};
    eq_backend *be;
    float w[O * I], h[I * I] = {0}, scale[I];
    double mean[I];
    eq_awq_choice found;
    for (int i = 0; i < I; i++) h[i * I + i] = 2, mean[i] = 0.25;
    for (int i = 0; i < O * I; i++) w[i] = sinf((float)i);
    ok(eq_backend_open(&be, "cpu", NULL, &err), &err);
    eq_mut hd = {be->alloc(be, sizeof h), I * I, EQ_F32};
    be->upload(be, hd, h, EQ_F32);
    eq_awq_linear l = {w, {.O = O, .I = I, .G = 32, .bits = 3}};
    ok(eq_awq_scale(be, scale, &found, &l, 1, mean, eq_ro(hd), &err), &err);
    assert_true(found.ratio == 0 && found.error == found.rounded);
    for (int i = 0; i < I; i++) assert_true(scale[i] == 1);
    be->free_(be, hd.p);
    be->close(be);
}

/* Sums of squares (the diagonal of X^T X) and mean sizes of what the linears take in, against the
 * activations of one window after the other. */
static void inputs_of_a_block(void **state) {
    (void)state;
    enum { WINDOWS = 3 };
    eq_err err = {0};
    tiny_train_open("llama", "cpu");
    eq_windows w = tiny_windows(WINDOWS, 5), none = {.T = TINY_T};
    eq_block_ap_setup s = tiny_block_ap();
    eq_block_ap *job;
    eq_block_inputs x;
    s.ap.batch_size = 2;
    ok(eq_block_ap_open(&job, tiny.be, tiny.src, &s, &w, &none, NULL, &err), &err);
    ok(eq_block_inputs_open(&x, tiny.be, job->cfg, true, "inputs", &err), &err);
    ok(eq_block_inputs_gather(job, 0, &x, NULL, &err), &err);
    const eq_mut acts[EQ_INS] = {job->acts.h1, job->acts.att, job->acts.h2, job->acts.a};
    for (eq_in k = 0; k < EQ_INS; k++) {
        int64_t I = eq_in_of(job->cfg, k).I, n = TINY_T * I;
        double *size = eq_calloc(I, sizeof *size), *square = eq_calloc(I, sizeof *square);
        float *act = eq_calloc(n, sizeof *act), *h = eq_calloc(I * I, sizeof *h);
        for (int64_t i = 0; i < WINDOWS; i++) {
            eq_block_job_forward(job, &job->room, eq_stream_at(&job->q, i), NULL, 1);
            tiny.be->download(tiny.be, act, EQ_F32, eq_ro(eq_mut_at(acts[k], 0, n)));
            ok(tiny.be->sync(tiny.be, &err), &err);
            for (int64_t at = 0; at < n; at++) {
                double v = (double)act[at];
                size[at % I] += fabs(v) / (WINDOWS * TINY_T), square[at % I] += v * v;
            }
        }
        tiny.be->download(tiny.be, h, EQ_F32, eq_ro(x.h[k]));
        ok(tiny.be->sync(tiny.be, &err), &err);
        for (int64_t c = 0; c < I; c++) {
            assert_true(size[c] > 0 && fabs(x.mean[k][c] - size[c]) <= 1e-6 * size[c]);
            assert_true(fabs((double)h[c * I + c] - square[c]) <= 1e-5 * square[c]);
        }
        eq_free(size), eq_free(square), eq_free(act), eq_free(h);
    }
    eq_block_inputs_close(&x);
    eq_block_ap_close(job);
    eq_windows_free(&w);
    tiny_train_close();
}

/* A block's start by AWQ with every allocation failing in turn: a line, and nothing lost. */
static void faults(void **state) {
    (void)state;
    eq_err err = {0};
    tiny_train_open("llama", "cpu");
    eq_windows w = tiny_windows(3, 3), none = {.T = TINY_T};
    eq_block_ap_setup s = tiny_block_ap();
    eq_qblock out = tiny_qblock();
    eq_block_ap *job;
    s.ap.start = EQ_START_AWQ, s.ap.epochs = 0;
    ok(eq_block_ap_open(&job, tiny.be, tiny.src, &s, &w, &none, NULL, &err), &err);
    ok(eq_block_ap_train(job, 0, &out, NULL, &err), &err); /* the targets and products are there */
    bool done = false;
    for (int64_t n = 1; !done; n += 1 + n / 16) {
        int64_t before = eq_mem_current();
        err = (eq_err){0};
        eq_mem_fail_nth(n);
        done = eq_block_ap_train(job, 0, &out, NULL, &err) == EQ_OK;
        eq_mem_fail_nth(0);
        assert_int_equal(eq_mem_current(), before);
        if (!done) check_error(&err, EQ_ENOMEM, NULL);
        if (done) assert_true(n > 40);
    }
    eq_block_ap_close(job);
    eq_qblock_free(&out);
    eq_windows_free(&w);
    tiny_train_close();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_integers), cmocka_unit_test(even_inputs),
        cmocka_unit_test(inputs_of_a_block), cmocka_unit_test(faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

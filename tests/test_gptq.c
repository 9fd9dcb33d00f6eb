/* GPTQ for one linear: the factor of a Hessian, integers against a plain statement in numpy
 * (tests/golden/gptq.safetensors, tools/make_gptq_golden.py), and what must be rounding. */
#include <math.h>

#include "backend/backend.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "format/safetensors.h"
#include "quant/number.h"
#include "scratch.h"
#include "train/gptq.h"
#include "train/hessian.h"

static void ok(eq_status st, const eq_err *err) {
    if (st != EQ_OK) fail_msg("%s", err->msg);
}

/* ---- the factor ------------------------------------------------------------------------------ */

static double *hessian(int64_t n, int64_t rows, uint64_t seed) {
    double *h = eq_calloc(n * n, sizeof *h);
    float *x = eq_calloc(rows * n, sizeof *x);
    for (int64_t i = 0; i < rows * n; i++) x[i] = eq_rand_normal(seed, (uint64_t)i);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t r = 0; r < rows; r++)
                h[i * n + j] += (double)x[r * n + i] * (double)x[r * n + j];
    eq_free(x);
    return h;
}

/* U H' U^T = 1 for the damped H', since H'^-1 = U^T U. */
static void inverse(int64_t n) {
    eq_err err = {0};
    double *h = hessian(n, 2 * n + 3, 3), *kept = eq_calloc(n * n, sizeof *kept), mean = 0, used;
    float *u = eq_calloc(n * n, sizeof *u);
    bool *dead = eq_calloc(n, sizeof *dead);
    memcpy(kept, h, (size_t)(n * n) * sizeof *h);
    for (int64_t i = 0; i < n; i++) mean += h[i * n + i] / (double)n;
    for (int64_t i = 0; i < n; i++) kept[i * n + i] += 0.01 * mean;
    ok(eq_hessian_factor(u, dead, h, n, 0.01, &used, &err), &err);
    assert_true(used == 0.01);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = 0;
            assert_true(j >= i || u[i * n + j] == 0);
            for (int64_t k = 0; k < n; k++) {
                double row = 0;
                for (int64_t m = j; m < n; m++) row += kept[k * n + m] * (double)u[j * n + m];
                s += (double)u[i * n + k] * row;
            }
            if (fabs(s - (i == j)) > 2e-6)
                fail_msg("n %d: [%d, %d] is %g", (int)n, (int)i, (int)j, s);
        }
    eq_free(h), eq_free(kept), eq_free(u), eq_free(dead);
}
static void factors(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 7, 64, 65, 130};
    for (int i = 0; i < 6; i++) inverse(sizes[i]);
}

static void threads(void **state) {
    (void)state;
    enum { N = 150 };
    float u[2][N * N];
    bool dead[N];
    for (int t = 0; t < 2; t++) {
        eq_err err = {0};
        double *h = hessian(N, 40, 5), used; /* 40 rows: singular but for the damping */
        eq_par_threads(t + 1);
        ok(eq_hessian_factor(u[t], dead, h, N, 0.01, &used, &err), &err);
        eq_free(h);
    }
    assert_memory_equal(u[0], u[1], sizeof u[0]);
}

/* Not positive definite: more damping; never: an error. An input that is always 0 is told. */
static void hard(void **state) {
    (void)state;
    eq_err err = {0};
    float u[4];
    bool dead[2];
    double used, h[4] = {1, 1.05, 1.05, 1}, z[4] = {2, 0, 0, 0}, never[4] = {1, 50, 50, 1};
    ok(eq_hessian_factor(u, dead, h, 2, 0.01, &used, &err), &err);
    assert_true(fabs(used - 0.1) < 1e-12);
    ok(eq_hessian_factor(u, dead, z, 2, 0.01, &used, &err), &err);
    assert_true(!dead[0] && dead[1]);
    assert_int_equal(eq_hessian_factor(u, dead, never, 2, 0.01, &used, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "positive definite", NULL);
}

/* ---- integers -------------------------------------------------------------------------------- */

static void start(const float *w, float *s, float *z, eq_qshape q) {
    for (int64_t g = 0; g < q.O * (q.I / q.G); g++) {
        float lo = INFINITY, hi = -INFINITY;
        for (int64_t i = g * q.G; i < (g + 1) * q.G; i++)
            lo = fminf(lo, w[i]), hi = fmaxf(hi, w[i]);
        eq_minmax_start(lo, hi, q.bits, q.grid, &s[g], &z[g]);
        s[g] = eq_f16_to_f32(eq_f32_to_f16(s[g])), z[g] = eq_z_used(z[g], q.bits, q.grid);
    }
}
static int code_of(float w, float s, float z, int bits) {
    return (int)eq_clampf(eq_code(w, s, z), 0, eq_q_max(bits));
}

static const eq_tensor *tensor(const eq_st *st, const char *name) {
    const eq_tensor *t = eq_st_find(st, name);
    if (!t) fail_msg("no tensor %s in the golden file", name);
    return t;
}

static void integers(const eq_st *golden, const char *spec, int bits, int64_t G) {
    const eq_tensor *x = tensor(golden, "x"), *w = tensor(golden, "w");
    char name[16];
    snprintf(name, sizeof name, "codes%d", bits);
    const uint8_t *want = tensor(golden, name)->data, *bytes = x->data;
    int64_t N = x->shape[0], I = x->shape[1], O = w->shape[0], NG = I / G;
    eq_qshape q = {.O = O, .I = I, .G = G, .bits = bits};
    eq_err err = {0};
    eq_backend *be;
    ok(eq_backend_open(&be, spec, NULL, &err), &err);
    double *h = eq_calloc(I * I, sizeof *h), damp;
    float *u = eq_calloc(I * I, 4);
    bool *dead = eq_calloc(I, 1);
    float *m = eq_calloc(O * I, 4), *s = eq_calloc(O * NG, 4), *z = eq_calloc(O * NG, 4);
    for (int64_t r = 0; r < N; r++)
        for (int64_t i = 0; i < I; i++)
            for (int64_t j = 0; j < I; j++)
                h[i * I + j] += ((int)bytes[r * I + i] - 128) * ((int)bytes[r * I + j] - 128);
    eq_convert(m, EQ_F32, w->data, w->dt, O * I);
    start(m, s, z, q);
    ok(eq_hessian_factor(u, dead, h, I, EQ_GPTQ_DAMP, &damp, &err), &err);
    ok(eq_gptq_linear(be, m, s, z, u, dead, q, &err), &err);
    for (int64_t i = 0; i < O * I; i++) {
        int found = code_of(m[i], s[i / G], z[i / G], bits);
        if (found != want[i])
            fail_msg("%s, %d bits: code [%d, %d] is %d, expected %d", spec, bits, (int)(i / I),
                     (int)(i % I), found, want[i]);
    }
    eq_free(h), eq_free(u), eq_free(dead), eq_free(m), eq_free(s), eq_free(z);
    be->close(be);
}
static void golden_integers(void **state) {
    (void)state;
    static const char *const specs[] = {"cpu", "ref", "fenced:cpu"};
    eq_st *golden;
    eq_err err = {0};
    ok(eq_st_open(&golden, "tests/golden/gptq.safetensors", &err), &err);
    for (int i = 0; i < 3; i++) {
        integers(golden, specs[i], 2, 16);
        integers(golden, specs[i], 3, 104);
        integers(golden, specs[i], 4, 208);
    }
    eq_st_close(golden);
}

/* Inputs that have nothing to do with each other leave nothing to make up for. */
static void unrelated_inputs(void **state) {
    (void)state;
    enum { O = 5, I = 160, G = 32 };
    float w[O * I], kept[O * I], s[O * I / G], z[O * I / G];
    eq_qshape q = {.O = O, .I = I, .G = G, .bits = 2};
    eq_err err = {0};
    eq_backend *be;
    double *h = eq_calloc(I * I, sizeof *h), damp;
    float *u = eq_calloc(I * I, sizeof *u);
    bool dead[I];
    for (int i = 0; i < O * I; i++) w[i] = kept[i] = eq_rand_normal(9, (uint64_t)i);
    for (int i = 0; i < I; i++) h[i * I + i] = 1 + i;
    start(w, s, z, q);
    ok(eq_backend_open(&be, "cpu", NULL, &err), &err);
    ok(eq_hessian_factor(u, dead, h, I, EQ_GPTQ_DAMP, &damp, &err), &err);
    ok(eq_gptq_linear(be, w, s, z, u, dead, q, &err), &err);
    assert_memory_equal(w, kept, sizeof w);
    be->close(be);
    eq_free(h), eq_free(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(factors), cmocka_unit_test(threads),
                                       cmocka_unit_test(hard), cmocka_unit_test(golden_integers),
                                       cmocka_unit_test(unrelated_inputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

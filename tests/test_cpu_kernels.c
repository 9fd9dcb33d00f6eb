/* The CPU backend's inside, where the table of operations does not reach: products of sub-matrices,
 * both ways of handling bf16, oneDNN limited to AVX2, transposition, number types, exp. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/cpu/cpu.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "quant/number.h"

static const eq_kernels *tables[3];
static int table_count;

static void nothing(void *ctx, int64_t item, int thread) { (void)ctx, (void)item, (void)thread; }

static int find_tables(void **state) {
    (void)state;
    eq_par_for(1, nothing, NULL); /* from here on oneDNN keeps to the calling thread */
    const eq_kernels *all[] = {&eq_kernels_base, &eq_kernels_avx2, &eq_kernels_avx512};
    eq_cpu_level level;
    if (eq_cpu_detect(&level, NULL, NULL) != EQ_OK) return 1;
    for (int i = 0; i <= (int)level; i++) tables[table_count++] = all[i];
    if (table_count < 3) printf("SKIP kernels above %s: this CPU has none\n", tables[level]->name);
    return 0;
}

/* ---- products -------------------------------------------------------------------------------- */

enum { GAP = 3 }; /* elements between two rows that nobody may touch */

static void *matrix(int64_t rows, int64_t ld, eq_dtype dt, uint64_t seed) {
    void *p = eq_calloc(rows * ld + 1, eq_dtype_size(dt));
    for (int64_t i = 0; i < rows * ld; i++) eq_store(p, dt, i, eq_rand_normal(seed, (uint64_t)i));
    return p;
}

static double naive(const eq_product *p, int64_t m, int64_t n, double start) {
    double sum = start;
    for (int64_t k = 0; k < p->K; k++)
        sum += (double)eq_load(p->a, p->in, m * p->lda + k) *
               (double)eq_load(p->b, p->in, p->b_t ? n * p->ldb + k : k * p->ldb + n);
    return sum;
}

static void check_product(eq_gemm *g, int64_t M, int64_t N, int64_t K, eq_dtype in, eq_dtype out,
                          bool b_t, bool acc) {
    int64_t lda = K + GAP, ldb = (b_t ? K : N) + GAP, ldc = N + GAP;
    void *a = matrix(M, lda, in, 1), *b = matrix(b_t ? N : K, ldb, in, 2);
    void *c = matrix(M, ldc, out, 3), *before = matrix(M, ldc, out, 3);
    eq_product p = {.c = c,
                    .a = a,
                    .b = b,
                    .M = M,
                    .N = N,
                    .K = K,
                    .ldc = ldc,
                    .lda = lda,
                    .ldb = ldb,
                    .in = in,
                    .out = out,
                    .b_t = b_t,
                    .acc = acc};
    eq_gemm_run(g, 0, &p);
    eq_err err = {0};
    if (eq_gemm_error(g, &err) != EQ_OK) fail_msg("%s", err.msg);
    /* |a|, |b| < 6; a sum of K products in fp32, then one rounding of the result */
    double round = out == EQ_BF16 ? 0x1p-8 : 0x1p-23, slack = 36.0 * (double)(K + 1) * 0x1p-24;
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < ldc; n++) {
            double old = (double)eq_load(before, out, m * ldc + n);
            double want = n < N ? naive(&p, m, n, acc ? old : 0.0) : old;
            double got = (double)eq_load(c, out, m * ldc + n);
            if (fabs(got - want) > (n < N ? fabs(want) * round + slack : 0.0))
                fail_msg("%lldx%lldx%lld %s>%s t%d acc%d: [%lld, %lld] is %g, expected %g",
                         (long long)M, (long long)N, (long long)K, eq_dtype_name(in),
                         eq_dtype_name(out), b_t, acc, (long long)m, (long long)n, got, want);
        }
    eq_free(a), eq_free(b), eq_free(c), eq_free(before);
}

static void check_products(eq_gemm *g) {
    static const int64_t shapes[][3] = {{1, 1, 1},    {1, 70, 33},  {70, 1, 33},   {33, 40, 1},
                                        {5, 7, 1100}, {64, 64, 64}, {31, 129, 80}, {0, 5, 5},
                                        {5, 0, 5},    {4, 6, 0},    {130, 17, 520}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int b_t = 0; b_t < 2; b_t++) {
            const int64_t *d = shapes[s];
            check_product(g, d[0], d[1], d[2], EQ_F32, EQ_F32, b_t, false);
            check_product(g, d[0], d[1], d[2], EQ_F32, EQ_F32, b_t, true);
            check_product(g, d[0], d[1], d[2], EQ_F32, EQ_BF16, b_t, false);
            check_product(g, d[0], d[1], d[2], EQ_BF16, EQ_F32, b_t, false);
            check_product(g, d[0], d[1], d[2], EQ_BF16, EQ_F32, b_t, true);
            check_product(g, d[0], d[1], d[2], EQ_BF16, EQ_BF16, b_t, false);
        }
}

static void products(eq_cpu_level level, bool native) {
    eq_gemm *g;
    eq_err err = {0};
    if (eq_gemm_open(&g, level, tables[table_count - 1], native, &err) != EQ_OK)
        fail_msg("%s", err.msg);
    if (!native || level < EQ_CPU_AVX512) assert_false(eq_gemm_native_bf16(g));
    check_products(g);
    eq_gemm_close(g);
}

/* oneDNN's limit holds for a whole process, so each limit gets one of its own. Must run before any
 * other product: a child inherits what its parent has already decided. */
static void test_products_limited(void **state) {
    (void)state;
    for (int level = EQ_CPU_SSE2; level <= EQ_CPU_AVX2; level++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            products((eq_cpu_level)level, true);
            _exit(0); /* a failed check has ended this process with another status */
        }
        int status = -1;
        assert_true(child > 0);
        assert_true(waitpid(child, &status, 0) == child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void test_products_native(void **state) {
    (void)state;
    products(EQ_CPU_AVX512, true);
}
static void test_products_widened(void **state) {
    (void)state;
    products(EQ_CPU_AVX512, false);
}

/* More shapes than the cache of primitives holds, twice: what was thrown out is made again. */
static void test_products_many_shapes(void **state) {
    (void)state;
    eq_gemm *g;
    assert_int_equal(eq_gemm_open(&g, EQ_CPU_AVX512, tables[0], true, NULL), EQ_OK);
    for (int64_t i = 0; i < 640; i++)
        check_product(g, 1 + i % 320 / 16, 1 + i % 16, 5, EQ_F32, EQ_F32, i % 2, false);
    eq_gemm_close(g);
}

static void test_products_out_of_memory(void **state) {
    (void)state;
    eq_gemm *g;
    eq_err err = {0};
    uint16_t a[16] = {0}, b[16] = {0}, c[16] = {0};
    eq_product p = {.c = c,
                    .a = a,
                    .b = b,
                    .M = 4,
                    .N = 4,
                    .K = 4,
                    .ldc = 4,
                    .lda = 4,
                    .ldb = 4,
                    .in = EQ_BF16,
                    .out = EQ_BF16};
    assert_int_equal(eq_gemm_open(&g, EQ_CPU_AVX512, tables[0], false, NULL), EQ_OK);
    for (int nth = 1; nth <= 2; nth++) { /* a thread's state, its fp32 copies */
        eq_mem_fail_nth(nth);
        eq_gemm_run(g, nth, &p);
        eq_mem_fail_nth(0);
        err = (eq_err){0};
        assert_int_equal(eq_gemm_error(g, &err), EQ_ENOMEM);
        assert_non_null(strstr(err.msg, "out of memory"));
        eq_gemm_run(g, nth, &p);
        assert_int_equal(eq_gemm_error(g, NULL), EQ_OK);
    }
    eq_gemm_close(g);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void test_masks(void **state) {
    (void)state;
    eq_cpu_level highest, level;
    eq_err err = {0};
    assert_int_equal(eq_cpu_detect(&highest, NULL, NULL), EQ_OK);
    assert_int_equal(eq_cpu_detect(&level, "sse2", NULL), EQ_OK);
    assert_int_equal(level, EQ_CPU_SSE2);
    assert_int_equal(eq_cpu_detect(&level, "avx512", NULL), EQ_OK);
    assert_int_equal(level, highest);
    assert_int_equal(eq_cpu_detect(&level, "avx3", &err), EQ_EINPUT);
    assert_string_equal(err.msg, "cpu mask \"avx3\": expected sse2, avx2 or avx512");
}

static void test_open_says_what_it_chose(void **state) {
    (void)state;
    eq_backend *be;
    assert_int_equal(eq_cpu_open(&be, "sse2", NULL), EQ_OK);
    assert_non_null(strstr(be->kernels, "sse2, oneDNN "));
    assert_non_null(strstr(be->kernels, "(bf16 through fp32)"));
    be->close(be);
}

static void test_open_out_of_memory(void **state) {
    (void)state;
    int64_t before = eq_mem_current();
    bool failed = true;
    for (int nth = 1; failed; nth++) {
        eq_backend *be;
        eq_err err = {0};
        eq_mem_fail_nth(nth);
        failed = eq_cpu_open(&be, NULL, &err) != EQ_OK;
        eq_mem_fail_nth(0);
        if (failed)
            assert_int_equal(err.status, EQ_ENOMEM);
        else
            be->close(be);
        assert_int_equal(eq_mem_current(), before);
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

static eq_mut tensor(eq_backend *be, eq_dtype dt, int64_t n, uint64_t seed) {
    eq_mut m = {be->alloc(be, n * eq_dtype_size(dt)), n, dt};
    for (int64_t i = 0; i < n; i++) eq_store(m.p, dt, i, eq_rand_normal(seed, (uint64_t)i));
    return m;
}

static void near(eq_mut got, eq_mut want, const char *name, const eq_attn_shape *s) {
    double error = 0.0, size = 0.0;
    for (int64_t i = 0; i < want.n; i++) {
        double w = (double)eq_load(want.p, want.dt, i), e = (double)eq_load(got.p, got.dt, i) - w;
        error += e * e, size += w * w;
    }
    /* fp32 sums of up to T terms and exp: as bench/op_calls.c derives it */
    if (!(error <= 1e-10 * size))
        fail_msg("T %lld, window %lld: %s errs by %g", (long long)s->T, (long long)s->window, name,
                 sqrt(error / size));
}

/* Where blocks of queries and keys meet: sequences of several blocks, windows that begin inside
 * one. */
static void test_attention_blocks(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{256, 0},   {257, 0},   {600, 0},   {600, 150},
                                        {600, 256}, {600, 300}, {700, 400}, {530, 513},
                                        {513, 2},   {1100, 0},  {1030, 90}};
    eq_backend *be[2];
    assert_int_equal(eq_cpu_open(&be[0], NULL, NULL), EQ_OK);
    assert_int_equal(eq_ref_open(&be[1], NULL), EQ_OK);
    for (size_t c = 0; c < sizeof shapes / sizeof *shapes; c++) {
        eq_attn_shape s = {.B = 1,
                           .T = shapes[c][0],
                           .NH = 2,
                           .NKV = 1,
                           .HD = 8,
                           .window = shapes[c][1],
                           .scale = 0.35f};
        int64_t nq = s.T * 2 * s.HD, nk = s.T * s.HD;
        eq_mut in[2][4], out[2][5]; /* q k v do; o lse dq dk dv */
        for (int b = 0; b < 2; b++) {
            for (int i = 0; i < 4; i++)
                in[b][i] = tensor(be[b], EQ_F32, i == 1 || i == 2 ? nk : nq, (uint64_t)i);
            for (int i = 0; i < 5; i++)
                out[b][i] = tensor(be[b], EQ_F32, i == 1 ? 2 * s.T : i > 2 ? nk : nq, 9);
            EQ_DO(be[b], attn_fwd, out[b][0], out[b][1], eq_ro(in[b][0]), eq_ro(in[b][1]),
                  eq_ro(in[b][2]), EQ_NONE_VIEW, s);
            EQ_DO(be[b], attn_bwd, out[b][2], out[b][3], out[b][4], eq_ro(in[b][3]),
                  eq_ro(in[b][0]), eq_ro(in[b][1]), eq_ro(in[b][2]), eq_ro(out[b][0]),
                  eq_ro(out[b][1]), s);
            assert_int_equal(be[b]->sync(be[b], NULL), EQ_OK);
        }
        static const char *const names[] = {"o", "lse", "dq", "dk", "dv"};
        for (int i = 0; i < 5; i++) near(out[0][i], out[1][i], names[i], &s);
        for (int b = 0; b < 2; b++) {
            for (int i = 0; i < 4; i++) be[b]->free_(be[b], in[b][i].p);
            for (int i = 0; i < 5; i++) be[b]->free_(be[b], out[b][i].p);
        }
    }
    be[0]->close(be[0]), be[1]->close(be[1]);
}

/* ---- kernels --------------------------------------------------------------------------------- */

static void test_transpose(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},   {1, 40},  {40, 1},  {7, 5},    {16, 16},
                                        {32, 32}, {33, 31}, {64, 96}, {100, 70}, {129, 257}};
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            int64_t rows = shapes[s][0], cols = shapes[s][1], ldx = cols + 2, ldy = rows + 3;
            uint32_t *x = eq_calloc(rows * ldx, 4), *y = eq_calloc(cols * ldy, 4);
            uint16_t *x16 = eq_calloc(rows * ldx, 2), *y16 = eq_calloc(cols * ldy, 2);
            for (int64_t i = 0; i < rows * ldx; i++) x16[i] = (uint16_t)(x[i] = (uint32_t)i + 1);
            tables[t]->transpose32(y, ldy, x, ldx, rows, cols);
            tables[t]->transpose16(y16, ldy, x16, ldx, rows, cols);
            for (int64_t c = 0; c < cols; c++)
                for (int64_t r = 0; r < ldy; r++) {
                    uint32_t want = r < rows ? x[r * ldx + c] : 0;
                    assert_int_equal(y[c * ldy + r], want);
                    assert_int_equal(y16[c * ldy + r], (uint16_t)want);
                }
            eq_free(x), eq_free(y), eq_free(x16), eq_free(y16);
        }
}

static void test_types(void **state) {
    (void)state;
    enum { N = 1 << 16 };
    uint16_t *h = eq_calloc(N, 2), *back = eq_calloc(N, 2);
    float *f = eq_calloc(N, 4);
    for (int i = 0; i < N; i++) h[i] = (uint16_t)i;
    for (int t = 0; t < table_count; t++) {
        tables[t]->f32_from_f16(f, h, N);
        for (int i = 0; i < N; i++) {
            float want = eq_f16_to_f32(h[i]);
            if (isnan(want))
                assert_true(isnan(f[i]));
            else
                assert_int_equal(eq_f32_bits(f[i]), eq_f32_bits(want));
        }
        tables[t]->f32_from_bf16(f, h, N);
        for (int i = 0; i < N; i++) assert_int_equal(eq_f32_bits(f[i]), (uint32_t)h[i] << 16);
        for (int i = 0; i < N; i++) f[i] = eq_bits_f32((uint32_t)eq_rand_u64(5, (uint64_t)i));
        tables[t]->bf16_from_f32(back, f, N);
        for (int i = 0; i < N; i++) assert_int_equal(back[i], eq_f32_to_bf16(f[i]));
    }
    eq_free(h), eq_free(back), eq_free(f);
}

/* Error of y in units of the last place of the true value. */
static double ulps(float y, double want) {
    int e;
    frexp(want, &e);
    return fabs((double)y - want) / ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

static void test_exp(void **state) {
    (void)state;
    static const float special[] = {0.0f,    -0.0f,   -INFINITY, INFINITY,
                                    -104.5f, -150.0f, 88.8f,     1e30f};
    enum { BATCH = 1024, STRIDE = 2999 };
    for (int t = 0; t < table_count; t++) {
        float x[BATCH], y[BATCH];
        for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
            tables[t]->exp_scale(y, special + i, 0.0f, 1.0f, 1);
            assert_true(y[0] == expf(special[i]));
        }
        x[0] = NAN;
        tables[t]->exp_scale(y, x, 0.0f, 1.0f, 1);
        assert_true(isnan(y[0]));
        double worst = 0.0;
        for (uint64_t u = 0; u < 1ull << 32; u += (uint64_t)STRIDE * BATCH) {
            for (int i = 0; i < BATCH; i++) {
                float v = eq_bits_f32((uint32_t)(u + (uint64_t)i * STRIDE));
                x[i] = v > -104.0f && v < 88.7f ? v : 0.5f;
            }
            tables[t]->exp_scale(y, x, 0.0f, 1.0f, BATCH);
            for (int i = 0; i < BATCH; i++) worst = fmax(worst, ulps(y[i], exp((double)x[i])));
        }
        if (worst >= 2.0) fail_msg("%s: exp errs by %.2f ulp", tables[t]->name, worst);
    }
}

/* What decides integers must not depend on the instruction set. */
static void test_codes_agree(void **state) {
    (void)state;
    enum { N = 352, G = 96, GROUPS = 5 };
    float w[N], want[N], got[N], s[GROUPS], z[GROUPS];
    uint8_t code[N], code_want[N];
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < GROUPS; i++) {
            s[i] = 0.003f + 0.0001f * (float)(round + i);
            z[i] = (float)((round + i) % 4);
        }
        /* the first group begins before the run, the last ends behind it */
        eq_groups g = {s, z, G, round % 3 * 32, 2, EQ_GRID_FREE};
        for (int i = 0; i < N; i++)
            w[i] = round % 2 ? s[(i + g.off) / G] * (float)(i - N / 2) * 0.5f
                             : 0.02f * eq_rand_normal((uint64_t)round, (uint64_t)i);
        eq_kernels_base.fq_fwd(want, w, g, N);
        eq_kernels_base.fq_code(code_want, w, g, N);
        for (int i = 0; i < N; i++) {
            int64_t k = (i + g.off) / G;
            float t = eq_clampf(eq_code(w[i], s[k], z[k]), 0.0f, 3.0f);
            assert_true(want[i] == (t - z[k]) * s[k] && (float)code_want[i] == t);
        }
        for (int t = 1; t < table_count; t++) {
            tables[t]->fq_fwd(got, w, g, N);
            tables[t]->fq_code(code, w, g, N);
            assert_memory_equal(got, want, sizeof want);
            assert_memory_equal(code, code_want, sizeof code);
        }
    }
}

/* AdamW gives the same bits at every instruction set, and moments end at 0, never below what they
 * count from: a gradient of 0 for as many steps as the first moment takes, and tiny gradients. */
static void test_adamw(void **state) {
    (void)state;
    enum { N = 259, STEPS = 1000 };
    eq_adamw a = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
    float p[3][N], m[3][N], v[3][N], g[N];
    for (int t = 0; t < table_count; t++)
        for (int i = 0; i < N; i++)
            p[t][i] = 1.0f + (float)i, m[t][i] = eq_rand_normal(1, (uint64_t)i),
            v[t][i] = i % 7 ? 1e-3f : 2e-38f;
    for (int k = 1; k <= STEPS; k++) {
        a.bias1 = 1 - pow(0.9, k), a.bias2 = 1 - pow(0.999, k), a.grad_scale = 0.7;
        for (int i = 0; i < N; i++)
            g[i] = i % 3 ? 0.0f : ldexpf(eq_rand_normal((uint64_t)k, (uint64_t)i), -i % 140);
        for (int t = 0; t < table_count; t++) {
            tables[t]->adamw(p[t], m[t], v[t], g, &a, N);
            assert_memory_equal(p[t], p[0], sizeof p[0]);
            assert_memory_equal(m[t], m[0], sizeof m[0]);
            assert_memory_equal(v[t], v[0], sizeof v[0]);
        }
        for (int i = 0; i < N; i++) {
            assert_true(m[0][i] == 0.0f || fabsf(m[0][i]) >= EQ_M_LEAST);
            assert_true(v[0][i] == 0.0f || v[0][i] >= EQ_V_LEAST);
        }
    }
    for (int i = 1; i < N; i += 3)
        assert_true(m[0][i] == 0.0f && v[0][i] >= (i % 7 ? 1e-4f : 0.0f));
    assert_true(v[0][7] == 0.0f && v[0][0] > 1e-3f);
    g[0] = NAN; /* is not taken for small */
    for (int t = 0; t < table_count; t++) {
        tables[t]->adamw(p[t], m[t], v[t], g, &a, 1);
        assert_true(isnan(p[t][0]) && isnan(m[t][0]) && isnan(v[t][0]));
    }
}

static void test_extremes(void **state) {
    (void)state;
    float x[100];
    for (int t = 0; t < table_count; t++)
        for (int n = 1; n <= 100; n++) {
            for (int i = 0; i < n; i++) x[i] = (float)(i * 37 % n) - 50.0f;
            assert_true(tables[t]->max(x, n) == (float)(n - 1) - 50.0f || n % 37 == 0);
            x[n / 2] = 1e3f, x[n / 3] = n > 1 && n / 3 != n / 2 ? -1e3f : x[n / 3];
            assert_true(tables[t]->max(x, n) == 1e3f);
            if (n / 3 != n / 2) assert_true(tables[t]->min(x, n) == -1e3f);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_limited), /* first: see there */
        cmocka_unit_test(test_products_native),
        cmocka_unit_test(test_products_widened),
        cmocka_unit_test(test_products_many_shapes),
        cmocka_unit_test(test_products_out_of_memory),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_open_says_what_it_chose),
        cmocka_unit_test(test_open_out_of_memory),
        cmocka_unit_test(test_attention_blocks),
        cmocka_unit_test(test_transpose),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_codes_agree),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, find_tables, NULL);
}

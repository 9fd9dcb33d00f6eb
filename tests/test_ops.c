/* Every operation, every row of the case table: the CPU against the reference at each instruction
 * set and 1, 2 and 3 threads (the same bytes), on aligned memory, one element off, and at a page's
 * end; guards, inputs and unwritten outputs watched. Identities of products and packing besides. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "op_run.h"
#include "quant/pack.h"

static const char *const masks[] = {"sse2", "avx2", "avx512"};
enum { MASKS = sizeof masks / sizeof *masks };
static eq_backend *ref, *cpu[MASKS], *fenced;
static char label[128];

static void must(const op_run *r, const uint8_t *const want[], bool exact, const char *what) {
    char why[160];
    int i = op_run_compare(r, want, exact, why, sizeof why);
    if (i >= 0) fail_msg("%s, %s: %s %s", label, what, r->bufs[i].name, why);
}

/* Takes over the outputs of r, so that the next run can be compared with them. */
static void keep(uint8_t *kept[], op_run *r) {
    for (int i = 0; i < r->n; i++) {
        uint8_t *other = kept[i];
        kept[i] = r->after[i];
        r->after[i] = other;
    }
}

static void check_mask(op_run *r, int mask, const uint8_t *const want[], uint8_t *one_thread[]) {
    char what[64];
    for (int threads = 1; threads <= 3; threads++) {
        eq_par_threads(threads);
        op_run_do(r, cpu[mask], OP_ALIGNED);
        snprintf(what, sizeof what, "%s, %d threads", masks[mask], threads);
        if (threads == 1) {
            must(r, want, false, what);
            keep(one_thread, r);
        } else {
            must(r, (const uint8_t *const *)one_thread, true, what);
        }
    }
    op_run_do(r, cpu[mask], OP_SHIFTED);
    snprintf(what, sizeof what, "%s, one element off", masks[mask]);
    must(r, want, false, what);
}

static void check_case(const eq_op_case *c) {
    eq_case_label(c, label, sizeof label);
    op_run r, spare;
    op_run_inputs(&r, c, ref);
    op_run_inputs(&spare, c, ref);
    uint8_t *want[EQ_CASE_BUFS] = {0}, *one_thread[EQ_CASE_BUFS] = {0};
    op_run_do(&spare, ref, OP_ALIGNED);
    keep(want, &spare);
    for (int i = 0; i < r.n; i++)
        if (r.after[i]) spare.after[i] = eq_calloc(r.bufs[i].n, eq_dtype_size(r.bufs[i].dt));
    keep(one_thread, &spare);
    for (int m = 0; m < MASKS; m++) check_mask(&r, m, (const uint8_t *const *)want, one_thread);
    op_run_do(&r, fenced, OP_PAGE_END);
    must(&r, (const uint8_t *const *)want, false, "fenced");
    for (int i = 0; i < r.n; i++) eq_free(want[i]), eq_free(one_thread[i]);
    op_run_free(&spare);
    op_run_free(&r);
}

static void check_op(eq_op_id op) {
    int n = 0;
    for (int i = 0; i < eq_op_case_count; i++)
        if (eq_op_cases[i].op == op && !eq_op_cases[i].bench) check_case(&eq_op_cases[i]), n++;
    *label = '\0';
    if (!n) fail_msg("operation %s has no case in bench/op_cases.c", eq_op_names[op]);
}

#define TEST(name, params, args) \
    static void test_##name(void **state) { \
        (void)state; \
        check_op(EQ_OP_##name); \
    }
EQ_OPS(TEST)

/* Every operation is timed by `bench`, too. */
static void test_bench_rows(void **state) {
    (void)state;
    for (int op = 0; op < EQ_OP_COUNT; op++) {
        int n = 0;
        for (int i = 0; i < eq_op_case_count; i++)
            n += eq_op_cases[i].op == (eq_op_id)op && eq_op_cases[i].bench;
        if (!n) fail_msg("operation %s has no row for bench", eq_op_names[op]);
    }
}

/* ---- identities ------------------------------------------------------------------------------ */

static eq_mut dev(eq_backend *be, eq_dtype dt, int64_t n) {
    eq_mut m = {be->alloc(be, n * eq_dtype_size(dt)), n, dt};
    assert_non_null(m.p);
    return m;
}
static double get(const float *x, int64_t r, int64_t c, int64_t cols, bool turned, int64_t rows) {
    return (double)(turned ? x[c * rows + r] : x[r * cols + c]);
}

/* Freivalds: y v = a (b v) for a random v of +-1, in O(n^2). One wrong element of y, of size
 * sqrt(K), stands out against rounding of the sum, sqrt(N K) 2^-20 at most. */
static void probe(eq_backend *be, eq_op_id op, eq_dtype dt) {
    enum { M = 403, N = 290, K = 517 };
    static float a[M * K], b[N * K], y[M * N];
    for (int64_t i = 0; i < M * K; i++)
        a[i] = eq_bf16_to_f32(eq_f32_to_bf16(eq_rand_normal(1, (uint64_t)i)));
    for (int64_t i = 0; i < N * K; i++)
        b[i] = eq_bf16_to_f32(eq_f32_to_bf16(eq_rand_normal(2, (uint64_t)i)));
    eq_mut da = dev(be, dt, M * K), db = dev(be, dt, N * K), dy = dev(be, EQ_F32, M * N);
    be->upload(be, da, a, EQ_F32);
    be->upload(be, db, b, EQ_F32);
    if (op == EQ_OP_matmul_nt) EQ_DO(be, matmul_nt, dy, eq_ro(da), eq_ro(db), M, N, K, M, 0);
    if (op == EQ_OP_matmul_nn) EQ_DO(be, matmul_nn, dy, eq_ro(da), eq_ro(db), M, N, K, M, 0);
    if (op == EQ_OP_matmul_tn) EQ_DO(be, matmul_tn, dy, eq_ro(da), eq_ro(db), M, N, K, K, M, 0);
    be->download(be, y, EQ_F32, eq_ro(dy));
    double v[N], bv[K] = {0};
    for (int64_t n = 0; n < N; n++) v[n] = eq_rand_u64(3, (uint64_t)n) & 1 ? 1.0 : -1.0;
    for (int64_t k = 0; k < K; k++) /* b is [N, K] for nt, [K, N] else */
        for (int64_t n = 0; n < N; n++) bv[k] += get(b, k, n, N, op == EQ_OP_matmul_nt, K) * v[n];
    for (int64_t m = 0; m < M; m++) {
        double left = 0.0, right = 0.0;
        for (int64_t n = 0; n < N; n++) left += (double)y[m * N + n] * v[n];
        for (int64_t k = 0; k < K; k++) right += get(a, m, k, K, op == EQ_OP_matmul_tn, M) * bv[k];
        assert_true(fabs(left - right) < sqrt((double)N * K) * 0x1p-14);
    }
    be->free_(be, da.p), be->free_(be, db.p), be->free_(be, dy.p);
}

static void test_random_probe(void **state) {
    (void)state;
    static const eq_op_id op[] = {EQ_OP_matmul_nt, EQ_OP_matmul_nn, EQ_OP_matmul_tn};
    for (int m = 0; m < MASKS; m++)
        for (int i = 0; i < 3; i++) probe(cpu[m], op[i], EQ_F32), probe(cpu[m], op[i], EQ_BF16);
}

/* What is packed reads back as what the training forward gives with the finalised s and z. */
static void pack_identity(eq_backend *be, int bits, int64_t G, eq_grid grid) {
    enum { O = 6, MOST = 384 };
    eq_qshape q = {O, G == 172 ? G : MOST, G, bits, grid};
    int64_t n = O * q.I, ng = n / G;
    float w[O * MOST], a[O * MOST], b[O * MOST];
    for (int64_t i = 0; i < n; i++) w[i] = 0.02f * eq_rand_normal(9, (uint64_t)i);
    eq_mut dw = dev(be, EQ_F32, n), s = dev(be, EQ_F32, ng), z = dev(be, EQ_F32, ng);
    eq_mut words = dev(be, EQ_U32, O * eq_pack_words(q.I, bits)), w_hat = dev(be, EQ_F32, n);
    be->upload(be, dw, w, EQ_F32);
    EQ_DO(be, fq_init, s, z, eq_ro(dw), q);
    EQ_DO(be, fq_pack, words, s, z, eq_ro(dw), q);
    EQ_DO(be, dequant, w_hat, eq_ro(words), eq_ro(s), eq_ro(z), q);
    be->download(be, a, EQ_F32, eq_ro(w_hat));
    EQ_DO(be, fq_fwd, w_hat, eq_ro(dw), eq_ro(s), eq_ro(z), q);
    be->download(be, b, EQ_F32, eq_ro(w_hat));
    assert_memory_equal(a, b, (size_t)n * sizeof *a);
    eq_mut all[] = {dw, s, z, words, w_hat};
    for (int i = 0; i < 5; i++) be->free_(be, all[i].p);
}

static void test_pack_identity(void **state) {
    (void)state;
    static const int64_t group[] = {32, 64, 128, 384, 172};
    static const int bits[] = {2, 3, 4, 8};
    for (int g = 0; g < 5; g++)
        for (int i = 0; i < 4; i++)
            for (int grid = EQ_GRID_FREE; grid <= EQ_GRID_PORTABLE; grid++) {
                pack_identity(ref, bits[i], group[g], (eq_grid)grid);
                for (int m = 0; m < MASKS; m++)
                    pack_identity(cpu[m], bits[i], group[g], (eq_grid)grid);
            }
}

/* Small weights keep their codes: 2^-k w has the codes and zero points of w and 2^-k of its steps,
 * as long as fp16 has steps for it. The paper's floor of 1e-4 would turn them all into 0. */
static void small_weights(eq_backend *be, int bits) {
    enum { O = 3, I = 192, G = 64, NG = O * I / G };
    eq_qshape q = {O, I, G, bits, EQ_GRID_FREE};
    uint32_t words[2][O * I / 4] = {{0}};
    float w[O * I], s[2][NG], z[2][NG];
    eq_mut dw = dev(be, EQ_F32, O * I), ds = dev(be, EQ_F32, NG), dz = dev(be, EQ_F32, NG);
    eq_mut dq = dev(be, EQ_U32, O * I / 32 * bits);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < O * I; i++) w[i] = ldexpf(eq_rand_normal(3, (uint64_t)i), k ? -12 : 0);
        be->upload(be, dw, w, EQ_F32);
        EQ_DO(be, fq_init, ds, dz, eq_ro(dw), q);
        EQ_DO(be, fq_pack, dq, ds, dz, eq_ro(dw), q);
        be->download(be, words[k], EQ_U32, eq_ro(dq));
        be->download(be, s[k], EQ_F32, eq_ro(ds));
        be->download(be, z[k], EQ_F32, eq_ro(dz));
    }
    assert_memory_equal(words[0], words[1], O * I / 8 * bits);
    assert_memory_equal(z[0], z[1], sizeof z[0]);
    for (int g = 0; g < NG; g++) assert_true(s[1][g] == ldexpf(s[0][g], -12));
    eq_mut all[] = {dw, ds, dz, dq};
    for (int i = 0; i < 4; i++) be->free_(be, all[i].p);
}
static void test_small_weights(void **state) {
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        small_weights(ref, bits);
        for (int m = 0; m < MASKS; m++) small_weights(cpu[m], bits);
    }
}

/* ---- the run --------------------------------------------------------------------------------- */

/* A segmentation fault is caught by cmocka, which does not know which case it was. */
static int say_where(void **state) {
    (void)state;
    if (*label) print_error("last case: %s\n", label);
    *label = '\0';
    return 0;
}

static int set_up(void **state) {
    (void)state;
    eq_err err = {0};
    for (int m = 0; m < MASKS; m++)
        if (eq_backend_open(&cpu[m], "cpu", masks[m], &err) != EQ_OK) return -1;
    if (eq_backend_open(&ref, "ref", NULL, &err) != EQ_OK) return -1;
    return eq_backend_open(&fenced, "fenced:cpu", NULL, &err) == EQ_OK ? 0 : -1;
}
static int tear_down(void **state) {
    (void)state;
    for (int m = 0; m < MASKS; m++) cpu[m]->close(cpu[m]);
    ref->close(ref);
    fenced->close(fenced);
    eq_par_shutdown();
    return eq_mem_current() == 0 ? 0 : -1;
}

int main(void) {
#define ROW(name, params, args) cmocka_unit_test_teardown(test_##name, say_where),
    const struct CMUnitTest tests[] = {
        EQ_OPS(ROW) cmocka_unit_test(test_bench_rows),
        cmocka_unit_test(test_random_probe),
        cmocka_unit_test(test_pack_identity),
        cmocka_unit_test(test_small_weights),
    };
    return cmocka_run_group_tests_name("operations", tests, set_up, tear_down);
}

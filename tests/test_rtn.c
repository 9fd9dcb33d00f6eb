/* Round-to-nearest of linears that are cut into several runs of rows: every step, zero point and
 * integer as the formulas of quant/number.h have it, the fp32 steps behind the integers. */
#include "backend/backend.h"
#include "base/mem.h"
#include "base/rng.h"
#include "naive_pack.h"
#include "quant/number.h"
#include "quant/pack.h"
#include "scratch.h"
#include "train/rtn.h"

/* Up and gate are 1.5 runs; down is as well, and no whole number of its rows makes a run. */
static const eq_config cfg = {.D = 1024, .F = 1504, .L = 1, .V = 8, .NH = 8, .NKV = 2, .HD = 128};

typedef struct {
    eq_tensor linear[EQ_LINS], norm[EQ_NORM_COUNT];
    eq_block_tensors block;
    eq_weights w;
} model;

static eq_tensor random_tensor(const char *name, int64_t n, uint64_t seed) {
    uint16_t *p = eq_calloc(n, sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++)
        p[i] =
            eq_f32_to_bf16((float)(int64_t)(eq_rand_u64(seed, (uint64_t)i) % 2001) * 1e-4f - 0.1f);
    return (eq_tensor){
        .name = name, .file = "here", .dt = EQ_BF16, .n = n, .bytes = 2 * n, .data = p};
}

static void make(model *m) {
    *m = (model){.w = {.cfg = cfg}};
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(&cfg, (eq_lin)l);
        m->linear[l] = random_tensor(s.name, s.O * s.I, (uint64_t)l);
        m->block.weight[l] = &m->linear[l];
    }
    for (int k = 0; k < EQ_NORM_COUNT; k++) {
        eq_norm_spec s = eq_norm_of(&cfg, (eq_norm)k);
        if (!s.exists) continue;
        m->norm[k] = random_tensor(s.name, s.n, (uint64_t)(100 + k));
        m->block.norm[k] = &m->norm[k];
    }
    m->w.blocks = &m->block;
}

static void drop(model *m) {
    for (int l = 0; l < EQ_LINS; l++) eq_free((void *)(uintptr_t)m->linear[l].data);
    for (int k = 0; k < EQ_NORM_COUNT; k++) eq_free((void *)(uintptr_t)m->norm[k].data);
}

static void check_group(const eq_qlinear *q, const eq_tensor *t, int64_t o, int64_t g) {
    float lo = INFINITY, hi = -INFINITY, s, z;
    int64_t NG = q->I / q->G, at = o * q->I + g * q->G;
    for (int64_t i = at; i < at + q->G; i++) {
        lo = fminf(lo, eq_load(t->data, t->dt, i)), hi = fmaxf(hi, eq_load(t->data, t->dt, i));
    }
    eq_minmax_start(lo, hi, q->bits, q->grid, &s, &z);
    z = eq_z_used(z, q->bits, q->grid);
    assert_true(q->s[o * NG + g] == eq_f16_to_f32(eq_f32_to_f16(s)));
    assert_true(q->z[o * NG + g] == z);
    const uint32_t *row = q->rows + o * eq_pack_words(q->I, q->bits);
    for (int64_t i = 0; i < q->G; i++) {
        float code =
            eq_clampf(eq_code(eq_load(t->data, t->dt, at + i), s, z), 0, eq_q_max(q->bits));
        assert_int_equal(naive_get(row, 1, g * q->G + i, q->bits), (int)code);
    }
}

static void as_defined(void **state) {
    (void)state;
    static const struct {
        const char *backend;
        int bits;
        int64_t group;
    } cases[] = {{"cpu", 2, 32}, {"fenced:cpu", 3, -1}, {"ref", 4, 32}};
    model m;
    make(&m);
    for (int c = 0; c < 3; c++) {
        eq_err err = {0};
        eq_backend *be;
        eq_qblock b;
        assert_int_equal(eq_backend_open(&be, cases[c].backend, NULL, &err), EQ_OK);
        assert_int_equal(
            eq_qblock_alloc(&b, &cfg, &EQ_ONE_SCHEME(cases[c].bits, cases[c].group), &err), EQ_OK);
        assert_int_equal(eq_rtn_block(be, &m.w, 0, EQ_RANGE_MINMAX, &b, &err), EQ_OK);
        for (int l = 0; l < EQ_LINS; l++)
            for (int64_t o = 0; o < b.lin[l].O; o++)
                for (int64_t g = 0; g < b.lin[l].I / b.lin[l].G; g++)
                    check_group(&b.lin[l], &m.linear[l], o, g);
        for (int64_t i = 0; i < cfg.D; i++)
            assert_true(b.norm[EQ_NORM_IN][i] == eq_load(m.norm[EQ_NORM_IN].data, EQ_BF16, i));
        assert_int_equal(be->bytes, 0);
        eq_qblock_free(&b);
        be->close(be);
    }
    drop(&m);
}

/* The element is told by its place in the tensor, not in the run. */
static void not_finite(void **state) {
    (void)state;
    model m;
    eq_err err = {0};
    eq_backend *be;
    eq_qblock b;
    make(&m);
    ((uint16_t *)(uintptr_t)m.linear[EQ_LIN_DOWN].data)[1500 * 1024 + 7] = 0x7f80;
    assert_int_equal(eq_backend_open(&be, "cpu", NULL, &err), EQ_OK);
    assert_int_equal(eq_qblock_alloc(&b, &cfg, &EQ_ONE_SCHEME(2, 32), &err), EQ_OK);
    assert_int_equal(eq_rtn_block(be, &m.w, 0, EQ_RANGE_MINMAX, &b, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "mlp.down_proj", "inf", "element 1536007", NULL);
    assert_int_equal(be->bytes, 0);
    eq_qblock_free(&b);
    be->close(be);
    drop(&m);
}

/* Groups without a range and groups below what fp16 can hold are counted, small ones are not. */
static char said[512];
static void keep_line(void *ctx, const char *line) {
    (void)ctx;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}
static void held_steps(void **state) {
    (void)state;
    model m;
    eq_err err = {0};
    eq_backend *be;
    eq_qblock b;
    make(&m);
    uint16_t *k = (uint16_t *)(uintptr_t)m.linear[EQ_LIN_K].data;
    for (int i = 0; i < 5 * 32; i++) {
        float w = i % 32 ? eq_bf16_to_f32(k[i]) : 0.09f;
        const float of_group[] = {0.25f, 0, w * 0x1p-30f, w * 0x1p-10f, w};
        k[i] = eq_f32_to_bf16(of_group[i / 32]);
    }
    assert_int_equal(eq_backend_open(&be, "cpu", NULL, &err), EQ_OK);
    assert_int_equal(eq_qblock_alloc(&b, &cfg, &EQ_ONE_SCHEME(2, 32), &err), EQ_OK);
    for (int again = 0; again < 2; again++)
        assert_int_equal(eq_rtn_block(be, &m.w, 0, EQ_RANGE_MINMAX, &b, &err), EQ_OK);
    for (int l = 0; l < EQ_LINS; l++) assert_int_equal(b.lin[l].held, l == EQ_LIN_K ? 3 : 0);
    assert_true(b.lin[EQ_LIN_K].s[3] > 0x1p-15f && b.lin[EQ_LIN_K].s[3] < 1e-4f);
    const eq_observer obs = {.event = keep_line, .note = keep_line};
    eq_rtn_say_held(&b, &cfg, 7, &obs);
    int64_t all = 0;
    for (int l = 0; l < EQ_LINS; l++) all += b.lin[l].O * b.lin[l].I / 32;
    char want[512];
    snprintf(
        want, sizeof want,
        "{\"event\":\"steps_at_floor\",\"block\":7,\"steps\":3,\"of\":%lld,\"linears\":{"
        "\"self_attn.k_proj\":3}}\n"
        "block 7: 3 of %lld group steps are held at their floor (weights that are all equal, or "
        "too small for fp16 steps)\n",
        (long long)all, (long long)all);
    assert_string_equal(said, want);
    b.lin[EQ_LIN_K].held = 0, said[0] = '\0';
    eq_rtn_say_held(&b, &cfg, 7, &obs);
    assert_string_equal(said, "");
    eq_qblock_free(&b);
    be->close(be);
    drop(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_defined),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(held_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The operations against PyTorch: outputs, autograd's gradients (straight-through where the paper's
 * training is) and torch.optim.AdamW (tests/golden/MANIFEST, tools/make_goldens.py), on the
 * reference and the CPU. Inputs are the same fp32 numbers and the goldens are rounded to fp32 once,
 * so 2^-24 of each side and of the stored rstd, o and lse remain: 2e-6 of the largest value.
 * Decisions (codes, what is clipped) are equal. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "base/mem.h"
#include "base/par.h"
#include "format/safetensors.h"
#include "quant/pack.h"

static const char *const specs[] = {"ref", "cpu", "fenced:cpu"};
static eq_st *golden;
static eq_backend *be;
static eq_mut taken[64];
static int takens;

static eq_mut dev(eq_dtype dt, int64_t n) {
    eq_mut m = {be->alloc(be, n * eq_dtype_size(dt)), n, dt};
    assert_non_null(m.p);
    return taken[takens++] = m;
}
static const eq_tensor *tensor(const char *group, const char *name) {
    char full[64];
    snprintf(full, sizeof full, "%s.%s", group, name);
    const eq_tensor *t = eq_st_find(golden, full);
    if (!t) fail_msg("no tensor %s in the golden file", full);
    return t;
}
static eq_mut up(const char *group, const char *name) {
    const eq_tensor *t = tensor(group, name);
    eq_mut m = dev(t->dt, t->n);
    be->upload(be, m, t->data, t->dt);
    return m;
}
/* A result of the shape of a golden tensor, filled with something that is not it. */
static eq_mut like(const char *group, const char *name) {
    eq_mut m = dev(EQ_F32, tensor(group, name)->n);
    EQ_DO(be, fill, m, -777.0f);
    return m;
}
static void same(eq_mut got, const char *group, const char *name, double tolerance) {
    const eq_tensor *t = tensor(group, name);
    const float *want = t->data;
    float *g = eq_calloc(got.n, sizeof *g);
    double most = 0.0;
    assert_int_equal(t->n, got.n);
    be->download(be, g, EQ_F32, eq_ro(got));
    for (int64_t i = 0; i < t->n; i++) most = fmax(most, fabs((double)want[i]));
    for (int64_t i = 0; i < t->n; i++)
        if (!(fabs((double)want[i] - (double)g[i]) <= tolerance * most))
            fail_msg("%s: %s.%s[%lld] is %.9g, PyTorch has %.9g", be->name, group, name,
                     (long long)i, (double)g[i], (double)want[i]);
    eq_free(g);
}
static const double rounding = 2e-6;

/* ---- one function a group of tensors --------------------------------------------------------- */

static void fake_quant(const char *g, int bits, int64_t G) {
    eq_qshape q = {4, 256, G, bits, EQ_GRID_FREE};
    eq_mut w = up(g, "w"), s = up(g, "s"), z = up(g, "z"), d = up(g, "dw_hat");
    eq_mut w_hat = like(g, "w_hat"), dw = like(g, "dw"), ds = like(g, "ds"), dz = like(g, "dz");
    EQ_DO(be, fq_fwd, w_hat, eq_ro(w), eq_ro(s), eq_ro(z), q);
    EQ_DO(be, fq_bwd, dw, ds, dz, eq_ro(d), eq_ro(w), eq_ro(s), eq_ro(z), q);
    same(w_hat, g, "w_hat", 1e-7); /* the same integers times the same step */
    /* PyTorch's dw is d / s * s, two roundings; ours is d. Its ds is the difference of sums of
     * (w_int - z) d and w / s d, up to 2^bits times as large. */
    same(dw, g, "dw", 3e-7);
    same(ds, g, "ds", 2e-5);
    same(dz, g, "dz", rounding);
}

static void e2e(const char *g, int bits, int64_t G) {
    eq_qshape q = {3, 128, G, bits, EQ_GRID_FREE};
    uint32_t words[3 * 128 / 32 * 4];
    eq_pack_row(words, tensor(g, "q")->data, 3 * 128, bits);
    eq_mut packed = dev(EQ_U32, 3 * 128 / 32 * bits), s = up(g, "s"), z = up(g, "z");
    eq_mut d = up(g, "dw_hat"), w_hat = like(g, "w_hat"), ds = like(g, "ds"), dz = like(g, "dz");
    be->upload(be, packed, words, EQ_U32);
    EQ_DO(be, dequant, w_hat, eq_ro(packed), eq_ro(s), eq_ro(z), q);
    EQ_DO(be, fill, ds, 0.0f);
    EQ_DO(be, fill, dz, 0.0f);
    EQ_DO(be, dequant_bwd, ds, dz, eq_ro(d), eq_ro(packed), eq_ro(s), eq_ro(z), q);
    same(w_hat, g, "w_hat", 1e-7);
    same(ds, g, "ds", rounding);
    same(dz, g, "dz", rounding);
}

static void rmsnorm(void) {
    const char *g = "rmsnorm";
    eq_mut x = up(g, "x"), w = up(g, "w"), dy = up(g, "dy"), rstd = dev(EQ_F32, 5);
    eq_mut y = like(g, "y"), dx = like(g, "dx"), dw = like(g, "dw");
    EQ_DO(be, rmsnorm_fwd, y, rstd, eq_ro(x), eq_ro(w), 5, 24, 1e-5f);
    EQ_DO(be, rmsnorm_bwd, dx, dw, eq_ro(dy), eq_ro(x), eq_ro(w), eq_ro(rstd), 5, 24, 5, 0);
    same(y, g, "y", rounding);
    same(dx, g, "dx", rounding);
    same(dw, g, "dw", rounding);
}

/* RoPE, attention and their way back: autograd's dq is that of q before it was turned. */
static void attention(const char *g, int64_t window) {
    enum { B = 2, T = 7, NH = 4, NKV = 2, HD = 8 };
    eq_attn_shape s = {
        .B = B, .T = T, .NH = NH, .NKV = NKV, .HD = HD, .window = window, .scale = 0.25f};
    eq_mut cos = up(g, "cos"), sin = up(g, "sin"), q = up(g, "q"), k = up(g, "k"), v = up(g, "v");
    eq_mut d = up(g, "do"), lse = dev(EQ_F32, B * NH * T), o = like(g, "o");
    eq_mut dq = like(g, "dq"), dk = like(g, "dk"), dv = like(g, "dv");
    EQ_DO(be, rope, q, eq_ro(cos), eq_ro(sin), EQ_NONE_VIEW, B, T, NH, HD, HD, 1);
    EQ_DO(be, rope, k, eq_ro(cos), eq_ro(sin), EQ_NONE_VIEW, B, T, NKV, HD, HD, 1);
    same(q, g, "qr", rounding);
    same(k, g, "kr", rounding);
    EQ_DO(be, attn_fwd, o, lse, eq_ro(q), eq_ro(k), eq_ro(v), EQ_NONE_VIEW, s);
    same(o, g, "o", rounding);
    EQ_DO(be, attn_bwd, dq, dk, dv, eq_ro(d), eq_ro(q), eq_ro(k), eq_ro(v), eq_ro(o), eq_ro(lse),
          s);
    EQ_DO(be, rope, dq, eq_ro(cos), eq_ro(sin), EQ_NONE_VIEW, B, T, NH, HD, HD, -1);
    EQ_DO(be, rope, dk, eq_ro(cos), eq_ro(sin), EQ_NONE_VIEW, B, T, NKV, HD, HD, -1);
    same(dq, g, "dq", rounding);
    same(dk, g, "dk", rounding);
    same(dv, g, "dv", rounding);
}

static void elementwise(void) {
    eq_mut gate = up("swiglu", "g"), u = up("swiglu", "u"), dh = up("swiglu", "dh");
    eq_mut h = like("swiglu", "h"), dg = like("swiglu", "dg"), du = like("swiglu", "du");
    EQ_DO(be, glu_fwd, h, eq_ro(gate), eq_ro(u), EQ_ACT_SILU);
    EQ_DO(be, glu_bwd, dg, du, eq_ro(dh), eq_ro(gate), eq_ro(u), EQ_ACT_SILU);
    same(h, "swiglu", "h", rounding);
    same(dg, "swiglu", "dg", rounding);
    same(du, "swiglu", "du", rounding);
    eq_mut y = up("mse", "y"), t = up("mse", "t"), loss = like("mse", "loss"),
           dy = like("mse", "dy");
    EQ_DO(be, mse, loss, dy, eq_ro(y), eq_ro(t));
    same(loss, "mse", "loss", rounding);
    same(dy, "mse", "dy", rounding);
    eq_mut logits = up("ce", "logits"), target = up("ce", "target"), nll = like("ce", "loss");
    eq_mut dlogits = like("ce", "dlogits");
    EQ_DO(be, cross_entropy, nll, dlogits, eq_ro(logits), eq_ro(target), 6, 19, 0.25f, 0.0f);
    same(nll, "ce", "loss", rounding);
    same(dlogits, "ce", "dlogits", rounding);
}

static void adamw(const char *g, double decay) {
    /* fp32 rounding alone: 1 - 0.999f formed in fp32 would be 1.3e-5 off. */
    const double moments = 3e-7;
    eq_mut p = up(g, "p0"), m = dev(EQ_F32, 64), v = dev(EQ_F32, 64);
    double b1 = 1.0, b2 = 1.0;
    EQ_DO(be, fill, m, 0.0f);
    EQ_DO(be, fill, v, 0.0f);
    for (int step = 1; step <= 3; step++) {
        char at[32];
        snprintf(at, sizeof at, "%s.%d", g, step);
        b1 *= 0.9, b2 *= 0.999;
        eq_adamw a = {.lr = 1e-2,
                      .beta1 = 0.9,
                      .beta2 = 0.999,
                      .eps = 1e-8,
                      .weight_decay = decay,
                      .bias1 = 1 - b1,
                      .bias2 = 1 - b2,
                      .grad_scale = 1};
        EQ_DO(be, adamw, p, m, v, eq_ro(up(at, "g")), a);
        same(p, at, "p", 3e-7); /* PyTorch's own fp32 roundings of p; an update is 1e-2 */
        same(m, at, "m", moments);
        same(v, at, "v", moments);
    }
}

static void test_on(void **state) {
    eq_err err = {0};
    if (eq_backend_open(&be, *state, NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
    void (*const alone[])(void) = {rmsnorm, elementwise};
    for (int part = 0; part < 8; part++) {
        static const struct {
            const char *fq, *deq;
            int bits;
            int64_t G;
        } w[] = {
            {"fq2", "dequant2", 2, 64}, {"fq3", "dequant3", 3, 32}, {"fq4", "dequant4", 4, 128}};
        if (part < 3) {
            fake_quant(w[part].fq, w[part].bits, w[part].G);
            e2e(w[part].deq, w[part].bits, w[part].G < 64 ? w[part].G : 64);
        } else if (part < 5) {
            alone[part - 3]();
        } else if (part == 5) {
            attention("attention", 0);
            attention("window", 3);
        } else {
            adamw(part == 6 ? "adamw" : "adamw_decay", part == 6 ? 0.0 : 0.1);
        }
        if (be->sync(be, &err) != EQ_OK) fail_msg("%s", err.msg);
        while (takens) be->free_(be, taken[--takens].p);
    }
    be->close(be);
}

static int set_up(void **state) {
    (void)state;
    eq_err err = {0};
    if (eq_st_open(&golden, "tests/golden/ops.safetensors", &err) == EQ_OK) return 0;
    print_error("%s\n", err.msg);
    return -1;
}
static int tear_down(void **state) {
    (void)state;
    eq_st_close(golden);
    eq_par_shutdown();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_on, (void *)(uintptr_t)specs[0]),
        cmocka_unit_test_prestate(test_on, (void *)(uintptr_t)specs[1]),
        cmocka_unit_test_prestate(test_on, (void *)(uintptr_t)specs[2]),
    };
    return cmocka_run_group_tests_name("goldens", tests, set_up, tear_down);
}

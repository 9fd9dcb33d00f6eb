/* The transformer block against Hugging Face transformers and autograd (tests/golden/MANIFEST), on
 * the reference and on the fenced CPU backend. fp32: sums of at most a few hundred terms of size
 * one in another order differ by about 1e-6 of their size; 2e-5 of the largest value leaves room
 * for chains. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "format/safetensors.h"
#include "model/block.h"

enum { B = 2, T = 7, N = B * T };

typedef struct {
    eq_backend *be;
    eq_st *st;
    eq_config c;
    eq_arena a;
    eq_block_w w;
    eq_block_acts acts;
    eq_rope rope;
    eq_mut x, dy;
    bool slot;         /* weights are made one at a time, dW comes in pieces of a few rows */
    int64_t rows_seen; /* of the linear whose dW is coming */
} fixture;

static const eq_config families[] = {
    {.family = "llama", .HD = 4},
    {.family = "mistral", .HD = 6, .window = 3},
    {.family = "qwen2", .HD = 4, .qkv_bias = true},
    {.family = "qwen3", .HD = 8, .qk_norm = true},
};

static const eq_tensor *tensor(const fixture *f, const char *fmt, const char *name) {
    char full[128];
    snprintf(full, sizeof full, fmt, name);
    const eq_tensor *t = eq_st_find(f->st, full);
    if (!t) fail_msg("%s: no tensor %s in the golden file", f->c.family, full);
    return t;
}
static void up(const fixture *f, eq_mut to, const char *fmt, const char *name) {
    const eq_tensor *t = tensor(f, fmt, name);
    assert_int_equal(t->n, to.n);
    f->be->upload(f->be, to, t->data, t->dt);
}
/* `got` against the golden's elements from `from` on; sizes are those of the whole golden. */
static void same_part(const fixture *f, const char *what, eq_mut got, int64_t from, const char *fmt,
                      const char *name) {
    const eq_tensor *t = tensor(f, fmt, name);
    float *g = eq_calloc(got.n, sizeof *g), most = 0, worst = 0;
    const float *want = t->data;
    assert_true(from + got.n <= t->n);
    f->be->download(f->be, g, EQ_F32, eq_ro(got));
    for (int64_t i = 0; i < t->n; i++)
        if (fabsf(want[i]) > most) most = fabsf(want[i]);
    for (int64_t i = 0; i < got.n; i++)
        if (!(fabsf(want[from + i] - g[i]) <= worst)) worst = fabsf(want[from + i] - g[i]);
    eq_free(g);
    if (!(worst <= 2e-5f * most))
        fail_msg("%s %s %s: off by %g where values reach %g", f->c.family, what, name, worst, most);
}

static void same(const fixture *f, const char *what, eq_mut got, const char *fmt,
                 const char *name) {
    assert_int_equal(tensor(f, fmt, name)->n, got.n);
    same_part(f, what, got, 0, fmt, name);
}

static void make(void *ctx, eq_lin l, eq_mut w) {
    const fixture *f = ctx;
    up(f, w, "%s.weight", eq_lin_of(&f->c, l).name);
}

static void bind(fixture *f) {
    eq_block_w_bind(&f->w, &f->a, &f->c, EQ_F32, f->slot ? make : NULL, f);
    eq_rope_bind(&f->rope, &f->a, &f->c, T);
    f->x = eq_take(&f->a, EQ_F32, N * f->c.D);
    f->dy = eq_take(&f->a, EQ_F32, N * f->c.D);
    eq_block_acts_bind(&f->acts, &f->a, &f->c, EQ_F32, B, T, true);
    if (f->slot) f->acts.dw = eq_mut_at(f->acts.dw, 0, 3 * f->c.F + 1);
}

static void check_dw(void *ctx, eq_lin l, int64_t row, int64_t rows, int64_t window, eq_mut dw) {
    fixture *f = ctx;
    assert_int_equal(window, -1);
    eq_lin_spec s = eq_lin_of(&f->c, l);
    assert_int_equal(row, f->rows_seen);
    assert_int_equal(dw.n, rows * s.I);
    assert_true(f->slot ? rows < s.O : rows == s.O);
    same_part(f, "dW", dw, row * s.I, "grad.%s.weight", s.name);
    f->rows_seen = row + rows < s.O ? row + rows : 0;
}

static void one_family(const eq_config *family, const char *backend, bool slot) {
    eq_err err = {0};
    fixture f = {.c = *family, .slot = slot};
    f.c.D = 16, f.c.F = 40, f.c.NH = 4, f.c.NKV = 2, f.c.L = 1, f.c.V = 11, f.c.T_max = 64,
    f.c.eps = 1e-5;
    f.c.rope.theta = 10000, f.c.rope.scale = 1;
    char path[128];
    snprintf(path, sizeof path, "tests/golden/block-%s.safetensors", f.c.family);
    if (eq_backend_open(&f.be, backend, NULL, &err) || eq_st_open(&f.st, path, &err))
        fail_msg("%s", err.msg);
    bind(&f);
    assert_int_equal(eq_arena_alloc(&f.a, f.be, "test", &err), EQ_OK);
    bind(&f);
    assert_int_equal(eq_rope_fill(&f.rope, f.be, &f.c, &err), EQ_OK);
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        if (!slot) up(&f, f.w.w[l], "%s.weight", eq_lin_of(&f.c, l).name);
        if (f.w.bias[l].n) up(&f, f.w.bias[l], "%s.bias", eq_lin_of(&f.c, l).name);
    }
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++)
        if (f.w.norm[n].n) up(&f, f.w.norm[n], "%s.weight", eq_norm_of(&f.c, n).name);
    up(&f, f.x, "%s", "x"), up(&f, f.dy, "%s", "dy");

    eq_block_fwd(f.be, &f.c, &f.w, &f.rope, &f.acts, eq_ro(f.x));
    same(&f, "output", f.acts.y, "%s", "y");
    eq_block_grads g = {.sink = check_dw, .ctx = &f, .norms = true, .dx = true};
    eq_block_bwd(f.be, &f.c, &f.w, &f.rope, &f.acts, eq_ro(f.x), f.dy, &g);
    same(&f, "gradient of", f.dy, "%s", "dx");
    assert_int_equal(f.rows_seen, 0);
    const eq_mut dnorm[] = {f.acts.dnorm_in, f.acts.dnorm_post, f.acts.dnorm_qh, f.acts.dnorm_kh};
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++)
        if (f.w.norm[n].n) same(&f, "dnorm", dnorm[n], "grad.%s.weight", eq_norm_of(&f.c, n).name);
    assert_int_equal(f.be->sync(f.be, &err), EQ_OK);

    eq_arena_free(&f.a);
    eq_st_close(f.st);
    f.be->close(f.be);
}

static void all_families_ref(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        one_family(&families[i], "ref", false);
}
static void all_families_cpu_fenced(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        one_family(&families[i], "fenced:cpu", false);
}
/* One room for all weights, gradients a few rows at a time: the same numbers. */
static void all_families_in_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        one_family(&families[i], "ref", true), one_family(&families[i], "fenced:cpu", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_families_ref),
        cmocka_unit_test(all_families_cpu_fenced),
        cmocka_unit_test(all_families_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

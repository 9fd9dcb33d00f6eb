/* Every family and kind of rope against Hugging Face transformers and autograd: whole models, and
 * each block with all its gradients (tests/golden/models.txt, tools/make_model_goldens.py), on the
 * reference and on the fenced CPU backend. What a tensor holds is compared by its size and by its
 * product with fixed numbers. fp32: sums of at most a few hundred terms of size one in another
 * order differ by about 1e-6 of their size; 1e-5 of the tensor's size leaves room for chains. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/lm.h"
#include "tiny_model.h"

enum { B = 2, T = 24, N = B * T, SUMS = 64 };

/* Of one tensor: squares, and products with the numbers of "probe.NAME". */
typedef struct {
    char name[64], probe[80];
    double squares, product;
    float *all; /* [n] of its elements, where they are printed; NULL */
    int64_t n;
} sum;

typedef struct {
    char name[32]; /* of the case */
    eq_weights *w;
    eq_backend *be;
    bool slot;  /* weights are made one at a time, dW comes in pieces of a few rows */
    bool print; /* elements, instead of comparing their sums */
    eq_arena a;
    eq_block_w block;
    eq_block_acts acts;
    eq_rope rope;
    eq_mut x, dy;
    int64_t layer;
    sum sums[SUMS];
    int n, checked;
} fixture;

/* ---- sums ------------------------------------------------------------------------------------ */

static sum *sum_of(fixture *f, const char *name) {
    for (int i = 0; i < f->n; i++)
        if (!strcmp(f->sums[i].name, name)) return &f->sums[i];
    assert_true(f->n < SUMS);
    sum *s = &f->sums[f->n++];
    *s = (sum){0};
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->probe, sizeof s->probe, "probe.%s", name);
    return s;
}

static void keep(sum *s, const float *v, int64_t at, int64_t n) {
    if (at + n > s->n) {
        s->all = eq_realloc(s->all, at + n, sizeof *s->all);
        s->n = at + n;
    }
    assert_non_null(s->all);
    memcpy(s->all + at, v, (size_t)n * sizeof *v);
}

/* n elements that are the tensor's from `at` on. */
static void add(const fixture *f, sum *s, const float *v, int64_t at, int64_t n) {
    if (f->print) keep(s, v, at, n);
    for (int64_t i = 0; i < n; i++) {
        s->squares += (double)v[i] * (double)v[i];
        s->product += (double)v[i] * (double)tiny_golden(s->probe, at + i);
    }
}

static float *down(fixture *f, eq_mut m) {
    float *p = eq_calloc(m.n, sizeof *p);
    assert_non_null(p);
    f->be->download(f->be, p, EQ_F32, eq_ro(m));
    return p;
}
static void add_whole(fixture *f, const char *name, eq_mut m) {
    float *p = down(f, m);
    add(f, sum_of(f, name), p, 0, m.n);
    eq_free(p);
}

/* Joined linears have rows of one tensor. */
static void take_dw(void *ctx, eq_lin l, int64_t row, int64_t rows, int64_t window, eq_mut dw) {
    fixture *f = ctx;
    eq_lin_spec s = eq_lin_of(&f->w->cfg, l);
    char name[64];
    assert_int_equal(window, -1);
    assert_true(f->slot ? rows < s.O : rows == s.O);
    snprintf(name, sizeof name, "%s.weight", s.file);
    float *p = down(f, dw);
    for (int64_t o = 0; o < rows; o++)
        add(f, sum_of(f, name), p + o * s.I, eq_lin_row(&s, row + o) * s.I, s.I);
    eq_free(p);
}

/* ---- one block ------------------------------------------------------------------------------- */

static void make(void *ctx, eq_lin l, eq_mut w) {
    const fixture *f = ctx;
    eq_weights_put_rows(f->w, f->layer, l, 0, eq_lin_of(&f->w->cfg, l).O, f->be, w);
}

static void bind(fixture *f) {
    const eq_config *c = &f->w->cfg;
    eq_block_w_bind(&f->block, &f->a, c, EQ_F32, f->slot ? make : NULL, f);
    eq_rope_bind(&f->rope, &f->a, c, T);
    f->x = eq_take(&f->a, EQ_F32, N * c->D);
    f->dy = eq_take(&f->a, EQ_F32, N * c->D);
    eq_block_acts_bind(&f->acts, &f->a, c, EQ_F32, B, T, true);
    if (f->slot) f->acts.dw = eq_mut_at(f->acts.dw, 0, 3 * (c->F > 32 ? c->F : 32) + 1);
}

static void fill(fixture *f, eq_mut m, const char *name) {
    float *p = eq_calloc(m.n, sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < m.n; i++) p[i] = tiny_golden(name, i);
    f->be->upload(f->be, m, p, EQ_F32);
    eq_free(p);
}

/* Runs block `layer`; what came out is in f->sums. */
static void run_block(fixture *f, int64_t layer) {
    eq_err err = {0};
    const eq_config *c = &f->w->cfg;
    f->layer = layer, f->n = f->checked = 0, f->a = (eq_arena){0};
    bind(f);
    assert_int_equal(eq_arena_alloc(&f->a, f->be, "test", &err), EQ_OK);
    bind(f);
    assert_int_equal(eq_rope_fill(&f->rope, f->be, c, T, &err), EQ_OK);
    if (f->slot)
        eq_block_small_upload(&f->block, f->be, f->w, layer);
    else
        assert_int_equal(eq_block_w_upload(&f->block, f->be, f->w, layer, &err), EQ_OK);
    fill(f, f->x, "x"), fill(f, f->dy, "dy");
    eq_block_fwd(f->be, c, &f->block, &f->rope, &f->acts, eq_ro(f->x));
    add_whole(f, "y", f->acts.y);
    eq_block_grads g = {.sink = take_dw, .ctx = f, .norms = true, .dx = true};
    eq_block_bwd(f->be, c, &f->block, &f->rope, &f->acts, eq_ro(f->x), f->dy, &g);
    add_whole(f, "dx", f->dy);
    for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
        char name[64];
        if (!f->acts.dnorm[n].n) continue;
        snprintf(name, sizeof name, "%s.weight", eq_norm_of(c, n).name);
        add_whole(f, name, f->acts.dnorm[n]);
    }
    assert_int_equal(f->be->sync(f->be, &err), EQ_OK);
    eq_arena_free(&f->a);
}

/* Biases are not trained, so nothing is known of their gradients. */
static void compare(fixture *f, const char *line) {
    char name[64];
    double size, product;
    assert_int_equal(sscanf(line, "%63s %lf %lf", name, &size, &product), 3);
    if (eq_ends_with(name, ".bias")) return;
    int had = f->n;
    const sum *s = sum_of(f, name);
    if (f->n != had) fail_msg("%s, block %d: no %s", f->name, (int)f->layer, name);
    if (!(fabs(sqrt(s->squares) - size) <= 1e-5 * size) ||
        !(fabs(s->product - product) <= 1e-5 * size))
        fail_msg("%s on %s, block %d, %s: size %.9g and product %.9g, transformers has %.9g, %.9g",
                 f->name, f->be->name, (int)f->layer, name, sqrt(s->squares), s->product, size,
                 product);
    f->checked++;
}

/* ---- the whole model ------------------------------------------------------------------------- */

static void check_loss(fixture *f, double want) {
    eq_err err = {0};
    eq_lm *lm;
    eq_lm_opts o = {.B = B, .T = T, .ct = EQ_F32};
    int32_t ids[N];
    double nll[B];
    for (int i = 0; i < N; i++)
        ids[i] = (int32_t)(((double)tiny_golden("ids", i) + 1) * (double)f->w->cfg.V / 2);
    if (eq_lm_open(&lm, f->be, f->w, &o, &err) || eq_lm_forward(lm, ids, B, T, &err) ||
        eq_lm_loss(lm, ids, B, T, 0, nll, &err))
        fail_msg("%s: %s", f->name, err.msg);
    double got = (nll[0] + nll[1]) / 2;
    if (f->print)
        printf("%s 0 loss %.17g 0\n", f->name, got);
    else if (!(fabs(got - want) <= 1e-5 * want))
        fail_msg("%s on %s: loss %.9g, transformers has %.9g", f->name, f->be->name, got, want);
    eq_lm_close(lm);
}

/* ---- the file -------------------------------------------------------------------------------- */

static void open_case(fixture *f, char *dir, const char *config) {
    eq_err err = {0};
    tiny_opts o = {.golden = true};
    eq_weights_close(f->w);
    tiny_write(dir, config, &o);
    if (eq_weights_open(&f->w, dir, &err)) fail_msg("%s: %s", f->name, err.msg);
}

/* Of each tensor a line, its name and how many elements, and behind it their bytes. */
static void print(fixture *f) {
    for (int i = 0; i < f->n; i++) {
        sum *s = &f->sums[i];
        printf("%s %d %s 0 %d\n", f->name, (int)f->layer, s->name, (int)s->n);
        fwrite(s->all, sizeof *s->all, (size_t)s->n, stdout);
        eq_free(s->all);
    }
    f->n = 0;
}

static void take_line(fixture *f, char *dir, const char *line) {
    if (!strncmp(line, "case ", 5))
        snprintf(f->name, sizeof f->name, "%s", line + 5);
    else if (!strncmp(line, "config ", 7))
        open_case(f, dir, line + 7);
    else if (!strncmp(line, "loss ", 5))
        check_loss(f, strtod(line + 5, NULL));
    else if (!strncmp(line, "layer ", 6))
        run_block(f, strtol(line + 6, NULL, 10));
    else if (!f->print)
        compare(f, line);
    if (f->print) print(f);
}

static void run_file(const char *file, const char *backend, bool slot, bool printed) {
    eq_err err = {0};
    eq_map m;
    fixture f = {.slot = slot, .print = printed};
    char *dir = tiny_dir();
    if (eq_backend_open(&f.be, backend, NULL, &err) || eq_map_open(&m, file, &err))
        fail_msg("%s", err.msg);
    char *text = eq_calloc(m.size + 1, 1), *rest = NULL;
    memcpy(text, m.data, (size_t)m.size);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        bool ends = !strncmp(line, "layer ", 6) || !strncmp(line, "case ", 5);
        if (ends && f.n != f.checked)
            fail_msg("%s, block %d: %d tensors, the golden has %d", f.name, (int)f.layer, f.n,
                     f.checked);
        if (ends) f.n = f.checked = 0;
        take_line(&f, dir, line);
    }
    eq_free(text);
    eq_map_close(&m);
    eq_weights_close(f.w);
    f.be->close(f.be);
    tiny_remove(dir);
}

static void all(const char *backend, bool slot) {
    run_file("tests/golden/models.txt", backend, slot, false);
}
static void on_ref(void **state) {
    (void)state;
    all("ref", false);
}
static void on_cpu_fenced(void **state) {
    (void)state;
    all("fenced:cpu", false);
}
/* One room for all weights, gradients a few rows at a time: the same numbers. */
static void in_pieces(void **state) {
    (void)state;
    all("ref", true), all("fenced:cpu", true);
}

/* test_block FILE BACKEND: what tools/peer_models.py compares, element by element, of a file of
 * other cases. */
int main(int argc, char **argv) {
    if (argc == 3) {
        run_file(argv[1], argv[2], false, true);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_ref),
        cmocka_unit_test(on_cpu_fenced),
        cmocka_unit_test(in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

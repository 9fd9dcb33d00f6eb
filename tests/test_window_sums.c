/* A batch gives the same bits however it is cut: into calls of an operation, into micro-batches,
 * into parts that are computed apart and added (backend.h, model/window_sum.h). Everything here is
 * compared byte for byte, with the additions done by hand. */
#include <math.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "scratch.h"
#include "tiny_model.h"
#include "train/e2e_qp.h"
#include "train/rtn.h"

static eq_err err;
static void ok(eq_status st) {
    if (st != EQ_OK) fail_msg("%s", err.msg);
}

/* ---- the order itself ------------------------------------------------------------------------ */

static void test_order(void **state) {
    (void)state;
    static const struct {
        int64_t batch, part, chain;
    } want[] = {{1, 1, 1}, {2, 1, 2}, {16, 1, 16}, {17, 2, 2}, {32, 2, 2}, {33, 3, 3}, {100, 7, 7}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(eq_part_windows(want[i].batch), want[i].part);
        assert_int_equal(eq_chain_windows(want[i].batch), want[i].chain);
    }
    for (int i = 0; i < 16; i++) assert_int_equal(eq_chain_ends(i, 16), i == 15);
    for (int i = 0; i < 17; i++) assert_int_equal(eq_chain_ends(i, 17), i % 2 || i == 16);
    /* 1 is lost on 2^53, 1 + 1 is not: the parts (1, 1) show */
    const double big = 0x1p53;
    double x[18] = {big};
    x[2] = x[3] = 1;
    assert_true(eq_window_sum(x, 18) == big + 2);
    assert_true(eq_window_sum(x, 16) == big);
}

/* ---- operations ------------------------------------------------------------------------------ */

/* The best instruction set first: the first backend of a process limits oneDNN for good. */
static const char *const backends[][2] = {
    {"cpu", NULL}, {"ref", NULL}, {"cpu", "avx2"}, {"cpu", "sse2"}};
enum { BACKENDS = 4, MAX_TAKEN = 32 };
static eq_backend *be;
static void *taken[MAX_TAKEN];
static int takens;

static eq_mut room(eq_dtype dt, int64_t n) {
    eq_mut m = {be->alloc(be, n * eq_dtype_size(dt)), n, dt};
    assert_non_null(m.p);
    assert_true(takens < MAX_TAKEN);
    return taken[takens++] = m.p, m;
}
static eq_mut numbers(eq_dtype dt, int64_t n, uint64_t seed) {
    eq_mut m = room(dt, n);
    float *x = eq_calloc(n, sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = eq_rand_normal(seed, (uint64_t)i);
    be->upload(be, m, x, EQ_F32);
    eq_free(x);
    return m;
}
static void drop(void) {
    while (takens) be->free_(be, taken[--takens]);
}
/* Host memory is backend memory on these backends. */
static void same(const char *what, eq_mut a, eq_mut b) {
    ok(be->sync(be, &err));
    assert_int_equal(a.n, b.n);
    if (memcmp(a.p, b.p, (size_t)(a.n * eq_dtype_size(a.dt))))
        fail_msg("%s: %s depends on how the batch is cut", be->name, what);
}
static void plus(eq_mut y, eq_mut x) {
    for (int64_t i = 0; i < y.n; i++) ((float *)y.p)[i] += ((const float *)x.p)[i];
}
static eq_mut at(eq_mut m, int64_t b, int64_t n) { return eq_mut_at(m, b * n, n); }

/* Windows of T rows through a[.., K] b: all at once, and one by one. */
static void rows(eq_dtype in, eq_dtype out, int64_t B, int64_t T, int64_t N, int64_t K) {
    eq_mut a = numbers(in, B * T * K, 1), b = numbers(in, K * N, 2);
    for (int nn = 0; nn < 2; nn++) {
        eq_mut all = room(out, B * T * N), one = room(out, B * T * N);
        for (int64_t i = 0; i <= B; i++) {
            eq_mut y = i < B ? at(one, i, T * N) : all;
            eq_view x = eq_ro(i < B ? at(a, i, T * K) : a);
            int64_t M = i < B ? T : B * T;
            if (nn)
                EQ_DO(be, matmul_nn, y, x, eq_ro(b), M, N, K, T, 0);
            else
                EQ_DO(be, matmul_nt, y, x, eq_ro(b), M, N, K, T, 0);
        }
        same("a product of rows", all, one);
        if (out != EQ_F32) continue;
        eq_mut sum = numbers(EQ_F32, B * T * N, 3), acc = numbers(EQ_F32, B * T * N, 3);
        plus(sum, one);
        if (nn)
            EQ_DO(be, matmul_nn, acc, eq_ro(a), eq_ro(b), B * T, N, K, T, 1);
        else
            EQ_DO(be, matmul_nt, acc, eq_ro(a), eq_ro(b), B * T, N, K, T, 1);
        same("y + a product", acc, sum);
    }
    drop();
}

static void sums(eq_dtype in, int64_t B, int64_t T, int64_t M, int64_t N, int64_t more) {
    int64_t lda = M + more;
    eq_mut a = numbers(in, B * T * lda, 1), b = numbers(in, B * T * N, 2);
    eq_mut all = room(EQ_F32, M * N), one = room(EQ_F32, M * N), sum = room(EQ_F32, M * N);
    for (int64_t i = 0; i < B; i++) {
        eq_view left = eq_ro(eq_mut_at(a, i * T * lda, (T - 1) * lda + M));
        EQ_DO(be, matmul_tn, i ? one : sum, left, eq_ro(at(b, i, T * N)), M, N, T, T, lda, 0);
        if (i) plus(sum, one);
    }
    eq_view left = eq_ro(eq_mut_at(a, 0, (B * T - 1) * lda + M));
    EQ_DO(be, matmul_tn, all, left, eq_ro(b), M, N, B * T, T, lda, 0);
    same("a sum of products", all, sum);
    eq_mut acc = numbers(EQ_F32, M * N, 3), by_hand = numbers(EQ_F32, M * N, 3);
    EQ_DO(be, matmul_tn, acc, left, eq_ro(b), M, N, B * T, T, lda, 1);
    plus(by_hand, sum);
    same("y + a sum of products", acc, by_hand);
    drop();
}

static void norms(eq_dtype dt, int64_t B, int64_t per, int64_t D) {
    eq_mut dy = numbers(dt, B * per * D, 1), x = numbers(dt, B * per * D, 2);
    eq_mut w = numbers(EQ_F32, D, 3), rstd = numbers(EQ_F32, B * per, 4);
    eq_mut dx = room(dt, B * per * D), dx1 = room(dt, B * per * D);
    eq_mut dw = room(EQ_F32, D), one = room(EQ_F32, D), sum = room(EQ_F32, D);
    EQ_DO(be, rmsnorm_bwd, dx, dw, eq_ro(dy), eq_ro(x), eq_ro(w), eq_ro(rstd), B * per, D, per, 0);
    for (int64_t i = 0; i < B; i++) {
        EQ_DO(be, rmsnorm_bwd, at(dx1, i, per * D), i ? one : sum, eq_ro(at(dy, i, per * D)),
              eq_ro(at(x, i, per * D)), eq_ro(w), eq_ro(at(rstd, i, per)), per, D, per, 0);
        if (i) plus(sum, one);
    }
    same("a norm's dw", dw, sum);
    same("a norm's dx", dx, dx1);
    drop();
}

static void losses(eq_dtype dt, int64_t B, int64_t n) {
    eq_mut y = numbers(dt, B * n, 1), t = numbers(dt, B * n, 2);
    eq_mut all = room(EQ_F32, B), one = room(EQ_F32, B);
    EQ_DO(be, mse, all, EQ_NONE_MUT, eq_ro(y), eq_ro(t));
    for (int64_t i = 0; i < B; i++)
        EQ_DO(be, mse, at(one, i, 1), EQ_NONE_MUT, eq_ro(at(y, i, n)), eq_ro(at(t, i, n)));
    same("a loss", all, one);
    drop();
}

static void attention(eq_dtype dt, eq_attn_shape s) {
    int64_t nq = s.T * s.NH * s.HD, nk = s.T * s.NKV * s.HD, nl = s.NH * s.T, B = s.B;
    eq_mut q = numbers(dt, B * nq, 1), k = numbers(dt, B * nk, 2), v = numbers(dt, B * nk, 3);
    eq_mut d = numbers(dt, B * nq, 4), y[2][5];
    for (int one = 0; one < 2; one++) {
        const int64_t n[] = {nq, nl, nq, nk, nk};
        for (int i = 0; i < 5; i++) y[one][i] = room(i == 1 ? EQ_F32 : dt, B * n[i]);
        s.B = one ? 1 : B;
        for (int64_t b = 0; b < B; b += s.B) {
            eq_mut to[5];
            for (int i = 0; i < 5; i++) to[i] = eq_mut_at(y[one][i], b * n[i], s.B * n[i]);
            eq_view vq = eq_ro(eq_mut_at(q, b * nq, s.B * nq)),
                    vk = eq_ro(eq_mut_at(k, b * nk, s.B * nk)),
                    vv = eq_ro(eq_mut_at(v, b * nk, s.B * nk)),
                    vd = eq_ro(eq_mut_at(d, b * nq, s.B * nq));
            EQ_DO(be, attn_fwd, to[0], to[1], vq, vk, vv, EQ_NONE_VIEW, s);
            EQ_DO(be, attn_bwd, to[2], to[3], to[4], vd, vq, vk, vv, eq_ro(to[0]), eq_ro(to[1]), s);
        }
    }
    for (int i = 0; i < 5; i++) same("attention", y[0][i], y[1][i]);
    drop();
}

/* So long that the backward pass takes one sequence at a time for its partial sums' memory. */
static void test_long_attention(void **state) {
    (void)state;
    ok(eq_backend_open(&be, "cpu", NULL, &err));
    attention(EQ_F32,
              (eq_attn_shape){
                  .B = 2, .T = 1024, .NH = 4, .NKV = 4, .HD = 256, .window = 0, .scale = 0.06f});
    be->close(be);
    eq_par_shutdown();
}

/* ds += p where p is what zeros would become, for groups within and beyond a piece of a row. */
static void steps(eq_qshape q) {
    int64_t ng = q.O * (q.I / q.G);
    eq_mut d = numbers(EQ_F32, q.O * q.I, 1), s = numbers(EQ_F32, ng, 2),
           z = numbers(EQ_F32, ng, 3);
    eq_mut w = room(EQ_U32, q.O * q.I / 32 * q.bits), p[2] = {room(EQ_F32, ng), room(EQ_F32, ng)};
    for (int64_t i = 0; i < w.n; i++) ((uint32_t *)w.p)[i] = (uint32_t)eq_rand_u64(4, (uint64_t)i);
    eq_mut acc[2] = {numbers(EQ_F32, ng, 5), numbers(EQ_F32, ng, 6)};
    eq_mut sum[2] = {numbers(EQ_F32, ng, 5), numbers(EQ_F32, ng, 6)};
    for (int i = 0; i < 2; i++) EQ_DO(be, fill, p[i], 0.0f);
    EQ_DO(be, dequant_bwd, p[0], p[1], eq_ro(d), eq_ro(w), eq_ro(s), eq_ro(z), q);
    EQ_DO(be, dequant_bwd, acc[0], acc[1], eq_ro(d), eq_ro(w), eq_ro(s), eq_ro(z), q);
    for (int i = 0; i < 2; i++) {
        plus(sum[i], p[i]);
        same("ds or dz", acc[i], sum[i]);
    }
    drop();
}

static void test_operations(void **state) {
    (void)state;
    eq_par_threads(2);
    for (int i = 0; i < BACKENDS; i++) {
        ok(eq_backend_open(&be, backends[i][0], backends[i][1], &err));
        for (int bf = 0; bf < 2; bf++) {
            eq_dtype dt = bf ? EQ_BF16 : EQ_F32;
            rows(dt, EQ_F32, 3, 1, 40, 33), rows(dt, dt, 5, 7, 70, 65),
                rows(dt, EQ_F32, 3, 64, 96, 64);
            rows(dt, EQ_F32, 2, 130, 17, 520), rows(dt, dt, 3, 33, 129, 300);
            sums(dt, 3, 7, 33, 70, 5), sums(dt, 2, 64, 96, 64, 0), sums(dt, 5, 1, 9, 5, 3);
            sums(dt, 2, 512, 40, 33, 1), sums(dt, 3, 520, 130, 48, 0);
            norms(dt, 5, 7, 33), norms(dt, 2, 300, 96), norms(dt, 3, 17, 260);
            losses(dt, 3, 1003), losses(dt, 2, 70000);
            attention(
                dt, (eq_attn_shape){
                        .B = 3, .T = 37, .NH = 4, .NKV = 2, .HD = 16, .window = 0, .scale = 0.3f});
            attention(
                dt,
                (eq_attn_shape){
                    .B = 2, .T = 270, .NH = 2, .NKV = 1, .HD = 8, .window = 100, .scale = 0.3f});
        }
        steps((eq_qshape){3, 64, 32, 2, EQ_GRID_FREE}),
            steps((eq_qshape){3, 192, 96, 3, EQ_GRID_FREE});
        steps((eq_qshape){2, 2080, 2080, 4, EQ_GRID_FREE}),
            steps((eq_qshape){2, 1344, 672, 2, EQ_GRID_FREE});
        assert_int_equal(be->bytes, 0);
        be->close(be);
    }
    eq_par_shutdown();
}

/* ---- a block's gradients --------------------------------------------------------------------- */

typedef struct {
    eq_config c;
    eq_arena a;
    eq_block_w w;
    eq_rope rope;
    eq_block_acts acts;
    eq_mut x, dy;
    float *dw[EQ_LINS], *dnorm[EQ_NORM_COUNT]; /* taken from the last run */
} block;

static void block_bind(block *f, int64_t B, int64_t T, eq_dtype ct) {
    eq_block_w_bind(&f->w, &f->a, &f->c, ct, NULL, NULL);
    eq_rope_bind(&f->rope, &f->a, &f->c, T);
    f->x = eq_take(&f->a, ct, B * T * f->c.D);
    f->dy = eq_take(&f->a, EQ_F32, B * T * f->c.D);
    eq_block_acts_bind(&f->acts, &f->a, &f->c, ct, B, T, true);
    f->acts.dw = eq_mut_at(f->acts.dw, 0, 3 * f->c.F); /* a few rows at a time */
}
static void take_dw(void *ctx, eq_lin l, int64_t row, int64_t rows_, int64_t window, eq_mut dw) {
    block *f = ctx;
    (void)rows_;
    assert_int_equal(window, -1);
    be->download(be, f->dw[l] + row * eq_lin_of(&f->c, l).I, EQ_F32, eq_ro(dw));
}
static void random_up(eq_mut m, uint64_t seed, int64_t skip, float scale, float shift) {
    float *x = eq_calloc(m.n, sizeof *x);
    for (int64_t i = 0; i < m.n; i++)
        x[i] = shift + scale * eq_rand_normal(seed, (uint64_t)(skip + i));
    be->upload(be, m, x, EQ_F32);
    eq_free(x);
}

/* Windows [from, from + B) of an endless random batch, forward and backward. */
static void block_run(block *f, int64_t from, int64_t B, int64_t T, eq_dtype ct) {
    f->a = (eq_arena){0};
    block_bind(f, B, T, ct);
    ok(eq_arena_alloc(&f->a, be, "test", &err));
    block_bind(f, B, T, ct);
    ok(eq_rope_fill(&f->rope, be, &f->c, f->rope.T, &err));
    for (int l = 0; l < EQ_LINS; l++) random_up(f->w.w[l], (uint64_t)l, 0, 0.15f, 0);
    for (int n = 0; n < EQ_NORM_COUNT; n++) random_up(f->w.norm[n], 20 + (uint64_t)n, 0, 0.1f, 1);
    random_up(f->x, 30, from * T * f->c.D, 1, 0), random_up(f->dy, 31, from * T * f->c.D, 1, 0);
    eq_block_fwd(be, &f->c, &f->w, &f->rope, &f->acts, eq_ro(f->x));
    eq_block_grads g = {.sink = take_dw, .ctx = f, .norms = true, .dx = true};
    eq_block_bwd(be, &f->c, &f->w, &f->rope, &f->acts, eq_ro(f->x), f->dy, &g);
    for (int n = 0; n < EQ_NORM_COUNT; n++)
        be->download(be, f->dnorm[n], EQ_F32, eq_ro(f->acts.dnorm[n]));
    ok(be->sync(be, &err));
    eq_arena_free(&f->a);
}
static void add_floats(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}
/* The gradients of f added to (or, first, put into) those of `to`. */
static void collect(block *to, const block *f, bool first) {
    for (int i = 0; i < EQ_LINS + EQ_NORM_COUNT; i++) {
        int n = i - EQ_LINS;
        eq_lin_spec s = eq_lin_of(&f->c, (eq_lin)(i < EQ_LINS ? i : 0));
        int64_t count = i < EQ_LINS ? s.O * s.I : eq_norm_of(&f->c, (eq_norm)n).n;
        float *y = i < EQ_LINS ? to->dw[i] : to->dnorm[n];
        const float *x = i < EQ_LINS ? f->dw[i] : f->dnorm[n];
        if (first)
            memcpy(y, x, (size_t)count * sizeof *y);
        else
            add_floats(y, x, count);
    }
}
static void block_room(block *f, bool free_) {
    f->c = (eq_config){.family = "qwen3", .D = 32, .F = 56, .NH = 4, .NKV = 2, .HD = 8, .L = 1};
    eq_config_plain(&f->c);
    f->c.V = 11, f->c.T_max = 64, f->c.eps = 1e-5, f->c.qk_norm = EQ_QK_HEAD;
    f->c.norms = EQ_NORMS_AROUND, f->c.residual_scale = 0.3, f->c.attn_cap = 2;
    for (int i = 0; i < EQ_LINS + EQ_NORM_COUNT; i++) {
        float **p = i < EQ_LINS ? &f->dw[i] : &f->dnorm[i - EQ_LINS];
        if (free_)
            eq_free(*p);
        else
            *p = eq_calloc(56 * 32, sizeof **p);
    }
}

/* The batch at once against its parts, and each part against its windows, added by hand. */
static void block_batch(int64_t batch, int64_t T, eq_dtype ct) {
    block one = {0}, part = {0}, total = {0}, whole = {0};
    block *all[] = {&one, &part, &total, &whole};
    for (int i = 0; i < 4; i++) block_room(all[i], false);
    int64_t chain = eq_chain_windows(batch);
    for (int64_t b = 0; b < batch; b += chain) {
        int64_t n = batch - b < chain ? batch - b : chain;
        for (int64_t i = 0; i < n; i++) {
            block_run(&one, b + i, 1, T, ct);
            collect(&part, &one, i == 0);
        }
        collect(&total, &part, b == 0);
    }
    block_run(&whole, 0, batch, T, ct);
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(&whole.c, (eq_lin)l);
        assert_memory_equal(whole.dw[l], total.dw[l], s.O * s.I * 4);
    }
    for (int n = 0; n < EQ_NORM_COUNT; n++)
        assert_memory_equal(whole.dnorm[n], total.dnorm[n], eq_norm_of(&whole.c, (eq_norm)n).n * 4);
    for (int i = 0; i < 4; i++) block_room(all[i], true);
}

static void test_block(void **state) {
    (void)state;
    for (int i = 0; i < BACKENDS; i++) {
        ok(eq_backend_open(&be, backends[i][0], backends[i][1], &err));
        block_batch(5, 7, EQ_F32), block_batch(20, 9, EQ_F32);
        block_batch(3, 33, EQ_BF16), block_batch(37, 5, EQ_BF16);
        be->close(be);
    }
}

/* ---- the whole model, and E2E-QP ------------------------------------------------------------- */

enum { T = 12, MOST = 37 };
static eq_weights *src;
static eq_windows windows;
static eq_qblock rounded;

static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *e) {
    (void)ctx;
    *b = &rounded;
    return eq_rtn_block(be, src, i, EQ_RANGE_MINMAX, &rounded, e);
}
static void begin(void) {
    char *model = tiny_dir();
    tiny_write(model, tiny_config("qwen3", false), &(tiny_opts){.dt = EQ_F32, .seed = 5});
    ok(eq_weights_open(&src, model, &err));
    ok(eq_backend_open(&be, "cpu", NULL, &err));
    ok(eq_qblock_alloc(&rounded, &src->cfg, &EQ_ONE_SCHEME(2, 32), &err));
    windows = (eq_windows){.ids = eq_calloc(MOST * T, sizeof(int32_t)), .n = MOST, .T = T};
    for (int64_t i = 0; i < MOST * T; i++) windows.ids[i] = (int32_t)(i * i % 50);
    tiny_remove(model);
}
static void end(void) {
    eq_windows_free(&windows);
    eq_qblock_free(&rounded);
    eq_weights_close(src);
    be->close(be);
}

typedef struct {
    float *ds, *dz;
    double nll[MOST];
    int64_t n;
} gradient;

/* Of windows [from, from + n), which are windows of a batch of `batch`, `micro` at once. */
static gradient model_gradient(eq_lm *lm, int64_t from, int64_t n, int64_t batch, int64_t micro) {
    gradient out = {.n = lm->q.s.n};
    eq_mut m[4];
    for (int i = 0; i < 4; i++) {
        m[i] = room(EQ_F32, out.n);
        EQ_DO(be, fill, m[i], 0.0f);
    }
    eq_lm_grads g = {.ds = m[0], .dz = m[1], .part_ds = m[2], .part_dz = m[3], .batch = n};
    while (g.done < n) {
        int64_t B = n - g.done < micro ? n - g.done : micro, done = g.done;
        const int32_t *ids = windows.ids + (from + done) * T;
        ok(eq_lm_forward(lm, ids, B, T, &err));
        ok(eq_lm_loss(lm, ids, B, T, (float)(1.0 / (double)(batch * (T - 1))), out.nll + done,
                      &err));
        ok(eq_lm_backward(lm, &g, &err));
        assert_int_equal(g.done, done + B);
    }
    out.ds = eq_calloc(out.n, 4), out.dz = eq_calloc(out.n, 4);
    be->download(be, out.ds, EQ_F32, eq_ro(m[0]));
    be->download(be, out.dz, EQ_F32, eq_ro(m[1]));
    drop();
    return out;
}
static void forget(gradient *g) { eq_free(g->ds), eq_free(g->dz); }
static void same_gradient(const gradient *a, const gradient *b, int64_t batch) {
    assert_memory_equal(a->ds, b->ds, a->n * 4);
    assert_memory_equal(a->dz, b->dz, a->n * 4);
    assert_memory_equal(a->nll, b->nll, batch * (int64_t)sizeof *a->nll);
}

static void model_batch(eq_lm *lm, int64_t batch) {
    gradient whole = model_gradient(lm, 0, batch, batch, batch);
    for (int64_t micro = 1; micro < 5; micro += 2) {
        gradient cut = model_gradient(lm, 0, batch, batch, micro);
        same_gradient(&whole, &cut, batch);
        forget(&cut);
    }
    /* parts computed apart, as other machines would */
    gradient total = {0};
    int64_t part = eq_part_windows(batch);
    for (int64_t b = 0; b < batch; b += part) {
        gradient g = model_gradient(lm, b, part < batch - b ? part : batch - b, batch, 2);
        if (!b) {
            total = g;
            continue;
        }
        add_floats(total.ds, g.ds, g.n), add_floats(total.dz, g.dz, g.n);
        memcpy(total.nll + b, g.nll, (size_t)(batch - b) * sizeof *g.nll);
        forget(&g);
    }
    same_gradient(&whole, &total, batch);
    forget(&whole), forget(&total);
}

static void test_model(void **state) {
    (void)state;
    begin();
    for (int bf = 0; bf < 2; bf++) {
        eq_lm *lm;
        eq_lm_opts o = {.B = MOST,
                        .T = T,
                        .ct = bf ? EQ_BF16 : EQ_F32,
                        .backward = true,
                        .schemes = EQ_ONE_SCHEME(2, 32),
                        .source = source};
        ok(eq_lm_open(&lm, be, src, &o, &err));
        model_batch(lm, 5), model_batch(lm, 16), model_batch(lm, 20), model_batch(lm, MOST);
        eq_lm_close(lm);
    }
    end();
}

/* Two steps, the last batch a smaller one; s and the losses of the log. */
static char losses_seen[1024];
static void on_event(void *ctx, const char *line) {
    (void)ctx;
    if (strstr(line, "e2e_step"))
        strncat(losses_seen, line, sizeof losses_seen - 1 - strlen(losses_seen));
}
typedef struct {
    float s[64 * 3], norm[64];
    uint32_t rows[64 * 6];
} trained; /* of one linear and norm */
static void run(int64_t batch, int64_t micro, bool taught, trained *out) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    eq_e2e_setup set = {.schemes = EQ_ONE_SCHEME(2, 32),
                        .precision = EQ_PREC_F32,
                        .qp = o.qp,
                        .source = source,
                        .save_seconds = 600,
                        .run = "",
                        .state_path = scratch_path("e2e.safetensors")};
    set.qp.batch_size = batch, set.qp.micro_batch = micro, set.qp.lr = 1e-3;
    set.qp.train = EQ_TRAIN_S | EQ_TRAIN_Z;
    if (taught) {
        set.qp.loss = EQ_E2E_KL, set.teacher = src, set.qp.weight_lr = 1e-3;
        set.qp.train |= EQ_TRAIN_W | EQ_TRAIN_NORM;
    }
    eq_e2e *job;
    eq_observer obs = {.event = on_event};
    losses_seen[0] = '\0';
    int64_t before = be->bytes;
    ok(eq_e2e_open(&job, be, src, &set, T, &err));
    assert_int_equal(be->bytes - before, eq_e2e_bytes(&src->cfg, &set, T));
    ok(eq_e2e_run(job, &windows, &obs, &err));
    ok(eq_e2e_apply(job, 1, &rounded, &err));
    memcpy(out->s, rounded.lin[EQ_LIN_DOWN].s, sizeof out->s);
    memcpy(out->rows, rounded.lin[EQ_LIN_DOWN].rows, sizeof out->rows);
    memcpy(out->norm, rounded.norm[EQ_NORM_POST], sizeof out->norm);
    eq_e2e_close(job);
    ok(eq_remove_tree(scratch_path("e2e.safetensors"), &err));
    ok(eq_remove_tree(scratch_path("e2e.safetensors.good"), &err));
}

static void test_micro_batch(void **state) {
    (void)state;
    begin();
    for (int k = 0; k < 4; k++) { /* whole batches and batches in parts, both losses */
        int64_t batch = k % 2 ? 20 : 8;
        trained one, cut;
        char log[sizeof losses_seen];
        run(batch, 1, k > 1, &one);
        assert_true(losses_seen[0]);
        memcpy(log, losses_seen, sizeof log);
        for (int64_t micro = 3; micro <= batch; micro += batch - 3) {
            run(batch, micro, k > 1, &cut);
            assert_memory_equal(&one, &cut, sizeof one);
            assert_string_equal(log, losses_seen);
        }
    }
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),          cmocka_unit_test(test_operations),
        cmocka_unit_test(test_long_attention), cmocka_unit_test(test_block),
        cmocka_unit_test(test_model),          cmocka_unit_test(test_micro_batch),
    };
    return cmocka_run_group_tests_name("sums over windows", tests, NULL, NULL);
}

/* Gradients through the whole model and through a whole block against central differences of the
 * loss, in fp32, for families of every make. Losses come from the forward pass alone, so what the
 * backward pass forgets or scales wrongly shows, whichever operation or call it is in.
 *
 * Straight-through parts (rounding, clamps of s and z) are differentiated by METHOD's table, on top
 * of differences of the loss by w_hat. Differences are of fourth order: h^4 is 1e-8, and the loss,
 * good to some 1e-7, is divided by h. Seen: up to 2e-4 of the gradient's size on the CPU backend,
 * 6e-5 on the reference, which sums in double. */
#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/lm.h"
#include "model/schemes.h"
#include "quant/pack.h"
#include "tiny_train.h"
#include "train/rtn.h"

static const char *const families[] = {"llama",  "mistral", "qwen2",    "qwen3",
                                       "gemma2", "granite", "internlm2"};
enum { FAMILIES = sizeof families / sizeof *families, D = 64, Q = (1 << TINY_BITS) - 1 };
static const double h = 1e-2, tolerance = 1e-3;

/* size: of the gradient along directions of this length, in case the slope itself is small. */
static void same_slope(const char *family, const char *what, int64_t block, const char *of,
                       double slope, double differences, double size) {
    if (!(fabs(slope - differences) <= tolerance * size))
        fail_msg(
            "%s: block %lld, %s of %s: slope %.6g, differences of the loss say %.6g (size %.6g)",
            family, (long long)block, what, of, slope, differences, size);
}
/* f at -2h, -h, h, 2h */
static double fourth_order(const double f[4]) {
    return (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * h);
}
static double at(int k) { return (k < 2 ? k - 2 : k - 1) * h; }

/* ---- the whole model: steps and zero points ----------------------------------------------------
 */

static eq_schemes schemes;
static eq_qblock rounded;
static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    (void)ctx;
    *b = &rounded;
    eq_qblock_turn(&rounded, &tiny.src->cfg, &schemes, i);
    return eq_rtn_block(tiny.be, tiny.src, i, EQ_RANGE_MINMAX, &rounded, err);
}
enum { B = 2 };
static void teach(eq_lm *lm, const eq_windows *w) {
    eq_err err = {0};
    eq_lm_embed(lm, w->ids, B, TINY_T);
    for (int64_t i = 0; i < lm->cfg->L; i++) tiny_ok(eq_lm_teacher_fwd(lm, i, &err), &err);
}
static double loss_of(eq_lm *lm, const eq_windows *w, float scale) {
    eq_err err = {0};
    double nll[B];
    if (lm->opts.taught) teach(lm, w);
    tiny_ok(eq_lm_forward(lm, w->ids, B, TINY_T, &err), &err);
    tiny_ok(eq_lm_loss(lm, w->ids, B, TINY_T, scale, nll, &err), &err);
    return (nll[0] + nll[1]) / B;
}
static float *host(eq_mut m) {
    float *p = eq_calloc(m.n, sizeof *p);
    tiny.be->download(tiny.be, p, EQ_F32, eq_ro(m));
    return p;
}

/* Along the gradient's signs, each element in units of `unit` (its size; 1 for zero points). */
static void one_array(eq_lm *lm, const eq_windows *w, eq_mut all, eq_mut gradients, bool steps,
                      int64_t block, eq_lin l) {
    eq_mut p = eq_lm_groups(lm, all, block, l);
    float *was = host(p), *g = host(eq_lm_groups(lm, gradients, block, l)),
          *moved = eq_calloc(p.n, sizeof *moved);
    double f[4], slope = 0;
    for (int k = 0; k < 4; k++) {
        for (int64_t i = 0; i < p.n; i++) {
            double unit = steps ? (double)was[i] : 1;
            moved[i] = (float)((double)was[i] + at(k) * copysign(unit, (double)g[i]));
        }
        tiny.be->upload(tiny.be, p, moved, EQ_F32);
        f[k] = loss_of(lm, w, 0);
    }
    for (int64_t i = 0; i < p.n; i++) slope += fabs((double)g[i]) * (steps ? (double)was[i] : 1);
    tiny.be->upload(tiny.be, p, was, EQ_F32);
    assert_true(slope > 1e-4);
    same_slope(lm->cfg->family, steps ? "steps" : "zero points", block, eq_lin_of(lm->cfg, l).name,
               slope, fourth_order(f), slope);
    eq_free(was), eq_free(g), eq_free(moved);
}

static void one_norm(eq_lm *lm, const eq_windows *w, eq_mut gradients, int64_t block, eq_norm k) {
    eq_mut p = eq_lm_norm_of(lm, lm->q.norm, block, k);
    float *was = host(p), *g = host(eq_lm_norm_of(lm, gradients, block, k)),
          *moved = eq_calloc(p.n, sizeof *moved);
    double f[4], slope = 0;
    for (int e = 0; e < 4; e++) {
        for (int64_t i = 0; i < p.n; i++)
            moved[i] = was[i] + (float)(at(e) * copysign(1, (double)g[i]));
        tiny.be->upload(tiny.be, p, moved, EQ_F32);
        f[e] = loss_of(lm, w, 0);
    }
    for (int64_t i = 0; i < p.n; i++) slope += fabs((double)g[i]);
    tiny.be->upload(tiny.be, p, was, EQ_F32);
    assert_true(slope > 1e-4);
    same_slope(lm->cfg->family, "weights", block, eq_norm_of(lm->cfg, k).name, slope,
               fourth_order(f), slope);
    eq_free(was), eq_free(g), eq_free(moved);
}

/* Every linear with the same scheme, or with others' and held zero points. */
static void one_model(const char *family, const char *others, eq_grid grid, bool taught) {
    eq_err err = {0};
    eq_scheme all = {TINY_BITS, TINY_GROUP, grid};
    tiny_train_open(family, "cpu");
    tiny_ok(eq_schemes_make(&schemes, &tiny.src->cfg, all, others, &err), &err);
    tiny_ok(eq_qblock_alloc(&rounded, &tiny.src->cfg, &schemes, &err), &err);
    eq_windows w = tiny_windows(B, 3);
    eq_lm *lm;
    eq_lm_opts o = {
        .B = B, .T = TINY_T, .ct = EQ_F32, .backward = true, .schemes = schemes, .source = source};
    o.taught = taught, o.teacher = tiny.src;
    tiny_ok(eq_lm_open(&lm, tiny.be, tiny.src, &o, &err), &err);
    eq_mut g[3];
    for (int i = 0; i < 3; i++) {
        int64_t n = i < 2 ? lm->q.s.n : lm->q.norm.n;
        g[i] = (eq_mut){tiny.be->alloc(tiny.be, 4 * n), n, EQ_F32};
        EQ_DO(tiny.be, fill, g[i], 0.0f);
    }
    eq_lm_grads grads = {.ds = g[0], .dz = g[1], .dnorm = g[2], .batch = B};
    loss_of(lm, &w, 1.0f / (B * (TINY_T - 1)));
    tiny_ok(eq_lm_backward(lm, &grads, &err), &err);
    for (int64_t i = 0; i < tiny.src->cfg.L; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            one_array(lm, &w, lm->q.s, g[0], true, i, (eq_lin)l);
            one_array(lm, &w, lm->q.z, g[1], false, i, (eq_lin)l);
        }
    for (int64_t i = 0; i < tiny.src->cfg.L; i++)
        for (eq_norm k = 0; k < EQ_NORM_COUNT; k++)
            if (eq_norm_of(lm->cfg, k).exists) one_norm(lm, &w, g[2], i, k);
    for (int i = 0; i < 3; i++) tiny.be->free_(tiny.be, g[i].p);
    eq_lm_close(lm);
    eq_qblock_free(&rounded);
    eq_schemes_free(&schemes);
    eq_windows_free(&w);
    tiny_train_close();
}

static void whole_model(void **state) {
    (void)state;
    for (int k = 0; k < FAMILIES; k++) one_model(families[k], NULL, EQ_GRID_FREE, false);
    one_model("llama", "mlp=w4g-1,layers.1=w3,1.*.down_proj=w2g-1", EQ_GRID_PORTABLE, false);
    one_model("llama", NULL, EQ_GRID_FREE, true);
    one_model("gemma2", NULL, EQ_GRID_FREE, true);
}

/* The loss behind a teacher's pass is the divergence of what the two models say by themselves. */
static void divergence(void **state) {
    (void)state;
    eq_err err = {0};
    tiny_train_open("gemma2", "cpu"); /* its logits are capped */
    schemes = EQ_ONE_SCHEME(TINY_BITS, TINY_GROUP);
    tiny_ok(eq_qblock_alloc(&rounded, &tiny.src->cfg, &schemes, &err), &err);
    eq_windows w = tiny_windows(B, 3);
    eq_lm *lm, *full;
    int64_t V = tiny.src->cfg.V;
    eq_lm_opts o = {
        .B = B, .T = TINY_T, .ct = EQ_F32, .backward = true, .schemes = schemes, .source = source};
    o.taught = true, o.teacher = tiny.src;
    tiny_ok(eq_lm_open(&lm, tiny.be, tiny.src, &o, &err), &err);
    eq_lm_opts plain = {.B = B, .T = TINY_T, .ct = EQ_F32};
    tiny_ok(eq_lm_open(&full, tiny.be, tiny.src, &plain, &err), &err);
    double got = loss_of(lm, &w, 0), want = 0;
    tiny_ok(eq_lm_forward(full, w.ids, B, TINY_T, &err), &err);
    for (int64_t r = 0; r < B * TINY_T; r++) {
        float q[64], p[64];
        double sq = 0, sp = 0, kl = 0;
        tiny_ok(eq_lm_logits(lm, r, 1, q, &err), &err);
        tiny_ok(eq_lm_logits(full, r, 1, p, &err), &err);
        for (int64_t i = 0; i < V; i++) sq += exp((double)q[i]), sp += exp((double)p[i]);
        for (int64_t i = 0; i < V; i++)
            kl += exp((double)p[i]) / sp * ((double)p[i] - log(sp) - (double)q[i] + log(sq));
        if (r % TINY_T < TINY_T - 1) want += kl / (B * (TINY_T - 1));
    }
    assert_true(want > 1e-3 && fabs(got - want) < 1e-5 * want);
    /* and without a pass before it the cross-entropy, as ever */
    double nll[B];
    tiny_ok(eq_lm_loss(lm, w.ids, B, TINY_T, 0, nll, &err), &err);
    assert_true((nll[0] + nll[1]) / B > 2 * want);
    eq_lm_close(lm), eq_lm_close(full);
    eq_qblock_free(&rounded);
    eq_windows_free(&w);
    tiny_train_close();
}

/* ---- the whole model: masters ----------------------------------------------------------------
 */

/* The gradients with masters of linear l of a block against those of the same pass with codes, by
 * METHOD's table: dw_hat is not seen, but sums of (w_int - z) dw_hat over groups are ds there. */
static void one_master(eq_lm *lm, const eq_qblock *b, const eq_mut g[3], eq_mut ds_codes,
                       int64_t block, eq_lin l, int64_t *groups) {
    const eq_qlinear *q = &b->lin[l];
    eq_lin_spec spec = eq_lin_of(lm->cfg, l);
    int64_t at = 0, NG = q->I / q->G;
    for (eq_lin k = 0; k < l; k++) at += eq_lin_of(lm->cfg, k).O * eq_lin_of(lm->cfg, k).I;
    at += block * (eq_config_linear_params(lm->cfg) / lm->cfg->L);
    float *W = host(eq_mut_at(lm->q.W, at, spec.O * spec.I)),
          *dW = host(eq_mut_at(g[2], at, spec.O * spec.I)),
          *ds = host(eq_lm_groups(lm, g[0], block, l)),
          *want = host(eq_lm_groups(lm, ds_codes, block, l));
    uint8_t *code = eq_calloc(q->I, 1);
    for (int64_t o = 0; o < q->O; o++) {
        eq_unpack_row(code, q->rows + o * eq_pack_words(q->I, q->bits), q->I, q->bits);
        for (int64_t k = 0; k < NG; k++) {
            double s = (double)q->s[o * NG + k], z = (double)q->z[o * NG + k];
            double by_codes = 0, by_masters = 0, size = 0;
            bool clipped = false;
            for (int64_t i = k * q->G; i < (k + 1) * q->G; i++) {
                double w = (double)W[o * q->I + i], d = (double)dW[o * q->I + i];
                double r = rint((double)((float)w / (float)s)), t = r + z;
                assert_true(fmin(fmax(t, 0), Q) == (double)code[i]); /* the start's codes */
                clipped = clipped || t < 0 || t > Q;
                by_codes += ((double)code[i] - z) * d, by_masters += (r - w / s) * d;
                size += fabs(d) * Q;
            }
            if (clipped) continue;
            (*groups)++;
            assert_true(fabs(by_codes - (double)want[o * NG + k]) <= 1e-5 * size + 1e-12);
            assert_true(fabs(by_masters - (double)ds[o * NG + k]) <= 1e-5 * size + 1e-12);
        }
    }
    eq_free(W), eq_free(dW), eq_free(ds), eq_free(want), eq_free(code);
}

static eq_mut zeros(int64_t n) {
    eq_mut m = {tiny.be->alloc(tiny.be, 4 * n), n, EQ_F32};
    EQ_DO(tiny.be, fill, m, 0.0f);
    return m;
}

/* A pass forwards and back with codes or with masters; gradients of s, z and W. */
static double one_pass(bool with, const eq_windows *w, eq_lm **lm, eq_mut g[3]) {
    eq_err err = {0};
    eq_lm_opts o = {.B = B,
                    .T = TINY_T,
                    .ct = EQ_F32,
                    .backward = true,
                    .masters = with,
                    .teacher = tiny.src,
                    .schemes = schemes,
                    .source = source};
    tiny_ok(eq_lm_open(lm, tiny.be, tiny.src, &o, &err), &err);
    double loss = loss_of(*lm, w, 1.0f / (B * (TINY_T - 1)));
    g[0] = zeros((*lm)->q.s.n), g[1] = zeros((*lm)->q.s.n), g[2] = zeros(with ? (*lm)->q.W.n : 1);
    eq_lm_grads all = {.ds = g[0], .dz = g[1], .batch = B};
    if (with) all.dW = g[2];
    tiny_ok(eq_lm_backward(*lm, &all, &err), &err);
    return loss;
}

static void masters(void **state) {
    (void)state;
    eq_err err = {0};
    tiny_train_open("llama", "cpu");
    schemes = EQ_ONE_SCHEME(TINY_BITS, TINY_GROUP);
    tiny_ok(eq_qblock_alloc(&rounded, &tiny.src->cfg, &schemes, &err), &err);
    eq_windows w = tiny_windows(B, 3);
    eq_lm *codes, *free_codes;
    eq_mut g[2][3];
    double loss = one_pass(false, &w, &codes, g[0]);
    assert_true(one_pass(true, &w, &free_codes, g[1]) == loss); /* the same weights */
    int64_t groups = 0;
    for (int64_t i = 0; i < tiny.src->cfg.L; i++) {
        const eq_qblock *b;
        tiny_ok(source(NULL, i, &b, &err), &err);
        for (eq_lin l = 0; l < EQ_LINS; l++)
            one_master(free_codes, b, g[1], g[0][0], i, l, &groups);
    }
    assert_true(groups > free_codes->q.s.n * 9 / 10);
    for (int i = 0; i < 6; i++) tiny.be->free_(tiny.be, g[i / 3][i % 3].p);
    eq_lm_close(codes), eq_lm_close(free_codes);
    eq_qblock_free(&rounded);
    eq_windows_free(&w);
    tiny_train_close();
}

/* ---- one step of Block-AP: whatever is trained -------------------------------------------------
 */

/* What may be trained of a linear, and how many of each there are. */
enum { W_, S_, Z_, CLIP_, OFFSET_, KINDS };
static const char *const kinds[] = {"W", "s", "z", "clip", "offset"};
static int64_t size_of(int l, int kind) {
    eq_lin_spec spec = eq_lin_of(&tiny.src->cfg, (eq_lin)l);
    int64_t n = spec.O * spec.I;
    return kind == W_ || kind == OFFSET_ ? n : kind == CLIP_ ? 2 * n / TINY_GROUP : n / TINY_GROUP;
}

/* What the step saw and the gradients that it handed to AdamW. */
static struct {
    const void *place[KINDS][EQ_LINS];
    float *p[KINDS][EQ_LINS], *g[KINDS][EQ_LINS], *norm[EQ_NORM_COUNT], *dnorm[EQ_NORM_COUNT];
    float *x, *t;
    int linears, starts, offsets, norms;
    bool over;
} step;

static void note(int kind, int l, eq_arg a) {
    step.place[kind][l] = a.p, step.p[kind][l] = tiny_floats(a);
}
/* The same memory with other numbers: mean + size * N(0, 1) within most. */
static void set(eq_wrap *w, eq_arg a, double mean, double size, double most) {
    float *p = eq_calloc(a.n, sizeof *p);
    for (int64_t i = 0; i < a.n; i++)
        p[i] =
            (float)fmin(fmax(mean + size * (double)eq_rand_normal(99, (uint64_t)i), -most), most);
    w->in->upload(w->in, (eq_mut){(void *)(uintptr_t)a.p, a.n, EQ_F32}, p, EQ_F32);
    eq_free(p);
}

/* What nothing is learned of yet gets numbers that clip and move many weights. The start clips
 * nothing; with steps of 0.6 of it some weights of every group are. */
static void before_making(eq_wrap *w, eq_op_id op, const eq_arg *a) {
    if (op == EQ_OP_fq_clip && step.starts < EQ_LINS) {
        set(w, a[4], 0.3, 0.5, 9);
        note(CLIP_, step.starts++, a[4]);
    }
    if (op == EQ_OP_fq_offset && step.offsets < EQ_LINS) {
        set(w, a[3], 0, 0.4, 0.9);
        note(W_, step.offsets, a[2]), note(OFFSET_, step.offsets++, a[3]);
    }
    if (op != EQ_OP_fq_fwd || step.linears >= EQ_LINS) return;
    int l = step.linears++;
    bool plain = !step.starts && !step.offsets;
    float *s = tiny_floats(a[3]);
    for (int64_t i = 0; plain && i < a[3].n; i++) s[i] *= 0.6f;
    w->in->upload(w->in, (eq_mut){(void *)(uintptr_t)a[3].p, a[3].n, EQ_F32}, s, EQ_F32);
    eq_free(s);
    if (!step.offsets) note(W_, l, a[2]);
    note(S_, l, a[3]), note(Z_, l, a[4]);
}

static bool before(eq_wrap *w, eq_op_id op, const eq_arg *a, int n) {
    (void)n;
    if (step.over) return true;
    before_making(w, op, a);
    if (op == EQ_OP_rmsnorm_fwd && !step.x) step.x = tiny_floats(a[3]);
    if (op == EQ_OP_mse) step.t = tiny_floats(a[4]);
    if (op != EQ_OP_adamw) return true;
    for (int k = 0; k < KINDS; k++)
        for (int l = 0; l < EQ_LINS; l++)
            if (step.place[k][l] == a[1].p) {
                step.g[k][l] = tiny_floats(a[4]);
                return true;
            }
    step.norm[step.norms] = tiny_floats(a[1]), step.dnorm[step.norms++] = tiny_floats(a[4]);
    return true;
}
static void on_step(const char *kind, const json_t *v) {
    (void)v;
    if (!strcmp(kind, "block_step")) step.over = true;
}

typedef struct {
    eq_arena a;
    eq_block_w w;
    eq_block_acts acts;
    eq_rope rope;
    eq_mut x;
} block;
static void bind(block *b, const eq_config *c, int64_t windows) {
    eq_block_w_bind(&b->w, &b->a, c, EQ_F32, NULL, NULL);
    eq_rope_bind(&b->rope, &b->a, c, TINY_T);
    b->x = eq_take(&b->a, EQ_F32, windows * TINY_T * D);
    eq_block_acts_bind(&b->acts, &b->a, c, EQ_F32, windows, TINY_T, false);
}
/* Mean squared error of the block's output to the target. */
static double block_loss(block *b) {
    eq_block_fwd(tiny.be, &tiny.src->cfg, &b->w, &b->rope, &b->acts, eq_ro(b->x));
    float *y = host(b->acts.y);
    double sum = 0;
    for (int64_t i = 0; i < b->acts.y.n; i++) {
        double d = (double)y[i] - (double)step.t[i];
        sum += d * d / (double)b->acts.y.n;
    }
    eq_free(y);
    return sum;
}

/* w_hat of element i with METHOD's derivatives by w, s and z, rounded values held. */
typedef struct {
    double value, by[3];
} fake;
static fake fake_quantized(double w, double s, double z) {
    z = fmin(fmax(rint(z), 0), Q);
    double r = rint((double)((float)w / (float)s)), t = r + z;
    if (t < 0) return (fake){-z * s, {0, -z, -s}};
    if (t > Q) return (fake){(Q - z) * s, {0, Q - z, -s}};
    return (fake){r * s, {1, r - w / s, 0}};
}
/* s and z by the two numbers c that clip group g of linear l: s = (b hi - a lo) / Q, z = -a lo / s.
 */
static void by_clip(double ds[2], double dz[2], int l, int64_t g) {
    const float *w = step.p[W_][l] + g * TINY_GROUP, *c = step.p[CLIP_][l] + 2 * g;
    double lo = (double)w[0], hi = lo, share[2];
    for (int i = 0; i < TINY_GROUP; i++) lo = fmin(lo, (double)w[i]), hi = fmax(hi, (double)w[i]);
    for (int k = 0; k < 2; k++) share[k] = 1 / (1 + exp(-(double)c[k]));
    double s = (share[1] * hi - share[0] * lo) / Q, end[2] = {-lo, hi};
    for (int k = 0; k < 2; k++) {
        double slope = share[k] * (1 - share[k]);
        ds[k] = slope * end[k] / Q;
        dz[k] = share[0] * lo / (s * s) * ds[k] - (k ? 0 : slope * lo / s);
    }
}

static double direction(int k, int l, int64_t i) {
    return (double)eq_rand_normal((uint64_t)(1 + k * EQ_LINS + l), (uint64_t)i);
}
/* Directions of W and s are in steps, others as they are. */
static double unit(int k, int l, int64_t i) {
    return k == W_ ? (double)step.p[S_][l][i / TINY_GROUP] : k == S_ ? (double)step.p[S_][l][i] : 1;
}
/* Weight i of linear l, and how it moves along the direction of kind k. */
static fake weight_at(int l, int k, int64_t i, double *slope) {
    int64_t g = i / TINY_GROUP;
    double s = (double)step.p[S_][l][g], v = 0, ds[2], dz[2];
    float w = step.p[W_][l][i];
    if (step.p[OFFSET_][l])
        v = (double)step.p[OFFSET_][l][i], w += step.p[OFFSET_][l][i] * step.p[S_][l][g];
    fake f = fake_quantized((double)w, s, (double)step.p[Z_][l][g]);
    f.by[1] += f.by[0] * v;
    if (k == W_ || k == S_ || k == Z_)
        *slope = unit(k, l, k == W_ ? i : g) * f.by[k] * direction(k, l, k == W_ ? i : g);
    if (k == OFFSET_) *slope = s * f.by[0] * direction(k, l, i);
    if (k != CLIP_) return f;
    by_clip(ds, dz, l, g);
    *slope = 0;
    for (int e = 0; e < 2; e++)
        *slope += (f.by[1] * ds[e] + f.by[2] * dz[e]) * direction(k, l, 2 * g + e);
    return f;
}
/* Linear l with what kind k is moved by `by` along a random direction. */
static void put_linear(block *b, int l, int k, double by, int64_t *clipped) {
    int64_t n = size_of(l, W_);
    float *w_hat = eq_calloc(n, sizeof *w_hat);
    for (int64_t i = 0; i < n; i++) {
        double slope = 0; /* gcc 12 does not see that weight_at sets it */
        fake f = weight_at(l, k, i, &slope);
        w_hat[i] = (float)(f.value + by * slope);
        if (clipped) *clipped += f.by[0] == 0;
    }
    tiny.be->upload(tiny.be, b->w.w[l], w_hat, EQ_F32);
    eq_free(w_hat);
}

static void by_linears(block *b, const char *family) {
    for (int l = 0; l < EQ_LINS; l++)
        for (int k = 0; k < KINDS; k++) {
            eq_lin_spec spec = eq_lin_of(&tiny.src->cfg, (eq_lin)l);
            double f[4], slope = 0, size = 0;
            if (!step.g[k][l]) continue;
            for (int e = 0; e < 4; e++) put_linear(b, l, k, at(e), NULL), f[e] = block_loss(b);
            for (int64_t i = 0; i < size_of(l, k); i++) {
                double one = (double)step.g[k][l][i] * unit(k, l, i) * direction(k, l, i);
                slope += one, size += one * one;
            }
            same_slope(family, kinds[k], 0, spec.name, slope, fourth_order(f), sqrt(size));
            put_linear(b, l, 0, 0, NULL);
        }
}
static void put_norm(block *b, eq_norm m, const float *weight) {
    tiny.be->upload(tiny.be, b->w.norm[m], weight, EQ_F32);
    eq_norm_weight(tiny.be, &tiny.src->cfg, b->w.norm[m], eq_ro(b->w.norm[m]));
}
static void by_norms(block *b, const char *family) {
    int seen = 0;
    for (eq_norm m = 0; m < EQ_NORM_COUNT; m++) {
        eq_norm_spec spec = eq_norm_of(&tiny.src->cfg, m);
        if (!spec.exists) continue;
        float *moved = eq_calloc(spec.n, sizeof *moved);
        double f[4], slope = 0, size = 0;
        for (int e = 0; e < 4; e++) {
            for (int64_t i = 0; i < spec.n; i++)
                moved[i] = step.norm[seen][i] + (float)(at(e) * direction(3, (int)m, i));
            put_norm(b, m, moved);
            f[e] = block_loss(b);
        }
        put_norm(b, m, step.norm[seen]);
        for (int64_t i = 0; i < spec.n; i++) {
            double one = (double)step.dnorm[seen][i] * direction(3, (int)m, i);
            slope += one, size += one * one;
        }
        same_slope(family, "norm", 0, spec.name, slope, fourth_order(f), sqrt(size));
        eq_free(moved);
        seen++;
    }
    assert_int_equal(step.norms, seen);
}

static void take_step(unsigned train) {
    eq_err err = {0};
    eq_windows w = tiny_windows(2, 3), none = {.T = TINY_T};
    eq_block_ap_setup s = tiny_block_ap();
    eq_qblock out = tiny_qblock();
    eq_block_ap *job;
    s.ap.epochs = 1, s.ap.batch_size = 2, s.ap.train = train;
    tiny_ok(eq_block_ap_open(&job, tiny.be, tiny.src, &s, &w, &none, NULL, &err), &err);
    memset(&step, 0, sizeof step);
    /* The pass that makes the targets runs the block on the same inputs. */
    tiny.wrap->before = before, tiny.on_event = on_step;
    tiny_ok(eq_block_ap_train(job, 0, &out, &tiny_observer, &err), &err);
    tiny.wrap->before = NULL, tiny.on_event = NULL;
    assert_true(step.over);
    tiny_ok(eq_block_ap_pass(job, 0, &out, NULL, &err), &err); /* the states of its training go */
    eq_block_ap_close(job);
    eq_qblock_free(&out);
    eq_windows_free(&w);
}

/* With these parameters trained each has its gradient, and no other. */
static void one_block(const char *family, unsigned train) {
    static const unsigned bits[KINDS] = {EQ_TRAIN_W, EQ_TRAIN_S, EQ_TRAIN_Z, EQ_TRAIN_CLIP,
                                         EQ_TRAIN_ROUND};
    eq_err err = {0};
    tiny_train_open(family, "cpu");
    take_step(train);
    block b = {0};
    bind(&b, &tiny.src->cfg, 2);
    tiny_ok(eq_arena_alloc(&b.a, tiny.be, "test", &err), &err);
    bind(&b, &tiny.src->cfg, 2);
    tiny_ok(eq_rope_fill(&b.rope, tiny.be, &tiny.src->cfg, b.rope.T, &err), &err);
    eq_block_small_upload(&b.w, tiny.be, tiny.src, 0);
    tiny.be->upload(tiny.be, b.x, step.x, EQ_F32);
    int64_t clipped = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        put_linear(&b, l, 0, 0, &clipped);
        for (int k = 0; k < KINDS; k++) assert_true(!step.g[k][l] == !(train & bits[k]));
    }
    assert_true(clipped > (train & EQ_TRAIN_ROUND ? 200 : 1000));
    by_linears(&b, family);
    if (train & EQ_TRAIN_NORM) by_norms(&b, family);
    eq_arena_free(&b.a);
    for (int k = 0; k < KINDS; k++)
        for (int l = 0; l < EQ_LINS; l++) eq_free(step.p[k][l]), eq_free(step.g[k][l]);
    for (int m = 0; m < EQ_NORM_COUNT; m++) eq_free(step.norm[m]), eq_free(step.dnorm[m]);
    eq_free(step.x), eq_free(step.t);
    tiny_train_close();
}

static void whole_block(void **state) {
    (void)state;
    for (int f = 0; f < FAMILIES; f++)
        one_block(families[f], EQ_TRAIN_W | EQ_TRAIN_S | EQ_TRAIN_Z | EQ_TRAIN_NORM);
}

/* The rows of Table 5 that train something else, and AutoRound whole. */
static void table_5(void **state) {
    (void)state;
    static const unsigned sets[] = {EQ_TRAIN_CLIP, EQ_TRAIN_ROUND,
                                    EQ_TRAIN_S | EQ_TRAIN_Z | EQ_TRAIN_ROUND | EQ_TRAIN_NORM,
                                    EQ_TRAIN_CLIP | EQ_TRAIN_ROUND};
    for (int i = 0; i < 4; i++) one_block("llama", sets[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_model), cmocka_unit_test(divergence), cmocka_unit_test(masters),
        cmocka_unit_test(whole_block), cmocka_unit_test(table_5),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

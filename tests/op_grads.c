/* The backward operations against central differences of forward functions written here, in double.
 *
 * Smooth operations: with steps h = 1e-4 the difference is off by h^2 = 1e-8 of the third
 * derivative; gradients come as fp32 (2^-24) from fp32 inputs that the forward pass rounded (rstd,
 * o, lse): 1e-5 of the gradient's size covers both. Straight-through operations: the difference is
 * taken of the surrogate in which every rounding is its argument plus a frozen offset and every
 * clamp stays in the piece where it started, which is what "passes the gradient straight through"
 * means. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "op_grads.h"
#include "quant/pack.h"

enum { MAX_IN = 4 };
typedef struct {
    const char *name;
    int64_t n[MAX_IN]; /* sizes of the inputs, 0: no more */
    int64_t ny;
    void (*forward)(double *y, double *const x[]);
    void (*backward)(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy); /* F32 */
    double size; /* of the inputs */
    double shift[MAX_IN];
} problem;

static eq_mut dev(eq_backend *be, int64_t n) {
    eq_mut m = {be->alloc(be, 4 * n), n, EQ_F32};
    assert_non_null(m.p);
    return m;
}
/* A buffer of the operation that the problem does not look at. */
static eq_mut scratch[8];
static int scratches;
static eq_mut temp(eq_backend *be, int64_t n) { return scratch[scratches++] = dev(be, n); }

static void differences(const problem *p, double *x[], const double *dy, int which,
                        const double *g) {
    const double h = 1e-4;
    double *y[2] = {eq_calloc(p->ny, 8), eq_calloc(p->ny, 8)}, rms = 0.0;
    for (int64_t i = 0; i < p->n[which]; i++) rms += g[i] * g[i] / (double)p->n[which];
    assert_true(rms > 0.0);
    for (int64_t i = 0; i < p->n[which]; i++) {
        double was = x[which][i], fd = 0.0;
        for (int side = 0; side < 2; side++) {
            x[which][i] = was + (side ? h : -h);
            p->forward(y[side], x);
        }
        x[which][i] = was;
        for (int64_t k = 0; k < p->ny; k++) fd += dy[k] * (y[1][k] - y[0][k]) / (2.0 * h);
        if (fabs(fd - g[i]) > 1e-5 * (sqrt(rms) + fabs(fd)))
            fail_msg("%s: gradient of input %d [%lld] is %.9g, differences say %.9g", p->name,
                     which, (long long)i, g[i], fd);
    }
    eq_free(y[0]), eq_free(y[1]);
}

static void check_on(eq_backend *be, const problem *p) {
    double *x[MAX_IN] = {0}, *dy = eq_calloc(p->ny, 8);
    eq_mut dx[MAX_IN] = {0}, g[MAX_IN] = {0}, ddy = dev(be, p->ny);
    for (int k = 0; k < MAX_IN && p->n[k]; k++) {
        x[k] = eq_calloc(p->n[k], 8);
        for (int64_t i = 0; i < p->n[k]; i++)
            x[k][i] = (double)(float)(p->shift[k] +
                                      p->size * (double)eq_rand_normal((uint64_t)k, (uint64_t)i));
        dx[k] = dev(be, p->n[k]), g[k] = dev(be, p->n[k]);
        be->upload(be, dx[k], x[k], EQ_F64);
    }
    for (int64_t i = 0; i < p->ny; i++) dy[i] = (double)eq_rand_normal(77, (uint64_t)i);
    be->upload(be, ddy, dy, EQ_F64);
    p->backward(be, g, dx, ddy);
    assert_int_equal(be->sync(be, NULL), EQ_OK);
    be->download(be, dy, EQ_F64, eq_ro(ddy)); /* a loss has set it to its own scale */
    for (int k = 0; k < MAX_IN && p->n[k]; k++) {
        double *got = eq_calloc(p->n[k], 8);
        be->download(be, got, EQ_F64, eq_ro(g[k]));
        differences(p, x, dy, k, got);
        eq_free(got);
        be->free_(be, dx[k].p), be->free_(be, g[k].p);
    }
    while (scratches) be->free_(be, scratch[--scratches].p);
    be->free_(be, ddy.p);
    for (int k = 0; k < MAX_IN; k++) eq_free(x[k]);
    eq_free(dy);
}

/* ---- smooth operations ----------------------------------------------------------------------- */

enum { M = 5, N = 6, K = 7 }; /* y[M, N] = a[M, K] b[N, K]^T; da = dy b, db = dy^T a */
static void linear_fwd(double *y, double *const x[]) {
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            y[m * N + n] = 0.0;
            for (int k = 0; k < K; k++) y[m * N + n] += x[0][m * K + k] * x[1][n * K + k];
        }
}
static void linear_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    EQ_DO(be, matmul_nn, g[0], eq_ro(dy), eq_ro(x[1]), M, K, N, M, 0);
    EQ_DO(be, matmul_tn, g[1], eq_ro(dy), eq_ro(x[0]), N, K, M, M, N, 0);
}

enum { ROWS = 4, D = 9 };
static void norm_fwd(double *y, double *const x[]) {
    for (int r = 0; r < ROWS; r++) {
        double ss = 0.0;
        for (int d = 0; d < D; d++) ss += x[0][r * D + d] * x[0][r * D + d] / D;
        for (int d = 0; d < D; d++)
            y[r * D + d] = x[0][r * D + d] / sqrt(ss + (double)1e-2f) * x[1][d];
    }
}
static void norm_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    eq_mut y = temp(be, ROWS * D), rstd = temp(be, ROWS);
    EQ_DO(be, rmsnorm_fwd, y, rstd, eq_ro(x[0]), eq_ro(x[1]), ROWS, D, 1e-2f);
    EQ_DO(be, rmsnorm_bwd, g[0], g[1], eq_ro(dy), eq_ro(x[0]), eq_ro(x[1]), eq_ro(rstd), ROWS, D,
          ROWS, 0);
}

enum { SEQS = 2, T = 7, NH = 4, NKV = 2, HD = 6, WINDOW = 4 };
static void angles(float *c, float *s) {
    for (int i = 0; i < T * HD / 2; i++) c[i] = (float)cos(0.3 * i), s[i] = (float)sin(0.3 * i);
}
static void turn_fwd(double *y, double *const x[]) {
    float c[T * HD / 2], s[T * HD / 2];
    angles(c, s);
    for (int r = 0; r < SEQS * T * NH; r++)
        for (int i = 0; i < HD / 2; i++) {
            const double *in = x[0] + r * HD;
            int at = r / NH % T * (HD / 2) + i;
            y[r * HD + i] = in[i] * (double)c[at] - in[i + HD / 2] * (double)s[at];
            y[r * HD + i + HD / 2] = in[i + HD / 2] * (double)c[at] + in[i] * (double)s[at];
        }
}
static void turn_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    (void)x;
    float c[T * HD / 2], s[T * HD / 2];
    eq_mut dc = temp(be, T * HD / 2), ds = temp(be, T * HD / 2);
    angles(c, s);
    be->upload(be, dc, c, EQ_F32);
    be->upload(be, ds, s, EQ_F32);
    EQ_DO(be, cast, g[0], eq_ro(dy));
    EQ_DO(be, rope, g[0], eq_ro(dc), eq_ro(ds), EQ_NONE_VIEW, SEQS, T, NH, HD, HD, -1);
}

/* Of each head the first R elements. */
enum { R = 4 };
static void some_fwd(double *y, double *const x[]) {
    float c[T * HD / 2], s[T * HD / 2];
    angles(c, s);
    for (int r = 0; r < SEQS * T * NH; r++) {
        const double *in = x[0] + r * HD;
        for (int i = 0; i < HD; i++) y[r * HD + i] = in[i];
        for (int i = 0; i < R / 2; i++) {
            int at = r / NH % T * (R / 2) + i;
            y[r * HD + i] = in[i] * (double)c[at] - in[i + R / 2] * (double)s[at];
            y[r * HD + i + R / 2] = in[i + R / 2] * (double)c[at] + in[i] * (double)s[at];
        }
    }
}
static void some_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    (void)x;
    float c[T * HD / 2], s[T * HD / 2];
    eq_mut dc = temp(be, T * R / 2), ds = temp(be, T * R / 2);
    angles(c, s);
    be->upload(be, dc, c, EQ_F32);
    be->upload(be, ds, s, EQ_F32);
    EQ_DO(be, cast, g[0], eq_ro(dy));
    EQ_DO(be, rope, g[0], eq_ro(dc), eq_ro(ds), EQ_NONE_VIEW, SEQS, T, NH, HD, R, -1);
}

static const float scale = 0.4f, cap = 0.7f;
/* cap0: of the scores, 0: none */
static void attention(double *y, double *const x[], int window, double cap0) {
    for (int r = 0; r < SEQS * T * NH; r++) {
        int h = r % NH, t = r / NH % T, b = r / NH / T, kv = h / (NH / NKV);
        double sum = 0.0, *o = y + r * HD;
        for (int d = 0; d < HD; d++) o[d] = 0.0;
        for (int j = window && t >= window ? t - window + 1 : 0; j <= t; j++) {
            int at = ((b * T + j) * NKV + kv) * HD;
            double e = 0.0;
            for (int d = 0; d < HD; d++) e += x[0][r * HD + d] * x[1][at + d];
            e *= (double)scale;
            e = exp(cap0 > 0.0 ? cap0 * tanh(e / cap0) : e);
            sum += e;
            for (int d = 0; d < HD; d++) o[d] += e * x[2][at + d];
        }
        for (int d = 0; d < HD; d++) o[d] /= sum;
    }
}
static void attend_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy, int window,
                       float cap0) {
    eq_attn_shape s = {.B = SEQS,
                       .T = T,
                       .NH = NH,
                       .NKV = NKV,
                       .HD = HD,
                       .window = window,
                       .scale = scale,
                       .cap = cap0};
    eq_mut o = temp(be, SEQS * T * NH * HD), lse = temp(be, SEQS * NH * T);
    EQ_DO(be, attn_fwd, o, lse, eq_ro(x[0]), eq_ro(x[1]), eq_ro(x[2]), EQ_NONE_VIEW, s);
    EQ_DO(be, attn_bwd, g[0], g[1], g[2], eq_ro(dy), eq_ro(x[0]), eq_ro(x[1]), eq_ro(x[2]),
          eq_ro(o), eq_ro(lse), s);
}
static void causal_fwd(double *y, double *const x[]) { attention(y, x, 0, 0.0); }
static void causal_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    attend_bwd(be, g, x, dy, 0, 0.0f);
}
static void window_fwd(double *y, double *const x[]) { attention(y, x, WINDOW, 0.0); }
static void window_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    attend_bwd(be, g, x, dy, WINDOW, 0.0f);
}
static void capped_fwd(double *y, double *const x[]) { attention(y, x, WINDOW, (double)cap); }
static void capped_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    attend_bwd(be, g, x, dy, WINDOW, cap);
}

enum { LEN = 40 };
static void gate_fwd(double *y, double *const x[]) {
    for (int i = 0; i < LEN; i++) y[i] = x[0][i] / (1.0 + exp(-x[0][i])) * x[1][i];
}
static void gate_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    EQ_DO(be, glu_bwd, g[0], g[1], eq_ro(dy), eq_ro(x[0]), eq_ro(x[1]), EQ_ACT_SILU);
}
static void gelu_fwd(double *y, double *const x[]) {
    for (int i = 0; i < LEN; i++) {
        double a = x[0][i], v = sqrt(2.0 / acos(-1.0)) * (a + 0.044715 * a * a * a);
        y[i] = 0.5 * a * (1.0 + tanh(v)) * x[1][i];
    }
}
static void gelu_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    EQ_DO(be, glu_bwd, g[0], g[1], eq_ro(dy), eq_ro(x[0]), eq_ro(x[1]), EQ_ACT_GELU_TANH);
}
static void affine_fwd(double *y, double *const x[]) {
    for (int i = 0; i < LEN; i++) y[i] = 0.25 * x[0][i] + 1.0;
}
static void affine_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    (void)x;
    EQ_DO(be, affine, g[0], eq_ro(dy), 0.25f, 0.0f);
}
static void center_fwd(double *y, double *const x[]) {
    for (int r = 0; r < ROWS; r++) {
        double mean = 0.0;
        for (int d = 0; d < D; d++) mean += x[0][r * D + d] / D;
        for (int d = 0; d < D; d++) y[r * D + d] = x[0][r * D + d] - mean;
    }
}
static void center_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    (void)x;
    EQ_DO(be, center, g[0], eq_ro(dy), ROWS, D);
}

static void mse_fwd(double *y, double *const x[]) {
    y[0] = 0.0;
    for (int i = 0; i < LEN; i++) y[0] += (x[0][i] - 0.5) * (x[0][i] - 0.5) / LEN;
}
static void mse_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    eq_mut t = temp(be, LEN), loss = temp(be, 1);
    EQ_DO(be, fill, t, 0.5f);
    EQ_DO(be, mse, loss, g[0], eq_ro(x[0]), eq_ro(t));
    EQ_DO(be, fill, dy, 1.0f);
}

enum { V = 11 };
static const int32_t target[ROWS] = {3, -1, 0, 10};
static double capped(double x, double cap0) { return cap0 > 0.0 ? cap0 * tanh(x / cap0) : x; }
static void entropy(double *y, double *const x[], double cap0) {
    for (int r = 0; r < ROWS; r++) {
        double sum = 0.0;
        for (int i = 0; i < V; i++) sum += exp(capped(x[0][r * V + i], cap0));
        y[r] = target[r] < 0 ? 0.0 : log(sum) - capped(x[0][r * V + target[r]], cap0);
    }
}
static void entropy_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy, float cap0) {
    eq_mut logits = x[0], loss = temp(be, ROWS), t = temp(be, ROWS);
    t.dt = EQ_I32;
    be->upload(be, t, target, EQ_I32);
    if (cap0 > 0.0f) EQ_DO(be, softcap, logits = temp(be, ROWS * V), eq_ro(x[0]), cap0);
    EQ_DO(be, cross_entropy, loss, g[0], eq_ro(logits), eq_ro(t), ROWS, V, 0.25f, cap0);
    EQ_DO(be, fill, dy, 0.25f);
}
static void ce_fwd(double *y, double *const x[]) { entropy(y, x, 0.0); }
static void ce_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    entropy_bwd(be, g, x, dy, 0.0f);
}
static void ce_cap_fwd(double *y, double *const x[]) { entropy(y, x, 1.5); }
static void ce_cap_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    entropy_bwd(be, g, x, dy, 1.5f);
}

/* Away from a teacher with numbers of its own; rows of target -1 do not count. */
static float taught(int64_t i) { return 2.0f * eq_rand_normal(17, (uint64_t)i); }
static double log_sum(const double *x) {
    double sum = 0.0;
    for (int i = 0; i < V; i++) sum += exp(x[i]);
    return log(sum);
}
static void diverge(double *y, double *const x[], double cap0) {
    for (int r = 0; r < ROWS; r++) {
        double q[V], p[V];
        for (int i = 0; i < V; i++)
            q[i] = capped(x[0][r * V + i], cap0), p[i] = (double)taught(r * V + i);
        double lq = log_sum(q), lp = log_sum(p);
        y[r] = 0.0;
        for (int i = 0; i < V && target[r] >= 0; i++)
            y[r] += exp(p[i] - lp) * ((p[i] - lp) - (q[i] - lq));
    }
}
static void diverge_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy, float cap0) {
    eq_mut logits = x[0], loss = temp(be, ROWS), t = temp(be, ROWS), teacher = temp(be, ROWS * V);
    float host[ROWS * V];
    for (int i = 0; i < ROWS * V; i++) host[i] = taught(i);
    t.dt = EQ_I32;
    be->upload(be, t, target, EQ_I32);
    be->upload(be, teacher, host, EQ_F32);
    if (cap0 > 0.0f) EQ_DO(be, softcap, logits = temp(be, ROWS * V), eq_ro(x[0]), cap0);
    EQ_DO(be, divergence, loss, g[0], eq_ro(logits), eq_ro(teacher), eq_ro(t), ROWS, V, 0.25f,
          cap0);
    EQ_DO(be, fill, dy, 0.25f);
}
static void kl_fwd(double *y, double *const x[]) { diverge(y, x, 0.0); }
static void kl_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    diverge_bwd(be, g, x, dy, 0.0f);
}
static void kl_cap_fwd(double *y, double *const x[]) { diverge(y, x, 1.5); }
static void kl_cap_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    diverge_bwd(be, g, x, dy, 1.5f);
}

enum { O = 3, I = 64, G = 32, NG = O * I / G, BITS = 3 };
static uint8_t code(int i) { return (uint8_t)(eq_rand_u64(5, (uint64_t)i) & ((1 << BITS) - 1)); }
static void dequant_fwd(double *y, double *const x[]) {
    for (int i = 0; i < O * I; i++) y[i] = ((double)code(i) - x[1][i / G]) * x[0][i / G];
}
static void dequant_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    uint8_t q[O * I];
    uint32_t words[O * I / 32 * BITS];
    for (int i = 0; i < O * I; i++) q[i] = code(i);
    eq_pack_row(words, q, O * I, BITS);
    eq_mut w = temp(be, O * I / 32 * BITS);
    w.dt = EQ_U32;
    be->upload(be, w, words, EQ_U32);
    EQ_DO(be, fill, g[0], 0.0f);
    EQ_DO(be, fill, g[1], 0.0f);
    EQ_DO(be, dequant_bwd, g[0], g[1], eq_ro(dy), eq_ro(w), eq_ro(x[0]), eq_ro(x[1]),
          (eq_qshape){O, I, G, BITS, EQ_GRID_FREE});
}

/* An offset before rounding, all within its bounds. */
static void offset_fwd(double *y, double *const x[]) {
    for (int i = 0; i < O * I; i++) y[i] = x[0][i] + x[1][i] * x[2][i / G];
}
static void offset_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    EQ_DO(be, cast, g[0], eq_ro(dy));
    EQ_DO(be, fill, g[2], 0.0f);
    EQ_DO(be, fq_offset_bwd, g[1], g[2], eq_ro(dy), eq_ro(x[0]), eq_ro(x[1]), eq_ro(x[2]),
          (eq_qshape){O, I, G, BITS, EQ_GRID_FREE});
}

/* s and z of a clipped range, rounding of z passed straight; y: all s, then all z. */
static double ranged(int i) {
    return (double)(float)(0.05 * (double)eq_rand_normal(9, (uint64_t)i));
}
static void ends(int g, double *lo, double *hi) {
    *lo = *hi = ranged(g * G);
    for (int i = g * G; i < (g + 1) * G; i++)
        *lo = fmin(*lo, ranged(i)), *hi = fmax(*hi, ranged(i));
}
static void clipped_grid(double *y, const double *c, int g, bool portable) {
    const double top = (1 << BITS) - 1, least = (1 << (BITS - 1)) - 1, most = least + 1;
    double lo, hi;
    ends(g, &lo, &hi);
    lo /= 1.0 + exp(-c[2 * g]), hi /= 1.0 + exp(-c[2 * g + 1]);
    y[g] = (hi - lo) / top;
    y[NG + g] = -lo / y[g];
    double z = rint(y[NG + g]);
    if (!portable || (z >= least && z <= most)) return;
    z = z < least ? least : most;
    y[g] = fmax(-lo / z, hi / (top - z)); /* the step that still reaches both ends */
    y[NG + g] = z;
}
static void clip_fwd(double *y, double *const x[]) {
    for (int g = 0; g < NG; g++) clipped_grid(y, x[0], g, false);
}
static void clip_bwd_of(eq_backend *be, eq_mut g, eq_mut clip, eq_mut dy, eq_grid grid) {
    float w[O * I];
    eq_mut dw = temp(be, O * I);
    for (int i = 0; i < O * I; i++) w[i] = (float)ranged(i);
    be->upload(be, dw, w, EQ_F32);
    EQ_DO(be, fq_clip_bwd, g, eq_ro(eq_mut_at(dy, 0, NG)), eq_ro(eq_mut_at(dy, NG, NG)), eq_ro(dw),
          eq_ro(clip), (eq_qshape){O, I, G, BITS, grid});
}
static void clip_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    clip_bwd_of(be, g[0], x[0], dy, EQ_GRID_FREE);
}
/* The same where z may be one of the middle codes alone; shares are far apart. */
static void held_fwd(double *y, double *const x[]) {
    for (int g = 0; g < NG; g++) clipped_grid(y, x[0], g, true);
}
static void held_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    clip_bwd_of(be, g[0], x[0], dy, EQ_GRID_PORTABLE);
}

/* ---- straight through: fake quantization ----------------------------------------------------- */

/* The point where roundings and clamps are frozen: the inputs of check_on (size, shift below). */
static double frozen(int k, int i) {
    static const double shift[] = {0.0, 0.2, 1.3};
    return (double)(float)(shift[k] + 0.3 * (double)eq_rand_normal((uint64_t)k, (uint64_t)i));
}
static double clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }
static void fake_fwd(double *y, double *const x[]) {
    const double Q = (1 << BITS) - 1;
    for (int i = 0; i < O * I; i++) {
        double w0 = frozen(0, i), s0 = frozen(1, i / G), z0 = frozen(2, i / G);
        double su0 = clamp(s0, (double)1e-4f, 1e4), zu0 = clamp(rint(z0), 0.0, Q);
        double v0 = (double)((float)w0 / (float)su0), t0 = rint(v0) + zu0;
        double s = x[1][i / G] + (su0 - s0), z = x[2][i / G] + (zu0 - z0);
        double t = x[0][i] / s + (rint(v0) - w0 / su0) + z;
        y[i] = ((t0 < 0.0 ? 0.0 : t0 > Q ? Q : t) - z) * s;
    }
}
static void fake_bwd(eq_backend *be, eq_mut *const g, const eq_mut *x, eq_mut dy) {
    EQ_DO(be, fq_bwd, g[0], g[1], g[2], eq_ro(dy), eq_ro(x[0]), eq_ro(x[1]), eq_ro(x[2]),
          (eq_qshape){O, I, G, BITS, EQ_GRID_FREE});
}

/* ---- the run --------------------------------------------------------------------------------- */

static const struct {
    problem p;
    eq_op_id op; /* whose gradient it is */
} problems[] = {
    {{"matmul", {M * K, N *K}, M *N, linear_fwd, linear_bwd, 1.0, {0}}, EQ_OP_matmul_nt},
    {{"rmsnorm", {ROWS * D, D}, ROWS *D, norm_fwd, norm_bwd, 1.0, {0}}, EQ_OP_rmsnorm_bwd},
    {{"rope", {SEQS * T * NH * HD}, SEQS *T *NH *HD, turn_fwd, turn_bwd, 1.0, {0}}, EQ_OP_rope},
    {{"rope of some", {SEQS * T * NH * HD}, SEQS *T *NH *HD, some_fwd, some_bwd, 1.0, {0}},
     EQ_OP_rope},
    {{"attention",
      {SEQS * T * NH * HD, SEQS *T *NKV *HD, SEQS *T *NKV *HD},
      SEQS *T *NH *HD,
      causal_fwd,
      causal_bwd,
      1.0,
      {0}},
     EQ_OP_attn_bwd},
    {{"attention in a window",
      {SEQS * T * NH * HD, SEQS *T *NKV *HD, SEQS *T *NKV *HD},
      SEQS *T *NH *HD,
      window_fwd,
      window_bwd,
      1.0,
      {0}},
     EQ_OP_attn_bwd},
    {{"attention with capped scores",
      {SEQS * T * NH * HD, SEQS *T *NKV *HD, SEQS *T *NKV *HD},
      SEQS *T *NH *HD,
      capped_fwd,
      capped_bwd,
      1.0,
      {0}},
     EQ_OP_attn_bwd},
    {{"silu", {LEN, LEN}, LEN, gate_fwd, gate_bwd, 2.0, {0}}, EQ_OP_glu_bwd},
    {{"gelu", {LEN, LEN}, LEN, gelu_fwd, gelu_bwd, 2.0, {0}}, EQ_OP_glu_bwd},
    {{"affine", {LEN}, LEN, affine_fwd, affine_bwd, 1.0, {0}}, EQ_OP_affine},
    {{"center", {ROWS * D}, ROWS *D, center_fwd, center_bwd, 1.0, {0}}, EQ_OP_center},
    {{"mse", {LEN}, 1, mse_fwd, mse_bwd, 1.0, {0}}, EQ_OP_mse},
    {{"cross_entropy", {ROWS * V}, ROWS, ce_fwd, ce_bwd, 2.0, {0}}, EQ_OP_cross_entropy},
    {{"capped cross_entropy", {ROWS * V}, ROWS, ce_cap_fwd, ce_cap_bwd, 2.0, {0}}, EQ_OP_softcap},
    {{"divergence", {ROWS * V}, ROWS, kl_fwd, kl_bwd, 2.0, {0}}, EQ_OP_divergence},
    {{"capped divergence", {ROWS * V}, ROWS, kl_cap_fwd, kl_cap_bwd, 2.0, {0}}, EQ_OP_divergence},
    {{"dequant", {NG, NG}, O *I, dequant_fwd, dequant_bwd, 1.0, {0}}, EQ_OP_dequant_bwd},
    {{"offset", {O * I, O *I, NG}, O *I, offset_fwd, offset_bwd, 0.25, {0.0, 0.0, 1.3}},
     EQ_OP_fq_offset_bwd},
    {{"clipping", {2 * NG}, 2 * NG, clip_fwd, clip_bwd, 0.5, {1.0}}, EQ_OP_fq_clip_bwd},
    {{"clipping with held zero points", {2 * NG}, 2 * NG, held_fwd, held_bwd, 3.0, {0.0}},
     EQ_OP_fq_clip_bwd},
    {{"fake quantization", {O * I, NG, NG}, O *I, fake_fwd, fake_bwd, 0.3, {0.0, 0.2, 1.3}},
     EQ_OP_fq_bwd},
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

void op_grads_check(eq_backend *be) {
    for (int i = 0; i < PROBLEMS; i++) check_on(be, &problems[i].p);
}

bool op_grads_has(eq_op_id op) {
    for (int i = 0; i < PROBLEMS; i++)
        if (problems[i].op == op) return true;
    return false;
}

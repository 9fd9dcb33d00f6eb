/* How each operation is called: its buffers, their roles and tolerances, its arguments. One
 * function an operation; run without memory it describes the buffers, run with memory it calls.
 *
 * Tolerances are squared error over squared size (NMSE). fp32 sums of K terms in any order err by
 * about sqrt(K) 2^-24 of the result's size, NMSE K 2^-48 = 1e-11 for K = 4096; exp by polynomial
 * adds 2^-22; together below F = 1e-10. A bf16 result may fall on the neighbour of the reference's,
 * one part in 2^-8, and bf16 operands inside (attention's p and ds) err by 2^-9 each: below
 * H = 2^-14. A tolerance of 0 asks for the same bits: one rounding, or rules that decide
 * integers. */
#include <stdio.h>

#include "op_data.h"
#include "quant/pack.h"

#define F 1e-10
#define H 0x1p-14

enum { DESCRIBE, PREPARE, OWN, RUN };
typedef struct {
    const eq_op_case *c;
    eq_backend *be;
    const eq_mut *mem;
    eq_case_buf *bufs;
    int step, n;
} call;

static eq_mut bind(call *k, eq_case_buf b) {
    if (k->step != DESCRIBE) return k->mem[k->n++];
    k->bufs[k->n++] = b;
    return (eq_mut){NULL, b.n, b.dt};
}
static eq_view in(call *k, const char *name, eq_dtype dt, int64_t n, int kind) {
    return eq_ro(bind(k, (eq_case_buf){name, EQ_IN, dt, n, kind, 0, 0, -1}));
}
static eq_mut own(call *k, const char *name, eq_dtype dt, int64_t n, int kind) {
    return bind(k, (eq_case_buf){name, EQ_OWN, dt, n, kind, 0, 0, -1});
}
static eq_mut derived(call *k, const char *name, eq_dtype dt, int64_t n) {
    return bind(k, (eq_case_buf){name, EQ_DERIVED, dt, n, EQ_FILL_NONE, 0, 0, -1});
}
static eq_mut inout(call *k, const char *name, eq_dtype dt, int64_t n, int kind, double tol) {
    return bind(k, (eq_case_buf){name, EQ_INOUT, dt, n, kind, tol, 0, -1});
}
/* An output of its own, or on buffer `on` if the case says in place. */
static eq_mut out_on(call *k, const char *name, eq_dtype dt, int64_t n, double tol, int on) {
    if (!(k->c->opt & EQ_OPT_INPLACE)) on = -1;
    return bind(k, (eq_case_buf){name, EQ_OUT, dt, n, EQ_FILL_NONE, tol, 0, on});
}
static eq_mut out(call *k, const char *name, eq_dtype dt, int64_t n, double tol) {
    return bind(k, (eq_case_buf){name, EQ_OUT, dt, n, EQ_FILL_NONE, tol, 0, -1});
}
/* One whose terms, of size `floor`, may cancel: a query with one key has no gradient at all. */
static eq_mut out_of(call *k, const char *name, eq_dtype dt, int64_t n, double tol, double floor) {
    return bind(k, (eq_case_buf){name, EQ_OUT, dt, n, EQ_FILL_NONE, tol, floor, -1});
}
/* Left out where the case says that it is not wanted. */
static eq_mut wanted(call *k, unsigned no, const char *name, eq_dtype dt, int64_t n, double tol,
                     int on) {
    return k->c->opt & no ? EQ_NONE_MUT : out_on(k, name, dt, n, tol, on);
}
/* Where d[6] > 0: that, from the backend's memory. */
static eq_view place(call *k, const eq_op_case *c) {
    return c->d[6] ? in(k, "at", EQ_I32, 1, EQ_FILL_AT) : EQ_NONE_VIEW;
}
enum { ROOM = 3 }; /* rows behind those that are used */
static double tol_of(eq_dtype dt) { return dt == EQ_BF16 ? H : F; }

#define DO(k, ...) \
    if ((k)->step == RUN) EQ_DO((k)->be, __VA_ARGS__)

/* ---- elementwise: d = {n} -------------------------------------------------------------------- */

static void fill_(call *k, const eq_op_case *c) {
    eq_mut y = out(k, "y", c->out, c->d[0], 0);
    DO(k, fill, y, 0.3f);
}
static void cast_(call *k, const eq_op_case *c) {
    eq_view x = in(k, "x", c->in, c->d[0], EQ_FILL_VALUES);
    eq_mut y = out(k, "y", c->out, c->d[0], 0);
    DO(k, cast, y, x);
}
static void add_(call *k, const eq_op_case *c) {
    eq_view a = in(k, "a", c->in, c->d[0], EQ_FILL_VALUES);
    eq_view b = in(k, "b", c->out, c->d[0], EQ_FILL_VALUES);
    eq_mut y = out_on(k, "y", c->out, c->d[0], 0, 1);
    DO(k, add, y, a, b);
}
static void affine_(call *k, const eq_op_case *c) {
    eq_view x = in(k, "x", c->in, c->d[0], EQ_FILL_VALUES);
    eq_mut y = out_on(k, "y", c->out, c->d[0], tol_of(c->out), 0);
    DO(k, affine, y, x, 0.22f, 1.0f);
}
static void softcap_(call *k, const eq_op_case *c) {
    eq_view x = in(k, "x", c->in, c->d[0], EQ_FILL_LOGITS);
    eq_mut y = out_on(k, "y", c->out, c->d[0], tol_of(c->out), 0);
    DO(k, softcap, y, x, 5.0f);
}
/* d = {n, shares memory with, activation} */
static void glu_fwd_(call *k, const eq_op_case *c) {
    eq_view g = in(k, "g", c->in, c->d[0], EQ_FILL_VALUES);
    eq_view u = in(k, "u", c->in, c->d[0], EQ_FILL_UNIT);
    eq_mut h = out(k, "h", c->out, c->d[0], tol_of(c->out));
    DO(k, glu_fwd, h, g, u, (eq_act)c->d[2]);
}
static void glu_bwd_(call *k, const eq_op_case *c) {
    eq_view dh = in(k, "dh", c->in, c->d[0], EQ_FILL_UNIT);
    eq_view g = in(k, "g", c->in, c->d[0], EQ_FILL_VALUES);
    eq_view u = in(k, "u", c->in, c->d[0], EQ_FILL_UNIT);
    eq_mut dg = out_on(k, "dg", c->out, c->d[0], tol_of(c->out), 1);
    eq_mut du = out_on(k, "du", c->out, c->d[0], tol_of(c->out), c->d[1] ? 0 : 2); /* dh or u */
    DO(k, glu_bwd, dg, du, dh, g, u, (eq_act)c->d[2]);
}

/* ---- rows: d = {rows, columns}; rmsnorm_bwd: {rows, columns, windows} -------------------------
 */

static void bias_add_(call *k, const eq_op_case *c) {
    eq_view b = in(k, "b", c->in, c->d[1], EQ_FILL_VALUES);
    eq_mut y = inout(k, "y", c->out, c->d[0] * c->d[1], EQ_FILL_VALUES, 0);
    DO(k, bias_add, y, b, c->d[0], c->d[1]);
}
/* d[2]: rows of x */
static void gather_(call *k, const eq_op_case *c) {
    eq_view x = in(k, "x", c->in, c->d[2] * c->d[1], EQ_FILL_VALUES);
    eq_view index = in(k, "index", EQ_I32, c->d[0], EQ_FILL_ROWS);
    eq_mut y = out(k, "y", c->out, c->d[0] * c->d[1], 0);
    DO(k, gather, y, x, index, c->d[0], c->d[1]);
}
/* d = {rows, columns}, d[6]: at */
static void put_rows_(call *k, const eq_op_case *c) {
    int64_t rows = c->d[0], cols = c->d[1];
    eq_view x = in(k, "x", c->in, rows * cols, EQ_FILL_VALUES), at = place(k, c);
    eq_mut y = inout(k, "y", c->in, (c->d[6] + rows + ROOM) * cols, EQ_FILL_UNIT, 0);
    DO(k, put_rows, y, x, at, rows, cols);
}
static void center_(call *k, const eq_op_case *c) {
    int64_t rows = c->d[0], D = c->d[1];
    eq_view x = in(k, "x", c->in, rows * D, EQ_FILL_VALUES);
    eq_mut y = out_on(k, "y", c->out, rows * D, tol_of(c->out), 0);
    DO(k, center, y, x, rows, D);
}
static void rmsnorm_fwd_(call *k, const eq_op_case *c) {
    int64_t rows = c->d[0], D = c->d[1];
    eq_view x = in(k, "x", c->in, rows * D, EQ_FILL_VALUES);
    eq_view w = in(k, "w", EQ_F32, D, EQ_FILL_UNIT);
    eq_mut y = out(k, "y", c->out, rows * D, tol_of(c->out)),
           rstd = out(k, "rstd", EQ_F32, rows, F);
    DO(k, rmsnorm_fwd, y, rstd, x, w, rows, D, 1e-5f);
}
static int64_t windows(int64_t d) { return d ? d : 1; }
static void rmsnorm_bwd_(call *k, const eq_op_case *c) {
    int64_t rows = c->d[0], D = c->d[1];
    int acc = (c->opt & EQ_OPT_ACC) != 0;
    eq_view dy = in(k, "dy", c->out, rows * D, EQ_FILL_UNIT);
    eq_view x = in(k, "x", c->in, rows * D, EQ_FILL_VALUES);
    eq_view w = in(k, "w", EQ_F32, D, EQ_FILL_UNIT);
    eq_mut rstd = derived(k, "rstd", EQ_F32, rows), y = derived(k, "y", EQ_F32, rows * D);
    if (k->step == PREPARE) EQ_DO(k->be, rmsnorm_fwd, y, rstd, x, w, rows, D, 1e-5f);
    eq_mut dx = acc ? inout(k, "dx", EQ_F32, rows * D, EQ_FILL_UNIT, F)
                    : wanted(k, EQ_OPT_NO_FIRST, "dx", c->out, rows * D, tol_of(c->out), 0);
    eq_mut dw = wanted(k, EQ_OPT_NO_SECOND, "dw", EQ_F32, D, F, -1);
    DO(k, rmsnorm_bwd, dx, dw, dy, x, w, eq_ro(rstd), rows, D, rows / windows(c->d[2]), acc);
}
/* d = {n, windows} */
static void mse_(call *k, const eq_op_case *c) {
    eq_view y = in(k, "y", c->in, c->d[0], EQ_FILL_VALUES),
            t = in(k, "t", c->in, c->d[0], EQ_FILL_UNIT);
    eq_mut loss = out(k, "loss", EQ_F32, windows(c->d[1]), F);
    eq_mut dy = wanted(k, EQ_OPT_NO_FIRST, "dy", c->out, c->d[0], tol_of(c->out), -1);
    DO(k, mse, loss, dy, y, t);
}
/* d = {rows, V, cap} */
static void cross_entropy_(call *k, const eq_op_case *c) {
    int64_t rows = c->d[0], V = c->d[1];
    eq_view logits = in(k, "logits", EQ_F32, rows * V, EQ_FILL_LOGITS);
    eq_view targets = in(k, "targets", EQ_I32, rows, EQ_FILL_TARGETS);
    eq_mut loss = out(k, "loss", EQ_F32, rows, F);
    eq_mut d = wanted(k, EQ_OPT_NO_FIRST, "dlogits", c->out, rows * V, tol_of(c->out), 0);
    DO(k, cross_entropy, loss, d, logits, targets, rows, V, 0.125f, (float)c->d[2]);
}
/* d = {rows, V, cap}; what cancels, p - q, has the size of both */
static void divergence_(call *k, const eq_op_case *c) {
    int64_t rows = c->d[0], V = c->d[1];
    double size = 0.125 / (double)V; /* of even rows */
    eq_view logits = in(k, "logits", EQ_F32, rows * V, EQ_FILL_LOGITS);
    eq_view teacher = in(k, "teacher", EQ_F32, rows * V, EQ_FILL_LOGITS);
    eq_view targets = in(k, "targets", EQ_I32, rows, EQ_FILL_TARGETS);
    eq_mut loss = out_of(k, "loss", EQ_F32, rows, F, 1.0);
    eq_mut d = k->c->opt & EQ_OPT_NO_FIRST
                   ? EQ_NONE_MUT
                   : bind(k, (eq_case_buf){"dlogits", EQ_OUT, c->out, rows * V, EQ_FILL_NONE,
                                           tol_of(c->out), size, c->opt & EQ_OPT_INPLACE ? 0 : -1});
    DO(k, divergence, loss, d, logits, teacher, targets, rows, V, 0.125f, (float)c->d[2]);
}
/* d = {n} */
static void sum_(call *k, const eq_op_case *c) {
    eq_view x = in(k, "x", c->in, c->d[0], EQ_FILL_VALUES);
    eq_mut acc = inout(k, "acc", EQ_F64, 1, EQ_FILL_TOTAL, F);
    DO(k, sum, acc, x);
}
static void sumsq_(call *k, const eq_op_case *c) {
    eq_view x = in(k, "x", c->in, c->d[0], EQ_FILL_VALUES);
    eq_mut acc = inout(k, "acc", EQ_F64, 1, EQ_FILL_TOTAL, F);
    DO(k, sumsq, acc, x);
}
static void adamw_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0];
    bool decay = c->opt & EQ_OPT_DECAY;
    eq_mut p = inout(k, "p", EQ_F32, n, EQ_FILL_UNIT, F);
    eq_mut m = inout(k, "m", EQ_F32, n, EQ_FILL_MOMENTS, F);
    eq_mut v = inout(k, "v", EQ_F32, n, EQ_FILL_SQUARES, F);
    eq_view g = in(k, "g", EQ_F32, n, EQ_FILL_GRADS);
    /* A rate of 0.1: errors of the update show in p. */
    eq_adamw a = {.lr = 0.1,
                  .beta1 = 0.9,
                  .beta2 = 0.999,
                  .eps = 1e-8,
                  .weight_decay = decay ? 0.1 : 0,
                  .bias1 = 0.271,
                  .bias2 = 2.997001e-3,
                  .grad_scale = decay ? 0.3 : 1};
    DO(k, adamw, p, m, v, g, a);
}

/* ---- products: d = {M, N, K, 0, windows} ------------------------------------------------------
 */

static eq_mut product_out(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1];
    return c->opt & EQ_OPT_ACC ? inout(k, "y", EQ_F32, n, EQ_FILL_UNIT, F)
                               : out(k, "y", c->out, n, tol_of(c->out));
}
#define PRODUCT(op) \
    static void op##_(call *k, const eq_op_case *c) { \
        eq_view a = in(k, "a", c->in, c->d[0] * c->d[2], EQ_FILL_VALUES); \
        eq_view b = in(k, "b", c->in, c->d[1] * c->d[2], EQ_FILL_UNIT); \
        eq_mut y = product_out(k, c); \
        DO(k, op, y, a, b, c->d[0], c->d[1], c->d[2], c->d[0] / windows(c->d[4]), \
           (c->opt & EQ_OPT_ACC) != 0); \
    }
PRODUCT(matmul_nt)
PRODUCT(matmul_nn)

/* d[3]: columns of the wider matrix that follow the M used ones in every row of a. */
static void matmul_tn_(call *k, const eq_op_case *c) {
    int64_t M = c->d[0], N = c->d[1], K = c->d[2], lda = M + c->d[3];
    eq_view a = in(k, "a", c->in, K ? (K - 1) * lda + M : 0, EQ_FILL_VALUES);
    eq_view b = in(k, "b", c->in, N * K, EQ_FILL_UNIT);
    eq_mut y = product_out(k, c);
    DO(k, matmul_tn, y, a, b, M, N, K, K / windows(c->d[4]), lda, (c->opt & EQ_OPT_ACC) != 0);
}

/* ---- attention: d = {B, T, NH, NKV, HD, window}, attn_fwd: and at; EQ_OPT_CAP; rope: {B, T, NH,
 * 1, HD, R, at}
 * ----------------------------------------------------------------------------------------
 */

static void rope_(call *k, const eq_op_case *c) {
    int64_t B = c->d[0], T = c->d[1], NH = c->d[2], HD = c->d[4];
    int64_t R = c->d[5] ? c->d[5] : HD;
    int64_t angles = (c->d[6] + T) * R / 2;
    eq_view cos = in(k, "cos", EQ_F32, angles, EQ_FILL_COS);
    eq_view sin = in(k, "sin", EQ_F32, angles, EQ_FILL_SIN), at = place(k, c);
    eq_mut x = inout(k, "x", c->in, B * T * NH * HD, EQ_FILL_VALUES, tol_of(c->in));
    DO(k, rope, x, cos, sin, at, B, T, NH, HD, R, c->opt & EQ_OPT_BACK ? -1 : 1);
}

static eq_attn_shape attn_shape(const eq_op_case *c) {
    float scale = 1.0f;
    for (int64_t n = 1; n < c->d[4]; n *= 4) scale *= 0.5f; /* about 1 / sqrt(HD) */
    return (eq_attn_shape){.B = c->d[0],
                           .T = c->d[1],
                           .NH = c->d[2],
                           .NKV = c->d[3],
                           .HD = c->d[4],
                           .window = c->d[5],
                           .scale = scale,
                           .cap = c->opt & EQ_OPT_CAP ? 1.5f : 0.0f};
}
/* Scores of 300 are known to 1e-4 in fp32, and so is exp of their differences. */
static double attn_tol(const eq_op_case *c) {
    return c->in == EQ_F32 && c->flavour == EQ_LARGE ? 1e-7 : tol_of(c->in);
}
static void attn_fwd_(call *k, const eq_op_case *c) {
    eq_attn_shape s = attn_shape(c);
    int64_t keys = c->d[6] ? c->d[6] + s.T + ROOM : s.T;
    int64_t nq = s.B * s.T * s.NH * s.HD, nk = s.B * keys * s.NKV * s.HD;
    eq_view q = in(k, "q", c->in, nq, EQ_FILL_QUERIES), key = in(k, "k", c->in, nk, EQ_FILL_UNIT);
    eq_view v = in(k, "v", c->in, nk, EQ_FILL_UNIT), at = place(k, c);
    eq_mut o = out(k, "o", c->in, nq, attn_tol(c)),
           lse = out(k, "lse", EQ_F32, s.B * s.NH * s.T, F);
    DO(k, attn_fwd, o, lse, q, key, v, at, s);
}
static void attn_bwd_(call *k, const eq_op_case *c) {
    eq_attn_shape s = attn_shape(c);
    int64_t nq = s.B * s.T * s.NH * s.HD, nk = s.B * s.T * s.NKV * s.HD;
    eq_view do_ = in(k, "do", c->in, nq, EQ_FILL_UNIT), q = in(k, "q", c->in, nq, EQ_FILL_QUERIES);
    eq_view key = in(k, "k", c->in, nk, EQ_FILL_UNIT), v = in(k, "v", c->in, nk, EQ_FILL_UNIT);
    eq_mut o = derived(k, "o", c->in, nq), lse = derived(k, "lse", EQ_F32, s.B * s.NH * s.T);
    if (k->step == PREPARE) EQ_DO(k->be, attn_fwd, o, lse, q, key, v, EQ_NONE_VIEW, s);
    double size_q = c->flavour == EQ_LARGE ? 100.0 : 1.0;
    eq_mut dq = out_of(k, "dq", c->in, nq, attn_tol(c), 1.0);
    eq_mut dk = out_of(k, "dk", c->in, nk, attn_tol(c), size_q);
    eq_mut dv = out(k, "dv", c->in, nk, attn_tol(c));
    DO(k, attn_bwd, dq, dk, dv, do_, q, key, v, eq_ro(o), eq_ro(lse), s);
}

/* ---- the number format: d = {O, I, G, bits, -, grid} ----------------------------------------- */

#define START_CALL(op) \
    static void op##_(call *k, const eq_op_case *c) { \
        int64_t n = c->d[0] * c->d[1], ng = n / c->d[2]; \
        eq_view w = in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS); \
        eq_mut s = out(k, "s", EQ_F32, ng, 0), z = out(k, "z", EQ_F32, ng, 0); \
        DO(k, op, s, z, w, eq_case_qshape(c)); \
    }
START_CALL(fq_init)
START_CALL(fq_shrink)
static void fq_fwd_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view w = in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS), s = in(k, "s", EQ_F32, ng, EQ_FILL_STEPS);
    eq_view z = in(k, "z", EQ_F32, ng, EQ_FILL_ZEROS);
    eq_mut w_hat = out(k, "w_hat", c->out, n, 0);
    DO(k, fq_fwd, w_hat, w, s, z, eq_case_qshape(c));
}
static void fq_bwd_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view d = in(k, "dw_hat", EQ_F32, n, EQ_FILL_UNIT);
    eq_view w = in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS), s = in(k, "s", EQ_F32, ng, EQ_FILL_STEPS);
    eq_view z = in(k, "z", EQ_F32, ng, EQ_FILL_ZEROS);
    eq_mut dw = wanted(k, EQ_OPT_NO_FIRST, "dw", EQ_F32, n, 0, 0);
    eq_mut ds = wanted(k, EQ_OPT_NO_SECOND, "ds", EQ_F32, ng, F, -1);
    eq_mut dz = wanted(k, EQ_OPT_NO_THIRD, "dz", EQ_F32, ng, F, -1);
    DO(k, fq_bwd, dw, ds, dz, d, w, s, z, eq_case_qshape(c));
}
/* The first, second, third moments are left out: w, s, z not trained. w_hat: F32 > it is not
 * wanted. */
static void fq_step_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    bool no_w = c->opt & EQ_OPT_NO_FIRST, no_s = c->opt & EQ_OPT_NO_SECOND,
         no_z = c->opt & EQ_OPT_NO_THIRD;
    eq_mut none = EQ_NONE_MUT;
    eq_mut w = inout(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS, F);
    eq_mut mw = no_w ? none : inout(k, "mw", EQ_F32, n, EQ_FILL_UNIT, F);
    eq_mut vw = no_w ? none : inout(k, "vw", EQ_F32, n, EQ_FILL_SQUARES, F);
    eq_mut s = inout(k, "s", EQ_F32, ng, EQ_FILL_STEPS, F);
    eq_mut ms = no_s ? none : inout(k, "ms", EQ_F32, ng, EQ_FILL_UNIT, F);
    eq_mut vs = no_s ? none : inout(k, "vs", EQ_F32, ng, EQ_FILL_SQUARES, F);
    eq_mut z = inout(k, "z", EQ_F32, ng, EQ_FILL_ZEROS, F);
    eq_mut mz = no_z ? none : inout(k, "mz", EQ_F32, ng, EQ_FILL_UNIT, F);
    eq_mut vz = no_z ? none : inout(k, "vz", EQ_F32, ng, EQ_FILL_SQUARES, F);
    eq_mut dw = inout(k, "dw", EQ_F32, n, EQ_FILL_UNIT, -1);
    eq_mut ds = out(k, "ds", EQ_F32, ng, -1), dz = out(k, "dz", EQ_F32, ng, -1);
    /* Rounding falls on the other side where an update is off by a bit: one code of some hundred.
     */
    eq_mut w_hat = c->out == EQ_F32 ? none : out(k, "w_hat", c->out, n, 1e-2);
    eq_adamw a = {1e-3, 0.9, 0.999, 1e-8, 0, 0.271, 2.997001e-3, 1};
    eq_adamw b = {1e-4, 0.9, 0.999, 1e-8, 0.1, 0.271, 2.997001e-3, 0.5};
    DO(k, fq_step, w_hat, w, mw, vw, s, ms, vs, z, mz, vz, dw, ds, dz, eq_case_qshape(c), a, b);
}
static void fq_pack_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view w = in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS);
    eq_mut s = inout(k, "s", EQ_F32, ng, EQ_FILL_STEPS, 0);
    eq_mut z = inout(k, "z", EQ_F32, ng, EQ_FILL_ZEROS, 0);
    eq_mut q = out(k, "q", EQ_U32, c->d[0] * eq_pack_words(c->d[1], (int)c->d[3]), 0);
    DO(k, fq_pack, q, s, z, w, eq_case_qshape(c));
}
static void fq_clip_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view w = in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS);
    eq_view clip = in(k, "clip", EQ_F32, 2 * ng, EQ_FILL_UNIT);
    eq_mut s = out(k, "s", EQ_F32, ng, F), z = out(k, "z", EQ_F32, ng, F);
    DO(k, fq_clip, s, z, w, clip, eq_case_qshape(c));
}
/* Where all weights are one number, s is the difference of two shares of it: exp's last bits count
 * a hundred times. */
static void fq_clip_bwd_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view ds = in(k, "ds", EQ_F32, ng, EQ_FILL_UNIT), dz = in(k, "dz", EQ_F32, ng, EQ_FILL_UNIT);
    eq_view w = in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS);
    eq_view clip = in(k, "clip", EQ_F32, 2 * ng, EQ_FILL_UNIT);
    eq_mut dclip = out(k, "dclip", EQ_F32, 2 * ng, c->flavour == EQ_CONSTANT ? 1e-6 : F);
    DO(k, fq_clip_bwd, dclip, ds, dz, w, clip, eq_case_qshape(c));
}
/* v: N(0, 1), so a third of it lies beyond its bounds. */
static void fq_offset_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view w = in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS), v = in(k, "v", EQ_F32, n, EQ_FILL_UNIT);
    eq_view s = in(k, "s", EQ_F32, ng, EQ_FILL_STEPS);
    eq_mut y = out(k, "y", EQ_F32, n, F);
    DO(k, fq_offset, y, w, v, s, eq_case_qshape(c));
}
static void fq_offset_bwd_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view dy = in(k, "dy", EQ_F32, n, EQ_FILL_UNIT), w = in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS);
    eq_view v = in(k, "v", EQ_F32, n, EQ_FILL_UNIT), s = in(k, "s", EQ_F32, ng, EQ_FILL_STEPS);
    eq_mut dv = out_on(k, "dv", EQ_F32, n, F, 0);
    eq_mut ds =
        c->opt & EQ_OPT_NO_SECOND ? EQ_NONE_MUT : inout(k, "ds", EQ_F32, ng, EQ_FILL_UNIT, F);
    DO(k, fq_offset_bwd, dv, ds, dy, w, v, s, eq_case_qshape(c));
}
static void fq_steps_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view s = in(k, "s", EQ_F32, ng, EQ_FILL_STEPS);
    eq_view w = c->opt & EQ_OPT_NO_SECOND ? EQ_NONE_VIEW : in(k, "w", EQ_F32, n, EQ_FILL_WEIGHTS);
    eq_mut y = out_on(k, "y", EQ_F32, ng, 0, 0);
    DO(k, fq_steps, y, s, w, eq_case_qshape(c));
}
static void dequant_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view q = in(k, "q", EQ_U32, c->d[0] * eq_pack_words(c->d[1], (int)c->d[3]), EQ_FILL_WORDS);
    eq_view s = in(k, "s", EQ_F32, ng, EQ_FILL_STEPS), z = in(k, "z", EQ_F32, ng, EQ_FILL_ZEROS);
    eq_mut w_hat = out(k, "w_hat", c->out, n, 0);
    DO(k, dequant, w_hat, q, s, z, eq_case_qshape(c));
}
/* An order of the backend's own: what it is shows in matvec_q. */
static void prepare_q_(call *k, const eq_op_case *c) {
    eq_qshape q = eq_case_qshape(c);
    int64_t n = q.O * q.I, ng = n / q.G;
    eq_mut words = inout(k, "q", EQ_U32, q.O * eq_pack_words(q.I, q.bits), EQ_FILL_WORDS, -1);
    eq_mut s = inout(k, "s", EQ_F16, ng, EQ_FILL_STEPS, -1);
    eq_mut z = inout(k, "z", EQ_U8, ng, EQ_FILL_CODES, -1);
    DO(k, prepare_q, words, s, z, q);
}
enum { MANY = 64 };
/* d[4]: rows. With 8-bit activations the bits are defined, quant/act8.h. */
static void matvec_q_(call *k, const eq_op_case *c) {
    eq_qshape q = eq_case_qshape(c);
    int64_t n = q.O * q.I, ng = n / q.G, rows = c->d[4];
    int act8 = (c->opt & EQ_OPT_ACT8) != 0, acc = (c->opt & EQ_OPT_ACC) != 0;
    /* Many bf16 rows meet weights rounded to bf16. */
    double tol = act8 ? 0 : rows > MANY && c->in == EQ_BF16 ? H : tol_of(c->out);
    eq_view x = in(k, "x", c->in, rows * q.I, EQ_FILL_VALUES);
    eq_mut words = own(k, "q", EQ_U32, q.O * eq_pack_words(q.I, q.bits), EQ_FILL_WORDS);
    eq_mut s = own(k, "s", EQ_F16, ng, EQ_FILL_STEPS);
    eq_mut z = own(k, "z", EQ_U8, ng, EQ_FILL_CODES);
    eq_mut y = acc ? inout(k, "y", EQ_F32, rows * q.O, EQ_FILL_UNIT, tol)
                   : out(k, "y", c->out, rows * q.O, tol);
    if (k->step == OWN) EQ_DO(k->be, prepare_q, words, s, z, q);
    DO(k, matvec_q, y, x, eq_ro(words), eq_ro(s), eq_ro(z), rows, q, act8, acc);
}
static void dequant_bwd_(call *k, const eq_op_case *c) {
    int64_t n = c->d[0] * c->d[1], ng = n / c->d[2];
    eq_view d = in(k, "dw_hat", c->in, n, EQ_FILL_UNIT);
    eq_view q = in(k, "q", EQ_U32, c->d[0] * eq_pack_words(c->d[1], (int)c->d[3]), EQ_FILL_WORDS);
    eq_view s = in(k, "s", EQ_F32, ng, EQ_FILL_STEPS), z = in(k, "z", EQ_F32, ng, EQ_FILL_ZEROS);
    eq_mut ds =
        c->opt & EQ_OPT_NO_FIRST ? EQ_NONE_MUT : inout(k, "ds", EQ_F32, ng, EQ_FILL_UNIT, F);
    eq_mut dz =
        c->opt & EQ_OPT_NO_SECOND ? EQ_NONE_MUT : inout(k, "dz", EQ_F32, ng, EQ_FILL_UNIT, F);
    DO(k, dequant_bwd, ds, dz, d, q, s, z, eq_case_qshape(c));
}

/* ---- the table of calls ---------------------------------------------------------------------- */

/* Every operation of the list needs a function here, or this does not compile. */
static void (*const calls[EQ_OP_COUNT])(call *k, const eq_op_case *c) = {
#define CALL(name, params, args) [EQ_OP_##name] = name##_,
    EQ_OPS(CALL)
#undef CALL
};

int eq_case_describe(const eq_op_case *c, eq_case_buf bufs[EQ_CASE_BUFS]) {
    call k = {.c = c, .bufs = bufs, .step = DESCRIBE};
    calls[c->op](&k, c);
    return k.n;
}
void eq_case_prepare(eq_backend *be, const eq_op_case *c, const eq_mut *mem) {
    call k = {.c = c, .be = be, .mem = mem, .step = PREPARE};
    calls[c->op](&k, c);
}
void eq_case_own(eq_backend *be, const eq_op_case *c, const eq_mut *mem) {
    call k = {.c = c, .be = be, .mem = mem, .step = OWN};
    calls[c->op](&k, c);
}
bool eq_case_filled(const eq_case_buf *b) {
    return b->role == EQ_IN || b->role == EQ_INOUT || b->role == EQ_OWN;
}
void eq_case_run(eq_backend *be, const eq_op_case *c, const eq_mut *mem) {
    call k = {.c = c, .be = be, .mem = mem, .step = RUN};
    calls[c->op](&k, c);
}

double eq_case_flop(const eq_op_case *c) {
    const int64_t *d = c->d;
    switch (c->op) {
    case EQ_OP_matmul_nt:
    case EQ_OP_matmul_nn:
    case EQ_OP_matmul_tn:
        return 2.0 * (double)(d[0] * d[1]) * (double)d[2];
    case EQ_OP_attn_fwd: /* q.k and p.v over half of T x T */
        return 2.0 * (double)(d[0] * d[1] * (d[1] + 2 * d[6])) * (double)(d[2] * d[4]);
    case EQ_OP_attn_bwd: /* q.k again, do.v, dq, dk, dv */
        return 5.0 * (double)(d[0] * d[1] * d[1]) * (double)(d[2] * d[4]);
    default:
        return 0.0;
    }
}

void eq_case_label(const eq_op_case *c, char *text, int n) {
    static const char *const flavour[] = {"",       " large",   " tiny",    " constant", " ties",
                                          " small", " clipped", " decayed", " special"};
    int at = snprintf(text, (size_t)n, "%s %s>%s%s", eq_op_names[c->op], eq_dtype_name(c->in),
                      eq_dtype_name(c->out), flavour[c->flavour]);
    int sizes = EQ_CASE_SIZES;
    while (sizes > 1 && !c->d[sizes - 1]) sizes--;
    for (int i = 0; i < sizes && at < n; i++)
        at += snprintf(text + at, (size_t)(n - at), "%c%lld", i ? 'x' : ' ', (long long)c->d[i]);
    if (at < n && c->opt) snprintf(text + at, (size_t)(n - at), " opt %u", c->opt);
}

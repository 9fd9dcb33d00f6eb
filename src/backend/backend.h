/* The operation list. It is the specification: a backend is this table plus memory calls, `ref`
 * says what each operation means, tests/ holds one case per operation (check, gradient, benchmark).
 *
 * Model and training code sees device memory only as eq_mut / eq_view and never looks into it; the
 * "fenced:" wrapper makes that memory unreadable outside operations and so proves it.
 *
 * Letters: B sequences, T tokens of one, N = B*T rows, D hidden, F inner, V vocabulary, NH heads,
 * NKV key/value heads, HD head size, O x I a linear's [out, in], G group size (always > 0 here: a
 * whole row is G == I).  All arrays are dense and row-major. "any" = F32, BF16 (F16 for inputs of
 * cast). Outputs come first. An eq_mut that an operation also reads is marked in/out. Sums are
 * accumulated in fp32 or better, in an order that depends on shapes alone.
 *
 * Windows. Rows come as whole windows (B of them, or rows / T), and what belongs to a window has
 * the same bits whatever other windows the call holds. Where an output is a sum over windows, the
 * sum of each is completed and rounded to F32, then they are added in rising order, one rounding
 * each. So a batch gives the same bits however it is cut into calls. */
#ifndef EQ_BACKEND_H
#define EQ_BACKEND_H
#include "base/err.h"
#include "base/num.h"

typedef struct {
    void *p;   /* backend memory */
    int64_t n; /* elements */
    eq_dtype dt;
} eq_mut;
typedef struct {
    const void *p;
    int64_t n;
    eq_dtype dt;
} eq_view;
static inline eq_view eq_ro(eq_mut m) { return (eq_view){m.p, m.n, m.dt}; }
/* Elements [from, from + n); n == 0 marks "none" where an operation allows it. */
eq_mut eq_mut_at(eq_mut m, int64_t from, int64_t n);
eq_view eq_view_at(eq_view v, int64_t from, int64_t n);
#define EQ_NONE_MUT ((eq_mut){NULL, 0, EQ_F32})
#define EQ_NONE_VIEW ((eq_view){NULL, 0, EQ_F32})

typedef struct {
    int64_t B, T, NH, NKV, HD;
    int64_t window; /* a query sees itself and the window - 1 tokens before it; 0: all before it */
    float scale;    /* of q.k, usually 1 / sqrt(HD) */
    int64_t past;   /* for host backends alone: what attn_fwd's `at` says; callers leave it 0 */
    float cap;      /* scores become cap tanh(score / cap), 0: they stay */
} eq_attn_shape;

/* What a gated MLP makes of its gate: x sigmoid(x), or x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
 * / 2. */
typedef enum { EQ_ACT_SILU, EQ_ACT_GELU_TANH, EQ_ACTS } eq_act;

/* In double: 1 - beta2 from a rounded 0.999f would be off by 1e-5. */
typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
    double bias1, bias2; /* 1 - beta^t */
    double grad_scale;   /* the gradient is multiplied by this first (clipping) */
} eq_adamw;
/* Moments smaller than these are 0: where a gradient stays 0 (clipped weights) they would decay to
 * subnormal numbers, which no rounding ever takes to 0 and which CPUs compute with several times
 * slower. A step made of them is below 1e-22 of the rate. The first is so large that rate * m is a
 * normal number, too. */
#define EQ_M_LEAST 0x1p-100f
#define EQ_V_LEAST 0x1p-126f

typedef struct {
    int64_t O, I, G;
    int bits;
    eq_grid grid;
} eq_qshape; /* s and z are [O, I / G]; packed rows are u32 [O, eq_pack_words(I, bits)] */

typedef struct eq_backend eq_backend;

/* clang-format off */
#define EQ_OPS(OP) \
  /* y[i] = v */ \
  OP(fill,      (eq_backend *be, eq_mut y, float v), (be, y, v)) \
  /* y = x with conversion; any <- any or F16 */ \
  OP(cast,      (eq_backend *be, eq_mut y, eq_view x), (be, y, x)) \
  /* y = a + b; any types; y may be a or b */ \
  OP(add,       (eq_backend *be, eq_mut y, eq_view a, eq_view b), (be, y, a, b)) \
  /* y[r] = x[index[r]], rows of `cols` elements, 0 where index[r] < 0; y and x of one type, index I32 [rows] */ \
  OP(gather,    (eq_backend *be, eq_mut y, eq_view x, eq_view index, int64_t rows, int64_t cols), (be, y, x, index, rows, cols)) \
  /* y[N, K] += b[K] for every row; y any (in/out), b any */ \
  OP(bias_add,  (eq_backend *be, eq_mut y, eq_view b, int64_t rows, int64_t cols), (be, y, b, rows, cols)) \
  /* y = mul * x + plus; any types; y may be x */ \
  OP(affine,    (eq_backend *be, eq_mut y, eq_view x, float mul, float plus), (be, y, x, mul, plus)) \
  /* y[r] = cap tanh(x[r] / cap) of each element, any types, y may be x. Its way back: cross_entropy's cap */ \
  OP(softcap,   (eq_backend *be, eq_mut y, eq_view x, float cap), (be, y, x, cap)) \
  /* y[rows, D] = x less the mean of its row; any types, y may be x. It is its own way back */ \
  OP(center,    (eq_backend *be, eq_mut y, eq_view x, int64_t rows, int64_t D), (be, y, x, rows, D)) \
  /* Products: a and b of one type (F32 or BF16), y F32 or BF16. acc (y F32): y + p, where p is what \
     the call without acc gives, completed first; one rounding an element. Windows of T rows. \
     y[M, N] = a[M, K] b[N, K]^T; M is a multiple of T */ \
  OP(matmul_nt, (eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N, int64_t K, int64_t T, int acc), (be, y, a, b, M, N, K, T, acc)) \
  /* y[M, N] = a[M, K] b[K, N]; M is a multiple of T */ \
  OP(matmul_nn, (eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N, int64_t K, int64_t T, int acc), (be, y, a, b, M, N, K, T, acc)) \
  /* y[M, N] = a[K, M]^T b[K, N], a sum over windows: K is a multiple of T, more than one needs y F32. \
     a's rows lie lda >= M elements apart, so that a may be some columns of a wider matrix */ \
  OP(matmul_tn, (eq_backend *be, eq_mut y, eq_view a, eq_view b, int64_t M, int64_t N, int64_t K, int64_t T, int64_t lda, int acc), (be, y, a, b, M, N, K, T, lda, acc)) \
  /* rstd[r] = 1 / sqrt(mean(x[r]^2) + eps), y = x * rstd * w; w F32, rstd F32 */ \
  OP(rmsnorm_fwd, (eq_backend *be, eq_mut y, eq_mut rstd, eq_view x, eq_view w, int64_t rows, int64_t D, float eps), (be, y, rstd, x, w, rows, D, eps)) \
  /* dx (F32 or BF16; + dx if acc, then F32), dw F32 [D] (overwritten, a sum over windows of `per` rows, rows is a \
     multiple; n == 0: not wanted); dx n == 0: not wanted. dx may be dy when not acc */ \
  OP(rmsnorm_bwd, (eq_backend *be, eq_mut dx, eq_mut dw, eq_view dy, eq_view x, eq_view w, eq_view rstd, int64_t rows, int64_t D, int64_t per, int acc), (be, dx, dw, dy, x, w, rstd, rows, D, per, acc)) \
  /* y[at + r] = x[r], rows of `cols` elements, the others stay; y (in/out) and x of one type, at as in rope */ \
  OP(put_rows,  (eq_backend *be, eq_mut y, eq_view x, eq_view at, int64_t rows, int64_t cols), (be, y, x, at, rows, cols)) \
  /* in/out x[B*T, NH, HD] any: of each head the first R <= HD elements, pairs (i, i + R/2), turned by the angle whose \
     cos, sin are rows at .. at + T of F32 [.., R/2]; at I32 [1], n == 0: 0. It is read when the operation runs, so that \
     the same call serves every place. sign -1 turns back (the backward pass) */ \
  OP(rope,      (eq_backend *be, eq_mut x, eq_view cos, eq_view sin, eq_view at, int64_t B, int64_t T, int64_t NH, int64_t HD, int64_t R, int sign), (be, x, cos, sin, at, B, T, NH, HD, R, sign)) \
  /* causal grouped-query attention: o[B*T, NH*HD], lse F32 [B, NH, T] (log-sum-exp of the scaled \
     scores); q[B*T, NH*HD], k and v [B*T, NKV*HD]. One type. No T x T matrix is kept. With `at` (as in rope; B is 1) \
     k and v have at least at + T rows, and query t has the place at + t among them */ \
  OP(attn_fwd,  (eq_backend *be, eq_mut o, eq_mut lse, eq_view q, eq_view k, eq_view v, eq_view at, eq_attn_shape s), (be, o, lse, q, k, v, at, s)) \
  OP(attn_bwd,  (eq_backend *be, eq_mut dq, eq_mut dk, eq_mut dv, eq_view do_, eq_view q, eq_view k, eq_view v, eq_view o, eq_view lse, eq_attn_shape s), (be, dq, dk, dv, do_, q, k, v, o, lse, s)) \
  /* h = act(g) * u, elementwise */ \
  OP(glu_fwd,   (eq_backend *be, eq_mut h, eq_view g, eq_view u, eq_act act), (be, h, g, u, act)) \
  /* dg = dh * u * act'(g), du = dh * act(g); dg may be g, du may be u or dh */ \
  OP(glu_bwd,   (eq_backend *be, eq_mut dg, eq_mut du, eq_view dh, eq_view g, eq_view u, eq_act act), (be, dg, du, dh, g, u, act)) \
  /* loss F32 [B] = mean((y - t)^2) of each of B windows of y.n / B elements; dy (n == 0: not wanted) = 2 (y - t) / y.n; \
     any types */ \
  OP(mse,       (eq_backend *be, eq_mut loss, eq_mut dy, eq_view y, eq_view t), (be, loss, dy, y, t)) \
  /* loss F32 [rows] = logsumexp(logits[r]) - logits[r, target[r]], 0 where target < 0; \
     dlogits (n == 0: not wanted; F32 or BF16; may be logits) = (softmax - onehot) * scale, 0 where target < 0; \
     with a cap > 0 the logits are softcap's, and dlogits the gradient of what was capped: * (1 - (logit / cap)^2). \
     logits F32 [rows, V], targets I32 [rows] */ \
  OP(cross_entropy, (eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits, eq_view targets, int64_t rows, int64_t V, float scale, float cap), (be, loss, dlogits, logits, targets, rows, V, scale, cap)) \
  /* distillation: loss F32 [rows] = sum p log(p / q), q = softmax(logits[r]), p = softmax(teacher[r]), 0 where \
     target < 0; dlogits (n == 0: not wanted; F32 or BF16; may be logits) = (q - p) * scale, 0 where target < 0; cap as \
     in cross_entropy, of logits alone. logits and teacher F32 [rows, V], targets I32 [rows] */ \
  OP(divergence, (eq_backend *be, eq_mut loss, eq_mut dlogits, eq_view logits, eq_view teacher, eq_view targets, int64_t rows, int64_t V, float scale, float cap), (be, loss, dlogits, logits, teacher, targets, rows, V, scale, cap)) \
  /* the min-max start (METHOD section 1): s, z F32 from w F32; finite for constant groups. Here and below a step \
     is used as eq_s_used (quant/number.h) says, whose floor a group's weights decide */ \
  OP(fq_init,   (eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q), (be, s, z, w, q)) \
  /* equations (1) and (2): w_hat any, w s z F32 (s and z as trained, real numbers) */ \
  OP(fq_fwd,    (eq_backend *be, eq_mut w_hat, eq_view w, eq_view s, eq_view z, eq_qshape q), (be, w_hat, w, s, z, q)) \
  /* METHOD's table: dw (n == 0: not wanted; may be dw_hat), ds, dz (n == 0: not wanted), all F32, \
     overwritten; dw_hat F32 [O, I] */ \
  OP(fq_bwd,    (eq_backend *be, eq_mut dw, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view w, eq_view s, eq_view z, eq_qshape q), (be, dw, ds, dz, dw_hat, w, s, z, q)) \
  /* equation (1) as fq_fwd computes it: s clamped, z rounded and clamped (both in/out F32), w_int \
     packed: row o of q is the little-endian bit stream of w_int[o, 0 .. I) */ \
  OP(fq_pack,   (eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_view w, eq_qshape qs), (be, q, s, z, w, qs)) \
  /* equation (2) from packed integers: w_hat = (w_int - z) * s; any type */ \
  OP(dequant,   (eq_backend *be, eq_mut w_hat, eq_view q, eq_view s, eq_view z, eq_qshape qs), (be, w_hat, q, s, z, qs)) \
  /* in/out: what a finished linear holds, q as in dequant, s F16, z U8, brought into the order that this backend's \
     matvec_q reads. The same sizes; once */ \
  OP(prepare_q, (eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_qshape qs), (be, q, s, z, qs)) \
  /* y[N, O] = x[N, I] w_hat^T, as generation needs it: w_hat = (w_int - z) * s of a linear that prepare_q went over; \
     x and y F32 or BF16; acc (y F32): y + p. act8: each group of a row of x first becomes 8-bit integers and a step \
     (quant/act8.h); asked for only where the backend's hints have it */ \
  OP(matvec_q,  (eq_backend *be, eq_mut y, eq_view x, eq_view q, eq_view s, eq_view z, int64_t rows, eq_qshape qs, int act8, int acc), (be, y, x, q, s, z, rows, qs, act8, acc)) \
  /* of one window: ds += sum (w_int - z) * dw_hat, dz += sum -s * dw_hat over each group, completed first as with \
     windows; n == 0: not wanted */ \
  OP(dequant_bwd, (eq_backend *be, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view q, eq_view s, eq_view z, eq_qshape qs), (be, ds, dz, dw_hat, q, s, z, qs)) \
  /* in/out p, m, v F32: one AdamW step with gradient g F32 (decoupled decay); the new m and v count as 0 where \
     |m| < EQ_M_LEAST, v < EQ_V_LEAST */ \
  OP(adamw,     (eq_backend *be, eq_mut p, eq_mut m, eq_mut v, eq_view g, eq_adamw a), (be, p, m, v, g, a)) \
  /* a step of a linear's rows: fq_bwd of dw_hat = dw (F32 [O, I], in/out, used up), then adamw with `aw` on w and with \
     `aq` on s and z, each in/out with its moments m*, v* (n == 0: not trained), then w_hat (n == 0: not wanted) as fq_fwd \
     makes it of what w, s, z have become. ds, dz: F32 [O, I / G], undefined afterwards, as dw is */ \
  OP(fq_step,   (eq_backend *be, eq_mut w_hat, eq_mut w, eq_mut mw, eq_mut vw, eq_mut s, eq_mut ms, eq_mut vs, eq_mut z, eq_mut mz, eq_mut vz, eq_mut dw, eq_mut ds, eq_mut dz, eq_qshape q, eq_adamw aw, eq_adamw aq), (be, w_hat, w, mw, vw, s, ms, vs, z, mz, vz, dw, ds, dz, q, aw, aq)) \
  /* What else Block-AP may train (Table 5; quant/number.h). The grid from a clipped range: s, z as fq_init's from the \
     least and largest weight of a group times the shares that clip F32 [O, I / G, 2] says */ \
  OP(fq_clip,   (eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_view clip, eq_qshape q), (be, s, z, w, clip, q)) \
  /* dclip (overwritten) from the gradients ds, dz by what fq_clip gives; all F32 */ \
  OP(fq_clip_bwd, (eq_backend *be, eq_mut dclip, eq_view ds, eq_view dz, eq_view w, eq_view clip, eq_qshape q), (be, dclip, ds, dz, w, clip, q)) \
  /* y = w + v s, v within (-1, 1); F32 [O, I], s as used by w: what fq_fwd and fq_pack round with a learned offset v */ \
  OP(fq_offset, (eq_backend *be, eq_mut y, eq_view w, eq_view v, eq_view s, eq_qshape q), (be, y, w, v, s, q)) \
  /* dy is the gradient by y. dv = dy s (may be dy; 0 where v lies at a bound and a step down dv would go on), \
     ds (n == 0: not wanted) += sum of dy v over each group; all F32 */ \
  OP(fq_offset_bwd, (eq_backend *be, eq_mut dv, eq_mut ds, eq_view dy, eq_view w, eq_view v, eq_view s, eq_qshape q), (be, dv, ds, dy, w, v, s, q)) \
  /* y = the steps s, F32 [O, I / G], on the grid q.grid, which is one of K types (quant/kgrid.h), as used by the weights \
     w F32 [O, I] (n == 0: without floors); y may be s. Gradients pass straight */ \
  OP(fq_steps,  (eq_backend *be, eq_mut y, eq_view s, eq_view w, eq_qshape q), (be, y, s, w, q)) \
  /* as fq_init, from the part of each group's range that rounds the weights with the least errors (quant/range.h) */ \
  OP(fq_shrink, (eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q), (be, s, z, w, q)) \
  /* acc F64 [1] += sum of x^2 */ \
  OP(sumsq,     (eq_backend *be, eq_mut acc, eq_view x), (be, acc, x)) \
  /* acc F64 [1] += sum of x */ \
  OP(sum,       (eq_backend *be, eq_mut acc, eq_view x), (be, acc, x))
/* clang-format on */

typedef struct {
#define EQ_OP_FIELD(name, params, args) void(*name) params;
    EQ_OPS(EQ_OP_FIELD)
#undef EQ_OP_FIELD
} eq_ops;

/* What suits a backend's machine. */
typedef struct {
    int64_t dw_elements, dw_step; /* of a weight gradient at once; rows of it in steps of this */
    int64_t logits_bytes;         /* of logits at once */
    bool keep_weights; /* fake-quantized weights stay from step to step, for all linears of a block:
                          their room costs less than making them again */
    bool ahead;        /* room for the next batch, which is brought during the one under way */
    bool act8;         /* matvec_q is faster with activations of 8 bits */
} eq_hints;
extern const eq_hints eq_host_hints; /* where nothing else is said */

struct eq_backend {
    const char *name;
    eq_ops op;
    void *self;          /* the backend's own state */
    const char *kernels; /* for people: which instruction sets were chosen */
    /* Memory. alloc returns NULL when it cannot; content undefined; 64-byte aligned. */
    void *(*alloc)(eq_backend *be, int64_t bytes);
    void (*free_)(eq_backend *be, void *p);
    /* Host memory to backend and back, n elements, converting between float types. */
    void (*upload)(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt);
    void (*download)(eq_backend *be, void *host, eq_dtype host_dt, eq_view src);
    /* The same beside the operations that are under way. upload_ahead waits for none that was
     * queued since the last `arrive`, so none of those may use dst; what it brought is there for
     * those behind the next. download_behind has written host when sync comes back. Where nothing
     * is queued they are upload and download. */
    void (*upload_ahead)(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt);
    void (*arrive)(eq_backend *be);
    void (*download_behind)(eq_backend *be, void *host, eq_dtype host_dt, eq_view src);
    /* Operations that come again and again with the same arguments: between graph_begin and
     * graph_end they are recorded and not run, and each launch runs them all. NULL where calling
     * them costs no more. begin gives false, end NULL, where nothing could be recorded: then they
     * are to be called. launch gives false where the recording has become invalid: record anew.
     * Only operations may stand between; the backend has run the same ones before. */
    bool (*graph_begin)(eq_backend *be);
    void *(*graph_end)(eq_backend *be);
    bool (*graph_launch)(eq_backend *be, void *graph);
    void (*graph_free)(eq_backend *be, void *graph);
    /* Waits for everything; the first error since the last sync. */
    eq_status (*sync)(eq_backend *be, eq_err *err);
    void (*close)(eq_backend *be); /* frees be */
    int64_t bytes, peak;           /* memory allocated now, and at most */
    int64_t limit;                 /* of bytes, beyond which alloc gives NULL; 0: what there is */
    bool device;                   /* its memory is not the host's */
    const eq_hints *hints;         /* NULL: eq_host_hints */
};

/* be->op.name(be, ...) */
#define EQ_DO(be, name, ...) ((be)->op.name((be), __VA_ARGS__))

/* spec: "cpu", "ref", with any of "trace:", "finite:", "fenced:" in front. cpu_mask: NULL, "sse2",
 * "avx2" or "avx512": the highest instruction set to use. */
eq_status eq_backend_open(eq_backend **be, const char *spec, const char *cpu_mask, eq_err *err);
/* From half a second after the observer's stop flag is set, operations are left out and sync says
 * EQ_EINTR; uploads, downloads and sync itself still work, so that a state can be saved. Without a
 * flag *be stays as it is. */
eq_status eq_stop_wrap(eq_backend **be, const eq_observer *obs, eq_err *err);
/* The backend of these options, within their device memory; a note says which one "auto" is. */
eq_status eq_backend_open_for(eq_backend **be, const eq_compute_opts *o, const eq_observer *obs,
                              eq_err *err);
/* The hints of the backend with this name, open or not; NULL where they are the host's. */
const eq_hints *eq_backend_hints(const char *spec);
/* The trace wrapper's table (operation, calls, seconds, elements), eq_free it; NULL: not traced. */
char *eq_backend_trace(eq_backend *be);
/* The same as notes, a line each; nothing when not traced. be may be NULL. */
void eq_backend_say_trace(eq_backend *be, const eq_observer *obs);

/* The makers behind the registry. A wrapper owns what it wraps. */
eq_status eq_ref_open(eq_backend **be, eq_err *err);
eq_status eq_cpu_open(eq_backend **be, const char *cpu_mask, eq_err *err);
void eq_ref_ops(eq_ops *ops); /* fills the table with the scalar operations (host memory) */
/* What fq_step means, by be's own operations: for backends without a faster one. */
void eq_fq_step_plain(eq_backend *be, eq_mut w_hat, eq_mut w, eq_mut mw, eq_mut vw, eq_mut s,
                      eq_mut ms, eq_mut vs, eq_mut z, eq_mut mz, eq_mut vz, eq_mut dw, eq_mut ds,
                      eq_mut dz, eq_qshape q, eq_adamw aw, eq_adamw aq);

/* ---- arena: the same bind code measures, allocates and feeds `plan` -------------------------- */

/* With base == NULL eq_take only counts. */
typedef struct {
    eq_backend *be;
    char *base;
    int64_t used, size;
    const eq_hints *hints; /* of the backend it is, or would be, in; NULL: eq_host_hints */
} eq_arena;
/* n elements at the next 64-byte boundary; p == NULL while measuring. */
eq_mut eq_take(eq_arena *a, eq_dtype dt, int64_t n);
/* After measuring: allocates `used` bytes and rewinds, so that the bind code runs again. */
eq_status eq_arena_alloc(eq_arena *a, eq_backend *be, const char *what, eq_err *err);
void eq_arena_free(eq_arena *a);

#endif

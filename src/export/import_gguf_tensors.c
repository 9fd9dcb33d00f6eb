/* Blocks of a GGUF file to GPTQ version 2 tensors, with eqat.state beside them where steps are not
 * fp16 numbers or zero points are real ones. One linear in memory at a time. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "export/import_gguf.h"
#include "model/checkpoint.h"
#include "quant/number.h"
#include "quant/pack.h"

typedef struct {
    int bits;
    int64_t group;
} scheme;

typedef struct {
    eq_gguf_import *x;
    const eq_config *cfg;
    scheme *of; /* [L][EQ_LINS] */
    scheme all;
    eq_stw *out, *state;
    bool exact; /* GPTQ tensors hold everything */
} taker;

static const eq_gguf_tensor *find(const eq_gguf_import *x, int64_t i, const char *name,
                                  const char *tail) {
    char full[EQ_GGUF_NAME];
    if (i < 0)
        snprintf(full, sizeof full, "%s.%s", name, tail);
    else
        snprintf(full, sizeof full, "blk.%lld.%s.%s", (long long)i, name, tail);
    return eq_gguf_find(x->g, full);
}

/* I < 0: a vector of O. */
static eq_status need(const taker *k, const eq_gguf_tensor **t, int64_t i, const char *name,
                      const char *tail, int64_t O, int64_t I, eq_err *err) {
    *t = find(k->x, i, name, tail);
    int ndim = I < 0 ? 1 : 2;
    bool same = *t && (*t)->ndim == ndim && (*t)->dim[0] == (I < 0 ? O : I) &&
                (ndim == 1 || (*t)->dim[1] == O);
    if (same && (I >= 0 || (*t)->type == EQ_GGML_F32)) return EQ_OK;
    char block[32] = "";
    if (i >= 0) snprintf(block, sizeof block, "blk.%lld.", (long long)i);
    return eq_fail(err, EQ_EINPUT, "%s: tensor %s%s.%s: expected %lld x %lld%s, found %s",
                   eq_gguf_path(k->x->g), block, name, tail, (long long)O,
                   (long long)(I < 0 ? 1 : I), I < 0 ? " of f32" : "",
                   *t ? "another shape or type" : "no such tensor");
}

/* ---- bits and groups ---------------------------------------------------------------------------
 */

static eq_status find_schemes(taker *k, eq_err *err) {
    const eq_config *c = k->cfg;
    int64_t n = c->L * EQ_LINS, best = 0;
    k->of = eq_calloc(n, sizeof *k->of);
    if (!k->of) return eq_nomem(err, "a table of linears", n * (int64_t)sizeof *k->of);
    for (int64_t i = 0; i < n; i++) {
        const eq_gguf_tensor *t;
        eq_lin_spec s = eq_lin_of(c, (eq_lin)(i % EQ_LINS));
        EQ_TRY(need(k, &t, i / EQ_LINS, eq_gguf_linears[i % EQ_LINS], "weight", s.O, s.I, err));
        if (!eq_ggml_code_shape(t->type, &k->of[i].bits, &k->of[i].group))
            return eq_fail(err, EQ_EINPUT, "%s: tensor %s: expected a quantized type, found %s",
                           eq_gguf_path(k->x->g), t->name, eq_ggml_of(t->type).name);
        const char *why = eq_gptq_refuses(s.O, s.I, k->of[i].group, k->of[i].bits);
        if (why)
            return eq_fail(err, EQ_EINPUT, "%s: tensor %s: GPTQ tensors cannot hold it: %s",
                           eq_gguf_path(k->x->g), t->name, why);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t same = 0;
        for (int64_t j = i; j < n; j++)
            same += k->of[j].bits == k->of[i].bits && k->of[j].group == k->of[i].group;
        if (same > best) best = same, k->all = k->of[i];
    }
    return EQ_OK;
}

static eq_status put_config(const taker *k, json_t *config, eq_err *err) {
    json_t *q =
        json_pack("{s:i, s:I, s:b, s:b, s:s, s:s, s:s, s:s, s:s, s:{s:s}}", "bits", k->all.bits,
                  "group_size", (json_int_t)k->all.group, "sym", 0, "desc_act", 0, "quant_method",
                  "gptq", "checkpoint_format", "gptq_v2", "method", "gptq", "format", "gptq_v2",
                  "pack_dtype", "int32", "meta", "quantizer", "eqat:" EQ_VERSION);
    json_t *dynamic = json_object();
    for (int64_t i = 0; i < k->cfg->L * EQ_LINS; i++) {
        if (k->of[i].bits == k->all.bits && k->of[i].group == k->all.group) continue;
        eq_str s = {0};
        eq_str_printf(&s, "+:^model\\.layers\\.%lld\\.", (long long)(i / EQ_LINS));
        for (const char *p = eq_lin_of(k->cfg, (eq_lin)(i % EQ_LINS)).name; *p; p++)
            eq_str_printf(&s, *p == '.' ? "\\." : "%c", *p);
        eq_str_puts(&s, "$");
        if (!s.oom)
            json_object_set_new(dynamic, s.p,
                                json_pack("{s:i, s:I}", "bits", k->of[i].bits, "group_size",
                                          (json_int_t)k->of[i].group));
        eq_str_free(&s);
    }
    if (q && json_object_size(dynamic)) json_object_set(q, "dynamic", dynamic);
    json_decref(dynamic);
    if (!q || json_object_set_new(config, "quantization_config", q))
        return eq_nomem(err, "config.json", 1 << 12);
    return EQ_OK;
}

/* ---- one linear --------------------------------------------------------------------------------
 */

typedef struct {
    const taker *k;
    const eq_gguf_tensor *t;
    int l;
    eq_qlinear *q;
} take_job;

static eq_status take_row(void *ctx, int64_t o, eq_err *err) {
    const take_job *j = ctx;
    eq_qlinear *q = j->q;
    int64_t NG = q->I / q->G, r = eq_gguf_file_row(j->k->cfg, j->k->x->arch, (eq_lin)j->l, o);
    uint8_t *codes = eq_calloc(q->I, 1);
    if (!codes) return eq_nomem(err, "a row", q->I);
    eq_ggml_codes(codes, q->s + o * NG, q->z + o * NG, j->t->type,
                  j->t->data + r * eq_ggml_row_bytes(j->t->type, q->I), q->I);
    eq_pack_row(q->rows + o * eq_pack_words(q->I, q->bits), codes, q->I, q->bits);
    eq_free(codes);
    for (int64_t g = o * NG; g < (o + 1) * NG; g++)
        if (!isfinite(q->s[g]) || !isfinite(q->z[g]) || !(q->s[g] < 65520))
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %s: expected steps that fp16 holds, found %g in row %lld",
                           eq_gguf_path(j->k->x->g), j->t->name, (double)q->s[g], (long long)r);
    return EQ_OK;
}

static eq_status alloc_linear(eq_qlinear *q, eq_err *err) {
    int64_t NG = q->I / q->G, words = q->O * eq_pack_words(q->I, q->bits);
    q->rows = eq_calloc(words, sizeof *q->rows);
    q->s = eq_calloc(q->O * NG, sizeof *q->s), q->z = eq_calloc(q->O * NG, sizeof *q->z);
    return q->rows && q->s && q->z ? EQ_OK : eq_nomem(err, "a linear", words * 4 + q->O * NG * 8);
}
static void free_linear(eq_qlinear *q) { eq_free(q->rows), eq_free(q->s), eq_free(q->z); }

/* Codes, steps above 0, zero points; of 8 bits symmetric ones are whole. */
static eq_status take_linear(taker *k, eq_qlinear *q, int64_t i, int l, eq_err *err) {
    eq_lin_spec s = eq_lin_of(k->cfg, (eq_lin)l);
    scheme m = k->of[i * EQ_LINS + l];
    *q = (eq_qlinear){.bits = m.bits, .O = s.O, .I = s.I, .G = m.group};
    EQ_TRY(alloc_linear(q, err));
    take_job j = {k, find(k->x, i, eq_gguf_linears[l], "weight"), l, q};
    return eq_par_try(q->O, take_row, &j, err);
}

static bool holds_all(const eq_qlinear *q) {
    for (int64_t i = 0; i < q->O * (q->I / q->G); i++)
        if (eq_f16_to_f32(eq_f32_to_f16(q->s[i])) != q->s[i] ||
            eq_z_used(q->z[i], q->bits, EQ_GRID_FREE) != q->z[i])
            return false;
    return true;
}

/* A first pass over everything tells whether eqat.state is needed: it is declared in front. */
static eq_status look(taker *k, eq_err *err) {
    k->exact = true;
    for (int64_t i = 0; i < k->cfg->L * EQ_LINS && k->exact; i++) {
        eq_qlinear q;
        eq_status st = take_linear(k, &q, i / EQ_LINS, (int)(i % EQ_LINS), err);
        if (st == EQ_OK) k->exact = holds_all(&q);
        free_linear(&q);
        if (st != EQ_OK) return st;
    }
    return EQ_OK;
}

/* ---- writing -----------------------------------------------------------------------------------
 */

/* Declares (first pass) or puts everything, in one order. */
typedef struct {
    taker *k;
    bool declare;
} pass;

static eq_status tensor(const pass *p, eq_stw *w, const char *name, eq_dtype dt, int ndim,
                        int64_t rows, int64_t cols, const void *data, eq_err *err) {
    int64_t shape[2] = {ndim == 1 ? cols : rows, cols}, n = ndim == 1 ? cols : rows * cols;
    return p->declare ? eq_stw_tensor(w, name, dt, ndim, shape, err)
                      : eq_stw_put(w, data, n * eq_dtype_size(dt), err);
}

/* A matrix outside of the blocks: floats keep their type, others become fp32. */
static eq_status put_matrix(const pass *p, const eq_gguf_tensor *t, const char *name, eq_err *err) {
    int64_t O = t->dim[1], I = t->dim[0];
    eq_dtype dt = t->type == EQ_GGML_F16 ? EQ_F16 : t->type == EQ_GGML_BF16 ? EQ_BF16 : EQ_F32;
    bool as_is = dt != EQ_F32 || t->type == EQ_GGML_F32;
    if (p->declare || as_is) return tensor(p, p->k->out, name, dt, 2, O, I, t->data, err);
    float *row = eq_calloc(I, sizeof *row);
    eq_status st = row ? EQ_OK : eq_nomem(err, "a row", I * 4);
    for (int64_t o = 0; o < O && st == EQ_OK; o++) {
        eq_ggml_values(row, t->type, t->data + o * eq_ggml_row_bytes(t->type, I), I);
        st = eq_stw_put(p->k->out, row, I * 4, err);
    }
    eq_free(row);
    return st;
}

static eq_status put_vector(const pass *p, const eq_gguf_tensor *t, int lin, const char *name,
                            eq_err *err) {
    const taker *k = p->k;
    float *v = eq_calloc(t->n, sizeof *v);
    if (!v) return eq_nomem(err, "a vector", t->n * 4);
    for (int64_t o = 0; o < t->n; o++) {
        int64_t r = lin < 0 ? o : eq_gguf_file_row(k->cfg, k->x->arch, (eq_lin)lin, o);
        memcpy(v + o, t->data + 4 * r, 4);
    }
    eq_status st = tensor(p, k->out, name, EQ_F32, 1, 0, t->n, v, err);
    eq_free(v);
    return st;
}

/* The five or six arrays of a linear; NULL data while they are declared. */
typedef struct {
    int32_t *words, *zeros, *g_idx;
    uint16_t *scales;
} packed;

static eq_status pack(packed *a, const eq_qlinear *q, eq_err *err) {
    int64_t NG = q->I / q->G;
    uint8_t *z = eq_calloc(q->O * NG, 1);
    a->words = eq_calloc(q->O * eq_pack_words(q->I, q->bits), 4);
    a->zeros = eq_calloc(NG * q->O * q->bits / 32, 4);
    a->scales = eq_calloc(NG * q->O, 2);
    a->g_idx = eq_calloc(q->I, 4);
    bool ok = z && a->words && a->zeros && a->scales && a->g_idx;
    for (int64_t o = 0; ok && o < q->O; o++)
        for (int64_t g = 0; g < NG; g++) {
            z[o * NG + g] = (uint8_t)eq_z_used(q->z[o * NG + g], q->bits, EQ_GRID_FREE);
            a->scales[g * q->O + o] = eq_f32_to_f16(q->s[o * NG + g]);
        }
    if (ok) {
        eq_gptq_zeros(a->zeros, z, q->O, NG, q->bits);
        eq_gptq_from_rows(a->words, q->rows, q->O, q->I, q->bits);
        for (int64_t i = 0; i < q->I; i++) a->g_idx[i] = (int32_t)(i / q->G);
    }
    eq_free(z);
    return ok ? EQ_OK : eq_nomem(err, "packing a linear", q->O * q->I);
}

static eq_status put_parts(const pass *p, const eq_qlinear *q, const packed *a, const char *head,
                           eq_err *err) {
    char name[128];
    int64_t NG = q->I / q->G;
    eq_stw *w = p->k->out, *state = p->k->state;
#define EQ_NAME(part) (snprintf(name, sizeof name, "%s." part, head), name)
    EQ_TRY(tensor(p, w, EQ_NAME("qweight"), EQ_I32, 2, eq_pack_words(q->I, q->bits), q->O, a->words,
                  err));
    EQ_TRY(tensor(p, w, EQ_NAME("qzeros"), EQ_I32, 2, NG, q->O * q->bits / 32, a->zeros, err));
    EQ_TRY(tensor(p, w, EQ_NAME("scales"), EQ_F16, 2, NG, q->O, a->scales, err));
    EQ_TRY(tensor(p, w, EQ_NAME("g_idx"), EQ_I32, 1, 0, q->I, a->g_idx, err));
    if (!state) return EQ_OK;
    EQ_TRY(tensor(p, state, EQ_NAME("eqat_s"), EQ_F32, 2, q->O, NG, q->s, err));
    return tensor(p, state, EQ_NAME("eqat_z"), EQ_F32, 2, q->O, NG, q->z, err);
#undef EQ_NAME
}

static eq_status put_linear(const pass *p, int64_t i, int l, eq_err *err) {
    taker *k = p->k;
    char head[96], name[128];
    eq_qlinear q;
    packed a = {0};
    const eq_gguf_tensor *bias;
    snprintf(head, sizeof head, "model.layers.%lld.%s", (long long)i,
             eq_lin_of(k->cfg, (eq_lin)l).name);
    scheme m = k->of[i * EQ_LINS + l];
    eq_lin_spec s = eq_lin_of(k->cfg, (eq_lin)l);
    q = (eq_qlinear){.bits = m.bits, .O = s.O, .I = s.I, .G = m.group};
    eq_status st = p->declare ? EQ_OK : take_linear(k, &q, i, l, err);
    if (st == EQ_OK && !p->declare) st = pack(&a, &q, err);
    if (st == EQ_OK) st = put_parts(p, &q, &a, head, err);
    free_linear(&q);
    eq_free(a.words), eq_free(a.zeros), eq_free(a.scales), eq_free(a.g_idx);
    if (st != EQ_OK || !s.bias) return st;
    EQ_TRY(need(k, &bias, i, eq_gguf_linears[l], "bias", s.O, -1, err));
    snprintf(name, sizeof name, "%s.bias", head);
    return put_vector(p, bias, l, name, err);
}

static eq_status put_block(const pass *p, int64_t i, eq_err *err) {
    const taker *k = p->k;
    char name[128];
    if (eq_stopped(k->x->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
    for (int l = 0; l < EQ_LINS; l++) EQ_TRY(put_linear(p, i, l, err));
    for (int n = 0; n < EQ_NORM_COUNT; n++) {
        eq_norm_spec s = eq_norm_of(k->cfg, (eq_norm)n);
        const eq_gguf_tensor *t;
        if (!s.exists) continue;
        EQ_TRY(need(k, &t, i, eq_gguf_norms[n], "weight", s.n, -1, err));
        snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)i, s.name);
        EQ_TRY(put_vector(p, t, -1, name, err));
    }
    eq_progress say = {.phase = "import",
                       .block = i,
                       .blocks = k->cfg->L,
                       .done = i + 1,
                       .total = k->cfg->L,
                       .loss = NAN};
    if (!p->declare) eq_progress_say(k->x->obs, &say);
    return EQ_OK;
}

static eq_status walk(const pass *p, eq_err *err) {
    const taker *k = p->k;
    const eq_gguf_tensor *t;
    const eq_config *c = k->cfg;
    EQ_TRY(need(k, &t, -1, "token_embd", "weight", c->V, c->D, err));
    EQ_TRY(put_matrix(p, t, "model.embed_tokens.weight", err));
    for (int64_t i = 0; i < c->L; i++) EQ_TRY(put_block(p, i, err));
    EQ_TRY(need(k, &t, -1, "output_norm", "weight", c->D, -1, err));
    EQ_TRY(put_vector(p, t, -1, "model.norm.weight", err));
    if (c->tied) return EQ_OK;
    EQ_TRY(need(k, &t, -1, "output", "weight", c->V, c->D, err));
    return put_matrix(p, t, "lm_head.weight", err);
}

static eq_status open_file(eq_stw **w, const char *dir, const char *name, const char *key,
                           const char *value, eq_err *err) {
    char *path = eq_path(dir, name);
    eq_status st = path ? eq_stw_new(w, path, err) : eq_nomem(err, "a path", 256);
    eq_free(path);
    return st == EQ_OK ? eq_stw_meta(*w, key, value, err) : st;
}

static eq_status write_all(taker *k, const char *dir, eq_err *err) {
    pass p = {k, true};
    EQ_TRY(open_file(&k->out, dir, "model.safetensors", "format", "pt", err));
    if (!k->exact) EQ_TRY(open_file(&k->state, dir, EQ_STATE_NAME, "version", EQ_VERSION, err));
    EQ_TRY(walk(&p, err));
    EQ_TRY(eq_stw_begin(k->out, err));
    if (k->state) EQ_TRY(eq_stw_begin(k->state, err));
    p.declare = false;
    EQ_TRY(walk(&p, err));
    eq_stw *out = k->out, *state = k->state;
    k->out = k->state = NULL;
    eq_status st = eq_stw_end(out, err);
    if (state && st != EQ_OK) eq_stw_abort(state);
    return state && st == EQ_OK ? eq_stw_end(state, err) : st;
}

/* As many tensors as are taken: another one would change what the model computes. */
static eq_status check_rest(const taker *k, eq_err *err) {
    int64_t n = k->cfg->tied ? 2 : 3;
    n += eq_gguf_find(k->x->g, "rope_freqs.weight") != NULL;
    for (int l = 0; l < EQ_LINS; l++) n += k->cfg->L * (1 + eq_lin_of(k->cfg, (eq_lin)l).bias);
    for (int m = 0; m < EQ_NORM_COUNT; m++) n += k->cfg->L * eq_norm_of(k->cfg, (eq_norm)m).exists;
    if (eq_gguf_count(k->x->g) == n) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: expected %lld tensors, as a %s of %lld layers has, found %lld",
                   eq_gguf_path(k->x->g), (long long)n, k->x->arch->arch, (long long)k->cfg->L,
                   (long long)eq_gguf_count(k->x->g));
}

eq_status eq_gguf_take_tensors(eq_gguf_import *x, const char *dir, const eq_config *cfg,
                               json_t *config, eq_err *err) {
    taker k = {.x = x, .cfg = cfg};
    eq_status st = check_rest(&k, err);
    if (st == EQ_OK) st = find_schemes(&k, err);
    if (st == EQ_OK) st = put_config(&k, config, err);
    if (st == EQ_OK) st = look(&k, err);
    if (st == EQ_OK) st = write_all(&k, dir, err);
    x->res.bits = k.all.bits, x->res.group_size = k.all.group, x->res.state = !k.exact;
    eq_stw_abort(k.out), eq_stw_abort(k.state);
    eq_free(k.of);
    return st;
}

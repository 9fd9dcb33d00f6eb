/* GGUF: the list of tensors, their bytes, and reading all of it back. Sizes and offsets follow from
 * the list, so the bytes of a block are asked for once they are written. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "export/export_blocks.h"
#include "export/export_formats.h"
#include "export/export_gguf.h"
#include "quant/pack.h"

typedef struct {
    char name[EQ_GGUF_NAME];
    const eq_tensor *t; /* copied or converted; NULL: a linear, or */
    const float *f;     /* rope factors */
    int64_t block;      /* -1: outside */
    int lin;            /* rows of a linear's matrix or bias; -1: neither */
    eq_ggml type;
    int ndim;
    int64_t dim[2];
} entry;

typedef struct {
    eq_export_job *x;
    const eq_gguf_arch *arch;
    const eq_config *cfg;
    entry *e;
    int64_t n, cap, done;
    eq_ggml *types; /* [L][EQ_LINS] */
    float *rope;    /* [HD / 2], NULL: none */
    eq_qblock b;
    int64_t at;
    eq_ggw *out;
} gguf;

/* ---- the list ----------------------------------------------------------------------------------
 */

/* Names of a block, in the order in which they are written. */
const char *const eq_gguf_norms[EQ_NORM_COUNT] = {
    [EQ_NORM_IN] = "attn_norm",
    [EQ_NORM_POST] = "ffn_norm",
    [EQ_NORM_QH] = "attn_q_norm",
    [EQ_NORM_KH] = "attn_k_norm",
};
const char *const eq_gguf_linears[EQ_LINS] = {
    [EQ_LIN_Q] = "attn_q",      [EQ_LIN_K] = "attn_k",      [EQ_LIN_V] = "attn_v",
    [EQ_LIN_O] = "attn_output", [EQ_LIN_GATE] = "ffn_gate", [EQ_LIN_UP] = "ffn_up",
    [EQ_LIN_DOWN] = "ffn_down",
};

static eq_status add(gguf *g, entry e, const char *name, const char *tail, eq_err *err) {
    if (g->n == g->cap) {
        int64_t cap = g->cap ? 2 * g->cap : 256;
        entry *p = eq_realloc(g->e, cap, sizeof *p);
        if (!p) return eq_nomem(err, "the list of tensors", cap * (int64_t)sizeof *p);
        g->e = p, g->cap = cap;
    }
    if (e.block < 0)
        snprintf(e.name, sizeof e.name, "%s.%s", name, tail);
    else
        snprintf(e.name, sizeof e.name, "blk.%lld.%s.%s", (long long)e.block, name, tail);
    g->e[g->n++] = e;
    return EQ_OK;
}

/* The bias of a linear is as long as its rows, whatever it is joined to in the model's files. */
static eq_status add_vector(gguf *g, const eq_tensor *t, int64_t block, int lin, const char *name,
                            const char *tail, eq_err *err) {
    int64_t n = lin < 0 ? t->n : eq_lin_of(g->cfg, (eq_lin)lin).O;
    entry e = {.t = t, .block = block, .lin = lin, .type = EQ_GGML_F32, .ndim = 1, .dim = {n}};
    return add(g, e, name, tail, err);
}

static eq_status add_factors(gguf *g, const float *f, int64_t n, const char *name, eq_err *err) {
    entry e = {.f = f, .block = -1, .lin = -1, .type = EQ_GGML_F32, .ndim = 1, .dim = {n}};
    return add(g, e, name, "weight", err);
}

static eq_ggml stored_type(eq_dtype dt) {
    return dt == EQ_F16 ? EQ_GGML_F16 : dt == EQ_BF16 ? EQ_GGML_BF16 : EQ_GGML_F32;
}

static eq_status add_matrix(gguf *g, const eq_tensor *t, const char *name, eq_err *err) {
    const char *as = g->x->o->embeddings;
    entry e = {.t = t, .block = -1, .lin = -1, .ndim = 2, .dim = {t->shape[1], t->shape[0]}};
    e.type = stored_type(t->dt);
    if (as && strcmp(as, "stored") && !eq_ggml_find(&e.type, as))
        return eq_fail(err, EQ_EINPUT, "expected stored, f16 or q8_0 for embeddings, found \"%s\"",
                       as);
    if (t->shape[1] % eq_ggml_of(e.type).block)
        return eq_fail(
            err, EQ_EINPUT, "%s: %s has blocks of %lld, which do not divide rows of %lld", t->name,
            eq_ggml_of(e.type).name, (long long)eq_ggml_of(e.type).block, (long long)t->shape[1]);
    return add(g, e, name, "weight", err);
}

static eq_status add_linear(gguf *g, int64_t i, int l, eq_err *err) {
    eq_lin_spec s = eq_lin_of(g->cfg, (eq_lin)l);
    const eq_tensor *bias = g->x->src->blocks[i].bias[l];
    entry e = {.block = i, .lin = l, .type = g->types[i * EQ_LINS + l], .ndim = 2};
    if (!eq_gguf_leads(g->cfg, g->arch, (eq_lin)l)) return EQ_OK;
    e.dim[0] = s.I, e.dim[1] = g->arch->joined ? s.rows : s.O;
    EQ_TRY(add(g, e, eq_gguf_linear_name(g->arch, (eq_lin)l), "weight", err));
    return bias ? add_vector(g, bias, i, l, eq_gguf_linears[l], "bias", err) : EQ_OK;
}

static eq_status make_list(gguf *g, eq_err *err) {
    const eq_weights *w = g->x->src;
    EQ_TRY(add_matrix(g, w->embed, "token_embd", err));
    const eq_rope_spec *rope = &g->cfg->rope;
    if (g->rope) EQ_TRY(add_factors(g, g->rope, rope->dim / 2, "rope_freqs", err));
    if (rope->kind == EQ_ROPE_LONG) {
        EQ_TRY(add_factors(g, rope->long_factor, rope->dim / 2, "rope_factors_long", err));
        EQ_TRY(add_factors(g, rope->short_factor, rope->dim / 2, "rope_factors_short", err));
    }
    for (int64_t i = 0; i < g->cfg->L; i++) {
        for (int k = 0; k < EQ_NORM_COUNT; k++)
            if (w->blocks[i].norm[k])
                EQ_TRY(add_vector(g, w->blocks[i].norm[k], i, -1, eq_gguf_norms[k], "weight", err));
        for (int l = 0; l < EQ_LINS; l++) EQ_TRY(add_linear(g, i, l, err));
    }
    EQ_TRY(add_vector(g, w->norm, -1, -1, "output_norm", "weight", err));
    return g->cfg->tied ? EQ_OK : add_matrix(g, w->head, "output", err);
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static eq_status get_block(gguf *g, int64_t i, eq_err *err) {
    if (g->at == i) return EQ_OK;
    if (eq_stopped(g->x->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
    g->at = -1;
    EQ_TRY(eq_export_block(&g->b, g->x->src, i, false, err));
    g->at = i;
    return EQ_OK;
}

typedef struct {
    const gguf *g;
    const entry *e;
    const eq_qlinear *q;
    uint8_t *out;
} pack_job;

static eq_status pack_row(void *ctx, int64_t r, eq_err *err) {
    const pack_job *j = ctx;
    const eq_qlinear *q = j->q;
    int64_t o = eq_gguf_source_row(j->g->cfg, j->g->arch, (eq_lin)j->e->lin, r);
    int64_t NG = q->I / q->G;
    uint8_t *codes = eq_calloc(q->I, 1);
    if (!codes) return eq_nomem(err, "a row", q->I);
    eq_unpack_row(codes, q->rows + o * eq_pack_words(q->I, q->bits), q->I, q->bits);
    eq_code_row row = {codes, q->s + o * NG, q->z + o * NG, q->I, q->G, q->bits};
    bool ok = eq_ggml_pack(j->out + r * eq_ggml_row_bytes(j->e->type, q->I), j->e->type, &row,
                           j->g->x->o->lossy);
    eq_free(codes);
    if (ok) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: row %lld does not fit into %s", j->e->name, (long long)r,
                   eq_ggml_of(j->e->type).name);
}

static eq_status put_linear(gguf *g, const entry *e, eq_err *err) {
    eq_qlinear q;
    EQ_TRY(get_block(g, e->block, err));
    EQ_TRY(eq_gguf_linear(&q, &g->b, g->cfg, g->arch, (eq_lin)e->lin, err));
    int64_t bytes = q.O * eq_ggml_row_bytes(e->type, q.I);
    pack_job j = {g, e, &q, eq_calloc(bytes, 1)};
    eq_status st =
        j.out ? eq_par_try(q.O, pack_row, &j, err) : eq_nomem(err, "packing a linear", bytes);
    if (st == EQ_OK) st = eq_ggw_put(g->out, j.out, bytes, err);
    eq_free(j.out);
    eq_export_join_free(&q, &g->b, (eq_lin)e->lin);
    return st;
}

/* Where element o of a linear's bias, or of any other vector, lies in the model's files. */
static float element(const gguf *g, const entry *e, int64_t o) {
    if (e->f) return e->f[o];
    eq_lin_spec s = eq_lin_of(g->cfg, e->lin < 0 ? EQ_LIN_Q : (eq_lin)e->lin);
    return eq_load(e->t->data, e->t->dt, e->lin < 0 ? o : eq_lin_row(&s, o));
}

/* Norms, biases: fp32, those of q and k in the order of their rows. */
static eq_status put_vector(gguf *g, const entry *e, eq_err *err) {
    float *v = eq_calloc(e->dim[0], sizeof *v);
    if (!v) return eq_nomem(err, "a vector", e->dim[0] * 4);
    for (int64_t r = 0; r < e->dim[0]; r++) {
        int64_t o = e->lin < 0 ? r : eq_gguf_source_row(g->cfg, g->arch, (eq_lin)e->lin, r);
        v[r] = element(g, e, o);
    }
    eq_status st = eq_ggw_put(g->out, v, e->dim[0] * 4, err);
    eq_free(v);
    return st;
}

static eq_status put_matrix(gguf *g, const entry *e, eq_err *err) {
    const eq_tensor *t = e->t;
    int64_t I = t->shape[1], bytes = eq_ggml_row_bytes(e->type, I);
    if (e->type == stored_type(t->dt)) return eq_ggw_put(g->out, t->data, t->bytes, err);
    float *row = eq_calloc(I, sizeof *row);
    uint8_t *out = eq_calloc(bytes, 1);
    eq_status st = row && out ? EQ_OK : eq_nomem(err, "a row", I * 8);
    for (int64_t o = 0; o < t->shape[0] && st == EQ_OK; o++) {
        eq_tensor_rows(t, row, o, 1);
        if (e->type == EQ_GGML_Q8_0)
            eq_ggml_q8_0(out, row, I);
        else
            eq_convert(out, EQ_F16, row, EQ_F32, I);
        st = eq_ggw_put(g->out, out, bytes, err);
    }
    eq_free(row), eq_free(out);
    return st;
}

static void say(gguf *g, const entry *e, const char *part) {
    eq_progress p = {.phase = "export",
                     .part = part,
                     .block = e->block < 0 ? 0 : e->block,
                     .blocks = g->cfg->L,
                     .done = ++g->done,
                     .total = 2 * g->n,
                     .loss = NAN};
    eq_progress_say(g->x->obs, &p);
}

/* The number of the type that most linears have, as general.file_type says it. */
static int file_type(const gguf *g) {
    static const int of[EQ_GGML_COUNT] = {
        [EQ_GGML_F32] = 0,   [EQ_GGML_F16] = 1,   [EQ_GGML_Q4_0] = 2,  [EQ_GGML_Q4_1] = 3,
        [EQ_GGML_Q8_0] = 7,  [EQ_GGML_Q5_0] = 8,  [EQ_GGML_Q2_K] = 10, [EQ_GGML_Q3_K] = 12,
        [EQ_GGML_Q4_K] = 15, [EQ_GGML_BF16] = 32, [EQ_GGML_Q2_0] = 41};
    int64_t count[EQ_GGML_COUNT + 1] = {0};
    int most = 0;
    for (int64_t i = 0; i < g->cfg->L * EQ_LINS; i++) count[g->types[i]]++;
    for (int t = 0; t < EQ_GGML_COUNT; t++)
        if (count[t] > count[most]) most = t;
    return of[most];
}

static eq_status write_all(gguf *g, const char *path, eq_err *err) {
    EQ_TRY(eq_ggw_new(&g->out, path, err));
    eq_gguf_put_model(g->out, g->x, file_type(g));
    EQ_TRY(eq_gguf_put_tokenizer(g->out, g->x, err));
    for (int64_t i = 0; i < g->n; i++)
        EQ_TRY(eq_ggw_tensor(g->out, g->e[i].name, g->e[i].type, g->e[i].ndim, g->e[i].dim, err));
    EQ_TRY(eq_ggw_begin(g->out, err));
    g->x->bytes = eq_ggw_bytes(g->out);
    for (int64_t i = 0; i < g->n; i++) {
        const entry *e = &g->e[i];
        EQ_TRY(e->ndim == 1 ? put_vector(g, e, err)
               : e->t       ? put_matrix(g, e, err)
                            : put_linear(g, e, err));
        if (e->t) eq_st_drop(g->x->src->st, e->t);
        say(g, e, NULL);
    }
    eq_ggw *w = g->out;
    g->out = NULL;
    return eq_ggw_end(w, err);
}

/* ---- reading back ------------------------------------------------------------------------------
 */

typedef struct {
    const gguf *g;
    const entry *e;
    const eq_gguf_tensor *t;
} in_file;

/* Rows in the model's order. */
static void rows_in_file(const void *ctx, float *out, int64_t o0, int64_t n) {
    const in_file *f = ctx;
    int64_t I = f->t->dim[0], bytes = eq_ggml_row_bytes(f->t->type, I);
    for (int64_t o = o0; o < o0 + n; o++, out += I) {
        int64_t r =
            f->e->lin < 0 ? o : eq_gguf_file_row(f->g->cfg, f->g->arch, (eq_lin)f->e->lin, o);
        eq_ggml_values(out, f->t->type, f->t->data + r * bytes, I);
    }
}

/* A vector of n is n rows of one. */
static void vector_in_file(const void *ctx, float *out, int64_t o0, int64_t n) {
    const in_file *f = ctx;
    for (int64_t o = o0; o < o0 + n; o++) {
        int64_t r =
            f->e->lin < 0 ? o : eq_gguf_file_row(f->g->cfg, f->g->arch, (eq_lin)f->e->lin, o);
        memcpy(out++, f->t->data + r * 4, 4);
    }
}
static void vector_in_model(const void *ctx, float *out, int64_t o, int64_t n) {
    const in_file *f = ctx;
    for (int64_t k = 0; k < n; k++) out[k] = element(f->g, f->e, o + k);
}

static eq_status compare_one(gguf *g, const eq_gguf *file, const entry *e, eq_err *err) {
    in_file f = {g, e, eq_gguf_find(file, e->name)};
    const eq_gguf_tensor *t = f.t;
    if (!t || t->type != e->type || t->ndim != e->ndim || t->dim[0] != e->dim[0] ||
        (t->ndim == 2 && t->dim[1] != e->dim[1]))
        return eq_fail(err, EQ_EINPUT, "%s: %s: read back, it is not there as written",
                       eq_gguf_path(file), e->name);
    if (e->ndim == 1)
        return eq_compare_rows(g->x, e->name, e->dim[0], 1, (eq_rows){vector_in_model, &f},
                               (eq_rows){vector_in_file, &f}, false, err);
    if (e->t)
        return eq_compare_rows(g->x, e->name, e->dim[1], e->dim[0], (eq_rows){eq_tensor_rows, e->t},
                               (eq_rows){rows_in_file, &f}, e->type != stored_type(e->t->dt), err);
    eq_qlinear q;
    EQ_TRY(get_block(g, e->block, err));
    EQ_TRY(eq_gguf_linear(&q, &g->b, g->cfg, g->arch, (eq_lin)e->lin, err));
    eq_status st =
        eq_compare_rows(g->x, e->name, e->dim[1], e->dim[0], (eq_rows){eq_qlinear_rows, &q},
                        (eq_rows){rows_in_file, &f}, g->x->o->lossy, err);
    eq_export_join_free(&q, &g->b, (eq_lin)e->lin);
    return st;
}

static eq_status compare_all(gguf *g, const char *path, eq_err *err) {
    eq_gguf *file;
    eq_status st = EQ_OK;
    EQ_TRY(eq_gguf_open(&file, path, err));
    if (eq_gguf_count(file) != g->n)
        st = eq_fail(err, EQ_EINPUT, "%s: read back, %lld tensors are there, expected %lld", path,
                     (long long)eq_gguf_count(file), (long long)g->n);
    for (int64_t i = 0; i < g->n && st == EQ_OK; i++) {
        st = compare_one(g, file, &g->e[i], err);
        if (st == EQ_OK) eq_gguf_drop(file, eq_gguf_find(file, g->e[i].name));
        if (g->e[i].t) eq_st_drop(g->x->src->st, g->e[i].t);
        say(g, &g->e[i], "comparing");
    }
    eq_gguf_close(file);
    return st;
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

/* "205 q2_0, 5 q4_0", and the oldest llama.cpp. */
static void describe(gguf *g) {
    int64_t count[EQ_GGML_COUNT + 1] = {0};
    char *p = g->x->types;
    size_t room = sizeof g->x->types, used = 0;
    for (int64_t i = 0; i < g->cfg->L * EQ_LINS; i++) count[g->types[i]]++;
    for (int t = 0; t < EQ_GGML_COUNT && used < room; t++)
        if (count[t])
            used += (size_t)snprintf(p + used, room - used, "%s%lld linears %s", used ? ", " : "",
                                     (long long)count[t], eq_ggml_of((eq_ggml)t).name);
    snprintf(g->x->reader, sizeof g->x->reader, "%s",
             count[EQ_GGML_Q2_0] ? "llama.cpp from mid-2026 on (type Q2_0), llama-cpp-python 0.3.36"
                                 : "llama.cpp from August 2024 on");
}

static eq_status check_space(const gguf *g, const char *path, eq_err *err) {
    int64_t need = 0;
    for (int64_t i = 0; i < g->n; i++)
        need += (g->e[i].ndim == 2 ? g->e[i].dim[1] : 1) *
                eq_ggml_row_bytes(g->e[i].type, g->e[i].dim[0]);
    char *dir = eq_sprintf("%.*s", (int)(strrchr(path, '/') - path), path);
    int64_t room = dir ? eq_disk_free(dir) : -1;
    eq_free(dir);
    if (room < 0 || room >= need) return EQ_OK;
    return eq_fail(err, EQ_EIO, "%s: expected room for %lld bytes, found %lld free", path,
                   (long long)need, (long long)room);
}

static eq_status run(gguf *g, const char *path, eq_err *err) {
    g->types = eq_calloc(g->cfg->L * EQ_LINS, sizeof *g->types);
    g->rope = eq_calloc(g->cfg->HD / 2, sizeof *g->rope);
    if (!g->types || !g->rope) return eq_nomem(err, "types of tensors", g->cfg->L * EQ_LINS * 4);
    if (!eq_gguf_rope_factors(g->rope, g->cfg)) eq_free(g->rope), g->rope = NULL;
    EQ_TRY(eq_gguf_choose(g->types, g->x, err));
    EQ_TRY(make_list(g, err));
    EQ_TRY(check_space(g, path, err));
    EQ_TRY(write_all(g, path, err));
    describe(g);
    return compare_all(g, path, err);
}

static eq_status write_gguf(eq_export_job *x, const char *path, eq_err *err) {
    EQ_TRY(eq_gguf_check_model(x, err));
    gguf g = {.x = x, .arch = eq_gguf_arch_of(&x->src->cfg), .cfg = &x->src->cfg, .at = -1};
    eq_status st = run(&g, path, err);
    eq_ggw_abort(g.out);
    eq_qblock_free(&g.b);
    eq_free(g.e), eq_free(g.types), eq_free(g.rope);
    return st;
}

/* Names of tensors, metadata, tokenizer: all that is written in front of the numbers. */
static eq_status ahead(eq_export_job *x, eq_err *err) {
    eq_ggw *w;
    EQ_TRY(eq_gguf_check_model(x, err));
    EQ_TRY(eq_gguf_choose_ahead(x, err));
    EQ_TRY(eq_ggw_new(&w, x->o->out ? x->o->out : "", err));
    eq_status st = eq_gguf_put_tokenizer(w, x, err);
    eq_ggw_abort(w);
    return st;
}

static const char *refuses(const eq_export_job *x, const eq_qlinear *q) {
    (void)x, (void)q; /* which type holds it is seen in its numbers */
    return NULL;
}

const eq_format eq_format_gguf = {
    .name = "gguf",
    .about = "llama.cpp, ollama, LM Studio: each tensor in the smallest type that is exact",
    .refuses = refuses,
    .write = write_gguf,
    .ahead = ahead,
    .file = true,
};

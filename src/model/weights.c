/* A model folder against its config: every tensor of the folder is put into the slot its name says,
 * then every slot is compared with what the config promises. So a tensor too many and a tensor too
 * few are both errors, and nothing is looked up twice. */
#include "model/weights.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/layouts.h"
#include "quant/pack.h"

/* ---- the tables
 * ---------------------------------------------------------------------------------- */

/* Where the files hold what is known as s otherwise. */
static void place_in_files(eq_lin_spec *s, const eq_config *c, eq_lin l) {
    s->file = s->name, s->rows = s->run = s->O;
    switch (c->files * EQ_LINS + l) {
#define EQ_CASE(files, id, name_, rows_, first_, run_, step_) \
    case EQ_FILES_##files *EQ_LINS + EQ_LIN_##id: \
        s->file = name_, s->rows = rows_, s->first = first_, s->run = run_, s->step = step_; \
        break;
        EQ_LINEARS_IN_FILES(EQ_CASE)
#undef EQ_CASE
    default:
        break;
    }
}

eq_lin_spec eq_lin_of(const eq_config *c, eq_lin l) {
    eq_lin_spec s = {0};
    switch (l) {
#define EQ_CASE(id, name_, O_, I_, bias_) \
    case EQ_LIN_##id: \
        s = (eq_lin_spec){.name = name_, .O = O_, .I = I_, .bias = bias_}; \
        break;
        EQ_LINEARS(EQ_CASE)
#undef EQ_CASE
    default:
        return s;
    }
    place_in_files(&s, c, l);
    return s;
}

static const char *norm_in_files(const eq_config *c, eq_norm n, const char *name) {
    switch (c->files * EQ_NORM_COUNT + n) {
#define EQ_CASE(files, id, name_) \
    case EQ_FILES_##files *EQ_NORM_COUNT + EQ_NORM_##id: \
        return name_;
        EQ_NORMS_IN_FILES(EQ_CASE)
#undef EQ_CASE
    default:
        return name;
    }
}

eq_norm_spec eq_norm_of(const eq_config *c, eq_norm n) {
    switch (n) {
#define EQ_CASE(id, name, length, exists) \
    case EQ_NORM_##id: \
        return (eq_norm_spec){norm_in_files(c, n, name), length, exists};
        EQ_NORMS(EQ_CASE)
#undef EQ_CASE
    default:
        return (eq_norm_spec){0};
    }
}

const char *eq_end_of(const eq_config *c, eq_end e) {
    static const char *const names[] = {
#define EQ_NAME(id, name) [EQ_END_##id] = name,
        EQ_ENDS(EQ_NAME)
#undef EQ_NAME
    };
    switch (c->files * EQ_END_COUNT + e) {
#define EQ_CASE(files, id, name) \
    case EQ_FILES_##files *EQ_END_COUNT + EQ_END_##id: \
        return name;
        EQ_ENDS_IN_FILES(EQ_CASE)
#undef EQ_CASE
    default:
        return names[e];
    }
}

/* ---- from a name to its slot ----------------------------------------------------------------- */

/* What may stand behind the name of a linear in any layout, and the array of eq_block_tensors it
 * goes to. */
static const struct part {
    const char *name;
    size_t at;
    bool state; /* lies in EQ_STATE_NAME */
} parts[] = {
    {"weight", offsetof(eq_block_tensors, weight), false},
    {"weight_scale_inv", offsetof(eq_block_tensors, scale8), false},
    {"bias", offsetof(eq_block_tensors, bias), false},
    {"eqat_s", offsetof(eq_block_tensors, state_s), true},
    {"eqat_z", offsetof(eq_block_tensors, state_z), true},
};
enum { PARTS = sizeof parts / sizeof *parts };

static const eq_tensor **slot_of(eq_block_tensors *b, size_t at, int lin) {
    return (const eq_tensor **)((char *)b + at) + lin;
}

/* The slot of what is called `rest` behind a linear's name; NULL: there is none. */
static const eq_tensor **find_slot(eq_block_tensors *b, eq_layout layout, const char *rest,
                                   bool state, int lin) {
    eq_layout_part q[EQ_LAYOUT_PARTS];
    for (int p = 0; p < PARTS; p++)
        if (parts[p].state == state && !strcmp(rest, parts[p].name))
            return slot_of(b, parts[p].at, lin);
    int n = state
                ? 0
                : eq_layout_of(layout)->parts(q, 32, 32, 1, 4); /* names do not depend on shapes */
    for (int p = 0; p < n; p++)
        if (!strcmp(rest, q[p].name)) return slot_of(b, q[p].slot, lin);
    return NULL;
}

/* "head" then '.': the rest behind the dot, else NULL. */
static const char *after(const char *s, const char *head) {
    size_t n = strlen(head);
    return !strncmp(s, head, n) && s[n] == '.' ? s + n + 1 : NULL;
}

/* `p` begins with a layer's number and a dot: the rest behind them, and the number; NULL: it does
 * not, or there is no such layer. */
static const char *behind_number(const char *s, int64_t L, int64_t *n) {
    *n = 0;
    if (*s < '0' || *s > '9' || (*s == '0' && s[1] != '.')) return NULL;
    while (*s >= '0' && *s <= '9' && *n < L) *n = *n * 10 + (*s++ - '0');
    return *s == '.' && *n < L ? s + 1 : NULL;
}

/* A tensor of a linear, into the slots of all linears that have rows of it. */
static bool put_linear(eq_weights *w, eq_block_tensors *b, const char *name, const eq_tensor *t,
                       bool state) {
    bool put = false;
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec spec = eq_lin_of(&w->cfg, (eq_lin)l);
        const char *rest = after(name, state ? spec.name : spec.file);
        const eq_tensor **slot = rest ? find_slot(b, w->cfg.layout, rest, state, l) : NULL;
        if (slot) *slot = t, put = true;
    }
    return put;
}

static bool put_norm(eq_weights *w, eq_block_tensors *b, const char *name, const eq_tensor *t) {
    for (int k = 0; k < EQ_NORM_COUNT; k++) {
        eq_norm_spec spec = eq_norm_of(&w->cfg, (eq_norm)k);
        const char *rest = spec.exists ? after(name, spec.name) : NULL;
        if (!rest) continue;
        bool bias = w->cfg.norm_center && !strcmp(rest, "bias");
        if (!bias && strcmp(rest, "weight")) return false;
        *(bias ? &b->norm_bias[k] : &b->norm[k]) = t;
        return true;
    }
    return false;
}

static bool put(eq_weights *w, const eq_tensor *t, bool state) {
    const char *rest = after(t->name, "model.layers");
    int64_t n;
    if (rest && (rest = behind_number(rest, w->cfg.L, &n)))
        return put_linear(w, &w->blocks[n], rest, t, state) ||
               (!state && put_norm(w, &w->blocks[n], rest, t));
    const eq_tensor **const ends[] = {[EQ_END_EMBED] = &w->embed,
                                      [EQ_END_NORM] = &w->norm,
                                      [EQ_END_NORM_BIAS] = &w->norm_bias,
                                      [EQ_END_HEAD] = &w->head};
    for (int e = 0; !state && e < EQ_END_COUNT; e++) {
        if (e == EQ_END_NORM_BIAS && !w->cfg.norm_center) continue;
        if (strcmp(t->name, eq_end_of(&w->cfg, (eq_end)e))) continue;
        *ends[e] = t;
        return true;
    }
    return false;
}

static eq_status sort_in(eq_weights *w, const eq_st *st, bool state, eq_err *err) {
    for (int64_t i = 0; i < eq_st_count(st); i++) {
        const eq_tensor *t = eq_st_at(st, i);
        /* buffers of old transformers: the frequencies of rope, which config.json gives */
        if (eq_ends_with(t->name, "rotary_emb.inv_freq") || put(w, t, state)) continue;
        return eq_fail(err, EQ_EINPUT,
                       "%s: tensor %s: expected only what a %s of %lld layers has (%s, %s, "
                       "model.layers.0. ...), found this one more",
                       t->file, t->name, w->cfg.family, (long long)w->cfg.L,
                       eq_end_of(&w->cfg, EQ_END_HEAD), eq_end_of(&w->cfg, EQ_END_NORM));
    }
    return EQ_OK;
}

/* ---- slots against the config ---------------------------------------------------------------- */

static const char *const kind_names[] = {[EQ_KIND_FLOAT] = "F32, F16 or BF16",
                                         [EQ_KIND_I32] = "I32",
                                         [EQ_KIND_F32] = "F32",
                                         [EQ_KIND_F8] = "F8_E4M3",
                                         [EQ_KIND_U32] = "U32",
                                         [EQ_KIND_U8] = "U8",
                                         [EQ_KIND_I64] = "I64"};

static bool is_kind(eq_dtype t, eq_kind k) {
    static const eq_dtype only[] = {
        [EQ_KIND_I32] = EQ_I32, [EQ_KIND_F32] = EQ_F32, [EQ_KIND_F8] = EQ_F8,
        [EQ_KIND_U32] = EQ_U32, [EQ_KIND_U8] = EQ_U8,   [EQ_KIND_I64] = EQ_I64};
    if (k == EQ_KIND_FLOAT) return t == EQ_F32 || t == EQ_F16 || t == EQ_BF16;
    return t == only[k];
}

static void shape_text(char *out, size_t size, int ndim, const int64_t *shape) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < ndim && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (n < size) snprintf(out + n, size - n, "]");
}

/* rows < 0: one dimension. `name` is where the tensor should have been. */
static eq_status check(const eq_tensor *t, eq_kind k, int64_t rows, int64_t cols, const char *dir,
                       const char *name, eq_err *err) {
    int64_t want[2] = {rows < 0 ? cols : rows, cols};
    int ndim = rows < 0 ? 1 : 2;
    char expected[64], found[256];
    shape_text(expected, sizeof expected, ndim, want);
    if (!t)
        return eq_fail(err, EQ_EINPUT, "%s: tensor %s: expected %s %s, found no such tensor", dir,
                       name, kind_names[k], expected);
    bool same = t->ndim == ndim && t->shape[0] == want[0] && (ndim == 1 || t->shape[1] == want[1]);
    if (same && is_kind(t->dt, k)) return EQ_OK;
    shape_text(found, sizeof found, t->ndim, t->shape);
    return eq_fail(err, EQ_EINPUT, "%s: tensor %s: expected %s %s, found %s %s", t->file, t->name,
                   kind_names[k], expected, eq_dtype_name(t->dt), found);
}

static eq_status must_lack(const eq_tensor *t, const char *why, eq_err *err) {
    if (!t) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: tensor %s: expected none (%s), found one", t->file, t->name,
                   why);
}

static bool all_zero(const eq_tensor *t) {
    const uint8_t *p = t->data;
    for (int64_t i = 0; i < t->bytes; i++)
        if (p[i]) return false;
    return true;
}

typedef struct {
    const eq_weights *w;
    eq_block_tensors *b;
    int64_t block;
    int l;
    eq_lin_spec spec;
} lin_at;

static eq_status check_part(const lin_at *a, const eq_tensor *t, const char *part, eq_kind k,
                            int64_t rows, int64_t cols, eq_err *err) {
    char name[128];
    snprintf(name, sizeof name, "model.layers.%lld.%s.%s", (long long)a->block,
             k == EQ_KIND_F32 ? a->spec.name : a->spec.file, part);
    return check(t, k, rows, cols, a->w->dir, name, err);
}

/* compressed-tensors says the shape once more. */
static eq_status check_shape(const eq_tensor *t, int64_t rows, int64_t cols, eq_err *err) {
    const int64_t *shape = t ? t->data : NULL;
    if (!t || (shape[0] == rows && shape[1] == cols)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: tensor %s: expected [%lld, %lld], found [%lld, %lld]",
                   t->file, t->name, (long long)rows, (long long)cols, (long long)shape[0],
                   (long long)shape[1]);
}

static eq_status check_quantized(const lin_at *a, eq_err *err) {
    const eq_config *c = &a->w->cfg;
    const eq_layout_spec *layout = eq_layout_of(c->layout);
    eq_block_tensors *b = a->b;
    int l = a->l;
    eq_scheme q = eq_scheme_at(&c->schemes, a->block, (eq_lin)l);
    int64_t O = a->spec.rows, I = a->spec.I, G = eq_group(q.group, I), NG = (I + G - 1) / G;
    const char *why = layout->refuses(O, I, G, q.bits);
    char says[64];
    eq_layout_part p[EQ_LAYOUT_PARTS];
    if (why)
        return eq_fail(err, EQ_EINPUT,
                       "%s: model.layers.%lld.%s: expected a shape that %d bits and groups of %lld "
                       "divide, found [%lld, %lld] (%s)",
                       a->w->dir, (long long)a->block, a->spec.file, q.bits, (long long)G,
                       (long long)O, (long long)I, why);
    snprintf(says, sizeof says, "the config says %s", layout->name);
    EQ_TRY(must_lack(b->weight[l], says, err));
    EQ_TRY(must_lack(b->scale8[l], "the config says no fp8", err));
    int n = layout->parts(p, O, I, NG, q.bits);
    for (int k = 0; k < n; k++)
        EQ_TRY(check_part(a, *slot_of(b, p[k].slot, l), p[k].name, p[k].kind, p[k].rows, p[k].cols,
                          err));
    EQ_TRY(check_shape(b->shape[l], O, I, err));
    if (!a->w->state) return EQ_OK;
    EQ_TRY(check_part(a, b->state_s[l], "eqat_s", EQ_KIND_F32, a->spec.O, NG, err));
    return check_part(a, b->state_z[l], "eqat_z", EQ_KIND_F32, a->spec.O, NG, err);
}

static eq_status check_plain(const lin_at *a, eq_err *err) {
    const char *why = "config.json has no quantization_config";
    EQ_TRY(must_lack(a->b->qweight[a->l], why, err));
    EQ_TRY(must_lack(a->b->qzeros[a->l], why, err));
    EQ_TRY(must_lack(a->b->scales[a->l], why, err));
    EQ_TRY(must_lack(a->b->g_idx[a->l], why, err));
    const int64_t *each = a->w->cfg.fp8, rows = a->spec.rows, I = a->spec.I;
    const eq_tensor *scale = a->b->scale8[a->l];
    if (!each[0]) EQ_TRY(must_lack(scale, why, err));
    if (!scale) return check_part(a, a->b->weight[a->l], "weight", EQ_KIND_FLOAT, rows, I, err);
    EQ_TRY(check_part(a, scale, "weight_scale_inv", EQ_KIND_FLOAT, (rows + each[0] - 1) / each[0],
                      (I + each[1] - 1) / each[1], err));
    EQ_TRY(eq_tensor_check_finite(scale, err));
    return check_part(a, a->b->weight[a->l], "weight", EQ_KIND_F8, rows, I, err);
}

static eq_status check_bias(const lin_at *a, eq_err *err) {
    const eq_tensor **bias = &a->b->bias[a->l];
    if (a->spec.bias) return check_part(a, *bias, "bias", EQ_KIND_FLOAT, -1, a->spec.rows, err);
    /* early GPTQ tools gave every linear a bias of zeros */
    if (*bias && eq_config_quantized(&a->w->cfg) && all_zero(*bias)) *bias = NULL;
    return must_lack(*bias, "config.json says no bias here", err);
}

static eq_status check_block(eq_weights *w, int64_t i, eq_err *err) {
    lin_at a = {w, &w->blocks[i], i, 0, {0}};
    for (int l = 0; l < EQ_LINS; l++) {
        a.l = l, a.spec = eq_lin_of(&w->cfg, (eq_lin)l);
        EQ_TRY(eq_config_quantized(&w->cfg) ? check_quantized(&a, err) : check_plain(&a, err));
        EQ_TRY(check_bias(&a, err));
    }
    for (int k = 0; k < EQ_NORM_COUNT; k++) {
        eq_norm_spec spec = eq_norm_of(&w->cfg, (eq_norm)k);
        char name[128];
        if (!spec.exists) continue;
        snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)i, spec.name);
        EQ_TRY(check(a.b->norm[k], EQ_KIND_FLOAT, -1, spec.n, w->dir, name, err));
        if (!w->cfg.norm_center) continue;
        snprintf(name, sizeof name, "model.layers.%lld.%s.bias", (long long)i, spec.name);
        EQ_TRY(check(a.b->norm_bias[k], EQ_KIND_FLOAT, -1, spec.n, w->dir, name, err));
    }
    return EQ_OK;
}

/* A tied matrix may be stored under either name, or under both if they agree. */
static eq_status check_ends(eq_weights *w, eq_err *err) {
    const eq_config *c = &w->cfg;
    if (c->tied && !w->embed) w->embed = w->head;
    if (c->tied && !w->head) w->head = w->embed;
    EQ_TRY(check(w->embed, EQ_KIND_FLOAT, c->V, c->D, w->dir, eq_end_of(c, EQ_END_EMBED), err));
    EQ_TRY(check(w->head, EQ_KIND_FLOAT, c->V, c->D, w->dir, eq_end_of(c, EQ_END_HEAD), err));
    EQ_TRY(check(w->norm, EQ_KIND_FLOAT, -1, c->D, w->dir, eq_end_of(c, EQ_END_NORM), err));
    if (c->norm_center)
        EQ_TRY(check(w->norm_bias, EQ_KIND_FLOAT, -1, c->D, w->dir, eq_end_of(c, EQ_END_NORM_BIAS),
                     err));
    if (!c->tied || w->embed == w->head) return EQ_OK;
    if (w->embed->dt != w->head->dt ||
        memcmp(w->embed->data, w->head->data, (size_t)w->embed->bytes))
        return eq_fail(err, EQ_EINPUT,
                       "%s: tensor %s: expected the bytes of %s (tie_word_embeddings), found "
                       "others",
                       w->head->file, w->head->name, w->embed->name);
    w->head = w->embed;
    return EQ_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static eq_status open_state(eq_weights *w, eq_err *err) {
    char *path = eq_path(w->dir, EQ_STATE_NAME);
    if (path && !eq_exists(path)) { /* up to version 0.1 */
        eq_free(path);
        path = eq_path(w->dir, "eqat.safetensors");
    }
    if (!path) return eq_nomem(err, "a path", (int64_t)strlen(w->dir));
    eq_status st = EQ_OK;
    if (eq_exists(path)) {
        st = eq_config_quantized(&w->cfg)
                 ? eq_st_open(&w->state, path, err)
                 : eq_fail(err, EQ_EINPUT,
                           "%s: expected none (config.json has no quantization_config), found one",
                           path);
    }
    eq_free(path);
    return st;
}

static bool has_prefix(const eq_st *st, const char *prefix) {
    for (int64_t i = 0; i < eq_st_count(st); i++)
        if (eq_starts_with(eq_st_at(st, i)->name, prefix)) return true;
    return false;
}

/* config.json as it is now: what is written at the end, and what the fingerprint is of. */
static eq_status keep_config(eq_weights *w, eq_err *err) {
    char *path = eq_path(w->dir, "config.json");
    if (!path) return eq_nomem(err, "a path", (int64_t)strlen(w->dir));
    eq_map m = {0};
    eq_status st = eq_map_open(&m, path, err);
    if (st == EQ_OK) eq_str_put(&w->config, m.data, m.size);
    if (w->config.oom) st = eq_nomem(err, path, m.size);
    eq_map_close(&m);
    eq_free(path);
    return st;
}

static eq_status fill(eq_weights *w, eq_err *err) {
    EQ_TRY(eq_st_open(&w->st, w->dir, err));
    /* Saved from the model without its head: transformers takes such names, too. */
    if (!has_prefix(w->st, "model."))
        EQ_TRY(eq_st_put_prefix(w->st, "model.", eq_end_of(&w->cfg, EQ_END_HEAD), err));
    EQ_TRY(open_state(w, err));
    EQ_TRY(sort_in(w, w->st, false, err));
    if (w->state) EQ_TRY(sort_in(w, w->state, true, err));
    EQ_TRY(check_ends(w, err));
    for (int64_t i = 0; i < w->cfg.L; i++) EQ_TRY(check_block(w, i, err));
    return EQ_OK;
}

static eq_status open_folder(eq_weights **out, const char *dir, bool tensors, eq_err *err) {
    *out = NULL;
    eq_weights *w = eq_calloc(1, sizeof *w);
    if (!w) return eq_nomem(err, "a model folder", sizeof *w);
    w->dir = eq_strdup(dir);
    eq_status st = w->dir ? eq_config_load(&w->cfg, dir, err) : eq_nomem(err, "a path", 4096);
    if (st == EQ_OK) st = keep_config(w, err);
    if (st == EQ_OK && !(w->blocks = eq_calloc(w->cfg.L, sizeof *w->blocks)))
        st = eq_nomem(err, "the table of tensors", w->cfg.L * (int64_t)sizeof *w->blocks);
    if (st == EQ_OK && tensors) st = fill(w, err);
    if (st == EQ_OK)
        *out = w;
    else
        eq_weights_close(w);
    return st;
}
eq_status eq_weights_open(eq_weights **out, const char *dir, eq_err *err) {
    return open_folder(out, dir, true, err);
}
eq_status eq_weights_shapes(eq_weights **out, const char *dir, eq_err *err) {
    return open_folder(out, dir, false, err);
}

void eq_weights_close(eq_weights *w) {
    if (!w) return;
    eq_st_close(w->st), eq_st_close(w->state);
    eq_str_free(&w->config);
    eq_config_free(&w->cfg);
    eq_free(w->blocks), eq_free(w->dir), eq_free(w);
}

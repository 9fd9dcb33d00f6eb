/* See export_folder.h. The list of tensors is made first, cut into files, then walked once, one
 * block in memory; the files are opened again and walked by the readers' side of the format. */
#include "export/export_folder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/observe.h"
#include "export/export_blocks.h"
#include "format/shards.h"
#include "model/checkpoint.h"

typedef struct {
    const eq_tensor *base; /* copied; NULL: a part of a linear */
    int64_t block;         /* -1: outside */
    int lin, part;
    char name[128]; /* "": base's */
    eq_dtype dt;
    int ndim;
    int64_t shape[EQ_MAX_DIMS], bytes;
    int file;
} entry;

typedef struct {
    eq_export_job *x;
    const char *dir;
    entry *e;
    int64_t n, cap, bytes, done;
    int files;
    eq_qblock b;
    int64_t at; /* the block that b is, -1: none */
    void *data[EQ_PARTS_MAX];
    eq_stw *out;
} folder;

static const char *name_of(const entry *e) { return e->base ? e->base->name : e->name; }

bool eq_export_uniform(const eq_weights *w, int *bits, int64_t *group) {
    eq_qlinear first = eq_export_shape(w, 0, (eq_lin)0);
    bool same = true, rows = true;
    for (int64_t i = 0; i < w->cfg.L; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            eq_qlinear q = eq_export_shape(w, i, (eq_lin)l);
            if (q.bits != first.bits) return false;
            same &= q.G == first.G, rows &= q.G == q.I;
        }
    *bits = first.bits, *group = rows ? -1 : first.G;
    return same || rows;
}

/* ---- the list -------------------------------------------------------------------------------- */

static eq_status add(folder *f, entry e, eq_err *err) {
    if (f->n == f->cap) {
        int64_t cap = f->cap ? 2 * f->cap : 256;
        entry *p = eq_realloc(f->e, cap, sizeof *p);
        if (!p) return eq_nomem(err, "the list of tensors", cap * (int64_t)sizeof *p);
        f->e = p, f->cap = cap;
    }
    e.bytes = eq_dtype_size(e.dt);
    for (int i = 0; i < e.ndim; i++) e.bytes *= e.shape[i];
    f->bytes += e.bytes;
    f->e[f->n++] = e;
    return EQ_OK;
}

static eq_status add_copy(folder *f, const eq_tensor *t, int64_t block, eq_err *err) {
    const eq_format *m = f->x->format;
    entry e = {
        .base = t, .block = block, .dt = m->others ? m->others(f->x) : t->dt, .ndim = t->ndim};
    memcpy(e.shape, t->shape, sizeof e.shape);
    return add(f, e, err);
}

static eq_status add_linear(folder *f, int64_t block, int l, eq_err *err) {
    if (!eq_export_leads(&f->x->src->cfg, (eq_lin)l)) return EQ_OK;
    eq_qlinear q = eq_export_shape(f->x->src, block, (eq_lin)l);
    eq_part p[EQ_PARTS_MAX];
    char head[96];
    int n = f->x->format->parts(f->x, p, &q);
    eq_export_name(head, f->x->src, block, (eq_lin)l);
    for (int i = 0; i < n; i++) {
        entry e = {.block = block, .lin = l, .part = i, .dt = p[i].dt, .ndim = p[i].ndim};
        memcpy(e.shape, p[i].shape, sizeof p[i].shape);
        snprintf(e.name, sizeof e.name, "%s.%s", head, p[i].name);
        EQ_TRY(add(f, e, err));
    }
    const eq_tensor *bias = f->x->src->blocks[block].bias[l];
    return bias ? add_copy(f, bias, block, err) : EQ_OK;
}

static eq_status make_list(folder *f, eq_err *err) {
    const eq_weights *w = f->x->src;
    for (int64_t i = 0; i < eq_st_count(w->st); i++) {
        const eq_tensor *t = eq_st_at(w->st, i);
        if (eq_starts_with(t->name, "model.layers.") || eq_ends_with(t->name, "inv_freq")) continue;
        EQ_TRY(add_copy(f, t, -1, err));
    }
    for (int64_t i = 0; i < w->cfg.L; i++) {
        for (int l = 0; l < EQ_LINS; l++) EQ_TRY(add_linear(f, i, l, err));
        for (int k = 0; k < EQ_NORM_COUNT; k++)
            if (w->blocks[i].norm[k]) EQ_TRY(add_copy(f, w->blocks[i].norm[k], i, err));
        for (int k = 0; k < EQ_NORM_COUNT; k++)
            if (w->blocks[i].norm_bias[k]) EQ_TRY(add_copy(f, w->blocks[i].norm_bias[k], i, err));
    }
    int64_t in_file = 0;
    f->files = 1;
    for (int64_t i = 0; i < f->n; i++) {
        if (in_file && in_file + f->e[i].bytes > 5000000000) f->files++, in_file = 0;
        f->e[i].file = f->files - 1;
        in_file += f->e[i].bytes;
    }
    return EQ_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static eq_status get_block(folder *f, int64_t block, eq_err *err) {
    if (f->at == block) return EQ_OK;
    if (eq_stopped(f->x->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
    f->at = -1;
    EQ_TRY(eq_export_block(&f->b, f->x->src, block, f->x->format->real_zeros, err));
    f->at = block;
    return EQ_OK;
}

static void drop_parts(folder *f) {
    for (int i = 0; i < EQ_PARTS_MAX; i++) eq_free(f->data[i]), f->data[i] = NULL;
}

/* All parts of one tensor's linears; e is the first of them. */
static eq_status pack_joined(folder *f, const entry *e, eq_qlinear *q, eq_err *err) {
    char name[96];
    eq_part p[EQ_PARTS_MAX];
    int n = f->x->format->parts(f->x, p, q);
    for (int i = 0; i < n; i++) {
        f->data[i] = eq_calloc(e[i].bytes, 1);
        if (!f->data[i]) return eq_nomem(err, "packing a linear", e[i].bytes);
    }
    eq_export_name(name, f->x->src, e->block, (eq_lin)e->lin);
    eq_packing at = {name, q, f->x};
    return f->x->format->pack(&at, f->data, err);
}

static eq_status pack_linear(folder *f, const entry *e, eq_err *err) {
    eq_qlinear q;
    EQ_TRY(get_block(f, e->block, err));
    drop_parts(f);
    EQ_TRY(eq_export_join(&q, &f->b, &f->x->src->cfg, (eq_lin)e->lin, err));
    eq_status st = pack_joined(f, e, &q, err);
    eq_export_join_free(&q, &f->b, (eq_lin)e->lin);
    return st;
}

/* Same type: the bytes. Else what the type does not hold is named, or rounded under lossy. */
static eq_status put_copy(folder *f, const entry *e, eq_err *err) {
    const eq_tensor *t = e->base;
    enum { PIECE = 1 << 12 };
    float wide[PIECE], again[PIECE];
    uint64_t out[PIECE];
    if (e->dt == t->dt) return eq_stw_put(f->out, t->data, t->bytes, err);
    for (int64_t i = 0; i < t->n; i += PIECE) {
        int64_t n = t->n - i < PIECE ? t->n - i : PIECE;
        eq_convert(wide, EQ_F32, (const char *)t->data + i * eq_dtype_size(t->dt), t->dt, n);
        eq_convert(out, e->dt, wide, EQ_F32, n);
        eq_convert(again, EQ_F32, out, e->dt, n);
        for (int64_t k = 0; k < n; k++)
            if (!isfinite(again[k]) || (!f->x->o->lossy && again[k] != wide[k]))
                return eq_fail(err, EQ_EINPUT,
                               "%s: expected numbers that %s holds, found %.9g at element %lld "
                               "(--lossy rounds)",
                               t->name, eq_dtype_name(e->dt), (double)wide[k], (long long)(i + k));
        EQ_TRY(eq_stw_put(f->out, out, n * eq_dtype_size(e->dt), err));
    }
    return EQ_OK;
}

static void say(folder *f, const entry *e, const char *part) {
    f->done += e->bytes;
    eq_progress p = {.phase = "export",
                     .part = part,
                     .block = e->block < 0 ? 0 : e->block,
                     .blocks = f->x->src->cfg.L,
                     .done = f->done,
                     .total = 2 * f->bytes,
                     .loss = NAN};
    eq_progress_say(f->x->obs, &p);
}

static eq_status write_file(folder *f, const entry *e, int64_t n, eq_err *err) {
    EQ_TRY(eq_shard_new(&f->out, f->dir, e->file, f->files, err));
    for (int64_t i = 0; i < n; i++)
        EQ_TRY(eq_stw_tensor(f->out, name_of(&e[i]), e[i].dt, e[i].ndim, e[i].shape, err));
    EQ_TRY(eq_stw_begin(f->out, err));
    for (int64_t i = 0; i < n; i++) {
        if (!e[i].base && e[i].part == 0) EQ_TRY(pack_linear(f, &e[i], err));
        EQ_TRY(e[i].base ? put_copy(f, &e[i], err)
                         : eq_stw_put(f->out, f->data[e[i].part], e[i].bytes, err));
        if (e[i].base) eq_st_drop(f->x->src->st, e[i].base);
        say(f, &e[i], NULL);
    }
    eq_status st = eq_stw_end(f->out, err);
    f->out = NULL;
    return st;
}

static eq_status write_index(folder *f, eq_err *err) {
    if (f->files == 1) return EQ_OK;
    json_t *map = json_object();
    for (int64_t i = 0; i < f->n; i++) {
        char name[64];
        eq_shard_name(name, f->e[i].file, f->files);
        json_object_set_new(map, name_of(&f->e[i]), json_string(name));
    }
    return eq_shard_index(map, f->bytes, f->dir, err);
}

static eq_status write_config(folder *f, eq_err *err) {
    json_t *root = NULL;
    const eq_str *text = &f->x->src->config;
    EQ_TRY(eq_json_parse(&root, text->p, text->n, "config.json", err));
    json_object_del(root, "quantization_config");
    eq_status st = f->x->format->config(f->x, root, err);
    if (st == EQ_OK) st = eq_json_write(root, f->dir, "config.json", err);
    const json_t *q = json_object_get(root, "quantization_config");
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    if (st == EQ_OK && method && !strcmp(method, "gptq"))
        st = eq_json_write(q, f->dir, "quantize_config.json", err);
    json_decref(root);
    return st;
}

static eq_status check_space(const folder *f, eq_err *err) {
    int64_t room = eq_disk_free(f->dir);
    if (room < 0 || room >= f->bytes) return EQ_OK;
    return eq_fail(err, EQ_EIO, "%s: expected room for %lld bytes, found %lld free", f->dir,
                   (long long)f->bytes, (long long)room);
}

static eq_status write_all(folder *f, eq_err *err) {
    EQ_TRY(make_list(f, err));
    EQ_TRY(check_space(f, err));
    EQ_TRY(eq_checkpoint_copy_side_files(f->x->src->dir, f->dir, err));
    EQ_TRY(write_config(f, err));
    for (int64_t from = 0, to; from < f->n; from = to) {
        for (to = from; to < f->n && f->e[to].file == f->e[from].file; to++) {
        }
        EQ_TRY(write_file(f, f->e + from, to - from, err));
    }
    return write_index(f, err);
}

/* ---- reading back ---------------------------------------------------------------------------- */

typedef struct {
    const eq_format *format;
    const eq_tensor *t[EQ_PARTS_MAX];
    eq_qlinear shape;
} linear_in_file;

static void rows_in_file(const void *ctx, float *out, int64_t o, int64_t n) {
    const linear_in_file *r = ctx;
    r->format->values(out, r->t, &r->shape, o, n);
}

static eq_status compare_linear(folder *f, const eq_st *st, const entry *e, eq_err *err) {
    char name[96];
    linear_in_file r = {.format = f->x->format,
                        .shape = eq_export_shape(f->x->src, e->block, (eq_lin)e->lin)};
    eq_part p[EQ_PARTS_MAX];
    int n = r.format->parts(f->x, p, &r.shape);
    EQ_TRY(get_block(f, e->block, err));
    eq_export_name(name, f->x->src, e->block, (eq_lin)e->lin);
    for (int i = 0; i < n; i++) {
        const eq_tensor *t = r.t[i] = eq_st_find(st, e[i].name);
        bool same = t && t->dt == p[i].dt && t->ndim == p[i].ndim && t->shape[0] == p[i].shape[0] &&
                    (t->ndim < 2 || t->shape[1] == p[i].shape[1]);
        if (!same)
            return eq_fail(err, EQ_EINPUT, "%s: %s: read back, it is not there as written", f->dir,
                           e[i].name);
    }
    eq_qlinear q;
    EQ_TRY(eq_export_join(&q, &f->b, &f->x->src->cfg, (eq_lin)e->lin, err));
    eq_rows was = {eq_qlinear_rows, &q}, is = {rows_in_file, &r};
    eq_status s = eq_compare_rows(f->x, name, r.shape.O, r.shape.I, was, is, f->x->o->lossy, err);
    eq_export_join_free(&q, &f->b, (eq_lin)e->lin);
    for (int i = 0; i < n; i++) eq_st_drop(st, r.t[i]);
    return s;
}

static eq_status compare_copy(folder *f, const entry *e, const eq_tensor *t, eq_err *err) {
    if (t && t->dt == e->dt && e->dt == e->base->dt && t->bytes == e->base->bytes &&
        !memcmp(t->data, e->base->data, (size_t)t->bytes))
        return EQ_OK;
    if (!t || t->dt != e->dt || e->dt == e->base->dt || t->n != e->base->n)
        return eq_fail(err, EQ_EINPUT, "%s: %s: read back, it differs", f->dir, name_of(e));
    int64_t I = t->shape[t->ndim - 1];
    eq_rows was = {eq_tensor_rows, e->base}, is = {eq_tensor_rows, t};
    return eq_compare_rows(f->x, name_of(e), t->n / I, I, was, is, f->x->o->lossy, err);
}

static eq_status copy_in_file(folder *f, const eq_st *st, const entry *e, eq_err *err) {
    const eq_tensor *t = eq_st_find(st, name_of(e));
    eq_status s = compare_copy(f, e, t, err);
    if (t) eq_st_drop(st, t);
    eq_st_drop(f->x->src->st, e->base);
    return s;
}

static eq_status compare_all(folder *f, eq_err *err) {
    eq_st *st;
    eq_status s = EQ_OK;
    f->at = -1; /* packing may have changed what is in memory */
    EQ_TRY(eq_st_open(&st, f->dir, err));
    if (eq_st_count(st) != f->n)
        s = eq_fail(err, EQ_EINPUT, "%s: read back, %lld tensors are there, expected %lld", f->dir,
                    (long long)eq_st_count(st), (long long)f->n);
    for (int64_t i = 0; i < f->n && s == EQ_OK; i++) {
        const entry *e = &f->e[i];
        if (e->base)
            s = copy_in_file(f, st, e, err);
        else if (e->part == 0)
            s = compare_linear(f, st, e, err);
        say(f, e, "comparing");
    }
    eq_st_close(st);
    return s;
}

eq_status eq_export_folder(eq_export_job *x, const char *dir, eq_err *err) {
    folder f = {.x = x, .dir = dir, .at = -1};
    eq_status st = write_all(&f, err);
    if (st == EQ_OK) st = compare_all(&f, err);
    x->bytes = f.bytes;
    eq_stw_abort(f.out);
    drop_parts(&f);
    eq_qblock_free(&f.b);
    eq_free(f.e);
    return st;
}

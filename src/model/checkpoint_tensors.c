/* The tensor files of a checkpoint (FORMATS, "GPTQ" and "The project's own checkpoint"). The list
 * of everything that will be written is made first, cut into files, then walked once, one block in
 * memory at a time. Invariant: sizes are declared before the first byte, so nothing but the bytes
 * of a block is asked of the source while writing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "format/shards.h"
#include "model/checkpoint_parts.h"
#include "model/schemes.h"
#include "quant/number.h"
#include "quant/pack.h"

typedef enum { COPY, NORM, QWEIGHT, QZEROS, SCALES, G_IDX } entry_kind;
static const char *const part_names[] = {
    [QWEIGHT] = "qweight", [QZEROS] = "qzeros", [SCALES] = "scales", [G_IDX] = "g_idx"};

typedef struct {
    entry_kind kind;
    const eq_tensor *base; /* COPY: the bytes; NORM: the name */
    char made[64];         /* a name that base does not have; "": base's */
    int64_t block;
    int at; /* linear (the first, where several are joined) or norm */
    eq_dtype dt;
    int ndim;
    int64_t shape[EQ_MAX_DIMS], bytes;
    int file;
} entry;

typedef struct {
    const eq_checkpoint *c;
    const eq_config *cfg;
    const char *dir;
    const eq_observer *obs;
    entry *e;
    int64_t n, cap;
    int files;
    int64_t bytes;      /* of all entries */
    bool *norm_changed; /* [L, EQ_NORM_COUNT] */
    eq_digest *sums;
    const eq_qblock *b; /* block `at`, -1: none yet */
    int64_t at, summed, done;
    eq_layout layout;
    int32_t *qweight, *qzeros, *g_idx; /* GPTQ only */
    uint32_t *rows;            /* of a tensor that linears are joined to, before its columns */
    const void *codes, *zeros; /* of the tensor under way, as they are written */
    uint16_t *scales;
    uint8_t *z;
    eq_stw *out, *state;
    double pack_seconds;
    int64_t pack_bytes;
    bool wrong_guess; /* a norm differs from the base's and its flag says it does not */
} writer;

static const char *name_of(const entry *e) { return *e->made ? e->made : e->base->name; }

/* ---- the list -------------------------------------------------------------------------------- */

static eq_status add(writer *w, entry e, eq_err *err) {
    if (w->n == w->cap) {
        int64_t cap = w->cap ? 2 * w->cap : 256;
        entry *p = eq_realloc(w->e, cap, sizeof *p);
        if (!p) return eq_nomem(err, "the list of tensors", cap * (int64_t)sizeof *p);
        w->e = p, w->cap = cap;
    }
    e.bytes = eq_dtype_size(e.dt);
    for (int i = 0; i < e.ndim; i++) e.bytes *= e.shape[i];
    w->e[w->n++] = e;
    w->bytes += e.bytes;
    return EQ_OK;
}

static eq_status add_copy(writer *w, const eq_tensor *t, int64_t block, eq_err *err) {
    entry e = {.kind = COPY, .base = t, .block = block, .dt = t->dt, .ndim = t->ndim};
    memcpy(e.shape, t->shape, sizeof e.shape);
    return add(w, e, err);
}

static eq_status add_part(writer *w, int64_t block, int l, entry_kind k, eq_dtype dt, int64_t rows,
                          int64_t cols, eq_err *err) {
    entry e = {.kind = k, .block = block, .at = l, .dt = dt, .ndim = rows < 0 ? 1 : 2};
    e.shape[0] = rows < 0 ? cols : rows, e.shape[1] = cols;
    snprintf(e.made, sizeof e.made, "model.layers.%lld.%s.%s", (long long)block,
             eq_lin_of(w->cfg, (eq_lin)l).file, part_names[k]);
    return add(w, e, err);
}

static eq_status add_linear(writer *w, int64_t i, int l, eq_err *err) {
    eq_lin_spec s = eq_lin_of(w->cfg, (eq_lin)l);
    eq_scheme q = eq_scheme_at(&w->c->schemes, i, (eq_lin)l);
    int64_t NG = s.I / eq_group(q.group, s.I), words = eq_pack_words(s.I, q.bits);
    if (s.first) return EQ_OK; /* goes with the first of its tensor */
    if (w->layout == EQ_LAYOUT_ROWS) {
        EQ_TRY(add_part(w, i, l, QWEIGHT, EQ_U32, s.rows, words, err));
        EQ_TRY(add_part(w, i, l, QZEROS, EQ_U8, s.rows, NG, err));
        EQ_TRY(add_part(w, i, l, SCALES, EQ_F16, s.rows, NG, err));
    } else {
        EQ_TRY(add_part(w, i, l, QWEIGHT, EQ_I32, words, s.rows, err));
        EQ_TRY(add_part(w, i, l, QZEROS, EQ_I32, NG, s.rows * q.bits / 32, err));
        EQ_TRY(add_part(w, i, l, SCALES, EQ_F16, NG, s.rows, err));
        EQ_TRY(add_part(w, i, l, G_IDX, EQ_I32, -1, s.I, err));
    }
    const eq_tensor *bias = w->c->base->blocks[i].bias[l];
    return bias ? add_copy(w, bias, i, err) : EQ_OK;
}

static eq_status add_norm(writer *w, int64_t i, int k, eq_err *err) {
    const eq_tensor *t = w->c->base->blocks[i].norm[k];
    bool changed = w->norm_changed[i * EQ_NORM_COUNT + k];
    entry e = {.kind = NORM, .base = t, .block = i, .at = k, .ndim = 1, .shape = {t->n}};
    e.dt = changed ? EQ_F32 : t->dt;
    EQ_TRY(add(w, e, err));
    const eq_tensor *bias = w->c->base->blocks[i].norm_bias[k];
    return bias ? add_copy(w, bias, i, err) : EQ_OK;
}

/* A tied matrix is written once, under the name that readers of tied models ask for. */
static eq_status add_outside(writer *w, const eq_tensor *t, eq_err *err) {
    const char *embed = eq_end_of(w->cfg, EQ_END_EMBED), *head = eq_end_of(w->cfg, EQ_END_HEAD);
    if (w->cfg->tied && t != w->c->base->embed && !strcmp(t->name, head)) return EQ_OK;
    EQ_TRY(add_copy(w, t, -1, err));
    entry *e = &w->e[w->n - 1];
    if (w->cfg->tied && t == w->c->base->embed) snprintf(e->made, sizeof e->made, "%s", embed);
    return EQ_OK;
}

/* In front of the blocks whatever base has outside of them. */
static eq_status make_list(writer *w, eq_err *err) {
    const eq_st *st = w->c->base->st;
    w->n = 0, w->bytes = 0;
    for (int64_t i = 0; i < eq_st_count(st); i++) {
        const eq_tensor *t = eq_st_at(st, i);
        if (eq_starts_with(t->name, "model.layers.") || eq_ends_with(t->name, "inv_freq")) continue;
        EQ_TRY(add_outside(w, t, err));
    }
    for (int64_t i = 0; i < w->cfg->L; i++) {
        for (int l = 0; l < EQ_LINS; l++) EQ_TRY(add_linear(w, i, l, err));
        for (int k = 0; k < EQ_NORM_COUNT; k++)
            if (eq_norm_of(w->cfg, (eq_norm)k).exists) EQ_TRY(add_norm(w, i, k, err));
    }
    int64_t limit = w->c->shard_bytes > 0 ? w->c->shard_bytes : 5000000000, in_file = 0;
    w->files = 1;
    for (int64_t i = 0; i < w->n; i++) {
        if (in_file && in_file + w->e[i].bytes > limit) w->files++, in_file = 0;
        w->e[i].file = w->files - 1;
        in_file += w->e[i].bytes;
    }
    return EQ_OK;
}

/* ---- norms: trained or as they were ---------------------------------------------------------- */

static bool norm_differs(const writer *w, const eq_qblock *b, int64_t i, int k) {
    const eq_tensor *t = w->c->base->blocks[i].norm[k];
    for (int64_t j = 0; t && j < t->n; j++)
        if (eq_f32_bits(b->norm[k][j]) != eq_f32_bits(eq_load(t->data, t->dt, j))) return true;
    return false;
}

/* Asking the source costs as much as making the block. */
static eq_status get_block(writer *w, int64_t i, eq_err *err) {
    if (w->at == i) return EQ_OK;
    w->at = -1;
    EQ_TRY(w->c->source(w->c->ctx, i, &w->b, err));
    w->at = i;
    return EQ_OK;
}

/* Fills norm_changed for blocks [from, to); true when any norm differs. */
static eq_status look_at_norms(writer *w, int64_t from, int64_t to, bool *any, eq_err *err) {
    *any = false;
    for (int64_t i = from; i < to; i++) {
        EQ_TRY(get_block(w, i, err));
        for (int k = 0; k < EQ_NORM_COUNT; k++)
            *any |= w->norm_changed[i * EQ_NORM_COUNT + k] = norm_differs(w, w->b, i, k);
    }
    return EQ_OK;
}

/* ---- one linear ------------------------------------------------------------------------------ */

enum { TILE = 64 }; /* outputs an item converts */
typedef struct {
    const eq_qlinear *q;
    const eq_lin_spec *spec; /* which rows of the tensor they are */
    const char *name;
    uint16_t *scales;
    uint8_t *z;
    bool turned;
} group_job;

/* s [O, NG] -> scales [NG, O] (turned) or [O, NG] as fp16; z rounded and clamped as equation (1)
 * uses it. */
static eq_status convert_groups(void *ctx, int64_t item, eq_err *err) {
    const group_job *j = ctx;
    const eq_qlinear *q = j->q;
    int64_t NG = q->I / q->G, o0 = item * TILE, o1 = o0 + TILE < q->O ? o0 + TILE : q->O;
    for (int64_t i = o0 * NG; i < o1 * NG; i++) {
        if (!(fabsf(q->s[i]) < 65520.0f) || !isfinite(q->z[i]))
            return eq_fail(
                err, EQ_EINPUT,
                "%s: expected steps that fp16 holds and finite zero points, found %g and "
                "%g at element %lld",
                j->name, (double)q->s[i], (double)q->z[i], (long long)i);
        j->z[eq_lin_row(j->spec, i / NG) * NG + i % NG] =
            (uint8_t)eq_z_used(q->z[i], q->bits, q->grid);
    }
    for (int64_t g = 0; g < NG; g++)
        for (int64_t o = o0; o < o1; o++) {
            int64_t row = eq_lin_row(j->spec, o);
            j->scales[j->turned ? g * j->spec->rows + row : row * NG + g] =
                eq_f32_to_f16(q->s[o * NG + g]);
        }
    return EQ_OK;
}

/* One linear's part of what its tensor holds; the codes only where it is one of several. */
static eq_status put_part(writer *w, const entry *e, eq_lin l, const eq_lin_spec *s, eq_err *err) {
    const eq_qlinear *q = &w->b->lin[l];
    eq_scheme want = eq_scheme_at(&w->c->schemes, e->block, l);
    int64_t NG = q->I / q->G, words = eq_pack_words(q->I, q->bits);
    if (q->O != s->O || q->I != s->I || q->bits != want.bits || q->grid != want.grid ||
        q->G != eq_group(want.group, s->I))
        return eq_fail(err, EQ_EINPUT, "%s: expected [%lld, %lld] at %d bits, found another linear",
                       e->made, (long long)s->O, (long long)s->I, want.bits);
    group_job j = {q, s, e->made, w->scales, w->z, w->layout != EQ_LAYOUT_ROWS};
    EQ_TRY(eq_par_try((q->O + TILE - 1) / TILE, convert_groups, &j, err));
    for (int64_t o = 0; eq_lin_joined(s) && o < q->O; o++)
        memcpy(w->rows + eq_lin_row(s, o) * words, q->rows + o * words,
               (size_t)words * sizeof *w->rows);
    EQ_TRY(eq_stw_put(w->state, q->s, q->O * NG * 4, err));
    return eq_stw_put(w->state, q->z, q->O * NG * 4, err);
}

static eq_status pack_linear(writer *w, const entry *e, eq_err *err) {
    eq_lin_spec s = eq_lin_of(w->cfg, (eq_lin)e->at);
    const eq_qlinear *q = &w->b->lin[e->at];
    int64_t NG = q->I / q->G;
    double t = eq_now();
    for (eq_lin l = (eq_lin)e->at; l < EQ_LINS; l++) {
        eq_lin_spec part = eq_lin_of(w->cfg, l);
        if (!strcmp(part.file, s.file)) EQ_TRY(put_part(w, e, l, &part, err));
    }
    const uint32_t *rows = eq_lin_joined(&s) ? w->rows : q->rows;
    if (w->layout == EQ_LAYOUT_GPTQ_V2) {
        eq_gptq_from_rows(w->qweight, rows, s.rows, q->I, q->bits);
        eq_gptq_zeros(w->qzeros, w->z, s.rows, NG, q->bits);
        for (int64_t i = 0; i < q->I; i++) w->g_idx[i] = (int32_t)(i / q->G);
    }
    w->codes = w->layout == EQ_LAYOUT_ROWS ? (const void *)rows : w->qweight;
    w->zeros = w->layout == EQ_LAYOUT_ROWS ? (const void *)w->z : w->qzeros;
    w->pack_seconds += eq_now() - t;
    w->pack_bytes += s.rows * eq_pack_words(q->I, q->bits) * 4 + s.rows * NG * 8;
    return EQ_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static eq_status next_block(writer *w, int64_t i, eq_err *err) {
    if (eq_stopped(w->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
    EQ_TRY(get_block(w, i, err));
    w->summed = i;
    return eq_checkpoint_sum(w->b, w->cfg, &w->sums[i], err);
}

static eq_status put_norm(writer *w, const entry *e, eq_err *err) {
    bool changed = w->norm_changed[e->block * EQ_NORM_COUNT + e->at];
    if (changed) return eq_stw_put(w->out, w->b->norm[e->at], e->bytes, err);
    if (!norm_differs(w, w->b, e->block, e->at))
        return eq_stw_put(w->out, e->base->data, e->bytes, err);
    w->wrong_guess = true;
    return eq_fail(err, EQ_EINPUT, "%s: expected the base model's norm, found another",
                   e->base->name);
}

static eq_status put_entry(writer *w, const entry *e, eq_err *err) {
    if (e->block > w->summed) EQ_TRY(next_block(w, e->block, err));
    switch (e->kind) {
    case COPY:
        return eq_stw_put(w->out, e->base->data, e->bytes, err);
    case NORM:
        return put_norm(w, e, err);
    case QWEIGHT:
        EQ_TRY(pack_linear(w, e, err));
        return eq_stw_put(w->out, w->codes, e->bytes, err);
    case QZEROS:
        return eq_stw_put(w->out, w->zeros, e->bytes, err);
    case SCALES:
        return eq_stw_put(w->out, w->scales, e->bytes, err);
    default:
        return eq_stw_put(w->out, w->g_idx, e->bytes, err);
    }
}

static eq_status write_file(writer *w, int file, const entry *e, int64_t n, eq_err *err) {
    EQ_TRY(eq_shard_new(&w->out, w->dir, file, w->files, err));
    for (int64_t i = 0; i < n; i++)
        EQ_TRY(eq_stw_tensor(w->out, name_of(&e[i]), e[i].dt, e[i].ndim, e[i].shape, err));
    EQ_TRY(eq_stw_begin(w->out, err));
    for (int64_t i = 0; i < n; i++) {
        EQ_TRY(put_entry(w, &e[i], err));
        w->done += e[i].bytes;
        eq_progress p = {.phase = "write",
                         .block = e[i].block < 0 ? 0 : e[i].block,
                         .blocks = w->cfg->L,
                         .done = w->done,
                         .total = w->bytes,
                         .loss = NAN};
        eq_progress_say(w->obs, &p);
    }
    eq_status st = eq_stw_end(w->out, err);
    w->out = NULL;
    return st;
}

static eq_status write_index(const writer *w, eq_err *err) {
    if (w->files == 1) return EQ_OK;
    json_t *map = json_object();
    for (int64_t i = 0; i < w->n; i++) {
        char name[64];
        eq_shard_name(name, w->e[i].file, w->files);
        json_object_set_new(map, name_of(&w->e[i]), json_string(name));
    }
    return eq_shard_index(map, w->bytes, w->dir, err);
}

static eq_status declare_state(writer *w, eq_err *err) {
    for (int64_t i = 0; i < w->cfg->L; i++)
        for (int l = 0; l < 2 * EQ_LINS; l++) {
            eq_lin_spec s = eq_lin_of(w->cfg, (eq_lin)(l / 2));
            int64_t group = eq_scheme_at(&w->c->schemes, i, (eq_lin)(l / 2)).group;
            int64_t shape[2] = {s.O, s.I / eq_group(group, s.I)};
            char name[64];
            snprintf(name, sizeof name, "model.layers.%lld.%s.%s", (long long)i, s.name,
                     l % 2 ? "eqat_z" : "eqat_s");
            EQ_TRY(eq_stw_tensor(w->state, name, EQ_F32, 2, shape, err));
        }
    return EQ_OK;
}

static eq_status put_count(eq_stw *w, const char *key, int64_t n, eq_err *err) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)n);
    return eq_stw_meta(w, key, text, err);
}

static eq_status begin_state(writer *w, eq_err *err) {
    char *path = eq_path(w->dir, EQ_STATE_NAME);
    if (!path) return eq_nomem(err, "a path", 256);
    eq_status st = eq_stw_new(&w->state, path, err);
    eq_free(path);
    if (st != EQ_OK) return st;
    EQ_TRY(eq_stw_meta(w->state, "recipe", w->c->recipe ? w->c->recipe : "{}", err));
    EQ_TRY(eq_stw_meta(w->state, "version", EQ_VERSION, err));
    EQ_TRY(put_count(w->state, "rollbacks", w->c->rollbacks, err));
    EQ_TRY(put_count(w->state, "blocks_untrained", w->c->untrained, err));
    EQ_TRY(declare_state(w, err));
    return eq_stw_begin(w->state, err);
}

static eq_status write_all(writer *w, eq_err *err) {
    w->summed = -1, w->done = 0, w->wrong_guess = false;
    EQ_TRY(begin_state(w, err));
    for (int64_t from = 0, to; from < w->n; from = to) {
        for (to = from; to < w->n && w->e[to].file == w->e[from].file; to++) {
        }
        EQ_TRY(write_file(w, w->e[from].file, w->e + from, to - from, err));
    }
    eq_stw *state = w->state;
    w->state = NULL;
    EQ_TRY(eq_stw_end(state, err));
    return write_index(w, err);
}

static void drop_open(writer *w) {
    eq_stw_abort(w->out), eq_stw_abort(w->state);
    w->out = w->state = NULL;
}

/* Another cut into files would leave the old ones behind. */
static eq_status drop_written(writer *w, eq_err *err) {
    drop_open(w);
    for (int f = 0; f < w->files; f++) {
        char name[64];
        eq_shard_name(name, f, w->files);
        char *path = eq_path(w->dir, name);
        if (!path) return eq_nomem(err, "a path", 256);
        eq_status st = eq_remove_tree(path, err);
        eq_free(path);
        if (st != EQ_OK) return st;
    }
    return EQ_OK;
}

static eq_status alloc(writer *w, eq_err *err) {
    int64_t words = 0, joined = 1, zwords = 0, groups = 0, I = 0;
    for (int64_t k = 0; k < w->cfg->L * EQ_LINS; k++) {
        eq_lin_spec s = eq_lin_of(w->cfg, (eq_lin)(k % EQ_LINS));
        eq_scheme q = eq_scheme_at(&w->c->schemes, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
        int64_t NG = s.I / eq_group(q.group, s.I), n = s.rows * eq_pack_words(s.I, q.bits);
        if (n > words) words = n;
        if (eq_lin_joined(&s) && n > joined) joined = n;
        if (s.rows * NG > groups) groups = s.rows * NG;
        if (NG * s.rows * q.bits / 32 > zwords) zwords = NG * s.rows * q.bits / 32;
        if (s.I > I) I = s.I;
    }
    w->rows = eq_calloc(joined, sizeof *w->rows);
    w->qweight = eq_calloc(words, sizeof *w->qweight);
    w->qzeros = eq_calloc(zwords, sizeof *w->qzeros);
    w->g_idx = eq_calloc(I, sizeof *w->g_idx);
    w->scales = eq_calloc(groups, sizeof *w->scales);
    w->z = eq_calloc(groups, sizeof *w->z);
    w->norm_changed = eq_calloc(w->cfg->L * EQ_NORM_COUNT, sizeof *w->norm_changed);
    bool ok =
        w->rows && w->qweight && w->qzeros && w->g_idx && w->scales && w->z && w->norm_changed;
    return ok ? EQ_OK
              : eq_nomem(err, "packing one linear", 4 * (words + joined + zwords + I) + 3 * groups);
}

static eq_status check_space(const writer *w, eq_err *err) {
    int64_t need = w->bytes + eq_schemes_count(&w->c->schemes, w->cfg).groups * 8;
    int64_t free_ = eq_disk_free(w->dir);
    if (free_ < 0 || free_ >= need) return EQ_OK;
    return eq_fail(err, EQ_EIO, "%s: expected room for %lld bytes, found %lld free", w->dir,
                   (long long)need, (long long)free_);
}

/* Whether norms changed decides their type, which stands in front of the data. Where training left
 * those of block 0 as they were it left all of them, as a rule: then the blocks are asked for
 * once. */
static eq_status run(writer *w, eq_err *err) {
    bool any;
    eq_err first = {0};
    EQ_TRY(alloc(w, err));
    EQ_TRY(look_at_norms(w, 0, 1, &any, err));
    if (any) EQ_TRY(look_at_norms(w, 1, w->cfg->L, &any, err));
    EQ_TRY(make_list(w, err));
    EQ_TRY(check_space(w, err));
    eq_status st = write_all(w, &first);
    if (st != EQ_OK && w->wrong_guess) {
        EQ_TRY(drop_written(w, err));
        EQ_TRY(look_at_norms(w, 0, w->cfg->L, &any, err));
        EQ_TRY(make_list(w, err));
        return write_all(w, err);
    }
    return st == EQ_OK ? EQ_OK : eq_fail(err, first.status, "%s", first.msg);
}

eq_status eq_checkpoint_tensors(const eq_checkpoint *c, const char *dir, const eq_observer *obs,
                                eq_digest *sums, int64_t *bytes, eq_err *err) {
    writer w = {.c = c, .cfg = &c->base->cfg, .dir = dir, .obs = obs, .sums = sums, .at = -1};
    w.layout = eq_checkpoint_layout(w.cfg, &c->schemes, NULL);
    eq_status st = run(&w, err);
    drop_open(&w);
    if (st == EQ_OK) {
        *bytes = w.bytes;
        eq_event(obs, "{\"event\":\"packed\",\"bytes\":%lld,\"seconds\":%.3f,\"gb_per_s\":%.2f}",
                 (long long)w.pack_bytes, w.pack_seconds,
                 w.pack_seconds > 0 ? 1e-9 * (double)w.pack_bytes / w.pack_seconds : 0.0);
    }
    eq_free(w.e), eq_free(w.rows), eq_free(w.qweight), eq_free(w.qzeros), eq_free(w.g_idx);
    eq_free(w.scales), eq_free(w.z), eq_free(w.norm_changed);
    return st;
}

eq_status eq_checkpoint_sum(const eq_qblock *b, const eq_config *c, eq_digest *sum, eq_err *err) {
    eq_hash *h = eq_hash_new();
    if (!h) return eq_nomem(err, "a hash", 1024);
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &b->lin[l];
        eq_hash_put(h, q->rows, q->O * eq_pack_words(q->I, q->bits) * 4);
        eq_hash_put(h, q->s, q->O * (q->I / q->G) * 4);
        eq_hash_put(h, q->z, q->O * (q->I / q->G) * 4);
    }
    for (int k = 0; k < EQ_NORM_COUNT; k++)
        if (b->norm[k]) eq_hash_put(h, b->norm[k], eq_norm_of(c, (eq_norm)k).n * 4);
    *sum = eq_hash_end(h);
    return EQ_OK;
}

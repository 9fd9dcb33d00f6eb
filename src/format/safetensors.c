/* safetensors, reading one file: 8 bytes of header length (little-endian), a JSON header, the data.
 * Invariant: after eq_st_open every tensor's bytes lie inside its mapped file, the tensors of a
 * file cover its data exactly once, and every name is there once. */
#include "format/safetensors_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"

enum { MAX_HEADER = 100000000 };

typedef struct {
    eq_tensor t;
    int64_t begin, end; /* within the data section */
    void *copy;         /* where the file's alignment did not suit the element */
    char *renamed;      /* the name with a prefix */
} entry;

typedef struct {
    char *path;
    eq_map map;
    json_t *header; /* owns the names */
} shard;

struct eq_st {
    shard *shards;
    int64_t n_shards;
    entry *e; /* by file, then by offset */
    int64_t n;
    const eq_tensor **by_name;
};

/* ---- one tensor of a header ------------------------------------------------------------------ */

static eq_status parse_dtype(eq_tensor *t, const json_t *info, eq_err *err) {
    const char *name = json_string_value(json_object_get(info, "dtype"));
    if (!name)
        return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: dtype: expected a string, found %s",
                       t->file, t->name, eq_json_type(json_object_get(info, "dtype")));
    for (int d = 0; d < EQ_DTYPES; d++)
        if (!strcmp(name, eq_dtype_name((eq_dtype)d))) {
            t->dt = (eq_dtype)d;
            return EQ_OK;
        }
    return eq_fail(
        err, EQ_EINPUT,
        "%s: tensor %.200s: unknown dtype %.40s (known: F64 F32 F16 BF16 F8_E4M3 I64 I32 U32 U8)",
        t->file, t->name, name);
}

static eq_status parse_shape(eq_tensor *t, const json_t *info, eq_err *err) {
    const json_t *shape = json_object_get(info, "shape");
    if (!json_is_array(shape))
        return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: shape: expected an array, found %s",
                       t->file, t->name, eq_json_type(shape));
    if (json_array_size(shape) > EQ_MAX_DIMS)
        return eq_fail(err, EQ_EINPUT,
                       "%s: tensor %.200s: expected at most %d dimensions, found %zu", t->file,
                       t->name, EQ_MAX_DIMS, json_array_size(shape));
    t->ndim = (int)json_array_size(shape);
    t->n = 1;
    for (int i = 0; i < t->ndim; i++) {
        const json_t *v = json_array_get(shape, (size_t)i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %.200s: shape[%d]: expected a whole number >= 0", t->file,
                           t->name, i);
        t->shape[i] = json_integer_value(v);
        if (!eq_mul(t->n, t->shape[i], &t->n))
            return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: shape: the product overflows",
                           t->file, t->name);
    }
    if (!eq_mul(t->n, eq_dtype_size(t->dt), &t->bytes))
        return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: shape x dtype overflows", t->file,
                       t->name);
    return EQ_OK;
}

static eq_status parse_offsets(entry *e, const json_t *info, int64_t data_size, eq_err *err) {
    const eq_tensor *t = &e->t;
    const json_t *o = json_object_get(info, "data_offsets"), *a = json_array_get(o, 0),
                 *b = json_array_get(o, 1);
    if (json_array_size(o) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: data_offsets: expected [begin, end]",
                       t->file, t->name);
    e->begin = json_integer_value(a), e->end = json_integer_value(b);
    if (e->begin < 0 || e->end < e->begin)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: tensor %.200s: data_offsets: expected 0 <= begin <= end, found [%lld, %lld]",
            t->file, t->name, (long long)e->begin, (long long)e->end);
    if (e->end > data_size)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: tensor %.200s: ends at data byte %lld, but the file holds %lld (truncated?)",
            t->file, t->name, (long long)e->end, (long long)data_size);
    if (e->end - e->begin != t->bytes)
        return eq_fail(err, EQ_EINPUT,
                       "%s: tensor %.200s: shape x dtype makes %lld bytes, data_offsets hold %lld",
                       t->file, t->name, (long long)t->bytes, (long long)(e->end - e->begin));
    return EQ_OK;
}

static eq_status parse_entry(entry *e, const char *file, const char *name, const json_t *info,
                             int64_t data_size, eq_err *err) {
    e->t.name = name, e->t.file = file;
    if (!json_is_object(info) || json_object_size(info) != 3)
        return eq_fail(err, EQ_EINPUT,
                       "%s: tensor %.200s: expected an object of dtype, shape and data_offsets",
                       file, name);
    EQ_TRY(parse_dtype(&e->t, info, err));
    EQ_TRY(parse_shape(&e->t, info, err));
    return parse_offsets(e, info, data_size, err);
}

/* ---- one file -------------------------------------------------------------------------------- */

static eq_status read_header(shard *s, int64_t *data_at, eq_err *err) {
    if (s->map.size < 8)
        return eq_fail(err, EQ_EINPUT, "%s: expected 8 bytes of header length, the file has %lld",
                       s->path, (long long)s->map.size);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | s->map.data[i];
    if (n > MAX_HEADER)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: expected a header of at most %d bytes, found length %llu (not safetensors?)",
            s->path, MAX_HEADER, (unsigned long long)n);
    if ((int64_t)n > s->map.size - 8)
        return eq_fail(err, EQ_EINPUT,
                       "%s: header of %llu bytes is longer than the file (%lld bytes)", s->path,
                       (unsigned long long)n, (long long)s->map.size);
    const char *text = (const char *)s->map.data + 8;
    if (n == 0 || text[0] != '{')
        return eq_fail(err, EQ_EINPUT, "%s: header: expected a JSON object starting with '{'",
                       s->path);
    EQ_TRY(eq_json_parse(&s->header, text, (int64_t)n, s->path, err));
    *data_at = 8 + (int64_t)n;
    return EQ_OK;
}

static eq_status check_meta(const shard *s, eq_err *err) {
    json_t *meta = json_object_get(s->header, "__metadata__"), *v;
    const char *key;
    if (meta && !json_is_object(meta))
        return eq_fail(err, EQ_EINPUT, "%s: __metadata__: expected an object, found %s", s->path,
                       eq_json_type(meta));
    json_object_foreach(meta, key, v) if (!json_is_string(v)) return eq_fail(
        err, EQ_EINPUT, "%s: __metadata__: %.200s: expected a string, found %s", s->path, key,
        eq_json_type(v));
    return EQ_OK;
}

static int by_offset(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->t.name, y->t.name);
}

/* The entries of one file, sorted by offset, must cover its data exactly. */
static eq_status check_cover(const entry *e, int64_t n, const char *path, int64_t data_size,
                             eq_err *err) {
    int64_t at = 0;
    for (int64_t i = 0; i < n; at = e[i++].end) {
        if (e[i].begin > at)
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %.200s: starts at data byte %lld, expected %lld "
                           "(a hole)",
                           path, e[i].t.name, (long long)e[i].begin, (long long)at);
        if (e[i].begin < at)
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %.200s: starts at data byte %lld inside tensor "
                           "%.200s",
                           path, e[i].t.name, (long long)e[i].begin, e[i - 1].t.name);
    }
    if (at != data_size)
        return eq_fail(err, EQ_EINPUT, "%s: tensors end at data byte %lld, but the file holds %lld",
                       path, (long long)at, (long long)data_size);
    return EQ_OK;
}

/* Headers of foreign writers are not always padded: the few tensors that would be read with the
 * wrong alignment are copied. */
static eq_status place(entry *e, const uint8_t *data, eq_err *err) {
    const uint8_t *p = data + e->begin;
    e->t.data = p;
    if ((uintptr_t)p % (uintptr_t)eq_dtype_size(e->t.dt) == 0) return EQ_OK;
    e->copy = eq_calloc(e->t.bytes, 1);
    if (!e->copy) return eq_nomem(err, e->t.name, e->t.bytes);
    if (e->t.bytes) memcpy(e->copy, p, (size_t)e->t.bytes);
    e->t.data = e->copy;
    return EQ_OK;
}

static eq_status read_entries(eq_st *st, shard *s, int64_t data_at, eq_err *err) {
    int64_t data_size = s->map.size - data_at, first = st->n;
    int64_t room = st->n + (int64_t)json_object_size(s->header);
    entry *e = eq_realloc(st->e, room, sizeof *e);
    if (!e) return eq_nomem(err, "a list of tensors", room * (int64_t)sizeof *e);
    st->e = e;
    const char *name;
    json_t *info;
    json_object_foreach(s->header, name, info) {
        if (!strcmp(name, "__metadata__")) continue;
        e[st->n] = (entry){0};
        EQ_TRY(parse_entry(&e[st->n], s->path, name, info, data_size, err));
        st->n++;
    }
    int64_t n = st->n - first;
    if (n) qsort(e + first, (size_t)n, sizeof *e, by_offset);
    EQ_TRY(check_cover(e + first, n, s->path, data_size, err));
    for (int64_t i = first; i < st->n; i++) EQ_TRY(place(&e[i], s->map.data + data_at, err));
    return EQ_OK;
}

eq_status eq_st_add_file(eq_st *st, char *path, bool sealed, eq_err *err) {
    shard *list = path ? eq_realloc(st->shards, st->n_shards + 1, sizeof *list) : NULL;
    if (!list) {
        eq_free(path);
        return eq_nomem(err, "a list of files", (st->n_shards + 1) * (int64_t)sizeof *list);
    }
    st->shards = list;
    shard *s = &list[st->n_shards++];
    *s = (shard){.path = path};
    EQ_TRY(sealed ? eq_map_open_sealed(&s->map, path, err) : eq_map_open(&s->map, path, err));
    int64_t data_at = 0;
    EQ_TRY(read_header(s, &data_at, err));
    EQ_TRY(check_meta(s, err));
    return read_entries(st, s, data_at, err);
}

static int by_name(const void *a, const void *b) {
    const eq_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

eq_status eq_st_index_names(eq_st *st, eq_err *err) {
    eq_free(st->by_name);
    st->by_name = eq_calloc(st->n, sizeof *st->by_name);
    if (!st->by_name)
        return eq_nomem(err, "a list of tensors", st->n * (int64_t)sizeof *st->by_name);
    for (int64_t i = 0; i < st->n; i++) st->by_name[i] = &st->e[i].t;
    if (st->n) qsort(st->by_name, (size_t)st->n, sizeof *st->by_name, by_name);
    for (int64_t i = 1; i < st->n; i++)
        if (!strcmp(st->by_name[i - 1]->name, st->by_name[i]->name))
            return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: lies in %s too",
                           st->by_name[i - 1]->file, st->by_name[i]->name, st->by_name[i]->file);
    return EQ_OK;
}

eq_status eq_st_put_prefix(eq_st *st, const char *prefix, const char *but, eq_err *err) {
    for (int64_t i = 0; i < st->n; i++) {
        entry *e = &st->e[i];
        if (!strcmp(e->t.name, but)) continue;
        char *name = eq_sprintf("%s%s", prefix, e->t.name);
        if (!name) return eq_nomem(err, "a name", 256);
        eq_free(e->renamed);
        e->t.name = e->renamed = name;
    }
    return eq_st_index_names(st, err);
}

/* ---- opening and closing ----------------------------------------------------------------------
 */

static eq_status open_path(eq_st **out, const char *path, bool sealed, eq_err *err) {
    *out = NULL;
    eq_st *st = eq_calloc(1, sizeof *st);
    if (!st) return eq_nomem(err, "a list of tensors", sizeof *st);
    eq_status status;
    if (!sealed && eq_is_dir(path)) {
        status = eq_st_open_folder(st, path, err);
    } else {
        status = eq_st_add_file(st, eq_strdup(path), sealed, err);
        if (status == EQ_OK) status = eq_st_index_names(st, err);
    }
    if (status != EQ_OK) {
        eq_st_close(st);
        return status;
    }
    *out = st;
    return EQ_OK;
}

eq_status eq_st_open(eq_st **st, const char *path, eq_err *err) {
    return open_path(st, path, false, err);
}
eq_status eq_st_open_sealed(eq_st **st, const char *path, eq_err *err) {
    return open_path(st, path, true, err);
}

void eq_st_close(eq_st *st) {
    if (!st) return;
    for (int64_t i = 0; i < st->n; i++) eq_free(st->e[i].copy), eq_free(st->e[i].renamed);
    for (int64_t i = 0; i < st->n_shards; i++) {
        json_decref(st->shards[i].header);
        eq_map_close(&st->shards[i].map);
        eq_free(st->shards[i].path);
    }
    eq_free(st->e);
    eq_free(st->by_name);
    eq_free(st->shards);
    eq_free(st);
}

/* ---- looking at it --------------------------------------------------------------------------- */

int64_t eq_st_count(const eq_st *st) { return st->n; }
const eq_tensor *eq_st_at(const eq_st *st, int64_t i) { return &st->e[i].t; }

const eq_tensor *eq_st_find(const eq_st *st, const char *name) {
    if (!st->n) return NULL;
    const eq_tensor key = {.name = name}, *k = &key;
    const eq_tensor **hit = bsearch(&k, st->by_name, (size_t)st->n, sizeof *st->by_name, by_name);
    return hit ? *hit : NULL;
}

const char *eq_st_meta(const eq_st *st, const char *key) {
    if (!st->n_shards) return NULL;
    return json_string_value(
        json_object_get(json_object_get(st->shards[0].header, "__metadata__"), key));
}

int64_t eq_st_files(const eq_st *st) { return st->n_shards; }
void eq_st_file(const eq_st *st, int64_t i, const char **path, const uint8_t **data,
                int64_t *size) {
    *path = st->shards[i].path, *data = st->shards[i].map.data, *size = st->shards[i].map.size;
}

/* One that was copied lies in no map. */
void eq_st_drop(const eq_st *st, const eq_tensor *t) {
    for (int64_t i = 0; i < st->n_shards; i++) {
        const eq_map *m = &st->shards[i].map;
        const uint8_t *data = t->data;
        if (data >= m->data && data < m->data + m->size)
            eq_map_drop(m, data - m->data, data - m->data + t->bytes);
    }
}

eq_status eq_st_unchanged(const eq_st *st, eq_err *err) {
    for (int64_t i = 0; i < st->n_shards; i++)
        EQ_TRY(eq_map_unchanged(&st->shards[i].map, st->shards[i].path, err));
    return EQ_OK;
}

bool eq_st_look_anew(eq_st *st) {
    for (int64_t i = 0; i < st->n_shards; i++)
        if (!eq_map_look_anew(&st->shards[i].map)) return false;
    return true;
}
void eq_st_accept(eq_st *st) {
    for (int64_t i = 0; i < st->n_shards; i++) eq_map_accept(&st->shards[i].map);
}

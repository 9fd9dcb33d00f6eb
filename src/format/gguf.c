/* GGUF, reading. A bounded cursor walks metadata and tensor infos once; nothing of the file is used
 * as a size before it was compared with what is left of it. */
#include "format/gguf.h"

#include <string.h>

#include "base/io.h"
#include "base/mem.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are read as they lie");

struct eq_gguf {
    char *path;
    eq_map map;
    int64_t keys, tensors, align;
    eq_gguf_value *key;
    eq_gguf_tensor *tensor;
    char *names; /* all keys and names, each with its 0 */
    int64_t names_n, names_cap;
    int32_t *slots; /* hashes of keys, then of names: index + 1, 0: free */
    int64_t mask;
};

typedef struct {
    eq_gguf *g;
    int64_t at;
    eq_err *err;
} cursor;

static eq_status cut(const cursor *c, const char *what) {
    return eq_fail(c->err, EQ_EINPUT, "%s: expected %s at byte %lld, found the end of the file",
                   c->g->path, what, (long long)c->at);
}

static eq_status take(cursor *c, void *out, int64_t n, const char *what) {
    if (n > c->g->map.size - c->at) return cut(c, what);
    memcpy(out, c->g->map.data + c->at, (size_t)n);
    c->at += n;
    return EQ_OK;
}

/* A count or length: at least `least` bytes of the file stand for each unit. */
static eq_status take_count(cursor *c, int64_t *out, int64_t least, const char *what) {
    uint64_t v = 0;
    EQ_TRY(take(c, &v, sizeof v, what));
    if (v > (uint64_t)((c->g->map.size - c->at) / least))
        return eq_fail(c->err, EQ_EINPUT,
                       "%s: %s at byte %lld: expected at most what the file has "
                       "room for, found %llu",
                       c->g->path, what, (long long)(c->at - 8), (unsigned long long)v);
    *out = (int64_t)v;
    return EQ_OK;
}

/* A key or name, kept with a 0 behind it. */
static eq_status take_name(cursor *c, int64_t *offset, const char *what) {
    eq_gguf *g = c->g;
    int64_t n = 0;
    EQ_TRY(take_count(c, &n, 1, what));
    if (n > 65535 || memchr(g->map.data + c->at, 0, (size_t)n))
        return eq_fail(c->err, EQ_EINPUT,
                       "%s: %s at byte %lld: expected a text without 0 of at "
                       "most 65535 bytes",
                       g->path, what, (long long)c->at);
    if (g->names_n + n + 1 > g->names_cap) {
        int64_t cap = 2 * (g->names_cap + n + 1);
        char *p = eq_realloc(g->names, cap, 1);
        if (!p) return eq_nomem(c->err, "names of a GGUF file", cap);
        g->names = p, g->names_cap = cap;
    }
    memcpy(g->names + g->names_n, g->map.data + c->at, (size_t)n);
    g->names[g->names_n + n] = 0;
    *offset = g->names_n, g->names_n += n + 1, c->at += n;
    return EQ_OK;
}

/* ---- metadata ---------------------------------------------------------------------------------
 */

static const int kind_bytes[EQ_GGUF_KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static eq_status take_kind(cursor *c, eq_gguf_kind *kind) {
    uint32_t v = 0;
    EQ_TRY(take(c, &v, sizeof v, "a type of metadata"));
    if (v >= EQ_GGUF_KINDS)
        return eq_fail(c->err, EQ_EINPUT,
                       "%s: metadata at byte %lld: expected a type below %d, "
                       "found %u",
                       c->g->path, (long long)(c->at - 4), EQ_GGUF_KINDS, (unsigned)v);
    *kind = (eq_gguf_kind)v;
    return EQ_OK;
}

static eq_status take_elements(cursor *c, eq_gguf_value *v) {
    int64_t from = c->at, n;
    v->at = c->g->map.data + from;
    if (v->kind == EQ_GGUF_ARRAY)
        return eq_fail(c->err, EQ_EINPUT,
                       "%s: metadata at byte %lld: arrays of arrays are not "
                       "supported",
                       c->g->path, (long long)from);
    if (v->kind != EQ_GGUF_STR) { /* v->n was compared with what is left */
        if (!eq_mul(v->n, kind_bytes[v->kind], &v->bytes) || v->bytes > c->g->map.size - from)
            return cut(c, "a value of metadata");
        c->at += v->bytes;
        return EQ_OK;
    }
    for (int64_t i = 0; i < v->n; i++) {
        EQ_TRY(take_count(c, &n, 1, "a text"));
        c->at += n;
    }
    v->bytes = c->at - from;
    return EQ_OK;
}

static eq_status take_value(cursor *c, eq_gguf_value *v, int64_t *name) {
    EQ_TRY(take_name(c, name, "a key"));
    EQ_TRY(take_kind(c, &v->kind));
    v->array = v->kind == EQ_GGUF_ARRAY, v->n = 1;
    if (v->array) {
        EQ_TRY(take_kind(c, &v->kind));
        EQ_TRY(take_count(c, &v->n, 1, "the length of an array"));
    }
    return take_elements(c, v);
}

/* ---- tensors ----------------------------------------------------------------------------------
 */

static bool type_by_number(uint32_t number, eq_ggml *t) {
    for (int i = 0; i < EQ_GGML_COUNT; i++)
        if ((uint32_t)eq_ggml_of((eq_ggml)i).number == number) return *t = (eq_ggml)i, true;
    return false;
}

static eq_status take_info(cursor *c, eq_gguf_tensor *t, int64_t *name, uint64_t *offset) {
    uint32_t ndim = 0, number = 0;
    EQ_TRY(take_name(c, name, "a tensor's name"));
    const char *text = c->g->names + *name;
    EQ_TRY(take(c, &ndim, sizeof ndim, "a number of dimensions"));
    if (ndim < 1 || ndim > EQ_GGUF_DIMS)
        return eq_fail(c->err, EQ_EINPUT,
                       "%s: tensor %.200s: expected 1 to %d dimensions, found %u", c->g->path, text,
                       EQ_GGUF_DIMS, (unsigned)ndim);
    t->ndim = (int)ndim, t->n = 1;
    bool fits = true;
    for (uint32_t i = 0; i < ndim; i++) {
        uint64_t d = 0;
        EQ_TRY(take(c, &d, sizeof d, "a dimension"));
        t->dim[i] = d > INT64_MAX ? -1 : (int64_t)d;
        fits = fits && eq_mul(t->n, t->dim[i], &t->n);
    }
    EQ_TRY(take(c, &number, sizeof number, "a tensor's type"));
    EQ_TRY(take(c, offset, sizeof *offset, "a tensor's offset"));
    if (!type_by_number(number, &t->type))
        return eq_fail(c->err, EQ_EINPUT,
                       "%s: tensor %.200s: type %u is not one that this program reads", c->g->path,
                       text, (unsigned)number);
    eq_ggml_spec s = eq_ggml_of(t->type);
    if (!fits || t->dim[0] % s.block || !eq_mul(t->n / s.block, s.bytes, &t->bytes))
        return eq_fail(c->err, EQ_EINPUT,
                       "%s: tensor %.200s: expected rows of whole blocks of %lld and a size that "
                       "63 bits hold",
                       c->g->path, text, (long long)s.block);
    return EQ_OK;
}

/* Offsets say again what sizes and order say; a file in which they disagree is not read. */
static eq_status place(eq_gguf *g, const uint64_t *offset, int64_t data, eq_err *err) {
    int64_t at = 0;
    for (int64_t i = 0; i < g->tensors; i++) {
        eq_gguf_tensor *t = &g->tensor[i];
        if (offset[i] != (uint64_t)at || t->bytes > g->map.size - data - at)
            return eq_fail(err, EQ_EINPUT,
                           "%s: tensor %.200s: expected offset %lld and %lld bytes in the file, "
                           "found offset %llu of %lld bytes",
                           g->path, t->name, (long long)at, (long long)t->bytes,
                           (unsigned long long)offset[i], (long long)(g->map.size - data));
        t->data = g->map.data + data + at;
        at += (t->bytes + g->align - 1) / g->align * g->align;
        if (at > g->map.size - data) at = g->map.size - data; /* the last may lack its padding */
    }
    return EQ_OK;
}

/* ---- look-up ----------------------------------------------------------------------------------
 */

static uint64_t hash(const char *s, uint64_t seed) {
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return h ^ h >> 29;
}

static const char *name_at(const eq_gguf *g, int64_t i) {
    return i < g->keys ? g->key[i].key : g->tensor[i - g->keys].name;
}

/* Keys and names are told apart by their range of indices. */
static int64_t find(const eq_gguf *g, const char *s, bool tensor) {
    for (uint64_t k = hash(s, tensor);; k++) {
        int32_t i = g->slots[k & (uint64_t)g->mask];
        if (!i) return -1;
        if ((i - 1 >= g->keys) == tensor && !strcmp(name_at(g, i - 1), s)) return i - 1;
    }
}

static eq_status add_names(eq_gguf *g, eq_err *err) {
    int64_t n = g->keys + g->tensors;
    g->mask = 15;
    while (g->mask < 2 * n) g->mask = 2 * g->mask + 1;
    g->slots = eq_calloc(g->mask + 1, sizeof *g->slots);
    if (!g->slots) return eq_nomem(err, "names of a GGUF file", g->mask * 4);
    for (int64_t i = 0; i < n; i++) {
        bool tensor = i >= g->keys;
        if (find(g, name_at(g, i), tensor) >= 0)
            return eq_fail(err, EQ_EINPUT, "%s: %s %.200s: expected it once, found it twice",
                           g->path, tensor ? "tensor" : "key", name_at(g, i));
        uint64_t k = hash(name_at(g, i), tensor);
        while (g->slots[k & (uint64_t)g->mask]) k++;
        g->slots[k & (uint64_t)g->mask] = (int32_t)i + 1;
    }
    return EQ_OK;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static eq_status take_header(cursor *c) {
    char magic[4];
    uint32_t version = 0;
    EQ_TRY(take(c, magic, sizeof magic, "\"GGUF\""));
    EQ_TRY(take(c, &version, sizeof version, "a version"));
    if (memcmp(magic, "GGUF", 4) || version < 2 || version > 3)
        return eq_fail(c->err, EQ_EINPUT, "%s: expected a GGUF file of version 2 or 3, found %s",
                       c->g->path, memcmp(magic, "GGUF", 4) ? "another file" : "another version");
    /* the least that an info takes: length, no name, one dimension, type, offset */
    EQ_TRY(take_count(c, &c->g->tensors, 8 + 4 + 8 + 4 + 8, "the number of tensors"));
    EQ_TRY(take_count(c, &c->g->keys, 8 + 4 + 1, "the number of keys"));
    if (c->g->tensors + c->g->keys > INT32_MAX / 2)
        return eq_fail(c->err, EQ_EINPUT, "%s: more keys and tensors than a model has", c->g->path);
    return EQ_OK;
}

static eq_status take_alignment(eq_gguf *g, eq_err *err) {
    const eq_gguf_value *v = eq_gguf_get(g, "general.alignment");
    g->align = EQ_GGUF_ALIGN;
    if (!v) return EQ_OK;
    int64_t a = 0;
    if (v->array || !eq_gguf_int(v, 0, &a) || a < 1 || a > 1 << 20 || (a & (a - 1)))
        return eq_fail(err, EQ_EINPUT,
                       "%s: general.alignment: expected a power of two up to 2^20, found %lld",
                       g->path, (long long)a);
    g->align = a;
    return EQ_OK;
}

static eq_status read_all(eq_gguf *g, uint64_t **offset, eq_err *err) {
    cursor c = {g, 0, err};
    EQ_TRY(take_header(&c));
    int64_t n = g->keys + g->tensors;
    g->key = eq_calloc(g->keys, sizeof *g->key);
    g->tensor = eq_calloc(g->tensors, sizeof *g->tensor);
    int64_t *name = eq_calloc(n, sizeof *name);
    *offset = eq_calloc(g->tensors, sizeof **offset);
    eq_status st =
        g->key && g->tensor && name && *offset ? EQ_OK : eq_nomem(err, "a GGUF header", n * 64);
    for (int64_t i = 0; i < g->keys && st == EQ_OK; i++) st = take_value(&c, &g->key[i], &name[i]);
    for (int64_t i = 0; i < g->tensors && st == EQ_OK; i++)
        st = take_info(&c, &g->tensor[i], &name[g->keys + i], &(*offset)[i]);
    for (int64_t i = 0; i < n && st == EQ_OK; i++)
        *(i < g->keys ? &g->key[i].key : &g->tensor[i - g->keys].name) = g->names + name[i];
    eq_free(name);
    if (st == EQ_OK) st = add_names(g, err);
    if (st == EQ_OK) st = take_alignment(g, err);
    if (st != EQ_OK) return st;
    int64_t data = (c.at + g->align - 1) / g->align * g->align;
    if (g->tensors && data > g->map.size) return cut(&c, "the tensors");
    return place(g, *offset, data, err);
}

eq_status eq_gguf_open(eq_gguf **out, const char *path, eq_err *err) {
    uint64_t *offset = NULL;
    *out = NULL;
    eq_gguf *g = eq_calloc(1, sizeof *g);
    if (g) g->path = eq_strdup(path);
    eq_status st =
        g && g->path ? eq_map_open(&g->map, path, err) : eq_nomem(err, "a GGUF file", sizeof *g);
    if (st == EQ_OK) st = read_all(g, &offset, err);
    eq_free(offset);
    if (st == EQ_OK)
        *out = g;
    else
        eq_gguf_close(g);
    return st;
}

void eq_gguf_close(eq_gguf *g) {
    if (!g) return;
    eq_map_close(&g->map);
    eq_free(g->key), eq_free(g->tensor), eq_free(g->names), eq_free(g->slots);
    eq_free(g->path), eq_free(g);
}

const char *eq_gguf_path(const eq_gguf *g) { return g->path; }
int64_t eq_gguf_count(const eq_gguf *g) { return g->tensors; }
const eq_gguf_tensor *eq_gguf_at(const eq_gguf *g, int64_t i) { return &g->tensor[i]; }
void eq_gguf_drop(const eq_gguf *g, const eq_gguf_tensor *t) {
    int64_t at = t->data - (const uint8_t *)g->map.data;
    eq_map_drop(&g->map, at, at + t->bytes);
}
const eq_gguf_tensor *eq_gguf_find(const eq_gguf *g, const char *name) {
    int64_t i = find(g, name, true);
    return i < 0 ? NULL : &g->tensor[i - g->keys];
}
int64_t eq_gguf_keys(const eq_gguf *g) { return g->keys; }
const eq_gguf_value *eq_gguf_key(const eq_gguf *g, int64_t i) { return &g->key[i]; }
const eq_gguf_value *eq_gguf_get(const eq_gguf *g, const char *key) {
    int64_t i = find(g, key, false);
    return i < 0 ? NULL : &g->key[i];
}

/* ---- values -----------------------------------------------------------------------------------
 */

#define EQ_READ(T) \
    { \
        T x; \
        memcpy(&x, v->at + i * (int64_t)sizeof x, sizeof x); \
        *out = x; \
        return true; \
    }
bool eq_gguf_int(const eq_gguf_value *v, int64_t i, int64_t *out) {
    if (i < 0 || i >= v->n) return false;
    switch (v->kind) {
    case EQ_GGUF_U8:
    case EQ_GGUF_BOOL:
        EQ_READ(uint8_t)
    case EQ_GGUF_I8:
        EQ_READ(int8_t)
    case EQ_GGUF_U16:
        EQ_READ(uint16_t)
    case EQ_GGUF_I16:
        EQ_READ(int16_t)
    case EQ_GGUF_U32:
        EQ_READ(uint32_t)
    case EQ_GGUF_I32:
        EQ_READ(int32_t)
    case EQ_GGUF_I64:
        EQ_READ(int64_t)
    case EQ_GGUF_U64: {
        uint64_t x;
        memcpy(&x, v->at + i * 8, sizeof x);
        *out = (int64_t)x;
        return x <= INT64_MAX;
    }
    default:
        return false;
    }
}

bool eq_gguf_num(const eq_gguf_value *v, int64_t i, double *out) {
    if (i < 0 || i >= v->n) return false;
    if (v->kind == EQ_GGUF_F32) EQ_READ(float)
    if (v->kind == EQ_GGUF_F64) EQ_READ(double)
    return false;
}
#undef EQ_READ

bool eq_gguf_next(const eq_gguf_value *v, const uint8_t **at, const char **s, int64_t *n) {
    uint64_t length;
    if (v->kind != EQ_GGUF_STR || *at >= v->at + v->bytes) return false;
    memcpy(&length, *at, sizeof length); /* looked at when the file was opened */
    *s = (const char *)*at + 8, *n = (int64_t)length;
    *at += 8 + length;
    return true;
}

/* See id_file.h. Invariant: what is given are integers in [0, vocab), and the file holds no byte
 * more or less than them. */
#include "format/id_file.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static const struct {
    const char *name;
    int size;
    bool is_signed;
} types[] = {{"u16", 2, false}, {"u32", 4, false}, {"i32", 4, true}, {"i64", 8, true}};

static eq_status raw_head(eq_npy_head *h, const eq_map *m, const char *raw, const char *name,
                          eq_err *err) {
    for (size_t i = 0; raw && i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, raw)) h->size = types[i].size, h->is_signed = types[i].is_signed;
    if (!h->size)
        return eq_fail(err, EQ_EINPUT,
                       "%s: a .bin does not say what its integers are: expected u16, u32, i32 or "
                       "i64 (--ids-dtype), found %s",
                       name, raw ? raw : "nothing");
    if (m->size % h->size)
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected integers of %d bytes, found %lld bytes, no multiple of it",
                       name, h->size, (long long)m->size);
    h->rows = 1, h->cols = m->size / h->size;
    return EQ_OK;
}

eq_status eq_id_file_open(eq_id_file *ids, const eq_file *f, const char *raw, eq_err *err) {
    *ids = (eq_id_file){.name = f->name};
    EQ_TRY(eq_map_open(&ids->map, f->path, err));
    eq_map_sequential(&ids->map);
    eq_status st = f->kind == EQ_FILE_NPY ? eq_npy_read_head(&ids->head, &ids->map, f->name, err)
                                          : raw_head(&ids->head, &ids->map, raw, f->name, err);
    if (st != EQ_OK) eq_id_file_close(ids);
    return st;
}

void eq_id_file_close(eq_id_file *ids) {
    if (ids->name) eq_map_close(&ids->map);
    *ids = (eq_id_file){0};
}

static int64_t element(const uint8_t *p, int size, bool is_signed) {
    uint64_t v = 0;
    for (int i = 0; i < size; i++) v |= (uint64_t)p[i] << 8 * i;
    int shift = 64 - 8 * size;
    return is_signed ? (int64_t)(v << shift) >> shift : v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static eq_status bad_id(const eq_id_file *ids, int64_t i, int64_t v, int64_t vocab, eq_err *err) {
    char at[64];
    int64_t cols = ids->head.cols;
    if (ids->head.is_2d)
        snprintf(at, sizeof at, "row %lld, column %lld", (long long)(i / cols),
                 (long long)(i % cols));
    else
        snprintf(at, sizeof at, "token %lld", (long long)i);
    if (v < 0 || v > INT32_MAX)
        return eq_fail(err, EQ_EINPUT, "%s: %s: expected a token id of 0 to 2147483647, found %lld",
                       ids->name, at, (long long)v);
    return eq_fail(err, EQ_EINPUT, "%s: %s: id %lld, but the vocabulary has %lld", ids->name, at,
                   (long long)v, (long long)vocab);
}

eq_status eq_id_file_get(const eq_id_file *ids, int32_t *out, int64_t from, int64_t n,
                         int64_t vocab, eq_err *err) {
    const eq_npy_head *h = &ids->head;
    const uint8_t *p = ids->map.data + h->at + from * h->size;
    for (int64_t i = 0; i < n; i++) {
        int64_t v = element(p + i * h->size, h->size, h->is_signed);
        if (v < 0 || v > INT32_MAX || v >= vocab) return bad_id(ids, from + i, v, vocab, err);
        out[i] = (int32_t)v;
    }
    return EQ_OK;
}

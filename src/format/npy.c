/* NumPy .npy files of token ids: magic, version, header length, a Python dict as text, the data.
 * Invariant: what is accepted is exactly rows x cols integers, no byte more or less. */
#include "format/npy.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* A cursor over the header's text. */
typedef struct {
    const char *p, *end;
} text;

typedef struct {
    int size; /* bytes of an element */
    bool is_signed, have_descr, have_order, have_shape;
    int ndim;
    int64_t shape[2];
} header;

static void skip_space(text *t) {
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t')) t->p++;
}

static bool take(text *t, const char *word) {
    size_t n = strlen(word);
    skip_space(t);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n)) return false;
    t->p += n;
    return true;
}

/* 'text' or "text" of at most cap - 1 characters, without escapes. */
static bool take_string(text *t, char *out, int cap) {
    skip_space(t);
    if (t->p == t->end || (*t->p != '\'' && *t->p != '"')) return false;
    char quote = *t->p++;
    int n = 0;
    for (; t->p < t->end && *t->p != quote; t->p++) {
        if (*t->p == '\\' || n == cap - 1) return false;
        out[n++] = *t->p;
    }
    out[n] = 0;
    return t->p < t->end && *t->p++ == quote;
}

static bool take_count(text *t, int64_t *out) {
    skip_space(t);
    if (t->p == t->end || !isdigit((unsigned char)*t->p)) return false;
    for (*out = 0; t->p < t->end && isdigit((unsigned char)*t->p); t->p++)
        if (!eq_mul(*out, 10, out) || !eq_add(*out, *t->p - '0', out)) return false;
    return true;
}

static eq_status parse_descr(header *h, text *t, const char *path, eq_err *err) {
    char d[16] = "";
    if (!take_string(t, d, sizeof d))
        return eq_fail(err, EQ_EINPUT, "%s: descr: expected an integer type such as '<i4'", path);
    if (d[0] == '>' && strchr("iu", d[1]))
        return eq_fail(err, EQ_EINPUT, "%s: descr: expected little-endian integers, found '%s'",
                       path, d);
    bool integer = (d[1] == 'i' || d[1] == 'u') && d[2] && strchr("1248", d[2]) && !d[3];
    if (!integer || !(d[0] == '<' || (d[0] == '|' && d[2] == '1')))
        return eq_fail(err, EQ_EINPUT,
                       "%s: descr: expected integers of 1, 2, 4 or 8 bytes, found '%s'", path, d);
    h->size = d[2] - '0', h->is_signed = d[1] == 'i', h->have_descr = true;
    return EQ_OK;
}

static eq_status parse_shape(header *h, text *t, const char *path, eq_err *err) {
    int64_t v;
    bool ok = take(t, "(");
    for (h->ndim = 0; ok && !take(t, ")"); h->ndim++) {
        ok = take_count(t, &v) && (take(t, ",") || (t->p < t->end && *t->p == ')' && h->ndim > 0));
        if (ok && h->ndim < 2) h->shape[h->ndim] = v;
    }
    if (!ok)
        return eq_fail(err, EQ_EINPUT, "%s: shape: expected a tuple such as (1024, 2048)", path);
    if (h->ndim != 1 && h->ndim != 2)
        return eq_fail(err, EQ_EINPUT, "%s: expected 1 or 2 dimensions, found %d", path, h->ndim);
    h->have_shape = true;
    return EQ_OK;
}

static eq_status parse_order(header *h, text *t, const char *path, eq_err *err) {
    if (take(t, "True"))
        return eq_fail(err, EQ_EINPUT, "%s: expected C order, found fortran_order True", path);
    if (!take(t, "False"))
        return eq_fail(err, EQ_EINPUT, "%s: fortran_order: expected True or False", path);
    h->have_order = true;
    return EQ_OK;
}

static eq_status parse_dict(header *h, text t, const char *path, eq_err *err) {
    char key[32];
    bool ok = take(&t, "{");
    while (ok && !take(&t, "}")) {
        if (!take_string(&t, key, sizeof key) || !take(&t, ":"))
            ok = false;
        else if (!strcmp(key, "descr") && !h->have_descr)
            EQ_TRY(parse_descr(h, &t, path, err));
        else if (!strcmp(key, "shape") && !h->have_shape)
            EQ_TRY(parse_shape(h, &t, path, err));
        else if (!strcmp(key, "fortran_order") && !h->have_order)
            EQ_TRY(parse_order(h, &t, path, err));
        else
            ok = false;
        if (ok && !take(&t, ",")) ok = t.p < t.end && *t.p == '}';
    }
    skip_space(&t);
    if (!ok || t.p != t.end || !h->have_descr || !h->have_shape || !h->have_order)
        return eq_fail(err, EQ_EINPUT,
                       "%s: header: expected a dict of descr, fortran_order and shape", path);
    return EQ_OK;
}

static eq_status parse_head(header *h, const eq_map *m, int64_t *data_at, const char *path,
                            eq_err *err) {
    const uint8_t *p = m->data;
    if (m->size < 10 || memcmp(p, "\x93NUMPY", 6))
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected a NumPy file, found no \\x93NUMPY at its start", path);
    if (p[6] < 1 || p[6] > 3 || p[7])
        return eq_fail(err, EQ_EINPUT, "%s: expected .npy version 1, 2 or 3, found %d.%d", path,
                       p[6], p[7]);
    int64_t at = p[6] == 1 ? 10 : 12, n = p[8] | p[9] << 8;
    if (m->size < at) return eq_fail(err, EQ_EINPUT, "%s: truncated within the header", path);
    if (at == 12) n |= (int64_t)p[10] << 16 | (int64_t)p[11] << 24;
    if (n > m->size - at)
        return eq_fail(err, EQ_EINPUT,
                       "%s: header of %lld bytes is longer than the file (%lld bytes)", path,
                       (long long)n, (long long)m->size);
    *data_at = at + n;
    return parse_dict(h, (text){(const char *)p + at, (const char *)p + at + n}, path, err);
}

eq_status eq_npy_read_head(eq_npy_head *out, const eq_map *m, const char *name, eq_err *err) {
    header h = {0};
    int64_t n, bytes;
    *out = (eq_npy_head){0};
    EQ_TRY(parse_head(&h, m, &out->at, name, err));
    out->is_2d = h.ndim == 2, out->size = h.size, out->is_signed = h.is_signed;
    out->rows = out->is_2d ? h.shape[0] : 1;
    out->cols = h.shape[h.ndim - 1];
    if (!eq_mul(out->rows, out->cols, &n) || !eq_mul(n, h.size, &bytes) ||
        bytes != m->size - out->at)
        return eq_fail(
            err, EQ_EINPUT, "%s: shape of %lld x %lld x %d bytes, but the file holds %lld", name,
            (long long)out->rows, (long long)out->cols, h.size, (long long)(m->size - out->at));
    return EQ_OK;
}

/* Version 1; the header is padded so that the data starts at a multiple of 64, as NumPy does. */
eq_status eq_npy_write(const char *path, const int32_t *ids, int64_t rows, int64_t cols, bool is_2d,
                       eq_err *err) {
    char dict[118] = "", shape[64];
    if (is_2d)
        snprintf(shape, sizeof shape, "(%lld, %lld)", (long long)rows, (long long)cols);
    else
        snprintf(shape, sizeof shape, "(%lld,)", (long long)(rows * cols));
    int n = snprintf(dict, sizeof dict, "{'descr': '<i4', 'fortran_order': False, 'shape': %s, }",
                     shape);
    memset(dict + n, ' ', sizeof dict - (size_t)n);
    dict[sizeof dict - 1] = '\n';
    eq_writer *w;
    EQ_TRY(eq_writer_open(&w, path, err));
    eq_status st = eq_writer_put(w, "\x93NUMPY\x01\x00\x76\x00", 10, err);
    if (st == EQ_OK) st = eq_writer_put(w, dict, sizeof dict, err);
    if (st == EQ_OK) st = eq_writer_put(w, ids, rows * cols * 4, err);
    if (st == EQ_OK) return eq_writer_commit(w, err);
    eq_writer_abort(w);
    return st;
}

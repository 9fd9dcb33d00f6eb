/* safetensors, writing: names and shapes first, then the bytes in one pass, so a model larger than
 * memory can be written. Invariant: the file appears under its name only when it is complete. */
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/safetensors.h"

enum { MAX_HEADER = 100000000 };

struct eq_stw {
    char *path;
    json_t *header, *meta;
    int64_t declared, put; /* bytes */
    bool seal;
    eq_writer *out; /* NULL before eq_stw_begin */
};

eq_status eq_stw_new(eq_stw **out, const char *path, eq_err *err) {
    *out = NULL;
    eq_stw *w = eq_calloc(1, sizeof *w);
    if (w) w->path = eq_strdup(path), w->header = json_object(), w->meta = json_object();
    if (!w || !w->path || !w->header || !w->meta) {
        eq_stw_abort(w);
        return eq_nomem(err, "a safetensors header", sizeof *w);
    }
    *out = w;
    return EQ_OK;
}

void eq_stw_seal(eq_stw *w) { w->seal = true; }

/* A NULL new value means that the text is not UTF-8: jansson takes nothing else. */
static eq_status add(const eq_stw *w, json_t *object, const char *name, json_t *value,
                     eq_err *err) {
    if (!value || json_object_set_new(object, name, value))
        return eq_fail(err, EQ_EINPUT, "%s: %.200s: name and value must be UTF-8", w->path, name);
    return EQ_OK;
}

eq_status eq_stw_meta(eq_stw *w, const char *key, const char *value, eq_err *err) {
    if (w->out)
        return eq_fail(err, EQ_EINPUT, "%s: metadata %.200s: declared after the first byte",
                       w->path, key);
    return add(w, w->meta, key, json_string(value), err);
}

eq_status eq_stw_tensor(eq_stw *w, const char *name, eq_dtype dt, int ndim, const int64_t *shape,
                        eq_err *err) {
    if (w->out || json_object_get(w->header, name) || !strcmp(name, "__metadata__"))
        return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: %s", w->path, name,
                       w->out ? "declared after the first byte" : "declared twice");
    int64_t n = eq_dtype_size(dt), end;
    bool fits = ndim >= 0 && ndim <= EQ_MAX_DIMS;
    for (int i = 0; fits && i < ndim; i++) fits = eq_mul(n, shape[i], &n);
    if (!fits || !eq_add(w->declared, n, &end))
        return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: the shape is negative or too large",
                       w->path, name);
    json_t *dims = json_array();
    for (int i = 0; i < ndim; i++) json_array_append_new(dims, json_integer(shape[i]));
    json_t *info = json_pack("{s:s, s:o, s:[I, I]}", "dtype", eq_dtype_name(dt), "shape", dims,
                             "data_offsets", (json_int_t)w->declared, (json_int_t)end);
    EQ_TRY(add(w, w->header, name, info, err));
    w->declared = end;
    return EQ_OK;
}

/* Length, metadata in front of the tensors, spaces up to a multiple of 8. */
static eq_status put_header(eq_stw *w, eq_err *err) {
    json_t *all = json_object();
    char *text = NULL;
    if (all && (!json_object_size(w->meta) || !json_object_set(all, "__metadata__", w->meta)) &&
        !json_object_update(all, w->header))
        text = eq_json_text(all, 0);
    json_decref(all);
    if (!text) return eq_nomem(err, "a safetensors header", 1 << 20);
    int64_t n = (int64_t)strlen(text), padded = (n + 7) / 8 * 8;
    eq_status st = EQ_OK;
    if (padded > MAX_HEADER)
        st = eq_fail(err, EQ_EINPUT, "%s: expected a header of at most %d bytes, found %lld",
                     w->path, MAX_HEADER, (long long)padded);
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(padded >> 8 * i);
    if (st == EQ_OK) st = eq_writer_put(w->out, length, 8, err);
    if (st == EQ_OK) st = eq_writer_put(w->out, text, n, err);
    if (st == EQ_OK) st = eq_writer_put(w->out, "       ", padded - n, err);
    eq_free(text);
    return st;
}

eq_status eq_stw_begin(eq_stw *w, eq_err *err) {
    EQ_TRY(eq_writer_open(&w->out, w->path, err));
    if (w->seal) EQ_TRY(eq_writer_seal(w->out, err));
    return put_header(w, err);
}

eq_status eq_stw_put(eq_stw *w, const void *bytes, int64_t n, eq_err *err) {
    if (!w->out || n > w->declared - w->put)
        return eq_fail(err, EQ_EINPUT, "%s: %lld bytes put, only %lld declared", w->path,
                       (long long)(w->put + n), (long long)w->declared);
    w->put += n;
    return eq_writer_put(w->out, bytes, n, err);
}

eq_status eq_stw_end(eq_stw *w, eq_err *err) {
    eq_status st;
    if (!w->out || w->put != w->declared) {
        st = eq_fail(err, EQ_EINPUT, "%s: %lld bytes declared, only %lld put", w->path,
                     (long long)w->declared, (long long)w->put);
    } else {
        st = eq_writer_commit(w->out, err);
        w->out = NULL;
    }
    eq_stw_abort(w);
    return st;
}

void eq_stw_abort(eq_stw *w) {
    if (!w) return;
    eq_writer_abort(w->out);
    json_decref(w->header);
    json_decref(w->meta);
    eq_free(w->path);
    eq_free(w);
}

/* GGUF, writing. Invariant: every tensor begins at a multiple of the alignment, its offset is the
 * running sum of padded sizes, and the file appears under its name only when it is complete. */
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "format/gguf.h"

struct eq_ggw {
    char *path;
    eq_str meta, infos;
    int64_t keys, tensors;
    int64_t *size;     /* [tensors], bytes */
    int64_t cap, data; /* bytes of all, padded */
    int64_t at, put;   /* the tensor being written and its bytes so far */
    int64_t head;
    bool bad; /* a number that its type does not hold */
    eq_writer *out;
};

static int64_t padded(int64_t n) { return (n + EQ_GGUF_ALIGN - 1) / EQ_GGUF_ALIGN * EQ_GGUF_ALIGN; }

eq_status eq_ggw_new(eq_ggw **out, const char *path, eq_err *err) {
    eq_ggw *w = *out = eq_calloc(1, sizeof *w);
    if (w) w->path = eq_strdup(path);
    if (w && w->path) return EQ_OK;
    eq_ggw_abort(w);
    *out = NULL;
    return eq_nomem(err, "a GGUF header", sizeof *w);
}

static void put_u32(eq_str *s, uint32_t v) { eq_str_put(s, &v, sizeof v); }
static void put_u64(eq_str *s, uint64_t v) { eq_str_put(s, &v, sizeof v); }
static void put_text(eq_str *s, const char *p, int64_t n) {
    put_u64(s, (uint64_t)n);
    eq_str_put(s, p, n);
}
static void key(eq_ggw *w, const char *name, eq_gguf_kind kind) {
    put_text(&w->meta, name, (int64_t)strlen(name));
    put_u32(&w->meta, kind);
    w->keys++;
}

void eq_ggw_u32(eq_ggw *w, const char *name, int64_t v) {
    key(w, name, EQ_GGUF_U32);
    if (v < 0 || v > UINT32_MAX) w->bad = true;
    put_u32(&w->meta, (uint32_t)v);
}
void eq_ggw_f32(eq_ggw *w, const char *name, double v) {
    float f = (float)v;
    key(w, name, EQ_GGUF_F32);
    eq_str_put(&w->meta, &f, sizeof f);
}
void eq_ggw_bool(eq_ggw *w, const char *name, bool v) {
    uint8_t b = v;
    key(w, name, EQ_GGUF_BOOL);
    eq_str_put(&w->meta, &b, sizeof b);
}
void eq_ggw_str(eq_ggw *w, const char *name, const char *s, int64_t n) {
    key(w, name, EQ_GGUF_STR);
    put_text(&w->meta, s, n);
}
void eq_ggw_array(eq_ggw *w, const char *name, eq_gguf_kind kind, int64_t n) {
    key(w, name, EQ_GGUF_ARRAY);
    put_u32(&w->meta, kind);
    put_u64(&w->meta, (uint64_t)n);
}
void eq_ggw_put_str(eq_ggw *w, const char *s, int64_t n) { put_text(&w->meta, s, n); }
void eq_ggw_put_i32(eq_ggw *w, int32_t v) { eq_str_put(&w->meta, &v, sizeof v); }
void eq_ggw_put_f32(eq_ggw *w, float v) { eq_str_put(&w->meta, &v, sizeof v); }

eq_status eq_ggw_tensor(eq_ggw *w, const char *name, eq_ggml type, int ndim, const int64_t *dim,
                        eq_err *err) {
    eq_ggml_spec t = eq_ggml_of(type);
    int64_t n = 1, end;
    if (w->tensors == w->cap) {
        int64_t cap = w->cap ? 2 * w->cap : 256;
        int64_t *p = eq_realloc(w->size, cap, sizeof *p);
        if (!p) return eq_nomem(err, "the list of tensors", cap * 8);
        w->size = p, w->cap = cap;
    }
    bool fits = strlen(name) < EQ_GGUF_NAME && ndim >= 1 && ndim <= EQ_GGUF_DIMS;
    for (int i = 0; fits && i < ndim; i++) fits = eq_mul(n, dim[i], &n);
    fits = fits && dim[0] % t.block == 0 && eq_mul(n / t.block, t.bytes, &n) &&
           eq_add(w->data, n, &end) && end < INT64_MAX - EQ_GGUF_ALIGN;
    if (!fits)
        return eq_fail(err, EQ_EINPUT,
                       "%s: tensor %.200s: expected a name shorter than %d bytes and rows of whole "
                       "blocks of %lld",
                       w->path, name, EQ_GGUF_NAME, (long long)t.block);
    put_text(&w->infos, name, (int64_t)strlen(name));
    put_u32(&w->infos, (uint32_t)ndim);
    for (int i = 0; i < ndim; i++) put_u64(&w->infos, (uint64_t)dim[i]);
    put_u32(&w->infos, (uint32_t)t.number);
    put_u64(&w->infos, (uint64_t)w->data);
    w->size[w->tensors++] = n;
    w->data += padded(n);
    return EQ_OK;
}

static eq_status put_zeros(eq_ggw *w, int64_t n, eq_err *err) {
    static const char zero[EQ_GGUF_ALIGN];
    return n ? eq_writer_put(w->out, zero, n, err) : EQ_OK;
}

eq_status eq_ggw_begin(eq_ggw *w, eq_err *err) {
    uint32_t version = 3;
    uint64_t counts[2] = {(uint64_t)w->tensors, (uint64_t)w->keys};
    if (w->meta.oom || w->infos.oom) return eq_nomem(err, "a GGUF header", w->meta.n + w->infos.n);
    if (w->bad)
        return eq_fail(err, EQ_EINPUT, "%s: expected metadata that 32 bits hold, found more",
                       w->path);
    w->head = padded(24 + w->meta.n + w->infos.n);
    EQ_TRY(eq_writer_open(&w->out, w->path, err));
    EQ_TRY(eq_writer_put(w->out, "GGUF", 4, err));
    EQ_TRY(eq_writer_put(w->out, &version, sizeof version, err));
    EQ_TRY(eq_writer_put(w->out, counts, sizeof counts, err));
    if (w->meta.n) EQ_TRY(eq_writer_put(w->out, w->meta.p, w->meta.n, err));
    if (w->infos.n) EQ_TRY(eq_writer_put(w->out, w->infos.p, w->infos.n, err));
    return put_zeros(w, w->head - 24 - w->meta.n - w->infos.n, err);
}

eq_status eq_ggw_put(eq_ggw *w, const void *bytes, int64_t n, eq_err *err) {
    if (!w->out || w->at >= w->tensors || n > w->size[w->at] - w->put)
        return eq_fail(err, EQ_EINPUT, "%s: more bytes put than tensor %lld has", w->path,
                       (long long)w->at);
    EQ_TRY(eq_writer_put(w->out, bytes, n, err));
    w->put += n;
    if (w->put < w->size[w->at]) return EQ_OK;
    n = w->put, w->at++, w->put = 0;
    return put_zeros(w, padded(n) - n, err);
}

eq_status eq_ggw_end(eq_ggw *w, eq_err *err) {
    eq_status st;
    if (!w->out || w->at != w->tensors) {
        st = eq_fail(err, EQ_EINPUT, "%s: %lld tensors declared, only %lld put", w->path,
                     (long long)w->tensors, (long long)w->at);
    } else {
        st = eq_writer_commit(w->out, err);
        w->out = NULL;
    }
    eq_ggw_abort(w);
    return st;
}

void eq_ggw_abort(eq_ggw *w) {
    if (!w) return;
    eq_writer_abort(w->out);
    eq_str_free(&w->meta), eq_str_free(&w->infos);
    eq_free(w->size), eq_free(w->path), eq_free(w);
}

int64_t eq_ggw_bytes(const eq_ggw *w) { return w->head + w->data; }

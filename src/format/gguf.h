/* GGUF version 3 (FORMATS, "GGUF"): metadata and tensors of one file; mapped reading, streaming
 * writing. Knows types and sizes, no model. Every number from a file goes through checked sums and
 * products. */
#ifndef EQ_FORMAT_GGUF_H
#define EQ_FORMAT_GGUF_H
#include "base/err.h"
#include "format/ggml.h"

/* Types of metadata, as files number them. */
typedef enum {
    EQ_GGUF_U8,
    EQ_GGUF_I8,
    EQ_GGUF_U16,
    EQ_GGUF_I16,
    EQ_GGUF_U32,
    EQ_GGUF_I32,
    EQ_GGUF_F32,
    EQ_GGUF_BOOL,
    EQ_GGUF_STR,
    EQ_GGUF_ARRAY,
    EQ_GGUF_U64,
    EQ_GGUF_I64,
    EQ_GGUF_F64,
    EQ_GGUF_KINDS
} eq_gguf_kind;

enum { EQ_GGUF_DIMS = 4, EQ_GGUF_NAME = 64, EQ_GGUF_ALIGN = 32 };
typedef struct {
    const char *name;
    eq_ggml type;
    int ndim;
    int64_t dim[EQ_GGUF_DIMS]; /* as files have them: the row length first */
    int64_t n, bytes;
    const uint8_t *data;
} eq_gguf_tensor;

/* ---- reading ----------------------------------------------------------------------------------
 */

typedef struct eq_gguf eq_gguf;
/* Unique keys and names, offsets as the running sum of padded sizes, types of the table. */
eq_status eq_gguf_open(eq_gguf **g, const char *path, eq_err *err);
void eq_gguf_close(eq_gguf *g);
const char *eq_gguf_path(const eq_gguf *g);
int64_t eq_gguf_count(const eq_gguf *g);
const eq_gguf_tensor *eq_gguf_at(const eq_gguf *g, int64_t i);
const eq_gguf_tensor *eq_gguf_find(const eq_gguf *g, const char *name); /* NULL: absent */
/* As eq_st_drop. */
void eq_gguf_drop(const eq_gguf *g, const eq_gguf_tensor *t);

/* A value of the metadata. */
typedef struct {
    const char *key;
    eq_gguf_kind kind; /* of elements, where it is an array */
    bool array;
    int64_t n;         /* elements */
    const uint8_t *at; /* the first, in the file */
    int64_t bytes;     /* of all */
} eq_gguf_value;
int64_t eq_gguf_keys(const eq_gguf *g);
const eq_gguf_value *eq_gguf_key(const eq_gguf *g, int64_t i);
const eq_gguf_value *eq_gguf_get(const eq_gguf *g, const char *key); /* NULL: absent */
/* Whole numbers of any width, floats, booleans, texts (not ended by 0): false: of another kind. */
bool eq_gguf_int(const eq_gguf_value *v, int64_t i, int64_t *out);
bool eq_gguf_num(const eq_gguf_value *v, int64_t i, double *out);
/* Walks the texts of an array in order: *at begins as v->at. */
bool eq_gguf_next(const eq_gguf_value *v, const uint8_t **at, const char **s, int64_t *n);

/* ---- writing ----------------------------------------------------------------------------------
 */

/* Metadata first, then the tensors' names, begin, the bytes of each in order, end. What memory or
 * the format refuses of metadata is said by eq_ggw_begin. Written atomically (base/io.h). */
typedef struct eq_ggw eq_ggw;
eq_status eq_ggw_new(eq_ggw **w, const char *path, eq_err *err);
void eq_ggw_u32(eq_ggw *w, const char *key, int64_t v); /* 0 .. 2^32 - 1 */
void eq_ggw_f32(eq_ggw *w, const char *key, double v);
void eq_ggw_bool(eq_ggw *w, const char *key, bool v);
void eq_ggw_str(eq_ggw *w, const char *key, const char *s, int64_t n);
/* Arrays: begin with the number of elements, then put each. */
void eq_ggw_array(eq_ggw *w, const char *key, eq_gguf_kind kind, int64_t n);
void eq_ggw_put_str(eq_ggw *w, const char *s, int64_t n);
void eq_ggw_put_i32(eq_ggw *w, int32_t v);
void eq_ggw_put_f32(eq_ggw *w, float v);
/* dim: the row length first. */
eq_status eq_ggw_tensor(eq_ggw *w, const char *name, eq_ggml type, int ndim, const int64_t *dim,
                        eq_err *err);
eq_status eq_ggw_begin(eq_ggw *w, eq_err *err);
eq_status eq_ggw_put(eq_ggw *w, const void *bytes, int64_t n, eq_err *err);
eq_status eq_ggw_end(eq_ggw *w, eq_err *err); /* frees w always */
void eq_ggw_abort(eq_ggw *w);                 /* NULL allowed */
int64_t eq_ggw_bytes(const eq_ggw *w);        /* of the whole file, after begin */
#endif

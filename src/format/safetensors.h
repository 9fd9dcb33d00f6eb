/* safetensors: mapped reading of one file or of shards with an index, streaming writing.
 * Knows names, types and shapes, no model. Every size from a file goes through checked products. */
#ifndef EQ_FORMAT_SAFETENSORS_H
#define EQ_FORMAT_SAFETENSORS_H
#include "base/err.h"
#include "base/num.h"

enum { EQ_MAX_DIMS = 8 };
typedef struct {
    const char *name;
    const char *file; /* path, for messages */
    eq_dtype dt;
    int ndim;
    int64_t shape[EQ_MAX_DIMS];
    int64_t n, bytes;
    const void *data; /* mapped, read-only, aligned to the element or copied by the reader */
} eq_tensor;

typedef struct eq_st eq_st;
/* path: a .safetensors file, or a folder with model.safetensors or model.safetensors.index.json
 * (then every shard of the index is opened, every tensor of the map must lie where it says, and a
 * shard's tensor that the map lacks is an error). */
eq_status eq_st_open(eq_st **st, const char *path, eq_err *err);
/* One file with a seal at its end (base/io.h), which is looked at first. */
eq_status eq_st_open_sealed(eq_st **st, const char *path, eq_err *err);
void eq_st_close(eq_st *st);
int64_t eq_st_count(const eq_st *st);
const eq_tensor *eq_st_at(const eq_st *st, int64_t i);          /* in file order */
const eq_tensor *eq_st_find(const eq_st *st, const char *name); /* NULL: absent */
/* The tensor's pages leave the memory of this process, and come back where they are read. */
void eq_st_drop(const eq_st *st, const eq_tensor *t);
/* Puts `prefix` in front of every name but `but`. */
eq_status eq_st_put_prefix(eq_st *st, const char *prefix, const char *but, eq_err *err);
/* The value of a key of __metadata__ (of the first file), NULL: absent. */
const char *eq_st_meta(const eq_st *st, const char *key);
/* EQ_EINPUT when a file was written to since it was opened (base/io.h). */
eq_status eq_st_unchanged(const eq_st *st, eq_err *err);
/* The same of all files as eq_map_look_anew and eq_map_accept. */
bool eq_st_look_anew(eq_st *st);
void eq_st_accept(eq_st *st);
/* Content fingerprint input: the mapped files in order. */
int64_t eq_st_files(const eq_st *st);
void eq_st_file(const eq_st *st, int64_t i, const char **path, const uint8_t **data, int64_t *size);

/* Writing. Declare every tensor, begin, then put the bytes of each in the order of declaration (in
 * as many pieces as wanted), end. Written atomically (base/io.h). */
typedef struct eq_stw eq_stw;
eq_status eq_stw_new(eq_stw **w, const char *path, eq_err *err);
void eq_stw_seal(eq_stw *w); /* before eq_stw_begin: for eq_st_open_sealed */
eq_status eq_stw_meta(eq_stw *w, const char *key, const char *value, eq_err *err);
eq_status eq_stw_tensor(eq_stw *w, const char *name, eq_dtype dt, int ndim, const int64_t *shape,
                        eq_err *err);
eq_status eq_stw_begin(eq_stw *w, eq_err *err);
eq_status eq_stw_put(eq_stw *w, const void *bytes, int64_t n, eq_err *err);
eq_status eq_stw_end(eq_stw *w, eq_err *err); /* checks that every byte came; frees w always */
void eq_stw_abort(eq_stw *w);                 /* NULL allowed */
#endif

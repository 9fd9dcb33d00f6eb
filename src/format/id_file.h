/* Files of token ids: .npy, which says what it holds, and .bin, integers and nothing else. */
#ifndef EQ_FORMAT_ID_FILE_H
#define EQ_FORMAT_ID_FILE_H
#include "format/file_kind.h"
#include "format/npy.h"

typedef struct {
    const char *name;
    eq_map map;
    eq_npy_head head; /* a .bin has one row */
} eq_id_file;
/* raw: "u16", "u32", "i32", "i64", little-endian: of a .bin; NULL: not said, which is an error for
 * one. f->name must outlive *ids. */
eq_status eq_id_file_open(eq_id_file *ids, const eq_file *f, const char *raw, eq_err *err);
/* n ids from the one at `from` on; one outside of [0, vocab) is an error that names its place. */
eq_status eq_id_file_get(const eq_id_file *ids, int32_t *out, int64_t from, int64_t n,
                         int64_t vocab, eq_err *err);
static inline int64_t eq_id_file_count(const eq_id_file *ids) {
    return ids->head.rows * ids->head.cols;
}
void eq_id_file_close(eq_id_file *ids);
#endif

/* What a data file is: told by its ending, capitals or not, or, of standard input, by its content.
 */
#ifndef EQ_FORMAT_FILE_KIND_H
#define EQ_FORMAT_FILE_KIND_H
#include "base/err.h"

typedef enum { EQ_PACKED_NOT, EQ_PACKED_GZ, EQ_PACKED_ZST } eq_packing;
typedef enum {
    EQ_FILE_UNKNOWN,
    EQ_FILE_TEXT, /* .txt, .raw */
    EQ_FILE_JSON, /* .jsonl, .ndjson, .json */
    EQ_FILE_NPY,
    EQ_FILE_BIN /* raw token ids */
} eq_file_kind;

typedef struct {
    const char *path, *name; /* name: in messages */
    eq_file_kind kind;
    eq_packing packing;
} eq_file;

eq_file eq_file_of(const char *path); /* by its ending */
/* "-": what standard input holds. What is no file on a disk goes into one without a name first, in
 * the place of descriptor 0, so that it can be read twice, and by every later call. */
eq_status eq_file_stdin(eq_file *f, eq_err *err);
/* EQ_EINPUT for a kind that is not known, with the list of those that are. */
eq_status eq_file_known(const eq_file *f, eq_err *err);
static inline bool eq_file_is_text(const eq_file *f) {
    return f->kind == EQ_FILE_TEXT || f->kind == EQ_FILE_JSON;
}
#endif

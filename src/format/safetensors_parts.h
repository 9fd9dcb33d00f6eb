/* What the safetensors*.c files share. */
#ifndef EQ_FORMAT_SAFETENSORS_PARTS_H
#define EQ_FORMAT_SAFETENSORS_PARTS_H
#include "format/safetensors.h"

/* Maps one more file and appends its tensors. Takes ownership of `path`, which may be NULL (memory
 * is out). */
eq_status eq_st_add_file(eq_st *st, char *path, bool sealed, eq_err *err);
/* After the last file or another naming: makes eq_st_find work; a name that is there twice is an
 * error. */
eq_status eq_st_index_names(eq_st *st, eq_err *err);
eq_status eq_st_open_folder(eq_st *st, const char *dir, eq_err *err);
#endif

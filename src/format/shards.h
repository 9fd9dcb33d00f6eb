/* The tensor files of a model's folder as they are written: their names, their index. */
#ifndef EQ_FORMAT_SHARDS_H
#define EQ_FORMAT_SHARDS_H
#include <jansson.h>

#include "format/safetensors.h"

/* Of a file: model.safetensors, or of several model-00001-of-00003.safetensors. */
void eq_shard_name(char out[64], int file, int files);
/* eq_stw_new of one of them, as transformers wants it ("format": "pt"). */
eq_status eq_shard_new(eq_stw **w, const char *dir, int file, int files, eq_err *err);
/* The index of several. map: tensor name to file name, taken over, NULL: memory is out; bytes: of
 * all tensors. */
eq_status eq_shard_index(json_t *map, int64_t bytes, const char *dir, eq_err *err);
#endif

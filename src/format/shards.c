/* See shards.h. */
#include "format/shards.h"

#include <stdio.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"

void eq_shard_name(char out[64], int file, int files) {
    if (files == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05d-of-%05d.safetensors", file + 1, files);
}

eq_status eq_shard_new(eq_stw **w, const char *dir, int file, int files, eq_err *err) {
    char name[64];
    eq_shard_name(name, file, files);
    char *path = eq_path(dir, name);
    if (!path) return eq_nomem(err, "a path", 256);
    eq_status st = eq_stw_new(w, path, err);
    eq_free(path);
    return st == EQ_OK ? eq_stw_meta(*w, "format", "pt", err) : st;
}

eq_status eq_shard_index(json_t *map, int64_t bytes, const char *dir, eq_err *err) {
    json_t *root =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)bytes, "weight_map", map);
    eq_status st = root ? eq_json_write(root, dir, "model.safetensors.index.json", err)
                        : eq_nomem(err, "the index", 1 << 12);
    json_decref(root);
    return st;
}

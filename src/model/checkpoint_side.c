/* The side files of a checkpoint: config.json changes by quantization_config alone, the rest is
 * copied byte for byte, so that vocabulary and tokenizer stay what they were. */
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/checkpoint_parts.h"

/* What GPTQ readers look for, old and new names (FORMATS, "GPTQ"). */
static json_t *quantization_config(const eq_checkpoint *c) {
    return json_pack("{s:i, s:I, s:b, s:b, s:b, s:b, s:f, s:b, s:s, s:s, s:s, s:s, s:s}", "bits",
                     c->bits, "group_size", (json_int_t)c->group, "sym", 0, "desc_act", 0,
                     "static_groups", 0, "true_sequential", 1, "damp_percent", 0.01, "lm_head", 0,
                     "quant_method", "gptq", "checkpoint_format", "gptq_v2", "method", "gptq",
                     "format", "gptq_v2", "pack_dtype", "int32");
}

static eq_status write_json(const json_t *v, const char *dir, const char *name, eq_err *err) {
    char *path = eq_path(dir, name), *text = eq_json_text(v, 2);
    eq_status st = path && text ? eq_write_file(path, text, (int64_t)strlen(text), err)
                                : eq_nomem(err, name, 1 << 12);
    eq_free(path), eq_free(text);
    return st;
}

static eq_status write_config(const eq_checkpoint *c, const char *dir, eq_err *err) {
    json_t *root = NULL, *q = quantization_config(c);
    char *path = eq_path(c->base->dir, "config.json");
    eq_status st = path ? eq_json_load(&root, path, err) : eq_nomem(err, "a path", 256);
    eq_free(path);
    if (st == EQ_OK && (!q || json_object_set(root, "quantization_config", q)))
        st = eq_nomem(err, "config.json", 1 << 12);
    if (st == EQ_OK) st = write_json(root, dir, "config.json", err);
    if (st == EQ_OK) st = write_json(q, dir, "quantize_config.json", err);
    json_decref(root), json_decref(q);
    return st;
}

/* Files that hold weights, or describe the ones that do. */
static bool is_weights(const char *name) {
    static const char *const tails[] = {".safetensors", ".safetensors.index.json",
                                        ".bin",         ".bin.index.json",
                                        ".pth",         ".pt",
                                        ".gguf",        ".h5",
                                        ".msgpack",     ".onnx"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (eq_ends_with(name, tails[i])) return true;
    return !strcmp(name, "config.json") || !strcmp(name, "quantize_config.json");
}

static eq_status copy_one(const char *from_dir, const char *name, const char *dir, eq_err *err) {
    struct stat sb;
    char *from = eq_path(from_dir, name), *to = eq_path(dir, name);
    eq_status st = EQ_OK;
    if (!from || !to) st = eq_nomem(err, "a path", 256);
    /* links are followed: a snapshot of the hub's cache consists of them */
    else if (stat(from, &sb))
        st = eq_fail_errno(err, "%s: cannot stat", from);
    else if (S_ISREG(sb.st_mode))
        st = eq_copy_file(from, to, err);
    eq_free(from), eq_free(to);
    return st;
}

eq_status eq_checkpoint_side_files(const eq_checkpoint *c, const char *dir, eq_err *err) {
    eq_names names;
    EQ_TRY(write_config(c, dir, err));
    EQ_TRY(eq_list_dir(c->base->dir, &names, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < names.n && st == EQ_OK; i++)
        if (!is_weights(names.p[i])) st = copy_one(c->base->dir, names.p[i], dir, err);
    eq_names_free(&names);
    return st;
}

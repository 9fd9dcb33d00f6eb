/* The side files of a checkpoint: config.json changes by quantization_config alone, the rest is
 * copied byte for byte, so that vocabulary and tokenizer stay what they were. */
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
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
    const eq_str *text = &c->base->config; /* not the file: what was trained is what this says */
    eq_status st = eq_json_parse(&root, text->p, text->n, "config.json", err);
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
    static const char *const names[] = {"config.json", "quantize_config.json", EQ_STATE_NAME,
                                        EQ_SUMS_NAME};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (eq_ends_with(name, tails[i])) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* Whether a file of the model's folder goes along. Links are followed: a snapshot of the hub's
 * cache consists of them. One to nowhere is no reason to refuse a model that every reader loads. */
static eq_status goes_along(const char *path, bool *yes, const eq_observer *obs, eq_err *err) {
    struct stat sb;
    *yes = false;
    if (eq_is_dangling(path)) {
        eq_note(obs, "%s: a link to nowhere, left out", path);
        return EQ_OK;
    }
    if (stat(path, &sb)) return eq_fail_errno(err, "%s: cannot stat", path);
    if (!S_ISREG(sb.st_mode)) return EQ_OK;
    if (strchr(path, '\n')) {
        eq_note(obs, "%s: a line break in its name, left out", path);
        return EQ_OK;
    }
    *yes = true;
    return EQ_OK;
}

typedef eq_status (*side_fn)(const char *from, const char *to, eq_err *err);
static eq_status copy(const char *from, const char *to, eq_err *err) {
    return eq_copy_file(from, to, err);
}
static eq_status look(const char *from, const char *to, eq_err *err) {
    eq_map m;
    (void)to;
    EQ_TRY(eq_map_open(&m, from, err));
    eq_map_close(&m);
    return EQ_OK;
}

/* Calls fn for each side file of the model. */
static eq_status each(const char *model, const char *to_dir, side_fn fn, const eq_observer *obs,
                      eq_err *err) {
    eq_names names;
    EQ_TRY(eq_list_dir(model, &names, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < names.n && st == EQ_OK; i++) {
        if (is_weights(names.p[i])) continue;
        char *from = eq_path(model, names.p[i]), *to = eq_path(to_dir, names.p[i]);
        bool yes = false;
        st = from && to ? goes_along(from, &yes, obs, err) : eq_nomem(err, "a path", 256);
        if (yes) st = fn(from, to, err);
        eq_free(from), eq_free(to);
    }
    eq_names_free(&names);
    return st;
}

eq_status eq_checkpoint_check_side_files(const char *model, const eq_observer *obs, eq_err *err) {
    return each(model, model, look, obs, err);
}

eq_status eq_checkpoint_side_files(const eq_checkpoint *c, const char *dir, eq_err *err) {
    EQ_TRY(write_config(c, dir, err));
    return each(c->base->dir, dir, copy, NULL, err);
}

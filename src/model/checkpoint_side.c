/* The side files of a checkpoint: config.json changes by quantization_config alone, the rest is
 * copied byte for byte, so that vocabulary and tokenizer stay what they were. */
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "model/checkpoint_parts.h"
#include "model/schemes.h"

/* What GPTQ readers look for, old and new names (FORMATS, "GPTQ"). */
static json_t *quantization_config(const eq_checkpoint *c) {
    eq_scheme all = c->schemes.all;
    bool rows = eq_checkpoint_layout(&c->base->cfg, &c->schemes, NULL) == EQ_LAYOUT_ROWS;
    json_t *q =
        rows ? json_pack("{s:i, s:I, s:s}", "bits", all.bits, "group_size", (json_int_t)all.group,
                         "quant_method", "eqat")
             : json_pack("{s:i, s:I, s:b, s:b, s:b, s:b, s:f, s:b, s:s, s:s, s:s, s:s, s:s}",
                         "bits", all.bits, "group_size", (json_int_t)all.group, "sym", 0,
                         "desc_act", 0, "static_groups", 0, "true_sequential", 1, "damp_percent",
                         0.01, "lm_head", 0, "quant_method", "gptq", "checkpoint_format", "gptq_v2",
                         "method", "gptq", "format", "gptq_v2", "pack_dtype", "int32");
    json_t *dynamic = eq_schemes_dynamic(&c->schemes, &c->base->cfg);
    if (q && dynamic) json_object_set(q, "dynamic", dynamic);
    if (q && all.grid != EQ_GRID_FREE)
        json_object_set_new(q, "meta", json_pack("{s:s}", "eqat_grid", eq_grid_name(all.grid)));
    json_decref(dynamic);
    return q;
}

static eq_status write_config(const eq_checkpoint *c, const char *dir, eq_err *err) {
    json_t *root = NULL, *q = quantization_config(c);
    const eq_str *text = &c->base->config; /* not the file: what was trained is what this says */
    eq_status st = eq_json_parse(&root, text->p, text->n, "config.json", err);
    if (st == EQ_OK && (!q || json_object_set(root, "quantization_config", q)))
        st = eq_nomem(err, "config.json", 1 << 12);
    if (st == EQ_OK) st = eq_json_write(root, dir, "config.json", err);
    if (st == EQ_OK) st = eq_json_write(q, dir, "quantize_config.json", err);
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
    static const char *const names[] = {"config.json", "quantize_config.json", "quant_config.json",
                                        EQ_STATE_NAME, EQ_SUMS_NAME};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (eq_ends_with(name, tails[i])) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* Whether a file of the model's folder goes along. Links are followed: a snapshot of the hub's
 * cache consists of them. One to nowhere is no reason to refuse a model that every reader loads. */
static eq_status goes_along(const char *path, const char *name, bool *yes, const eq_observer *obs,
                            eq_err *err) {
    struct stat sb;
    *yes = false;
    if (eq_is_dangling(path)) {
        eq_note(obs, "%s: a link to nowhere, left out", path);
        return EQ_OK;
    }
    if (stat(path, &sb)) return eq_fail_errno(err, "%s: cannot stat", path);
    if (!S_ISREG(sb.st_mode)) return EQ_OK;
    if (strchr(name, '\n')) { /* eqat.sums has a line for each */
        eq_note(obs, "%s: a line break in its name, left out", path);
        return EQ_OK;
    }
    *yes = true;
    return EQ_OK;
}

static eq_status look(const char *path, eq_err *err) {
    eq_map m;
    EQ_TRY(eq_map_open(&m, path, err));
    eq_map_close(&m);
    return EQ_OK;
}

typedef eq_status (*side_fn)(void *ctx, const char *from, const char *name, eq_err *err);

/* Calls fn for each side file of the model. */
static eq_status each(const char *model, side_fn fn, void *ctx, const eq_observer *obs,
                      eq_err *err) {
    eq_names names;
    EQ_TRY(eq_list_dir(model, &names, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < names.n && st == EQ_OK; i++) {
        if (is_weights(names.p[i])) continue;
        char *from = eq_path(model, names.p[i]);
        bool yes = false;
        st = from ? goes_along(from, names.p[i], &yes, obs, err) : eq_nomem(err, "a path", 256);
        if (yes && eq_stopped(obs)) st = eq_fail(err, EQ_EINTR, "stopped on request");
        if (yes && st == EQ_OK) st = fn(ctx, from, names.p[i], err);
        eq_free(from);
    }
    eq_names_free(&names);
    return st;
}

/* What loaders read: tokenizer, settings, templates, code. A README edited or a log that grows in
 * the folder makes no other model. */
static bool is_loaded(const char *name) {
    static const char *const tails[] = {".json", ".model", ".jinja", ".tiktoken", ".py"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (eq_ends_with(name, tails[i])) return true;
    return !strcmp(name, "merges.txt") || !strcmp(name, "vocab.txt");
}

static eq_status add_sum(void *ctx, const char *from, const char *name, eq_err *err) {
    eq_digest d;
    if (!is_loaded(name)) return look(from, err);
    EQ_TRY(eq_hash_file(from, &d, err));
    json_t *key = eq_json_lossy(name); /* names may be any bytes, keys of JSON may not */
    bool fine = key && !json_object_set_new(ctx, json_string_value(key), json_string(d.hex));
    json_decref(key);
    return fine ? EQ_OK : eq_nomem(err, "a list of files", 256);
}

eq_status eq_checkpoint_side_sums(json_t **sums, const char *model, const eq_observer *obs,
                                  eq_err *err) {
    *sums = json_object();
    eq_status st =
        *sums ? each(model, add_sum, *sums, obs, err) : eq_nomem(err, "a list of files", 256);
    if (st == EQ_OK) return EQ_OK;
    json_decref(*sums);
    *sums = NULL;
    return st;
}

static eq_status copy(void *dir, const char *from, const char *name, eq_err *err) {
    char *to = eq_path(dir, name);
    eq_status st = to ? eq_copy_file(from, to, err) : eq_nomem(err, "a path", 256);
    eq_free(to);
    return st;
}

eq_status eq_checkpoint_copy_side_files(const char *model, const char *dir, eq_err *err) {
    return each(model, copy, (void *)(uintptr_t)dir, NULL, err);
}

/* The first file that is another one than the run began with, is missing or is one more. */
static const char *first_other(const json_t *was, const json_t *is) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)was, key, v) {
        if (!json_equal(v, json_object_get(is, key))) return key;
    }
    json_object_foreach((json_t *)(uintptr_t)is, key, v) {
        if (!json_object_get(was, key)) return key;
    }
    return NULL;
}

static eq_status compare(const eq_checkpoint *c, const char *dir, eq_err *err) {
    json_t *is;
    EQ_TRY(eq_checkpoint_side_sums(&is, dir, NULL, err));
    const char *other = first_other(c->side_files, is);
    eq_status st = EQ_OK;
    if (other)
        st = eq_fail(err, EQ_EINPUT, "%s/%s: expected %s as when the run began, found %s",
                     c->base->dir, other, json_object_get(c->side_files, other) ? "it" : "no file",
                     json_object_get(is, other) ? "another" : "none");
    json_decref(is);
    return st;
}

eq_status eq_checkpoint_side_files(const eq_checkpoint *c, const char *dir, eq_err *err) {
    EQ_TRY(write_config(c, dir, err));
    EQ_TRY(eq_checkpoint_copy_side_files(c->base->dir, dir, err));
    return c->side_files ? compare(c, dir, err) : EQ_OK;
}

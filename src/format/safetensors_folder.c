/* safetensors, a folder of them: one file, or shards with an index, and what to say where neither
 * is. Invariant: every tensor of an index lies in the shard it names, and no shard holds another.
 */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/safetensors_parts.h"

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static eq_status add_shards(eq_st *st, const char *dir, const char **files, int64_t n,
                            const char *index, eq_err *err) {
    if (n) qsort(files, (size_t)n, sizeof *files, by_text);
    for (int64_t i = 0; i < n; i++) {
        if (i && !strcmp(files[i - 1], files[i])) continue;
        char *path = eq_path(dir, files[i]);
        if (path && !eq_exists(path)) {
            eq_free(path);
            return eq_fail(err, EQ_EINPUT, "%s: shard %.200s is not there", index, files[i]);
        }
        EQ_TRY(eq_st_add_file(st, path, false, err));
    }
    return eq_st_index_names(st, err);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Both ways: what the map names lies where it says, what lies in a shard is named. Maps of old
 * models name buffers that nobody wrote: frequencies, which are no weights. */
static eq_status check_map(const eq_st *st, json_t *map, const char *index, eq_err *err) {
    const char *name;
    json_t *file;
    json_object_foreach(map, name, file) {
        const eq_tensor *t = eq_st_find(st, name);
        if (t && !strcmp(base_name(t->file), json_string_value(file))) continue;
        if (!t && eq_ends_with(name, "rotary_emb.inv_freq")) continue;
        return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s: expected in %.200s, found %s", index,
                       name, json_string_value(file), t ? base_name(t->file) : "nowhere");
    }
    for (int64_t i = 0; i < eq_st_count(st); i++) {
        const eq_tensor *t = eq_st_at(st, i);
        if (!json_object_get(map, t->name))
            return eq_fail(err, EQ_EINPUT, "%s: tensor %.200s of %s is not in the weight_map",
                           index, t->name, base_name(t->file));
    }
    return EQ_OK;
}

static eq_status open_index(eq_st *st, const char *dir, const char *index, eq_err *err) {
    json_t *root = NULL, *file;
    const char **files = NULL, *name;
    eq_status status;
    EQ_GOTO(status, end, eq_json_load(&root, index, err));
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || !json_object_size(map)) {
        status =
            eq_fail(err, EQ_EINPUT, "%s: weight_map: expected an object of tensor names, found %s",
                    index, json_is_object(map) ? "an empty one" : eq_json_type(map));
        goto end;
    }
    int64_t n = 0;
    files = eq_calloc((int64_t)json_object_size(map), sizeof *files);
    if (!files) {
        status = eq_nomem(err, index, (int64_t)json_object_size(map) * 8);
        goto end;
    }
    json_object_foreach(map, name, file) {
        const char *s = json_string_value(file);
        if (!s || !*s || strchr(s, '/')) {
            status = eq_fail(err, EQ_EINPUT,
                             "%s: tensor %.200s: expected a file name of this folder", index, name);
            goto end;
        }
        files[n++] = s;
    }
    EQ_GOTO(status, end, add_shards(st, dir, files, n, index, err));
    status = check_map(st, map, index, err);
end:
    eq_free(files);
    json_decref(root);
    return status;
}

/* Neither file is there: what else may be, and what to do about it. */
static eq_status no_weights(const char *dir, eq_err *err) {
    static const struct {
        const char *head, *tail, *advice;
    } known[] = {
        {"", ".bin", "convert it: load the model in transformers, then save_pretrained"},
        {"", ".pth", "convert it to Hugging Face's form with transformers"},
        {"consolidated", ".safetensors", "the Hugging Face form of the same model is needed"},
        {"adapter_model", ".safetensors", "merge it into its model first (peft: merge_and_unload)"},
        {"model-", ".safetensors", "model.safetensors.index.json, which lists them, is missing"},
        {"", ".gguf",
         "eqat import makes a folder of a Llama's or Qwen's, of others the one it was made from is "
         "needed"},
        {"", ".safetensors", "rename it if it is the whole model"},
    };
    eq_names names;
    EQ_TRY(eq_list_dir(dir, &names, err));
    eq_status st = EQ_OK;
    for (size_t k = 0; k < sizeof known / sizeof *known && st == EQ_OK; k++)
        for (int64_t i = 0; i < names.n && st == EQ_OK; i++)
            if (eq_starts_with(names.p[i], known[k].head) &&
                eq_ends_with(names.p[i], known[k].tail) && strcmp(names.p[i], "training_args.bin"))
                st = eq_fail(err, EQ_EINPUT,
                             "%s: expected model.safetensors or model.safetensors.index.json, "
                             "found %.200s: %s",
                             dir, names.p[i], known[k].advice);
    eq_names_free(&names);
    if (st != EQ_OK) return st;
    return eq_fail(err, EQ_EINPUT,
                   "%s: expected model.safetensors or model.safetensors.index.json, found neither",
                   dir);
}

eq_status eq_st_open_folder(eq_st *st, const char *dir, eq_err *err) {
    char *one = eq_path(dir, "model.safetensors");
    char *index = eq_path(dir, "model.safetensors.index.json");
    eq_status status;
    if (!one || !index) {
        status = eq_nomem(err, "a path", 256);
    } else if (eq_exists(one)) { /* as transformers does: the single file wins */
        status = eq_st_add_file(st, one, false, err);
        one = NULL;
        if (status == EQ_OK) status = eq_st_index_names(st, err);
    } else if (eq_exists(index)) {
        status = open_index(st, dir, index, err);
    } else {
        status = no_weights(dir, err);
    }
    eq_free(one);
    eq_free(index);
    return status;
}

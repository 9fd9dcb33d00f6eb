/* A model is a folder. What people give instead, the name of a model on the hub or a folder of the
 * hub's cache, gets a line that says where the folder is or how to get one. */
#include "model_folder.h"

#include <string.h>

#include "base/io.h"
#include "base/mem.h"

static bool has_config(const char *dir) {
    char *path = eq_path(dir, "config.json");
    bool yes = path && eq_exists(path);
    eq_free(path);
    return yes;
}

/* "owner/name" of letters, digits, '-', '_' and '.', as the hub has them. */
static bool is_hub_name(const char *s) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t owner = strspn(s, letters);
    if (!owner || s[owner] != '/' || *s == '.') return false;
    size_t name = strspn(s + owner + 1, letters);
    return name && s[owner + 1] != '.' && !s[owner + 1 + name];
}

/* The first folder below dir/sub whose name begins with `head` and that holds what `holds` wants.
 */
static char *find_in(const char *dir, const char *sub, const char *head,
                     bool (*holds)(const char *)) {
    char *in = *sub ? eq_path(dir, sub) : eq_strdup(dir), *found = NULL;
    eq_names names = {0};
    if (in && eq_is_dir(in) && eq_list_dir(in, &names, NULL) == EQ_OK)
        for (int64_t i = 0; i < names.n && !found; i++) {
            char *path = strncmp(names.p[i], head, strlen(head)) ? NULL : eq_path(in, names.p[i]);
            if (path && holds(path))
                found = path;
            else
                eq_free(path);
        }
    eq_names_free(&names);
    eq_free(in);
    return found;
}
static bool has_snapshot(const char *dir) {
    char *s = find_in(dir, "snapshots", "", has_config);
    eq_free(s);
    return s != NULL;
}

eq_status cli_model_folder(const char *model, eq_err *err) {
    if (has_config(model)) return EQ_OK;
    if (!eq_exists(model) && is_hub_name(model))
        return eq_fail(err, EQ_EINPUT,
                       "%s: no such folder; a model of that name on the hub is fetched by: "
                       "hf download %s --local-dir %s",
                       model, model, strchr(model, '/') + 1);
    if (eq_exists(model) && !eq_is_dir(model) && eq_ends_with(model, ".gguf"))
        return eq_fail(
            err, EQ_EINPUT,
            "%s: expected a model folder, found a GGUF file; of a Llama's or Qwen's one is "
            "made by: eqat import %s -o %.*s",
            model, model, (int)(strlen(model) - strlen(".gguf")), model);
    if (eq_exists(model) && !eq_is_dir(model))
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected a model folder, found a file; name the folder that holds "
                       "config.json beside it",
                       model);
    char *cached = find_in(model, "", "models--", has_snapshot);
    char *snapshot = find_in(cached ? cached : model, "snapshots", "", has_config);
    eq_status st = EQ_OK;
    if (snapshot)
        st = eq_fail(err, EQ_EINPUT, "%s: expected a model folder, found %s; the folder is %s",
                     model, cached ? "a hub cache" : "the hub cache of a model", snapshot);
    eq_free(cached), eq_free(snapshot);
    return st;
}

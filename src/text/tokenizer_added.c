/* See tokenizer_added.h. */
#include "text/tokenizer_added.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/tokenizer_folder.h"

eq_status eq_load_if_there(json_t **out, const char *dir, const char *name, eq_err *err) {
    *out = NULL;
    char *path = eq_path(dir, name);
    if (!path) return eq_nomem(err, "a path", (int64_t)strlen(dir));
    eq_status st = eq_exists(path) ? eq_json_load_real(out, path, err) : EQ_OK;
    if (st == EQ_OK && *out && !json_is_object(*out)) {
        st = eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", path, eq_json_type(*out));
        json_decref(*out);
        *out = NULL;
    }
    eq_free(path);
    return st;
}

static int by_id(const void *a, const void *b) {
    const eq_added_token *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_special(const json_t *config, const char *content) {
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    for (int i = 0; i < 4; i++) {
        const char *s = eq_tokenizer_named(config, keys[i]);
        if (s && !strcmp(s, content)) return true;
    }
    const json_t *more = eq_json_get(config, "additional_special_tokens");
    for (size_t i = 0; i < json_array_size(more); i++) {
        const json_t *v = json_array_get(more, i);
        const char *s = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
        if (s && !strcmp(s, content)) return true;
    }
    return false;
}

/* Without a flag: false, "normalized" for all but special ones, as AddedToken has it. */
static eq_status list_all(eq_added_token *list, int64_t *n, const json_t *config,
                          const json_t *file, const char *dir, eq_err *err) {
    const char *key;
    json_t *v;
    const json_t *decoder = eq_json_get(config, "added_tokens_decoder");
    json_object_foreach((json_t *)(uintptr_t)(decoder ? decoder : file), key, v) {
        char *end;
        eq_added_token *a = &list[*n];
        *a = (eq_added_token){.id = decoder ? strtoll(key, &end, 10) : json_integer_value(v),
                              .content =
                                  decoder ? json_string_value(json_object_get(v, "content")) : key,
                              .flags = decoder ? v : NULL};
        if (!a->content || (decoder && (end == key || *end)) || (!decoder && !json_is_integer(v)))
            return eq_fail(err, EQ_EINPUT,
                           "%s: added token \"%.80s\": expected an id and a content", dir, key);
        a->special =
            decoder ? json_is_true(json_object_get(v, "special")) : is_special(config, a->content);
        ++*n;
    }
    return EQ_OK;
}

static void list_more(eq_added_token *list, int64_t *n, const eq_added_token *more, int64_t m) {
    for (int64_t i = 0, had = *n; i < m; i++) {
        bool is = false;
        for (int64_t k = 0; k < had && !is; k++)
            is = list[k].id == more[i].id || !strcmp(list[k].content, more[i].content);
        if (!is) list[(*n)++] = more[i];
    }
}

static json_t *as_object(const eq_added_token *a) {
    static const char *const names[] = {"single_word", "lstrip", "rstrip", "normalized"};
    json_t *t = json_pack("{s:I, s:s, s:b}", "id", (json_int_t)a->id, "content", a->content,
                          "special", a->special);
    for (int k = 0; k < 4; k++) {
        const json_t *flag = eq_json_get(a->flags, names[k]);
        bool on = flag ? json_is_true(flag) : k == 3 && !a->special && !a->raw;
        json_object_set_new(t, names[k], json_boolean(on));
    }
    return t;
}

eq_status eq_added_list(json_t **out, const json_t *config, const char *dir,
                        const eq_added_token *more, int64_t m, eq_err *err) {
    json_t *file = NULL;
    *out = json_array();
    EQ_TRY(eq_load_if_there(&file, dir, "added_tokens.json", err));
    int64_t n = 0, most = m + (int64_t)json_object_size(file) +
                          (int64_t)json_object_size(eq_json_get(config, "added_tokens_decoder"));
    eq_added_token *list = eq_calloc(most, sizeof *list);
    eq_status st = list ? list_all(list, &n, config, file, dir, err)
                        : eq_nomem(err, "added tokens", most * (int64_t)sizeof *list);
    if (st == EQ_OK) {
        list_more(list, &n, more, m);
        qsort(list, (size_t)n, sizeof *list, by_id);
    }
    for (int64_t i = 0; i < n && st == EQ_OK; i++)
        if (json_array_append_new(*out, as_object(list + i)))
            st = eq_nomem(err, "added tokens", 256);
    eq_free(list);
    json_decref(file);
    return st;
}

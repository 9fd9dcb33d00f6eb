/* See tokenizer_folder.h. Invariant: no class is guessed where a file names one. */
#include "text/tokenizer_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/utf8.h"

static const char end_of_text[] = "<|endoftext|>";

/* Qwen2Tokenizer's words. */
static const char qwen2_words[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{"
                                  "N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                                  "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const char *eq_tokenizer_named(const json_t *config, const char *key) {
    const json_t *v = eq_json_get(config, key);
    return json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
}

/* dir/name as JSON; *out NULL where it is absent. */
static eq_status load_if_there(json_t **out, const char *dir, const char *name, eq_err *err) {
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

/* ---- vocab.json and merges.txt --------------------------------------------------------------- */

/* The lines of merges.txt as a JSON array. */
static eq_status read_merges(json_t **out, const char *path, eq_err *err) {
    eq_map m;
    EQ_TRY(eq_map_open(&m, path, err));
    eq_status st = EQ_OK;
    const char *s = (const char *)m.data, *end = s + m.size;
    *out = json_array();
    while (s < end && st == EQ_OK) {
        const char *nl = memchr(s, '\n', (size_t)(end - s)), *stop = nl ? nl : end;
        size_t n = (size_t)(stop - s);
        if (nl && n && s[n - 1] == '\r') n--;
        json_t *line = json_stringn(s, n);
        if (!line && eq_utf8_valid(s, (int64_t)n) != (int64_t)n)
            st = eq_fail(err, EQ_EINPUT, "%s: line %lld is not UTF-8", path,
                         (long long)json_array_size(*out) + 1);
        else if (!line || json_array_append_new(*out, line))
            st = eq_nomem(err, "merges", m.size);
        s = stop + 1;
    }
    eq_map_close(&m);
    return st;
}

typedef enum { GPT2, QWEN2 } class;

/* Which class transformers makes of two files: the one that tokenizer_config.json names, else that
 * of config.json's model_type. A folder with neither is GPT-2's own, which invented the two files.
 */
static eq_status find_class(class *c, const json_t *config, const char *dir, eq_err *err) {
    static const struct {
        const char *name, *model_type;
        class is;
    } known[] = {{"GPT2Tokenizer", "gpt2", GPT2},
                 {"Qwen2Tokenizer", "qwen2", QWEN2},
                 {"Qwen2Tokenizer", "qwen3", QWEN2}};
    json_t *model = NULL;
    const char *name = json_string_value(eq_json_get(config, "tokenizer_class")), *type = NULL;
    if (!name) EQ_TRY(load_if_there(&model, dir, "config.json", err));
    if (model) type = json_string_value(eq_json_get(model, "model_type"));
    eq_status st = EQ_EINPUT;
    if (!name && !type && !config && !model) *c = GPT2, st = EQ_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known && st != EQ_OK; i++) {
        size_t n = strlen(known[i].name);
        bool is = name ? !strncmp(name, known[i].name, n) && (!name[n] || !strcmp(name + n, "Fast"))
                       : type && !strcmp(type, known[i].model_type);
        if (is) *c = known[i].is, st = EQ_OK;
    }
    if (st != EQ_OK)
        eq_fail(err, EQ_EINPUT,
                "%s: vocab.json and merges.txt of %s%.80s: expected tokenizer.json, or "
                "GPT2Tokenizer or Qwen2Tokenizer in tokenizer_config.json; transformers writes "
                "tokenizer.json (AutoTokenizer.from_pretrained, save_pretrained)",
                dir,
                name   ? "the class "
                : type ? "the model_type "
                       : "no named class",
                name   ? name
                : type ? type
                       : "");
    json_decref(model);
    return st;
}

typedef struct {
    int64_t id;
    const char *content;
    const json_t *flags; /* an object of added_tokens_decoder, or NULL */
    bool special;
} added_token;

static int by_id(const void *a, const void *b) {
    const added_token *x = a, *y = b;
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

/* added_tokens_decoder {"id": {"content", flags}}, else added_tokens.json {"content": id}; the end
 * of text is a token of both classes anyhow. Without a flag: false, "normalized" for all but
 * special ones, as AddedToken has it. */
static eq_status list_added(added_token *list, int64_t *n, const json_t *config, const json_t *file,
                            const json_t *vocab, const char *dir, eq_err *err) {
    const char *key;
    json_t *v;
    bool has_end = false;
    const json_t *decoder = eq_json_get(config, "added_tokens_decoder");
    json_object_foreach((json_t *)(uintptr_t)(decoder ? decoder : file), key, v) {
        char *end;
        added_token *a = &list[*n];
        *a = (added_token){.id = decoder ? strtoll(key, &end, 10) : json_integer_value(v),
                           .content =
                               decoder ? json_string_value(json_object_get(v, "content")) : key,
                           .flags = decoder ? v : NULL};
        if (!a->content || (decoder && (end == key || *end)) || (!decoder && !json_is_integer(v)))
            return eq_fail(err, EQ_EINPUT,
                           "%s: added token \"%.80s\": expected an id and a content", dir, key);
        a->special =
            decoder ? json_is_true(json_object_get(v, "special")) : is_special(config, a->content);
        has_end |= !strcmp(a->content, end_of_text);
        ++*n;
    }
    const json_t *id = json_object_get(vocab, end_of_text);
    if (!has_end && json_is_integer(id))
        list[(*n)++] = (added_token){json_integer_value(id), end_of_text, NULL, true};
    qsort(list, (size_t)*n, sizeof *list, by_id);
    return EQ_OK;
}

static eq_status added_tokens(json_t **out, const json_t *config, const json_t *vocab,
                              const char *dir, eq_err *err) {
    static const char *const names[] = {"single_word", "lstrip", "rstrip", "normalized"};
    json_t *file = NULL;
    *out = json_array();
    EQ_TRY(load_if_there(&file, dir, "added_tokens.json", err));
    int64_t n = 0, most = 1 + (int64_t)json_object_size(file) +
                          (int64_t)json_object_size(eq_json_get(config, "added_tokens_decoder"));
    added_token *list = eq_calloc(most, sizeof *list);
    eq_status st = list ? list_added(list, &n, config, file, vocab, dir, err)
                        : eq_nomem(err, "added tokens", most * (int64_t)sizeof *list);
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        json_t *t = json_pack("{s:I, s:s, s:b}", "id", (json_int_t)list[i].id, "content",
                              list[i].content, "special", list[i].special);
        for (int k = 0; k < 4; k++) {
            const json_t *flag = eq_json_get(list[i].flags, names[k]);
            bool on = flag ? json_is_true(flag) : k == 3 && !list[i].special;
            json_object_set_new(t, names[k], json_boolean(on));
        }
        if (json_array_append_new(*out, t)) st = eq_nomem(err, "added tokens", 256);
    }
    eq_free(list);
    json_decref(file);
    return st;
}

static json_t *byte_level(bool add_space, bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", add_space,
                     "trim_offsets", 1, "use_regex", use_regex);
}

/* Both are byte-level BPE; Qwen2 composes characters and cuts words its own way. */
static json_t *make_spec(class c, json_t *added, json_t *vocab, json_t *merges, bool add_space) {
    json_t *words =
        c == GPT2 ? byte_level(add_space, true)
                  : json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence",
                              "pretokenizers", "type", "Split", "pattern", "Regex", qwen2_words,
                              "behavior", "Isolated", "invert", 0, byte_level(add_space, false));
    json_t *normalizer = c == GPT2 ? json_null() : json_pack("{s:s}", "type", "NFC");
    return json_pack("{s:O, s:o, s:o, s:o, s:{s:s, s:O, s:O}}", "added_tokens", added, "normalizer",
                     normalizer, "pre_tokenizer", words, "decoder", byte_level(false, true),
                     "model", "type", "BPE", "vocab", vocab, "merges", merges);
}

static eq_status load_two(eq_tokenizer_files *f, const char *dir, const char *vocab_path,
                          const char *merges_path, eq_err *err) {
    json_t *vocab = NULL, *merges = NULL, *added = NULL;
    class c = GPT2;
    bool add_space = false;
    eq_status st = find_class(&c, f->config, dir, err);
    if (st == EQ_OK) st = eq_json_bool(f->config, "add_prefix_space", false, &add_space, dir, err);
    if (st == EQ_OK) st = eq_json_load(&vocab, vocab_path, err);
    if (st == EQ_OK) st = read_merges(&merges, merges_path, err);
    if (st == EQ_OK) st = added_tokens(&added, f->config, vocab, dir, err);
    if (st == EQ_OK && !(f->spec = make_spec(c, added, vocab, merges, add_space)))
        st = eq_nomem(err, "a tokenizer", 0);
    json_decref(added);
    json_decref(merges);
    json_decref(vocab);
    return st;
}

/* ---- a folder -------------------------------------------------------------------------------- */

static eq_status load_folder(eq_tokenizer_files *f, const char *dir, eq_err *err) {
    char *json = eq_path(dir, "tokenizer.json"), *vocab = eq_path(dir, "vocab.json");
    char *merges = eq_path(dir, "merges.txt"), *sp = eq_path(dir, "tokenizer.model");
    eq_status st = EQ_OK;
    if (json && vocab) f->path = eq_strdup(eq_exists(json) ? json : vocab);
    if (!merges || !sp || !f->path) st = eq_nomem(err, "a path", (int64_t)strlen(dir));
    if (st == EQ_OK) st = load_if_there(&f->config, dir, "tokenizer_config.json", err);
    if (st == EQ_OK && eq_exists(json))
        st = eq_json_load(&f->spec, json, err);
    else if (st == EQ_OK && eq_exists(vocab) && eq_exists(merges))
        st = load_two(f, dir, vocab, merges, err);
    else if (st == EQ_OK && eq_exists(sp))
        st = eq_fail(
            err, EQ_EINPUT,
            "%s: expected tokenizer.json, found only tokenizer.model, which is not read; convert "
            "it with Hugging Face's tools",
            dir);
    else if (st == EQ_OK)
        st = eq_fail(err, EQ_EINPUT, "%s: expected tokenizer.json, found none", dir);
    eq_free(json), eq_free(vocab), eq_free(merges), eq_free(sp);
    return st;
}

eq_status eq_tokenizer_files_read(eq_tokenizer_files *f, const char *path, eq_err *err) {
    *f = (eq_tokenizer_files){0};
    eq_status st;
    if (eq_is_dir(path))
        st = load_folder(f, path, err);
    else
        st = (f->path = eq_strdup(path)) ? eq_json_load(&f->spec, path, err)
                                         : eq_nomem(err, "a path", 0);
    if (st != EQ_OK) eq_tokenizer_files_free(f);
    return st;
}

void eq_tokenizer_files_free(eq_tokenizer_files *f) {
    json_decref(f->spec);
    json_decref(f->config);
    eq_free(f->path);
    *f = (eq_tokenizer_files){0};
}

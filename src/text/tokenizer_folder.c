/* See tokenizer_folder.h. Invariant: no class is guessed where a file names one. */
#include "text/tokenizer_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_sources.h"
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
    if (!name) EQ_TRY(eq_load_if_there(&model, dir, "config.json", err));
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
    if (st == EQ_OK) {
        /* the end of text is a token of both classes anyhow */
        const json_t *id = json_object_get(vocab, end_of_text);
        eq_added_token end = {json_integer_value(id), end_of_text, NULL, true, true};
        st = eq_added_list(&added, f->config, dir, &end, json_is_integer(id), err);
    }
    if (st == EQ_OK && !(f->spec = make_spec(c, added, vocab, merges, add_space)))
        st = eq_nomem(err, "a tokenizer", 0);
    json_decref(added);
    json_decref(merges);
    json_decref(vocab);
    return st;
}

/* ---- a folder -------------------------------------------------------------------------------- */

const char *eq_tokenizer_class(const json_t *config, size_t *n) {
    const char *name = json_string_value(eq_json_get(config, "tokenizer_class"));
    if (!name) return NULL;
    *n = strlen(name);
    if (*n > 4 && !strcmp(name + *n - 4, "Fast")) *n -= 4;
    return name;
}

/* tokenizer.model holds a sentencepiece model or tiktoken's ranks. */
static eq_status load_model(eq_tokenizer_files *f, const char *path, const char *dir, eq_err *err) {
    eq_map m;
    EQ_TRY(eq_map_open(&m, path, err));
    bool ranks = eq_is_tiktoken((const char *)m.data, m.size);
    eq_map_close(&m);
    return ranks ? eq_tiktoken_spec(&f->spec, path, f->config, dir, err)
                 : eq_spm_spec(&f->spec, path, f->config, dir, err);
}

/* What a tokenizer is read from, the first that is there. vocab.json alone is none. */
static const struct {
    const char *name, *beside;
} sources[] = {{"tokenizer.json", NULL},
               {"vocab.json", "merges.txt"},
               {"tokenizer.model", NULL},
               {"spiece.model", NULL},
               {"qwen.tiktoken", NULL}};
enum { SOURCES = sizeof sources / sizeof *sources };

static eq_status is_there(bool *is, const char *dir, const char *name, eq_err *err) {
    char *path = eq_path(dir, name);
    if (!path) return eq_nomem(err, "a path", (int64_t)strlen(dir));
    *is = eq_exists(path);
    eq_free(path);
    return EQ_OK;
}

static eq_status load_folder(eq_tokenizer_files *f, const char *dir, eq_err *err) {
    int i = 0;
    for (bool is = false; i < SOURCES; i++) {
        EQ_TRY(is_there(&is, dir, sources[i].name, err));
        if (is && sources[i].beside) EQ_TRY(is_there(&is, dir, sources[i].beside, err));
        if (is) break;
    }
    if (i == SOURCES)
        return eq_fail(err, EQ_EINPUT, "%s: expected tokenizer.json, found none", dir);
    EQ_TRY(eq_load_if_there(&f->config, dir, "tokenizer_config.json", err));
    if (!(f->path = eq_path(dir, sources[i].name)))
        return eq_nomem(err, "a path", (int64_t)strlen(dir));
    if (i == 0) return eq_json_load(&f->spec, f->path, err);
    f->made = true;
    if (i > 1) return load_model(f, f->path, dir, err);
    char *merges = eq_path(dir, sources[i].beside);
    eq_status st = merges ? load_two(f, dir, f->path, merges, err)
                          : eq_nomem(err, "a path", (int64_t)strlen(dir));
    eq_free(merges);
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

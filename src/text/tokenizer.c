/* From a file to a tokenizer, and from ids to text. A folder without tokenizer.json but with
 * vocab.json and merges.txt is GPT-2's form. Invariant: an open tokenizer never changes; every call
 * has buffers of its own. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/spec.h"
#include "text/tokenizer_parts.h"
#include "text/tokenizer_text.h"
#include "text/utf8.h"

/* ---- opening --------------------------------------------------------------------------------- */

static eq_status load(eq_tokenizer *t, const json_t *spec, eq_err *err) {
    const char *where = t->path;
    if (!json_is_object(spec))
        return eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", where,
                       eq_json_type(spec));
    /* truncation and padding are settings of a call, not of the vocabulary: readers reset them. */
    EQ_TRY(eq_spec_known(spec,
                         "version truncation padding added_tokens normalizer pre_tokenizer "
                         "post_processor decoder model",
                         where, err));
    EQ_TRY(eq_normalizer_new(&t->normalizer, json_object_get(spec, "normalizer"), where, err));
    EQ_TRY(
        eq_pretokenizer_new(&t->pretokenizer, json_object_get(spec, "pre_tokenizer"), where, err));
    bool bytes = eq_pretokenizer_bytes(t->pretokenizer);
    EQ_TRY(eq_bpe_new(&t->model, json_object_get(spec, "model"), bytes, where, err));
    EQ_TRY(eq_added_new(&t->added, json_object_get(spec, "added_tokens"), eq_bpe_vocab(t->model),
                        t->normalizer, where, err));
    EQ_TRY(eq_template_load(&t->template, json_object_get(spec, "post_processor"), where, err));
    return eq_decoder_new(&t->decoder, json_object_get(spec, "decoder"), where, err);
}

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

/* GPT-2 (Radford et al. 2019): byte-level BPE in two files, <|endoftext|> as its special token. */
static eq_status load_gpt2(eq_tokenizer *t, const char *vocab_path, const char *merges_path,
                           eq_err *err) {
    static const char end[] = "<|endoftext|>";
    json_t *vocab = NULL, *merges = NULL, *spec = NULL, *added = NULL;
    eq_status st = eq_json_load(&vocab, vocab_path, err);
    if (st == EQ_OK) st = read_merges(&merges, merges_path, err);
    if (st == EQ_OK) {
        const json_t *id = json_object_get(vocab, end);
        added = json_is_integer(id)
                    ? json_pack("[{s:I,s:s,s:b,s:b,s:b,s:b,s:b}]", "id", json_integer_value(id),
                                "content", end, "single_word", 0, "lstrip", 0, "rstrip", 0,
                                "normalized", 0, "special", 1)
                    : json_array();
        spec = !added ? NULL
                      : json_pack("{s:O,s:{s:s,s:b,s:b},s:{s:s,s:b,s:b},s:{s:s,s:O,s:O}}",
                                  "added_tokens", added, "pre_tokenizer", "type", "ByteLevel",
                                  "add_prefix_space", 0, "trim_offsets", 1, "decoder", "type",
                                  "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "model",
                                  "type", "BPE", "vocab", vocab, "merges", merges);
        st = spec ? load(t, spec, err) : eq_nomem(err, "a tokenizer", 0);
    }
    json_decref(spec);
    json_decref(added);
    json_decref(merges);
    json_decref(vocab);
    return st;
}

static eq_status load_file(eq_tokenizer *t, const char *path, eq_err *err) {
    json_t *spec;
    EQ_TRY(eq_json_load(&spec, path, err));
    eq_status st = load(t, spec, err);
    json_decref(spec);
    return st;
}

static eq_status load_folder(eq_tokenizer *t, const char *dir, eq_err *err) {
    char *json = eq_path(dir, "tokenizer.json"), *vocab = eq_path(dir, "vocab.json");
    char *merges = eq_path(dir, "merges.txt"), *sp = eq_path(dir, "tokenizer.model");
    eq_status st;
    if (json && vocab) t->path = eq_strdup(eq_exists(json) ? json : vocab);
    if (!merges || !sp || !t->path)
        st = eq_nomem(err, "a path", (int64_t)strlen(dir));
    else if (eq_exists(json))
        st = load_file(t, json, err);
    else if (eq_exists(vocab) && eq_exists(merges))
        st = load_gpt2(t, vocab, merges, err);
    else if (eq_exists(sp))
        st = eq_fail(
            err, EQ_EINPUT,
            "%s: expected tokenizer.json, found only tokenizer.model, which is not read; convert "
            "it with Hugging Face's tools",
            dir);
    else
        st = eq_fail(err, EQ_EINPUT, "%s: expected tokenizer.json, found none", dir);
    eq_free(json), eq_free(vocab), eq_free(merges), eq_free(sp);
    return st;
}

eq_status eq_tokenizer_open(eq_tokenizer **out, const char *dir, eq_err *err) {
    eq_tokenizer *t = *out = eq_calloc(1, sizeof *t);
    eq_status st;
    if (!t) return eq_nomem(err, "a tokenizer", sizeof *t);
    if (eq_is_dir(dir))
        st = load_folder(t, dir, err);
    else
        st = (t->path = eq_strdup(dir)) ? load_file(t, dir, err) : eq_nomem(err, "a path", 0);
    if (st != EQ_OK) {
        eq_tokenizer_close(t);
        *out = NULL;
    }
    return st;
}

void eq_tokenizer_close(eq_tokenizer *t) {
    if (!t) return;
    eq_normalizer_free(t->normalizer);
    eq_pretokenizer_free(t->pretokenizer);
    eq_bpe_free(t->model);
    eq_added_free(t->added);
    eq_template_free(&t->template);
    eq_decoder_free(t->decoder);
    eq_free(t->path);
    eq_free(t);
}

void eq_ids_free(eq_ids *ids) {
    eq_free(ids->p);
    *ids = (eq_ids){0};
}

/* ---- decoding -------------------------------------------------------------------------------- */

eq_status eq_decode_text(const eq_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special,
                         eq_str *out, eq_err *err) {
    eq_pieces p = {0};
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        int64_t len = 0;
        if (skip_special && eq_added_special(t->added, ids[i])) continue;
        const char *s = eq_added_form(t->added, ids[i], &len);
        if (!s) s = eq_vocab_text(eq_bpe_vocab(t->model), ids[i], &len);
        if (s) st = eq_pieces_add(&p, s, len, err); /* an id that nothing has says nothing */
    }
    if (st == EQ_OK) st = eq_decoder_run(t->decoder, &p, out, err);
    eq_pieces_free(&p);
    return st;
}

char *eq_decode(const eq_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special) {
    eq_str s = {0};
    eq_str_put(&s, "", 0); /* a text without characters is a string, too */
    if (eq_decode_text(t, ids, n, skip_special, &s, NULL) == EQ_OK && !s.oom) return s.p;
    eq_str_free(&s);
    return NULL;
}

int32_t eq_token_id(const eq_tokenizer *t, const char *content) {
    int64_t n = (int64_t)strlen(content);
    int32_t id = eq_added_id(t->added, content, n);
    return id >= 0 ? id : eq_vocab_id(eq_bpe_vocab(t->model), content, n);
}

int64_t eq_tokenizer_size(const eq_tokenizer *t) {
    int64_t a = eq_added_end(t->added), v = eq_vocab_end(eq_bpe_vocab(t->model));
    return a > v ? a : v;
}

/* See tiny_tokenizer.h. */
#include "tiny_tokenizer.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "scratch.h"
#include "text/byte_char.h"
#include "text/utf8.h"

static void add_token(json_t *vocab, const char *s, size_t n) {
    char key[64];
    assert_true(n < sizeof key);
    memcpy(key, s, n);
    key[n] = 0;
    if (!json_object_get(vocab, key))
        json_object_set_new(vocab, key, json_integer((json_int_t)json_object_size(vocab)));
}

static void add_chars(json_t *vocab, const char *chars) {
    char b[4];
    uint32_t cp;
    for (int i = 0; !chars && i < 256; i++)
        add_token(vocab, b, (size_t)eq_utf8_put(eq_byte_to_char((uint8_t)i), b));
    for (int len; chars && *chars; chars += len)
        add_token(vocab, chars, (size_t)(len = eq_utf8_get(chars, &cp)));
}

/* Members written with ' in place of ". */
static void add_members(json_t *o, const char *members) {
    eq_str s = {0};
    json_error_t e;
    eq_str_printf(&s, "{%s}", members);
    for (int64_t i = 0; i < s.n; i++)
        if (s.p[i] == '\'') s.p[i] = '"';
    json_t *more = json_loads(s.p, 0, &e);
    if (!more) fail_msg("%s: %s", s.p, e.text);
    json_object_update(o, more);
    json_decref(more);
    eq_str_free(&s);
}

/* Calls for every part of a list "a;b;c". */
static void each(const char *list, void (*fn)(json_t *, const char *, size_t), json_t *ctx) {
    for (const char *stop; list && *list; list = *stop ? stop + 1 : stop) {
        stop = strchr(list, ';');
        if (!stop) stop = list + strlen(list);
        fn(ctx, list, (size_t)(stop - list));
    }
}

static void add_merge(json_t *model, const char *s, size_t n) {
    const char *gap = memchr(s, ' ', n);
    size_t a = (size_t)(gap - s);
    char whole[64];
    memcpy(whole, s, a);
    memcpy(whole + a, gap + 1, n - a - 1);
    add_token(json_object_get(model, "vocab"), whole, n - 1);
    json_array_append_new(json_object_get(model, "merges"), json_stringn(s, n));
}

static void add_piece(json_t *vocab, const char *s, size_t n) {
    size_t gap = n;
    while (gap && s[gap - 1] != ' ') gap--;
    assert_true(gap > 1);
    json_array_append_new(vocab, json_pack("[s%,f]", s, gap - 1, strtod(s + gap, NULL)));
}

static json_t *make_model(const tiny_tokenizer *s) {
    json_t *vocab = s->pieces ? json_array() : json_object();
    if (s->pieces) {
        each(s->pieces, add_piece, vocab);
        return json_pack("{s:s,s:o}", "type", "Unigram", "vocab", vocab);
    }
    json_t *model = json_pack("{s:s,s:o,s:[]}", "type", "BPE", "vocab", vocab, "merges");
    add_chars(vocab, s->chars);
    each(s->merges, add_merge, model);
    each(s->tokens, add_token, vocab);
    return model;
}

const char *tiny_tokenizer_file(const tiny_tokenizer *s) {
    json_t *root = json_object(), *model = make_model(s);
    json_object_set_new(root, "model", model);
    if (s->model) add_members(model, s->model);
    if (s->rest) add_members(root, s->rest);
    char *text = json_dumps(root, JSON_COMPACT);
    const char *path = scratch_text("tokenizer.json", text);
    free(text);
    json_decref(root);
    return path;
}

eq_tokenizer *tiny_tokenizer_open(const tiny_tokenizer *s) {
    eq_err err = {0};
    eq_tokenizer *t;
    if (eq_tokenizer_open(&t, tiny_tokenizer_file(s), &err) != EQ_OK) fail_msg("%s", err.msg);
    return t;
}

const char *tiny_tokens(const eq_tokenizer *t, const char *text, int64_t n, bool special) {
    static char out[4096];
    eq_ids ids = {0};
    eq_err err = {0};
    if (eq_encode(t, &ids, text, n, special, &err) != EQ_OK) fail_msg("%s", err.msg);
    out[0] = 0;
    for (int64_t i = 0; i < ids.n; i++) {
        char *s = eq_decode(t, ids.p + i, 1, false);
        assert_non_null(s);
        assert_true(strlen(out) + strlen(s) + 2 < sizeof out);
        if (i) strcat(out, "|");
        strcat(out, s);
        eq_free(s);
    }
    eq_ids_free(&ids);
    return out;
}

void tiny_check(const tiny_tokenizer *s, const char *text, const char *expected) {
    eq_tokenizer *t = tiny_tokenizer_open(s);
    assert_string_equal(tiny_tokens(t, text, (int64_t)strlen(text), false), expected);
    eq_tokenizer_close(t);
}

/* GGUF's tokenizer to tokenizer.json. Pieces with scores become merges as Hugging Face's own
 * converter makes them: every split of a piece into two others, the best score first. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "export/import_gguf.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6 };
static const char mark[] = "\xe2\x96\x81"; /* a space */

typedef struct {
    const eq_gguf_import *x;
    int64_t n;
    char **text; /* [n], each ended by 0 */
    int *type;
    float *score; /* NULL: none */
    json_t *vocab, *added;
    bool bytes;
} reader;

static eq_status fail(const reader *r, const char *key, const char *what, eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "%s: %s: %s", eq_gguf_path(r->x->g), key, what);
}

/* ---- what is there -----------------------------------------------------------------------------
 */

static eq_status read_tokens(reader *r, eq_err *err) {
    static const char key[] = "tokenizer.ggml.tokens", kinds[] = "tokenizer.ggml.token_type";
    const eq_gguf_value *v = eq_gguf_get(r->x->g, key), *t = eq_gguf_get(r->x->g, kinds);
    const eq_gguf_value *s = eq_gguf_get(r->x->g, "tokenizer.ggml.scores");
    if (!v || !v->array || v->kind != EQ_GGUF_STR)
        return fail(r, key, "expected a list of texts", err);
    if (v->n != r->x->V) return fail(r, key, "expected as many as token_embd has rows", err);
    if (!t || t->n != v->n) return fail(r, kinds, "expected one for each token", err);
    if (s && s->n != v->n)
        return fail(r, "tokenizer.ggml.scores", "expected one for each token", err);
    r->n = v->n;
    r->text = eq_calloc(r->n, sizeof *r->text), r->type = eq_calloc(r->n, sizeof *r->type);
    r->score = s ? eq_calloc(r->n, sizeof *r->score) : NULL;
    if (!r->text || !r->type || (s && !r->score)) return eq_nomem(err, "tokens", r->n * 16);
    const uint8_t *at = v->at;
    const char *p;
    int64_t n, kind;
    for (int64_t i = 0; i < r->n && eq_gguf_next(v, &at, &p, &n); i++) {
        double score = 0;
        if (memchr(p, 0, (size_t)n)) return fail(r, key, "expected texts without 0", err);
        if (!eq_gguf_int(t, i, &kind)) return fail(r, kinds, "expected whole numbers", err);
        if (s && !eq_gguf_num(s, i, &score))
            return fail(r, "tokenizer.ggml.scores", "expected numbers", err);
        r->text[i] = eq_sprintf("%.*s", (int)n, p);
        if (!r->text[i]) return eq_nomem(err, "a token", n);
        r->type[i] = (int)kind;
        if (s) r->score[i] = (float)score;
    }
    return EQ_OK;
}

/* Vocabulary, and what is found in a text before anything else happens to it. */
static eq_status sort_tokens(reader *r, eq_err *err) {
    r->vocab = json_object(), r->added = json_array();
    if (!r->vocab || !r->added) return eq_nomem(err, "tokens", r->n);
    for (int64_t i = 0; i < r->n; i++) {
        bool known = r->type[i] >= NORMAL && r->type[i] <= BYTE;
        bool own = r->type[i] == CONTROL || r->type[i] == USER || r->type[i] == UNKNOWN;
        if (!known) return fail(r, "tokenizer.ggml.token_type", "expected 1 to 6", err);
        if (r->type[i] == UNUSED) continue;
        if (json_object_get(r->vocab, r->text[i]) ||
            json_object_set_new(r->vocab, r->text[i], json_integer(i)))
            return eq_fail(
                err, EQ_EINPUT,
                "%s: token %lld (%.100s): expected a text in UTF-8 that no other token has",
                eq_gguf_path(r->x->g), (long long)i, r->text[i]);
        if (own)
            json_array_append_new(
                r->added, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i,
                                    "content", r->text[i], "single_word", 0, "lstrip", 0, "rstrip",
                                    0, "normalized", 0, "special", r->type[i] != USER));
    }
    return EQ_OK;
}

/* ---- merges ------------------------------------------------------------------------------------
 */

typedef struct {
    float score;
    int64_t id;
    int left, right; /* bytes, which is what longer means here */
} merge;

static int by_score(const void *pa, const void *pb) {
    const merge *a = pa, *b = pb;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->left != b->left) return a->left > b->left ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return 0;
}

static bool is_piece(const reader *r, const char *s) {
    const json_t *v = json_object_get(r->vocab, s);
    return v && r->type[json_integer_value(v)] == NORMAL;
}

/* Splits of one piece at every character. */
static eq_status splits_of(const reader *r, int64_t id, merge **m, int64_t *n, int64_t *cap,
                           eq_err *err) {
    const char *s = r->text[id];
    int length = (int)strlen(s);
    char left[256];
    if (length >= (int)sizeof left) return EQ_OK; /* longer than any merged piece */
    for (int cut = 1; cut < length; cut++) {
        if (((unsigned char)s[cut] & 0xc0) == 0x80) continue;
        memcpy(left, s, (size_t)cut), left[cut] = 0;
        if (!is_piece(r, left) || !is_piece(r, s + cut)) continue;
        if (*n == *cap) {
            int64_t more = *cap ? 2 * *cap : 1 << 12;
            merge *p = eq_realloc(*m, more, sizeof *p);
            if (!p) return eq_nomem(err, "merges", more * (int64_t)sizeof *p);
            *m = p, *cap = more;
        }
        (*m)[(*n)++] = (merge){r->score[id], id, cut, length - cut};
    }
    return EQ_OK;
}

static eq_status merges_of_scores(const reader *r, json_t *merges, eq_err *err) {
    merge *m = NULL;
    int64_t n = 0, cap = 0;
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < r->n && st == EQ_OK; i++)
        if (r->type[i] == NORMAL) st = splits_of(r, i, &m, &n, &cap, err);
    if (n) qsort(m, (size_t)n, sizeof *m, by_score);
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        char line[320];
        const char *s = r->text[m[i].id];
        snprintf(line, sizeof line, "%.*s %s", m[i].left, s, s + m[i].left);
        if (json_array_append_new(merges, json_string(line))) st = eq_nomem(err, "merges", n * 32);
    }
    eq_free(m);
    return st;
}

static eq_status merges_as_they_are(const reader *r, json_t *merges, eq_err *err) {
    const eq_gguf_value *v = eq_gguf_get(r->x->g, "tokenizer.ggml.merges");
    const char *s;
    int64_t n;
    if (!v || !v->array || v->kind != EQ_GGUF_STR)
        return fail(r, "tokenizer.ggml.merges", "expected a list of texts", err);
    for (const uint8_t *at = v->at; eq_gguf_next(v, &at, &s, &n);)
        if (json_array_append_new(merges, json_stringn(s, (size_t)n)))
            return fail(r, "tokenizer.ggml.merges", "expected texts in UTF-8", err);
    return EQ_OK;
}

/* ---- the parts of tokenizer.json ---------------------------------------------------------------
 */

static json_t *byte_level(bool regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", (int)regex);
}

static eq_status put_words(const reader *r, json_t *spec, json_t *model, eq_err *err) {
    const char *name, *split;
    bool ignore;
    for (int i = 0; eq_gguf_words(i, &name, &split, &ignore); i++) {
        if (!eq_gguf_is(r->x->g, "tokenizer.ggml.pre", name)) continue;
        bool digits = split && !strcmp(split, "digits");
        json_t *first = digits  ? json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1)
                        : split ? json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern",
                                            "Regex", split, "behavior", "Isolated", "invert", 0)
                                : NULL;
        json_t *last = byte_level(!split || digits);
        json_object_set_new(
            spec, "pre_tokenizer",
            first ? json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", first, last)
                  : last);
        json_object_set_new(spec, "decoder", byte_level(true));
        json_object_set_new(model, "ignore_merges", json_boolean(ignore));
        bool nfc = !strcmp(name, "qwen2");
        json_object_set_new(spec, "normalizer",
                            nfc ? json_pack("{s:s}", "type", "NFC") : json_null());
        return EQ_OK;
    }
    return fail(r, "tokenizer.ggml.pre", "expected gpt-2, smollm, llama-bpe, qwen2 or tekken", err);
}

static void put_pieces(const reader *r, json_t *spec, json_t *model) {
    json_t *marks = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                              "content", mark);
    json_t *all = json_array();
    bool prefix = eq_gguf_int_or(r->x->g, "tokenizer.ggml.add_space_prefix", 1) != 0;
    if (prefix)
        json_array_append_new(all, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", mark));
    json_array_append_new(all, marks);
    json_object_set_new(spec, "normalizer",
                        json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", all));
    json_object_set_new(spec, "pre_tokenizer", json_null());
    json_t *steps =
        json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                  mark, "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (prefix)
        json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
                                               " ", "start", 1, "stop", 0));
    json_object_set_new(spec, "decoder",
                        json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps));
    json_object_set_new(model, "byte_fallback", json_true());
    json_object_set_new(model, "fuse_unk", json_true());
    for (int64_t i = 0; i < r->n; i++)
        if (r->type[i] == UNKNOWN) json_object_set_new(model, "unk_token", json_string(r->text[i]));
}

static void add_special(const reader *r, json_t *single, json_t *specials, int64_t id) {
    if (id < 0 || id >= r->n) return;
    const char *s = r->text[id];
    json_array_append_new(single,
                          json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", s, "type_id", 0));
    json_object_set_new(
        specials, s, json_pack("{s:s, s:[I], s:[s]}", "id", s, "ids", (json_int_t)id, "tokens", s));
}

/* BOS in front, EOS behind; -1: none. */
static json_t *template_of(const reader *r, int64_t bos, int64_t eos) {
    json_t *single = json_array(), *specials = json_object();
    add_special(r, single, specials, bos);
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    add_special(r, single, specials, eos);
    return json_pack("{s:s, s:o, s:[], s:o}", "type", "TemplateProcessing", "single", single,
                     "pair", "special_tokens", specials);
}

static void put_named(const reader *r, json_t *config, const char *name, int64_t id) {
    if (id >= 0 && id < r->n) json_object_set_new(config, name, json_string(r->text[id]));
}

/* What transformers reads beside tokenizer.json. */
static json_t *config_of(const reader *r, int64_t bos, bool add_bos, bool add_eos) {
    const eq_gguf *g = r->x->g;
    json_t *c = json_pack("{s:s, s:b, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                          "add_bos_token", (int)add_bos, "add_eos_token", (int)add_eos);
    const eq_gguf_value *v = eq_gguf_get(g, "tokenizer.chat_template");
    const char *s;
    int64_t n;
    put_named(r, c, "bos_token", bos);
    put_named(r, c, "eos_token", eq_gguf_int_or(g, "tokenizer.ggml.eos_token_id", -1));
    put_named(r, c, "unk_token", eq_gguf_int_or(g, "tokenizer.ggml.unknown_token_id", -1));
    put_named(r, c, "pad_token", eq_gguf_int_or(g, "tokenizer.ggml.padding_token_id", -1));
    if (v && v->kind == EQ_GGUF_STR && !v->array) {
        const uint8_t *at = v->at;
        if (eq_gguf_next(v, &at, &s, &n))
            json_object_set_new(c, "chat_template", json_stringn(s, (size_t)n));
    }
    return c;
}

static eq_status make(reader *r, json_t **spec, json_t **config, eq_err *err) {
    const eq_gguf *g = r->x->g;
    r->bytes = eq_gguf_is(g, "tokenizer.ggml.model", "gpt2");
    if (!r->bytes && !eq_gguf_is(g, "tokenizer.ggml.model", "llama"))
        return fail(r, "tokenizer.ggml.model", "expected llama or gpt2", err);
    EQ_TRY(read_tokens(r, err));
    if (!r->bytes && !r->score)
        return fail(r, "tokenizer.ggml.scores", "expected one for each token, found none", err);
    EQ_TRY(sort_tokens(r, err));
    json_t *merges = json_array();
    json_t *model =
        json_pack("{s:s, s:O, s:o}", "type", "BPE", "vocab", r->vocab, "merges", merges);
    *spec =
        json_pack("{s:s, s:O, s:o}", "version", "1.0", "added_tokens", r->added, "model", model);
    if (!*spec) return eq_nomem(err, "a tokenizer", r->n * 32);
    EQ_TRY(r->bytes ? merges_as_they_are(r, merges, err) : merges_of_scores(r, merges, err));
    if (r->bytes) EQ_TRY(put_words(r, *spec, model, err));
    if (!r->bytes) put_pieces(r, *spec, model);
    /* without the flag: pieces have a BOS, bytes none */
    bool add_bos = eq_gguf_int_or(g, "tokenizer.ggml.add_bos_token", !r->bytes) != 0;
    bool add_eos = eq_gguf_int_or(g, "tokenizer.ggml.add_eos_token", 0) != 0;
    int64_t bos = eq_gguf_int_or(g, "tokenizer.ggml.bos_token_id", r->bytes ? -1 : 1);
    int64_t eos = eq_gguf_int_or(g, "tokenizer.ggml.eos_token_id", r->bytes ? -1 : 2);
    json_object_set_new(*spec, "post_processor",
                        template_of(r, add_bos ? bos : -1, add_eos ? eos : -1));
    *config = config_of(r, bos, add_bos, add_eos);
    return *config ? EQ_OK : eq_nomem(err, "a tokenizer", r->n);
}

eq_status eq_gguf_take_tokenizer(json_t **spec, json_t **config, const eq_gguf_import *x,
                                 eq_err *err) {
    reader r = {.x = x};
    eq_status st = make(&r, spec, config, err);
    for (int64_t i = 0; r.text && i < r.n; i++) eq_free(r.text[i]);
    eq_free(r.text), eq_free(r.type), eq_free(r.score);
    json_decref(r.vocab), json_decref(r.added);
    return st;
}

/* The tokenizer of a model folder as GGUF metadata (FORMATS, "GGUF"): two kinds, which llama.cpp
 * calls "llama" (pieces merged by score) and "gpt2" (bytes merged by rank, words cut by a pattern
 * it knows by name). What it would cut otherwise is refused by name. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "export/export_gguf.h"
#include "text/tokenizer_folder.h"
#include "text/tokenizer_parts.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6 };

typedef struct {
    const char *text;
    int64_t n;
    int type;
    float score;
} token;

typedef struct {
    const eq_export_job *x;
    eq_tokenizer_files files;
    eq_tokenizer *tok;
    const json_t *model;
    token *t; /* [V] */
    int64_t V;
    char *pads; /* names of rows that no token has */
    const char *pre;
    bool bytes; /* "gpt2" */
    bool space_prefix;
} tokens;

/* ---- which kind --------------------------------------------------------------------------------
 */

/* Word patterns that llama.cpp has under a name, and whether it takes whole words of the vocabulary
 * without merging. */
#define ENGLISH "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define REST " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
static const struct {
    const char *name, *split; /* NULL: GPT-2's own; "digits": after each digit */
    bool ignore_merges;
} words[] = {
    {"gpt-2", NULL, false},
    {"smollm", "digits", false},
    {"llama-bpe", ENGLISH "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" REST, true},
    {"qwen2", ENGLISH "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" REST, false},
    {"tekken",
     "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER
     "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     true},
};

bool eq_gguf_words(int i, const char **name, const char **split, bool *ignore_merges) {
    if (i < 0 || i >= (int)(sizeof words / sizeof *words)) return false;
    *name = words[i].name, *split = words[i].split, *ignore_merges = words[i].ignore_merges;
    return true;
}

static const char *type_of(const json_t *spec) {
    const char *s = json_string_value(json_object_get(spec, "type"));
    return s ? s : "";
}
static bool is(const json_t *spec, const char *type) { return !strcmp(type_of(spec), type); }
static bool on(const json_t *spec, const char *key) {
    return json_is_true(json_object_get(spec, key));
}

/* The steps of a Sequence, or the one step that is there; `list` names its member. */
static int64_t steps_of(const json_t *spec, const char *list, const json_t **out, int64_t room) {
    if (!spec || json_is_null(spec)) return 0;
    if (!is(spec, "Sequence")) return out[0] = spec, 1;
    const json_t *all = json_object_get(spec, list);
    int64_t n = (int64_t)json_array_size(all);
    for (int64_t i = 0; i < n && i < room; i++) out[i] = json_array_get(all, (size_t)i);
    return n;
}

static eq_status refuse(const tokens *k, const char *part, const char *what, eq_err *err) {
    return eq_fail(err, EQ_EINPUT,
                   "%s: \"%s\": expected one that llama.cpp has under a name, found %s",
                   k->files.path, part, what);
}

/* {"type": "Replace", "pattern": {"String": " "}, "content": "▁"} */
static bool is_space_mark(const json_t *step) {
    const char *from =
        json_string_value(json_object_get(json_object_get(step, "pattern"), "String"));
    const char *to = json_string_value(json_object_get(step, "content"));
    return is(step, "Replace") && from && to && !strcmp(from, " ") && !strcmp(to, "\xe2\x96\x81");
}
static bool is_prefix(const json_t *step) {
    const char *s = json_string_value(json_object_get(step, "prepend"));
    return is(step, "Prepend") && s && !strcmp(s, "\xe2\x96\x81");
}

/* Spaces become ▁, perhaps with one put in front. */
static eq_status find_pieces(tokens *k, eq_err *err) {
    const json_t *z[4], *p[4];
    int64_t nz = steps_of(json_object_get(k->files.spec, "normalizer"), "normalizers", z, 4);
    int64_t np = steps_of(json_object_get(k->files.spec, "pre_tokenizer"), "pretokenizers", p, 4);
    if (np == 1 && nz == 0 && is(p[0], "Metaspace")) {
        const char *scheme = json_string_value(json_object_get(p[0], "prepend_scheme"));
        k->space_prefix = scheme ? strcmp(scheme, "never") != 0 : on(p[0], "add_prefix_space");
        return EQ_OK;
    }
    if (np) return refuse(k, "pre_tokenizer", type_of(p[0]), err);
    k->space_prefix = nz == 2 && is_prefix(z[0]);
    if ((nz == 1 || k->space_prefix) && is_space_mark(z[nz - 1])) return EQ_OK;
    return refuse(k, "normalizer", nz ? type_of(z[0]) : "none", err);
}

/* The text of the step before ByteLevel, as the table has it: NULL none; false: not one of those.
 */
static bool split_of(const json_t *const *p, int64_t n, const char **split) {
    bool cut = !on(p[n - 1], "use_regex") && json_object_get(p[n - 1], "use_regex");
    *split = NULL;
    if (on(p[n - 1], "add_prefix_space") || n > 2) return false;
    if (n == 1) return !cut; /* GPT-2's pattern is ByteLevel's own */
    const json_t *s = p[0];
    *split = "digits";
    if (is(s, "Digits")) return !cut && on(s, "individual_digits");
    *split = json_string_value(json_object_get(json_object_get(s, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(s, "behavior"));
    return cut && is(s, "Split") && *split && !on(s, "invert") && behavior &&
           !strcmp(behavior, "Isolated");
}

static eq_status find_words(tokens *k, eq_err *err) {
    const json_t *z[4], *p[4];
    const char *split;
    int64_t nz = steps_of(json_object_get(k->files.spec, "normalizer"), "normalizers", z, 4);
    int64_t np = steps_of(json_object_get(k->files.spec, "pre_tokenizer"), "pretokenizers", p, 4);
    if (nz > 1 || (nz == 1 && !is(z[0], "NFC"))) return refuse(k, "normalizer", type_of(z[0]), err);
    if (nz)
        eq_note(k->x->obs, "llama.cpp does not normalize text (NFC): what is not in that form gets "
                           "other tokens there");
    if (!split_of(p, np, &split)) return refuse(k, "pre_tokenizer", type_of(p[0]), err);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        bool same =
            split && words[i].split ? !strcmp(split, words[i].split) : split == words[i].split;
        if (!same) continue;
        k->pre = words[i].name;
        if (on(k->model, "ignore_merges") == words[i].ignore_merges) return EQ_OK;
        return refuse(k, "ignore_merges", words[i].ignore_merges ? "false" : "true", err);
    }
    return refuse(k, "pre_tokenizer", split, err);
}

static eq_status find_kind(tokens *k, eq_err *err) {
    const json_t *p[4];
    int64_t n = steps_of(json_object_get(k->files.spec, "pre_tokenizer"), "pretokenizers", p, 4);
    k->model = json_object_get(k->files.spec, "model");
    k->pre = "default";
    bool bpe = json_object_get(k->model, "vocab") && json_object_get(k->model, "merges");
    if (!bpe) return refuse(k, "model", type_of(k->model), err);
    k->bytes = n >= 1 && n <= 4 && is(p[n - 1], "ByteLevel");
    return k->bytes ? find_words(k, err) : find_pieces(k, err);
}

/* ---- tokens ------------------------------------------------------------------------------------
 */

static bool is_byte(const char *s) {
    unsigned v;
    int n = 0;
    return strlen(s) == 6 && sscanf(s, "<0x%2X>%n", &v, &n) == 1 && n == 6;
}

static eq_status put(tokens *k, const char *text, int64_t id, int type, eq_err *err) {
    if (id < 0 || id >= k->V)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: token %.200s: expected an id below the %lld rows of the embedding, found "
            "%lld",
            k->files.path, text, (long long)k->V, (long long)id);
    k->t[id] = (token){.text = text, .n = (int64_t)strlen(text), .type = type};
    return EQ_OK;
}

static eq_status take_tokens(tokens *k, eq_err *err) {
    const char *text, *unk = json_string_value(json_object_get(k->model, "unk_token"));
    json_t *v;
    bool fallback = on(k->model, "byte_fallback");
    json_object_foreach((json_t *)(uintptr_t)json_object_get(k->model, "vocab"), text, v) {
        int type = fallback && is_byte(text) ? BYTE : NORMAL;
        EQ_TRY(put(k, text, json_integer_value(v), type, err));
    }
    if (!k->bytes && (!fallback || eq_token_id(k->tok, "<0x41>") < 0))
        eq_note(k->x->obs, "the vocabulary has no tokens of bytes: llama.cpp stops at a character "
                           "that it lacks, where Hugging Face gives the unknown token");
    const json_t *added = json_object_get(k->files.spec, "added_tokens");
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        const char *s = json_string_value(json_object_get(a, "content"));
        int type = on(a, "special") ? CONTROL : USER;
        if (s) EQ_TRY(put(k, s, json_integer_value(json_object_get(a, "id")), type, err));
    }
    int64_t unk_id = unk ? eq_token_id(k->tok, unk) : -1;
    if (!k->bytes && unk_id >= 0 && unk_id < k->V) k->t[unk_id].type = UNKNOWN;
    return EQ_OK;
}

/* Rows of the embedding that no token has. */
static eq_status pad(tokens *k, eq_err *err) {
    enum { ROOM = 32 };
    int64_t n = 0;
    for (int64_t i = 0; i < k->V; i++) n += !k->t[i].text;
    k->pads = eq_calloc(n, ROOM);
    if (!k->pads) return eq_nomem(err, "names of tokens", n * ROOM);
    char *p = k->pads;
    for (int64_t i = 0; i < k->V; i++) {
        if (k->t[i].text) continue;
        snprintf(p, ROOM, "[PAD%lld]", (long long)i);
        EQ_TRY(put(k, p, i, UNUSED, err));
        p += ROOM;
    }
    return EQ_OK;
}

/* llama.cpp looks tokens up by their text and stops where one is there twice. */
static eq_status check_twice(const tokens *k, eq_err *err) {
    json_t *seen = json_object();
    eq_status st = seen ? EQ_OK : eq_nomem(err, "a list of tokens", k->V);
    for (int64_t i = 0; i < k->V && st == EQ_OK; i++) {
        if (json_object_get(seen, k->t[i].text))
            st = eq_fail(err, EQ_EINPUT,
                         "%s: token %.200s: expected one id, found %lld and %lld (llama.cpp takes "
                         "no token twice)",
                         k->files.path, k->t[i].text,
                         (long long)json_integer_value(json_object_get(seen, k->t[i].text)),
                         (long long)i);
        else if (json_object_set_new(seen, k->t[i].text, json_integer(i)))
            st = eq_nomem(err, "a list of tokens", k->V);
    }
    json_decref(seen);
    return st;
}

/* ---- merges ------------------------------------------------------------------------------------
 */

/* Both halves of merge i, which is "a b" or ["a", "b"]. */
static eq_status halves(const tokens *k, size_t i, const char **a, int64_t *na, const char **b,
                        eq_err *err) {
    const json_t *m = json_array_get(json_object_get(k->model, "merges"), i);
    const char *s = json_string_value(m), *space = s ? strchr(s, ' ') : NULL;
    *a = json_is_array(m) ? json_string_value(json_array_get(m, 0)) : s;
    *b = json_is_array(m) ? json_string_value(json_array_get(m, 1)) : space ? space + 1 : NULL;
    if (!*a || !*b)
        return eq_fail(err, EQ_EINPUT, "%s: merge %lld: expected two tokens", k->files.path,
                       (long long)i);
    *na = json_is_array(m) ? (int64_t)strlen(*a) : space - s;
    return EQ_OK;
}

/* Pieces are merged by score there, by rank here: a token's score is minus the rank of the first
 * merge that makes it. One that no merge makes comes last. */
static eq_status score(tokens *k, eq_err *err) {
    size_t n = json_array_size(json_object_get(k->model, "merges"));
    eq_str whole = {0};
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < k->V; i++)
        if (k->t[i].type == NORMAL) k->t[i].score = -1e9f;
    for (size_t i = n; i-- > 0 && st == EQ_OK;) { /* the first comes last and stays */
        const char *a, *b;
        int64_t na;
        st = halves(k, i, &a, &na, &b, err);
        if (st != EQ_OK) break;
        whole.n = 0;
        eq_str_put(&whole, a, na), eq_str_puts(&whole, b);
        if (whole.oom) st = eq_nomem(err, "a merge", whole.n);
        int32_t id = st == EQ_OK ? eq_token_id(k->tok, whole.p) : -1;
        if (id >= 0 && id < k->V) k->t[id].score = -(float)i;
    }
    eq_str_free(&whole);
    return st;
}

static eq_status put_merges(eq_ggw *w, const tokens *k, eq_err *err) {
    size_t n = json_array_size(json_object_get(k->model, "merges"));
    eq_str line = {0};
    eq_status st = EQ_OK;
    eq_ggw_array(w, "tokenizer.ggml.merges", EQ_GGUF_STR, (int64_t)n);
    for (size_t i = 0; i < n && st == EQ_OK; i++) {
        const char *a, *b;
        int64_t na;
        st = halves(k, i, &a, &na, &b, err);
        if (st != EQ_OK) break;
        line.n = 0;
        eq_str_put(&line, a, na), eq_str_puts(&line, " "), eq_str_puts(&line, b);
        if (line.oom) st = eq_nomem(err, "a merge", line.n);
        if (st == EQ_OK) eq_ggw_put_str(w, line.p, line.n);
    }
    eq_str_free(&line);
    return st;
}

/* ---- ids and template --------------------------------------------------------------------------
 */

/* What tokenizer_config.json names, else config.json's id; -1: none. */
static int64_t special_id(const tokens *k, const char *name, int64_t or_else) {
    const char *s = eq_tokenizer_named(k->files.config, name);
    int32_t id = s ? eq_token_id(k->tok, s) : -1;
    if (id < 0) return or_else < k->V ? or_else : -1;
    return id < k->V ? id : -1;
}

static void put_ids(eq_ggw *w, const tokens *k) {
    const eq_config *c = &k->x->src->cfg;
    const eq_template *t = &k->tok->template;
    int64_t bos = t->before.n ? t->before.p[0] : special_id(k, "bos_token", c->bos);
    int64_t eos = special_id(k, "eos_token", c->eos);
    int64_t unk = special_id(k, "unk_token", -1), pad_id = special_id(k, "pad_token", -1);
    if (bos >= 0) eq_ggw_u32(w, "tokenizer.ggml.bos_token_id", bos);
    if (eos >= 0) eq_ggw_u32(w, "tokenizer.ggml.eos_token_id", eos);
    if (unk >= 0) eq_ggw_u32(w, "tokenizer.ggml.unknown_token_id", unk);
    if (pad_id >= 0) eq_ggw_u32(w, "tokenizer.ggml.padding_token_id", pad_id);
    eq_ggw_bool(w, "tokenizer.ggml.add_bos_token", eq_tokenizer_bos(k->tok));
    eq_ggw_bool(w, "tokenizer.ggml.add_eos_token", t->after.n > 0);
    eq_ggw_bool(w, "tokenizer.ggml.add_space_prefix", k->space_prefix);
}

/* In tokenizer_config.json, one or several by name, or a file of its own. */
static eq_status put_template(eq_ggw *w, const tokens *k, eq_err *err) {
    static const char name[] = "tokenizer.chat_template";
    const json_t *v = eq_json_get(k->files.config, "chat_template");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i);
        const char *called = json_string_value(json_object_get(one, "name"));
        if (called && !strcmp(called, "default")) v = json_object_get(one, "template");
    }
    const char *s = json_string_value(v);
    if (s) return eq_ggw_str(w, name, s, (int64_t)strlen(s)), EQ_OK;
    char *path = eq_path(k->x->src->dir, "chat_template.jinja");
    if (!path) return eq_nomem(err, "a path", 256);
    eq_status st = EQ_OK;
    if (eq_exists(path)) {
        eq_map m;
        st = eq_map_open(&m, path, err);
        if (st == EQ_OK) eq_ggw_str(w, name, (const char *)m.data, m.size), eq_map_close(&m);
    }
    eq_free(path);
    return st;
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

static eq_status put_all(eq_ggw *w, tokens *k, eq_err *err) {
    const char *kind = k->bytes ? "gpt2" : "llama";
    eq_ggw_str(w, "tokenizer.ggml.model", kind, (int64_t)strlen(kind));
    eq_ggw_str(w, "tokenizer.ggml.pre", k->pre, (int64_t)strlen(k->pre));
    eq_ggw_array(w, "tokenizer.ggml.tokens", EQ_GGUF_STR, k->V);
    for (int64_t i = 0; i < k->V; i++) eq_ggw_put_str(w, k->t[i].text, k->t[i].n);
    eq_ggw_array(w, "tokenizer.ggml.token_type", EQ_GGUF_I32, k->V);
    for (int64_t i = 0; i < k->V; i++) eq_ggw_put_i32(w, k->t[i].type);
    if (!k->bytes) {
        eq_ggw_array(w, "tokenizer.ggml.scores", EQ_GGUF_F32, k->V);
        for (int64_t i = 0; i < k->V; i++) eq_ggw_put_f32(w, k->t[i].score);
    } else {
        EQ_TRY(put_merges(w, k, err));
    }
    put_ids(w, k);
    return put_template(w, k, err);
}

static eq_status run(eq_ggw *w, tokens *k, eq_err *err) {
    EQ_TRY(eq_tokenizer_files_read(&k->files, k->x->src->dir, err));
    EQ_TRY(eq_tokenizer_open(&k->tok, k->x->src->dir, err));
    EQ_TRY(find_kind(k, err));
    k->t = eq_calloc(k->V, sizeof *k->t);
    if (!k->t) return eq_nomem(err, "a list of tokens", k->V * (int64_t)sizeof *k->t);
    EQ_TRY(take_tokens(k, err));
    EQ_TRY(pad(k, err));
    EQ_TRY(check_twice(k, err));
    if (!k->bytes) EQ_TRY(score(k, err));
    return put_all(w, k, err);
}

eq_status eq_gguf_put_tokenizer(eq_ggw *w, const eq_export_job *x, eq_err *err) {
    tokens k = {.x = x, .V = x->src->cfg.V};
    eq_status st = run(w, &k, err);
    eq_tokenizer_files_free(&k.files);
    eq_tokenizer_close(k.tok);
    eq_free(k.t), eq_free(k.pads);
    return st;
}

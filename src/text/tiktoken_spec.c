/* tiktoken's ranks as tokenizer.json: byte-level BPE whose merges are all cuts of a token, tried
 * only where a word as a whole is no token. Invariant: every single byte is a token, or text could
 * not be encoded. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/base64.h"
#include "text/byte_char.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_sources.h"
#include "text/utf8.h"

/* Llama 3's words; Qwen's are the same but for single digits. */
#define WORDS(digits) \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

typedef struct {
    const char *path;
    json_t *vocab;
    eq_str bytes, name; /* scratch */
    int64_t line;
    bool byte[256]; /* is a token */
    eq_err *err;
} reader;

static eq_status broken(reader *r, const char *what) {
    return eq_fail(r->err, EQ_EINPUT,
                   "%s: line %lld: expected a token in Base64 and its rank, found %s", r->path,
                   (long long)r->line, what);
}

static eq_status read_line(reader *r, const char *s, int64_t n) {
    const char *gap = memchr(s, ' ', (size_t)n);
    int64_t rank = 0, at = gap ? gap - s + 1 : 0;
    if (!gap || at == n) return broken(r, "no rank");
    for (; at < n && s[at] >= '0' && s[at] <= '9' && rank < INT32_MAX; at++)
        rank = rank * 10 + (s[at] - '0');
    if (at < n || rank >= INT32_MAX) return broken(r, "another rank");
    r->bytes.n = r->name.n = 0;
    if (!eq_base64_decode(&r->bytes, s, gap - s)) return broken(r, "other characters");
    if (!r->bytes.n) return broken(r, "an empty token");
    for (int64_t i = 0; i < r->bytes.n; i++)
        eq_utf8_append(&r->name, eq_byte_to_char((uint8_t)r->bytes.p[i]));
    if (r->bytes.n == 1) r->byte[(uint8_t)r->bytes.p[0]] = true;
    if (r->bytes.oom || r->name.oom) return eq_nomem(r->err, "a token", n);
    if (json_object_get(r->vocab, r->name.p)) return broken(r, "a token that is there already");
    return json_object_set_new(r->vocab, r->name.p, json_integer(rank))
               ? eq_nomem(r->err, "the vocabulary", n)
               : EQ_OK;
}

static eq_status read_lines(reader *r, const char *s, const char *end) {
    while (s < end) {
        const char *nl = memchr(s, '\n', (size_t)(end - s)), *stop = nl ? nl : end;
        int64_t n = stop - s;
        r->line++;
        if (n && s[n - 1] == '\r') n--;
        if (n) EQ_TRY(read_line(r, s, n));
        s = stop + 1;
    }
    for (int i = 0; i < 256; i++)
        if (!r->byte[i])
            return eq_fail(r->err, EQ_EINPUT, "%s: the byte %d is no token", r->path, i);
    return EQ_OK;
}

bool eq_is_tiktoken(const char *bytes, int64_t n) {
    int64_t i = 0;
    while (i < n && i < 400 && bytes[i] != ' ') {
        char c = bytes[i++];
        bool is = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  strchr("+/=", c);
        if (!is || !c) return false;
    }
    return i && i + 1 < n && bytes[i] == ' ' && bytes[i + 1] >= '0' && bytes[i + 1] <= '9';
}

static eq_status merges_of(json_t **merges, const json_t *vocab, const char *path, eq_err *err) {
    eq_vocab v = {0};
    int32_t *order = NULL;
    eq_status st = eq_vocab_load(&v, vocab, path, err);
    if (st == EQ_OK && !(order = eq_calloc(v.n, sizeof *order)))
        st = eq_nomem(err, "merges", v.n * 4);
    for (int64_t i = 0; i < v.n && st == EQ_OK; i++) order[i] = v.id[v.by_id[i]];
    if (st == EQ_OK) st = eq_merges_of(merges, &v, order, v.n, NULL, true, err);
    eq_free(order);
    eq_vocab_free(&v);
    return st;
}

enum { NAME = 40, QWEN = 208 };

/* Special token k behind the ranks. Qwen's class has a list of its own; for the others transformers
 * fills what added_tokens_decoder leaves out. */
static void name_special(char *out, bool qwen, int64_t k, int64_t id) {
    static const char *const first[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    if (qwen && k < 3)
        snprintf(out, NAME, "%s", first[k]);
    else if (qwen)
        snprintf(out, NAME, "<|extra_%lld|>", (long long)k - 3);
    else
        snprintf(out, NAME, "<|reserved_token_%lld|>", (long long)id);
}

static eq_status added(json_t **out, const json_t *config, int64_t first, bool qwen,
                       const char *dir, eq_err *err) {
    const char *key;
    json_t *v;
    int64_t end = first + (qwen ? QWEN : 0);
    json_object_foreach((json_t *)(uintptr_t)eq_json_get(config, "added_tokens_decoder"), key, v) {
        int64_t id = strtoll(key, NULL, 10);
        if (id >= end && id < INT32_MAX) end = id + 1;
    }
    int64_t n = end - first;
    if (n > 1 << 20)
        return eq_fail(err, EQ_EINPUT, "%s: added_tokens_decoder leaves out too many ids", dir);
    char *names = eq_calloc(n, NAME);
    eq_added_token *more = eq_calloc(n, sizeof *more);
    eq_status st = names && more ? EQ_OK : eq_nomem(err, "added tokens", n * 2 * NAME);
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        name_special(names + NAME * i, qwen, i, first + i);
        more[i] = (eq_added_token){first + i, names + NAME * i, NULL, true, true};
    }
    if (st == EQ_OK) st = eq_added_list(out, config, dir, more, n, err);
    eq_free(names), eq_free(more);
    return st;
}

static json_t *make_spec(json_t *vocab, json_t *merges, json_t *list, bool qwen) {
    return json_pack("{s:O, s:{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b, s:b}]}, s:{s:s, "
                     "s:b, s:b}, s:{s:s, "
                     "s:b, s:O, s:O}}",
                     "added_tokens", list, "pre_tokenizer", "type", "Sequence", "pretokenizers",
                     "type", "Split", "pattern", "Regex", qwen ? WORDS("") : WORDS("{1,3}"),
                     "behavior", "Isolated", "invert", 0, "type", "ByteLevel", "add_prefix_space",
                     0, "trim_offsets", 1, "use_regex", 0, "decoder", "type", "ByteLevel",
                     "add_prefix_space", 1, "trim_offsets", 1, "model", "type", "BPE",
                     "ignore_merges", 1, "vocab", vocab, "merges", merges);
}

eq_status eq_tiktoken_spec(json_t **spec, const char *path, const json_t *config, const char *dir,
                           eq_err *err) {
    reader r = {.path = path, .err = err, .vocab = json_object()};
    json_t *merges = NULL, *list = NULL;
    eq_map m;
    size_t n = 0;
    const char *class = eq_tokenizer_class(config, &n);
    bool qwen = class && n == 13 && !strncmp(class, "QWenTokenizer", n);
    eq_status st = r.vocab ? eq_map_open(&m, path, err) : eq_nomem(err, "a tokenizer", 0);
    if (st == EQ_OK) {
        st = read_lines(&r, (const char *)m.data, (const char *)m.data + m.size);
        eq_map_close(&m);
    }
    if (st == EQ_OK) st = merges_of(&merges, r.vocab, path, err);
    if (st == EQ_OK) st = added(&list, config, (int64_t)json_object_size(r.vocab), qwen, dir, err);
    if (st == EQ_OK && !(*spec = make_spec(r.vocab, merges, list, qwen)))
        st = eq_nomem(err, "a tokenizer", 0);
    eq_str_free(&r.bytes), eq_str_free(&r.name);
    json_decref(r.vocab), json_decref(merges), json_decref(list);
    return st;
}

/* A sentencepiece model as tokenizer.json: the parts that transformers' classes give it, a row
 * each, and those that follow the model's own settings where no class is named. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/base64.h"
#include "text/spm_model.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_sources.h"

#define MARK "\xe2\x96\x81" /* stands for a space */

typedef enum { LLAMA, GEMMA, PLAIN } form;

typedef struct {
    const char *path, *dir;
    const json_t *config;
    eq_spm m;
    eq_vocab vocab;
    form form;
    bool legacy, prefix; /* "legacy", "add_prefix_space" of tokenizer_config.json */
    json_t *spec;
    eq_err *err;
} maker;

/* ---- which class ----------------------------------------------------------------------------- */

static const struct {
    const char *class, *model_type;
    form form;
} classes[] = {{"LlamaTokenizer", "llama", LLAMA},   {"CodeLlamaTokenizer", "mistral", LLAMA},
               {"Phi3Tokenizer", "phi3", LLAMA},     {"GemmaTokenizer", "gemma", GEMMA},
               {"PreTrainedTokenizer", NULL, PLAIN}, {"TokenizersBackend", NULL, PLAIN},
               {"GemmaTokenizer", "gemma2", GEMMA}};
enum { CLASSES = sizeof classes / sizeof *classes };

static eq_status find_form(maker *k) {
    size_t n = 0;
    json_t *model = NULL;
    const char *name = eq_tokenizer_class(k->config, &n), *type = NULL;
    if (!name) EQ_TRY(eq_load_if_there(&model, k->dir, "config.json", k->err));
    type = json_string_value(eq_json_get(model, "model_type"));
    k->form = PLAIN;
    bool found = !name;
    for (int i = 0; i < CLASSES; i++) {
        bool is = name ? strlen(classes[i].class) == n && !strncmp(name, classes[i].class, n)
                       : type && classes[i].model_type && !strcmp(type, classes[i].model_type);
        if (is) k->form = classes[i].form, found = true;
    }
    json_decref(model);
    if (found) return EQ_OK;
    return eq_fail(
        k->err, EQ_EINPUT,
        "%s: a sentencepiece model of the class %.80s: expected tokenizer.json beside it, or one "
        "of LlamaTokenizer, GemmaTokenizer, PreTrainedTokenizer; transformers writes "
        "tokenizer.json (AutoTokenizer.from_pretrained, save_pretrained)",
        k->path, name);
}

/* ---- model ----------------------------------------------------------------------------------- */

static json_t *text(const eq_spm_piece *p) { return json_stringn(p->s, (size_t)p->n); }

/* {"piece": id} and the same as a table. */
static eq_status bpe_vocab(maker *k, json_t **out) {
    json_t *o = *out = json_object();
    for (int64_t i = 0; i < k->m.n; i++) {
        const eq_spm_piece *p = k->m.piece + i;
        char *key = eq_calloc(p->n + 1, 1);
        if (!key) return eq_nomem(k->err, "the vocabulary", p->n);
        memcpy(key, p->s, (size_t)p->n);
        bool twice = json_object_get(o, key) != NULL;
        bool ok = twice || !json_object_set_new(o, key, json_integer((json_int_t)i));
        eq_free(key);
        if (twice)
            return eq_fail(k->err, EQ_EINPUT, "%s: piece %lld \"%.*s\" is there twice", k->path,
                           (long long)i, (int)(p->n > 80 ? 80 : p->n), p->s);
        if (!ok) return eq_nomem(k->err, "the vocabulary", p->n);
    }
    return eq_vocab_load(&k->vocab, o, k->path, k->err);
}

typedef struct {
    float score;
    int32_t id;
} scored;

/* The larger score first, then the smaller id. */
static int by_score(const void *x, const void *y) {
    const scored *a = x, *b = y;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* Merges are ranked by the scores of what they make. For the classes any piece can be one, and the
 * cut with the lower ids comes first, as in the files that transformers 4 wrote; without a class
 * normal pieces count, the cut with the shorter left part first, as transformers 5 does it. */
static eq_status bpe_merges(maker *k, json_t **out) {
    int64_t n = k->m.n;
    scored *s = eq_calloc(n, sizeof *s);
    int32_t *order = eq_calloc(n, sizeof *order);
    bool *usable = eq_calloc(n, sizeof *usable);
    eq_status st = s && order && usable ? EQ_OK : eq_nomem(k->err, "merges", n * 16);
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        s[i] = (scored){k->m.piece[i].score, (int32_t)i};
        usable[i] = k->form != PLAIN || k->m.piece[i].type == EQ_SPM_NORMAL;
    }
    if (st == EQ_OK) {
        qsort(s, (size_t)n, sizeof *s, by_score);
        for (int64_t i = 0; i < n; i++) order[i] = s[i].id;
        st = eq_merges_of(out, &k->vocab, order, n, usable, k->form != PLAIN, k->err);
    }
    eq_free(s), eq_free(order), eq_free(usable);
    return st;
}

static bool has_user_pieces(const maker *k) {
    for (int64_t i = 0; i < k->m.n; i++)
        if (k->m.piece[i].type == EQ_SPM_USER) return true;
    return false;
}

static eq_status set(maker *k, const char *key, json_t *value) {
    return value && !json_object_set_new(k->spec, key, value) ? EQ_OK
                                                              : eq_nomem(k->err, "a tokenizer", 0);
}

static eq_status bpe_model(maker *k) {
    json_t *vocab = NULL, *merges = NULL, *model = NULL;
    eq_status st = bpe_vocab(k, &vocab);
    if (st == EQ_OK) st = bpe_merges(k, &merges);
    if (st == EQ_OK) {
        bool fallback = k->form != PLAIN || k->m.byte_fallback;
        bool whole = k->form == PLAIN && has_user_pieces(k);
        model = json_pack("{s:s, s:O, s:O, s:s%, s:b, s:b, s:b}", "type", "BPE", "vocab", vocab,
                          "merges", merges, "unk_token", k->m.unk, (size_t)k->m.unk_n, "fuse_unk",
                          1, "byte_fallback", fallback, "ignore_merges", whole);
        st = set(k, "model", model);
    }
    json_decref(vocab), json_decref(merges);
    return st;
}

static eq_status unigram_model(maker *k) {
    json_t *list = json_array();
    for (int64_t i = 0; i < k->m.n; i++) {
        json_t *one = json_pack("[o,f]", text(k->m.piece + i), (double)k->m.piece[i].score);
        if (!one || json_array_append_new(list, one)) {
            json_decref(list);
            return eq_nomem(k->err, "the vocabulary", k->m.n * 64);
        }
    }
    return set(k, "model",
               json_pack("{s:s, s:o, s:I, s:b}", "type", "Unigram", "vocab", list, "unk_id",
                         (json_int_t)k->m.unk_id, "byte_fallback", k->m.byte_fallback));
}

/* ---- what is around it ----------------------------------------------------------------------- */

static json_t *replace(const char *kind, const char *what, const char *by) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", kind, what, "content",
                     by);
}

static json_t *metaspace(const maker *k) {
    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", MARK,
                     "prepend_scheme", k->legacy ? "always" : "first", "split", 0);
}

/* mark to space, bytes to characters, one text, without the space in front. */
static json_t *decoder(bool fallback, bool fuse, bool strip) {
    json_t *list = json_array();
    json_array_append_new(list, replace("String", MARK, " "));
    if (fallback) json_array_append_new(list, json_pack("{s:s}", "type", "ByteFallback"));
    if (fuse) json_array_append_new(list, json_pack("{s:s}", "type", "Fuse"));
    if (strip)
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
                                              " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

static eq_status llama_parts(maker *k) {
    json_t *normalizer = json_null(), *pre = json_null(), *list;
    if (k->legacy) {
        list = json_array();
        if (k->prefix)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s}", "type", "Prepend", "prepend", MARK));
        json_array_append_new(list, replace("String", " ", MARK));
        normalizer = json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
    } else
        pre = json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", MARK,
                        "prepend_scheme", k->prefix ? "first" : "never", "split", 0);
    EQ_TRY(set(k, "normalizer", normalizer));
    EQ_TRY(set(k, "pre_tokenizer", pre));
    return set(k, "decoder", decoder(true, true, k->prefix));
}

static eq_status gemma_parts(maker *k) {
    EQ_TRY(set(k, "normalizer", replace("String", " ", MARK)));
    EQ_TRY(set(k, "pre_tokenizer",
               json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "String", " ",
                         "behavior", "MergedWithPrevious", "invert", 0)));
    return set(k, "decoder", decoder(true, true, false));
}

static int longer(const void *x, const void *y) {
    const eq_spm_piece *a = *(const eq_spm_piece *const *)x, *b = *(const eq_spm_piece *const *)y;
    if (a->n != b->n) return a->n > b->n ? -1 : 1;
    return (a > b) - (a < b);
}

/* A Split that keeps the user's pieces whole. */
static json_t *user_split(const maker *k) {
    const eq_spm_piece **list = eq_calloc(k->m.n, sizeof *list);
    eq_str re = {0};
    int64_t n = 0;
    for (int64_t i = 0; list && i < k->m.n; i++)
        if (k->m.piece[i].type == EQ_SPM_USER) list[n++] = k->m.piece + i;
    if (list) qsort(list, (size_t)n, sizeof *list, longer);
    for (int64_t i = 0; i < n; i++) {
        if (i) eq_str_puts(&re, "|");
        for (int64_t b = 0; b < list[i]->n; b++) {
            char c = list[i]->s[b];
            bool sign = (uint8_t)c < 0x80 && !((c | 32) >= 'a' && (c | 32) <= 'z') &&
                        !(c >= '0' && c <= '9');
            if (sign && (uint8_t)c < 0x20)
                eq_str_printf(&re, "\\x%02x", (unsigned)c);
            else
                eq_str_printf(&re, "%s%c", sign ? "\\" : "", c);
        }
    }
    json_t *s = re.oom || !list ? NULL
                                : json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern",
                                            "Regex", re.p, "behavior", "Isolated", "invert", 0);
    eq_str_free(&re);
    eq_free(list);
    return s;
}

static json_t *charsmap(const maker *k) {
    eq_str s = {0};
    eq_base64_encode(&s, k->m.charsmap, k->m.charsmap_n);
    json_t *o =
        s.oom ? NULL : json_pack("{s:s, s:s}", "type", "Precompiled", "precompiled_charsmap", s.p);
    eq_str_free(&s);
    return o;
}

static eq_status plain_normalizer(maker *k) {
    const eq_spm *m = &k->m;
    json_t *list = json_array();
    if (m->charsmap) json_array_append_new(list, charsmap(k));
    if (m->remove_extra_whitespaces) {
        json_array_append_new(list, replace("Regex", "\\A +| +\\z", ""));
        json_array_append_new(list, replace("Regex", " {2,}", " "));
    }
    if (m->escape_whitespaces) json_array_append_new(list, replace("String", " ", MARK));
    /* Metaspace puts nothing in front of a mark, sentencepiece does */
    if (m->add_dummy_prefix && k->legacy)
        json_array_append_new(list, replace("Regex", "\\A" MARK, MARK MARK));
    return set(k, "normalizer", json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list));
}

static eq_status plain_parts(maker *k) {
    const eq_spm *m = &k->m;
    bool user = has_user_pieces(k);
    EQ_TRY(plain_normalizer(k));
    if (m->add_dummy_prefix || user) {
        json_t *list = json_array();
        if (m->add_dummy_prefix) json_array_append_new(list, metaspace(k));
        if (user) json_array_append_new(list, user_split(k));
        EQ_TRY(set(k, "pre_tokenizer",
                   json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list)));
    }
    return set(
        k, "decoder",
        decoder(m->byte_fallback, m->add_dummy_prefix || m->byte_fallback, m->add_dummy_prefix));
}

/* Pieces that are no text: found in it before anything else happens. Without a class the user's are
 * the pre-tokenizer's. */
static eq_status added(maker *k) {
    eq_added_token *more = eq_calloc(k->m.n, sizeof *more);
    char *names = NULL;
    json_t *list = NULL;
    int64_t n = 0, bytes = 0;
    for (int64_t i = 0; i < k->m.n; i++) bytes += k->m.piece[i].n + 1;
    if (more) names = eq_calloc(bytes, 1);
    eq_status st = names ? EQ_OK : eq_nomem(k->err, "added tokens", bytes);
    char *at = names;
    for (int64_t i = 0; i < k->m.n && st == EQ_OK; i++) {
        const eq_spm_piece *p = k->m.piece + i;
        bool user = p->type == EQ_SPM_USER && k->form != PLAIN;
        if (!user && p->type != EQ_SPM_CONTROL && p->type != EQ_SPM_UNKNOWN) continue;
        memcpy(at, p->s, (size_t)p->n);
        more[n++] = (eq_added_token){i, at, NULL, !user, true};
        at += p->n + 1;
    }
    if (st == EQ_OK) st = eq_added_list(&list, k->config, k->dir, more, n, k->err);
    if (st == EQ_OK) st = set(k, "added_tokens", json_incref(list));
    json_decref(list);
    eq_free(more), eq_free(names);
    return st;
}

static eq_status make(maker *k) {
    EQ_TRY(eq_json_bool(k->config, "legacy", true, &k->legacy, k->dir, k->err));
    EQ_TRY(eq_json_bool(k->config, "add_prefix_space", true, &k->prefix, k->dir, k->err));
    EQ_TRY(find_form(k));
    if (k->form != PLAIN && !k->m.bpe)
        return eq_fail(k->err, EQ_EINPUT, "%s: a Unigram model: its class expects BPE", k->path);
    if (!(k->spec = json_object())) return eq_nomem(k->err, "a tokenizer", 0);
    EQ_TRY(k->m.bpe ? bpe_model(k) : unigram_model(k));
    EQ_TRY(k->form == LLAMA ? llama_parts(k) : k->form == GEMMA ? gemma_parts(k) : plain_parts(k));
    return added(k);
}

eq_status eq_spm_spec(json_t **spec, const char *path, const json_t *config, const char *dir,
                      eq_err *err) {
    maker k = {.path = path, .dir = dir, .config = config, .err = err};
    EQ_TRY(eq_spm_open(&k.m, path, err));
    eq_status st = make(&k);
    eq_vocab_free(&k.vocab);
    eq_spm_close(&k.m);
    if (st == EQ_OK)
        *spec = k.spec;
    else
        json_decref(k.spec);
    return st;
}

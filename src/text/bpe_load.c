/* Reading the model: vocabulary, merges ("a b" or ["a", "b"]) and the switches. */
#include <stdio.h>
#include <string.h>

#include "text/bpe_model.h"
#include "text/byte_char.h"
#include "text/spec.h"
#include "text/utf8.h"

typedef struct {
    eq_bpe *b;
    eq_str joined; /* scratch: left and right in one */
    const char *where;
    eq_err *err;
} loader;

static eq_status no_token(loader *l, int64_t rank, const char *s, int64_t n) {
    return eq_fail(l->err, EQ_EINPUT, "%s: merge %lld: \"%.*s\" is not in the vocabulary", l->where,
                   (long long)rank, (int)(n > 80 ? 80 : n), s);
}

/* Remembers that a gap between the last character of a and the first of c can be closed. */
static void add_joint(eq_bpe *b, const char *a, int64_t an, const char *c) {
    uint32_t last, first;
    eq_utf8_get(a + eq_utf8_back(a, an), &last);
    eq_utf8_get(c, &first);
    int32_t x = eq_bpe_char(b, last), y = eq_bpe_char(b, first);
    if (x >= 0 && y >= 0) eq_pair_set(&b->joints, x, y, 0, 0);
}

static eq_status add_merge(loader *l, int64_t rank, const char *a, int64_t an, const char *c,
                           int64_t cn) {
    const eq_vocab *v = &l->b->vocab;
    int32_t left = eq_vocab_id(v, a, an), right = eq_vocab_id(v, c, cn);
    if (left < 0) return no_token(l, rank, a, an);
    if (right < 0) return no_token(l, rank, c, cn);
    l->joined.n = 0;
    eq_str_put(&l->joined, a, an);
    eq_str_put(&l->joined, c, cn);
    if (l->joined.oom) return eq_nomem(l->err, "merges", an + cn);
    int32_t whole = eq_vocab_id(v, l->joined.p, l->joined.n);
    if (whole < 0) return no_token(l, rank, l->joined.p, l->joined.n);
    eq_pair_set(&l->b->merges, left, right, (int32_t)rank, whole);
    if (an && cn) add_joint(l->b, a, an, c);
    return EQ_OK;
}

static eq_status merge_entry(loader *l, int64_t rank, const json_t *m) {
    const json_t *a = json_array_get(m, 0), *c = json_array_get(m, 1);
    if (json_is_array(m) && json_array_size(m) == 2 && json_is_string(a) && json_is_string(c))
        return add_merge(l, rank, json_string_value(a), (int64_t)json_string_length(a),
                         json_string_value(c), (int64_t)json_string_length(c));
    const char *s = json_string_value(m), *gap = s ? strchr(s, ' ') : NULL;
    if (!gap || strchr(gap + 1, ' ') || strlen(s) != json_string_length(m))
        return eq_fail(l->err, EQ_EINPUT, "%s: merge %lld: expected two tokens, found %.80s",
                       l->where, (long long)rank, s ? s : eq_json_type(m));
    return add_merge(l, rank, s, gap - s, gap + 1, (int64_t)strlen(gap + 1));
}

static eq_status load_merges(loader *l, const json_t *list) {
    eq_bpe *b = l->b;
    int64_t n = (int64_t)json_array_size(list), rank = 0;
    if (n >= INT32_MAX)
        return eq_fail(l->err, EQ_EINPUT, "%s: %lld merges are too many", l->where, (long long)n);
    EQ_TRY(eq_pair_room(&b->merges, n, l->err));
    EQ_TRY(eq_pair_room(&b->joints, n, l->err));
    for (int64_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(list, (size_t)i);
        /* The first line of merges.txt, which some files carry along, has no rank. */
        if (json_is_string(m) && eq_starts_with(json_string_value(m), "#version")) continue;
        EQ_TRY(merge_entry(l, rank++, m));
    }
    return EQ_OK;
}

/* Tables from bytes and characters to ids. */
static eq_status load_characters(eq_bpe *b, eq_err *err) {
    const eq_vocab *v = &b->vocab;
    b->bmp = eq_calloc(65536, sizeof *b->bmp);
    if (!b->bmp) return eq_nomem(err, "the vocabulary", 65536 * 4);
    memset(b->bmp, 0xff, 65536 * sizeof *b->bmp);
    for (int64_t e = 0; e < v->n; e++) {
        const char *s = v->bytes + v->off[e];
        int64_t n = v->off[e + 1] - v->off[e];
        uint32_t cp;
        if (n > 0 && n < 4 && eq_utf8_get(s, &cp) == n) b->bmp[cp] = v->id[e];
    }
    for (int i = 0; i < 256; i++) {
        char code[8];
        snprintf(code, sizeof code, "<0x%02X>", i);
        b->fallback[i] = eq_vocab_id(v, code, 6);
        b->byte[i] = eq_bpe_char(b, eq_byte_to_char((uint8_t)i));
    }
    return EQ_OK;
}

static eq_status must_be_empty(const json_t *model, const char *key, const char *where,
                               eq_err *err) {
    const char *s;
    EQ_TRY(eq_json_str(model, key, "", &s, where, err));
    return *s ? eq_spec_unsupported(key, s, where, err) : EQ_OK;
}

static eq_status load_switches(eq_bpe *b, const json_t *model, const char *where, eq_err *err) {
    const char *unk;
    EQ_TRY(eq_spec_known(
        model,
        "type dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk "
        "byte_fallback ignore_merges vocab merges",
        where, err));
    double dropout;
    EQ_TRY(eq_json_num(model, "dropout", 0, &dropout, where, err));
    if (dropout != 0)
        return eq_fail(err, EQ_EINPUT, "%s: BPE: \"dropout\": expected null or 0, found %g", where,
                       dropout);
    EQ_TRY(must_be_empty(model, "continuing_subword_prefix", where, err));
    EQ_TRY(must_be_empty(model, "end_of_word_suffix", where, err));
    EQ_TRY(eq_json_bool(model, "fuse_unk", false, &b->fuse_unk, where, err));
    EQ_TRY(eq_json_bool(model, "byte_fallback", false, &b->byte_fallback, where, err));
    EQ_TRY(eq_json_bool(model, "ignore_merges", false, &b->ignore_merges, where, err));
    EQ_TRY(eq_json_str(model, "unk_token", NULL, &unk, where, err));
    if (unk && !(b->unk_token = eq_strdup(unk)))
        return eq_nomem(err, "a model", (int64_t)strlen(unk));
    return EQ_OK;
}

static eq_status load(loader *l, const json_t *model) {
    eq_bpe *b = l->b;
    const json_t *merges;
    EQ_TRY(load_switches(b, model, l->where, l->err));
    EQ_TRY(eq_vocab_load(&b->vocab, json_object_get(model, "vocab"), l->where, l->err));
    EQ_TRY(load_characters(b, l->err));
    EQ_TRY(eq_spec_array(model, "merges", &merges, l->where, l->err));
    EQ_TRY(load_merges(l, merges));
    b->unk =
        b->unk_token ? eq_vocab_id(&b->vocab, b->unk_token, (int64_t)strlen(b->unk_token)) : -1;
    return EQ_OK;
}

eq_status eq_bpe_new(eq_bpe **out, const json_t *model, bool bytes, const char *where,
                     eq_err *err) {
    eq_bpe *b = *out = eq_calloc(1, sizeof *b);
    if (!b) return eq_nomem(err, "a model", sizeof *b);
    b->bytes = bytes;
    loader l = {.b = b, .where = where, .err = err};
    eq_status st = load(&l, model);
    eq_str_free(&l.joined);
    if (st != EQ_OK) {
        eq_bpe_free(b);
        *out = NULL;
    }
    return st;
}

void eq_bpe_free(eq_bpe *b) {
    if (!b) return;
    eq_vocab_free(&b->vocab);
    eq_free(b->merges.slots);
    eq_free(b->joints.slots);
    eq_free(b->unk_token);
    eq_free(b->bmp);
    eq_free(b);
}

const eq_vocab *eq_bpe_vocab(const eq_bpe *b) { return &b->vocab; }

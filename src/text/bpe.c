/* Words to ids: first symbols, then merges, behind a cache of words.
 *
 * A long word is cut first wherever no merge can ever close the gap between two characters: text of
 * the sentencepiece kind is one single word, and this makes short ones of it without changing one
 * id, since merges on the two sides of such a gap have nothing to do with each other.
 * Invariant: a cut lies between two characters of the vocabulary; unknown ones and byte fallbacks
 * stay with their neighbours, as they may be fused with what follows. */
#include "text/bpe.h"

#include <string.h>

#include "text/bpe_model.h"
#include "text/byte_char.h"
#include "text/utf8.h"
#include "text/word_cache.h"

struct eq_bpe_work {
    eq_ids symbols;
    eq_str mapped; /* a word in the byte-level alphabet */
    eq_merge_work merge;
    eq_word_cache cache;
};

eq_bpe_work *eq_bpe_work_new(int64_t text_n) {
    eq_bpe_work *w = eq_calloc(1, sizeof *w);
    if (w && !eq_word_cache_new(&w->cache, text_n)) {
        eq_free(w);
        return NULL;
    }
    return w;
}

void eq_bpe_work_free(eq_bpe_work *w) {
    if (!w) return;
    eq_ids_free(&w->symbols);
    eq_str_free(&w->mapped);
    eq_free(w->merge.id), eq_free(w->merge.prev), eq_free(w->merge.next), eq_free(w->merge.heap);
    eq_free(w->cache.slots);
    eq_free(w);
}

/* ---- first symbols --------------------------------------------------------------------------- */

/* The character at s as an id (-1: not in the vocabulary), *cp and its length in the word. */
static inline int32_t symbol_at(const eq_bpe *b, const char *s, uint32_t *cp, int64_t *len) {
    if (b->bytes) {
        *cp = eq_byte_to_char((uint8_t)*s);
        *len = 1;
        return b->byte[(uint8_t)*s];
    }
    *len = eq_utf8_get(s, cp);
    return eq_bpe_char(b, *cp);
}

/* A character that is not in the vocabulary. Only when all its bytes have fallback tokens do they
 * stand for it; *unk: an unknown token is waiting to be written. */
static eq_status unknown(const eq_bpe *b, eq_ids *s, uint32_t cp, bool *unk, eq_err *err) {
    char c[4];
    int n = eq_utf8_put(cp, c);
    bool all = b->byte_fallback;
    for (int i = 0; i < n && all; i++) all = b->fallback[(uint8_t)c[i]] >= 0;
    for (int i = 0; i < n && all; i++) EQ_TRY(eq_ids_put(s, b->fallback[(uint8_t)c[i]], err));
    if (all || !b->unk_token) return EQ_OK;
    if (b->unk < 0)
        return eq_fail(err, EQ_EINPUT,
                       "the text needs unk_token \"%.80s\", which is not in the vocabulary",
                       b->unk_token);
    if (*unk && !b->fuse_unk) EQ_TRY(eq_ids_put(s, b->unk, err));
    *unk = true;
    return EQ_OK;
}

static eq_status first_symbols(const eq_bpe *b, eq_ids *s, const char *word, int64_t n,
                               eq_err *err) {
    bool unk = false;
    uint32_t cp;
    s->n = 0;
    EQ_TRY(eq_ids_room(s, n, err));
    for (int64_t i = 0, len; i < n; i += len) {
        int32_t id = symbol_at(b, word + i, &cp, &len);
        if (id < 0) {
            EQ_TRY(unknown(b, s, cp, &unk, err));
            continue;
        }
        /* A waiting unknown token comes before the next known character, but after fallback bytes
         * that follow it: so does the peer. */
        if (unk) EQ_TRY(eq_ids_put(s, b->unk, err));
        unk = false;
        EQ_TRY(eq_ids_put(s, id, err));
    }
    return unk ? eq_ids_put(s, b->unk, err) : EQ_OK;
}

/* ---- words ----------------------------------------------------------------------------------- */

static eq_status whole_word(const eq_bpe *b, eq_bpe_work *w, const char *word, int64_t n,
                            int32_t *id, eq_err *err) {
    if (!b->bytes) return *id = eq_vocab_id(&b->vocab, word, n), EQ_OK;
    w->mapped.n = 0;
    for (int64_t i = 0; i < n; i++) eq_utf8_append(&w->mapped, eq_byte_to_char((uint8_t)word[i]));
    if (w->mapped.oom) return eq_nomem(err, "a word", 2 * n);
    *id = eq_vocab_id(&b->vocab, w->mapped.p, w->mapped.n);
    return EQ_OK;
}

/* Leaves the ids in w->symbols. */
static eq_status merge_word(const eq_bpe *b, eq_bpe_work *w, const char *word, int64_t n,
                            eq_err *err) {
    int32_t id = -1;
    if (b->ignore_merges) EQ_TRY(whole_word(b, w, word, n, &id, err));
    if (id >= 0) {
        w->symbols.n = 0;
        return eq_ids_put(&w->symbols, id, err);
    }
    EQ_TRY(first_symbols(b, &w->symbols, word, n, err));
    return eq_bpe_merge(b, &w->merge, w->symbols.p, &w->symbols.n, err);
}

static eq_status piece(const eq_bpe *b, eq_bpe_work *w, const char *word, int64_t n, eq_ids *out,
                       eq_err *err) {
    bool known;
    eq_cached_word *c = eq_word_cached(&w->cache, word, n, &known);
    if (known) return eq_ids_append(out, c->value, c->value_n, err);
    EQ_TRY(merge_word(b, w, word, n, err));
    eq_word_keep(c, word, n, w->symbols.p, w->symbols.n);
    return eq_ids_append(out, w->symbols.p, w->symbols.n, err);
}

bool eq_bpe_local(const eq_bpe *b) { return !b->ignore_merges; }

int64_t eq_bpe_cut(const eq_bpe *b, const char *word, int64_t n, uint32_t space) {
    int32_t next = -1;
    for (int64_t i = n; i > 0;) {
        uint32_t cp;
        int64_t len, at = b->bytes ? i - 1 : eq_utf8_back(word, i);
        int32_t id = symbol_at(b, word + at, &cp, &len);
        if (cp == ' ' && !b->bytes) id = eq_bpe_char(b, space);
        if (next >= 0 && id >= 0 && !eq_pair_get(&b->joints, id, next)) return i;
        next = id, i = at;
    }
    return 0;
}

eq_status eq_bpe_word(const eq_bpe *b, eq_bpe_work *w, const char *word, int64_t n, eq_ids *out,
                      eq_err *err) {
    /* With ignore_merges a piece is looked up as a word, so a word must stay whole. */
    if (n <= EQ_WORD_KEY || b->ignore_merges) return piece(b, w, word, n, out, err);
    int64_t from = 0;
    int32_t prev = -1;
    uint32_t cp;
    for (int64_t i = 0, len; i < n; i += len) {
        int32_t id = symbol_at(b, word + i, &cp, &len);
        if (prev >= 0 && id >= 0 && !eq_pair_get(&b->joints, prev, id)) {
            EQ_TRY(piece(b, w, word + from, i - from, out, err));
            from = i;
        }
        prev = id;
    }
    return piece(b, w, word + from, n - from, out, err);
}

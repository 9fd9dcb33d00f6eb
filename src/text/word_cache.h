/* A cache from short words to their ids; one slot a hash, the last word wins. Of one caller. */
#ifndef EQ_TEXT_WORD_CACHE_H
#define EQ_TEXT_WORD_CACHE_H
#include <string.h>
#include <xxhash.h>

#include "text/ids.h"

enum { EQ_WORD_KEY = 30, EQ_WORD_VALUE = 8 };

typedef struct { /* one cache line */
    uint8_t key_n, value_n;
    char key[EQ_WORD_KEY];
    int32_t value[EQ_WORD_VALUE];
} eq_cached_word;

typedef struct {
    eq_cached_word *slots;
    uint64_t mask;
} eq_word_cache;

/* text_n: size of the text to come. false: memory is out. */
static inline bool eq_word_cache_new(eq_word_cache *c, int64_t text_n) {
    int64_t entries = 16;
    while (entries < text_n / 16 && entries < 32768) entries *= 2;
    c->mask = (uint64_t)entries - 1;
    c->slots = eq_calloc(entries, sizeof *c->slots);
    return c->slots != NULL;
}

/* The word's slot, NULL where it is too long for one; *known: it is there. */
static inline eq_cached_word *eq_word_cached(const eq_word_cache *c, const char *word, int64_t n,
                                             bool *known) {
    *known = false;
    if (n > EQ_WORD_KEY) return NULL;
    eq_cached_word *s = c->slots + (XXH3_64bits(word, (size_t)n) & c->mask);
    *known = s->key_n == n && !memcmp(s->key, word, (size_t)n);
    return s;
}

static inline void eq_word_keep(eq_cached_word *s, const char *word, int64_t n, const int32_t *ids,
                                int64_t ids_n) {
    if (!s || ids_n > EQ_WORD_VALUE) return;
    s->key_n = (uint8_t)n, s->value_n = (uint8_t)ids_n;
    memcpy(s->key, word, (size_t)n);
    memcpy(s->value, ids, (size_t)ids_n * sizeof *ids);
}

static inline eq_status eq_ids_append(eq_ids *out, const int32_t *ids, int64_t n, eq_err *err) {
    EQ_TRY(eq_ids_room(out, n, err));
    if (n) memcpy(out->p + out->n, ids, (size_t)n * sizeof *ids);
    out->n += n;
    return EQ_OK;
}
#endif

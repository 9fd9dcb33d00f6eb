/* All tokens in one tree of bytes. */
#ifndef EQ_TEXT_UNIGRAM_TRIE_H
#define EQ_TEXT_UNIGRAM_TRIE_H
#include "text/pair_map.h"
#include "text/vocab.h"

typedef struct {
    eq_pair_map next; /* (node, byte) -> node, as the slot's id */
    int32_t *id;      /* [nodes] of the token that ends there; -1: none */
    int32_t nodes;
} eq_trie;

/* t is zeroed. */
eq_status eq_trie_new(eq_trie *t, const eq_vocab *v, eq_err *err);
void eq_trie_free(eq_trie *t);

/* The node behind `node` and this byte; 0, the root: there is none. */
static inline int32_t eq_trie_step(const eq_trie *t, int32_t node, uint8_t byte) {
    const eq_pair_slot *s = eq_pair_get(&t->next, node, byte);
    return s ? s->id : 0;
}
#endif

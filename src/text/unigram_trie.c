/* See unigram_trie.h. The tokens are sorted first, so that their common beginnings are neighbours:
 * this gives the number of nodes, and so the size of the hash, before anything is put into it. */
#include "text/unigram_trie.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *s;
    int64_t n;
} token;

static int in_order(const void *x, const void *y) {
    const token *a = x, *b = y;
    int c = memcmp(a->s, b->s, (size_t)(a->n < b->n ? a->n : b->n));
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

static int64_t count_nodes(const token *t, int64_t n) {
    int64_t nodes = 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t same = 0;
        while (i && same < t[i].n && same < t[i - 1].n && t[i].s[same] == t[i - 1].s[same]) same++;
        nodes += t[i].n - same;
    }
    return nodes;
}

static void insert(eq_trie *t, const token *one, int32_t id) {
    int32_t node = 0;
    for (int64_t i = 0; i < one->n; i++) {
        uint8_t byte = (uint8_t)one->s[i];
        int32_t next = eq_trie_step(t, node, byte);
        if (!next) {
            next = t->nodes++;
            t->id[next] = -1;
            eq_pair_set(&t->next, node, byte, 0, next);
        }
        node = next;
    }
    t->id[node] = id;
}

eq_status eq_trie_new(eq_trie *t, const eq_vocab *v, eq_err *err) {
    token *sorted = eq_calloc(v->n, sizeof *sorted);
    if (!sorted) return eq_nomem(err, "the vocabulary", v->n * (int64_t)sizeof *sorted);
    for (int64_t e = 0; e < v->n; e++)
        sorted[e] = (token){v->bytes + v->off[e], v->off[e + 1] - v->off[e]};
    qsort(sorted, (size_t)v->n, sizeof *sorted, in_order);
    int64_t nodes = count_nodes(sorted, v->n);
    eq_status st = EQ_OK;
    if (nodes >= INT32_MAX)
        st = eq_fail(err, EQ_EINPUT, "a vocabulary of %lld bytes is too large", (long long)nodes);
    if (st == EQ_OK && !(t->id = eq_calloc(nodes, sizeof *t->id)))
        st = eq_nomem(err, "the vocabulary", nodes * 4);
    if (st == EQ_OK) st = eq_pair_room(&t->next, nodes, err);
    if (st == EQ_OK) {
        t->nodes = 1, t->id[0] = -1;
        for (int64_t e = 0; e < v->n; e++)
            if (sorted[e].n) insert(t, sorted + e, eq_vocab_id(v, sorted[e].s, sorted[e].n));
    }
    eq_free(sorted);
    return st;
}

void eq_trie_free(eq_trie *t) {
    eq_free(t->next.slots);
    eq_free(t->id);
    *t = (eq_trie){0};
}

/* Merges of a vocabulary that came without: see tokenizer_sources.h. */
#include <jansson.h>
#include <stdlib.h>

#include "base/mem.h"
#include "text/tokenizer_sources.h"
#include "text/utf8.h"

typedef struct {
    int32_t left, right;
} cut;

static int by_left(const void *x, const void *y) {
    const cut *a = x, *b = y;
    return (a->left > b->left) - (a->left < b->left);
}

/* The cuts of one token; cuts has room for one a byte. */
static int64_t cuts_of(cut *cuts, const eq_vocab *v, const char *s, int64_t n, const bool *usable) {
    int64_t k = 0;
    uint32_t cp;
    for (int64_t at = 0; (at += eq_utf8_get(s + at, &cp)) < n;) {
        int32_t l = eq_vocab_id(v, s, at), r = l < 0 ? -1 : eq_vocab_id(v, s + at, n - at);
        if (r >= 0 && (!usable || (usable[l] && usable[r]))) cuts[k++] = (cut){l, r};
    }
    return k;
}

static bool append(json_t *merges, const eq_vocab *v, const cut *c) {
    int64_t n, m;
    const char *l = eq_vocab_text(v, c->left, &n), *r = eq_vocab_text(v, c->right, &m);
    json_t *one = json_pack("[s%,s%]", l, (size_t)n, r, (size_t)m);
    return one && !json_array_append_new(merges, one);
}

eq_status eq_merges_of(json_t **merges, const eq_vocab *v, const int32_t *order, int64_t n,
                       const bool *usable, bool by_rank, eq_err *err) {
    int64_t most = 0, len;
    for (int64_t i = 0; i < n; i++)
        if (eq_vocab_text(v, order[i], &len) && len > most) most = len;
    cut *cuts = eq_calloc(most, sizeof *cuts);
    bool ok = cuts && (*merges = json_array());
    for (int64_t i = 0; i < n && ok; i++) {
        const char *s = eq_vocab_text(v, order[i], &len);
        if (!s || !len || (usable && !usable[order[i]])) continue;
        int64_t k = cuts_of(cuts, v, s, len, usable);
        if (by_rank) qsort(cuts, (size_t)k, sizeof *cuts, by_left);
        for (int64_t c = 0; c < k && ok; c++) ok = append(*merges, v, cuts + c);
    }
    eq_free(cuts);
    return ok ? EQ_OK : eq_nomem(err, "merges", n * 64);
}

/* Merging one row of symbols. Short rows: look through all ranks each time. Long rows (a whole text
 * can be one word): a linked list and a heap ordered by rank, then position, O(n log n).
 * Invariant: both give the same ids. An entry of the heap is stale when the pair at its place has
 * since become another one; pairs only grow, so equal strings there mean the very same pair. */
#include <string.h>

#include "text/bpe_model.h"

enum { SHORT = 48 };

static void merge_short(const eq_bpe *b, int32_t *s, int64_t *n) {
    int32_t rank[SHORT], id[SHORT]; /* of the pair (i, i + 1); rank INT32_MAX: none */
    int64_t m = *n;
#define LOOK(i) \
    do { \
        const eq_pair_slot *p_ = eq_pair_get(&b->merges, s[i], s[(i) + 1]); \
        rank[i] = p_ ? p_->rank : INT32_MAX; \
        if (p_) id[i] = p_->id; \
    } while (0)
    for (int64_t i = 0; i + 1 < m; i++) LOOK(i);
    while (m > 1) {
        int64_t best = 0;
        for (int64_t i = 1; i + 1 < m; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == INT32_MAX) break;
        s[best] = id[best];
        for (int64_t i = best + 1; i + 1 < m; i++) {
            s[i] = s[i + 1];
            rank[i - 1] = rank[i], id[i - 1] = id[i];
        }
        m--;
        if (best > 0) LOOK(best - 1);
        if (best + 1 < m) LOOK(best);
    }
#undef LOOK
    *n = m;
}

static bool before(const eq_merge_entry *x, const eq_merge_entry *y) {
    return x->rank != y->rank ? x->rank < y->rank : x->pos < y->pos;
}

static void sift_down(eq_merge_entry *h, int64_t n, int64_t i) {
    eq_merge_entry e = h[i];
    for (int64_t kid; (kid = 2 * i + 1) < n; i = kid) {
        if (kid + 1 < n && before(h + kid + 1, h + kid)) kid++;
        if (!before(h + kid, &e)) break;
        h[i] = h[kid];
    }
    h[i] = e;
}

static eq_merge_entry pop(eq_merge_work *w) {
    eq_merge_entry top = w->heap[0];
    w->heap[0] = w->heap[--w->heap_n];
    if (w->heap_n) sift_down(w->heap, w->heap_n, 0);
    return top;
}

static void push(eq_merge_work *w, eq_merge_entry e) {
    int64_t i = w->heap_n++;
    while (i > 0 && before(&e, w->heap + (i - 1) / 2)) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = e;
}

static eq_status room(eq_merge_work *w, int64_t n, eq_err *err) {
    if (n <= w->cap) return EQ_OK;
    int64_t heap;
    eq_free(w->id), eq_free(w->prev), eq_free(w->next), eq_free(w->heap);
    w->cap = 0;
    w->id = eq_calloc(n, sizeof *w->id);
    w->prev = eq_calloc(n, sizeof *w->prev);
    w->next = eq_calloc(n, sizeof *w->next);
    /* n - 1 entries at first; each of n - 1 merges takes one out and puts at most two in. */
    w->heap = eq_mul(n, 2, &heap) ? eq_calloc(heap, sizeof *w->heap) : NULL;
    if (!w->id || !w->prev || !w->next || !w->heap) return eq_nomem(err, "one long word", 52 * n);
    w->cap = n;
    return EQ_OK;
}

static void push_pair(const eq_bpe *b, eq_merge_work *w, int64_t left, int64_t right) {
    if (left < 0 || right < 0) return;
    const eq_pair_slot *p = eq_pair_get(&b->merges, w->id[left], w->id[right]);
    if (p) push(w, (eq_merge_entry){left, p->rank, p->id});
}

static void apply(const eq_bpe *b, eq_merge_work *w, eq_merge_entry e) {
    if (w->id[e.pos] < 0 || w->next[e.pos] < 0) return;
    int64_t right = w->next[e.pos];
    const eq_pair_slot *p = eq_pair_get(&b->merges, w->id[e.pos], w->id[right]);
    if (!p || p->id != e.id) return;
    w->id[e.pos] = e.id;
    w->id[right] = -1;
    w->next[e.pos] = w->next[right];
    if (w->next[e.pos] >= 0) w->prev[w->next[e.pos]] = e.pos;
    push_pair(b, w, w->prev[e.pos], e.pos);
    push_pair(b, w, e.pos, w->next[e.pos]);
}

eq_status eq_bpe_merge(const eq_bpe *b, eq_merge_work *w, int32_t *s, int64_t *n, eq_err *err) {
    if (*n <= SHORT) return merge_short(b, s, n), EQ_OK;
    EQ_TRY(room(w, *n, err));
    w->heap_n = 0;
    for (int64_t i = 0; i < *n; i++) {
        w->id[i] = s[i];
        w->prev[i] = i - 1;
        w->next[i] = i + 1 < *n ? i + 1 : -1;
    }
    for (int64_t i = 0; i + 1 < *n; i++) {
        const eq_pair_slot *p = eq_pair_get(&b->merges, s[i], s[i + 1]);
        if (p) w->heap[w->heap_n++] = (eq_merge_entry){i, p->rank, p->id};
    }
    for (int64_t i = w->heap_n / 2 - 1; i >= 0; i--) sift_down(w->heap, w->heap_n, i);
    while (w->heap_n > 0) apply(b, w, pop(w));
    int64_t left = 0;
    for (int64_t i = 0; i >= 0; i = w->next[i]) s[left++] = w->id[i];
    *n = left;
    return EQ_OK;
}

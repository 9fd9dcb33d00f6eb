/* See batch.h. Invariant: a row's place is at the same position in every window that it stands in,
 * since it is as deep in the tree; so what is computed for it holds for all of them. */
#include "eval/batch.h"

#include <string.h>

#include "base/mem.h"

enum { ROOT = -1 };

/* A token of an answer: the row behind which it stands. */
typedef struct {
    int32_t *row, *target;
    int64_t *id;
    int64_t n, cap;
} targets;

struct eq_batch {
    int64_t max_rows, max_places;
    int64_t rows, B, T; /* nodes; windows that are laid out and the longest of them */
    int32_t *ids;       /* [rows] */
    int32_t *way;       /* rows of the windows end to end */
    int64_t *ends;      /* [B] in way */
    int64_t max_windows;
    int32_t *place; /* [max_places] */
    int32_t *path;  /* of the choice under way */
    /* The tree: an open-addressing table from (parent, id) to the node. */
    int64_t slots;
    int32_t *parent, *child; /* [slots]; child < 0: free */
    targets asked;
};

eq_batch *eq_batch_new(int64_t rows, int64_t places) {
    eq_batch *b = eq_calloc(1, sizeof *b);
    if (!b) return NULL;
    b->max_rows = rows, b->max_places = places;
    for (b->slots = 64; b->slots < 2 * rows;) b->slots *= 2;
    b->ids = eq_calloc(rows, sizeof *b->ids);
    b->way = eq_calloc(places, sizeof *b->way);
    b->ends = eq_calloc(rows, sizeof *b->ends);
    b->place = eq_calloc(places, sizeof *b->place);
    b->path = eq_calloc(rows, sizeof *b->path);
    b->parent = eq_calloc(b->slots, sizeof *b->parent);
    b->child = eq_calloc(b->slots, sizeof *b->child);
    if (!b->ids || !b->way || !b->ends || !b->place || !b->path || !b->parent || !b->child) {
        eq_batch_free(b);
        return NULL;
    }
    memset(b->child, 0xff, (size_t)b->slots * sizeof *b->child);
    return b;
}

void eq_batch_free(eq_batch *b) {
    if (!b) return;
    eq_free(b->ids), eq_free(b->way), eq_free(b->ends), eq_free(b->place), eq_free(b->path);
    eq_free(b->parent), eq_free(b->child);
    eq_free(b->asked.row), eq_free(b->asked.target), eq_free(b->asked.id);
    eq_free(b);
}

int64_t eq_batch_rows(const eq_batch *b) { return b->rows; }

/* ---- the tree -------------------------------------------------------------------------------- */

/* The slot of the child of `parent` with this id, or the free one where it would be. */
static int64_t slot_of(const eq_batch *b, int32_t parent, int32_t id) {
    uint64_t h = ((uint64_t)(uint32_t)parent << 32 | (uint32_t)id) * 0x9e3779b97f4a7c15u;
    int64_t mask = b->slots - 1, i = (int64_t)(h >> 20) & mask;
    while (b->child[i] >= 0 && (b->parent[i] != parent || b->ids[b->child[i]] != id))
        i = (i + 1) & mask;
    return i;
}

/* Inputs of a choice that are in the tree. */
static int64_t known(const eq_batch *b, const eq_asked *a, const eq_request *r) {
    int64_t n = eq_request_inputs(r), t = 0;
    for (int32_t at = ROOT; t < n; t++) {
        int32_t next = b->child[slot_of(b, at, eq_request_id(a, r, t))];
        if (next < 0) break;
        at = next;
    }
    return t;
}

bool eq_batch_has_room(const eq_batch *b, const eq_asked *a) {
    int64_t T = a->longest > b->T ? a->longest : b->T;
    return b->rows + a->rows - known(b, a, &a->request[0]) <= b->max_rows &&
           (b->B + a->n) * T <= b->max_places;
}

/* The rows of a choice into b->path; true: some of them are new. */
static bool descend(eq_batch *b, const eq_asked *a, const eq_request *r) {
    int64_t n = eq_request_inputs(r), before = b->rows;
    for (int64_t t = 0; t < n; t++) {
        int32_t up = t ? b->path[t - 1] : ROOT, id = eq_request_id(a, r, t);
        int64_t i = slot_of(b, up, id);
        if (b->child[i] < 0) {
            b->ids[b->rows] = id;
            b->parent[i] = up, b->child[i] = (int32_t)b->rows++;
        }
        b->path[t] = b->child[i];
    }
    return b->rows > before;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static eq_status targets_room(targets *t, int64_t more, eq_err *err) {
    if (t->n + more <= t->cap) return EQ_OK;
    int64_t cap = 2 * (t->n + more);
    int32_t *row = eq_realloc(t->row, cap, sizeof *row);
    if (row) t->row = row;
    int32_t *target = eq_realloc(t->target, cap, sizeof *target);
    if (target) t->target = target;
    int64_t *id = eq_realloc(t->id, cap, sizeof *id);
    if (id) t->id = id;
    if (!row || !target || !id) return eq_nomem(err, "answers", 16 * cap);
    t->cap = cap;
    return EQ_OK;
}

eq_status eq_batch_add(eq_batch *b, const eq_asked *a, int64_t id, eq_err *err) {
    for (int k = 0; k < a->n; k++) {
        const eq_request *r = &a->request[k];
        int64_t n = eq_request_inputs(r);
        EQ_TRY(targets_room(&b->asked, r->n_continuation, err));
        if (descend(b, a, r)) { /* else another window holds all of it */
            int64_t from = b->B ? b->ends[b->B - 1] : 0;
            memcpy(b->way + from, b->path, (size_t)n * sizeof *b->way);
            b->ends[b->B++] = from + n;
            if (n > b->T) b->T = n;
        }
        for (int64_t t = r->n_context; t <= n; t++) {
            b->asked.row[b->asked.n] = b->path[t - 1];
            b->asked.target[b->asked.n] = eq_request_id(a, r, t);
            b->asked.id[b->asked.n++] = id + k;
        }
    }
    return EQ_OK;
}

/* ---- running --------------------------------------------------------------------------------- */

static void lay_out(eq_batch *b) {
    for (int64_t w = 0; w < b->B; w++) {
        int64_t from = w ? b->ends[w - 1] : 0, n = b->ends[w] - from;
        for (int64_t t = 0; t < b->T; t++) b->place[w * b->T + t] = t < n ? b->way[from + t] : -1;
    }
}

static void empty(eq_batch *b) {
    b->rows = b->B = b->T = b->asked.n = 0;
    memset(b->child, 0xff, (size_t)b->slots * sizeof *b->child);
}

eq_status eq_batch_run(eq_batch *b, eq_lm *lm, double *ll, bool *likeliest, eq_err *err) {
    int64_t n = b->asked.n;
    float *nll = eq_calloc(n, sizeof *nll);
    bool *first = likeliest ? eq_calloc(n, sizeof *first) : NULL;
    eq_status st = nll && (first || !likeliest) ? EQ_OK : eq_nomem(err, "scores", 5 * n);
    lay_out(b);
    eq_lm_shared s = {.rows = b->rows, .B = b->B, .T = b->T, .ids = b->ids, .place = b->place};
    if (st == EQ_OK) st = eq_lm_forward_shared(lm, &s, err);
    if (st == EQ_OK) st = eq_lm_score(lm, b->asked.row, b->asked.target, n, nll, first, err);
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        ll[b->asked.id[i]] -= (double)nll[i];
        if (first && !first[i]) likeliest[b->asked.id[i]] = false;
    }
    eq_free(nll), eq_free(first);
    empty(b);
    return st;
}

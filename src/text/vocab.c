/* An open-addressing hash over strings that lie end to end; a slot keeps 32 bits of the hash, so
 * most misses never touch the strings. */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/utf8.h"

struct eq_vocab_slot {
    uint32_t tag;
    int32_t entry; /* + 1; 0: free */
};

static int64_t len(const eq_vocab *v, int64_t e) { return v->off[e + 1] - v->off[e]; }

static void insert(eq_vocab *v, int64_t e) {
    uint64_t h = XXH3_64bits(v->bytes + v->off[e], (size_t)len(v, e));
    uint64_t i = h & v->mask;
    while (v->slots[i].entry) i = (i + 1) & v->mask;
    v->slots[i].tag = (uint32_t)(h >> 32);
    v->slots[i].entry = (int32_t)(e + 1);
}

static int64_t find(const eq_vocab *v, const char *s, int64_t n) {
    uint64_t h = XXH3_64bits(s, (size_t)n);
    for (uint64_t i = h & v->mask; v->slots[i].entry; i = (i + 1) & v->mask) {
        int64_t e = v->slots[i].entry - 1;
        if (v->slots[i].tag == (uint32_t)(h >> 32) && len(v, e) == n &&
            !memcmp(v->bytes + v->off[e], s, (size_t)n))
            return e;
    }
    return -1;
}

int32_t eq_vocab_id(const eq_vocab *v, const char *s, int64_t n) {
    int64_t e = find(v, s, n);
    return e < 0 ? -1 : v->id[e];
}

int32_t eq_vocab_char(const eq_vocab *v, uint32_t cp) {
    char s[4];
    return eq_vocab_id(v, s, eq_utf8_put(cp, s));
}

/* First place in by_id whose id is at least `id`. */
static int64_t lower_bound(const eq_vocab *v, int32_t id) {
    int64_t lo = 0, hi = v->n;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (v->id[v->by_id[mid]] < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const char *eq_vocab_text(const eq_vocab *v, int32_t id, int64_t *n) {
    int64_t at = lower_bound(v, id);
    if (at == v->n || v->id[v->by_id[at]] != id) return NULL;
    int64_t e = v->by_id[at];
    *n = len(v, e);
    return v->bytes + v->off[e];
}

int64_t eq_vocab_end(const eq_vocab *v) {
    return v->n ? (int64_t)v->id[v->by_id[v->n - 1]] + 1 : 0;
}

typedef struct {
    int32_t id, entry;
} numbered;

static int by_number(const void *a, const void *b) {
    int32_t x = ((const numbered *)a)->id, y = ((const numbered *)b)->id;
    return x < y ? -1 : x > y;
}

static eq_status number(eq_vocab *v, const char *where, eq_err *err) {
    numbered *order = eq_calloc(v->n, sizeof *order);
    if (!order) return eq_nomem(err, "the vocabulary", v->n * (int64_t)sizeof *order);
    for (int32_t e = 0; e < v->n; e++) order[e] = (numbered){v->id[e], e};
    qsort(order, (size_t)v->n, sizeof *order, by_number);
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < v->n && st == EQ_OK; i++) {
        v->by_id[i] = order[i].entry;
        if (i && order[i].id == order[i - 1].id)
            st = eq_fail(err, EQ_EINPUT, "%s: two tokens have the id %d", where, order[i].id);
    }
    eq_free(order);
    return st;
}

static eq_status reserve(eq_vocab *v, int64_t n, int64_t bytes, const char *where, eq_err *err) {
    int64_t slots = 16;
    if (n > INT32_MAX / 4)
        return eq_fail(err, EQ_EINPUT, "%s: a vocabulary of %lld tokens is too large", where,
                       (long long)n);
    while (slots < 2 * n) slots *= 2;
    v->mask = (uint64_t)slots - 1;
    v->bytes = eq_calloc(bytes, 1);
    v->off = eq_calloc(n + 1, sizeof *v->off);
    v->id = eq_calloc(n, sizeof *v->id);
    v->by_id = eq_calloc(n, sizeof *v->by_id);
    v->slots = eq_calloc(slots, sizeof *v->slots);
    return v->bytes && v->off && v->id && v->by_id && v->slots
               ? EQ_OK
               : eq_nomem(err, "the vocabulary", bytes + 40 * n);
}

eq_status eq_vocab_load(eq_vocab *v, const json_t *object, const char *where, eq_err *err) {
    json_t *o = (json_t *)object; /* jansson's iterators take no const */
    int64_t bytes = 0, n = 0;
    if (!json_is_object(object))
        return eq_fail(err, EQ_EINPUT, "%s: the vocabulary: expected an object, found %s", where,
                       eq_json_type(object));
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it), n++)
        bytes += (int64_t)strlen(json_object_iter_key(it));
    EQ_TRY(reserve(v, n, bytes, where, err));
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *id = json_object_iter_value(it);
        int64_t e = v->n, key_n = (int64_t)strlen(key);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= INT32_MAX)
            return eq_fail(
                err, EQ_EINPUT, "%s: token \"%.80s\": expected an id from 0 to %d, found %s", where,
                key, INT32_MAX - 1, json_is_integer(id) ? "another integer" : eq_json_type(id));
        memcpy(v->bytes + v->off[e], key, (size_t)key_n);
        v->off[e + 1] = v->off[e] + key_n;
        v->id[e] = (int32_t)json_integer_value(id);
        insert(v, e);
        v->n++;
    }
    return number(v, where, err);
}

eq_status eq_vocab_load_list(eq_vocab *v, const json_t *list, const char *where, eq_err *err) {
    int64_t bytes = 0, n = (int64_t)json_array_size(list);
    if (!json_is_array(list))
        return eq_fail(err, EQ_EINPUT, "%s: the vocabulary: expected an array, found %s", where,
                       eq_json_type(list));
    for (int64_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(list, (size_t)i), *s = json_array_get(one, 0);
        if (json_array_size(one) != 2 || !json_is_string(s) ||
            !json_is_number(json_array_get(one, 1)))
            return eq_fail(err, EQ_EINPUT,
                           "%s: token %lld: expected a string and a score, found %s", where,
                           (long long)i, eq_json_type(one));
        bytes += (int64_t)json_string_length(s);
    }
    EQ_TRY(reserve(v, n, bytes, where, err));
    for (; v->n < n; v->n++) {
        const json_t *s = json_array_get(json_array_get(list, (size_t)v->n), 0);
        int64_t len_ = (int64_t)json_string_length(s);
        memcpy(v->bytes + v->off[v->n], json_string_value(s), (size_t)len_);
        v->off[v->n + 1] = v->off[v->n] + len_;
        v->id[v->n] = v->by_id[v->n] = (int32_t)v->n;
    }
    for (int64_t e = n; e > 0; e--) insert(v, e - 1); /* the first of equal ones is found first */
    return EQ_OK;
}

void eq_vocab_free(eq_vocab *v) {
    eq_free(v->bytes);
    eq_free(v->off);
    eq_free(v->id);
    eq_free(v->by_id);
    eq_free(v->slots);
    *v = (eq_vocab){0};
}

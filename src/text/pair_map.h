/* A hash from pairs of ids to a pair of numbers. */
#ifndef EQ_TEXT_PAIR_MAP_H
#define EQ_TEXT_PAIR_MAP_H
#include <stdint.h>

#include "base/mem.h"

typedef struct {
    uint64_t key; /* left << 32 | right; all ones: free */
    int32_t rank, id;
} eq_pair_slot;

typedef struct {
    eq_pair_slot *slots;
    uint64_t mask;
    int shift;
} eq_pair_map;

static inline eq_pair_slot *eq_pair_place(const eq_pair_map *m, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t i = (key * 0x9e3779b97f4a7c15u) >> m->shift;
    while (m->slots[i].key != key && m->slots[i].key != UINT64_MAX) i = (i + 1) & m->mask;
    return m->slots + i;
}

/* NULL: not there. */
static inline const eq_pair_slot *eq_pair_get(const eq_pair_map *m, int32_t left, int32_t right) {
    const eq_pair_slot *s = eq_pair_place(m, left, right);
    return s->key == UINT64_MAX ? NULL : s;
}

/* Room for n pairs must have been made. An old value is replaced. */
static inline void eq_pair_set(eq_pair_map *m, int32_t left, int32_t right, int32_t rank,
                               int32_t id) {
    eq_pair_slot *s = eq_pair_place(m, left, right);
    *s = (eq_pair_slot){(uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank, id};
}

static inline eq_status eq_pair_room(eq_pair_map *m, int64_t n, eq_err *err) {
    int bits = 4;
    while (((int64_t)1 << bits) < 2 * n) bits++;
    m->slots = eq_calloc((int64_t)1 << bits, sizeof *m->slots);
    if (!m->slots) return eq_nomem(err, "merges", ((int64_t)1 << bits) * (int64_t)sizeof *m->slots);
    m->mask = ((uint64_t)1 << bits) - 1;
    m->shift = 64 - bits;
    for (uint64_t i = 0; i <= m->mask; i++) m->slots[i].key = UINT64_MAX;
    return EQ_OK;
}
#endif

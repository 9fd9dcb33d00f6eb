/* Appending to an eq_ids. */
#ifndef EQ_TEXT_IDS_H
#define EQ_TEXT_IDS_H
#include "base/mem.h"
#include "text/tokenizer.h"

/* Room for `more` ids behind the last one. */
static inline eq_status eq_ids_room(eq_ids *s, int64_t more, eq_err *err) {
    if (s->cap - s->n >= more) return EQ_OK;
    int64_t cap = (s->n + more) + (s->n + more) / 2 + 64;
    int32_t *p = eq_realloc(s->p, cap, sizeof *p);
    if (!p) return eq_nomem(err, "token ids", cap * (int64_t)sizeof *p);
    s->p = p, s->cap = cap;
    return EQ_OK;
}

static inline eq_status eq_ids_put(eq_ids *s, int32_t id, eq_err *err) {
    if (s->n == s->cap) EQ_TRY(eq_ids_room(s, 1, err));
    s->p[s->n++] = id;
    return EQ_OK;
}
#endif

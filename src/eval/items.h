/* Multiple choice as plain text: items, each with choices that are a context and what follows it.
 * Texts lie end to end in one string, so that an item costs no allocation of its own. */
#ifndef EQ_EVAL_ITEMS_H
#define EQ_EVAL_ITEMS_H
#include "base/str.h"

typedef struct {
    int64_t at, n; /* bytes of eq_items.text */
} eq_span;

typedef struct {
    eq_span context, continuation;
    int64_t chars; /* characters of the answer, which acc_norm divides by */
} eq_choice;

typedef struct {
    int64_t first; /* of its choices */
    int n, gold;
    int64_t line; /* or row, in its file */
} eq_item;

typedef struct {
    eq_str text;
    eq_choice *choice;
    eq_item *item;
    int64_t choices, n, cap_choices, cap_items;
} eq_items;

/* A piece of text that is being put together: begin, eq_str_put to items->text, end. */
static inline eq_span eq_span_begin(const eq_items *items) { return (eq_span){items->text.n, 0}; }
static inline eq_span eq_span_end(const eq_items *items, eq_span s) {
    return (eq_span){s.at, items->text.n - s.at};
}
eq_span eq_items_put(eq_items *items, const char *text, int64_t n);

/* The next item has `gold` as its answer; its choices follow. */
eq_status eq_items_open(eq_items *items, int gold, int64_t line, eq_err *err);
eq_status eq_items_choice(eq_items *items, eq_choice c, eq_err *err);
/* After the last choice. An empty context or answer, fewer than `least` choices, and a gold that is
 * none of them are errors that begin with `where`. */
eq_status eq_items_close(eq_items *items, int least, const char *where, eq_err *err);
void eq_items_free(eq_items *items);
#endif

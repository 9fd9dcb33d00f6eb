/* Items as token ids, split as lm-evaluation-harness splits them (METHOD section 6): blanks at the
 * end of a context go to what follows; continuation ids are those of the whole text behind as many
 * as the context alone has; what is too long is cut from the left. */
#ifndef EQ_EVAL_REQUEST_H
#define EQ_EVAL_REQUEST_H
#include "eval/items.h"
#include "text/tokenizer.h"

/* One choice: ids of the context and of what follows, in the ids of its item. */
typedef struct {
    int64_t context, n_context, continuation, n_continuation;
} eq_request;

typedef struct {
    int32_t *ids;
    eq_request *request; /* one a choice */
    int n;
    int64_t longest; /* inputs of the longest choice: all its ids but the last */
    int64_t rows;    /* inputs of all choices, those that all have in front counted once */
} eq_asked;

/* The ids of an item. special: with what the tokenizer puts around a text. context_max: of the
 * model. An answer without an id of its own, or longer than the model's context, is an error that
 * begins with `where` and the item's line. */
eq_status eq_asked_make(eq_asked *a, const eq_tokenizer *tok, const eq_items *items,
                        const eq_item *item, bool special, int64_t context_max, const char *where,
                        eq_err *err);
void eq_asked_free(eq_asked *a);

static inline int64_t eq_request_inputs(const eq_request *r) {
    return r->n_context + r->n_continuation - 1;
}
/* Id t of the whole, from 0 to inputs (the last one is only predicted). */
static inline int32_t eq_request_id(const eq_asked *a, const eq_request *r, int64_t t) {
    return t < r->n_context ? a->ids[r->context + t] : a->ids[r->continuation + t - r->n_context];
}
#endif

/* A batch of choices for one forward pass: whatever several of them begin with stands in it once.
 * The rows are the nodes of a tree of token ids; a choice is a way down from its root. */
#ifndef EQ_EVAL_BATCH_H
#define EQ_EVAL_BATCH_H
#include "eval/request.h"
#include "model/lm.h"

typedef struct eq_batch eq_batch;

/* Up to `rows` rows, and windows times the longest one up to `places`. NULL: memory is out. */
eq_batch *eq_batch_new(int64_t rows, int64_t places);
void eq_batch_free(eq_batch *b); /* NULL allowed */
/* Is there room for another item? An empty batch has room for one that its limits allow. */
bool eq_batch_has_room(const eq_batch *b, const eq_asked *a);
/* id: of its first choice, by which results are handed out. Errors: memory. */
eq_status eq_batch_add(eq_batch *b, const eq_asked *a, int64_t id, eq_err *err);
int64_t eq_batch_rows(const eq_batch *b);
/* The forward pass and the scores: ll[id] += log p of every token of choice `id`; likeliest[id]
 * (NULL: not wanted): false where one of them is not the likeliest. Empties the batch. */
eq_status eq_batch_run(eq_batch *b, eq_lm *lm, double *ll, bool *likeliest, eq_err *err);
#endif

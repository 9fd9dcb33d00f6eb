/* The data of a source as one row of token ids: documents end to end, each with its specials, and
 * the ids of .npy and .bin. Text is read once, a piece at a time, on all threads; of it only ids
 * stay in memory, in 16 bits where the vocabulary allows, and where even they would pass the memory
 * limit they are made again when windows are taken. */
#ifndef EQ_DATA_TOKENS_H
#define EQ_DATA_TOKENS_H
#include "data/inputs.h"
#include "data/sources.h"
#include "data/windows.h"

typedef struct eq_tokens eq_tokens;

/* Takes *src over. joined: all rows of a text file are one text (data/rows.h). need > 0: ids behind
 * the piece that reaches `need` are not wanted. No id at all, and an id at or above o->vocab, are
 * errors. `o` must outlive *t. */
eq_status eq_tokens_open(eq_tokens **t, eq_source *src, bool joined, int64_t need,
                         const eq_window_opts *o, eq_err *err);
void eq_tokens_close(eq_tokens *t); /* NULL allowed */

bool eq_tokens_are_of(const eq_tokens *t, const eq_source *src);
const char *eq_tokens_name(const eq_tokens *t);
const eq_inputs *eq_tokens_inputs(const eq_tokens *t); /* none where `need` cut it short */
int64_t eq_tokens_count(const eq_tokens *t);
/* Documents (o->pack: none), each from its start to the next one's (i <= count); 0: no documents.
 */
int64_t eq_tokens_docs(const eq_tokens *t);
int64_t eq_tokens_doc_start(const eq_tokens *t, int64_t i);
int64_t eq_tokens_columns(const eq_tokens *t); /* of 2-D .npy; 0: no rows */

/* out[n, T]: the T ids from start[i] on, for every i; any order. */
eq_status eq_tokens_take(const eq_tokens *t, int32_t *out, const int64_t *start, int64_t n,
                         int64_t T, eq_err *err);
#endif

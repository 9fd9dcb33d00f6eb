/* Tokens out of data files: documents one at a time in any order, everything in one stream, or rows
 * of ids. Every id handed out is below the vocabulary. */
#ifndef EQ_DATA_DOCS_H
#define EQ_DATA_DOCS_H
#include "data/windows.h"
#include "format/npy.h"

/* An .npy file, ids checked against o->vocab. */
eq_status eq_data_npy(eq_npy *out, const char *path, const eq_window_opts *o, eq_err *err);

/* One text through the tokenizer's own call (specials included), appended to *out. `line` 0: the
 * file is one text. */
eq_status eq_data_encode(eq_ids *out, const char *text, int64_t n, const char *path, int64_t line,
                         const eq_window_opts *o, eq_err *err);

/* All documents of a text corpus, each with its specials, one behind the other; stops behind the
 * document that reaches `need` tokens (0: never). No token at all is an error. */
eq_status eq_data_stream(eq_ids *out, const char *path, int64_t need, const eq_window_opts *o,
                         eq_err *err);

/* The documents of a .jsonl. Opening reads and checks the file once; texts stay in memory only
 * where the file is compressed, else they are read again from their place. */
typedef struct eq_docs eq_docs;
eq_status eq_docs_open(eq_docs **d, const char *path, const eq_window_opts *o, eq_err *err);
int64_t eq_docs_count(const eq_docs *d);
/* Tokens of document i, -1 while nobody has asked for them. */
int64_t eq_docs_tokens(const eq_docs *d, int64_t i);
/* *ids: valid until the next call. */
eq_status eq_docs_ids(eq_docs *d, int64_t i, const int32_t **ids, eq_err *err);
/* Counts the tokens of up to 64 documents that were not counted yet, on all threads. A document
 * that cannot be tokenised stays at -1: eq_docs_ids says why. */
eq_status eq_docs_count_tokens(eq_docs *d, const int64_t *which, int64_t n, eq_err *err);
void eq_docs_close(eq_docs *d); /* NULL allowed */
#endif

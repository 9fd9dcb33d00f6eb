/* WikiText-2's test text (METHOD section 5): the rows of the raw file joined by a blank line. A row
 * of a .txt is a line with its newline, or nothing where the line is blank; of a .jsonl, a
 * document. Text that holds three newlines in a row was joined before, since raw lines never do: it
 * stays. */
#ifndef EQ_DATA_ROWS_H
#define EQ_DATA_ROWS_H
#include "format/corpus.h"

typedef struct eq_row_joiner eq_row_joiner;
/* Reads through a .txt once, to see whether it was joined before. */
eq_status eq_row_joiner_open(eq_row_joiner **r, const eq_file *f, const eq_corpus_opts *o,
                             eq_err *err);
/* What eq_corpus_next gave (*text NULL at the end) becomes what is joined so far, valid until the
 * next call, never NULL. */
eq_status eq_row_joiner_put(eq_row_joiner *r, const char **text, int64_t *n, eq_err *err);
void eq_row_joiner_close(eq_row_joiner *r); /* NULL allowed */
#endif

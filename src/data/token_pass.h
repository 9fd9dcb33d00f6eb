/* One pass over the files of a source: hands all their ids on, in order. Text is read a piece at a
 * time and encoded on all threads.
 * Invariant: ids depend on files, tokenizer and options alone, not on threads, pieces or memory. */
#ifndef EQ_DATA_TOKEN_PASS_H
#define EQ_DATA_TOKEN_PASS_H
#include "data/inputs.h"
#include "data/sources.h"
#include "data/windows.h"

typedef struct eq_pass {
    const eq_source *src;
    const eq_window_opts *o;
    bool joined; /* all rows of a text file are one text (data/rows.h) */
    /* Gets ids in order; doc_ends: a document ends behind them, which is so in sources that have
     * documents, and where they are not packed. Sets `enough` when it wants no more. */
    eq_status (*put)(struct eq_pass *p, const int32_t *ids, int64_t n, bool doc_ends, eq_err *err);
    void *ctx; /* of put */
    bool enough;
    eq_inputs *inputs; /* gets what was read, and notes say what was passed over; NULL: neither */
} eq_pass;

eq_status eq_pass_run(eq_pass *p, eq_err *err);
#endif

/* Windows of instruction rows, alone or mixed with text, for E2E-QP. */
#ifndef EQ_DATA_INSTRUCT_WINDOWS_H
#define EQ_DATA_INSTRUCT_WINDOWS_H
#include "data/instruct.h"
#include "data/windows.h"

typedef struct {
    const char *data; /* rows: see eq_sources_open */
    const char *text; /* NULL: rows alone; else both have weights, by which they are mixed */
    int64_t n;        /* windows; 0: all rows, of a mix 4096 */
    int64_t batch;    /* windows of a step */
    bool in_order;    /* the first rows as they stand; else shuffled (o->seed) */
    const eq_instruct_read *read;
} eq_instruct_set;

/* A row is a window, filled up to the longest. So that little of it is filling, rows are put in
 * order of length within every eight batches, and the batches are shuffled again. o->pack: rows end
 * to end, cut into windows of o->seqlen. */
eq_status eq_windows_instruct(eq_windows *w, const eq_instruct_set *s, const eq_window_opts *o,
                              eq_err *err);
#endif

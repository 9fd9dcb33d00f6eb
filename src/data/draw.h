/* Drawing windows from one source, as the paper's tools draw them (METHOD sections 4 and 5). The
 * generator is called in their order. */
#ifndef EQ_DATA_DRAW_H
#define EQ_DATA_DRAW_H
#include "base/rng.h"
#include "data/tokens.h"

typedef enum { EQ_DRAW_ROWS, EQ_DRAW_STREAM, EQ_DRAW_DOCS } eq_draw_kind;

typedef struct {
    const char *name;
    const eq_window_opts *o;
    eq_draw_kind kind;
    int64_t T, n; /* n: rows, tokens or documents */
    eq_tokens *t;
    bool keep; /* it can serve the next call, see eq_window_opts.last */
} eq_draw;

/* Takes *src over. windows > 0: only the first ones will be taken. o must outlive the tokens. */
eq_status eq_draw_open(eq_draw *d, eq_source *src, bool joined, int64_t windows,
                       const eq_window_opts *o, eq_err *err);
void eq_draw_close(eq_draw *d);

/* Training from the first nine tenths, validation behind (n_val 0: none); own_val: rows are not
 * held back for it. Fewer than asked for is noted. */
eq_status eq_draw_split(eq_windows *train, eq_windows *val, const eq_draw *d, int64_t n_train,
                        int64_t n_val, bool own_val, eq_mt *mt, eq_err *err);
/* From anywhere in it; `what` names them in messages. */
eq_status eq_draw_all(eq_windows *w, const eq_draw *d, int64_t n, const char *what, eq_mt *mt,
                      eq_err *err);
/* One behind the other, the tail dropped: n of them (0: all), the first ones or of all shuffled. */
eq_status eq_draw_cut(eq_windows *w, const eq_draw *d, int64_t n, bool shuffled, eq_err *err);
/* The C4 protocol: 256 windows, or `limit`, of random documents, random.seed(0). */
eq_status eq_draw_c4(eq_windows *w, const eq_draw *d, int64_t limit, eq_err *err);
void eq_draw_note_count(const eq_draw *d, const char *what, int64_t found, int64_t asked);

/* random.Random(seed).shuffle(list): from the last place down, each changes with one at or below.
 */
void eq_shuffle(int64_t *list, int64_t n, uint64_t seed);

/* Room for n windows, and their digest when they are there. */
eq_status eq_windows_alloc(eq_windows *w, int64_t n, int64_t T, const eq_window_opts *o,
                           eq_err *err);
/* The same with `learn` and `len`. */
eq_status eq_windows_alloc_rows(eq_windows *w, int64_t n, int64_t T, const eq_window_opts *o,
                                eq_err *err);
eq_status eq_windows_seal(eq_windows *w, eq_err *err);
/* n in the ratio of so many weights. */
void eq_windows_shares(int64_t *out, const double *weight, int64_t count, int64_t n);
/* All windows of part[n], dealt evenly; T is that of the longest. */
eq_status eq_windows_mix(eq_windows *w, const eq_windows *part, int64_t n, const eq_window_opts *o,
                         eq_err *err);
#endif

/* From files to token windows: the drawing rules of the paper's tools (METHOD sections 4 and 5). */
#ifndef EQ_DATA_WINDOWS_H
#define EQ_DATA_WINDOWS_H
#include "base/hash.h"
#include "text/tokenizer.h"

typedef struct {
    int32_t *ids;       /* [n, T] */
    int64_t n, T;
    eq_digest digest;   /* of the ids and the shape */
} eq_windows;
void eq_windows_free(eq_windows *w);

typedef struct {
    const eq_tokenizer *tok;  /* NULL is fine when every file is .npy */
    int64_t vocab;            /* ids at or above are errors that name file, position, id, vocabulary */
    int64_t seqlen;           /* tokens a window; 2-D .npy: its columns, must be 0 or equal */
    int64_t seqlen_default;   /* used where seqlen == 0 and the file does not decide */
    uint64_t seed;
    const eq_observer *obs;   /* notes ("found 812 windows of the 4096 asked for"), progress */
} eq_window_opts;

/* Block-AP windows (METHOD section 4). val_path NULL: validation held out of `path` as the paper's
 * tools do (2-D .npy: the last n_val rows). n_val == 0: none. Documents (.jsonl): seed, training
 * windows first, then validation, one generator. */
eq_status eq_windows_calibration(eq_windows *train, eq_windows *val, const char *path,
                                 const char *val_path, int64_t n_train, int64_t n_val,
                                 const eq_window_opts *o, eq_err *err);
/* E2E-QP: all documents concatenated, cut into T-token chunks, the tail dropped; first n. */
eq_status eq_windows_chunks(eq_windows *w, const char *path, int64_t n, const eq_window_opts *o,
                            eq_err *err);
/* Perplexity. WikiText-2: `path` is the raw test split (.raw/.txt as distributed: each line a row,
 * joined by "\n\n") or already joined text; see METHOD section 5. */
typedef enum { EQ_EVAL_WINDOWS, EQ_EVAL_WIKITEXT2, EQ_EVAL_C4 } eq_eval_set;
eq_status eq_windows_eval(eq_windows *w, eq_eval_set set, const char *path, int64_t limit,
                          const eq_window_opts *o, eq_err *err);
#endif

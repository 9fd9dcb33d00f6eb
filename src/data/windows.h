/* From files to token windows: the drawing rules of the paper's tools (METHOD sections 4 and 5). */
#ifndef EQ_DATA_WINDOWS_H
#define EQ_DATA_WINDOWS_H
#include "data/inputs.h"
#include "text/tokenizer.h"

typedef struct {
    int32_t *ids; /* [n, T] */
    int64_t n, T;
    /* Of instruction rows; NULL: all of every window counts. Behind len[i] ids a window is filled
     * up with id 0, which nothing before it sees; learn: 1 where an id carries loss as the next one
     * (a window's first is none). */
    uint8_t *learn;   /* [n, T] */
    int32_t *len;     /* [n] */
    eq_digest digest; /* of the ids and the shape */
    struct {
        int64_t from, long_enough, of; /* of == 0: not drawn from documents, or from several data */
    } docs;
    eq_inputs inputs; /* the files they come from */
} eq_windows;
void eq_windows_free(eq_windows *w);

typedef struct {
    const eq_tokenizer *tok; /* NULL is fine when every file holds ids */
    int64_t vocab;  /* ids at or above are errors that name file, position, id, vocabulary */
    int64_t seqlen; /* tokens a window; 2-D .npy: its columns, must be 0 or equal */
    int64_t seqlen_default; /* used where seqlen == 0 and the file does not decide */
    uint64_t seed;
    int64_t memory;          /* bytes that tokens and windows may use; 0: no limit */
    struct eq_tokens **last; /* NULL, or where the file read last stays open (data/tokens.h), so
                                that one that serves twice is tokenized once; begins as NULL */
    const char *text_field;  /* see eq_corpus_opts */
    const char *ids_dtype;   /* of a .bin, see eq_id_file_open */
    bool skip_bad;           /* see eq_corpus_opts */
    bool pack;               /* documents are joined by `eos` to one text, whose windows are cut out
                                one behind the other: none is passed over for being short */
    int32_t eos;             /* with pack */
    const eq_observer *obs;  /* notes ("found 812 windows of the 4096 asked for", from how many
                                documents they come, whether they overlap), progress "tokenize" in
                                bytes of the file */
} eq_window_opts;

/* `data`, everywhere: see eq_sources_open. Where the data have weights, each gives its share of the
 * windows, by the rules for one of them, and they are dealt evenly: in every stretch the windows of
 * each are as near to its share as they can be.
 *
 * Block-AP windows (METHOD section 4). Training windows come from the first nine tenths of `data`
 * (documents, or tokens of one long text or a 1-D .npy), validation windows from the last tenth, or
 * from anywhere in val_data where one is given; one generator, training first. 2-D .npy: the first
 * n_train rows; without val_data the last n_val rows are held out (a tenth where n_val is more than
 * half). n_val == 0: no validation window. Fewer rows than asked for is said in a note. */
eq_status eq_windows_calibration(eq_windows *train, eq_windows *val, const char *data,
                                 const char *val_data, int64_t n_train, int64_t n_val,
                                 const eq_window_opts *o, eq_err *err);
/* E2E-QP: all documents (each with its BOS) concatenated, cut into T-token chunks, the tail
 * dropped, the chunks of the whole file shuffled as random.Random(seed).shuffle does; the first n
 * of them, or all for n == 0. 2-D .npy: the first n rows in their order, never shuffled. */
eq_status eq_windows_chunks(eq_windows *w, const char *data, int64_t n, const eq_window_opts *o,
                            eq_err *err);
/* Perplexity: WINDOWS as eq_windows_chunks, in order. WikiText-2: `data` is the raw test split
 * (.raw/.txt as distributed: each line a row, joined by "\n\n") or already joined text; see METHOD
 * section 5. C4: 256 windows of random documents, random.seed(0). Rows of a 2-D .npy are the
 * windows under every name. limit: the first windows, 0: all. */
typedef enum { EQ_EVAL_WINDOWS, EQ_EVAL_WIKITEXT2, EQ_EVAL_C4 } eq_eval_set;
eq_status eq_windows_eval(eq_windows *w, eq_eval_set set, const char *data, int64_t limit,
                          const eq_window_opts *o, eq_err *err);
#endif

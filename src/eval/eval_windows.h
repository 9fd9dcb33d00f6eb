/* The windows that perplexities and distances are taken over. */
#ifndef EQ_EVAL_EVAL_WINDOWS_H
#define EQ_EVAL_EVAL_WINDOWS_H
#include "data/windows.h"
#include "model/config.h"

typedef struct {
    const char *model; /* whose tokenizer makes ids of a text */
    const char *data;
    eq_ppl_protocol protocol;
    int64_t seqlen, limit;
    eq_bos bos;
    int64_t memory;
    eq_text_opts text;
} eq_eval_text;

/* *text: the data was text; *bos: each text began with a BOS. A window longer than the model's
 * context is said in a note. */
eq_status eq_eval_windows(eq_windows *w, const eq_eval_text *t, const eq_config *c,
                          const eq_observer *obs, bool *text, bool *bos, eq_err *err);
#endif

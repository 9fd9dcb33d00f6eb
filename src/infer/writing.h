/* A session that writes: what generate and chat share. Tokens are fed and drawn until one ends the
 * text, a stop string comes, there are enough, the context is full, or somebody asks. */
#ifndef EQ_INFER_WRITING_H
#define EQ_INFER_WRITING_H
#include "infer/sample.h"
#include "infer/session.h"
#include "infer/text_out.h"

typedef struct {
    eq_weights *src;
    eq_tokenizer *tok;
    eq_backend *be;
    eq_session *session;
    eq_sampler *sampler;
    eq_ids ends;   /* ids that end a text */
    eq_ids fed;    /* what the session holds */
    float *logits; /* [V] */
} eq_writing;

/* The folder, its tokenizer and the ids that end a text; not yet the session. */
eq_status eq_writing_open(eq_writing *w, const char *model, const eq_compute_opts *compute,
                          const eq_sampling *sampling, eq_err *err);
eq_status eq_writing_start(eq_writing *w, const eq_compute_opts *compute, int64_t context,
                           eq_err *err);
void eq_writing_close(eq_writing *w);

/* Continues ids (a prompt) into `out`, whose beginning is done; at most max tokens. What the
 * session holds already of the prompt is not computed again. obs may be NULL. */
eq_status eq_writing_run(eq_writing *w, const eq_ids *prompt, int64_t max, eq_text_out *out,
                         const eq_observer *obs, eq_generate_result *res, eq_err *err);
#endif

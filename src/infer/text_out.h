/* Ids to text as they come: whole characters, handed on as soon as nothing that follows can change
 * them and they cannot be the beginning of a stop string. */
#ifndef EQ_INFER_TEXT_OUT_H
#define EQ_INFER_TEXT_OUT_H
#include "base/str.h"
#include "text/tokenizer.h"

typedef struct {
    const eq_tokenizer *tok;
    const char *const *stops; /* texts that end it, and are left out */
    int stop_count;
    void (*text)(void *ctx, const char *piece); /* NULL: nobody listens */
    void *ctx;
    eq_ids ids;         /* all so far */
    int64_t base, read; /* ids [base, read) have become text; base: where decoding starts again */
    eq_str held;        /* made, not handed on */
    eq_str all;         /* handed on */
    bool stopped;       /* a stop string came */
} eq_text_out;

/* The ids of a prompt, whose text is handed on whole where `echo` says so. */
eq_status eq_text_out_begin(eq_text_out *t, const int32_t *ids, int64_t n, bool echo, eq_err *err);
eq_status eq_text_out_put(eq_text_out *t, int32_t id, eq_err *err);
/* What is still held. */
eq_status eq_text_out_end(eq_text_out *t, eq_err *err);
void eq_text_out_free(eq_text_out *t);
#endif

/* Instruction tuning: rows of Alpaca (instruction, input, output) and chats (ShareGPT's
 * conversations, messages) become ids, and for each id whether it is to be learned. The paper's
 * source, METHOD section 4: an Alpaca row is BOS + prompt, cut to one limit, and answer + EOS, cut
 * to another; only the answer carries loss. Chats go through a template; what the assistant says
 * and what ends its turn carries loss. */
#ifndef EQ_DATA_INSTRUCT_H
#define EQ_DATA_INSTRUCT_H
#include "data/inputs.h"
#include "data/sources.h"
#include "text/chat.h"

typedef struct {
    const eq_tokenizer *tok;
    const eq_chat *chat;                /* NULL: there is no template, chats are errors */
    const char *no_chat;                /* then: why there is none; NULL or "": not said */
    bool turns;                         /* Alpaca rows are chats, too: the prompt a user's turn */
    bool all;                           /* everything carries loss */
    int64_t source_limit, target_limit; /* ids of an Alpaca row's halves at most */
    int64_t length;                     /* ids of any row at most: what is behind is cut off */
    int64_t vocab;
    int32_t bos, eos; /* of an Alpaca row; bos -1: none */
    bool skip_bad;    /* rows that are none are counted and passed over */
    int64_t memory;   /* bytes that all rows may take; 0: no limit */
    const eq_observer *obs;
} eq_instruct_read;

typedef struct {
    int32_t *ids;   /* all rows, end to end */
    uint8_t *learn; /* one for each id */
    int64_t *end;   /* [n] */
    int64_t n;
    int64_t cut, unlearned; /* rows that were longer than a limit; rows left out, since of what the
                               limits leave nothing is learned */
    int64_t ids_cap, n_cap;
    eq_inputs inputs;
} eq_examples;
static inline int64_t eq_example_start(const eq_examples *x, int64_t i) {
    return i ? x->end[i - 1] : 0;
}
/* A row that is neither, an unknown role, an empty answer: errors that name file and place. */
eq_status eq_examples_read(eq_examples *x, const eq_source *src, const eq_instruct_read *o,
                           eq_err *err);
void eq_examples_free(eq_examples *x);
#endif

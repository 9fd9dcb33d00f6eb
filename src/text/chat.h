/* Chat templates: from messages to the text that a model was trained on, and which of it is the
 * assistant's. A model folder brings its own template (chat_template.jinja, or "chat_template" of
 * tokenizer_config.json), which is run as transformers runs it; families have a name besides. A
 * template that asks for something that is not known is refused with its line, never guessed. */
#ifndef EQ_TEXT_CHAT_H
#define EQ_TEXT_CHAT_H
#include "text/jinja/jinja.h" /* eq_message, eq_spans */
#include "text/tokenizer.h"

typedef struct eq_chat eq_chat;

/* dir: the model folder, whose tokenizer_config.json says what bos_token and eos_token are. name:
 * NULL for the folder's own template, a family (eq_chat_family), or a file that ends in .jinja. The
 * template is tried on two turns at once, so that most of what it cannot do shows here. */
eq_status eq_chat_open(eq_chat **c, const char *dir, const char *name, eq_err *err);
void eq_chat_close(eq_chat *c);             /* NULL allowed */
const char *eq_chat_name(const eq_chat *c); /* the family, or the path the template comes from */
const char *eq_chat_family(int i);          /* names of the families in order; NULL: no more */
bool eq_chat_given(const char *dir);        /* does the folder have a template of its own? */

/* Appends the text of the messages, n > 0; prompt: with the opening of the assistant's next turn.
 */
eq_status eq_chat_render(const eq_chat *c, eq_str *out, const eq_message *m, int64_t n, bool prompt,
                         eq_err *err);
/* What follows the assistant's answer in this template without white space at its end
 * ("<|im_end|>"), "" where nothing does: a text that ends the answer, besides the eos ids. */
const char *eq_chat_end(const eq_chat *c);

/* Appends the text of a whole conversation, and the parts of it that the assistant says, each with
 * what ends its turn: those of the template's `generation` blocks, else what is found by rendering
 * the conversation up to each turn. */
eq_status eq_chat_spans(const eq_chat *c, eq_str *out, eq_spans *spans, const eq_message *m,
                        int64_t n, eq_err *err);
/* The same as ids (appended; nothing is put in front, the template has its BOS) and, for each id, a
 * byte in *mask: 1 where it is the assistant's. A token that a span cuts belongs to it. */
eq_status eq_chat_encode(const eq_chat *c, const eq_tokenizer *t, eq_ids *ids, eq_str *mask,
                         const eq_message *m, int64_t n, eq_err *err);
/* Ids of a text that eq_chat_render made. */
eq_status eq_chat_ids(const eq_tokenizer *t, eq_ids *ids, const eq_str *text, eq_err *err);
#endif

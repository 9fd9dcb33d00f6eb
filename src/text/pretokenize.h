/* The "pre_tokenizer" of tokenizer.json: cuts normalized text into the words that BPE works on. */
#ifndef EQ_TEXT_PRETOKENIZE_H
#define EQ_TEXT_PRETOKENIZE_H
#include <jansson.h>

#include "text/pattern.h"

typedef struct eq_pretokenizer eq_pretokenizer;

/* spec NULL or JSON null: the whole text is one word. */
eq_status eq_pretokenizer_new(eq_pretokenizer **out, const json_t *spec, const char *where,
                              eq_err *err);
void eq_pretokenizer_free(eq_pretokenizer *p);
/* The last step is the byte-level alphabet: it is left to the caller, words come as plain bytes. */
bool eq_pretokenizer_bytes(const eq_pretokenizer *p);

/* Gets the words in order; n > 0. */
typedef eq_status (*eq_word_fn)(void *ctx, const char *word, int64_t n, eq_err *err);

/* Buffers of one caller, reused from call to call. */
typedef struct eq_pretok_work eq_pretok_work;
eq_pretok_work *eq_pretok_work_new(const eq_pretokenizer *p); /* NULL: memory is out */
void eq_pretok_work_free(eq_pretok_work *w);

/* head: how many bytes of the text come from the first character of the whole input. goes_on: it
 * continues a text, so nothing is put in front of it. */
eq_status eq_pretokenize(const eq_pretokenizer *p, eq_pretok_work *w, const char *text, int64_t n,
                         int64_t head, bool goes_on, eq_word_fn fn, void *ctx, eq_err *err);
/* Can a text come in parts? Then eq_pretokenize_more gives the words of its beginning that nothing
 * behind these n bytes can change, *used bytes of it; what is left begins the next part. */
bool eq_pretokenizer_local(const eq_pretokenizer *p);
bool eq_pretokenizer_empty(const eq_pretokenizer *p); /* the whole text is one word */
/* Nothing but Metaspace: spaces become *mark; `cut`: which then begins a word. */
bool eq_pretokenizer_metaspace(const eq_pretokenizer *p, uint32_t *mark, bool *cut);
eq_status eq_pretokenize_more(const eq_pretokenizer *p, eq_pretok_work *w, const char *text,
                              int64_t n, int64_t *used, eq_word_fn fn, void *ctx, eq_err *err);
#endif

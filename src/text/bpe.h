/* Byte pair encoding (Sennrich et al., arXiv 1508.07909): the "model" of tokenizer.json. A word
 * begins as its characters; then the pair of neighbours with the lowest rank, the leftmost of
 * those, is merged, again and again. */
#ifndef EQ_TEXT_BPE_H
#define EQ_TEXT_BPE_H
#include <jansson.h>

#include "text/tokenizer.h"
#include "text/vocab.h"

typedef struct eq_bpe eq_bpe;

/* bytes: words come as plain bytes, each standing for its character of the byte-level alphabet. */
eq_status eq_bpe_new(eq_bpe **out, const json_t *model, bool bytes, const char *where, eq_err *err);
void eq_bpe_free(eq_bpe *b);
const eq_vocab *eq_bpe_vocab(const eq_bpe *b);

/* Buffers and a cache of words, of one caller; text_n: size of the text to come, for the cache. */
typedef struct eq_bpe_work eq_bpe_work;
eq_bpe_work *eq_bpe_work_new(int64_t text_n); /* NULL: memory is out */
void eq_bpe_work_free(eq_bpe_work *w);

/* A text that is one word can come in parts: the last place in [0, n) where no merge can close the
 * gap, 0: none; `space`: the character that a space will become. eq_bpe_local: there are such
 * places. */
bool eq_bpe_local(const eq_bpe *b);
int64_t eq_bpe_cut(const eq_bpe *b, const char *word, int64_t n, uint32_t space);

/* Appends the ids of one word, n > 0. */
eq_status eq_bpe_word(const eq_bpe *b, eq_bpe_work *w, const char *word, int64_t n, eq_ids *out,
                      eq_err *err);
#endif

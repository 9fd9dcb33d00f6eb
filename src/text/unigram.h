/* The Unigram model (Kudo, arXiv 1804.10959): of all ways to cut a word into tokens the one with
 * the largest sum of scores. */
#ifndef EQ_TEXT_UNIGRAM_H
#define EQ_TEXT_UNIGRAM_H
#include <jansson.h>

#include "text/tokenizer.h"
#include "text/vocab.h"

typedef struct eq_unigram eq_unigram;

/* bytes: words come as plain bytes, each standing for its character of the byte-level alphabet.
 * parsed: the scores were text, and are taken as the peer reads them (eq_unigram_score). */
eq_status eq_unigram_new(eq_unigram **out, const json_t *model, bool bytes, bool parsed,
                         const char *where, eq_err *err);
/* What the peer makes of a number's shortest digits: the digits as a double, divided or multiplied
 * by a power of ten, which for 16 and 17 digits may end one place beside the number. Sums that
 * would be equal are told apart by it. */
double eq_unigram_score(double score);
void eq_unigram_free(eq_unigram *u);
const eq_vocab *eq_unigram_vocab(const eq_unigram *u);

/* Buffers and a cache of words, of one caller; text_n: size of the text to come. */
typedef struct eq_unigram_work eq_unigram_work;
eq_unigram_work *eq_unigram_work_new(int64_t text_n); /* NULL: memory is out */
void eq_unigram_work_free(eq_unigram_work *w);

/* Appends the ids of one word, n > 0. */
eq_status eq_unigram_word(const eq_unigram *u, eq_unigram_work *w, const char *word, int64_t n,
                          eq_ids *out, eq_err *err);
#endif

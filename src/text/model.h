/* The "model" of tokenizer.json: words to ids. One of BPE (bpe.h) and Unigram (unigram.h). */
#ifndef EQ_TEXT_MODEL_H
#define EQ_TEXT_MODEL_H
#include "text/bpe.h"
#include "text/unigram.h"

typedef struct {
    eq_bpe *bpe;
    eq_unigram *unigram; /* one of the two */
} eq_model;

typedef struct {
    eq_bpe_work *bpe;
    eq_unigram_work *unigram;
} eq_model_work;

/* m is zeroed. bytes: words come as plain bytes, each standing for its character of the byte-level
 * alphabet. parsed: as eq_unigram_new has it. */
eq_status eq_model_open(eq_model *m, const json_t *spec, bool bytes, bool parsed, const char *where,
                        eq_err *err);
void eq_model_close(eq_model *m);
const eq_vocab *eq_model_vocab(const eq_model *m);

/* Buffers and a cache of words, of one caller; text_n: size of the text to come, for the cache.
 * false: memory is out. */
bool eq_model_work_new(eq_model_work *w, const eq_model *m, int64_t text_n);
void eq_model_work_free(eq_model_work *w);

/* As eq_bpe_local and eq_bpe_cut; a word of Unigram cannot come in parts. */
bool eq_model_local(const eq_model *m);
int64_t eq_model_cut(const eq_model *m, const char *word, int64_t n, uint32_t space);

/* Appends the ids of one word, n > 0. */
static inline eq_status eq_model_word(const eq_model *m, const eq_model_work *w, const char *word,
                                      int64_t n, eq_ids *out, eq_err *err) {
    return m->bpe ? eq_bpe_word(m->bpe, w->bpe, word, n, out, err)
                  : eq_unigram_word(m->unigram, w->unigram, word, n, out, err);
}
#endif

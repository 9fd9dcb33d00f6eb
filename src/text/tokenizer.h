/* Tokenizers from a Hugging Face tokenizer.json: BPE of the sentencepiece kind (byte fallback) and
 * byte-level BPE. Ids equal those of Hugging Face `tokenizers` on every text, or opening fails and
 * names the feature that is not known. */
#ifndef EQ_TEXT_TOKENIZER_H
#define EQ_TEXT_TOKENIZER_H
#include "base/err.h"

typedef struct eq_tokenizer eq_tokenizer;

/* dir: a model folder (tokenizer.json, or vocab.json and merges.txt of the classes that
 * tokenizer_config.json or config.json name), or a tokenizer.json. What is put in front of a text
 * and behind it is what transformers 4 puts there (EQ_BOS_AUTO); yes, no: with or without the BOS.
 */
eq_status eq_tokenizer_open(eq_tokenizer **t, const char *dir, eq_err *err);
eq_status eq_tokenizer_open_bos(eq_tokenizer **t, const char *dir, eq_bos bos, eq_err *err);
/* Does a text with its specials begin with an id that the tokenizer puts there? */
bool eq_tokenizer_bos(const eq_tokenizer *t);
int32_t eq_tokenizer_bos_id(const eq_tokenizer *t); /* that id; -1: none */
int32_t eq_tokenizer_eos(const eq_tokenizer *t);    /* the id that ends a text; -1: none is named */
void eq_tokenizer_close(eq_tokenizer *t);

typedef struct {
    int32_t *p;
    int64_t n, cap;
} eq_ids;
void eq_ids_free(eq_ids *ids);

/* Appends the ids of n bytes of UTF-8 to *out. special: apply the template (BOS and so on), as the
 * tokenizer's own call does. Bytes that are not UTF-8 are replaced as Python's
 * bytes.decode("utf-8", "replace") does. Thread-safe on one tokenizer (no state is kept). */
eq_status eq_encode(const eq_tokenizer *t, eq_ids *out, const char *text, int64_t n, bool special,
                    eq_err *err);
/* The same, with specials, of a text that comes in parts of whole characters: *out gets the ids as
 * soon as nothing that follows can change them. `last`: the text ends with this part. */
typedef struct eq_encoder eq_encoder;
eq_encoder *eq_encoder_new(const eq_tokenizer *t); /* NULL: memory is out */
eq_status eq_encoder_put(eq_encoder *e, eq_ids *out, const char *text, int64_t n, bool last,
                         eq_err *err);
/* Ids come before the end; else the whole text waits for it in memory. */
bool eq_encoder_local(const eq_encoder *e);
void eq_encoder_free(eq_encoder *e); /* NULL allowed */
/* Text of ids (eq_free it), special tokens left out when skip_special. NULL: memory is out. */
char *eq_decode(const eq_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special);
int32_t eq_token_id(const eq_tokenizer *t, const char *content); /* -1: absent */
int64_t eq_tokenizer_size(const eq_tokenizer *t);                /* largest id + 1 */
#endif

/* Tokenizers that come as something else than tokenizer.json, turned into one. */
#ifndef EQ_TEXT_TOKENIZER_SOURCES_H
#define EQ_TEXT_TOKENIZER_SOURCES_H
#include "text/vocab.h"

/* A sentencepiece model (protobuf), as transformers converts it for the class that
 * tokenizer_config.json (NULL allowed) or config.json names. */
eq_status eq_spm_spec(json_t **spec, const char *path, const json_t *config, const char *dir,
                      eq_err *err);
/* tiktoken's ranks: lines of a token in Base64 and its rank. */
eq_status eq_tiktoken_spec(json_t **spec, const char *path, const json_t *config, const char *dir,
                           eq_err *err);
bool eq_is_tiktoken(const char *bytes, int64_t n); /* by its first line */

/* Every way to cut a token into two tokens, as merges of tokenizer.json: tokens in the order
 * `order` (ids, n of them), of each the shortest left part first or, by_rank, that with the lowest
 * id. usable (NULL: all): which ids may be a token or a part. */
eq_status eq_merges_of(json_t **merges, const eq_vocab *v, const int32_t *order, int64_t n,
                       const bool *usable, bool by_rank, eq_err *err);
/* The class in tokenizer_config.json without "Fast" (*n characters of it); NULL: none. */
const char *eq_tokenizer_class(const json_t *config, size_t *n);
#endif

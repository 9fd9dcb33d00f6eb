/* What a model folder says about its tokenizer: tokenizer.json, or vocab.json and merges.txt, and
 * tokenizer_config.json, which names the class that transformers would make of them. */
#ifndef EQ_TEXT_TOKENIZER_FOLDER_H
#define EQ_TEXT_TOKENIZER_FOLDER_H
#include <jansson.h>

#include "base/err.h"

typedef struct {
    json_t *spec;   /* as in tokenizer.json */
    bool made;      /* of another kind of file */
    json_t *config; /* tokenizer_config.json; NULL: absent */
    char *path;     /* of the file that `spec` comes from */
} eq_tokenizer_files;

/* path: a folder, or a tokenizer.json (then its folder is not looked at). Two files of the old kind
 * become the spec of their class (GPT2Tokenizer, Qwen2Tokenizer); another class is refused by name.
 */
eq_status eq_tokenizer_files_read(eq_tokenizer_files *f, const char *path, eq_err *err);
void eq_tokenizer_files_free(eq_tokenizer_files *f);

/* Content of a token of tokenizer_config.json ("bos_token"): a string or an object that has one.
 * NULL: it has none. */
const char *eq_tokenizer_named(const json_t *config, const char *key);
#endif

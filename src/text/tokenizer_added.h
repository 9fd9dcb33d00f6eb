/* The added tokens of a folder without tokenizer.json, as tokenizer.json would list them. */
#ifndef EQ_TEXT_TOKENIZER_ADDED_H
#define EQ_TEXT_TOKENIZER_ADDED_H
#include <jansson.h>

#include "base/err.h"

typedef struct {
    int64_t id;
    const char *content;
    const json_t *flags; /* an object of added_tokens_decoder, or NULL */
    bool special, raw;   /* raw: not normalized, where no flag says so */
} eq_added_token;

/* *out: an array in order of the ids: "added_tokens_decoder" of tokenizer_config.json, else
 * added_tokens.json, and those of `more` (n of them) that are not there. */
eq_status eq_added_list(json_t **out, const json_t *config, const char *dir,
                        const eq_added_token *more, int64_t n, eq_err *err);

/* dir/name as JSON; *out NULL where it is absent. Something else than an object is an error. */
eq_status eq_load_if_there(json_t **out, const char *dir, const char *name, eq_err *err);
#endif

/* The "added_tokens" of tokenizer.json: strings found in the text before anything else happens to
 * it (not normalized ones), or after the normalizer (normalized ones), each becoming one id. */
#ifndef EQ_TEXT_ADDED_H
#define EQ_TEXT_ADDED_H
#include "text/normalize.h"
#include "text/vocab.h"

typedef struct eq_added eq_added;

eq_status eq_added_new(eq_added **out, const json_t *list, const eq_vocab *vocab,
                       const eq_normalizer *z, const char *where, eq_err *err);
void eq_added_free(eq_added *a);

int32_t eq_added_id(const eq_added *a, const char *s, int64_t n); /* -1: absent */
/* What the decoder gets: the token as the normalizer leaves it. NULL: absent. */
const char *eq_added_form(const eq_added *a, int32_t id, int64_t *n);
bool eq_added_special(const eq_added *a, int32_t id);
int64_t eq_added_end(const eq_added *a); /* largest id + 1 */

/* Gets the parts of a text in order: an added token (id >= 0) or text between them (id -1). more:
 * the text goes on behind this part, which must say how much of it it has used; else it uses all.
 */
typedef eq_status (*eq_part_fn)(void *ctx, int32_t id, const char *s, int64_t n, bool more,
                                int64_t *used, eq_err *err);
/* more: the text goes on behind these n bytes; only what that cannot change is handed out, *used
 * bytes of it. Asks for eq_added_local. */
eq_status eq_added_split(const eq_added *a, bool normalized, const char *text, int64_t n, bool more,
                         int64_t *used, eq_part_fn fn, void *ctx, eq_err *err);
/* No token looks at what stands in front of it. */
bool eq_added_local(const eq_added *a);
#endif

/* Sentencepiece's table of characters and what they become ("precompiled_charsmap"). */
#ifndef EQ_TEXT_CHARSMAP_H
#define EQ_TEXT_CHARSMAP_H
#include "base/str.h"

typedef struct eq_charsmap eq_charsmap;

/* text: the table in Base64, n characters. */
eq_status eq_charsmap_new(eq_charsmap **out, const char *text, int64_t n, const char *where,
                          eq_err *err);
void eq_charsmap_free(eq_charsmap *m);
/* Appends what n bytes of valid UTF-8 become; *head: how many bytes of it the first character
 * gives. */
eq_status eq_charsmap_run(const eq_charsmap *m, eq_str *out, const char *s, int64_t n,
                          int64_t *head, eq_err *err);
#endif

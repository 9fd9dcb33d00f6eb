/* Decoding into a string that may hold NUL characters; eq_decode is made of it. */
#ifndef EQ_TEXT_TOKENIZER_TEXT_H
#define EQ_TEXT_TOKENIZER_TEXT_H
#include "base/str.h"
#include "text/tokenizer.h"

/* Appends the text of n ids. */
eq_status eq_decode_text(const eq_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special,
                         eq_str *out, eq_err *err);
#endif

/* NFC, NFD, NFKC, NFKD as Hugging Face `tokenizers` has them: Unicode 9. */
#ifndef EQ_TEXT_NORMAL_FORM_H
#define EQ_TEXT_NORMAL_FORM_H
#include "base/str.h"

typedef enum {
    EQ_NFD = 0,
    EQ_NFC = 1,
    EQ_NFKD = 2,
    EQ_NFKC = 3
} eq_form; /* 1: compose, 2: compat */

/* Appends the form of n bytes of valid UTF-8 to out. */
eq_status eq_normal_form(eq_str *out, const char *s, int64_t n, eq_form form, eq_err *err);
#endif

/* Base64 (RFC 4648, with padding). */
#ifndef EQ_TEXT_BASE64_H
#define EQ_TEXT_BASE64_H
#include "base/str.h"

/* Appends the bytes of n characters; false: they are not Base64. */
bool eq_base64_decode(eq_str *out, const char *s, int64_t n);
void eq_base64_encode(eq_str *out, const void *bytes, int64_t n);
#endif

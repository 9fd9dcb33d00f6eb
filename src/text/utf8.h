/* UTF-8: one code point at a time, checking, and replacing what is not UTF-8. */
#ifndef EQ_TEXT_UTF8_H
#define EQ_TEXT_UTF8_H
#include "base/str.h"

/* The code point at s, which holds valid UTF-8; returns its length in bytes (1 to 4). */
static inline int eq_utf8_get(const char *s, uint32_t *cp) {
    const uint8_t *u = (const uint8_t *)s;
    if (u[0] < 0x80) return *cp = u[0], 1;
    if (u[0] < 0xe0) return *cp = (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu), 2;
    if (u[0] < 0xf0) return *cp = (u[0] & 0xfu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu), 3;
    *cp = (u[0] & 7u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
    return 4;
}

/* Writes cp to out; returns the number of bytes. */
int eq_utf8_put(uint32_t cp, char out[4]);
void eq_utf8_append(eq_str *s, uint32_t cp);
/* Start of the code point that ends at s + at (at > 0, valid UTF-8). */
int64_t eq_utf8_back(const char *s, int64_t at);
/* Length of the longest valid prefix; n when all is valid. */
int64_t eq_utf8_valid(const char *s, int64_t n);
/* Appends s to out with every maximal part that is not UTF-8 replaced by one U+FFFD, as Python's
 * bytes.decode("utf-8", "replace") and Rust's from_utf8_lossy do. */
void eq_utf8_repair(eq_str *out, const char *s, int64_t n);
#endif

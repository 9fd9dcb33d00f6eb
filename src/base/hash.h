/* 128-bit content fingerprints (XXH3). They tell files and settings apart, they do not
 * authenticate. */
#ifndef EQ_BASE_HASH_H
#define EQ_BASE_HASH_H
#include "base/err.h"

typedef struct eq_hash eq_hash;
typedef struct {
    char hex[33];
} eq_digest;

eq_hash *eq_hash_new(void); /* NULL when memory is out */
void eq_hash_put(eq_hash *h, const void *bytes, int64_t n);
eq_digest eq_hash_end(eq_hash *h); /* frees h */
eq_digest eq_hash_bytes(const void *bytes, int64_t n);
/* A short one, against damage; the seed says what the bytes ought to be. */
uint64_t eq_hash64(const void *bytes, int64_t n, uint64_t seed);
/* Whole file content. */
eq_status eq_hash_file(const char *path, eq_digest *out, eq_err *err);
#endif

/* A file as a stream of bytes: plain, gzip (any number of members) or zstd (any number of frames),
 * told apart by the ending. */
#ifndef EQ_FORMAT_INFLATE_H
#define EQ_FORMAT_INFLATE_H
#include "base/err.h"

typedef struct eq_inflate eq_inflate;
eq_status eq_inflate_open(eq_inflate **s, const char *path, eq_err *err);
/* The next piece, at most 256 KiB, valid until the next call; *n == 0 at the end. A damaged or cut
 * stream is an error that names the byte of the compressed file. */
eq_status eq_inflate_next(eq_inflate *s, const char **bytes, int64_t *n, eq_err *err);
/* Bytes of the file itself: those read so far, and all. */
void eq_inflate_place(const eq_inflate *s, int64_t *at, int64_t *size);
void eq_inflate_close(eq_inflate *s); /* NULL allowed */
#endif

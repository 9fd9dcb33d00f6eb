/* A file as a stream of bytes: plain, gzip (any number of members) or zstd (any number of frames),
 * told apart by the ending. */
#ifndef EQ_FORMAT_INFLATE_H
#define EQ_FORMAT_INFLATE_H
#include "base/err.h"

typedef struct eq_inflate eq_inflate;
eq_status eq_inflate_open(eq_inflate **s, const char *path, eq_err *err);
/* The next piece, valid until the next call; *n == 0 at the end. A plain file comes as one piece. A
 * damaged or cut stream is an error that names the byte of the compressed file. */
eq_status eq_inflate_next(eq_inflate *s, const char **bytes, int64_t *n, eq_err *err);
/* Goes on at byte `at`; plain files only. */
void eq_inflate_seek(eq_inflate *s, int64_t at);
bool eq_inflate_is_plain(const eq_inflate *s);
void eq_inflate_close(eq_inflate *s); /* NULL allowed */
#endif

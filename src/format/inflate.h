/* A file as a stream of bytes: plain, gzip (any number of members, zeros behind them) or zstd (any
 * number of frames). */
#ifndef EQ_FORMAT_INFLATE_H
#define EQ_FORMAT_INFLATE_H
#include "base/hash.h"
#include "format/file_kind.h"

typedef struct eq_inflate eq_inflate;
/* memory: bytes that the window of a zstd frame may take; 0: as many as a frame can ask for. */
eq_status eq_inflate_open(eq_inflate **s, const eq_file *f, int64_t memory, eq_err *err);
/* The next piece, at most 256 KiB, valid until the next call; *n == 0 at the end. A damaged or cut
 * stream is an error that names the byte of the compressed file. */
eq_status eq_inflate_next(eq_inflate *s, const char **bytes, int64_t *n, eq_err *err);
/* Bytes of the file itself: those read so far, and all. */
void eq_inflate_place(const eq_inflate *s, int64_t *at, int64_t *size);
/* At the end: the fingerprint of the file itself. Once. */
eq_digest eq_inflate_sum(eq_inflate *s);
void eq_inflate_close(eq_inflate *s); /* NULL allowed */
#endif

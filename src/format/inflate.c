/* Decompression of a mapped file, piece by piece; see inflate.h. Invariant: the end is reported
 * only where the last member or frame is complete, so a cut download is never taken for a short
 * corpus. */
#include "format/inflate.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

enum { PIECE = 1 << 18 };

struct eq_inflate {
    char *path;
    eq_map map;
    int64_t at, forgotten; /* next byte of the file; its pages before this one were given back */
    bool inside;           /* within a member or frame */
    char *out;             /* [PIECE], compressed files only */
    z_stream gz;
    bool is_gz;
    ZSTD_DStream *zst;
};

static voidpf gz_alloc(voidpf ctx, uInt n, uInt size) {
    (void)ctx;
    return eq_calloc(n, size);
}
static void gz_free(voidpf ctx, voidpf p) {
    (void)ctx;
    eq_free(p);
}

static eq_status start(eq_inflate *s, eq_err *err) {
    s->is_gz = eq_ends_with(s->path, ".gz");
    bool is_zst = eq_ends_with(s->path, ".zst");
    if (!s->is_gz && !is_zst) return EQ_OK;
    if (s->map.size == 0)
        return eq_fail(err, EQ_EINPUT, "%s: expected a compressed file, found an empty one",
                       s->path);
    s->out = eq_calloc(PIECE, 1);
    if (!s->out) return eq_nomem(err, s->path, PIECE);
    s->gz.zalloc = gz_alloc, s->gz.zfree = gz_free;
    if (s->is_gz && inflateInit2(&s->gz, 15 + 16) != Z_OK) { /* 16: gzip only, no zlib header */
        s->is_gz = false;
        return eq_nomem(err, s->path, PIECE);
    }
    if (is_zst && !(s->zst = ZSTD_createDStream())) return eq_nomem(err, s->path, PIECE);
    return EQ_OK;
}

eq_status eq_inflate_open(eq_inflate **out, const char *path, eq_err *err) {
    *out = NULL;
    eq_inflate *s = eq_calloc(1, sizeof *s);
    if (!s) return eq_nomem(err, path, sizeof *s);
    s->path = eq_strdup(path);
    eq_status st = s->path ? eq_map_open(&s->map, path, err) : eq_nomem(err, path, 256);
    if (st == EQ_OK) {
        eq_map_sequential(&s->map);
        st = start(s, err);
    }
    if (st != EQ_OK) {
        eq_inflate_close(s);
        return st;
    }
    *out = s;
    return EQ_OK;
}

static eq_status damaged(const eq_inflate *s, const char *why, eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "%s: damaged at byte %lld of the compressed file: %s", s->path,
                   (long long)s->at, why);
}

/* One call of zlib; *n may be 0 where only headers were read. */
static eq_status step_gz(eq_inflate *s, int64_t *n, eq_err *err) {
    int64_t left = s->map.size - s->at;
    if (!s->inside) inflateReset(&s->gz);
    s->inside = true;
    s->gz.next_in = (Bytef *)(uintptr_t)(s->map.data + s->at);
    s->gz.avail_in = (uInt)(left > 1 << 30 ? 1 << 30 : left);
    s->gz.next_out = (Bytef *)s->out, s->gz.avail_out = PIECE;
    uInt had = s->gz.avail_in;
    int r = inflate(&s->gz, Z_NO_FLUSH);
    s->at += had - s->gz.avail_in;
    *n = PIECE - (int64_t)s->gz.avail_out;
    if (r == Z_STREAM_END) s->inside = false;
    if (r == Z_MEM_ERROR) return eq_nomem(err, s->path, PIECE);
    if (r == Z_BUF_ERROR) return damaged(s, "the file is cut", err);
    if (r != Z_OK && r != Z_STREAM_END) return damaged(s, s->gz.msg ? s->gz.msg : "not gzip", err);
    return EQ_OK;
}

static eq_status step_zst(eq_inflate *s, int64_t *n, eq_err *err) {
    ZSTD_inBuffer in = {s->map.data, (size_t)s->map.size, (size_t)s->at};
    ZSTD_outBuffer out = {s->out, PIECE, 0};
    size_t r = ZSTD_decompressStream(s->zst, &out, &in);
    bool moved = (int64_t)in.pos > s->at || out.pos;
    s->at = (int64_t)in.pos, *n = (int64_t)out.pos, s->inside = r != 0;
    if (ZSTD_isError(r) && ZSTD_getErrorCode(r) == ZSTD_error_frameParameter_windowTooLarge)
        return eq_fail(err, EQ_EINPUT,
                       "%s: byte %lld: a zstd frame with a window above 128 MiB, which is the "
                       "limit; unpack it (zstd -d --long=31) or pack it again without --long",
                       s->path, (long long)s->at);
    if (ZSTD_isError(r)) return damaged(s, ZSTD_getErrorName(r), err);
    if (!moved) return damaged(s, "the file is cut", err);
    return EQ_OK;
}

eq_status eq_inflate_next(eq_inflate *s, const char **bytes, int64_t *n, eq_err *err) {
    eq_map_drop(&s->map, s->forgotten, s->at);
    s->forgotten = s->at;
    if (!s->out) { /* a plain file */
        *bytes = (const char *)s->map.data + s->at;
        *n = s->map.size - s->at < PIECE ? s->map.size - s->at : PIECE;
        s->at += *n;
        return EQ_OK;
    }
    *bytes = s->out;
    *n = 0;
    while (*n == 0 && (s->inside || s->at < s->map.size))
        EQ_TRY(s->is_gz ? step_gz(s, n, err) : step_zst(s, n, err));
    return EQ_OK;
}

void eq_inflate_place(const eq_inflate *s, int64_t *at, int64_t *size) {
    *at = s->at, *size = s->map.size;
}

void eq_inflate_close(eq_inflate *s) {
    if (!s) return;
    if (s->is_gz) inflateEnd(&s->gz);
    ZSTD_freeDStream(s->zst);
    eq_map_close(&s->map);
    eq_free(s->out);
    eq_free(s->path);
    eq_free(s);
}

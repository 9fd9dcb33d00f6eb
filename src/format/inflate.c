/* Decompression of a mapped file, piece by piece; see inflate.h. Invariant: the end is reported
 * only where the last member or frame is complete, so a cut download is never taken for a short
 * corpus. */
#include "format/inflate.h"

#include <string.h>
#include <zlib.h>
#define ZSTD_STATIC_LINKING_ONLY /* for its allocations, which are counted as all others are */
#include <zstd.h>
#include <zstd_errors.h>

#include "base/io.h"
#include "base/mem.h"

enum { PIECE = 1 << 18, WIDEST = 31 /* of zstd on 64 bits */ };

struct eq_inflate {
    char *name;
    eq_map map;
    int64_t at, behind; /* next byte of the file; those before this one are summed and their pages
                           given back */
    bool inside;        /* within a member or frame */
    char *out;          /* [PIECE], compressed files only */
    z_stream gz;
    bool is_gz;
    ZSTD_DStream *zst;
    int widest; /* a frame's window at most, log2 */
    eq_hash *sum;
};

static voidpf gz_alloc(voidpf ctx, uInt n, uInt size) {
    (void)ctx;
    return eq_calloc(n, size);
}
static void *zst_alloc(void *ctx, size_t size) {
    (void)ctx;
    return size > INT64_MAX ? NULL : eq_calloc((int64_t)size, 1);
}
static void give_back(void *ctx, void *p) {
    (void)ctx;
    eq_free(p);
}

static eq_status start_zst(eq_inflate *s, int64_t memory, eq_err *err) {
    s->zst = ZSTD_createDStream_advanced((ZSTD_customMem){zst_alloc, give_back, NULL});
    s->widest = WIDEST;
    while (memory && s->widest > 10 && (int64_t)1 << s->widest > memory) s->widest--;
    if (!s->zst || ZSTD_isError(ZSTD_DCtx_setParameter(s->zst, ZSTD_d_windowLogMax, s->widest)))
        return eq_nomem(err, s->name, PIECE);
    return EQ_OK;
}

static eq_status start(eq_inflate *s, eq_packing packing, int64_t memory, eq_err *err) {
    if (packing == EQ_PACKED_NOT) return EQ_OK;
    if (s->map.size == 0)
        return eq_fail(err, EQ_EINPUT, "%s: expected a compressed file, found an empty one",
                       s->name);
    s->out = eq_calloc(PIECE, 1);
    if (!s->out) return eq_nomem(err, s->name, PIECE);
    if (packing == EQ_PACKED_ZST) return start_zst(s, memory, err);
    s->gz.zalloc = gz_alloc, s->gz.zfree = give_back;
    if (inflateInit2(&s->gz, 15 + 16) != Z_OK) /* 16: gzip only, no zlib header */
        return eq_nomem(err, s->name, PIECE);
    s->is_gz = true;
    return EQ_OK;
}

eq_status eq_inflate_open(eq_inflate **out, const eq_file *f, int64_t memory, eq_err *err) {
    *out = NULL;
    eq_inflate *s = eq_calloc(1, sizeof *s);
    if (!s) return eq_nomem(err, f->name, sizeof *s);
    s->name = eq_strdup(f->name), s->sum = eq_hash_new();
    eq_status st =
        s->name && s->sum ? eq_map_open(&s->map, f->path, err) : eq_nomem(err, f->name, 1 << 10);
    if (st == EQ_OK) {
        eq_map_sequential(&s->map);
        st = start(s, f->packing, memory, err);
    }
    if (st != EQ_OK) {
        eq_inflate_close(s);
        return st;
    }
    *out = s;
    return EQ_OK;
}

static eq_status damaged(const eq_inflate *s, const char *why, eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "%s: damaged at byte %lld of the compressed file: %s", s->name,
                   (long long)s->at, why);
}

/* Zeros behind the last member are padding of a tape or a disk, as gzip itself has it. */
static void pass_padding(eq_inflate *s) {
    int64_t at = s->at;
    while (at < s->map.size && !s->map.data[at]) at++;
    if (at == s->map.size) s->at = at;
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
    if (r == Z_MEM_ERROR) return eq_nomem(err, s->name, PIECE);
    if (r == Z_BUF_ERROR) return damaged(s, "the file is cut", err);
    if (r != Z_OK && r != Z_STREAM_END) return damaged(s, s->gz.msg ? s->gz.msg : "not gzip", err);
    if (r == Z_STREAM_END) s->inside = false, pass_padding(s);
    return EQ_OK;
}

static eq_status step_zst(eq_inflate *s, int64_t *n, eq_err *err) {
    ZSTD_inBuffer in = {s->map.data, (size_t)s->map.size, (size_t)s->at};
    ZSTD_outBuffer out = {s->out, PIECE, 0};
    size_t r = ZSTD_decompressStream(s->zst, &out, &in);
    bool moved = (int64_t)in.pos > s->at || out.pos;
    ZSTD_ErrorCode code = ZSTD_getErrorCode(r);
    s->at = (int64_t)in.pos, *n = (int64_t)out.pos, s->inside = r != 0;
    if (code == ZSTD_error_frameParameter_windowTooLarge)
        return eq_fail(err, EQ_EINPUT,
                       "%s: byte %lld: a zstd frame with a window above %.0f MiB, for which the "
                       "memory limit has no room; raise it (--memory-limit), unpack the file (zstd "
                       "-d --long=31) or pack it again without --long",
                       s->name, (long long)s->at, (double)((int64_t)1 << s->widest) / (1 << 20));
    if (code == ZSTD_error_memory_allocation) return eq_nomem(err, s->name, PIECE);
    if (ZSTD_isError(r)) return damaged(s, ZSTD_getErrorName(r), err);
    if (!moved) return damaged(s, "the file is cut", err);
    return EQ_OK;
}

static void leave_behind(eq_inflate *s) {
    eq_hash_put(s->sum, s->map.data + s->behind, s->at - s->behind);
    eq_map_drop(&s->map, s->behind, s->at);
    s->behind = s->at;
}

eq_status eq_inflate_next(eq_inflate *s, const char **bytes, int64_t *n, eq_err *err) {
    leave_behind(s);
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

eq_digest eq_inflate_sum(eq_inflate *s) {
    leave_behind(s);
    eq_digest d = eq_hash_end(s->sum);
    s->sum = NULL;
    return d;
}

void eq_inflate_close(eq_inflate *s) {
    if (!s) return;
    if (s->is_gz) inflateEnd(&s->gz);
    ZSTD_freeDStream(s->zst);
    if (s->sum) eq_hash_end(s->sum);
    eq_map_close(&s->map);
    eq_free(s->out);
    eq_free(s->name);
    eq_free(s);
}

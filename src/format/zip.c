/* See zip.h. The list of entries stands at the end of the file, behind it one record that says
 * where it begins. Invariant: a name, an offset or a length is used only where it lies in the file.
 */
#include "format/zip.h"

#include <string.h>
#include <zlib.h>

#include "base/io.h"
#include "base/mem.h"

enum {
    END_SIGN = 0x06054b50,
    ENTRY_SIGN = 0x02014b50,
    LOCAL_SIGN = 0x04034b50,
    END_SIZE = 22,
    ENTRY_SIZE = 46,
    LOCAL_SIZE = 30,
    STORED = 0,
    DEFLATED = 8,
    ENCRYPTED = 1,
    MOST_TIMES = 1040 /* deflate makes 1032 bytes of one at most */
};

typedef struct {
    char *name;
    uint32_t method, flags, crc;
    int64_t packed, size, at;
} entry;

struct eq_zip {
    char *path;
    eq_map map;
    entry *entries;
    int64_t n;
};

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

/* The record at the end, behind which a comment of up to 64 KiB may stand; -1: there is none. */
static int64_t find_end(const eq_map *m) {
    int64_t last = m->size - END_SIZE, first = last - 0xffff;
    for (int64_t at = last; at >= 0 && at >= first; at--)
        if (u32(m->data + at) == END_SIGN && at + END_SIZE + u16(m->data + at + 20) == m->size)
            return at;
    return -1;
}

static eq_status damaged(const eq_zip *z, int64_t at, const char *what, eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "%s: byte %lld: expected %s of a ZIP archive", z->path,
                   (long long)at, what);
}

static eq_status read_entry(eq_zip *z, entry *e, int64_t *at, int64_t end, eq_err *err) {
    const uint8_t *p = z->map.data + *at;
    if (end - *at < ENTRY_SIZE || u32(p) != ENTRY_SIGN) return damaged(z, *at, "an entry", err);
    int64_t name = u16(p + 28), more = u16(p + 30) + (int64_t)u16(p + 32);
    if (end - *at - ENTRY_SIZE < name + more) return damaged(z, *at, "a whole entry", err);
    *e = (entry){.flags = u16(p + 8),
                 .method = u16(p + 10),
                 .crc = u32(p + 16),
                 .packed = u32(p + 20),
                 .size = u32(p + 24),
                 .at = u32(p + 42)};
    if (!(e->name = eq_calloc(name + 1, 1))) return eq_nomem(err, z->path, name + 1);
    memcpy(e->name, p + ENTRY_SIZE, (size_t)name);
    *at += ENTRY_SIZE + name + more;
    return EQ_OK;
}

static eq_status read_list(eq_zip *z, eq_err *err) {
    int64_t end = find_end(&z->map);
    if (end < 0)
        return eq_fail(err, EQ_EINPUT, "%s: expected a ZIP archive, found no end record", z->path);
    const uint8_t *p = z->map.data + end;
    int64_t n = u16(p + 10), size = u32(p + 12), at = u32(p + 16);
    if (at > end || size > end - at) return damaged(z, end, "the place of its entries", err);
    z->entries = eq_calloc(n, sizeof *z->entries);
    if (!z->entries) return eq_nomem(err, z->path, n * (int64_t)sizeof *z->entries);
    for (int64_t stop = at + size; z->n < n; z->n++)
        EQ_TRY(read_entry(z, &z->entries[z->n], &at, stop, err));
    return EQ_OK;
}

eq_status eq_zip_open(eq_zip **out, const char *path, eq_err *err) {
    *out = NULL;
    eq_zip *z = eq_calloc(1, sizeof *z);
    if (!z) return eq_nomem(err, path, sizeof *z);
    z->path = eq_strdup(path);
    eq_status st = z->path ? eq_map_open(&z->map, path, err) : eq_nomem(err, path, 256);
    if (st == EQ_OK) st = read_list(z, err);
    if (st != EQ_OK) {
        eq_zip_close(z);
        return st;
    }
    *out = z;
    return EQ_OK;
}

int64_t eq_zip_count(const eq_zip *z) { return z->n; }
const char *eq_zip_name(const eq_zip *z, int64_t i) { return z->entries[i].name; }
int64_t eq_zip_find(const eq_zip *z, const char *name) {
    for (int64_t i = 0; i < z->n; i++)
        if (!strcmp(z->entries[i].name, name)) return i;
    return -1;
}

static voidpf z_alloc(voidpf ctx, uInt n, uInt size) {
    (void)ctx;
    return eq_calloc(n, size);
}
static void z_free(voidpf ctx, voidpf p) {
    (void)ctx;
    eq_free(p);
}

/* e->size bytes of `from` into `to`; false: they are not that many. */
static bool unpack(const entry *e, const uint8_t *from, char *to) {
    if (e->method == STORED) return memcpy(to, from, (size_t)e->size), e->size == e->packed;
    z_stream s = {.zalloc = z_alloc, .zfree = z_free};
    s.next_in = (Bytef *)(uintptr_t)from, s.avail_in = (uInt)e->packed;
    s.next_out = (Bytef *)to, s.avail_out = (uInt)e->size;
    if (inflateInit2(&s, -15) != Z_OK) return false; /* no header */
    int done = inflate(&s, Z_FINISH);
    int64_t made = (int64_t)s.total_out;
    inflateEnd(&s);
    return done == Z_STREAM_END && made == e->size;
}

static eq_status wrong(const eq_zip *z, const entry *e, const char *what, eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "%s: entry \"%s\": %s", z->path, e->name, what);
}

/* Where its bytes begin. */
static eq_status locate(const eq_zip *z, const entry *e, int64_t *at, eq_err *err) {
    const uint8_t *p = e->at < z->map.size ? z->map.data + e->at : z->map.data;
    if (e->flags & ENCRYPTED) return wrong(z, e, "expected a plain entry, found encryption", err);
    if (e->method != STORED && e->method != DEFLATED)
        return eq_fail(err, EQ_EINPUT,
                       "%s: entry \"%s\": expected it stored or deflated, found method %u", z->path,
                       e->name, e->method);
    if (z->map.size - e->at < LOCAL_SIZE || u32(p) != LOCAL_SIGN)
        return wrong(z, e, "expected a local header, found other bytes", err);
    *at = e->at + LOCAL_SIZE + u16(p + 26) + u16(p + 28);
    if (*at > z->map.size || e->packed > z->map.size - *at)
        return wrong(z, e, "expected its bytes within the file, found them beyond its end", err);
    if (e->method == STORED ? e->size != e->packed : e->size > e->packed * MOST_TIMES)
        return wrong(z, e, "expected a size that its bytes can have, found another", err);
    return EQ_OK;
}

eq_status eq_zip_read(const eq_zip *z, int64_t i, char **bytes, int64_t *n, eq_err *err) {
    const entry *e = &z->entries[i];
    int64_t at = 0;
    *bytes = NULL, *n = 0;
    EQ_TRY(locate(z, e, &at, err));
    char *to = eq_calloc(e->size + 1, 1);
    if (!to) return eq_nomem(err, e->name, e->size + 1);
    if (!unpack(e, z->map.data + at, to) ||
        crc32(0, (const Bytef *)to, (uInt)e->size) != (uLong)e->crc) {
        eq_free(to);
        return wrong(z, e, "expected bytes of its size and checksum, found damage", err);
    }
    *bytes = to, *n = e->size;
    return EQ_OK;
}

void eq_zip_close(eq_zip *z) {
    if (!z) return;
    for (int64_t i = 0; z->entries && i < z->n; i++) eq_free(z->entries[i].name);
    eq_map_close(&z->map);
    eq_free(z->entries), eq_free(z->path), eq_free(z);
}

/* The table is a double array of 32-bit units (Yata's darts-clone) and the strings that its leaves
 * point to. As the peer does it: a cluster of fewer than 6 bytes that as a whole begins with
 * something in the table becomes that, whatever else is in it; else its characters do one by one.
 * Invariant: every index is compared with the table's size, every string ends within it. */
#include "text/charsmap.h"

#include <string.h>

#include "base/mem.h"
#include "text/base64.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum { CLUSTER = 6 };

struct eq_charsmap {
    eq_str raw;
    uint32_t *unit;
    int64_t units;
    const char *strings; /* NUL-terminated, one behind the other */
    int64_t strings_n;
};

static eq_status load(eq_charsmap *m, const char *text, int64_t n, const char *where, eq_err *err) {
    bool is = eq_base64_decode(&m->raw, text, n);
    if (m->raw.oom) return eq_nomem(err, "a charsmap", n);
    const uint8_t *b = (const uint8_t *)m->raw.p;
    int64_t bytes = is && m->raw.n >= 4 ? (int64_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 |
                                                    (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24)
                                        : -1;
    if (bytes < 4 || bytes % 4 || bytes > m->raw.n - 4)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: Precompiled: \"precompiled_charsmap\": expected sentencepiece's table in Base64, "
            "found %s",
            where, is ? "other bytes" : "other characters");
    m->units = bytes / 4;
    if (!(m->unit = eq_calloc(m->units, sizeof *m->unit)))
        return eq_nomem(err, "a charsmap", bytes);
    for (int64_t i = 0; i < m->units; i++) {
        const uint8_t *u = b + 4 + 4 * i;
        m->unit[i] =
            (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
    }
    m->strings = m->raw.p + 4 + bytes;
    m->strings_n = m->raw.n - 4 - bytes;
    if (eq_utf8_valid(m->strings, m->strings_n) != m->strings_n)
        return eq_fail(err, EQ_EINPUT, "%s: Precompiled: the charsmap's strings are not UTF-8",
                       where);
    return EQ_OK;
}

eq_status eq_charsmap_new(eq_charsmap **out, const char *text, int64_t n, const char *where,
                          eq_err *err) {
    eq_charsmap *m = *out = eq_calloc(1, sizeof *m);
    if (!m) return eq_nomem(err, "a charsmap", sizeof *m);
    eq_status st = load(m, text, n, where, err);
    if (st != EQ_OK) {
        eq_charsmap_free(m);
        *out = NULL;
    }
    return st;
}

void eq_charsmap_free(eq_charsmap *m) {
    if (!m) return;
    eq_str_free(&m->raw);
    eq_free(m->unit);
    eq_free(m);
}

/* ---- looking up ------------------------------------------------------------------------------ */

static uint32_t offset(uint32_t u) { return (u >> 10) << ((u & (1u << 9)) >> 6); }

/* Where in the strings the shortest beginning of s that is in the table leads; -1: there is none,
 * -2: the table is broken. */
static int64_t look_up(const eq_charsmap *m, const char *s, int64_t n) {
    uint64_t at = offset(m->unit[0]);
    for (int64_t i = 0; i < n && s[i]; i++) {
        at ^= (uint8_t)s[i];
        if (at >= (uint64_t)m->units) return -2;
        uint32_t u = m->unit[at];
        if ((u & (1u << 31 | 0xff)) != (uint8_t)s[i]) return -1;
        at ^= offset(u);
        if (!(u >> 8 & 1)) continue;
        if (at >= (uint64_t)m->units) return -2;
        int64_t value = m->unit[at] & 0x7fffffff;
        bool inside = value < m->strings_n && ((uint8_t)m->strings[value] & 0xc0) != 0x80 &&
                      memchr(m->strings + value, 0, (size_t)(m->strings_n - value));
        return inside ? value : -2;
    }
    return -1;
}

/* Appends what these bytes become; *found false: they are not in the table. */
static eq_status put(const eq_charsmap *m, eq_str *out, const char *s, int64_t n, bool *found,
                     eq_err *err) {
    int64_t at = look_up(m, s, n);
    if (at == -2)
        return eq_fail(err, EQ_EINPUT, "the charsmap of the normalizer Precompiled is broken");
    *found = at >= 0;
    if (*found) eq_str_puts(out, m->strings + at);
    return EQ_OK;
}

/* End of the extended grapheme cluster that begins at s. */
static int64_t cluster(const char *s, int64_t n) {
    uint32_t a, b;
    int32_t state = 0;
    int64_t i = eq_utf8_get(s, &a);
    while (i < n) {
        if (a < 0x80 && (uint8_t)s[i] < 0x80 && a != '\r') break;
        int len = eq_utf8_get(s + i, &b);
        if (eq_uni_cluster_ends(a, b, &state)) break;
        a = b, i += len;
    }
    return i;
}

eq_status eq_charsmap_run(const eq_charsmap *m, eq_str *out, const char *s, int64_t n,
                          int64_t *head, eq_err *err) {
    *head = -1;
    for (int64_t i = 0, end; i < n; i = end) {
        bool found = false;
        uint32_t cp;
        end = i + cluster(s + i, n - i);
        if (end - i < CLUSTER) EQ_TRY(put(m, out, s + i, end - i, &found, err));
        for (int64_t k = i, len; !found && k < end; k += len) {
            bool one = false;
            len = eq_utf8_get(s + k, &cp);
            EQ_TRY(put(m, out, s + k, len, &one, err));
            if (!one) eq_str_put(out, s + k, len);
            if (*head < 0) *head = out->n;
        }
        if (*head < 0) *head = out->n;
    }
    return EQ_OK;
}

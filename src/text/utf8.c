/* UTF-8 checking after the table of well-formed sequences in the Unicode standard (3-7): the second
 * byte's range depends on the first, so overlong forms, surrogates and values past U+10FFFF fall
 * out at their second byte, and the valid part before the fault is the "maximal subpart". */
#include "text/utf8.h"

#include <string.h>

int eq_utf8_put(uint32_t cp, char out[4]) {
    if (cp < 0x80) return out[0] = (char)cp, 1;
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const uint8_t head[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3f));
    out[0] = (char)(head[n] | cp);
    return n;
}

void eq_utf8_append(eq_str *s, uint32_t cp) {
    char b[4];
    eq_str_put(s, b, eq_utf8_put(cp, b));
}

int64_t eq_utf8_back(const char *s, int64_t at) {
    do at--;
    while (at > 0 && ((uint8_t)s[at] & 0xc0) == 0x80);
    return at;
}

/* Length of the sequence at u, or minus the length of its maximal subpart (at least 1). */
static int sequence(const uint8_t *u, int64_t n) {
    if (u[0] < 0x80) return 1;
    if (u[0] < 0xc2 || u[0] > 0xf4) return -1;
    int len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    uint8_t lo = u[0] == 0xe0 ? 0xa0 : u[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = u[0] == 0xed ? 0x9f : u[0] == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < len; i++, lo = 0x80, hi = 0xbf)
        if (i >= n || u[i] < lo || u[i] > hi) return -i;
    return len;
}

int64_t eq_utf8_valid(const char *s, int64_t n) {
    const uint8_t *u = (const uint8_t *)s;
    for (int64_t i = 0; i < n;) {
        uint64_t eight;
        if (i + 8 <= n && (memcpy(&eight, u + i, 8), !(eight & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        int len = sequence(u + i, n - i);
        if (len < 0) return i;
        i += len;
    }
    return n;
}

void eq_utf8_repair(eq_str *out, const char *s, int64_t n) {
    while (n > 0) {
        int64_t ok = eq_utf8_valid(s, n);
        eq_str_put(out, s, ok);
        s += ok, n -= ok;
        if (n == 0) return;
        int bad = -sequence((const uint8_t *)s, n);
        eq_str_put(out, "\xef\xbf\xbd", 3);
        s += bad, n -= bad;
    }
}

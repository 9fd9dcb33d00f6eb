/* See base64.h. Strict: groups of four, padding only at the end, no stray bits. */
#include "text/base64.h"

static int digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool eq_base64_decode(eq_str *out, const char *s, int64_t n) {
    if (n % 4) return false;
    for (int64_t i = 0; i < n; i += 4) {
        bool last = i + 4 == n;
        int pad = last ? (s[i + 3] == '=') + (s[i + 3] == '=' && s[i + 2] == '=') : 0;
        uint32_t v = 0;
        for (int k = 0; k < 4; k++) {
            int d = k >= 4 - pad ? 0 : digit(s[i + k]);
            if (d < 0) return false;
            v = v << 6 | (uint32_t)d;
        }
        if (pad && (v & ((1u << 8 * pad) - 1))) return false;
        const uint8_t b[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        eq_str_put(out, b, 3 - pad);
    }
    return true;
}

void eq_base64_encode(eq_str *out, const void *bytes, int64_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *b = bytes;
    for (int64_t i = 0; i < n; i += 3) {
        int64_t left = n - i < 3 ? n - i : 3;
        uint32_t v = (uint32_t)b[i] << 16 | (left > 1 ? (uint32_t)b[i + 1] << 8 : 0) |
                     (left > 2 ? b[i + 2] : 0);
        char c[4];
        for (int k = 0; k < 4; k++) c[k] = k <= left ? digits[v >> (18 - 6 * k) & 63] : '=';
        eq_str_put(out, c, 4);
    }
}

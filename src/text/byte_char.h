/* The alphabet of byte-level BPE: one printable character for each byte. Printable bytes stand for
 * themselves; the 68 others, in order, are U+0100 to U+0143. */
#ifndef EQ_TEXT_BYTE_CHAR_H
#define EQ_TEXT_BYTE_CHAR_H
#include <stdint.h>

static inline uint32_t eq_byte_to_char(uint8_t b) {
    if (b <= 0x20) return 0x100u + b;
    if (b >= 0x7f && b <= 0xa0) return 0x100u + 33 + (b - 0x7fu);
    return b == 0xad ? 0x143u : b;
}

/* -1: no byte has this character. */
static inline int eq_char_to_byte(uint32_t c) {
    if (c < 0x100) return eq_byte_to_char((uint8_t)c) == c ? (int)c : -1;
    if (c <= 0x120) return (int)(c - 0x100);
    if (c <= 0x142) return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}
#endif

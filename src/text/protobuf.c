/* See protobuf.h. Every length is compared with what is left; groups, which no one writes any more,
 * are broken. */
#include "text/protobuf.h"

#include <string.h>

static bool varint(eq_pb *m, uint64_t *v) {
    *v = 0;
    for (int shift = 0; shift < 70 && m->p < m->end; shift += 7) {
        uint8_t b = *m->p++;
        if (shift == 63 && b > 1) return false;
        *v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return true;
    }
    return false;
}

static bool fixed(eq_pb *m, int n, uint64_t *v) {
    if (m->end - m->p < n) return false;
    *v = 0;
    for (int i = 0; i < n; i++) *v |= (uint64_t)*m->p++ << 8 * i;
    return true;
}

static bool bytes(eq_pb *m, eq_pb_field *f) {
    uint64_t n;
    if (!varint(m, &n) || n > (uint64_t)(m->end - m->p)) return false;
    f->bytes = m->p, f->n = (int64_t)n;
    m->p += n;
    return true;
}

bool eq_pb_next(eq_pb *m, eq_pb_field *f) {
    uint64_t key;
    bool ok = true;
    if (m->broken || m->p == m->end) return false;
    *f = (eq_pb_field){0};
    ok = varint(m, &key) && key >> 3 > 0 && key >> 3 < 1u << 29;
    f->number = ok ? (int)(key >> 3) : 0;
    switch (ok ? key & 7 : 7) {
    case 0:
        f->kind = EQ_PB_VARINT, ok = varint(m, &f->value);
        break;
    case 1:
        f->kind = EQ_PB_64, ok = fixed(m, 8, &f->value);
        break;
    case 2:
        f->kind = EQ_PB_BYTES, ok = bytes(m, f);
        break;
    case 5:
        f->kind = EQ_PB_32, ok = fixed(m, 4, &f->value);
        break;
    default:
        ok = false;
    }
    m->broken = !ok;
    return ok;
}

float eq_pb_float(const eq_pb_field *f) {
    uint32_t u = (uint32_t)f->value;
    float v;
    memcpy(&v, &u, 4);
    return v;
}

/* Reading protocol buffers (the wire format): one message, field by field. */
#ifndef EQ_TEXT_PROTOBUF_H
#define EQ_TEXT_PROTOBUF_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const uint8_t *p, *end;
    bool broken; /* what is left is no message */
} eq_pb;

typedef struct {
    int number;
    enum { EQ_PB_VARINT, EQ_PB_64, EQ_PB_BYTES, EQ_PB_32 } kind;
    uint64_t value;       /* of a VARINT, 64 or 32 */
    const uint8_t *bytes; /* n of them */
    int64_t n;
} eq_pb_field;

/* false: the message has ended, or is broken. */
bool eq_pb_next(eq_pb *m, eq_pb_field *f);
float eq_pb_float(const eq_pb_field *f); /* a 32 as a float */
#endif

/* The "decoder" of tokenizer.json: from the strings of tokens to text. */
#ifndef EQ_TEXT_DECODE_H
#define EQ_TEXT_DECODE_H
#include <jansson.h>

#include "base/str.h"

typedef struct eq_decoder eq_decoder;

/* spec NULL or JSON null: tokens are joined by spaces. */
eq_status eq_decoder_new(eq_decoder **out, const json_t *spec, const char *where, eq_err *err);
void eq_decoder_free(eq_decoder *d);

/* Strings end to end, `end` says where each one ends. */
typedef struct {
    eq_str bytes;
    int64_t *end;
    int64_t n, cap;
} eq_pieces;
eq_status eq_pieces_add(eq_pieces *p, const char *s, int64_t n, eq_err *err);
void eq_pieces_free(eq_pieces *p);

/* Appends the text; the pieces are used up. */
eq_status eq_decoder_run(const eq_decoder *d, eq_pieces *p, eq_str *out, eq_err *err);
#endif

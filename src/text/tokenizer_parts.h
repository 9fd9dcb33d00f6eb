/* What tokenizer.c opens, encode.c and decode.c's caller use. */
#ifndef EQ_TEXT_TOKENIZER_PARTS_H
#define EQ_TEXT_TOKENIZER_PARTS_H
#include "text/added.h"
#include "text/decode.h"
#include "text/model.h"
#include "text/pretokenize.h"
#include "text/template.h"

struct eq_tokenizer {
    char *path;  /* for messages */
    int32_t eos; /* -1: none is named */
    eq_normalizer *normalizer;
    eq_pretokenizer *pretokenizer;
    eq_model model;
    eq_added *added;
    eq_template template;
    eq_decoder *decoder;
};
#endif

/* The "post_processor" of tokenizer.json: ids put before and behind those of a text. */
#ifndef EQ_TEXT_TEMPLATE_H
#define EQ_TEXT_TEMPLATE_H
#include <jansson.h>

#include "text/tokenizer.h"

typedef struct {
    eq_ids before, after;
} eq_template;

/* t is zeroed; spec NULL or JSON null: nothing is added. */
eq_status eq_template_load(eq_template *t, const json_t *spec, const char *where, eq_err *err);
void eq_template_free(eq_template *t);
#endif

/* Tokens of a template. */
#ifndef EQ_TEXT_JINJA_LEX_H
#define EQ_TEXT_JINJA_LEX_H
#include "text/jinja/jinja_value.h"

typedef enum {
    EQ_JT_TEXT,
    EQ_JT_PRINT, /* {{ */
    EQ_JT_PRINT_END,
    EQ_JT_BLOCK, /* {% */
    EQ_JT_BLOCK_END,
    EQ_JT_NAME,
    EQ_JT_STRING,
    EQ_JT_INT,
    EQ_JT_FLOAT,
    EQ_JT_OP,
    EQ_JT_END
} eq_jtok_kind;

typedef struct {
    eq_jtok_kind kind;
    int line;
    const char *s; /* TEXT, STRING: their value; NAME, OP: as written */
    int64_t n;
    int64_t i;
    double f;
} eq_jtok;

typedef struct {
    eq_jtok *p;
    int64_t n, cap;
} eq_jtoks;

/* Strings lie in the arena; eq_free toks->p. The last token is END. */
eq_status eq_jinja_lex(eq_jtoks *toks, eq_jarena *a, const char *text, int64_t n, const char *where,
                       eq_err *err);
/* As a failed take has to be told. */
eq_status eq_jinja_no_room(const eq_jarena *a, const char *where, eq_err *err);
#endif

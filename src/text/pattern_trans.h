/* What pattern_translate.c and pattern_class.c share: a regex on its way to PCRE2. */
#ifndef EQ_TEXT_PATTERN_TRANS_H
#define EQ_TEXT_PATTERN_TRANS_H
#include "base/str.h"

enum { EQ_TRANS_DEPTH = 100 };

typedef struct {
    int64_t open;    /* where in out the group begins; -1: nothing that can be repeated */
    bool fold;       /* (?i) is in force */
    bool empty, any; /* this alternative, any alternative before it, can match nothing */
} eq_trans_level;

typedef struct {
    const char *p, *end; /* what is left of the regex */
    eq_str *out;
    int64_t atom;    /* where in out the last quantifiable atom begins; -1: none */
    bool atom_empty; /* the atom can match nothing */
    bool was_empty;  /* so could the alternative in front of it */
    eq_trans_level level[EQ_TRANS_DEPTH + 1], *at;
    uint32_t last; /* last literal, 0 after anything else: finds "ss" and its like under (?i) */
    bool as_is;    /* the text is searched without stand-ins: no property may be asked for */
    bool torn;     /* with stand-ins a range could not be said */
    const char *regex, *where;
    eq_err *err;
} eq_trans;

eq_status eq_trans_refuse(eq_trans *t, const char *what);
void eq_trans_literal(eq_trans *t, uint32_t cp); /* appends it, escaped where it has to be */
/* Behind "\p" or "\P": appends the property. */
eq_status eq_trans_property(eq_trans *t, bool negative);
/* Reads the value of \x \u and of control escapes; *cp = UINT32_MAX when c begins none of them. */
eq_status eq_trans_code(eq_trans *t, char c, uint32_t *cp);
/* What \s, \d and their like are called in a class; NULL: it cannot be said there. */
const char *eq_trans_set_in_class(const eq_trans *t, char c);
/* May characters lo to hi be listed? */
eq_status eq_trans_range(eq_trans *t, uint32_t lo, uint32_t hi);
/* t->p at "[": appends an atom of one character. */
eq_status eq_trans_class(eq_trans *t);
#endif

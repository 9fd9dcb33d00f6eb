/* What pretokenize_parse.c makes and pretokenize.c runs. */
#ifndef EQ_TEXT_PRETOKENIZE_STEPS_H
#define EQ_TEXT_PRETOKENIZE_STEPS_H
#include "text/pretokenize.h"

typedef enum {
    EQ_PRE_SPLIT,     /* at matches of a pattern */
    EQ_PRE_CHARS,     /* at every single character of a set */
    EQ_PRE_SCRIPTS,   /* between characters of two scripts */
    EQ_PRE_LENGTH,    /* every so many characters */
    EQ_PRE_WORDS,     /* runs of word characters, runs of others; white space dropped */
    EQ_PRE_SPACE,     /* a space in front when there is none */
    EQ_PRE_METASPACE, /* ' ' becomes the replacement, which may be put in front, too */
    EQ_PRE_BYTES      /* the byte-level alphabet */
} eq_pre_kind;

typedef enum {
    EQ_SPLIT_REMOVED,
    EQ_SPLIT_ISOLATED,
    EQ_SPLIT_WITH_PREVIOUS,
    EQ_SPLIT_WITH_NEXT,
    EQ_SPLIT_CONTIGUOUS
} eq_split;

typedef enum { EQ_PREPEND_ALWAYS, EQ_PREPEND_FIRST, EQ_PREPEND_NEVER } eq_prepend;

typedef struct {
    eq_pre_kind kind;
    eq_pattern *pattern;         /* SPLIT */
    bool (*in_set)(uint32_t cp); /* CHARS */
    eq_split split;              /* SPLIT, CHARS */
    bool invert;                 /* SPLIT */
    int64_t length;              /* LENGTH */
    eq_prepend prepend;          /* METASPACE */
    char mark[8];                /* METASPACE: the replacement, NUL-terminated */
} eq_pre_step;

struct eq_pretokenizer {
    eq_pre_step *steps;
    int64_t n;
};
#endif

/* The parsed template. */
#ifndef EQ_TEXT_JINJA_TREE_H
#define EQ_TEXT_JINJA_TREE_H
#include "text/jinja/jinja.h"
#include "text/jinja/jinja_value.h"

/* What a, b, c, d are and what `name`, `value` hold; lists are chains over `next`. */
typedef enum {
    /* statements */
    EQ_JN_TEXT,       /* value */
    EQ_JN_PRINT,      /* a */
    EQ_JN_IF,         /* a: condition, b: body, c: else */
    EQ_JN_FOR,        /* a: targets, b: over what, c: if, d: body, e: else */
    EQ_JN_SET,        /* a: targets, b: value */
    EQ_JN_SET_BLOCK,  /* a: target, b: body */
    EQ_JN_MACRO,      /* name, a: parameters (name, a: default), b: body */
    EQ_JN_GENERATION, /* a: body */
    EQ_JN_BREAK,
    EQ_JN_CONTINUE,
    /* expressions */
    EQ_JN_CONST,   /* value */
    EQ_JN_NAME,    /* name */
    EQ_JN_LIST,    /* a: members; also tuples */
    EQ_JN_DICT,    /* a: keys and values in turn */
    EQ_JN_MEMBER,  /* a.name */
    EQ_JN_INDEX,   /* a[b] */
    EQ_JN_SLICE,   /* a[b:c:d], each NULL where it is left out */
    EQ_JN_CALL,    /* a(b), b: arguments; named ones have a name */
    EQ_JN_FILTER,  /* a | name(b) */
    EQ_JN_TEST,    /* a is name(b) */
    EQ_JN_NOT,     /* a */
    EQ_JN_NEG,     /* a */
    EQ_JN_AND,     /* a, b */
    EQ_JN_OR,      /* a, b */
    EQ_JN_CHOICE,  /* a if b else c */
    EQ_JN_COMPARE, /* a, then b: chain of (name: operator, a: operand) */
    EQ_JN_BINARY   /* a name b; ~ is one, too */
} eq_jkind;

typedef struct eq_jnode {
    eq_jkind kind;
    int line;
    eq_jv name, value; /* name: a string */
    struct eq_jnode *a, *b, *c, *d, *e, *next;
} eq_jnode;

struct eq_jinja {
    eq_jarena mem;
    eq_jnode *body;
    char *where;
    bool marks;
};
#endif

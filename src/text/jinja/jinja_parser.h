/* What jinja_parse.c and jinja_expr.c share. Errors stick: after one every call returns NULL. */
#ifndef EQ_TEXT_JINJA_PARSER_H
#define EQ_TEXT_JINJA_PARSER_H
#include "text/jinja/jinja_lex.h"
#include "text/jinja/jinja_tree.h"

enum { EQ_JPARSE_DEPTH = 60 };

typedef struct {
    eq_jarena *a;
    const eq_jtok *t; /* the next token */
    int depth, loops; /* nesting; loops around the statement */
    bool marks;
    eq_status st;
    const char *where;
    eq_err *err;
} eq_jparser;

eq_jnode *eq_jparse_fail(eq_jparser *p, const char *what); /* NULL */
eq_jnode *eq_jparse_node(eq_jparser *p, eq_jkind kind);
bool eq_jparse_is(const eq_jparser *p, eq_jtok_kind kind, const char *text);
bool eq_jparse_skip(eq_jparser *p, eq_jtok_kind kind, const char *text);
bool eq_jparse_expect(eq_jparser *p, eq_jtok_kind kind, const char *text);
bool eq_jparse_name(eq_jparser *p, eq_jv *name);

/* One expression, or several with commas, which are a tuple. choice: "a if b else c" may stand
 * there without brackets. */
eq_jnode *eq_jparse_tuple(eq_jparser *p, bool choice);
eq_jnode *eq_jparse_expression(eq_jparser *p);
#endif

/* The state of one rendering. Errors stick: after one every value is undefined. */
#ifndef EQ_TEXT_JINJA_RUN_H
#define EQ_TEXT_JINJA_RUN_H
#include "text/jinja/jinja_tree.h"

typedef struct eq_jvar {
    eq_jv name, value;
    struct eq_jvar *next;
} eq_jvar;

/* Variables of a loop's round, of a macro's call, or of the whole template. */
typedef struct eq_jframe {
    struct eq_jframe *up;
    eq_jvar *vars;
} eq_jframe;

typedef struct {
    const eq_jinja *j;
    eq_jarena mem;
    eq_str *out;
    eq_spans *spans;
    eq_jframe top, *frame;
    int64_t steps;
    int depth, line;
    int captures; /* macros and block sets around what is run */
    enum { EQ_JRUN_ON, EQ_JRUN_BREAK, EQ_JRUN_CONTINUE } flow;
    eq_status st;
    eq_err *err;
} eq_jrun;

enum { EQ_JARGS = 8, EQ_JRUN_DEPTH = 400 };
typedef struct {
    eq_jv v[EQ_JARGS], name[EQ_JARGS]; /* name: a string where the argument has one */
    int n;
} eq_jargs;

eq_jv eq_jrun_fail(eq_jrun *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
eq_jv eq_jrun_no_room(eq_jrun *r);
eq_jv eq_jrun_eval(eq_jrun *r, const eq_jnode *n);
void eq_jrun_body(eq_jrun *r, const eq_jnode *body);
void eq_jrun_set(eq_jrun *r, eq_jframe *f, eq_jv name, eq_jv value);
/* Runs a body into a string of its own. */
eq_jv eq_jrun_capture(eq_jrun *r, const eq_jnode *body);

eq_jv eq_jrun_list(eq_jrun *r);
void eq_jrun_put(eq_jrun *r, eq_jv list, eq_jv v);
eq_jv eq_jrun_dict(eq_jrun *r);
void eq_jrun_put_key(eq_jrun *r, eq_jv dict, eq_jv key, eq_jv value);
eq_jv eq_jrun_join(eq_jrun *r, eq_jv a, eq_jv b); /* str(a) + str(b) */
/* Members in a list of their own: of a list, keys, characters; fails for what has none. */
eq_jv eq_jrun_members(eq_jrun *r, eq_jv v);
bool eq_jrun_in(eq_jrun *r, eq_jv a, eq_jv b);
/* a[b] for any b; a.name. */
eq_jv eq_jrun_index(eq_jrun *r, eq_jv a, eq_jv b);
eq_jv eq_jrun_slice(eq_jrun *r, eq_jv a, eq_jv from, eq_jv to, eq_jv step);
eq_jv eq_jrun_binary(eq_jrun *r, const char *op, eq_jv a, eq_jv b);

/* jinja_calls.c, jinja_filters.c */
eq_jv eq_jrun_filter(eq_jrun *r, eq_jv name, eq_jv v, const eq_jargs *args);
bool eq_jrun_test(eq_jrun *r, eq_jv name, eq_jv v, const eq_jargs *args);
eq_jv eq_jrun_method(eq_jrun *r, eq_jv name, eq_jv v, const eq_jargs *args);
bool eq_jrun_has_method(eq_jv v, eq_jv name);
eq_jv eq_jrun_function(eq_jrun *r, eq_jv name, const eq_jargs *args);
bool eq_jrun_has_function(eq_jv name);
/* Argument i, or the one called `name`; undefined where there is none. */
eq_jv eq_jrun_arg(const eq_jargs *args, int i, const char *name);
#endif

/* Values of the template language, as Python's types behave, and the memory that they live in. */
#ifndef EQ_TEXT_JINJA_VALUE_H
#define EQ_TEXT_JINJA_VALUE_H
#include "base/str.h"

/* Memory that is given back as a whole. */
typedef struct {
    void *chunks;
    char *at;
    int64_t left, total;
    bool limit; /* it was asked for more than any template needs */
} eq_jarena;
/* n zeroed bytes; NULL: memory is out, or `limit`. */
void *eq_jarena_take(eq_jarena *a, int64_t n);
void eq_jarena_free(eq_jarena *a);

typedef enum {
    EQ_J_UNDEF,
    EQ_J_NONE,
    EQ_J_BOOL,
    EQ_J_INT,
    EQ_J_FLOAT,
    EQ_J_STR,
    EQ_J_LIST, /* and tuples */
    EQ_J_DICT, /* and namespaces */
    EQ_J_MACRO,
    EQ_J_FUNC
} eq_jtype;

typedef struct eq_jlist eq_jlist;
typedef struct eq_jdict eq_jdict;

typedef struct {
    eq_jtype type;
    int64_t n; /* STR: its bytes */
    union {
        bool b;
        int64_t i; /* FUNC: its place in the table */
        double f;
        const char *s; /* not NUL-terminated */
        eq_jlist *list;
        eq_jdict *dict;
        const struct eq_jnode *macro;
    } u;
} eq_jv;

struct eq_jlist {
    eq_jv *v;
    int64_t n, cap;
    int depth; /* of lists in lists, bounded */
};
struct eq_jdict {
    eq_jv *key, *value; /* in the order in which they were set */
    int64_t n, cap;
    int depth;
    bool space; /* a namespace: its members may be set */
};

static inline eq_jv eq_j_none(void) { return (eq_jv){.type = EQ_J_NONE}; }
static inline eq_jv eq_j_bool(bool b) { return (eq_jv){.type = EQ_J_BOOL, .u.b = b}; }
static inline eq_jv eq_j_int(int64_t i) { return (eq_jv){.type = EQ_J_INT, .u.i = i}; }
static inline eq_jv eq_j_str(const char *s, int64_t n) {
    return (eq_jv){.type = EQ_J_STR, .n = n, .u.s = s};
}
eq_jv eq_j_cstr(const char *s);

bool eq_j_true(eq_jv v);
bool eq_j_equal(eq_jv a, eq_jv b);
/* -1, 0, 1; *ok false: they have no order. */
int eq_j_order(eq_jv a, eq_jv b, bool *ok);
bool eq_j_is(eq_jv v, const char *text); /* this very string */
const char *eq_j_type_name(eq_jv v);
/* Appends str(v); false: of this type there is no text here. */
bool eq_j_put(eq_str *out, eq_jv v);
/* Appends JSON as transformers' tojson does; false likewise. */
bool eq_j_put_json(eq_str *out, eq_jv v);

/* Python's sizes and places of strings are in characters. */
int64_t eq_j_chars(eq_jv s);
/* The part of a string of `chars` characters from `from` on (both within it). */
eq_jv eq_j_part(eq_jv s, int64_t from, int64_t chars);
/* Offset of the first `what` in s from byte `from` on, -1: none. */
int64_t eq_j_find(eq_jv s, eq_jv what, int64_t from);
/* Without the characters of `set` (none: white space) at its ends. */
eq_jv eq_j_strip(eq_jv s, eq_jv set, bool left, bool right);

/* false: memory is out, or the arena's `limit` */
bool eq_jlist_put(eq_jarena *a, eq_jlist *l, eq_jv v);
bool eq_jdict_put(eq_jarena *a, eq_jdict *d, eq_jv key, eq_jv value);
const eq_jv *eq_jdict_get(const eq_jdict *d, eq_jv key); /* NULL: absent */
#endif

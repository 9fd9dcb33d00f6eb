/* A pull scanner: passes over JSON in memory and gives the place of what somebody wants, so that
 * values nobody wants need not fit into anything: integers of any length, NaN and Infinity as
 * Python writes them, lone surrogates, bytes that are no UTF-8. All that jansson reads it reads the
 * same way. */
#ifndef EQ_FORMAT_JSON_SCAN_H
#define EQ_FORMAT_JSON_SCAN_H
#include "base/str.h"

typedef struct {
    const char *begin, *at, *end; /* the next byte; NULL: there is no value */
    const char *why;              /* NULL, or what is wrong at `at` */
} eq_jscan;

static inline eq_jscan eq_jscan_of(const char *p, int64_t n) {
    return (eq_jscan){.begin = p, .at = p, .end = p + n};
}
/* Passes over one value and the space before it; `value` spans it. */
bool eq_jscan_value(eq_jscan *s, eq_jscan *value);
/* Nothing but space is left. */
bool eq_jscan_end(eq_jscan *s);
/* "an object", "a string", ... of a value; "nothing" where there is none. */
const char *eq_jscan_type(const eq_jscan *value);
/* The member of an object that `path` names: its own name, or names with dots between them on the
 * way through objects. Of members of one name the last counts. `value`: absent when not there. */
bool eq_jscan_find(eq_jscan object, const char *path, eq_jscan *value);
/* Through a list or an object's members: true while there is another one. `in` begins as the whole
 * value; key (of an object) spans the name with its quotes, may be NULL. */
bool eq_jscan_next(eq_jscan *in, eq_jscan *key, eq_jscan *value);
/* Appends the text of a string. False: `why` of value says what it has that is no text. Memory that
 * is out shows in `out`. */
bool eq_jscan_text(eq_jscan *value, eq_str *out);
#endif

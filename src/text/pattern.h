/* Search patterns of tokenizer.json: {"String": ...} or {"Regex": ...}. The regexes are Oniguruma's
 * (Ruby syntax, Unicode 16); they are translated to PCRE2, and a construct whose meaning differs
 * and cannot be translated is refused by name. */
#ifndef EQ_TEXT_PATTERN_H
#define EQ_TEXT_PATTERN_H
#include <jansson.h>

#include "base/str.h"

typedef struct eq_pattern eq_pattern;

/* The "pattern" object of a normalizer, pre-tokenizer or decoder. `where` names the file. */
eq_status eq_pattern_parse(eq_pattern **out, const json_t *spec, const char *where, eq_err *err);
eq_status eq_pattern_regex(eq_pattern **out, const char *regex, const char *where, eq_err *err);
void eq_pattern_free(eq_pattern *p);

/* Oniguruma to PCRE2 syntax; for the tests as well. Needs PCRE2_UTF | UCP | MULTILINE. *as_is: the
 * text must be searched without stand-ins (pattern.c). */
eq_status eq_pattern_translate(eq_str *out, const char *regex, bool *as_is, const char *where,
                               eq_err *err);

/* The one ASCII byte that it is, 0: it is something else. */
char eq_pattern_byte(const eq_pattern *p);
bool eq_pattern_is(const eq_pattern *p, const char *literal); /* nothing but this string */
/* No match depends on what stands in front of it. */
bool eq_pattern_local(const eq_pattern *p);

/* One search over a text, left to right, matches not overlapping. Reusable for any number of texts
 * by one thread; zero it, eq_scan_free it at the end. */
typedef struct {
    const eq_pattern *p;
    bool more;        /* the text goes on: a match that this might change is not given */
    const char *text; /* searched text: the caller's, or the shadow with stand-ins */
    int64_t n, at, last_end;
    eq_str shadow;
    void *match; /* PCRE2 match data */
} eq_scan;

eq_status eq_scan_start(eq_scan *s, const eq_pattern *p, const char *text, int64_t n, eq_err *err);
/* *found false: no further match (that is certain, with s->more, to be set after eq_scan_start). An
 * empty match right behind a match is skipped. */
eq_status eq_scan_next(eq_scan *s, bool *found, int64_t *start, int64_t *end, eq_err *err);
void eq_scan_free(eq_scan *s);
#endif

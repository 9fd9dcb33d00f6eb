/* The "normalizer" of tokenizer.json: a list of steps from text to text. */
#ifndef EQ_TEXT_NORMALIZE_H
#define EQ_TEXT_NORMALIZE_H
#include <jansson.h>

#include "base/str.h"

typedef struct eq_normalizer eq_normalizer;

/* spec NULL or JSON null: no steps. */
eq_status eq_normalizer_new(eq_normalizer **out, const json_t *spec, const char *where,
                            eq_err *err);
void eq_normalizer_free(eq_normalizer *z);

/* A piece of text on its way through the steps. The first `head` bytes come from the very first
 * character of the whole input (or were put before it): the pre-tokenizer Metaspace asks. */
typedef struct {
    eq_str a, b;
    const char *text; /* the result: the input itself, a.p or b.p */
    int64_t n, head;
} eq_normal;

/* s: valid UTF-8; first: it begins where the whole input begins; goes_on: it continues a text whose
 * beginning went through before. */
eq_status eq_normalize(const eq_normalizer *z, eq_normal *w, const char *s, int64_t n, bool first,
                       bool goes_on, eq_err *err);
bool eq_normalizer_empty(const eq_normalizer *z);
/* Can a text be normalized in parts? And up to where, where more follows: at most n. */
bool eq_normalizer_local(const eq_normalizer *z);
int64_t eq_normalizer_cut(const eq_normalizer *z, const char *s, int64_t n);
void eq_normal_free(eq_normal *w);
#endif

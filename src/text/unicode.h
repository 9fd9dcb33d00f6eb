/* Character data as Hugging Face `tokenizers` sees it, whatever Unicode version the libraries
 * here were built with: utf8proc's tables plus the differences in unicode_tables.c. */
#ifndef EQ_TEXT_UNICODE_H
#define EQ_TEXT_UNICODE_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t lo, hi;
} eq_uni_range;
typedef struct {
    uint32_t lo, hi;
    int32_t to; /* a stand-in, or a distance */
} eq_uni_map;

extern const eq_uni_map eq_uni_newer[], eq_uni_lower_more[], eq_uni_scripts[];
extern const eq_uni_range eq_uni_inert[], eq_uni_numeric_more[], eq_uni_punct_flip[],
    eq_uni_mark_flip[], eq_uni_joins_more[];
extern const int eq_uni_newer_n, eq_uni_lower_more_n, eq_uni_inert_n, eq_uni_numeric_more_n,
    eq_uni_punct_flip_n, eq_uni_mark_flip_n, eq_uni_joins_more_n, eq_uni_scripts_n;

/* cp, or for a character younger than Unicode 14 an older one of the same category and of the same
 * length in UTF-8, which regexes and tables judge in its place. */
uint32_t eq_uni_standin(uint32_t cp);
bool eq_uni_space(uint32_t cp);    /* White_Space */
bool eq_uni_py_space(uint32_t cp); /* str.isspace: the separators 1c to 1f, too */
bool eq_uni_word(uint32_t cp);     /* \w of Rust's regexes */
bool eq_uni_numeric(uint32_t cp);  /* category N */
bool eq_uni_punct(uint32_t cp);    /* category P, or an ASCII symbol */
bool eq_uni_mark(uint32_t cp);     /* category M, for StripAccents */
/* Does a cluster (extended grapheme cluster) end between the two? *state is 0 at its beginning. */
bool eq_uni_cluster_ends(uint32_t a, uint32_t b, int32_t *state);
int eq_uni_script(uint32_t cp); /* a number for each script; -1: none */
/* Full lower case of one character: writes one or two code points, returns how many. */
int eq_uni_lower(uint32_t cp, uint32_t out[2]);
/* No normal form touches it: it neither decomposes, nor composes, nor changes places. */
bool eq_uni_is_inert(uint32_t cp);
#endif

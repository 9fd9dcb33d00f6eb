/* Small tokenizers written on the spot, and their results as text. */
#ifndef TESTS_TINY_TOKENIZER_H
#define TESTS_TINY_TOKENIZER_H
#include "text/tokenizer.h"

typedef struct {
    const char *chars;  /* every character a token; NULL: the byte-level alphabet */
    const char *merges; /* "a b;ab c": each also makes its token */
    const char *tokens; /* "<unk>;<0x0A>": further tokens, behind the others */
    const char *pieces; /* "<unk> 0;a -1.5;ab -2": Unigram's vocabulary in place of all these */
    const char *model;  /* further members of the model, JSON without braces, ' for " */
    const char *rest;   /* further members of the file, the same way */
} tiny_tokenizer;

/* Path of the tokenizer.json, written anew. */
const char *tiny_tokenizer_file(const tiny_tokenizer *s);
/* The open tokenizer; a failure fails the test. */
eq_tokenizer *tiny_tokenizer_open(const tiny_tokenizer *s);

/* The tokens of n bytes of text joined by '|'; good until the next call. For tokenizers without a
 * decoder. special: with the template. */
const char *tiny_tokens(const eq_tokenizer *t, const char *text, int64_t n, bool special);
/* Opens, checks the tokens of the text, closes. */
void tiny_check(const tiny_tokenizer *s, const char *text, const char *expected);
#endif

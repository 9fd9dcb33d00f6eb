/* Documents, ids and a tokenizer for tests of windows: the tokenizer gives every byte its own id
 * and puts id 256 in front of a text; every document says by its bytes which it is. */
#ifndef TESTS_TINY_DOCS_H
#define TESTS_TINY_DOCS_H
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/windows.h"
#include "scratch.h"

enum { BOS = 256, VOCAB = 257, DOCS = 60, T = 40 };

extern eq_tokenizer *tok;
extern eq_str notes;                                   /* what was noted, | behind each */
extern volatile int stop;                              /* not 0: asked to stop */
void check_notes(const char *word, const char *word2); /* both were noted */
int make_tokenizer(void **state);                      /* setup and teardown of a group of tests */
int free_tokenizer(void **state);

eq_window_opts opts(int64_t seqlen); /* forgets the notes */
int64_t doc_bytes(int64_t i);
char doc_char(int64_t i, int64_t k);
int32_t doc_id(int64_t i, int64_t k);                                  /* with BOS */
const char *put_some_docs(const char *name, int64_t from, int64_t to); /* NAME.gz is packed */
const char *put_docs(const char *name, int64_t n);
const char *put_npy(const char *name, int64_t rows, int64_t cols, bool is_2d); /* i * 31 % VOCAB */

/* Fail the test where it does not work, or does. */
void calibrate(eq_windows *a, eq_windows *b, const char *path, const char *val, int64_t n_train,
               int64_t n_val, const eq_window_opts *o);
void bad_calibration(const char *path, const char *val, int64_t n_val, const eq_window_opts *o,
                     const char *word, const char *word2);
#endif

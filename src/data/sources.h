/* What a user names as data: files, folders, patterns, standard input, each with a weight or none.
 * Without weights all files are one set, read one behind the other; with weights every one named is
 * a set of its own that gives its share of the windows. */
#ifndef EQ_DATA_SOURCES_H
#define EQ_DATA_SOURCES_H
#include "format/file_kind.h"

typedef struct {
    char *name;    /* in messages: the file's, or the first one's and how many there are */
    eq_file *file; /* [n], in order */
    int64_t n, cap;
    double weight;
    bool documents; /* a file of documents is among them */
} eq_source;

typedef struct {
    eq_source *p;
    int64_t n;
    bool weighted; /* else n == 1 */
} eq_sources;

/* data: one a line, "PATH" or "PATH:WEIGHT" (what a file is called counts first). A folder gives
 * the files below it whose kinds are known, in the order of their paths; a pattern (* ? [) what it
 * fits, likewise; "-" is standard input. Some with and some without weight, a name that gives
 * nothing, a kind that is not known: errors. */
eq_status eq_sources_open(eq_sources *s, const char *data, eq_err *err);
void eq_sources_close(eq_sources *s);
double *eq_sources_weights(const eq_sources *s); /* [n], eq_free it; NULL: memory is out */
void eq_source_free(eq_source *s);
/* Bytes of the text in it, about, for an estimate: files that are not there count nothing, nor does
 * standard input. */
double eq_data_text_bytes(const char *data);
/* Is some of it text, so that a tokenizer is needed? data NULL: no. */
eq_status eq_data_is_text(bool *is_text, const char *data, eq_err *err);
#endif

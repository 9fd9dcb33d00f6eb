/* Text corpora: .txt (.raw) is one text; .jsonl (.ndjson, .json) one document an object, in lines
 * or in an array. All also .gz and .zst. No more than an object or a piece is in memory. */
#ifndef EQ_FORMAT_CORPUS_H
#define EQ_FORMAT_CORPUS_H
#include "format/inflate.h"

typedef struct {
    const char
        *field;     /* of an object that holds the text, with dots through objects; NULL: "text" */
    bool skip_bad;  /* objects without a text are counted and passed over */
    int64_t memory; /* see eq_inflate_open */
} eq_corpus_opts;

typedef struct eq_corpus eq_corpus;
/* What is no text is an error that lists the endings of those that are. o NULL: none. */
eq_status eq_corpus_open(eq_corpus **c, const eq_file *f, const eq_corpus_opts *o, eq_err *err);
bool eq_corpus_is_text(const eq_corpus *c); /* .txt: one long text */
/* The next document of a .jsonl, or the next piece of a .txt (whole characters, line ends as
 * Python's text mode gives them: \r\n and \r are \n; no byte order mark): UTF-8, valid until the
 * next call; *text == NULL at the end. Errors name the line (an object that is none, lacks the
 * field, or whose text is not UTF-8) or the byte (a .txt). */
eq_status eq_corpus_next(eq_corpus *c, const char **text, int64_t *n, eq_err *err);
int64_t eq_corpus_line(const eq_corpus *c); /* of the document last read, from 1 */
/* Objects passed over so far, and what was wrong with the first of them. */
int64_t eq_corpus_skipped(const eq_corpus *c, const char **why);
/* Bytes of the file, compressed as it may be: those read so far, and all. */
void eq_corpus_place(const eq_corpus *c, int64_t *at, int64_t *size);
eq_digest eq_corpus_sum(eq_corpus *c); /* at the end: see eq_inflate_sum */
void eq_corpus_close(eq_corpus *c);    /* NULL allowed */
#endif

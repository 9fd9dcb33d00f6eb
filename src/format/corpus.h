/* Text corpora: .txt (.raw) is one document, .jsonl (.ndjson, .json) one a line (field "text"); all
 * also .gz and .zst; endings in capitals count. No more than a line or a piece is in memory. */
#ifndef EQ_FORMAT_CORPUS_H
#define EQ_FORMAT_CORPUS_H
#include "base/err.h"

typedef struct eq_corpus eq_corpus;
/* A file with another ending is an error that lists the known ones. */
eq_status eq_corpus_open(eq_corpus **c, const char *path, eq_err *err);
bool eq_corpus_is_text(const eq_corpus *c); /* .txt: one long text */
/* The next document of a .jsonl, or the next piece of a .txt (whole characters, line ends as
 * Python's text mode gives them: \r\n and \r are \n): UTF-8, valid until the next call; *text ==
 * NULL at the end. Errors name the line (a .jsonl line that is no object, lacks "text", is not
 * UTF-8) or the byte (a .txt). */
eq_status eq_corpus_next(eq_corpus *c, const char **text, int64_t *n, eq_err *err);
int64_t eq_corpus_line(const eq_corpus *c); /* of the document last read, from 1 */
/* Bytes of the file, compressed as it may be: those read so far, and all. */
void eq_corpus_place(const eq_corpus *c, int64_t *at, int64_t *size);
void eq_corpus_close(eq_corpus *c); /* NULL allowed */
#endif

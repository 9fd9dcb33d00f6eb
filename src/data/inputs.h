/* What data was read, file by file: for a run's identity and its log. */
#ifndef EQ_DATA_INPUTS_H
#define EQ_DATA_INPUTS_H
#include "base/hash.h"
#include "base/json.h"

typedef struct {
    char *name; /* without folders: where a file lies does not matter */
    int64_t bytes, documents, tokens, skipped; /* documents 0: it is one text, or ids */
    eq_digest sum;                             /* of the file as it lies there */
} eq_input;
typedef struct {
    eq_input *p;
    int64_t n;
} eq_inputs;

eq_status eq_inputs_add(eq_inputs *s, const char *path, eq_input **added, eq_err *err);
/* All of another list, behind these, but for a file that is among them: of that name and sum. */
eq_status eq_inputs_append(eq_inputs *s, const eq_inputs *more, eq_err *err);
void eq_inputs_free(eq_inputs *s);
/* {"NAME": {"bytes", "sum"}, ...}, with tokens and so on where they are asked for; the second file
 * of a name is "NAME#2", more than 64 files are one entry. NULL: nothing was read, or memory is
 * out. */
json_t *eq_inputs_json(const eq_inputs *s, bool counts);
#endif

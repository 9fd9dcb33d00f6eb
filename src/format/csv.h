/* Comma-separated values as RFC 4180 and Python's csv module read them: a field that begins with a
 * quote runs to the quote that ends it, a doubled one within is one, commas and line ends within
 * belong to it. A row ends with \n, \r\n or \r; empty lines are no rows. */
#ifndef EQ_FORMAT_CSV_H
#define EQ_FORMAT_CSV_H
#include "base/str.h"

typedef struct {
    int64_t at, n; /* in `text` */
} eq_csv_field;
typedef struct {
    int64_t line;         /* on which it begins, from 1 */
    int64_t first, count; /* its fields */
} eq_csv_row;
typedef struct {
    eq_str text; /* the fields end to end */
    eq_csv_field *fields;
    eq_csv_row *rows;
    int64_t n_fields, n_rows, cap_fields, cap_rows;
} eq_csv;

/* where: the file, for messages. A quote that is never closed is an error. eq_csv_free in either
 * case. */
eq_status eq_csv_parse(eq_csv *c, const char *bytes, int64_t n, const char *where, eq_err *err);
void eq_csv_free(eq_csv *c);
#endif

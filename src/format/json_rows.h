/* The rows of a data set as JSON: an object a line (.jsonl), a list of objects, or what the hub's
 * viewer gives, {"rows": [{"row": {...}}, ...]}; also .gz and .zst. The whole file is in memory. */
#ifndef EQ_FORMAT_JSON_ROWS_H
#define EQ_FORMAT_JSON_ROWS_H
#include <jansson.h>

#include "base/err.h"

/* where: "FILE: line 7" or "FILE: row 7", from 1, for messages. */
typedef eq_status (*eq_json_row_fn)(void *ctx, const json_t *row, const char *where, eq_err *err);
/* Calls fn for every row in order, up to its first error. A file without rows is an error. */
eq_status eq_json_rows(const char *path, eq_json_row_fn fn, void *ctx, eq_err *err);
/* All bytes of a file, unpacked; a 0 stands behind them (eq_free). */
eq_status eq_read_unpacked(const char *path, char **bytes, int64_t *n, eq_err *err);
#endif

/* The JSON objects of a file, one at a time: of lines (blank ones are passed over), or of an array,
 * which may begin on any line and be laid out in any way. No more than one of them is in memory. */
#ifndef EQ_FORMAT_RECORDS_H
#define EQ_FORMAT_RECORDS_H
#include "format/inflate.h"
#include "format/json_scan.h"

typedef struct eq_records eq_records;
eq_status eq_records_open(eq_records **r, const eq_file *f, int64_t memory, eq_err *err);
/* The next one, any value, as it lies in the file; valid until the next call. object->at == NULL:
 * the end. What is no JSON at all is given too, as far as its end can be told. */
eq_status eq_records_next(eq_records *r, eq_jscan *object, eq_err *err);
/* "line 17", or "element 4 (line 17)": of the newest. */
const char *eq_records_where(const eq_records *r);
int64_t eq_records_line(const eq_records *r); /* of its beginning, from 1 */
eq_inflate *eq_records_stream(eq_records *r);
void eq_records_close(eq_records *r); /* NULL allowed */

/* Is the newest record an object? *object then spans it and nothing beside it; else an error that
 * names file and place. */
eq_status eq_records_object(const eq_records *r, eq_jscan *object, eq_err *err);
#endif

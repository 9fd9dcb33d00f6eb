/* ZIP archives, read only: entries stored or deflated, none encrypted, none beyond 4 GiB (no
 * ZIP64). Every size in the file is looked at before it is used. */
#ifndef EQ_FORMAT_ZIP_H
#define EQ_FORMAT_ZIP_H
#include "base/err.h"

typedef struct eq_zip eq_zip;
eq_status eq_zip_open(eq_zip **z, const char *path, eq_err *err);
int64_t eq_zip_count(const eq_zip *z);
const char *eq_zip_name(const eq_zip *z, int64_t i);    /* "data/dev/anatomy_dev.csv" */
int64_t eq_zip_find(const eq_zip *z, const char *name); /* -1: it is not there */
/* The bytes of entry i, whose checksum holds (eq_free them); a 0 stands behind them. */
eq_status eq_zip_read(const eq_zip *z, int64_t i, char **bytes, int64_t *n, eq_err *err);
void eq_zip_close(eq_zip *z); /* NULL allowed */
#endif

/* What every test of files needs: cmocka, a folder that is gone afterwards, and a check that an
 * error is one line that says what it has to. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

/* A folder of this process, removed when the program ends. */
const char *scratch_dir(void);
/* dir/name; good for the next 8 calls. */
const char *scratch_path(const char *name);
/* Writes the file and returns its path. */
const char *scratch_file(const char *name, const void *bytes, int64_t n);
const char *scratch_text(const char *name, const char *text);

/* The error is set, one line, and holds every one of the words (up to the NULL). */
void check_error(const eq_err *err, eq_status status, ...);
#endif

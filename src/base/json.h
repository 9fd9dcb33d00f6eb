/* JSON through jansson, with errors that name file, key, expected and found. */
#ifndef EQ_BASE_JSON_H
#define EQ_BASE_JSON_H
#include <jansson.h>

#include "base/err.h"
#include "base/str.h"

/* Parses n bytes; duplicate keys are errors. `where` names the file in messages.
 * The caller json_decref()s *out. */
eq_status eq_json_parse(json_t **out, const char *bytes, int64_t n, const char *where, eq_err *err);
eq_status eq_json_load(json_t **out, const char *path, eq_err *err);
/* For files in which integers may stand that 64 bits do not hold (model_max_length 1e30 written
 * out): then all numbers of the file are real. */
eq_status eq_json_load_real(json_t **out, const char *path, eq_err *err);

/* Typed look-ups in an object. A missing key or null gives `missing` where one is taken, an error
 * in the _need_ forms; another type, or a number out of [lo, hi], is an error always. */
eq_status eq_json_int(const json_t *o, const char *key, int64_t missing, int64_t lo, int64_t hi,
                      int64_t *out, const char *where, eq_err *err);
eq_status eq_json_need_int(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out,
                           const char *where, eq_err *err);
eq_status eq_json_num(const json_t *o, const char *key, double missing, double *out,
                      const char *where, eq_err *err);
eq_status eq_json_bool(const json_t *o, const char *key, bool missing, bool *out, const char *where,
                       eq_err *err);
/* *out points into o; `missing` may be NULL. */
eq_status eq_json_str(const json_t *o, const char *key, const char *missing, const char **out,
                      const char *where, eq_err *err);
/* NULL where it is missing or null. */
const json_t *eq_json_get(const json_t *o, const char *key);
/* NaN where it is missing or no number. */
double eq_json_real(const json_t *o, const char *key);
const char *eq_json_type(const json_t *v); /* "object", "string", ... */

/* A string value of any bytes: what is not UTF-8 (a path may be) becomes U+FFFD. NULL when memory
 * is out. */
json_t *eq_json_lossy(const char *bytes);

/* An event of any size; takes the object over. */
void eq_json_event(const eq_observer *obs, json_t *o);

/* Compact (indent 0) or indented text; eq_free it; NULL when memory is out. */
char *eq_json_text(const json_t *v, int indent);
/* Writes dir/name, indented by 2 (eq_write_file). */
eq_status eq_json_write(const json_t *v, const char *dir, const char *name, eq_err *err);
#endif

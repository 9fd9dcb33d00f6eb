/* The parts of tokenizer.json are objects with a "type" and known members; what is not known is an
 * error that names the file, the part and the member. */
#ifndef EQ_TEXT_SPEC_H
#define EQ_TEXT_SPEC_H
#include "base/json.h"

/* *type of the object `spec`, the part called `part` ("normalizer", ...). */
eq_status eq_spec_type(const json_t *spec, const char *part, const char **type, const char *where,
                       eq_err *err);
/* Fails when the object has a member that is not among the space-separated `known` ones. */
eq_status eq_spec_known(const json_t *spec, const char *known, const char *where, eq_err *err);
eq_status eq_spec_unsupported(const char *part, const char *type, const char *where, eq_err *err);
/* A string that has to be there; points into spec. */
eq_status eq_spec_text(const json_t *spec, const char *key, const char **s, int64_t *n,
                       const char *where, eq_err *err);
/* A string of exactly one character. */
eq_status eq_spec_char(const json_t *spec, const char *key, const char **s, int64_t *n,
                       const char *where, eq_err *err);
eq_status eq_spec_bool(const json_t *spec, const char *key, bool *out, const char *where,
                       eq_err *err);
/* An array that has to be there. */
eq_status eq_spec_array(const json_t *spec, const char *key, const json_t **out, const char *where,
                        eq_err *err);
#endif

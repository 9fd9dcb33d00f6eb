/* Which scheme each linear of a model has: made from the words of --scheme or from
 * quantization_config, asked for with eq_scheme_at (weights.h). */
#ifndef EQ_MODEL_SCHEMES_H
#define EQ_MODEL_SCHEMES_H
#include "base/json.h"
#include "model/weights.h"

/* `all` for every linear but those that the items of `others` name (eq_quantize_opts.scheme; NULL:
 * none). An item that names no linear is an error. eq_schemes_free it. */
eq_status eq_schemes_make(eq_schemes *t, const eq_config *c, eq_scheme all, const char *others,
                          eq_err *err);
/* The same from GPTQModel's "dynamic": {"+:REGEX": {"bits": .., "group_size": ..}}, matched from
 * the beginning of a linear's name; the first that fits counts. */
eq_status eq_schemes_from_dynamic(eq_schemes *t, const eq_config *c, eq_scheme all,
                                  const json_t *dynamic, const char *where, eq_err *err);
/* From what a function says of each linear by its name in the model's files. */
typedef eq_status (*eq_scheme_fn)(void *ctx, const char *name, eq_scheme *s, eq_err *err);
eq_status eq_schemes_by_name(eq_schemes *t, const eq_config *c, eq_scheme_fn fn, void *ctx,
                             eq_err *err);
/* Does the regex match from the beginning of the name, as Python's re.match does? */
eq_status eq_schemes_fits(bool *yes, const char *regex, const char *name, const char *where,
                          eq_err *err);
/* "dynamic" for these; NULL where all are alike. No linear fits two of its patterns, so a reader
 * need not keep their order. */
json_t *eq_schemes_dynamic(const eq_schemes *t, const eq_config *c);
eq_status eq_schemes_copy(eq_schemes *t, const eq_schemes *from, const eq_config *c, eq_err *err);
void eq_schemes_free(eq_schemes *t);

/* Can the number format have these shapes? EQ_EINPUT names the first linear that it cannot. */
eq_status eq_schemes_check(const eq_schemes *t, const eq_config *c, eq_err *err);
/* In the words of --scheme: "w2g64,down_proj=w4g64". */
void eq_schemes_words(eq_str *out, const eq_schemes *t, const eq_config *c);

/* Sums over all linears of the model. */
typedef struct {
    int64_t words;               /* u32 of packed integers */
    int64_t groups, most_groups; /* steps; of a block at most */
    double bits;                 /* N + (N + 16) / g a weight (paper, appendix E), of all weights */
} eq_schemes_size;
eq_schemes_size eq_schemes_count(const eq_schemes *t, const eq_config *c);
#endif

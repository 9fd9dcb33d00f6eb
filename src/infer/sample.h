/* The next token from logits: penalty for what was there, temperature, then the most likely ones by
 * number, by their sum, and by their share of the most likely one's, in this order, as transformers
 * has it. The same seed gives the same tokens. */
#ifndef EQ_INFER_SAMPLE_H
#define EQ_INFER_SAMPLE_H
#include "base/err.h"

typedef struct eq_sampler eq_sampler;

/* EQ_EINPUT names the setting that is out of range. V: tokens of the vocabulary. */
eq_status eq_sampler_new(eq_sampler **s, const eq_sampling *o, int64_t V, eq_err *err);
void eq_sampler_free(eq_sampler *s);
/* n more tokens were there; the count of draws starts again at 0 with eq_sampler_forget. */
void eq_sampler_saw(eq_sampler *s, const int32_t *ids, int64_t n);
void eq_sampler_forget(eq_sampler *s);
/* Overwrites logits[V]. EQ_EINPUT: they are not finite. */
eq_status eq_sampler_next(eq_sampler *s, float *logits, int32_t *id, eq_err *err);
#endif

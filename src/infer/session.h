/* A model and one sequence of tokens that grows, with its keys and values kept: full precision or
 * packed folders alike. Feed tokens, look at logits, go back to an earlier place so that several
 * continuations share what they have in common.
 *
 *     eq_session *s;
 *     EQ_TRY(eq_session_open(&s, be, src, &compute, 2048, err));
 *     EQ_TRY(eq_session_feed(s, ids, n, NULL, NULL, err));
 *     EQ_TRY(eq_session_logits(s, logits, err));          // of what comes next
 *     eq_session_truncate(s, shared);                     // ids[0 .. shared) stay
 *
 * What a token means follows from the text so far alone: where longrope turns long texts otherwise
 * than short ones, what is there is computed again once, when it outgrows them.
 *
 * compute->precision decides what is rounded: fp32 computes with exactly the model's numbers, bf16
 * with bf16 activations, keys and values, and on CPUs with 8-bit activations in front of packed
 * linears and the head (lm_resident.h). Weights that are not finite are refused when it opens. */
#ifndef EQ_INFER_SESSION_H
#define EQ_INFER_SESSION_H
#include "backend/backend.h"
#include "model/weights.h"

typedef struct eq_session eq_session;

/* context: tokens that fit; 0: as many as the model was made for. More than that is refused. */
eq_status eq_session_open(eq_session **s, eq_backend *be, const eq_weights *src,
                          const eq_compute_opts *compute, int64_t context, eq_err *err);
void eq_session_close(eq_session *s);

/* Logits F32 [V] of position `at`: what follows the token there. */
typedef void (*eq_logits_fn)(void *ctx, int64_t at, const float *logits);
/* Appends n >= 1 tokens, at most `context` in all. `each` (NULL: not wanted) gets the logits of
 * every one of them, in order. After an error the session is where it was. */
eq_status eq_session_feed(eq_session *s, const int32_t *ids, int64_t n, eq_logits_fn each,
                          void *ctx, eq_err *err);
/* Logits F32 [V] of the last token that was fed, after a feed. */
eq_status eq_session_logits(eq_session *s, float *logits, eq_err *err);
/* Forgets all tokens from place n on. Logits come after the next feed. */
void eq_session_truncate(eq_session *s, int64_t n);
int64_t eq_session_at(const eq_session *s);      /* tokens it holds */
int64_t eq_session_context(const eq_session *s); /* tokens that fit */
#endif

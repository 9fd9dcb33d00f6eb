/* One measurement of a session: reading a prompt and what follows. */
#ifndef EQ_BENCH_GENERATE_H
#define EQ_BENCH_GENERATE_H
#include "infer/session.h"

typedef struct {
    double prompt, tokens;         /* seconds of all of them */
    double prompt_cpu, tokens_cpu; /* of the processors, which others' work makes longer less */
} eq_bench_times;

/* From an empty session, with any token ids below V: `prompt` tokens at once, then logits and the
 * next token `tokens` times. */
eq_status eq_bench_session(eq_session *s, int64_t V, int prompt, int tokens, eq_bench_times *t,
                           eq_err *err);
#endif

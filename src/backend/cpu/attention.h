/* What the forward and the backward pass of attention share: block sizes, the causal window, and
 * where a head's rows begin. */
#ifndef EQ_BACKEND_CPU_ATTENTION_H
#define EQ_BACKEND_CPU_ATTENTION_H
#include "backend/cpu/cpu.h"

typedef struct {
    int64_t queries, keys; /* rows and columns of a block of scores */
} eq_attn_block;

static inline eq_attn_block eq_attn_blocks(const eq_attn_shape *s) {
    return (eq_attn_block){eq_least(256, s->T), eq_least(512, s->T)};
}

/* Query t sees the keys from here to t. */
static inline int64_t eq_attn_first_key(const eq_attn_shape *s, int64_t t) {
    return s->window > 0 && t >= s->window ? t - s->window + 1 : 0;
}
/* Where the blocks of keys of the queries from q0 on begin: rounded down, for fewer block shapes.
 */
static inline int64_t eq_attn_first_block(const eq_attn_shape *s, int64_t q0) {
    return eq_attn_first_key(s, q0) / 64 * 64;
}

/* Head h of token t of sequence b in a tensor of `heads` heads. */
static inline const void *eq_attn_at(eq_view x, const eq_attn_shape *s, int64_t b, int64_t t,
                                     int64_t heads, int64_t h) {
    return (const char *)x.p + ((b * s->T + t) * heads + h) * s->HD * eq_dtype_size(x.dt);
}

/* The next `bytes` of a thread's scratch; with base NULL it only counts. */
static inline void *eq_attn_take(char *base, int64_t *at, int64_t bytes) {
    char *p = base ? base + *at : NULL;
    *at += eq_parts(bytes, 64) * 64;
    return p;
}
#endif

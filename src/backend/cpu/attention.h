/* What the forward and the backward pass of attention share: block sizes, the causal window, and
 * where a head's rows begin. */
#ifndef EQ_BACKEND_CPU_ATTENTION_H
#define EQ_BACKEND_CPU_ATTENTION_H
#include <string.h>

#include "backend/cpu/cpu.h"

typedef struct {
    int64_t queries, keys; /* rows and columns of a block of scores */
} eq_attn_block;

/* Few queries a block: above the diagonal it computes scores that nobody sees. */
static inline eq_attn_block eq_attn_blocks(const eq_attn_shape *s) {
    return (eq_attn_block){eq_least(64, s->T), eq_least(256, s->T)};
}

/* Keys of a sequence. */
static inline int64_t eq_attn_keys(const eq_attn_shape *s) { return s->past + s->T; }
/* A query at place t sees the keys from here to t. */
static inline int64_t eq_attn_first_key(const eq_attn_shape *s, int64_t t) {
    return s->window > 0 && t >= s->window ? t - s->window + 1 : 0;
}
/* Where the blocks of keys of the queries from place q0 on begin: rounded down, for fewer block
 * shapes. */
static inline int64_t eq_attn_first_block(const eq_attn_shape *s, int64_t q0) {
    return eq_attn_first_key(s, q0) / 64 * 64;
}

/* Head h of tokens t0 .. t0 + n of sequence b, from a tensor of `heads` heads into rows of HD: for
 * dense operands oneDNN has kernels more than twice as fast at these sizes. */
static inline void eq_attn_gather(void *to, eq_view x, const eq_attn_shape *s, int64_t b,
                                  int64_t t0, int64_t n, int64_t heads, int64_t h) {
    int64_t size = eq_dtype_size(x.dt), row = s->HD * size;
    const char *from = (const char *)x.p + ((b * s->T + t0) * heads + h) * row;
    for (int64_t r = 0; r < n; r++)
        memcpy((char *)to + r * row, from + r * heads * row, (size_t)row);
}

/* The same of all keys or values of sequence b. */
static inline void eq_attn_gather_keys(void *to, eq_view x, const eq_attn_shape *s, int64_t b,
                                       int64_t h) {
    eq_attn_shape all = *s;
    all.T = eq_attn_keys(s);
    eq_attn_gather(to, x, &all, b, 0, all.T, s->NKV, h);
}

/* y[M, N] (+)= a[M, K] b, dense; b is [N, K] if b_t, else [K, N]. */
static inline void eq_attn_product(const eq_cpu *c, int thread, float *y, const void *a,
                                   const void *b, int64_t M, int64_t N, int64_t K, eq_dtype in,
                                   bool b_t, bool acc) {
    eq_product p = {y, a, b, M, N, K, N, K, b_t ? K : N, in, EQ_F32, b_t, acc};
    eq_gemm_run(c->gemm, thread, &p);
}

/* The next `bytes` of a thread's scratch; with base NULL it only counts. */
static inline void *eq_attn_take(char *base, int64_t *at, int64_t bytes) {
    char *p = base ? base + *at : NULL;
    *at += eq_parts(bytes, 64) * 64;
    return p;
}

/* Forward for a few queries a sequence, as generation has them: no products by oneDNN. */
enum { EQ_ATTN_FEW = 8 };
void eq_attn_fwd_few(eq_backend *be, eq_mut o, eq_mut lse, eq_view q, eq_view k, eq_view v,
                     const eq_attn_shape *s);
#endif

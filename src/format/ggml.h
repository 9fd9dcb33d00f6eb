/* Types of tensors in GGUF files: blocks of weights with fp16 steps (FORMATS, "GGUF", says layouts
 * and values). Rows of codes go in where a type holds every product (q - z) s exactly. */
#ifndef EQ_FORMAT_GGML_H
#define EQ_FORMAT_GGML_H
#include "base/num.h"

#include <stdbool.h>

/* X(id, number in files, name, weights of a block, bytes of a block), the smallest first; those
 * behind F32 are read and not written */
#define EQ_GGML_TYPES(X) \
    X(Q2_0, 42, "q2_0", 64, 18) \
    X(Q2_K, 10, "q2_k", 256, 84) \
    X(Q3_K, 11, "q3_k", 256, 110) \
    X(Q4_0, 2, "q4_0", 32, 18) \
    X(Q4_K, 12, "q4_k", 256, 144) \
    X(Q4_1, 3, "q4_1", 32, 20) \
    X(Q5_0, 6, "q5_0", 32, 22) \
    X(Q8_0, 8, "q8_0", 32, 34) \
    X(F16, 1, "f16", 1, 2) \
    X(BF16, 30, "bf16", 1, 2) \
    X(F32, 0, "f32", 1, 4) \
    X(Q5_1, 7, "q5_1", 32, 24) \
    X(Q5_K, 13, "q5_k", 256, 176) \
    X(Q6_K, 14, "q6_k", 256, 210)
typedef enum {
#define EQ_ID(id, ...) EQ_GGML_##id,
    EQ_GGML_TYPES(EQ_ID)
#undef EQ_ID
        EQ_GGML_COUNT
} eq_ggml;
typedef struct {
    const char *name;
    int number;
    int64_t block, bytes;
} eq_ggml_spec;
eq_ggml_spec eq_ggml_of(eq_ggml t);
bool eq_ggml_find(eq_ggml *t, const char *name);
static inline int64_t eq_ggml_row_bytes(eq_ggml t, int64_t n) {
    return n / eq_ggml_of(t).block * eq_ggml_of(t).bytes;
}

/* A row of a linear: value i is (q[i] - z[i / G]) s[i / G]. */
typedef struct {
    const uint8_t *q;
    const float *s, *z; /* whole z */
    int64_t n, G;
    int bits;
} eq_code_row;

/* Writes the row as blocks, n % block == 0. false: the type does not hold it exactly, and what is
 * in `out` means nothing. lossy: the nearest that its rule finds, true unless a number is too large
 * for fp16. */
bool eq_ggml_pack(uint8_t *out, eq_ggml t, const eq_code_row *r, bool lossy);
/* The other way round: the bits and group size of a type's codes, false where it has none. */
bool eq_ggml_code_shape(eq_ggml t, int *bits, int64_t *group);
/* n weights as codes [n], steps above 0 and zero points [n / group]; n % block == 0. Zero points
 * are real numbers where the type has mins of its own. */
void eq_ggml_codes(uint8_t *q, float *s, float *z, eq_ggml t, const uint8_t *in, int64_t n);
/* Any numbers as Q8_0, to nearest (largest |x| / 127 is the step), n % 32 == 0. */
void eq_ggml_q8_0(uint8_t *out, const float *x, int64_t n);
/* What a reader makes of n weights, n % block == 0. */
void eq_ggml_values(float *out, eq_ggml t, const uint8_t *in, int64_t n);
#endif

/* The only place that shifts bits: rows of N-bit integers (our own layout), GPTQ's layout and what
 * other tools write (pack_foreign.c).
 * Our rows: u32 [O, eq_pack_words(I, bits)], row o is the little-endian bit stream of
 * w_int[o, 0 .. I), its last word filled up with zeros. */
#ifndef EQ_QUANT_PACK_H
#define EQ_QUANT_PACK_H
#include "base/err.h"

bool eq_bits_known(int bits); /* 2, 3, 4, 8 */
/* Words of `n` values. */
static inline int64_t eq_pack_words(int64_t n, int bits) {
    return n / 32 * bits + (n % 32 * bits + 31) / 32;
}

/* q[n] (values < 2^bits) <-> words. */
void eq_pack_row(uint32_t *words, const uint8_t *q, int64_t n, int bits);
void eq_unpack_row(uint8_t *q, const uint32_t *words, int64_t n, int bits);

/* qweight i32 [I * bits / 32, O]  <->  rows u32 [O, I * bits / 32] (FORMATS, "GPTQ"), I % 32 == 0.
 * Threaded. */
void eq_gptq_from_rows(int32_t *qweight, const uint32_t *rows, int64_t O, int64_t I, int bits);
void eq_rows_from_gptq(uint32_t *rows, const int32_t *qweight, int64_t O, int64_t I, int bits);
/* qzeros i32 [NG, O * bits / 32] <-> z u8 [O, NG]; O % 32 == 0 (for 2, 4, 8 bits O % (32/bits)). */
void eq_gptq_zeros(int32_t *qzeros, const uint8_t *z, int64_t O, int64_t NG, int bits);
void eq_zeros_from_gptq(uint8_t *z, const int32_t *qzeros, int64_t O, int64_t NG, int bits);

/* AWQ, 4 bits, O % 8 == 0: qweight i32 [I, O / 8] -> rows, qzeros i32 [NG, O / 8] -> z [O, NG]. */
void eq_rows_from_awq(uint32_t *rows, const int32_t *qweight, int64_t O, int64_t I);
void eq_zeros_from_awq(uint8_t *z, const int32_t *qzeros, int64_t O, int64_t NG);
/* compressed-tensors: i32 [ceil(O * bits / 32), NG], a stream along the outputs for each group. */
void eq_zeros_from_streams(uint8_t *z, const int32_t *words, int64_t O, int64_t NG, int bits);
/* Of 2, 4 or 8 bits that were subtracted from as whole words (GPTQModel's version 1): one is added
 * to each 32-bit word's fields, carries included. */
void eq_zeros_plus_one(uint8_t *z, int64_t O, int64_t NG, int bits);

/* Can a linear of this shape be written as GPTQ tensors at these bits? Else the reason, static. */
const char *eq_gptq_refuses(int64_t O, int64_t I, int64_t G, int bits);
#endif

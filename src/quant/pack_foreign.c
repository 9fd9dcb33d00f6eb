/* Packed integers of other tools' layouts to ours: AWQ's words of eight outputs in an order of
 * their own, and compressed-tensors' zero points (FORMATS, "AWQ, compressed-tensors"). What
 * compressed- tensors calls weight_packed are our rows already. */
#include <string.h>

#include "base/par.h"
#include "quant/pack.h"

/* Column c of a word's eight lies in nibble awq_nibble[c]. */
enum { AWQ_COLS = 8, WORDS = 8, PIECE = 256 };
static const int awq_nibble[AWQ_COLS] = {0, 4, 1, 5, 2, 6, 3, 7};

typedef struct {
    uint32_t *rows;
    const uint32_t *words;
    int64_t O, I;
} awq_job;

/* PIECE inputs of WORDS words' outputs: a line of memory is read whole, and what is packed lies in
 * the cache. */
static void awq_item(void *ctx, int64_t item, int thread) {
    (void)thread;
    const awq_job *j = ctx;
    int64_t across = j->O / AWQ_COLS, pieces = (j->I + PIECE - 1) / PIECE;
    int64_t c0 = item / pieces * WORDS, i0 = item % pieces * PIECE;
    int64_t c1 = c0 + WORDS < across ? c0 + WORDS : across, n = j->I - i0;
    uint8_t codes[WORDS * AWQ_COLS][PIECE];
    if (n > PIECE) n = PIECE;
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = c0; c < c1; c++) {
            uint32_t w = j->words[(i0 + i) * across + c];
            for (int k = 0; k < AWQ_COLS; k++)
                codes[(c - c0) * AWQ_COLS + k][i] = (uint8_t)(w >> 4 * awq_nibble[k] & 15u);
        }
    for (int64_t o = c0 * AWQ_COLS; o < c1 * AWQ_COLS; o++)
        eq_pack_row(j->rows + o * eq_pack_words(j->I, 4) + eq_pack_words(i0, 4),
                    codes[o - c0 * AWQ_COLS], n, 4);
}

void eq_rows_from_awq(uint32_t *rows, const int32_t *qweight, int64_t O, int64_t I) {
    awq_job j = {rows, (const uint32_t *)qweight, O, I};
    int64_t tiles = (O / AWQ_COLS + WORDS - 1) / WORDS;
    eq_par_for(tiles * ((I + PIECE - 1) / PIECE), awq_item, &j);
}

void eq_zeros_from_awq(uint8_t *z, const int32_t *qzeros, int64_t O, int64_t NG) {
    for (int64_t g = 0; g < NG; g++)
        for (int64_t o = 0; o < O; o++) {
            uint32_t w = ((const uint32_t *)qzeros)[(g * O + o) / AWQ_COLS];
            z[o * NG + g] = (uint8_t)(w >> 4 * awq_nibble[o % AWQ_COLS] & 15u);
        }
}

void eq_zeros_from_streams(uint8_t *z, const int32_t *words, int64_t O, int64_t NG, int bits) {
    for (int64_t g = 0; g < NG; g++)
        for (int64_t o = 0; o < O; o += 32) {
            int64_t m = O - o < 32 ? O - o : 32, n = (m * bits + 31) / 32;
            uint8_t q[32];
            uint32_t w[8] = {0};
            for (int64_t k = 0; k < n; k++)
                w[k] = ((const uint32_t *)words)[(o / 32 * bits + k) * NG + g];
            eq_unpack_row(q, w, 32, bits);
            for (int64_t k = 0; k < m; k++) z[(o + k) * NG + g] = q[k];
        }
}

/* Fields of a word are added to as one number: a field that runs over takes its carry along. */
void eq_zeros_plus_one(uint8_t *z, int64_t O, int64_t NG, int bits) {
    for (int64_t g = 0; g < NG; g++)
        for (int64_t o = 0, carry = 0; o < O; o++) {
            if (o % (32 / bits) == 0) carry = 0;
            int64_t v = z[o * NG + g] + 1 + carry;
            carry = v >= 1 << bits;
            z[o * NG + g] = (uint8_t)(carry ? v - (1 << bits) : v);
        }
}

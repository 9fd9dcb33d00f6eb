/* Packed integers. Eight N-bit values make N bytes of the little-endian stream for every N, so one
 * pair of fold and spread steps serves all widths, 3 bits included (FORMATS, "GPTQ").
 * Invariant: a row's stream and GPTQ's column hold the same words, one is the other transposed. */
#include "quant/pack.h"

#include <string.h>

#include "base/par.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are moved as bytes");

enum { LANES = 8, LINE = 16, ROWS = 512, COLS = 64 }; /* values at once; words of a line; an item */

bool eq_bits_known(int bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }

/* Every 64 / width-th part of the result holds `width` set bits at its low end. */
static uint64_t low_bits(int part, int width) {
    uint64_t one = width == 64 ? ~0ull : (1ull << width) - 1, all = 0;
    for (int at = 0; at < 64; at += part) all |= one << at;
    return all;
}

/* `bits` must be a constant where these are inlined: a copy of a known size is one move. */
static inline void pack_n(uint32_t *words, const uint8_t *q, int64_t n, const int bits) {
    const uint64_t m16 = low_bits(16, 2 * bits), m32 = low_bits(32, 4 * bits);
    char *out = (char *)words;
    for (int64_t i = 0; i < n; i += LANES, out += bits) {
        uint64_t v;
        memcpy(&v, q + i, LANES);
        v = (v | v >> (8 - bits)) & m16;
        v = (v | v >> (16 - 2 * bits)) & m32;
        v |= v >> (32 - 4 * bits);
        memcpy(out, &v, (size_t)bits);
    }
}

static inline void unpack_n(uint8_t *q, const uint32_t *words, int64_t n, const int bits) {
    const uint64_t m32 = low_bits(32, 4 * bits), m16 = low_bits(16, 2 * bits),
                   m8 = low_bits(8, bits);
    const uint8_t *in = (const uint8_t *)words;
    for (int64_t i = 0; i < n; i += LANES, in += bits) {
        uint64_t v = 0;
        for (int b = 0; b < bits; b++) v |= (uint64_t)in[b] << 8 * b;
        v = (v | v << (32 - 4 * bits)) & m32;
        v = (v | v << (16 - 2 * bits)) & m16;
        v = (v | v << (8 - bits)) & m8;
        memcpy(q + i, &v, LANES);
    }
}

#define EQ_BY_WIDTH(f, to, from) \
    switch (bits) { \
    case 2: \
        f(to, from, n, 2); \
        break; \
    case 3: \
        f(to, from, n, 3); \
        break; \
    case 4: \
        f(to, from, n, 4); \
        break; \
    default: \
        f(to, from, n, 8); \
    }

static void pack_words(uint32_t *words, const uint8_t *q, int64_t n, int bits) {
    EQ_BY_WIDTH(pack_n, words, q)
}
static void unpack_words(uint8_t *q, const uint32_t *words, int64_t n, int bits) {
    EQ_BY_WIDTH(unpack_n, q, words)
}
#undef EQ_BY_WIDTH

/* What does not fill 32 values goes through a buffer that does. */
void eq_pack_row(uint32_t *words, const uint8_t *q, int64_t n, int bits) {
    int64_t whole = n / 32 * 32;
    pack_words(words, q, whole, bits);
    if (whole == n) return;
    uint8_t rest[32] = {0};
    uint32_t w[8];
    memcpy(rest, q + whole, (size_t)(n - whole));
    pack_words(w, rest, 32, bits);
    memcpy(words + whole / 32 * bits, w, (size_t)eq_pack_words(n - whole, bits) * sizeof *w);
}
void eq_unpack_row(uint8_t *q, const uint32_t *words, int64_t n, int bits) {
    int64_t whole = n / 32 * 32;
    unpack_words(q, words, whole, bits);
    if (whole == n) return;
    uint8_t rest[32];
    uint32_t w[8] = {0};
    memcpy(w, words + whole / 32 * bits, (size_t)eq_pack_words(n - whole, bits) * sizeof *w);
    unpack_words(rest, w, 32, bits);
    memcpy(q + whole, rest, (size_t)(n - whole));
}

/* ---- rows to columns and back ---------------------------------------------------------------- */

typedef uint32_t quad __attribute__((vector_size(16)));

/* Four words of four rows; from plain loops compilers make scalar moves. */
static inline void turn(uint32_t *to, int64_t ldt, const uint32_t *from, int64_t ldf) {
    quad a, b, c, d;
    memcpy(&a, from, sizeof a), memcpy(&b, from + ldf, sizeof b);
    memcpy(&c, from + 2 * ldf, sizeof c), memcpy(&d, from + 3 * ldf, sizeof d);
    quad ac = __builtin_shufflevector(a, c, 0, 4, 1, 5),
         AC = __builtin_shufflevector(a, c, 2, 6, 3, 7);
    quad bd = __builtin_shufflevector(b, d, 0, 4, 1, 5),
         BD = __builtin_shufflevector(b, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(ac, bd, 0, 4, 1, 5),
    b = __builtin_shufflevector(ac, bd, 2, 6, 3, 7);
    c = __builtin_shufflevector(AC, BD, 0, 4, 1, 5),
    d = __builtin_shufflevector(AC, BD, 2, 6, 3, 7);
    memcpy(to, &a, sizeof a), memcpy(to + ldt, &b, sizeof b);
    memcpy(to + 2 * ldt, &c, sizeof c), memcpy(to + 3 * ldt, &d, sizeof d);
}

typedef struct {
    uint32_t *to;
    const uint32_t *from;
    int64_t rows, cols; /* of `from` */
} transpose_job;

/* At most LINE rows and columns. A line of `to` is finished before the next is begun: rows of
 * models lie powers of two apart, so that only a few of their lines fit into the cache at a
 * time. */
static void transpose_lines(const transpose_job *j, int64_t r0, int64_t r1, int64_t c0,
                            int64_t c1) {
    for (int64_t c = c0; c < c1; c += 4)
        for (int64_t r = r0; r < r1; r += 4) {
            if (c + 4 <= c1 && r + 4 <= r1) {
                turn(j->to + c * j->rows + r, j->rows, j->from + r * j->cols + c, j->cols);
                continue;
            }
            for (int64_t y = c; y < c1 && y < c + 4; y++)
                for (int64_t x = r; x < r1 && x < r + 4; x++)
                    j->to[y * j->rows + x] = j->from[x * j->cols + y];
        }
}

static void transpose_item(void *ctx, int64_t item, int thread) {
    (void)thread;
    const transpose_job *j = ctx;
    int64_t across = (j->cols + COLS - 1) / COLS, r = item / across * ROWS,
            c = item % across * COLS;
    int64_t rows = r + ROWS < j->rows ? r + ROWS : j->rows;
    int64_t cols = c + COLS < j->cols ? c + COLS : j->cols;
    for (int64_t c0 = c; c0 < cols; c0 += LINE)
        for (int64_t r0 = r; r0 < rows; r0 += LINE)
            transpose_lines(j, r0, r0 + LINE < rows ? r0 + LINE : rows, c0,
                            c0 + LINE < cols ? c0 + LINE : cols);
}

static void transpose(uint32_t *to, const uint32_t *from, int64_t rows, int64_t cols) {
    transpose_job j = {to, from, rows, cols};
    eq_par_for((rows + ROWS - 1) / ROWS * ((cols + COLS - 1) / COLS), transpose_item, &j);
}

void eq_gptq_from_rows(int32_t *qweight, const uint32_t *rows, int64_t O, int64_t I, int bits) {
    transpose((uint32_t *)qweight, rows, O, eq_pack_words(I, bits));
}
void eq_rows_from_gptq(uint32_t *rows, const int32_t *qweight, int64_t O, int64_t I, int bits) {
    transpose(rows, (const uint32_t *)qweight, eq_pack_words(I, bits), O);
}

typedef struct {
    int32_t *words;
    uint8_t *z;
    int64_t O, NG;
    int bits;
} zeros_job;

/* Both directions walk 32 outputs at a time; the last piece may be shorter, in whole words. */
static void pack_zeros_item(void *ctx, int64_t g, int thread) {
    (void)thread;
    const zeros_job *j = ctx;
    int32_t *row = j->words + g * (j->O * j->bits / 32);
    for (int64_t o = 0; o < j->O; o += 32) {
        int64_t m = j->O - o < 32 ? j->O - o : 32;
        uint8_t q[32] = {0};
        uint32_t w[8];
        for (int64_t k = 0; k < m; k++) q[k] = j->z[(o + k) * j->NG + g];
        eq_pack_row(w, q, 32, j->bits);
        memcpy(row + o * j->bits / 32, w, (size_t)(m * j->bits / 32 * 4));
    }
}

static void unpack_zeros_item(void *ctx, int64_t g, int thread) {
    (void)thread;
    const zeros_job *j = ctx;
    const int32_t *row = j->words + g * (j->O * j->bits / 32);
    for (int64_t o = 0; o < j->O; o += 32) {
        int64_t m = j->O - o < 32 ? j->O - o : 32;
        uint8_t q[32];
        uint32_t w[8] = {0};
        memcpy(w, row + o * j->bits / 32, (size_t)(m * j->bits / 32 * 4));
        eq_unpack_row(q, w, 32, j->bits);
        for (int64_t k = 0; k < m; k++) j->z[(o + k) * j->NG + g] = q[k];
    }
}

void eq_gptq_zeros(int32_t *qzeros, const uint8_t *z, int64_t O, int64_t NG, int bits) {
    zeros_job j = {qzeros, (uint8_t *)(uintptr_t)z, O, NG, bits};
    eq_par_for(NG, pack_zeros_item, &j);
}
void eq_zeros_from_gptq(uint8_t *z, const int32_t *qzeros, int64_t O, int64_t NG, int bits) {
    zeros_job j = {(int32_t *)(uintptr_t)qzeros, z, O, NG, bits};
    eq_par_for(NG, unpack_zeros_item, &j);
}

const char *eq_gptq_refuses(int64_t O, int64_t I, int64_t G, int bits) {
    if (!eq_bits_known(bits)) return "GPTQ holds 2, 3, 4 or 8 bits";
    if (G <= 0 || I % G) return "the group size does not divide the inputs";
    if (I % 32) return "the inputs are not a multiple of 32";
    if (bits == 3 && O % 32)
        return "the outputs are not a multiple of 32, as 3-bit zero points need";
    if (bits != 3 && O % (32 / bits)) return "the outputs do not fill whole words of zero points";
    return NULL;
}

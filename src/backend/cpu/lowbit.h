/* Products of packed weights: the layout that prepare_q makes and the kernels that read it.
 *
 * Sixteen rows of weights are a tile. Of a run of 32 inputs the tile holds bits * 64 bytes: vectors
 * of 64 in which row r owns bytes 4r .. 4r + 3, one for each of four inputs in turn ("a step":
 * inputs 4t .. 4t + 3 of the run). A byte holds the codes of several steps: at 2 bits those of four
 * steps, at 4 bits of two, at 8 of one; at 3 bits the low two bits lie as at 2 bits and a third
 * vector has bit t of step t. So a vector of 32-bit lanes has a row in each lane: the rows share
 * the activation, its sum and its step, and no lane is ever added to another one. Steps and zero
 * points: [I / G][16] of a tile. Rows behind the last whole tile stay as they were. */
#ifndef EQ_BACKEND_CPU_LOWBIT_H
#define EQ_BACKEND_CPU_LOWBIT_H
#include "backend/backend.h"
#include "backend/cpu/detect.h"

enum { EQ_TILE = 16, EQ_RUN = 32, EQ_BLOCK_ROWS = 8 };

/* Is a linear of this shape laid out in tiles? Sums of codes times zero points stay in 32 bits. */
static inline bool eq_lowbit_takes(const eq_qshape *q) {
    return q->G % EQ_RUN == 0 && q->G <= 1 << 16;
}
/* Rows of it that are. */
static inline int64_t eq_lowbit_rows(const eq_qshape *q) {
    return eq_lowbit_takes(q) ? q->O / EQ_TILE * EQ_TILE : 0;
}

/* A tile, and rows of activations that meet it: as codes of 8 bits, or in fp32. Codes lie in the
 * order in which they are read: of every four inputs those of all rows. */
typedef struct {
    const uint8_t *q;
    const uint16_t *s; /* fp16 */
    const uint8_t *z;
    int64_t I, G;
    const int8_t *x8;    /* [I / 4, rows, 4] */
    const float *step;   /* [I / G, rows] */
    const int32_t *sum8; /* [I / G, rows]: of the codes of a group */
    const float *x;      /* [rows, I] */
} eq_tile_in;

/* y [rows][16] of EQ_ONE row, of one and the two tiles that begin there (EQ_PAIR, y [32]), or of
 * EQ_BLOCK_ROWS rows. */
typedef void (*eq_tile_fn)(float *y, const eq_tile_in *t);
enum { EQ_ONE, EQ_PAIR, EQ_BLOCK, EQ_TILE_KINDS };
typedef struct {
    const char *name;
    eq_tile_fn act8[4][EQ_TILE_KINDS], exact[4][EQ_TILE_KINDS]; /* 2, 3, 4, 8 bits */
} eq_lowbit;
static inline int eq_lowbit_at(int bits) { return bits == 8 ? 3 : bits - 2; }

extern const eq_lowbit eq_lowbit_sse2, eq_lowbit_avx2, eq_lowbit_avxvnni, eq_lowbit_avx512vnni;
/* The best of them within `level`; those with VNNI only where `mask` does not ask for less. */
const eq_lowbit *eq_lowbit_choose(eq_cpu_level level, const char *mask);

/* The row words of a tile (eq_qshape's rows, bits * I / 32 words each) into its vectors, and its
 * s and z; `to` and `from` do not overlap. */
void eq_lowbit_lay(uint8_t *to, const uint32_t *from, int64_t I, int bits);
#endif

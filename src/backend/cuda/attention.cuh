/* What the flash kernels of attention share: their arguments, tiles in shared memory and the two
 * products that every step is made of.
 *
 * A tile's row is HD elements and 16 bytes of padding: then rows lie an odd number of 16-byte
 * pieces apart (HD is a multiple of 16), so that the eight rows of an 8 x 8 matrix fall on all 32
 * banks, and every address within a tile is a base of the lane and a constant.
 * Invariant: rows behind the end of the sequence are zeros in a tile, never what memory holds. */
#ifndef EQ_BACKEND_CUDA_ATTENTION_CUH
#define EQ_BACKEND_CUDA_ATTENTION_CUH
#include "backend/cuda/mma.cuh"

#define EQ_LOG2E 1.4426950408889634f

/* Everything a kernel of attention reads and writes; a pass leaves out what it does not use. */
struct eq_attn_args {
    const void *q, *k, *v, *o_in, *do_;
    void *o, *dq, *dk, *dv;
    float *lse, *delta; /* [B, NH, T] */
    int T, NH, NKV, HD, window;
    const int32_t *at; /* keys before the first query's own; NULL: 0 */
    int room;          /* keys of a sequence at most, for the host: at + T of them count */
    float scale, cap;  /* cap: cap tanh(s / cap) is the score, 0: s itself */
    int tiles;         /* of one head: the parts that blocks take */
    int section;       /* heads that run at the same time, see eq_attn_place */
    int heads;         /* of all sequences */
};

/* Which head (of all sequences) and which tile a block has. Tiles of one head cost differently, so
 * the dear ones (rank 0) go first; and heads go by sections whose keys and values fit into the L2
 * cache together. */
struct eq_attn_place {
    int head, rank;
};
EQ_INLINE eq_attn_place eq_attn_placed(const eq_attn_args &a, int block) {
    int each = a.section * a.tiles, s = block / each, rest = block - s * each;
    int width = min(a.section, a.heads - s * a.section);
    return {s * a.section + rest % width, rest / width};
}
/* Keys before the first query's own. */
EQ_INLINE int eq_attn_past(const eq_attn_args &a) { return a.at ? *a.at : 0; }
/* Where token 0 of a head begins in a tensor of `heads` heads a token. Keys lie as tokens do: with
 * `at` there is one sequence. */
EQ_INLINE int64_t eq_attn_start(const eq_attn_args &a, int b, int heads, int h) {
    return ((int64_t)b * a.T * heads + h) * a.HD;
}
/* Key j, a query at place t among the keys. */
EQ_INLINE bool eq_attn_sees(const eq_attn_args &a, int t, int j) {
    return j <= t && (a.window <= 0 || t - j < a.window);
}

/* A product q.k to what times scale is the capped score. */
EQ_INLINE float eq_attn_capped(const eq_attn_args &a, float x) {
    return a.cap / a.scale * tanhf(x * a.scale / a.cap);
}
/* The cap's derivative from p = exp(score - lse), which is all that is kept: score = ln p + lse.
 * Where p is 0, what it is multiplied with is. */
EQ_INLINE float eq_attn_slope(const eq_attn_args &a, float p, float lse) {
    float t = p > 0.0f ? (logf(p) + lse) / a.cap : 0.0f;
    return 1.0f - t * t;
}
/* All scores of a tile. */
template <int MT, int NT> EQ_INLINE void eq_attn_cap(const eq_attn_args &a, float (&s)[MT][NT][4]) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[m][n][i] = eq_attn_capped(a, s[m][n][i]);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

template <int HD> struct eq_tile {
    enum { STRIDE = HD + 8, BYTES = 2 * STRIDE, CHUNKS = HD / 8 };
};

/* Rows row0 .. row0 + ROWS of a head, `stride` pieces of 16 bytes apart, begin to arrive at `to`.
 * Offsets are counted in pieces: 32 bits are enough for a sequence, and cheaper than pointers. */
template <int HD, int ROWS, int THREADS>
EQ_INLINE void eq_tile_load(eq_shared to, const void *from, int stride, int row0, int T) {
    typedef eq_tile<HD> tile;
    enum { ALL = ROWS * tile::CHUNKS };
#pragma unroll
    for (int i = 0; i < (ALL + THREADS - 1) / THREADS; i++) {
        int e = (int)threadIdx.x + i * THREADS, r = e / tile::CHUNKS, c = e % tile::CHUNKS;
        if (ALL % THREADS && e >= ALL) break;
        unsigned at = (unsigned)(min(row0 + r, T - 1) * stride + c);
        eq_copy16(to + r * tile::BYTES + c * 16, (const uint4 *)from + at, row0 + r < T);
    }
}

/* Where the lane's row of four 8 x 8 matrices lies. "a": those of A[16, 16], row-major, and, read
 * transposed, of B[16, 16] with k along rows. "b": those of B with k along columns. */
template <int HD> EQ_INLINE int eq_lane_a(void) {
    return (eq_lane() & 15) * eq_tile<HD>::BYTES + (eq_lane() >> 4) * 16;
}
template <int HD> EQ_INLINE int eq_lane_b(void) {
    int row = (eq_lane() >> 4) * 8 + (eq_lane() & 7), half = eq_lane() >> 3 & 1;
    return row * eq_tile<HD>::BYTES + half * 16;
}

/* acc[16 MT, 8 NT] = A[16 MT, HD] B[8 NT, HD]^T. a and b: the lane's places in the tiles. */
template <int HD, int MT, int NT>
EQ_INLINE void eq_product_nt(float (&acc)[MT][NT][4], eq_shared a, eq_shared b) {
    enum { ROW = eq_tile<HD>::BYTES };
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[m][n][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < HD / 16; k++) {
        uint32_t fa[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) eq_ldmatrix(fa[m], a + m * 16 * ROW + k * 32);
#pragma unroll
        for (int n = 0; n < NT / 2; n++) {
            uint32_t fb[4];
            eq_ldmatrix(fb, b + n * 16 * ROW + k * 32);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                eq_mma(acc[m][2 * n], fa[m], fb[0], fb[1]);
                eq_mma(acc[m][2 * n + 1], fa[m], fb[2], fb[3]);
            }
        }
    }
}
/* The same with A's fragments in registers. */
template <int HD, int NT>
EQ_INLINE void eq_product_nt_held(float (&acc)[1][NT][4], const uint32_t (&fa)[HD / 16][4],
                                  eq_shared b) {
    enum { ROW = eq_tile<HD>::BYTES };
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) acc[0][n][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < HD / 16; k++)
#pragma unroll
        for (int n = 0; n < NT / 2; n++) {
            uint32_t fb[4];
            eq_ldmatrix(fb, b + n * 16 * ROW + k * 32);
            eq_mma(acc[0][2 * n], fa[k], fb[0], fb[1]);
            eq_mma(acc[0][2 * n + 1], fa[k], fb[2], fb[3]);
        }
}
/* acc[16 MT, 8 NT] += P[16 MT, 8 KT] B[8 KT, 8 NT], P in registers as a product left it, rounded to
 * bf16. b: the lane's place ("a") in B's tile. */
template <int HD, int MT, int KT, int NT>
EQ_INLINE void eq_product_pn(float (&acc)[MT][NT][4], const float (&p)[MT][KT][4], eq_shared b) {
    enum { ROW = eq_tile<HD>::BYTES };
#pragma unroll
    for (int k = 0; k < KT / 2; k++) {
        uint32_t fp[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float *c = p[m][2 * k + i / 2] + i % 2 * 2;
                fp[m][i] = eq_ptx_bf16x2(c[0], c[1]);
            }
#pragma unroll
        for (int n = 0; n < NT / 2; n++) {
            uint32_t fb[4];
            eq_ldmatrix_trans(fb, b + k * 16 * ROW + n * 32);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                eq_mma(acc[m][2 * n], fp[m], fb[0], fb[1]);
                eq_mma(acc[m][2 * n + 1], fp[m], fb[2], fb[3]);
            }
        }
    }
}
template <int MT, int NT> EQ_INLINE void eq_clear(float (&acc)[MT][NT][4]) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[m][n][i] = 0.0f;
}

/* The warp's rows of a result, scaled by row, to bf16 through shared memory, so that they leave in
 * pieces of 16 bytes. place: row 0 of the warp's rows in a tile that nobody else touches now;
 * columns [column, column + 8 NT). by[m][h]: of rows 16 m + g + 8 h. left: rows that exist. */
template <int HD, int MT, int NT>
EQ_INLINE void eq_tile_store(uint16_t *to, int64_t stride, int left, unsigned char *place,
                             int column, const float (&acc)[MT][NT][4], const float (&by)[MT][2]) {
    typedef eq_tile<HD> tile;
    int g = eq_lane() >> 2, c = eq_lane() & 3;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            unsigned char *row = place + (16 * m + 8 * h + g) * tile::BYTES;
#pragma unroll
            for (int n = 0; n < NT; n++)
                *(uint32_t *)(row + 2 * (column + 8 * n + 2 * c)) =
                    eq_ptx_bf16x2(acc[m][n][2 * h] * by[m][h], acc[m][n][2 * h + 1] * by[m][h]);
        }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < MT * NT / 2; i++) {
        int e = eq_lane() + 32 * i, r = e / NT, at = column + e % NT * 8;
        if (r < left)
            *(uint4 *)(to + r * stride + at) = *(const uint4 *)(place + r * tile::BYTES + 2 * at);
    }
}

/* ---- host ------------------------------------------------------------------------------------ */

void eq_cuda_attention_bwd(eq_ops *ops);
/* One query a sequence in bf16, of a head size that the flash kernels take; attention_one.cu.
 * False: it is left to those. */
bool eq_attn_fwd_one(eq_backend *be, const eq_attn_args &a, int size);
/* For the shapes and types the flash kernels do not take; attention_plain.cu. */
void eq_attn_fwd_plain(eq_backend *be, const eq_attn_args &a, eq_dtype dt);
void eq_attn_bwd_plain(eq_backend *be, const eq_attn_args &a, eq_dtype dt);

/* room: keys of a sequence at most. */
static inline eq_attn_args eq_attn_args_of(const eq_attn_shape &s, int64_t room) {
    eq_attn_args a = {};
    a.T = (int)s.T, a.NH = (int)s.NH, a.NKV = (int)s.NKV, a.HD = (int)s.HD;
    a.room = (int)room;
    a.window = s.window >= room ? 0 : (int)s.window;
    a.scale = s.scale, a.cap = s.cap;
    a.heads = (int)(s.B * s.NH);
    return a;
}
/* The head size, or 0 where the flash kernels cannot be used: they take bf16, pieces of 16 bytes
 * that are counted in 32 bits, and order scores before they are scaled. */
static inline int eq_attn_flash_size(const eq_attn_args &a, eq_dtype dt, const void *const *all,
                                     int n) {
    if (dt != EQ_BF16 || !(a.scale > 0.0f)) return 0;
    if ((int64_t)a.room * a.NH * a.HD / 8 > INT32_MAX) return 0;
    for (int i = 0; i < n; i++)
        if ((uintptr_t)all[i] % 16) return 0;
    return a.HD;
}

/* Runs a kernel that takes heads of `of` a sequence (NH or NKV) in tiles of `rows` tokens. A
 * section is what the L2 cache holds, but some 500 blocks at least, or the last one would keep a
 * large card waiting for its dear tiles. */
static inline void eq_attn_launch(eq_backend *be, const char *op, void (*kernel)(eq_attn_args),
                                  eq_attn_args a, int of, int rows, int threads, int shared) {
    enum { L2 = 16 << 20, ENOUGH = 512, PLAIN = 48 << 10 };
    int64_t group = a.NH / a.NKV, B = a.heads / a.NH; /* query heads that share a key head */
    int64_t streamed = (int64_t)a.room * a.HD * 4 * (of == a.NH ? 1 : group);
    int64_t together = L2 / eq_least(streamed, L2) * (of == a.NH ? group : 1);
    a.heads = (int)(B * of);
    a.tiles = (a.T + rows - 1) / rows;
    if (together * a.tiles < ENOUGH) together = eq_ceil_div(ENOUGH, a.tiles);
    a.section = (int)eq_least(together, a.heads);
    if (shared > PLAIN &&
        !eq_cuda_ok(be,
                    cudaFuncSetAttribute((const void *)kernel,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
                    op))
        return;
    EQ_LAUNCH(kernel, dim3((unsigned)(a.heads * a.tiles)), dim3((unsigned)threads), (size_t)shared,
              eq_cuda_of(be)->stream, a);
    eq_cuda_launched(be, op);
}
#endif

/* Products of few rows with packed weights, as generation makes them: bound by the bytes of the
 * weights. Tensor cores take the sums, because unpacking leaves no time for them elsewhere: codes
 * become bf16 integers by a mask and one fma for two of them, exactly, the zero point in the same
 * fma.
 *
 * A block takes 16 outputs, its warps part the inputs. Lane 4 g + c of a warp reads 16 bytes at a
 * time ("a unit" of codes of one group) of outputs g and g + 8, and the other lanes of its row the
 * units beside. As the rows of one fragment add up over c, the units are kept apart by columns: B's
 * column 4 r + c holds input row r's numbers in lane c's places and zeros elsewhere. So D's column
 * is the sum of one unit, and takes its group's step in fp32.
 * Invariant: inputs are bf16, or three bf16 whose sum is the fp32 number, so every product is
 * exact. */
#include "backend/cuda/mma.cuh"

enum { OUTPUTS = 16, WARPS = 4, THREADS = 32 * WARPS, MOST_ROWS = 8, X_BYTES = 40 << 10 };
/* From here on reading packed weights for every eight rows costs more than writing them out once:
 * a pass at half the copy rate against 16 bits written and read and a product. */
enum { FEW_ROWS = 64, TILE = 8 << 20 };

struct matvec_args {
    eq_dev y, x; /* [rows, O], [rows, I] */
    const uint32_t *q;
    const uint16_t *s; /* fp16 [O, I / G] */
    const uint8_t *z;
    int rows, O, I, G, acc; /* acc: added to y */
    int log_g;              /* of a power of two, else -1 */
    int chunk;              /* inputs that lie in shared memory at the same time */
};

/* ---- codes to bf16 --------------------------------------------------------------------------- */

template <int BITS> struct packed {
    /* Codes of a unit, words of it, and codes that share a step. */
    enum { WORDS = BITS == 3 ? 12 : 4, CODES = WORDS * 32 / BITS, RUNS = CODES / 32 };
};

/* Run of 32 codes: pair p is codes first(p) and second(p). Pairs are what one mask leaves of a
 * word. */
template <int BITS> EQ_INLINE int pair_first(int p) {
    if (BITS == 2) return p / 8 * 16 + p % 8;
    if (BITS == 4) return p / 4 * 8 + p % 4;
    return p < 12 ? p / 4 * 10 + p % 4 : p < 14 ? p - 8 : p + 10;
}
template <int BITS> EQ_INLINE int pair_second(int p) {
    if (BITS == 2) return pair_first<BITS>(p) + 8;
    if (BITS == 4) return pair_first<BITS>(p) + 4;
    return pair_first<BITS>(p) + (p < 12 ? 6 : p < 14 ? 10 : 6);
}

/* 128 + code 2^at in each half, brought to code - z: bf16 holds all of these exactly. */
template <int LOW, int HIGH> EQ_INLINE uint32_t codes_less(uint32_t word, uint32_t mask, float z) {
    constexpr uint32_t shrink = (uint32_t)(127 - HIGH) << 23 | (uint32_t)(127 - LOW) << 7;
    return eq_ptx_fma_bf16x2((word & mask) | 0x43004300u, shrink,
                             eq_ptx_bf16x2(-128.0f / (1 << LOW) - z, -128.0f / (1 << HIGH) - z));
}

template <int BITS> EQ_INLINE void unpack(uint32_t (&pair)[16], const uint32_t *w, float z);
template <>
__device__ __forceinline__ void unpack<2>(uint32_t (&pair)[16], const uint32_t *w, float z) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t *to = pair + 8 * i, a = w[i], b = a >> 6, c = a >> 12;
        to[0] = codes_less<0, 0>(a, 0x00030003u, z);
        to[1] = codes_less<2, 2>(a, 0x000c000cu, z);
        to[2] = codes_less<4, 4>(a, 0x00300030u, z);
        to[3] = codes_less<0, 0>(b, 0x00030003u, z);
        to[4] = codes_less<2, 2>(b, 0x000c000cu, z);
        to[5] = codes_less<4, 4>(b, 0x00300030u, z);
        to[6] = codes_less<0, 0>(c, 0x00030003u, z);
        to[7] = codes_less<2, 2>(c, 0x000c000cu, z);
    }
}
template <>
__device__ __forceinline__ void unpack<4>(uint32_t (&pair)[16], const uint32_t *w, float z) {
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int p = 0; p < 4; p++)
            pair[4 * i + p] = codes_less<0, 0>(w[i] >> 4 * p, 0x000f000fu, z);
}
/* Three words of ten codes each, whose fifth and sixth go together across words, and two more. */
template <>
__device__ __forceinline__ void unpack<3>(uint32_t (&pair)[16], const uint32_t *w, float z) {
    const uint32_t ten[3] = {w[0], __funnelshift_r(w[0], w[1], 30),
                             __funnelshift_r(w[1], w[2], 28)};
#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
        for (int p = 0; p < 4; p++)
            pair[4 * i + p] = codes_less<0, 2>(ten[i] >> 3 * p, 0x001c0007u, z);
    uint32_t a = (ten[0] >> 12 & 63u) | (ten[1] >> 12 & 63u) << 16;
    uint32_t b = (ten[2] >> 12 & 63u) | w[2] >> 26 << 16;
    pair[12] = codes_less<0, 0>(a, 0x00070007u, z);
    pair[13] = codes_less<3, 3>(a, 0x00380038u, z);
    pair[14] = codes_less<0, 0>(b, 0x00070007u, z);
    pair[15] = codes_less<3, 3>(b, 0x00380038u, z);
}

/* ---- inputs in shared memory ----------------------------------------------------------------- */

/* Of a unit 2 CODES bytes and 16 of padding: the four lanes of a row read different banks. */
template <int BITS> struct staged {
    enum { UNIT = 2 * packed<BITS>::CODES + 16 };
};
/* Bytes of one bf16 part of one row. */
template <int BITS> __host__ __device__ static inline int part_bytes(int chunk) {
    return chunk / packed<BITS>::CODES * staged<BITS>::UNIT;
}

/* Inputs from k0 on as pairs in the order in which unpack leaves codes; zeros behind the end. */
template <int BITS, int PARTS>
EQ_INLINE void stage(unsigned char *to, const matvec_args &a, int k0, int chunk) {
    enum { RUNS = packed<BITS>::RUNS };
    int runs = chunk / 32, bytes = part_bytes<BITS>(chunk);
    for (int e = (int)threadIdx.x; e < a.rows * runs; e += THREADS) {
        int r = e / runs, run = e - r * runs, k = k0 + run * 32;
        float v[32];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float part[EQ_UNIT];
            eq_read(part, a.x, ((int64_t)r * a.I + k) / EQ_UNIT + i, k < a.I ? EQ_UNIT : 0);
#pragma unroll
            for (int j = 0; j < EQ_UNIT; j++) v[EQ_UNIT * i + j] = part[j];
        }
        unsigned char *at =
            to + r * PARTS * bytes + run / RUNS * staged<BITS>::UNIT + run % RUNS * 64;
#pragma unroll
        for (int part = 0; part < PARTS; part++)
#pragma unroll
            for (int p = 0; p < 16; p++) {
                float &lo = v[pair_first<BITS>(p)], &hi = v[pair_second<BITS>(p)];
                uint32_t both = eq_ptx_bf16x2(lo, hi);
                *(uint32_t *)(at + part * bytes + 4 * p) = both;
                lo -= eq_bf16_low(both), hi -= eq_bf16_high(both);
            }
    }
}

/* ---- the product ----------------------------------------------------------------------------- */

/* A lane's unit of outputs g and g + 8, with zero points and with the steps of its columns. */
template <int BITS> struct unit_of_two {
    uint4 w[2][packed<BITS>::WORDS / 4];
    uint8_t z[2];
    uint16_t s[2][2];
};
EQ_INLINE int group_of(const matvec_args &a, int input) {
    int g = a.log_g >= 0 ? input >> a.log_g : input / a.G;
    return min(g, a.I / a.G - 1);
}
/* Those of the run that begins with `input` in the first unit of the row's four lanes. */
template <int BITS>
EQ_INLINE void fetch_groups(unit_of_two<BITS> &u, const matvec_args &a, const int64_t group[2],
                            int input) {
    int c = eq_lane() & 3, mine = group_of(a, input + c * packed<BITS>::CODES);
#pragma unroll
    for (int h = 0; h < 2; h++) u.z[h] = a.z[group[h] + mine];
#pragma unroll
    for (int e = 0; e < 2; e++) { /* column 2 c + e is unit (2 c + e) % 4 */
        int g = group_of(a, input + (2 * c + e) % 4 * packed<BITS>::CODES);
#pragma unroll
        for (int h = 0; h < 2; h++) u.s[h][e] = a.s[group[h] + g];
    }
}
/* at: the first unit of the row's four lanes. */
template <int BITS>
EQ_INLINE void fetch(unit_of_two<BITS> &u, const matvec_args &a, const uint4 *const row[2],
                     const int64_t group[2], int at) {
    enum { VECTORS = packed<BITS>::WORDS / 4, CODES = packed<BITS>::CODES };
    int mine = min(at + (eq_lane() & 3), a.I / CODES - 1);
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int i = 0; i < VECTORS; i++) u.w[h][i] = row[h][mine * VECTORS + i];
    fetch_groups<BITS>(u, a, group, at * CODES);
}

/* d += a run of 32 inputs of each of the four units. codes: of outputs g and g + 8. x: the lane's
 * place in row 0's first part. */
template <int BITS, int PARTS, int PAIRS>
EQ_INLINE void run_product(float (&d)[PAIRS][4], const uint32_t (&codes)[2][16],
                           const unsigned char *x, int bytes, int rows) {
    int row = eq_lane() >> 4; /* of the two of a pair of rows */
    bool mine = (eq_lane() >> 2 & 3) == (eq_lane() & 3);
#pragma unroll
    for (int p = 0; p < PAIRS; p++)
#pragma unroll
        for (int part = 0; part < PARTS; part++)
#pragma unroll
            for (int k = 0; k < 16; k += 4) {
                uint4 b = make_uint4(0, 0, 0, 0);
                int r = 2 * p + row;
                if (mine && r < rows) b = *(const uint4 *)(x + (r * PARTS + part) * bytes + 4 * k);
                const uint32_t one[4] = {codes[0][k], codes[1][k], codes[0][k + 1],
                                         codes[1][k + 1]};
                const uint32_t two[4] = {codes[0][k + 2], codes[1][k + 2], codes[0][k + 3],
                                         codes[1][k + 3]};
                eq_mma(d[p], one, b.x, b.y);
                eq_mma(d[p], two, b.z, b.w);
            }
}

template <int BITS, int PARTS, int PAIRS>
EQ_INLINE void unit_product(float (&y)[PAIRS][4], unit_of_two<BITS> &u, const matvec_args &a,
                            const int64_t group[2], int at, const unsigned char *x, int bytes) {
    enum { CODES = packed<BITS>::CODES, RUNS = packed<BITS>::RUNS };
    int shared = a.G >= CODES ? RUNS : a.G / 32; /* runs of one step: a power of two */
    float d[PAIRS][4] = {};
#pragma unroll
    for (int r = 0; r < RUNS; r++) {
        uint32_t codes[2][16];
        if (r && !(r & (shared - 1))) fetch_groups<BITS>(u, a, group, at * CODES + 32 * r);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t w[packed<BITS>::WORDS];
#pragma unroll
            for (int i = 0; i < packed<BITS>::WORDS / 4; i++)
                w[4 * i] = u.w[h][i].x, w[4 * i + 1] = u.w[h][i].y, w[4 * i + 2] = u.w[h][i].z,
                      w[4 * i + 3] = u.w[h][i].w;
            unpack<BITS>(codes[h], w + r * BITS, (float)(int)u.z[h]);
        }
        run_product<BITS, PARTS, PAIRS>(d, codes, x + 64 * r, bytes, a.rows);
        if ((r + 1) & (shared - 1)) continue;
#pragma unroll
        for (int p = 0; p < PAIRS; p++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                y[p][i] = fmaf(eq_ptx_f16(u.s[i / 2][i % 2]), d[p][i], y[p][i]);
                d[p][i] = 0.0f;
            }
    }
}

EQ_INLINE void put_output(const matvec_args &a, int64_t at, float sum) {
    eq_put(a.y, at, a.acc ? eq_get(a.y, at) + sum : sum);
}

/* Each warp's part of the outputs, added up in the order of the warps. */
template <int PAIRS>
EQ_INLINE void finish(const matvec_args &a, const float (&y)[PAIRS][4], float *part, int o0) {
    int warp = (int)threadIdx.x >> 5, g = eq_lane() >> 2, c = eq_lane() & 3;
#pragma unroll
    for (int p = 0; p < PAIRS; p++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = y[p][2 * h] + y[p][2 * h + 1];
            sum += __shfl_xor_sync(EQ_ALL_LANES, sum, 1);
            if (c % 2 == 0) part[(warp * 2 * PAIRS + 2 * p + c / 2) * OUTPUTS + g + 8 * h] = sum;
        }
    __syncthreads();
    int o = (int)threadIdx.x % OUTPUTS, r = (int)threadIdx.x / OUTPUTS;
    if (r >= a.rows || o0 + o >= a.O) return;
    float sum = 0.0f;
    for (int w = 0; w < WARPS; w++) sum += part[(w * 2 * PAIRS + r) * OUTPUTS + o];
    put_output(a, (int64_t)r * a.O + o0 + o, sum);
}

template <int BITS, int PARTS, int PAIRS>
static __global__ __launch_bounds__(THREADS, BITS == 3   ? 3 - PAIRS / 4
                                             : PAIRS > 1 ? 3
                                                         : 4) void matvec_kernel(matvec_args a) {
    /* A card wants some 18 KB of each multiprocessor under way: 4 blocks of 32 bytes a lane are 16.
     * Units of 3 bits are three times as large. */
    enum { CODES = packed<BITS>::CODES, STEP = 4 * WARPS, AHEAD = BITS == 3 ? 1 : 2 };
    EQ_DYNAMIC_SHARED(memory);
    int o0 = (int)blockIdx.x * OUTPUTS, g = eq_lane() >> 2, c = eq_lane() & 3;
    int units = a.I / CODES, warp = (int)threadIdx.x >> 5;
    const uint4 *row[2];
    int64_t group[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int o = min(o0 + g + 8 * h, a.O - 1);
        row[h] = (const uint4 *)a.q + (int64_t)o * units * (packed<BITS>::WORDS / 4);
        group[h] = (int64_t)o * (a.I / a.G);
    }
    float y[PAIRS][4] = {};
    unit_of_two<BITS> unit[1 + AHEAD]; /* the one at hand, and those under way */
#pragma unroll
    for (int i = 0; i < AHEAD; i++) fetch<BITS>(unit[i], a, row, group, 4 * warp + i * STEP);
    for (int k0 = 0; k0 < a.I; k0 += a.chunk) {
        int bytes = part_bytes<BITS>(a.chunk), from = k0 / CODES;
        int end = min(units, from + a.chunk / CODES);
        if (k0) __syncthreads();
        stage<BITS, PARTS>(memory, a, k0, a.chunk);
        __syncthreads();
#pragma unroll 1
        for (int u = from + 4 * warp; u < end; u += STEP) {
            fetch<BITS>(unit[AHEAD], a, row, group, u + AHEAD * STEP);
            unit_product<BITS, PARTS, PAIRS>(y, unit[0], a, group, u,
                                             memory + (u - from + c) * staged<BITS>::UNIT, bytes);
#pragma unroll
            for (int i = 0; i < AHEAD; i++) unit[i] = unit[i + 1];
        }
    }
    __syncthreads();
    finish<PAIRS>(a, y, (float *)memory, o0);
}

/* Any shape: a warp an output, a lane a run of 32 inputs after the other. */
static __global__ __launch_bounds__(THREADS) void matvec_plain(matvec_args a, int bits) {
    int o = (int)blockIdx.x * WARPS + ((int)threadIdx.x >> 5), runs = a.I / 32;
    if (o >= a.O) return;
    float sum[MOST_ROWS] = {};
    for (int run = eq_lane(); run < runs; run += 32) {
        const uint32_t *w = a.q + ((int64_t)o * runs + run) * bits;
        int64_t group = (int64_t)o * (a.I / a.G) + run * 32 / a.G;
        float s = eq_ptx_f16(a.s[group]), z = (float)(int)a.z[group];
        for (int i = 0; i < 32; i++) {
            int bit = i * bits, at = bit / 32;
            uint32_t high = bit % 32 + bits > 32 ? w[at + 1] : 0;
            uint32_t code = __funnelshift_r(w[at], high, bit % 32) & ((1u << bits) - 1);
            float v = ((float)(int)code - z) * s;
#pragma unroll
            for (int r = 0; r < MOST_ROWS; r++)
                if (r < a.rows)
                    sum[r] = fmaf(v, eq_get(a.x, (int64_t)r * a.I + run * 32 + i), sum[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < MOST_ROWS; r++) {
        float all = eq_lanes_sum(sum[r], EQ_WARP);
        if (r < a.rows && eq_lane() == 0) put_output(a, (int64_t)r * a.O + o, all);
    }
}

/* ---- host ------------------------------------------------------------------------------------ */

template <int BITS, int PARTS, int PAIRS> static void run_fast(eq_backend *be, matvec_args a) {
    enum { CODES = packed<BITS>::CODES };
    int each = a.rows * PARTS * staged<BITS>::UNIT,
        units = X_BYTES / each / (4 * WARPS) * 4 * WARPS;
    if (units < 4 * WARPS) units = 4 * WARPS;
    int all = (int)eq_ceil_div(a.I, CODES * 4) * 4;
    a.chunk = (int)eq_least(units, all) * CODES;
    int shared = a.rows * PARTS * part_bytes<BITS>(a.chunk);
    int sums = WARPS * 2 * PAIRS * OUTPUTS * (int)sizeof(float);
    if (shared < sums) shared = sums;
    auto kernel = matvec_kernel<BITS, PARTS, PAIRS>;
    if (shared > 48 << 10 &&
        !eq_cuda_ok(be,
                    cudaFuncSetAttribute((const void *)kernel,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
                    "matvec_q"))
        return;
    EQ_LAUNCH(kernel, dim3((unsigned)eq_ceil_div(a.O, OUTPUTS)), dim3(THREADS), (size_t)shared,
              eq_cuda_of(be)->stream, a);
    eq_cuda_launched(be, "matvec_q");
}
template <int BITS, int PARTS> static void run_rows(eq_backend *be, const matvec_args &a) {
    if (a.rows <= 2) return run_fast<BITS, PARTS, 1>(be, a);
    run_fast<BITS, PARTS, 4>(be, a);
}
template <int BITS> static bool run_bits(eq_backend *be, const matvec_args &a) {
    enum { CODES = packed<BITS>::CODES };
    if (a.I % CODES || (a.G % CODES && CODES % a.G) || (uintptr_t)a.q % 16) return false;
    if (a.x.dt == EQ_BF16)
        run_rows<BITS, 1>(be, a);
    else
        run_rows<BITS, 3>(be, a);
    return true;
}

static bool run(eq_backend *be, const matvec_args &a, int bits) {
    switch (bits) {
    case 2:
        return run_bits<2>(be, a);
    case 3:
        return run_bits<3>(be, a);
    case 4:
        return run_bits<4>(be, a);
    default:
        return false;
    }
}

/* The kernels read rows as they are. */
static void prepare_q(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_qshape qs) {
    (void)be, (void)q, (void)s, (void)z, (void)qs;
}

static eq_view view_at(eq_view v, int64_t from) {
    return {(const char *)v.p + from * eq_dtype_size(v.dt), v.n - from, v.dt};
}
/* A prompt: weights go through the library's product, TILE of them at a time in x's type (rounded,
 * where that is bf16), which stay in the second-level cache. */
static void many_rows(eq_backend *be, eq_mut y, eq_view x, eq_view q, eq_view s, eq_view z,
                      int64_t rows, const eq_qshape *qs, int acc) {
    int64_t most = eq_least(qs->O, TILE / qs->I > 0 ? TILE / qs->I : 1), groups = qs->I / qs->G;
    eq_mut w = {eq_cuda_scratch(be, most * qs->I * eq_dtype_size(x.dt)), most * qs->I, x.dt};
    if (!w.p) return;
    for (int64_t o = 0; o < qs->O; o += most) {
        eq_qshape part = *qs;
        part.O = eq_least(most, qs->O - o);
        eq_cuda_dequant_prepared(be, w, view_at(q, o * (qs->I / 32) * qs->bits),
                                 view_at(s, o * groups), view_at(z, o * groups), part);
        eq_product p = {};
        p.M = rows, p.N = part.O, p.K = qs->I, p.lda = p.ldb = qs->I, p.ldy = qs->O;
        p.b_turned = true, p.acc = acc;
        eq_mut to = {(char *)y.p + o * eq_dtype_size(y.dt), y.n - o, y.dt};
        eq_blas_product(be, to, x, eq_ro(w), p);
    }
}

/* act8 is not asked for here (cuda_hints): x is taken as it is. */
static void matvec_q(eq_backend *be, eq_mut y, eq_view x, eq_view q, eq_view s, eq_view z,
                     int64_t rows, eq_qshape qs, int act8, int acc) {
    (void)act8;
    if (eq_is_odd(&qs)) return eq_odd_matvec_q(be, y, x, q, s, z, rows, qs, acc);
    if (rows > FEW_ROWS && (x.dt == y.dt || y.dt == EQ_F32))
        return many_rows(be, y, x, q, s, z, rows, &qs, acc);
    for (int64_t r = 0; r < rows; r += MOST_ROWS) {
        int64_t n = eq_least(MOST_ROWS, rows - r);
        matvec_args a = {};
        a.y = eq_dev_of(eq_mut_at(y, r * qs.O, n * qs.O));
        a.x = eq_dev_of(eq_view_at(x, r * qs.I, n * qs.I));
        a.q = static_cast<const uint32_t *>(q.p);
        a.s = static_cast<const uint16_t *>(s.p), a.z = static_cast<const uint8_t *>(z.p);
        a.acc = acc, a.rows = (int)n, a.O = (int)qs.O, a.I = (int)qs.I, a.G = (int)qs.G;
        a.log_g = -1;
        for (int i = 0; i < 31; i++)
            if (a.G == 1 << i) a.log_g = i;
        if (!run(be, a, qs.bits))
            EQ_RUN(be, "matvec_q", matvec_plain, eq_ceil_div(qs.O, WARPS), THREADS, a, qs.bits);
    }
}

void eq_cuda_matvec(eq_ops *ops) {
    ops->prepare_q = prepare_q;
    ops->matvec_q = matvec_q;
}

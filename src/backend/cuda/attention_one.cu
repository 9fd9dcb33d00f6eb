/* Attention of one query a sequence, as generation has it: bound by the bytes of keys and values.
 * The tiles of keys that the query sees are parted among blocks, each with the heads (8 at most)
 * that share its key head: a tile is read once for all of them. A second kernel puts the parts
 * together. How many parts there are follows from the shape, where they begin from `at`, so a
 * launch serves every place. Invariant: parts meet in rising order; one without keys has a top of
 * -inf, a sum and values of 0. */
#include "backend/cuda/attention.cuh"

enum { KEYS = 64, THREADS = 128, WARPS = THREADS / EQ_WARP, HEADS = 8, BLOCKS = 256 };

struct one_args {
    eq_attn_args a;
    float *part;      /* [B * NH, parts, HD + 2]: weighted values, the largest score, the sum */
    int parts, takes; /* takes: blocks that the heads of a key head need */
};

/* Where things lie in shared memory. */
template <int HD> struct one_room {
    enum { TILE = KEYS * eq_tile<HD>::BYTES, FLOATS = HEADS * (HD + KEYS + 3) };
    enum { SHARED = 2 * TILE + 4 * FLOATS };
    float *q, *p, *top, *sum, *shrink; /* [HEADS, HD], [HEADS, KEYS], [HEADS] */
};
template <int HD> EQ_INLINE one_room<HD> one_room_in(unsigned char *memory) {
    one_room<HD> r;
    r.q = (float *)(memory + 2 * one_room<HD>::TILE);
    r.p = r.q + HEADS * HD, r.top = r.p + HEADS * KEYS;
    r.sum = r.top + HEADS, r.shrink = r.sum + HEADS;
    return r;
}

/* q . key, a row of a tile. */
template <int HD> EQ_INLINE float one_dot(const float *q, const unsigned char *key) {
    float sum = 0.0f;
#pragma unroll 4
    for (int c = 0; c < HD / 8; c++) {
        uint4 v = ((const uint4 *)key)[c];
        const uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sum = fmaf(q[8 * c + 2 * i], eq_bf16_low(w[i]), sum);
            sum = fmaf(q[8 * c + 2 * i + 1], eq_bf16_high(w[i]), sum);
        }
    }
    return sum;
}

/* Scores of a tile's keys as powers of two, -inf where the query does not see them. */
template <int HD>
EQ_INLINE void one_scores(const one_room<HD> &r, const eq_attn_args &a, const unsigned char *tile,
                          int heads, int past, int k0) {
    for (int e = (int)threadIdx.x; e < heads * KEYS; e += THREADS) {
        int h = e / KEYS, key = e % KEYS;
        float s = -INFINITY;
        if (eq_attn_sees(a, past, k0 + key)) {
            s = one_dot<HD>(r.q + h * HD, tile + key * eq_tile<HD>::BYTES);
            s = (a.cap > 0.0f ? eq_attn_capped(a, s) : s) * a.scale * EQ_LOG2E;
        }
        r.p[e] = s;
    }
}

/* Scores to weights, a warp a head. */
template <int HD> EQ_INLINE void one_weights(const one_room<HD> &r, int heads) {
    int lane = eq_lane();
    for (int h = (int)threadIdx.x / EQ_WARP; h < heads; h += WARPS) {
        float *p = r.p + h * KEYS, old = r.top[h], top = fmaxf(old, fmaxf(p[lane], p[lane + 32]));
        for (int m = 16; m; m >>= 1) top = fmaxf(top, __shfl_xor_sync(EQ_ALL_LANES, top, m));
        float lo = eq_ptx_exp2(p[lane] - top), hi = eq_ptx_exp2(p[lane + 32] - top), sum = lo + hi;
        for (int m = 16; m; m >>= 1) sum += __shfl_xor_sync(EQ_ALL_LANES, sum, m);
        p[lane] = lo, p[lane + 32] = hi;
        if (lane) continue;
        float shrink = eq_ptx_exp2(old - top);
        r.top[h] = top, r.shrink[h] = shrink, r.sum[h] = fmaf(r.sum[h], shrink, sum);
    }
}

/* acc: of element threadIdx.x + THREADS i of the heads' outputs. */
template <int HD, int OUT>
EQ_INLINE void one_values(float (&acc)[OUT], const one_room<HD> &r, const unsigned char *tile,
                          int heads) {
#pragma unroll
    for (int i = 0; i < OUT; i++) {
        int e = (int)threadIdx.x + THREADS * i, h = e / HD, d = e % HD;
        if (e >= heads * HD) break;
        const float *p = r.p + h * KEYS;
        float sum = 0.0f;
#pragma unroll 8
        for (int key = 0; key < KEYS; key++)
            sum = fmaf(p[key],
                       eq_bf16_low(*(const uint16_t *)(tile + key * eq_tile<HD>::BYTES + 2 * d)),
                       sum);
        acc[i] = fmaf(acc[i], r.shrink[h], sum);
    }
}

template <int HD> static __global__ __launch_bounds__(THREADS) void attn_one(one_args o) {
    enum { OUT = (HEADS * HD + THREADS - 1) / THREADS };
    EQ_DYNAMIC_SHARED(memory);
    const eq_attn_args &a = o.a;
    one_room<HD> r = one_room_in<HD>(memory);
    unsigned char *kt = memory, *vt = memory + one_room<HD>::TILE;
    int part = (int)blockIdx.x % o.parts, rest = (int)blockIdx.x / o.parts, me = (int)threadIdx.x;
    int group = a.NH / a.NKV, h0 = rest % o.takes * HEADS, heads = min(HEADS, group - h0);
    int b = rest / o.takes / a.NKV, kv = rest / o.takes % a.NKV;
    int head = b * a.NH + kv * group + h0; /* of all sequences: T is 1 */
    int past = eq_attn_past(a), first = a.window > 0 ? max(0, past - a.window + 1) / KEYS : 0;
    int tiles = past / KEYS + 1 - first, each = (tiles + o.parts - 1) / o.parts;
    int from = first + min(part * each, tiles), to = min(from + each, first + tiles);
    const uint16_t *k = (const uint16_t *)a.k + eq_attn_start(a, b, a.NKV, kv);
    const uint16_t *v = (const uint16_t *)a.v + eq_attn_start(a, b, a.NKV, kv);
    int stride = a.NKV * HD / 8;
    float acc[OUT] = {};

    for (int e = me; e < heads * HD; e += THREADS)
        r.q[e] = eq_bf16_low(((const uint16_t *)a.q)[(int64_t)head * HD + e]);
    if (me < HEADS) r.top[me] = -INFINITY, r.sum[me] = 0.0f;
    if (from < to)
        eq_tile_load<HD, KEYS, THREADS>(eq_shared_of(kt), k, stride, from * KEYS, past + 1);
    eq_copy_commit();
#pragma unroll 1
    for (int j = from; j < to; j++) {
        eq_copy_wait<0>();
        __syncthreads(); /* keys are here; nobody needs the last values and weights */
        eq_tile_load<HD, KEYS, THREADS>(eq_shared_of(vt), v, stride, j * KEYS, past + 1);
        eq_copy_commit();
        one_scores<HD>(r, a, kt, heads, past, j * KEYS);
        eq_copy_wait<0>();
        __syncthreads(); /* values and scores are here; nobody needs these keys */
        if (j + 1 < to)
            eq_tile_load<HD, KEYS, THREADS>(eq_shared_of(kt), k, stride, (j + 1) * KEYS, past + 1);
        eq_copy_commit();
        one_weights<HD>(r, heads);
        __syncthreads();
        one_values<HD, OUT>(acc, r, vt, heads);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < OUT; i++) {
        int e = me + THREADS * i;
        if (e < heads * HD)
            o.part[((int64_t)(head + e / HD) * o.parts + part) * (HD + 2) + e % HD] = acc[i];
    }
    if (me >= heads) return;
    float *end = o.part + ((int64_t)(head + me) * o.parts + part) * (HD + 2) + HD;
    end[0] = r.top[me], end[1] = r.sum[me];
}

/* A block a head. */
static __global__ __launch_bounds__(THREADS) void attn_one_end(one_args o) {
    int HD = o.a.HD, head = (int)blockIdx.x;
    const float *part = o.part + (int64_t)head * o.parts * (HD + 2);
    float top = -INFINITY, all = 0.0f;
    for (int p = 0; p < o.parts; p++) top = fmaxf(top, part[p * (HD + 2) + HD]);
    for (int p = 0; p < o.parts; p++)
        all = fmaf(part[p * (HD + 2) + HD + 1], eq_ptx_exp2(part[p * (HD + 2) + HD] - top), all);
    for (int d = (int)threadIdx.x; d < HD; d += THREADS) {
        float sum = 0.0f;
        for (int p = 0; p < o.parts; p++)
            sum = fmaf(part[p * (HD + 2) + d], eq_ptx_exp2(part[p * (HD + 2) + HD] - top), sum);
        ((uint16_t *)o.a.o)[(int64_t)head * HD + d] = (uint16_t)eq_ptx_bf16x2(sum / all, 0.0f);
    }
    if (threadIdx.x == 0) o.a.lse[head] = top / EQ_LOG2E + logf(all);
}

/* ---- host ------------------------------------------------------------------------------------ */

template <int HD> static void run_one(eq_backend *be, one_args o) {
    auto kernel = attn_one<HD>;
    enum { SHARED = one_room<HD>::SHARED };
    const char *op = "attn_fwd";
    o.part = (float *)eq_cuda_scratch(be, (int64_t)o.a.heads * o.parts * (HD + 2) * 4);
    if (!o.part) return; /* noted */
    if (!eq_cuda_ok(be,
                    cudaFuncSetAttribute((const void *)kernel,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED),
                    op))
        return;
    int64_t blocks = (int64_t)o.a.heads / o.a.NH * o.a.NKV * o.takes * o.parts;
    EQ_LAUNCH(kernel, dim3((unsigned)blocks), dim3(THREADS), SHARED, eq_cuda_of(be)->stream, o);
    eq_cuda_launched(be, op);
    EQ_RUN(be, op, attn_one_end, o.a.heads, THREADS, o);
}

bool eq_attn_fwd_one(eq_backend *be, const eq_attn_args &a, int size) {
    if (a.T != 1 || a.room < 2) return false;
    one_args o = {a, nullptr, 1, (int)eq_ceil_div(a.NH / a.NKV, HEADS)};
    int64_t least = (int64_t)a.heads / a.NH * a.NKV * o.takes; /* blocks with one part */
    o.parts = (int)eq_least(eq_ceil_div(a.room, KEYS), eq_ceil_div(BLOCKS, least));
    switch (size) {
    case 64:
        return run_one<64>(be, o), true;
    case 80:
        return run_one<80>(be, o), true;
    case 96:
        return run_one<96>(be, o), true;
    case 128:
        return run_one<128>(be, o), true;
    case 256:
        return run_one<256>(be, o), true;
    default:
        return false;
    }
}

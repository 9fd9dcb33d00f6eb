/* Causal grouped-query attention, forward, in flash form: a block takes 64 MT queries of a head
 * (four warps of 16 MT rows), goes over tiles of 64 keys from the diagonal down, and keeps for each
 * row the largest score, the sum of exponentials and the weighted sum of values; no score reaches
 * memory. Keys of the next tile arrive while the values of this one are used, and the other way
 * round; two blocks share a multiprocessor.
 * Invariant: a row that has seen no key yet (its own may lie in the tile before, where keys come
 * before the queries) keeps a top of -inf, a sum and an o of 0. */
#include "backend/cuda/attention.cuh"

enum { KEYS = 64, THREADS = 128 };

template <int HD, int MT> struct fwd_tiles {
    typedef eq_tile<HD> tile;
    enum {
        QUERIES = 64 * MT,
        K_AT = QUERIES * tile::BYTES,
        V_AT = K_AT + KEYS * tile::BYTES,
        SHARED = V_AT + KEYS * tile::BYTES
    };
};

/* What a lane knows of its rows 16 m + g + 8 h of the warp: o as a product leaves it. */
template <int HD, int MT> struct fwd_rows { float o[MT][HD / 8][4], top[MT][2], sum[MT][2]; };

/* Scores of keys from k0 on that a query does not see go to -inf. t0: the place of the lane's first
 * query. */
template <int MT>
EQ_INLINE void fwd_mask(float (&s)[MT][KEYS / 8][4], const eq_attn_args &a, int t0, int k0) {
    int c = eq_lane() & 3;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (!eq_attn_sees(a, t0 + 16 * m + i / 2 * 8, k0 + 8 * n + 2 * c + i % 2))
                    s[m][n][i] = -INFINITY;
}

/* The largest scores of the warp's rows with these, not scaled yet. */
template <int MT> EQ_INLINE void fwd_tops(float (&top)[MT][2], const float (&s)[MT][KEYS / 8][4]) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float t = fmaxf(s[m][0][2 * h], s[m][0][2 * h + 1]);
#pragma unroll
            for (int n = 1; n < KEYS / 8; n++)
                t = fmaxf(t, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
            t = fmaxf(t, __shfl_xor_sync(EQ_ALL_LANES, t, 1));
            top[m][h] = fmaxf(t, __shfl_xor_sync(EQ_ALL_LANES, t, 2));
        }
}

/* Scores to p = 2^(s - top). `scale` takes scores to powers of two. The top that is subtracted may
 * lag behind the true one by a factor of 2^8, which costs no digits and saves bringing o and sum to
 * a new one in most steps. */
template <int HD, int MT>
EQ_INLINE void fwd_softmax(float (&s)[MT][KEYS / 8][4], fwd_rows<HD, MT> &r, float scale) {
    float top[MT][2];
    bool outgrown = false;
    fwd_tops<MT>(top, s);
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) outgrown |= (top[m][h] - r.top[m][h]) * scale > 8.0f;
    if (__any_sync(EQ_ALL_LANES, outgrown)) {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float t = fmaxf(top[m][h], r.top[m][h]);
                float shrink = r.top[m][h] == t ? 1.0f : eq_ptx_exp2((r.top[m][h] - t) * scale);
                r.top[m][h] = t;
                r.sum[m][h] *= shrink;
#pragma unroll
                for (int n = 0; n < HD / 8; n++)
                    r.o[m][n][2 * h] *= shrink, r.o[m][n][2 * h + 1] *= shrink;
            }
    }
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float minus = r.top[m][h] == -INFINITY ? 0.0f : -r.top[m][h] * scale;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 2 * h; i < 2 * h + 2; i++) {
                    s[m][n][i] = eq_ptx_exp2(fmaf(s[m][n][i], scale, minus));
                    r.sum[m][h] += s[m][n][i];
                }
        }
}

template <int HD, int MT>
EQ_INLINE void fwd_finish(const eq_attn_args &a, fwd_rows<HD, MT> &r, int b, int h, int row0,
                          unsigned char *place) {
    float inverse[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float sum = r.sum[m][i];
            sum += __shfl_xor_sync(EQ_ALL_LANES, sum, 1);
            sum += __shfl_xor_sync(EQ_ALL_LANES, sum, 2);
            inverse[m][i] = 1.0f / sum;
            int t = row0 + 16 * m + 8 * i + (eq_lane() >> 2);
            if (t < a.T && !(eq_lane() & 3))
                a.lse[((int64_t)b * a.NH + h) * a.T + t] = r.top[m][i] * a.scale + logf(sum);
        }
    uint16_t *o = (uint16_t *)a.o + eq_attn_start(a, b, a.NH, h) + (int64_t)row0 * a.NH * HD;
    eq_tile_store<HD, MT, HD / 8>(o, (int64_t)a.NH * HD, a.T - row0, place, 0, r.o, inverse);
}

/* PAST: a.at is there. Training, which has none, pays no registers for it. */
template <int HD, int MT, bool PAST>
static __global__ __launch_bounds__(THREADS, 2) void attn_fwd_flash(eq_attn_args a) {
    typedef fwd_tiles<HD, MT> at;
    typedef eq_tile<HD> tile;
    EQ_DYNAMIC_SHARED(memory);
    eq_shared qs = eq_shared_of(memory), ks = qs + at::K_AT, vs = qs + at::V_AT;
    eq_attn_place place = eq_attn_placed(a, (int)blockIdx.x);
    int b = place.head / a.NH, h = place.head % a.NH, kv = h / (a.NH / a.NKV);
    int q0 = (a.tiles - 1 - place.rank) * at::QUERIES, warp = (int)threadIdx.x >> 5;
    int past = PAST ? eq_attn_past(a) : 0, keys = PAST ? past + a.T : a.T;
    int row0 = q0 + warp * 16 * MT, p0 = past + row0, p1 = p0 + 16 * MT - 1;
    int stride_q = a.NH * tile::CHUNKS, stride_k = a.NKV * tile::CHUNKS;
    const uint16_t *q = (const uint16_t *)a.q + eq_attn_start(a, b, a.NH, h);
    const uint16_t *k = (const uint16_t *)a.k + eq_attn_start(a, b, a.NKV, kv);
    const uint16_t *v = (const uint16_t *)a.v + eq_attn_start(a, b, a.NKV, kv);
    int last = (min(past + q0 + at::QUERIES, keys) - 1) / KEYS;
    int first = a.window > 0 ? max(0, past + q0 - a.window + 1) / KEYS : 0;
    eq_shared qa = qs + warp * 16 * MT * tile::BYTES + eq_lane_a<HD>();
    eq_shared kb = ks + eq_lane_b<HD>(), va = vs + eq_lane_a<HD>();
    float scale = a.scale * EQ_LOG2E;

    fwd_rows<HD, MT> r;
    eq_clear(r.o);
#pragma unroll
    for (int m = 0; m < MT; m++)
        r.top[m][0] = r.top[m][1] = -INFINITY, r.sum[m][0] = r.sum[m][1] = 0.0f;
    eq_tile_load<HD, at::QUERIES, THREADS>(qs, q, stride_q, q0, a.T);
    eq_tile_load<HD, KEYS, THREADS>(ks, k, stride_k, last * KEYS, keys);
    eq_copy_commit();
#pragma unroll 1
    for (int j = last; j >= first; j--) {
        int k0 = j * KEYS;
        bool seen = k0 <= p1 && (a.window <= 0 || p0 - (k0 + KEYS - 1) < a.window);
        bool whole = k0 + KEYS - 1 <= p0 && (a.window <= 0 || p1 - k0 < a.window);
        float s[MT][KEYS / 8][4];
        eq_copy_wait<0>();
        __syncthreads(); /* keys are here; nobody needs the last values */
        eq_tile_load<HD, KEYS, THREADS>(vs, v, stride_k, k0, keys);
        eq_copy_commit();
        if (seen) {
            eq_product_nt<HD, MT, KEYS / 8>(s, qa, kb);
            if (a.cap > 0.0f) eq_attn_cap<MT, KEYS / 8>(a, s);
            if (!whole) fwd_mask<MT>(s, a, p0 + (eq_lane() >> 2), k0);
        }
        eq_copy_wait<0>();
        __syncthreads(); /* values are here; nobody needs these keys */
        if (j > first) {
            eq_tile_load<HD, KEYS, THREADS>(ks, k, stride_k, k0 - KEYS, keys);
            eq_copy_commit();
        }
        if (!seen) continue;
        fwd_softmax<HD, MT>(s, r, scale);
        eq_product_pn<HD, MT, KEYS / 8, HD / 8>(r.o, s, va);
    }
    fwd_finish<HD, MT>(a, r, b, h, row0, memory + warp * 16 * MT * tile::BYTES);
}

/* ---- host ------------------------------------------------------------------------------------ */

template <int HD, int MT> static void run_fwd(eq_backend *be, const eq_attn_args &a) {
    eq_attn_launch(be, "attn_fwd",
                   a.at ? attn_fwd_flash<HD, MT, true> : attn_fwd_flash<HD, MT, false>, a, a.NH,
                   fwd_tiles<HD, MT>::QUERIES, THREADS, fwd_tiles<HD, MT>::SHARED);
}

static void attn_fwd(eq_backend *be, eq_mut o, eq_mut lse, eq_view q, eq_view k, eq_view v,
                     eq_view at, eq_attn_shape s) {
    eq_attn_args a = eq_attn_args_of(s, at.n ? k.n / (s.NKV * s.HD) : s.T);
    if (at.n) a.at = static_cast<const int32_t *>(at.p);
    a.q = q.p, a.k = k.p, a.v = v.p, a.o = o.p, a.lse = (float *)lse.p;
    const void *all[] = {q.p, k.p, v.p, o.p};
    if (a.heads * a.T == 0) return;
    int size = eq_attn_flash_size(a, q.dt, all, 4);
    if (eq_attn_fwd_one(be, a, size)) return;
    switch (size) {
    case 64:
        return run_fwd<64, 2>(be, a);
    case 80:
        return run_fwd<80, 2>(be, a);
    case 96:
        return run_fwd<96, 2>(be, a);
    case 128:
        return run_fwd<128, 2>(be, a);
    case 256:
        return run_fwd<256, 1>(be, a);
    default:
        return eq_attn_fwd_plain(be, a, q.dt);
    }
}

extern "C" void eq_cuda_attention(eq_ops *ops) {
    ops->attn_fwd = attn_fwd;
    eq_cuda_attention_bwd(ops);
}

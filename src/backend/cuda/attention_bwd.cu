/* Causal grouped-query attention, backward, in flash form: scores are computed again from q, k and
 * the forward pass' log-sum-exp, once by query for dq and once by key for dk and dv. Two passes
 * take 7 products where one with atomic sums takes 5, but every sum has an order of its own.
 *     p = exp(scale q.k - lse), ds = p (do.v - delta), dq = scale ds k, dk = scale ds^T q, dv = p^T
 * do The first pass also leaves delta = do.o, one float a query, for the second. Invariant: a query
 * behind the end of the sequence has zeros for q, do, lse and delta in its tile, and so adds
 * nothing: p = 1 there, but do = 0 and ds = 0. */
#include "backend/cuda/attention.cuh"

/* ---- dq: a block takes 64 MT queries of a head and goes over 32 keys after the other ----------
 */

enum { DQ_KEYS = 32, DQ_THREADS = 128 };

template <int HD, int MT, int STAGES> struct dq_tiles {
    typedef eq_tile<HD> tile;
    enum {
        QUERIES = 64 * MT,
        KEYS_BYTES = DQ_KEYS * tile::BYTES,
        DO_AT = QUERIES * tile::BYTES,
        K_AT = 2 * DO_AT,
        V_AT = K_AT + STAGES * KEYS_BYTES,
        SHARED = V_AT + STAGES * KEYS_BYTES
    };
};

/* delta of the warp's rows, eight lanes a row: to memory, and behind the row in the tile of q. */
template <int HD, int ROWS>
EQ_INLINE void dq_delta(const eq_attn_args &a, const uint4 *o, const uint4 *do_, float *delta,
                        int row0, unsigned char *place) {
    int r8 = eq_lane() >> 3, part = eq_lane() & 7;
    for (int r = r8; r < ROWS; r += 4) {
        float sum = 0.0f;
        int t = row0 + r;
        unsigned at = (unsigned)(min(t, a.T - 1) * a.NH * eq_tile<HD>::CHUNKS);
        for (int c = part; c < HD / 8; c += 8) {
            uint4 x = o[at + c], y = do_[at + c];
            const uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
            for (int i = 0; i < 4; i++)
                sum += eq_bf16_low(xs[i]) * eq_bf16_low(ys[i]) +
                       eq_bf16_high(xs[i]) * eq_bf16_high(ys[i]);
        }
        for (int m = 4; m; m >>= 1) sum += __shfl_xor_sync(EQ_ALL_LANES, sum, m);
        if (part) continue;
        if (t < a.T) delta[t] = sum;
        *(float *)(place + r * eq_tile<HD>::BYTES + 2 * HD) = t < a.T ? sum : 0.0f;
    }
    __syncwarp();
}

/* What a lane knows of its rows 16 m + g + 8 h. */
template <int HD, int MT> struct dq_rows { float dq[MT][HD / 8][4], lse[MT][2], delta[MT][2]; };

/* One tile of keys. qa, oa: the lane's places in q and do; kb, vb, ka: in this tile. */
template <int HD, int MT, bool WHOLE>
EQ_INLINE void dq_step(const eq_attn_args &a, dq_rows<HD, MT> &r, eq_shared qa, eq_shared oa,
                       eq_shared kb, eq_shared vb, eq_shared ka, int t0, int k0) {
    float p[MT][DQ_KEYS / 8][4], dp[MT][DQ_KEYS / 8][4], scale = a.scale * EQ_LOG2E;
    int c = eq_lane() & 3;
    eq_product_nt<HD, MT, DQ_KEYS / 8>(p, qa, kb);
    if (a.cap > 0.0f) eq_attn_cap<MT, DQ_KEYS / 8>(a, p);
    eq_product_nt<HD, MT, DQ_KEYS / 8>(dp, oa, vb);
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < DQ_KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x = eq_ptx_exp2(fmaf(p[m][n][i], scale, -r.lse[m][i / 2]));
                if (!WHOLE && !eq_attn_sees(a, t0 + 16 * m + i / 2 * 8, k0 + 8 * n + 2 * c + i % 2))
                    x = 0.0f;
                p[m][n][i] = x * (dp[m][n][i] - r.delta[m][i / 2]);
                if (a.cap > 0.0f) p[m][n][i] *= eq_attn_slope(a, x, r.lse[m][i / 2] / EQ_LOG2E);
            }
    eq_product_pn<HD, MT, DQ_KEYS / 8, HD / 8>(r.dq, p, ka);
}

template <int HD, int MT, int STAGES>
static __global__ __launch_bounds__(DQ_THREADS, 2) void attn_bwd_dq(eq_attn_args a) {
    typedef dq_tiles<HD, MT, STAGES> at;
    typedef eq_tile<HD> tile;
    EQ_DYNAMIC_SHARED(memory);
    eq_shared qs = eq_shared_of(memory), ks = qs + at::K_AT, vs = qs + at::V_AT;
    eq_attn_place place = eq_attn_placed(a, (int)blockIdx.x);
    int b = place.head / a.NH, h = place.head % a.NH, kv = h / (a.NH / a.NKV);
    int q0 = (a.tiles - 1 - place.rank) * at::QUERIES, warp = (int)threadIdx.x >> 5;
    int row0 = q0 + warp * 16 * MT, row1 = row0 + 16 * MT - 1, t0 = row0 + (eq_lane() >> 2);
    int stride_q = a.NH * tile::CHUNKS, stride_k = a.NKV * tile::CHUNKS;
    int64_t start = eq_attn_start(a, b, a.NH, h), start_k = eq_attn_start(a, b, a.NKV, kv);
    const uint16_t *do_ = (const uint16_t *)a.do_ + start, *o = (const uint16_t *)a.o_in + start;
    const uint16_t *k = (const uint16_t *)a.k + start_k, *v = (const uint16_t *)a.v + start_k;
    const float *lse = a.lse + (int64_t)place.head * a.T;
    int last = (min(q0 + at::QUERIES, a.T) - 1) / DQ_KEYS;
    int first = a.window > 0 ? max(0, q0 - a.window + 1) / DQ_KEYS : 0;
    int own = warp * 16 * MT * tile::BYTES;
    eq_shared qa = qs + own + eq_lane_a<HD>(), oa = qa + at::DO_AT;

    eq_tile_load<HD, at::QUERIES, DQ_THREADS>(qs, (const uint16_t *)a.q + start, stride_q, q0, a.T);
    eq_tile_load<HD, at::QUERIES, DQ_THREADS>(qs + at::DO_AT, do_, stride_q, q0, a.T);
    eq_tile_load<HD, DQ_KEYS, DQ_THREADS>(ks, k, stride_k, first * DQ_KEYS, a.T);
    eq_tile_load<HD, DQ_KEYS, DQ_THREADS>(vs, v, stride_k, first * DQ_KEYS, a.T);
    eq_copy_commit();
    dq_rows<HD, MT> r;
    eq_clear(r.dq);
    dq_delta<HD, 16 * MT>(a, (const uint4 *)o, (const uint4 *)do_,
                          a.delta + (int64_t)place.head * a.T, row0, memory + own);
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int t = t0 + 16 * m + 8 * i;
            r.lse[m][i] = t < a.T ? lse[t] * EQ_LOG2E : 0.0f;
            r.delta[m][i] = *(const float *)(memory + (t - q0) * tile::BYTES + 2 * HD);
        }
#pragma unroll 1
    for (int j = first; j <= last; j++) {
        int k0 = j * DQ_KEYS, stage = STAGES > 1 ? (j - first) & 1 : 0;
        int here = stage * at::KEYS_BYTES, next = STAGES > 1 ? at::KEYS_BYTES - here : 0;
        bool seen = k0 <= row1 && (a.window <= 0 || row0 - (k0 + DQ_KEYS - 1) < a.window);
        bool whole = k0 + DQ_KEYS - 1 <= row0 && (a.window <= 0 || row1 - k0 < a.window);
        eq_copy_wait<0>();
        __syncthreads(); /* this tile is here; with two, nobody needs the last one */
        if (STAGES > 1 && j < last) {
            eq_tile_load<HD, DQ_KEYS, DQ_THREADS>(ks + next, k, stride_k, k0 + DQ_KEYS, a.T);
            eq_tile_load<HD, DQ_KEYS, DQ_THREADS>(vs + next, v, stride_k, k0 + DQ_KEYS, a.T);
            eq_copy_commit();
        }
        eq_shared kb = ks + here + eq_lane_b<HD>(), vb = vs + here + eq_lane_b<HD>();
        eq_shared ka = ks + here + eq_lane_a<HD>();
        if (seen && whole) dq_step<HD, MT, true>(a, r, qa, oa, kb, vb, ka, t0, k0);
        if (seen && !whole) dq_step<HD, MT, false>(a, r, qa, oa, kb, vb, ka, t0, k0);
        if (STAGES == 1 && j < last) {
            __syncthreads();
            eq_tile_load<HD, DQ_KEYS, DQ_THREADS>(ks, k, stride_k, k0 + DQ_KEYS, a.T);
            eq_tile_load<HD, DQ_KEYS, DQ_THREADS>(vs, v, stride_k, k0 + DQ_KEYS, a.T);
            eq_copy_commit();
        }
    }
#pragma unroll
    for (int m = 0; m < MT; m++) r.lse[m][0] = r.lse[m][1] = a.scale;
    eq_tile_store<HD, MT, HD / 8>((uint16_t *)a.dq + start + (int64_t)row0 * a.NH * HD,
                                  (int64_t)a.NH * HD, a.T - row0, memory + own, 0, r.dq, r.lse);
}

/* ---- dk, dv: a block takes KEYS keys and goes over the queries of all heads that share them ----
 */

/* WARPS warps of 16 MT keys; SPLIT of them take the same keys and part the columns of dk and dv.
 * HELD: fragments of k and v stay in registers, and their tiles make room for those of q and do. */
template <int HD_, int MT_, int WARPS_, int SPLIT_, bool HELD_, int QUERIES_, int STAGES_,
          int TAKEN_ = 32>
struct dkv_tiles {
    typedef eq_tile<HD_> tile;
    enum {
        HD = HD_,
        MT = MT_,
        WARPS = WARPS_,
        SPLIT = SPLIT_,
        HELD = HELD_,
        QUERIES = QUERIES_,
        STAGES = STAGES_,
        TAKEN = TAKEN_,
        THREADS = 32 * WARPS,
        KEYS = 16 * MT * WARPS / SPLIT,
        NT = HD / SPLIT / 8,
        STAGE = QUERIES * tile::BYTES,
        K_AT = 0,
        V_AT = HELD ? STAGES * STAGE : KEYS * tile::BYTES,
        Q_AT = HELD ? 0 : 2 * V_AT,
        DO_AT = Q_AT + STAGES * STAGE,
        SHARED = DO_AT + STAGES * STAGE
    };
    static_assert(!HELD || STAGES * QUERIES >= KEYS, "tiles of k and q share their place");
    static_assert(2 * QUERIES <= THREADS, "a thread for each lse and delta");
};

template <class at> struct dkv_rows {
    float dk[at::MT][at::NT][4], dv[at::MT][at::NT][4];
    uint32_t k[at::HELD ? at::HD / 16 : 1][4], v[at::HELD ? at::HD / 16 : 1][4];
};

/* Where the walk over heads and tiles of queries is. */
struct dkv_walk {
    int head, tile, left;
};

template <class at>
EQ_INLINE void dkv_load(const eq_attn_args &a, eq_shared s, int stage, int b, const dkv_walk &w) {
    enum { HD = at::HD };
    typedef eq_tile<HD> tile;
    int64_t start = eq_attn_start(a, b, a.NH, w.head);
    int q0 = w.tile * at::QUERIES, stride = a.NH * tile::CHUNKS, r = (int)threadIdx.x;
    eq_shared qs = s + at::Q_AT + stage * at::STAGE, os = s + at::DO_AT + stage * at::STAGE;
    eq_tile_load<HD, at::QUERIES, at::THREADS>(qs, (const uint16_t *)a.q + start, stride, q0, a.T);
    eq_tile_load<HD, at::QUERIES, at::THREADS>(os, (const uint16_t *)a.do_ + start, stride, q0,
                                               a.T);
    if (r < 2 * at::QUERIES) { /* lse and delta behind each row of q */
        const float *from = r < at::QUERIES ? a.lse : a.delta;
        int i = r < at::QUERIES ? 0 : 1;
        r -= i * at::QUERIES;
        from += ((int64_t)b * a.NH + w.head) * a.T;
        eq_copy4(qs + r * tile::BYTES + 2 * HD + 4 * i, from + min(q0 + r, a.T - 1), q0 + r < a.T);
    }
    eq_copy_commit();
}
template <class at> EQ_INLINE void dkv_next(dkv_walk &w, int first, int last) {
    w.left--;
    if (++w.tile <= last) return;
    w.tile = first;
    w.head++;
}

/* TAKEN queries from t0 on against the warp's keys. qb, ob, qa, oa: the lane's places in their
 * rows; ka, va: in k and v; rows: the first of q's rows, for lse and delta; j0: the lane's first
 * key. */
template <class at, bool WHOLE>
EQ_INLINE void dkv_step(const eq_attn_args &a, dkv_rows<at> &r, eq_shared q, eq_shared o,
                        eq_shared ka, eq_shared va, const unsigned char *rows, int part, int t0,
                        int j0) {
    enum { HD = at::HD, MT = at::MT, N = at::TAKEN / 8, ROW = eq_tile<HD>::BYTES };
    float p[MT][N][4], ds[MT][N][4], scale = a.scale * EQ_LOG2E;
    int c = eq_lane() & 3;
    if constexpr (at::HELD)
        eq_product_nt_held<HD, N>(p, r.k, q + eq_lane_b<HD>());
    else
        eq_product_nt<HD, MT, N>(p, ka, q + eq_lane_b<HD>());
    if (a.cap > 0.0f) eq_attn_cap<MT, N>(a, p);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            int t = 8 * n + 2 * c + e;
            float lse = EQ_LOG2E * *(const float *)(rows + t * ROW + 2 * HD);
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int i = e; i < 4; i += 2) {
                    float x = eq_ptx_exp2(fmaf(p[m][n][i], scale, -lse));
                    bool sees = WHOLE || eq_attn_sees(a, t0 + t, j0 + 16 * m + i / 2 * 8);
                    p[m][n][i] = sees ? x : 0.0f;
                }
        }
    eq_product_pn<HD, MT, N, at::NT>(r.dv, p, o + eq_lane_a<HD>() + part * at::NT * 16);
    if constexpr (at::HELD)
        eq_product_nt_held<HD, N>(ds, r.v, o + eq_lane_b<HD>());
    else
        eq_product_nt<HD, MT, N>(ds, va, o + eq_lane_b<HD>());
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const float *row = (const float *)(rows + (8 * n + 2 * c + e) * ROW + 2 * HD);
            float lse = row[0], delta = row[1];
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int i = e; i < 4; i += 2) {
                    ds[m][n][i] = p[m][n][i] * (ds[m][n][i] - delta);
                    if (a.cap > 0.0f) ds[m][n][i] *= eq_attn_slope(a, p[m][n][i], lse);
                }
        }
    eq_product_pn<HD, MT, N, at::NT>(r.dk, ds, q + eq_lane_a<HD>() + part * at::NT * 16);
}

/* start: where the key head begins; own: the warp's rows of the tiles, which are free now. */
template <class at>
EQ_INLINE void dkv_finish(const eq_attn_args &a, const dkv_rows<at> &r, unsigned char *memory,
                          int64_t start, int key0, int own, int part) {
    enum { HD = at::HD, MT = at::MT, ROW = eq_tile<HD>::BYTES, COLUMNS = 8 * at::NT };
    int64_t to = start + (int64_t)key0 * a.NKV * HD, row = (int64_t)a.NKV * HD;
    unsigned char *place_k = memory + at::K_AT + own * ROW,
                  *place_v = memory + at::V_AT + own * ROW;
    float by[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++) by[m][0] = by[m][1] = a.scale;
    eq_tile_store<HD, MT, at::NT>((uint16_t *)a.dk + to, row, a.T - key0, place_k, part * COLUMNS,
                                  r.dk, by);
#pragma unroll
    for (int m = 0; m < MT; m++) by[m][0] = by[m][1] = 1.0f;
    eq_tile_store<HD, MT, at::NT>((uint16_t *)a.dv + to, row, a.T - key0, place_v, part * COLUMNS,
                                  r.dv, by);
}

template <class at>
static __global__ __launch_bounds__(at::THREADS,
                                    at::THREADS > 128 ? 1 : 2) void attn_bwd_dkv(eq_attn_args a) {
    enum { HD = at::HD, MT = at::MT, ROW = eq_tile<HD>::BYTES };
    EQ_DYNAMIC_SHARED(memory);
    eq_shared s = eq_shared_of(memory);
    eq_attn_place place = eq_attn_placed(a, (int)blockIdx.x);
    int b = place.head / a.NKV, kv = place.head % a.NKV, group = a.NH / a.NKV;
    int warp = (int)threadIdx.x >> 5, part = warp / (at::WARPS / at::SPLIT);
    int own = warp % (at::WARPS / at::SPLIT) * 16 * MT; /* the warp's keys within the tile */
    int k0 = place.rank * at::KEYS, key0 = k0 + own, key1 = key0 + 16 * MT - 1;
    int64_t start = eq_attn_start(a, b, a.NKV, kv);
    int stride = a.NKV * eq_tile<HD>::CHUNKS;
    int seen_last = a.window > 0 ? min(a.T - 1, k0 + at::KEYS + a.window - 2) : a.T - 1;
    int first = k0 / at::QUERIES, last = seen_last / at::QUERIES;
    eq_shared ka = s + at::K_AT + own * ROW + eq_lane_a<HD>(), va = ka + at::V_AT - at::K_AT;

    dkv_rows<at> r;
    eq_clear(r.dk);
    eq_clear(r.dv);
    eq_tile_load<HD, at::KEYS, at::THREADS>(s + at::K_AT, (const uint16_t *)a.k + start, stride, k0,
                                            a.T);
    eq_tile_load<HD, at::KEYS, at::THREADS>(s + at::V_AT, (const uint16_t *)a.v + start, stride, k0,
                                            a.T);
    if constexpr (at::HELD) {
        eq_copy_commit();
        eq_copy_wait<0>();
        __syncthreads();
#pragma unroll
        for (int i = 0; i < HD / 16; i++)
            eq_ldmatrix(r.k[i], ka + 32 * i), eq_ldmatrix(r.v[i], va + 32 * i);
        __syncthreads(); /* k and v are in registers; their place is free */
    }
    dkv_walk w = {kv * group, first, group * (last - first + 1)}, ahead = w;
    dkv_load<at>(a, s, 0, b, ahead);
    dkv_next<at>(ahead, first, last);
#pragma unroll 1
    for (int it = 0; w.left > 0; it++, dkv_next<at>(w, first, last)) {
        int stage = at::STAGES > 1 ? it & 1 : 0;
        eq_copy_wait<0>();
        __syncthreads(); /* this tile is here; with two, nobody needs the last one */
        if (at::STAGES > 1 && ahead.left > 0) {
            dkv_load<at>(a, s, stage ^ 1, b, ahead);
            dkv_next<at>(ahead, first, last);
        }
#pragma unroll 1
        for (int sub = 0; sub < at::QUERIES; sub += at::TAKEN) {
            int t0 = w.tile * at::QUERIES + sub, t1 = t0 + at::TAKEN - 1;
            int in = stage * at::STAGE + sub * ROW, j0 = key0 + (eq_lane() >> 2);
            eq_shared qs = s + at::Q_AT + in, os = s + at::DO_AT + in;
            if (t1 < key0 || (a.window > 0 && t0 - key1 >= a.window)) continue;
            if (key1 <= t0 && (a.window <= 0 || t1 - key0 < a.window))
                dkv_step<at, true>(a, r, qs, os, ka, va, memory + at::Q_AT + in, part, t0, j0);
            else
                dkv_step<at, false>(a, r, qs, os, ka, va, memory + at::Q_AT + in, part, t0, j0);
        }
        if (at::STAGES == 1 && ahead.left > 0) {
            __syncthreads();
            dkv_load<at>(a, s, 0, b, ahead);
            dkv_next<at>(ahead, first, last);
        }
    }
    __syncthreads(); /* the tiles are free for the results */
    dkv_finish<at>(a, r, memory, start, key0, own, part);
}

/* ---- host ------------------------------------------------------------------------------------ */

template <int HD, int MT> static void run_dq(eq_backend *be, const eq_attn_args &a) {
    typedef dq_tiles<HD, MT, 2> two;
    typedef dq_tiles<HD, MT, 1> one;
    if (two::SHARED <= eq_cuda_of(be)->shared)
        eq_attn_launch(be, "attn_bwd", attn_bwd_dq<HD, MT, 2>, a, a.NH, two::QUERIES, DQ_THREADS,
                       two::SHARED);
    else
        eq_attn_launch(be, "attn_bwd", attn_bwd_dq<HD, MT, 1>, a, a.NH, one::QUERIES, DQ_THREADS,
                       one::SHARED);
}
template <class at> static void run_dkv(eq_backend *be, const eq_attn_args &a) {
    eq_attn_launch(be, "attn_bwd", attn_bwd_dkv<at>, a, a.NKV, at::KEYS, at::THREADS, at::SHARED);
}
static void run_dkv_256(eq_backend *be, const eq_attn_args &a) {
    typedef dkv_tiles<256, 1, 8, 2, false, 32, 2> two;
    typedef dkv_tiles<256, 1, 8, 2, false, 32, 1> one;
    if (two::SHARED <= eq_cuda_of(be)->shared)
        run_dkv<two>(be, a);
    else
        run_dkv<one>(be, a);
}

static void attn_bwd(eq_backend *be, eq_mut dq, eq_mut dk, eq_mut dv, eq_view do_, eq_view q,
                     eq_view k, eq_view v, eq_view o, eq_view lse, eq_attn_shape s) {
    eq_attn_args a = eq_attn_args_of(s, s.T);
    a.q = q.p, a.k = k.p, a.v = v.p, a.o_in = o.p, a.do_ = do_.p;
    a.dq = dq.p, a.dk = dk.p, a.dv = dv.p, a.lse = (float *)(uintptr_t)lse.p;
    const void *all[] = {q.p, k.p, v.p, o.p, do_.p, dq.p, dk.p, dv.p};
    if (a.heads * a.T == 0) return;
    a.delta = (float *)eq_cuda_scratch(be, 4 * s.B * s.NH * s.T);
    if (!a.delta) return;
    switch (eq_attn_flash_size(a, q.dt, all, 8)) {
    case 64:
        run_dq<64, 2>(be, a);
        return run_dkv<dkv_tiles<64, 2, 4, 1, false, 64, 2>>(be, a);
    case 80:
        run_dq<80, 2>(be, a);
        return run_dkv<dkv_tiles<80, 1, 8, 1, true, 64, 2>>(be, a);
    case 96:
        run_dq<96, 2>(be, a);
        return run_dkv<dkv_tiles<96, 1, 8, 1, true, 64, 2>>(be, a);
    case 128:
        run_dq<128, 2>(be, a);
        return run_dkv<dkv_tiles<128, 1, 4, 1, true, 32, 2>>(be, a);
    case 256:
        run_dq<256, 1>(be, a);
        return run_dkv_256(be, a);
    default:
        return eq_attn_bwd_plain(be, a, q.dt);
    }
}

void eq_cuda_attention_bwd(eq_ops *ops) { ops->attn_bwd = attn_bwd; }

/* Causal grouped-query attention for whatever the flash kernels do not take: fp32, other head
 * sizes, pointers that are not aligned to 16 bytes. Blocks of 16 x 16 threads, one score each of a
 * tile of 16 queries and 16 keys; everything in fp32. The formulas are in attention_bwd.cu.
 * Invariant: a row of a tile in shared memory is HD + 1 floats, an odd number, so that threads that
 * read one column of 16 rows meet no bank twice. */
#include "backend/cuda/attention.cuh"

enum { SIDE = 16, ALL = SIDE * SIDE, COLUMNS = 256 / SIDE };

EQ_INLINE float plain_get(const float *p, int64_t i) { return p[i]; }
EQ_INLINE float plain_get(const uint16_t *p, int64_t i) { return eq_bf16_low(p[i]); }
EQ_INLINE void plain_put(float *p, int64_t i, float x) { p[i] = x; }
EQ_INLINE void plain_put(uint16_t *p, int64_t i, float x) {
    p[i] = (uint16_t)eq_ptx_bf16x2(x, 0.0f);
}

/* Rows row0 .. row0 + 16 of a head of n tokens; `row` elements lie between two of them. */
template <typename V>
EQ_INLINE void plain_load(float *to, const V *from, int64_t row, int row0, int n, int HD) {
    for (int e = (int)threadIdx.x; e < SIDE * HD; e += ALL) {
        int r = e / HD, d = e - r * HD;
        to[r * (HD + 1) + d] = row0 + r < n ? plain_get(from, (int64_t)(row0 + r) * row + d) : 0.0f;
    }
}
EQ_INLINE float plain_dot(const float *a, const float *b, int n) {
    float sum = 0.0f;
    for (int d = 0; d < n; d++) sum = fmaf(a[d], b[d], sum);
    return sum;
}
/* acc[n] += sum over r of f[r] rows[r][lane16 + 16 n] */
EQ_INLINE void plain_add(float (&acc)[COLUMNS], const float *f, const float *rows, int column,
                         int HD) {
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) {
        int d = column + SIDE * n;
        if (d >= HD) break;
        float sum = 0.0f;
        for (int r = 0; r < SIDE; r++) sum = fmaf(f[r], rows[r * (HD + 1) + d], sum);
        acc[n] += sum;
    }
}
template <typename V>
EQ_INLINE void plain_store(V *to, const float (&acc)[COLUMNS], float by, int column, int HD) {
#pragma unroll
    for (int n = 0; n < COLUMNS; n++)
        if (column + SIDE * n < HD) plain_put(to, column + SIDE * n, acc[n] * by);
}
/* Of the 16 threads of a row, the same in each. */
EQ_INLINE float plain_row_sum(float x) {
    for (int m = 8; m; m >>= 1) x += __shfl_xor_sync(EQ_ALL_LANES, x, m);
    return x;
}
EQ_INLINE float plain_row_max(float x) {
    for (int m = 8; m; m >>= 1) x = fmaxf(x, __shfl_xor_sync(EQ_ALL_LANES, x, m));
    return x;
}
EQ_INLINE float plain_score(const eq_attn_args &a, float x) {
    return a.scale * (a.cap > 0.0f ? eq_attn_capped(a, x) : x);
}
/* Of the cap, at a score. */
EQ_INLINE float plain_slope(const eq_attn_args &a, float s) {
    return a.cap > 0.0f ? 1.0f - s / a.cap * (s / a.cap) : 1.0f;
}
EQ_INLINE int plain_first(const eq_attn_args &a, int q0) {
    return a.window > 0 ? max(0, q0 - a.window + 1) / SIDE : 0;
}

template <typename V> static __global__ __launch_bounds__(ALL) void attn_fwd_plain(eq_attn_args a) {
    EQ_DYNAMIC_SHARED(memory);
    int S = a.HD + 1, i = (int)threadIdx.x / SIDE, j = (int)threadIdx.x % SIDE;
    float *qs = (float *)memory, *kvs = qs + SIDE * S, *ps = kvs + SIDE * S;
    eq_attn_place place = eq_attn_placed(a, (int)blockIdx.x);
    int b = place.head / a.NH, h = place.head % a.NH, kv = h / (a.NH / a.NKV);
    int q0 = (a.tiles - 1 - place.rank) * SIDE, t = q0 + i, past = eq_attn_past(a), own = past + t,
        keys = past + a.T;
    int64_t start = eq_attn_start(a, b, a.NH, h), start_k = eq_attn_start(a, b, a.NKV, kv);
    int64_t row = (int64_t)a.NH * a.HD, row_k = (int64_t)a.NKV * a.HD;
    float acc[COLUMNS] = {0.0f}, top = -INFINITY, sum = 0.0f;
    plain_load(qs, (const V *)a.q + start, row, q0, a.T, a.HD);
    for (int k0 = plain_first(a, past + q0) * SIDE; k0 < min(past + q0 + SIDE, keys); k0 += SIDE) {
        __syncthreads();
        plain_load(kvs, (const V *)a.k + start_k, row_k, k0, keys, a.HD);
        __syncthreads();
        bool sees = t < a.T && eq_attn_sees(a, own, k0 + j);
        float s = sees ? plain_score(a, plain_dot(qs + i * S, kvs + j * S, a.HD)) : -INFINITY;
        float new_top = fmaxf(top, plain_row_max(s));
        float p = sees ? expf(s - new_top) : 0.0f;
        float shrink = top == new_top ? 1.0f : expf(top - new_top); /* a row that saw nothing yet */
        sum = sum * shrink + plain_row_sum(p);
        top = new_top;
        ps[i * (SIDE + 1) + j] = p;
#pragma unroll
        for (int n = 0; n < COLUMNS; n++) acc[n] *= shrink;
        __syncthreads();
        plain_load(kvs, (const V *)a.v + start_k, row_k, k0, keys, a.HD);
        __syncthreads();
        plain_add(acc, ps + i * (SIDE + 1), kvs, j, a.HD);
    }
    if (t >= a.T) return;
    plain_store((V *)a.o + start + t * row, acc, 1.0f / sum, j, a.HD);
    if (j == 0) a.lse[(int64_t)place.head * a.T + t] = top + logf(sum);
}

/* dq of 16 queries, and their delta for the next kernel. */
template <typename V>
static __global__ __launch_bounds__(ALL) void attn_bwd_dq_plain(eq_attn_args a) {
    EQ_DYNAMIC_SHARED(memory);
    int S = a.HD + 1, i = (int)threadIdx.x / SIDE, j = (int)threadIdx.x % SIDE;
    float *qs = (float *)memory, *os = qs + SIDE * S, *ks = os + SIDE * S, *vs = ks + SIDE * S;
    float *dss = vs + SIDE * S + i * (SIDE + 1);
    eq_attn_place place = eq_attn_placed(a, (int)blockIdx.x);
    int b = place.head / a.NH, h = place.head % a.NH, kv = h / (a.NH / a.NKV);
    int q0 = (a.tiles - 1 - place.rank) * SIDE, t = q0 + i;
    int64_t start = eq_attn_start(a, b, a.NH, h), start_k = eq_attn_start(a, b, a.NKV, kv);
    int64_t row = (int64_t)a.NH * a.HD, row_k = (int64_t)a.NKV * a.HD;
    int64_t at = (int64_t)place.head * a.T + t;
    float acc[COLUMNS] = {0.0f}, delta = 0.0f;
    plain_load(qs, (const V *)a.q + start, row, q0, a.T, a.HD);
    plain_load(os, (const V *)a.do_ + start, row, q0, a.T, a.HD);
    __syncthreads();
    if (t < a.T)
        for (int d = j; d < a.HD; d += SIDE)
            delta = fmaf(os[i * S + d], plain_get((const V *)a.o_in + start, t * row + d), delta);
    delta = plain_row_sum(delta);
    if (t < a.T && j == 0) a.delta[at] = delta;
    for (int k0 = plain_first(a, q0) * SIDE; k0 < min(q0 + SIDE, a.T); k0 += SIDE) {
        __syncthreads();
        plain_load(ks, (const V *)a.k + start_k, row_k, k0, a.T, a.HD);
        plain_load(vs, (const V *)a.v + start_k, row_k, k0, a.T, a.HD);
        __syncthreads();
        float ds = 0.0f;
        if (t < a.T && eq_attn_sees(a, t, k0 + j)) {
            float s = plain_score(a, plain_dot(qs + i * S, ks + j * S, a.HD));
            float p = expf(s - a.lse[at]);
            ds = plain_slope(a, s) * p * (plain_dot(os + i * S, vs + j * S, a.HD) - delta);
        }
        dss[j] = ds;
        __syncwarp();
        plain_add(acc, dss, ks, j, a.HD);
    }
    if (t < a.T) plain_store((V *)a.dq + start + t * row, acc, a.scale, j, a.HD);
}

/* dk and dv of 16 keys: over the heads that share them, and the queries of each. Thread (i, j) has
 * the score of key i and query j. */
template <typename V>
static __global__ __launch_bounds__(ALL) void attn_bwd_dkv_plain(eq_attn_args a) {
    EQ_DYNAMIC_SHARED(memory);
    int S = a.HD + 1, i = (int)threadIdx.x / SIDE, j = (int)threadIdx.x % SIDE;
    float *ks = (float *)memory, *vs = ks + SIDE * S, *qs = vs + SIDE * S, *os = qs + SIDE * S;
    float *pss = os + SIDE * S + i * (SIDE + 1), *dss = pss + SIDE * (SIDE + 1);
    eq_attn_place place = eq_attn_placed(a, (int)blockIdx.x);
    int b = place.head / a.NKV, kv = place.head % a.NKV, group = a.NH / a.NKV;
    int k0 = place.rank * SIDE, key = k0 + i;
    int end = a.window > 0 ? min(a.T, k0 + SIDE + a.window - 1) : a.T;
    int64_t start_k = eq_attn_start(a, b, a.NKV, kv), row_k = (int64_t)a.NKV * a.HD;
    int64_t row = (int64_t)a.NH * a.HD;
    float dk[COLUMNS] = {0.0f}, dv[COLUMNS] = {0.0f};
    plain_load(ks, (const V *)a.k + start_k, row_k, k0, a.T, a.HD);
    plain_load(vs, (const V *)a.v + start_k, row_k, k0, a.T, a.HD);
    for (int h = kv * group; h < (kv + 1) * group; h++)
        for (int q0 = k0; q0 < end; q0 += SIDE) {
            int64_t start = eq_attn_start(a, b, a.NH, h);
            int64_t at = ((int64_t)b * a.NH + h) * a.T + q0 + j;
            __syncthreads();
            plain_load(qs, (const V *)a.q + start, row, q0, a.T, a.HD);
            plain_load(os, (const V *)a.do_ + start, row, q0, a.T, a.HD);
            __syncthreads();
            float p = 0.0f, ds = 0.0f;
            if (key < a.T && q0 + j < a.T && eq_attn_sees(a, q0 + j, key)) {
                float s = plain_score(a, plain_dot(qs + j * S, ks + i * S, a.HD));
                p = expf(s - a.lse[at]);
                ds =
                    plain_slope(a, s) * p * (plain_dot(os + j * S, vs + i * S, a.HD) - a.delta[at]);
            }
            pss[j] = p, dss[j] = ds;
            __syncwarp();
            plain_add(dv, pss, os, j, a.HD);
            plain_add(dk, dss, qs, j, a.HD);
        }
    if (key >= a.T) return;
    plain_store((V *)a.dk + start_k + key * row_k, dk, a.scale, j, a.HD);
    plain_store((V *)a.dv + start_k + key * row_k, dv, 1.0f, j, a.HD);
}

/* ---- host --------------------------------------------------------------------------------------
 */

static int plain_shared(const eq_attn_args &a, int tiles, int squares) {
    return 4 * SIDE * (tiles * (a.HD + 1) + squares * (SIDE + 1));
}
template <typename V> static void fwd_plain(eq_backend *be, eq_attn_args a) {
    eq_attn_launch(be, "attn_fwd", attn_fwd_plain<V>, a, a.NH, SIDE, ALL, plain_shared(a, 2, 1));
}
template <typename V> static void bwd_plain(eq_backend *be, eq_attn_args a) {
    eq_attn_launch(be, "attn_bwd", attn_bwd_dq_plain<V>, a, a.NH, SIDE, ALL, plain_shared(a, 4, 1));
    eq_attn_launch(be, "attn_bwd", attn_bwd_dkv_plain<V>, a, a.NKV, SIDE, ALL,
                   plain_shared(a, 4, 2));
}
void eq_attn_fwd_plain(eq_backend *be, const eq_attn_args &a, eq_dtype dt) {
    dt == EQ_BF16 ? fwd_plain<uint16_t>(be, a) : fwd_plain<float>(be, a);
}
void eq_attn_bwd_plain(eq_backend *be, const eq_attn_args &a, eq_dtype dt) {
    dt == EQ_BF16 ? bwd_plain<uint16_t>(be, a) : bwd_plain<float>(be, a);
}

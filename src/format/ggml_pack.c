/* Rows of codes to blocks. Each type is tried block by block: weights t s with whole t = q - z fit
 * when t lies in the type's range, perhaps with the sign of t and s turned, and the steps are fp16
 * numbers (of K types: whole multiples of one). */
#include <math.h>
#include <string.h>

#include "format/ggml.h"

enum { BLOCK_MAX = 256 };

eq_ggml_spec eq_ggml_of(eq_ggml t) {
    switch (t) {
#define EQ_CASE(id, number, name, block, bytes) \
    case EQ_GGML_##id: \
        return (eq_ggml_spec){name, number, block, bytes};
        EQ_GGML_TYPES(EQ_CASE)
#undef EQ_CASE
    default:
        return (eq_ggml_spec){0};
    }
}

bool eq_ggml_find(eq_ggml *t, const char *name) {
    for (int i = 0; i < EQ_GGML_COUNT; i++)
        if (!strcmp(eq_ggml_of((eq_ggml)i).name, name)) return *t = (eq_ggml)i, true;
    return false;
}

/* fp16 of x: exactly, or with `lossy` to nearest. */
static bool put_half(uint8_t *to, float x, bool lossy) {
    uint16_t h = eq_f32_to_f16(x);
    memcpy(to, &h, sizeof h);
    float again = eq_f16_to_f32(h);
    return isfinite(again) && (lossy || again == x);
}
static float half(float x) { return eq_f16_to_f32(eq_f32_to_f16(x)); }
static int limit(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }
static int nearest(float x, int lo, int hi) {
    return isfinite(x) ? limit((int)rintf(fmaxf(fminf(x, 1e6f), -1e6f)), lo, hi) : 0;
}

/* ---- weights that share a step ------------------------------------------------------------------
 */

/* n weights of a row as t s; false: they have several steps or zero points. */
static bool one_step(const eq_code_row *r, int64_t i, int n, int *t, float *s, float *z) {
    int64_t g = i / r->G, last = (i + n - 1) / r->G;
    *s = r->s[g], *z = r->z[g];
    for (int64_t k = g + 1; k <= last; k++)
        if (r->s[k] != *s || r->z[k] != *z) return false;
    for (int k = 0; k < n; k++) t[k] = r->q[i + k] - (int)*z;
    return true;
}

static void weights(const eq_code_row *r, int64_t i, int n, float *w) {
    for (int k = 0; k < n; k++)
        w[k] = ((float)r->q[i + k] - r->z[(i + k) / r->G]) * r->s[(i + k) / r->G];
}

/* Turns t and s where that brings t into lo .. hi; false: neither way does. */
static bool into_range(int *t, int n, float *s, int lo, int hi) {
    int least = 0, most = 0;
    for (int k = 0; k < n; k++) {
        if (t[k] < least) least = t[k];
        if (t[k] > most) most = t[k];
    }
    if (least >= lo && most <= hi) return true;
    if (-most < lo || -least > hi) return false;
    for (int k = 0; k < n; k++) t[k] = -t[k];
    *s = -*s;
    return true;
}

/* The nearest t in lo .. hi (lo < -hi or the like) for any weights: the largest in magnitude lies
 * on the end that is farther from 0. */
static void round_into(const float *w, int n, int *t, float *s, int lo, int hi) {
    float most = 0;
    for (int k = 0; k < n; k++)
        if (fabsf(w[k]) > fabsf(most)) most = w[k];
    *s = half(most / (float)(-lo > hi ? lo : hi));
    for (int k = 0; k < n; k++) t[k] = *s != 0 ? nearest(w[k] / *s, lo, hi) : 0;
}

static bool fit(const eq_code_row *r, int64_t i, int n, int *t, float *s, int lo, int hi,
                bool lossy) {
    float z, w[BLOCK_MAX];
    if (one_step(r, i, n, t, s, &z) && into_range(t, n, s, lo, hi)) return true;
    if (!lossy) return false;
    weights(r, i, n, w);
    round_into(w, n, t, s, lo, hi);
    return true;
}

static bool put_q2_0(uint8_t *b, const eq_code_row *r, int64_t i, bool lossy) {
    int t[64];
    float s;
    if (!fit(r, i, 64, t, &s, -1, 2, lossy)) return false;
    for (int k = 0; k < 64; k++) b[2 + k / 4] |= (uint8_t)((t[k] + 1) << 2 * (k % 4));
    return put_half(b, s, lossy);
}
static bool put_q4_0(uint8_t *b, const eq_code_row *r, int64_t i, bool lossy) {
    int t[32];
    float s;
    if (!fit(r, i, 32, t, &s, -8, 7, lossy)) return false;
    for (int k = 0; k < 16; k++) b[2 + k] = (uint8_t)((t[k] + 8) | (t[k + 16] + 8) << 4);
    return put_half(b, s, lossy);
}
static bool put_q5_0(uint8_t *b, const eq_code_row *r, int64_t i, bool lossy) {
    int t[32];
    float s;
    if (!fit(r, i, 32, t, &s, -16, 15, lossy)) return false;
    for (int k = 0; k < 16; k++)
        b[6 + k] = (uint8_t)(((t[k] + 16) & 15) | ((t[k + 16] + 16) & 15) << 4);
    for (int k = 0; k < 32; k++) b[2 + k / 8] |= (uint8_t)((t[k] + 16) >> 4 << k % 8);
    return put_half(b, s, lossy);
}
static bool put_q8_0(uint8_t *b, const eq_code_row *r, int64_t i, bool lossy) {
    int t[32];
    float s;
    if (!fit(r, i, 32, t, &s, -127, 127, lossy)) return false;
    for (int k = 0; k < 32; k++) b[2 + k] = (uint8_t)(int8_t)t[k];
    return put_half(b, s, lossy);
}
static bool put_q4_1(uint8_t *b, const eq_code_row *r, int64_t i, bool lossy) {
    int n[32];
    float s, z, m = 0, w[32], lo = 0, hi = 0;
    if (one_step(r, i, 32, n, &s, &z) && r->bits <= 4) {
        for (int k = 0; k < 32; k++) n[k] = r->q[i + k];
        m = -z * s;
    } else {
        if (!lossy) return false;
        weights(r, i, 32, w);
        for (int k = 0; k < 32; k++) lo = fminf(lo, w[k]), hi = fmaxf(hi, w[k]);
        s = half((hi - lo) / 15), m = half(lo);
        for (int k = 0; k < 32; k++) n[k] = s != 0 ? nearest((w[k] - m) / s, 0, 15) : 0;
    }
    for (int k = 0; k < 16; k++) b[4 + k] = (uint8_t)(n[k] | n[k + 16] << 4);
    return put_half(b, s, lossy) && put_half(b + 2, m, lossy);
}

/* ---- K types: 256 weights, parts with whole multiples of one step
 * -------------------------------- */

enum { PARTS_MAX = 16 };
typedef struct {
    int parts, of;      /* parts of `of` weights */
    int t[BLOCK_MAX];   /* whole weights, in steps of their part */
    float s[PARTS_MAX]; /* steps */
    float z[PARTS_MAX]; /* the value of code 0 is -z s */
    int k[PARTS_MAX];   /* s = k d */
    int m[PARTS_MAX];   /* z s = m dmin */
    float d, dmin;
} k_block;

/* d with s = k d for all parts, k up to `most`: the largest step is a multiple of it. */
static bool grid(k_block *b, int most) {
    float top = 0;
    for (int p = 0; p < b->parts; p++) top = fmaxf(top, fabsf(b->s[p]));
    for (int by = 1; by <= most; by++) {
        float d = b->d = top / (float)by;
        bool all = half(d) == d && d * (float)by == top;
        for (int p = 0; all && p < b->parts; p++) {
            b->k[p] = d != 0 ? nearest(b->s[p] / d, -most, most) : 0;
            all = d * (float)b->k[p] == b->s[p];
        }
        if (all) return true;
    }
    return false;
}

static void near_grid(k_block *b, int most) {
    float top = 0;
    for (int p = 0; p < b->parts; p++) top = fmaxf(top, fabsf(b->s[p]));
    b->d = half(top / (float)most);
    for (int p = 0; p < b->parts; p++)
        b->k[p] = b->d != 0 ? nearest(b->s[p] / b->d, -most, most) : 0;
}

/* Zero points on a grid beside the steps': one z for all, or z k small enough. */
static bool grid_of_zeros(k_block *b, int most) {
    bool one = true, small = true;
    for (int p = 0; p < b->parts; p++) {
        one = one && b->z[p] == b->z[0];
        small = small && b->z[p] * (float)b->k[p] <= (float)most;
    }
    if (small) {
        b->dmin = b->d;
        for (int p = 0; p < b->parts; p++) b->m[p] = (int)b->z[p] * b->k[p];
        return true;
    }
    b->dmin = b->z[0] * b->d;
    memcpy(b->m, b->k, sizeof b->m);
    return one && half(b->dmin) == b->dmin;
}

static void near_zeros(k_block *b, int most) {
    float top = 0;
    for (int p = 0; p < b->parts; p++) top = fmaxf(top, b->z[p] * b->s[p]);
    b->dmin = half(top / (float)most);
    for (int p = 0; p < b->parts; p++)
        b->m[p] = b->dmin != 0 ? nearest(b->z[p] * b->s[p] / b->dmin, 0, most) : 0;
}

/* Parts of a type with codes 0 .. n_max, steps and zero points of its own, none negative. */
static bool take_part(k_block *b, int p, const eq_code_row *r, int64_t i, int n_max, bool lossy) {
    int *t = b->t + p * b->of, Q = (1 << r->bits) - 1;
    float w[BLOCK_MAX], lo = 0, hi = 0;
    if (one_step(r, i, b->of, t, &b->s[p], &b->z[p]) && Q <= n_max) {
        bool turned = b->s[p] < 0;
        if (turned) b->s[p] = -b->s[p], b->z[p] = (float)Q - b->z[p];
        for (int k = 0; k < b->of; k++) t[k] = turned ? Q - r->q[i + k] : r->q[i + k];
        return true;
    }
    if (!lossy) return false;
    weights(r, i, b->of, w);
    for (int k = 0; k < b->of; k++) lo = fminf(lo, w[k]), hi = fmaxf(hi, w[k]);
    b->s[p] = (hi - lo) / (float)n_max;
    b->z[p] = b->s[p] > 0 ? -lo / b->s[p] : 0;
    for (int k = 0; k < b->of; k++)
        t[k] = b->s[p] > 0 ? nearest((w[k] - lo) / b->s[p], 0, n_max) : 0;
    return true;
}

static bool take_block(k_block *b, const eq_code_row *r, int64_t i, int n_max, int most,
                       bool lossy) {
    bool whole = true;
    for (int p = 0; p < b->parts; p++) {
        if (!take_part(b, p, r, i + p * b->of, n_max, lossy)) return false;
        whole = whole && b->z[p] == rintf(b->z[p]);
    }
    if (grid(b, most) && whole && grid_of_zeros(b, most)) return true;
    if (!lossy) return false;
    near_grid(b, most);
    near_zeros(b, most);
    return true;
}

static void put_low_bits(uint8_t *qs, const int *n) {
    for (int i = 0; i < 256; i++)
        qs[32 * (i / 128) + i % 32] |= (uint8_t)((n[i] & 3) << 2 * (i % 128 / 32));
}

static bool put_q2_k(uint8_t *out, const eq_code_row *r, int64_t i, bool lossy) {
    k_block b = {.parts = 16, .of = 16};
    if (!take_block(&b, r, i, 3, 15, lossy)) return false;
    for (int p = 0; p < 16; p++) out[p] = (uint8_t)(b.k[p] | b.m[p] << 4);
    put_low_bits(out + 16, b.t);
    return put_half(out + 80, b.d, lossy) && put_half(out + 82, b.dmin, lossy);
}

static bool put_q4_k(uint8_t *out, const eq_code_row *r, int64_t i, bool lossy) {
    k_block b = {.parts = 8, .of = 32};
    uint8_t *sc = out + 4, *qs = out + 16;
    if (!take_block(&b, r, i, 15, 63, lossy)) return false;
    for (int p = 0; p < 4; p++) {
        int high = p + 4;
        sc[p] = (uint8_t)(b.k[p] | b.k[high] >> 4 << 6);
        sc[p + 4] = (uint8_t)(b.m[p] | b.m[high] >> 4 << 6);
        sc[p + 8] = (uint8_t)((b.k[high] & 15) | (b.m[high] & 15) << 4);
    }
    for (int k = 0; k < 256; k++)
        qs[32 * (k / 64) + k % 32] |= (uint8_t)(b.t[k] << (k % 64 < 32 ? 0 : 4));
    return put_half(out, b.d, lossy) && put_half(out + 2, b.dmin, lossy);
}

/* No zero points, signed multiples: t in -4 .. 3, or turned. */
static bool put_q3_k(uint8_t *out, const eq_code_row *r, int64_t i, bool lossy) {
    k_block b = {.parts = 16, .of = 16};
    int n[BLOCK_MAX];
    for (int p = 0; p < 16; p++)
        if (!fit(r, i + p * 16, 16, b.t + p * 16, &b.s[p], -4, 3, lossy)) return false;
    if (!grid(&b, 31)) {
        if (!lossy) return false;
        near_grid(&b, 31);
    }
    for (int k = 0; k < 256; k++) {
        n[k] = b.t[k] + 4;
        out[k % 32] |= (uint8_t)(n[k] >> 2 << k / 32);
    }
    put_low_bits(out + 32, n);
    for (int p = 0; p < 16; p++) {
        int c = b.k[p] + 32;
        out[96 + p % 8] |= (uint8_t)((c & 15) << (p < 8 ? 0 : 4));
        out[96 + 8 + p % 4] |= (uint8_t)(c >> 4 << 2 * (p / 4));
    }
    return put_half(out + 108, b.d, lossy);
}

/* ---- plain numbers ------------------------------------------------------------------------------
 */

static bool put_float(uint8_t *out, const eq_code_row *r, eq_dtype dt, bool lossy) {
    for (int64_t i = 0; i < r->n; i++) {
        float w;
        weights(r, i, 1, &w);
        eq_store(out, dt, i, w);
        float again = eq_load(out, dt, i);
        if (!isfinite(again) || (!lossy && again != w)) return false;
    }
    return true;
}

void eq_ggml_q8_0(uint8_t *out, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 32, out += 34) {
        float most = 0, d;
        for (int k = 0; k < 32; k++) most = fmaxf(most, fabsf(x[i + k]));
        d = half(most / 127);
        put_half(out, d, true);
        for (int k = 0; k < 32; k++)
            out[2 + k] = (uint8_t)(int8_t)(d != 0 ? nearest(x[i + k] / d, -127, 127) : 0);
    }
}

bool eq_ggml_pack(uint8_t *out, eq_ggml t, const eq_code_row *r, bool lossy) {
    static bool (*const put[EQ_GGML_COUNT])(uint8_t *, const eq_code_row *, int64_t, bool) = {
        [EQ_GGML_Q2_0] = put_q2_0, [EQ_GGML_Q2_K] = put_q2_k, [EQ_GGML_Q3_K] = put_q3_k,
        [EQ_GGML_Q4_0] = put_q4_0, [EQ_GGML_Q4_K] = put_q4_k, [EQ_GGML_Q4_1] = put_q4_1,
        [EQ_GGML_Q5_0] = put_q5_0, [EQ_GGML_Q8_0] = put_q8_0,
    };
    eq_ggml_spec s = eq_ggml_of(t);
    if (t == EQ_GGML_F16) return put_float(out, r, EQ_F16, lossy);
    if (t == EQ_GGML_BF16) return put_float(out, r, EQ_BF16, lossy);
    if (t == EQ_GGML_F32) return put_float(out, r, EQ_F32, lossy);
    if (!put[t]) return false;
    memset(out, 0, (size_t)(r->n / s.block * s.bytes));
    for (int64_t i = 0; i < r->n; i += s.block, out += s.bytes)
        if (!put[t](out, r, i, lossy)) return false;
    return true;
}

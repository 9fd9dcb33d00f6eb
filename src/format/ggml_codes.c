/* Blocks of GGUF as codes with steps and zero points, which is how this program holds and trains
 * weights. Types of five and six bits become codes of eight. Layouts: FORMATS, "GGUF". */
#include <string.h>

#include "format/ggml.h"

bool eq_ggml_code_shape(eq_ggml t, int *bits, int64_t *group) {
    static const struct {
        int bits;
        int64_t group;
    } shapes[EQ_GGML_COUNT] = {
        [EQ_GGML_Q2_0] = {2, 64}, [EQ_GGML_Q2_K] = {2, 16}, [EQ_GGML_Q3_K] = {3, 16},
        [EQ_GGML_Q4_0] = {4, 32}, [EQ_GGML_Q4_K] = {4, 32}, [EQ_GGML_Q4_1] = {4, 32},
        [EQ_GGML_Q5_0] = {8, 32}, [EQ_GGML_Q8_0] = {8, 32}, [EQ_GGML_Q5_1] = {8, 32},
        [EQ_GGML_Q5_K] = {8, 32}, [EQ_GGML_Q6_K] = {8, 16},
    };
    *bits = shapes[t].bits, *group = shapes[t].group;
    return *bits != 0;
}

static float half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return eq_f16_to_f32(h);
}

/* One group: weight i is n[i] step - min, n from 0 to Q. A step below 0 is turned round with its
 * codes; one of 0 leaves -min everywhere, which another step says. */
static void group_of(uint8_t *q, float *s, float *z, const int *n, int count, int Q, float step,
                     float min) {
    bool turn = step < 0, flat = step == 0;
    *s = flat ? (min != 0 ? (min < 0 ? -min : min) : 1.0f) : turn ? -step : step;
    *z = flat ? (min > 0) : turn ? (float)Q - min / step : min / step;
    for (int i = 0; i < count; i++) q[i] = (uint8_t)(flat ? min < 0 : turn ? Q - n[i] : n[i]);
}

/* The same for (n[i] - zero) step with a whole zero. */
static void centred(uint8_t *q, float *s, float *z, const int *n, int count, int Q, float step,
                    int zero) {
    bool turn = step < 0;
    *s = step == 0 ? 1.0f : turn ? -step : step;
    *z = (float)(turn ? Q - zero : zero);
    for (int i = 0; i < count; i++) q[i] = (uint8_t)(step == 0 ? (int)*z : turn ? Q - n[i] : n[i]);
}

static void nibbles(int *n, const uint8_t *qs) {
    for (int k = 0; k < 16; k++) n[k] = qs[k] & 15, n[k + 16] = qs[k] >> 4;
}

static void small_block(uint8_t *q, float *s, float *z, eq_ggml t, const uint8_t *b) {
    int n[64];
    float d = half_at(b);
    switch (t) {
    case EQ_GGML_Q2_0:
        for (int k = 0; k < 64; k++) n[k] = b[2 + k / 4] >> 2 * (k % 4) & 3;
        return centred(q, s, z, n, 64, 3, d, 1);
    case EQ_GGML_Q4_0:
        nibbles(n, b + 2);
        return centred(q, s, z, n, 32, 15, d, 8);
    case EQ_GGML_Q4_1:
        nibbles(n, b + 4);
        return group_of(q, s, z, n, 32, 15, d, -half_at(b + 2));
    case EQ_GGML_Q5_0: /* (n - 16) d, moved to the middle of eight bits */
        nibbles(n, b + 6);
        for (int k = 0; k < 32; k++) n[k] += 16 * (b[2 + k / 8] >> k % 8 & 1) + 112;
        return centred(q, s, z, n, 32, 255, d, 128);
    case EQ_GGML_Q5_1:
        nibbles(n, b + 8);
        for (int k = 0; k < 32; k++) n[k] += 16 * (b[4 + k / 8] >> k % 8 & 1);
        return group_of(q, s, z, n, 32, 255, d, -half_at(b + 2));
    default: /* Q8_0 */
        for (int k = 0; k < 32; k++) n[k] = (int8_t)b[2 + k] + 128;
        return centred(q, s, z, n, 32, 255, d, 128);
    }
}

/* ---- 256 weights ------------------------------------------------------------------------------
 */

static void two_bits(int *n, const uint8_t *qs) {
    for (int half = 0; half < 2; half++)
        for (int shift = 0; shift < 4; shift++)
            for (int l = 0; l < 32; l++)
                n[128 * half + 32 * shift + l] = qs[32 * half + l] >> 2 * shift & 3;
}

static void q2_k(uint8_t *q, float *s, float *z, const uint8_t *b) {
    int n[256];
    float d = half_at(b + 80), dmin = half_at(b + 82);
    two_bits(n, b + 16);
    for (int p = 0; p < 16; p++)
        group_of(q + 16 * p, s + p, z + p, n + 16 * p, 16, 3, d * (float)(b[p] & 15),
                 dmin * (float)(b[p] >> 4));
}

static void q3_k(uint8_t *q, float *s, float *z, const uint8_t *b) {
    int n[256], step[16];
    float d = half_at(b + 108);
    two_bits(n, b + 32);
    for (int i = 0; i < 256; i++) n[i] += b[i % 32] >> i / 32 & 1 ? 4 : 0;
    for (int p = 0; p < 8; p++) step[p] = b[96 + p] & 15, step[p + 8] = b[96 + p] >> 4;
    for (int p = 0; p < 16; p++) step[p] += 16 * (b[104 + p % 4] >> 2 * (p / 4) & 3) - 32;
    for (int p = 0; p < 16; p++)
        centred(q + 16 * p, s + p, z + p, n + 16 * p, 16, 7, d * (float)step[p], 4);
}

/* Q4_K and Q5_K: steps and mins of 6 bits in twelve bytes, low bits as nibbles. */
static void q45_k(uint8_t *q, float *s, float *z, const uint8_t *b, bool five) {
    int n[256], step[8], min[8];
    float d = half_at(b), dmin = half_at(b + 2);
    const uint8_t *sc = b + 4, *qs = b + (five ? 48 : 16);
    for (int p = 0; p < 4; p++) {
        step[p] = sc[p] & 63, min[p] = sc[p + 4] & 63;
        step[p + 4] = (sc[p + 8] & 15) | sc[p] >> 6 << 4;
        min[p + 4] = sc[p + 8] >> 4 | sc[p + 4] >> 6 << 4;
    }
    for (int c = 0; c < 4; c++)
        for (int l = 0; l < 32; l++)
            n[64 * c + l] = qs[32 * c + l] & 15, n[64 * c + 32 + l] = qs[32 * c + l] >> 4;
    for (int i = 0; five && i < 256; i++) n[i] += b[16 + i % 32] >> i / 32 & 1 ? 16 : 0;
    for (int p = 0; p < 8; p++)
        group_of(q + 32 * p, s + p, z + p, n + 32 * p, 32, five ? 255 : 15, d * (float)step[p],
                 dmin * (float)min[p]);
}

static void q6_k(uint8_t *q, float *s, float *z, const uint8_t *b) {
    int n[256];
    float d = half_at(b + 208);
    for (int half = 0; half < 2; half++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *low = b + 64 * half + l, high = b[128 + 32 * half + l];
            int *at = n + 128 * half + l;
            at[0] = (low[0] & 15) | (high & 3) << 4, at[32] = (low[32] & 15) | (high >> 2 & 3) << 4;
            at[64] = low[0] >> 4 | (high >> 4 & 3) << 4, at[96] = low[32] >> 4 | high >> 6 << 4;
        }
    for (int i = 0; i < 256; i++) n[i] += 96; /* 32 to 128 */
    for (int p = 0; p < 16; p++)
        centred(q + 16 * p, s + p, z + p, n + 16 * p, 16, 255, d * (float)(int8_t)b[192 + p], 128);
}

void eq_ggml_codes(uint8_t *q, float *s, float *z, eq_ggml t, const uint8_t *in, int64_t n) {
    eq_ggml_spec spec = eq_ggml_of(t);
    int bits;
    int64_t group;
    if (!eq_ggml_code_shape(t, &bits, &group)) return;
    for (int64_t i = 0; i < n; i += spec.block, in += spec.bytes) {
        uint8_t *qi = q + i;
        float *si = s + i / group, *zi = z + i / group;
        switch (t) {
        case EQ_GGML_Q2_K:
            q2_k(qi, si, zi, in);
            break;
        case EQ_GGML_Q3_K:
            q3_k(qi, si, zi, in);
            break;
        case EQ_GGML_Q4_K:
        case EQ_GGML_Q5_K:
            q45_k(qi, si, zi, in, t == EQ_GGML_Q5_K);
            break;
        case EQ_GGML_Q6_K:
            q6_k(qi, si, zi, in);
            break;
        default:
            small_block(qi, si, zi, t, in);
        }
    }
}

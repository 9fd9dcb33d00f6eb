/* Blocks to weights, each by its definition (FORMATS, "GGUF"), in fp32 as runtimes compute them.
 * Shares nothing with ggml_pack.c, which is what makes reading back a proof. */
#include <string.h>

#include "format/ggml.h"

static float half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return eq_f16_to_f32(h);
}

static void q2_0(float *w, const uint8_t *b) {
    float d = half_at(b);
    for (int i = 0; i < 64; i++) w[i] = (float)((b[2 + i / 4] >> 2 * (i % 4) & 3) - 1) * d;
}
static void q4_0(float *w, const uint8_t *b) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++)
        w[i] = (float)((i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4) - 8) * d;
}
static void q4_1(float *w, const uint8_t *b) {
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; i++)
        w[i] = (float)(i < 16 ? b[4 + i] & 15 : b[4 + i - 16] >> 4) * d + m;
}
static void q5_0(float *w, const uint8_t *b) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++) {
        int low = i < 16 ? b[6 + i] & 15 : b[6 + i - 16] >> 4;
        int high = b[2 + i / 8] >> i % 8 & 1;
        w[i] = (float)(low + 16 * high - 16) * d;
    }
}
static void q5_1(float *w, const uint8_t *b) {
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; i++) {
        int low = i < 16 ? b[8 + i] & 15 : b[8 + i - 16] >> 4;
        w[i] = (float)(low + 16 * (b[4 + i / 8] >> i % 8 & 1)) * d + m;
    }
}
static void q8_0(float *w, const uint8_t *b) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++) w[i] = (float)(int8_t)b[2 + i] * d;
}

/* Two and a half bits: element i has its low bits in byte 32 (i / 128) + i % 32 of qs, at place
 * (i % 128) / 32. */
static int low_bits(const uint8_t *qs, int i) {
    return qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3;
}
static void q2_k(float *w, const uint8_t *b) {
    float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int i = 0; i < 256; i++) {
        uint8_t sc = b[i / 16];
        w[i] = d * (float)(sc & 15) * (float)low_bits(b + 16, i) - dmin * (float)(sc >> 4);
    }
}
static void q3_k(float *w, const uint8_t *b) {
    float d = half_at(b + 108);
    for (int i = 0; i < 256; i++) {
        const uint8_t *sc = b + 96;
        int k = i / 16, low = k < 8 ? sc[k] & 15 : sc[k - 8] >> 4;
        int high = sc[8 + k % 4] >> 2 * (k / 4) & 3;
        int top = b[i % 32] >> i / 32 & 1;
        w[i] = d * (float)(low + 16 * high - 32) * (float)(low_bits(b + 32, i) + 4 * top - 4);
    }
}
/* Twelve bytes with a step and a min of 6 bits for each 32. */
static void step_and_min(const uint8_t *s, int k, int *sc, int *m) {
    if (k < 4)
        *sc = s[k] & 63, *m = s[k + 4] & 63;
    else
        *sc = (s[k + 4] & 15) + 16 * (s[k - 4] >> 6), *m = (s[k + 4] >> 4) + 16 * (s[k] >> 6);
}
static int nibble(const uint8_t *qs, int i) {
    uint8_t byte = qs[32 * (i / 64) + i % 32];
    return i % 64 < 32 ? byte & 15 : byte >> 4;
}
static void q4_k(float *w, const uint8_t *b) {
    float d = half_at(b), dmin = half_at(b + 2);
    for (int i = 0; i < 256; i++) {
        int sc, m;
        step_and_min(b + 4, i / 32, &sc, &m);
        w[i] = d * (float)sc * (float)nibble(b + 16, i) - dmin * (float)m;
    }
}
static void q5_k(float *w, const uint8_t *b) {
    float d = half_at(b), dmin = half_at(b + 2);
    for (int i = 0; i < 256; i++) {
        int sc, m, n = nibble(b + 48, i) + 16 * (b[16 + i % 32] >> i / 32 & 1);
        step_and_min(b + 4, i / 32, &sc, &m);
        w[i] = d * (float)sc * (float)n - dmin * (float)m;
    }
}
/* ql[128], qh[64], sixteen signed steps, d. */
static void q6_k(float *w, const uint8_t *b) {
    float d = half_at(b + 208);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, in = i % 128, quarter = in / 32, l = in % 32;
        uint8_t low = b[64 * half + 32 * (quarter % 2) + l];
        int n = (quarter < 2 ? low & 15 : low >> 4) | (b[128 + 32 * half + l] >> 2 * quarter & 3)
                                                          << 4;
        w[i] = d * (float)(int8_t)b[192 + i / 16] * (float)(n - 32);
    }
}

static void blocks(float *out, const uint8_t *in, int64_t n, eq_ggml t,
                   void (*one)(float *w, const uint8_t *b)) {
    eq_ggml_spec s = eq_ggml_of(t);
    for (int64_t i = 0; i < n / s.block; i++) one(out + i * s.block, in + i * s.bytes);
}

void eq_ggml_values(float *out, eq_ggml t, const uint8_t *in, int64_t n) {
    switch (t) {
    case EQ_GGML_Q2_0:
        return blocks(out, in, n, t, q2_0);
    case EQ_GGML_Q2_K:
        return blocks(out, in, n, t, q2_k);
    case EQ_GGML_Q3_K:
        return blocks(out, in, n, t, q3_k);
    case EQ_GGML_Q4_0:
        return blocks(out, in, n, t, q4_0);
    case EQ_GGML_Q4_K:
        return blocks(out, in, n, t, q4_k);
    case EQ_GGML_Q4_1:
        return blocks(out, in, n, t, q4_1);
    case EQ_GGML_Q5_0:
        return blocks(out, in, n, t, q5_0);
    case EQ_GGML_Q8_0:
        return blocks(out, in, n, t, q8_0);
    case EQ_GGML_Q5_1:
        return blocks(out, in, n, t, q5_1);
    case EQ_GGML_Q5_K:
        return blocks(out, in, n, t, q5_k);
    case EQ_GGML_Q6_K:
        return blocks(out, in, n, t, q6_k);
    case EQ_GGML_F16:
        eq_convert(out, EQ_F32, in, EQ_F16, n);
        return;
    case EQ_GGML_BF16:
        eq_convert(out, EQ_F32, in, EQ_BF16, n);
        return;
    default:
        eq_convert(out, EQ_F32, in, EQ_F32, n);
    }
}

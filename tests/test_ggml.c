/* Blocks of GGUF types: rows of codes come back bit for bit where a type says that it holds them,
 * rows it cannot hold are told, and the nearest is near. The reading side is checked against blocks
 * written out by hand (FORMATS, "GGUF"). */
#include "format/ggml.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "scratch.h"

enum { N = 512 };
typedef struct {
    uint8_t q[N];
    float s[N], z[N], w[N];
    eq_code_row r;
} row;

/* zeros: < 0 any, else that or one less at random. */
static void make(row *x, int bits, int64_t G, int zeros, uint64_t seed) {
    int Q = (1 << bits) - 1;
    x->r = (eq_code_row){x->q, x->s, x->z, N, G, bits};
    for (int64_t g = 0; g < N / G; g++) {
        double r = eq_rand_unit(seed, (uint64_t)g);
        x->s[g] = eq_f16_to_f32(eq_f32_to_f16(0.001f + 0.01f * (float)r));
        r = eq_rand_unit(seed + 1, (uint64_t)g);
        x->z[g] = (float)(zeros < 0 ? (int)(r * (Q + 1)) : zeros - (r < 0.5));
    }
    for (int i = 0; i < N; i++)
        x->q[i] = (uint8_t)(eq_rand_u64(seed + 2, (uint64_t)i) & (unsigned)Q);
    /* the ends of the range in every 16 */
    for (int i = 0; i < N; i += 16) x->q[i] = 0, x->q[i + 9] = (uint8_t)Q;
}

static void weights(row *x) {
    for (int i = 0; i < N; i++) x->w[i] = ((float)x->q[i] - x->z[i / x->r.G]) * x->s[i / x->r.G];
}

static bool fits(row *x, eq_ggml t) {
    static uint8_t out[N * 4];
    float again[N];
    weights(x);
    if (!eq_ggml_pack(out, t, &x->r, false)) return false;
    eq_ggml_values(again, t, out, N);
    for (int i = 0; i < N; i++)
        if (again[i] != x->w[i])
            fail_msg("%s: weight %d is %.9g, was %.9g", eq_ggml_of(t).name, i, (double)again[i],
                     (double)x->w[i]);
    return true;
}

static bool fits_made(eq_ggml t, int bits, int64_t G, int zeros) {
    row x;
    bool all = true;
    for (uint64_t seed = 0; seed < 20; seed++) {
        make(&x, bits, G, zeros, seed * 10);
        all = fits(&x, t) && all;
    }
    return all;
}

/* The table "which type holds" of FORMATS. */
static void which(void **state) {
    (void)state;
    assert_true(fits_made(EQ_GGML_Q2_0, 2, 64, 2) && fits_made(EQ_GGML_Q2_0, 2, 128, 2));
    assert_false(fits_made(EQ_GGML_Q2_0, 2, 64, -1) || fits_made(EQ_GGML_Q2_0, 2, 32, 2));
    assert_false(fits_made(EQ_GGML_Q2_0, 3, 64, 4));
    assert_true(fits_made(EQ_GGML_Q2_K, 2, 256, -1) && fits_made(EQ_GGML_Q2_K, 2, 512, -1));
    assert_false(fits_made(EQ_GGML_Q2_K, 2, 128, 2) || fits_made(EQ_GGML_Q2_K, 3, 256, 4));
    assert_true(fits_made(EQ_GGML_Q3_K, 3, 256, 4) && fits_made(EQ_GGML_Q3_K, 2, 256, 2));
    assert_false(fits_made(EQ_GGML_Q3_K, 3, 256, -1) || fits_made(EQ_GGML_Q3_K, 3, 64, 4));
    for (int64_t G = 32; G <= 512; G *= 2) {
        assert_true(fits_made(EQ_GGML_Q4_0, 2, G, -1) && fits_made(EQ_GGML_Q4_0, 3, G, -1));
        assert_true(fits_made(EQ_GGML_Q4_0, 4, G, 8));
        assert_false(fits_made(EQ_GGML_Q4_0, 4, G, -1));
        assert_true(fits_made(EQ_GGML_Q5_0, 4, G, -1));
        assert_true(fits_made(EQ_GGML_Q8_0, 4, G, -1));
        assert_true(fits_made(EQ_GGML_F32, 4, G, -1));
    }
    assert_true(fits_made(EQ_GGML_F16, 2, 64, 2));
    assert_false(fits_made(EQ_GGML_F16, 4, 64, 8) || fits_made(EQ_GGML_BF16, 2, 64, 2));
    assert_true(fits_made(EQ_GGML_Q4_K, 4, 256, -1) && fits_made(EQ_GGML_Q4_K, 3, 256, -1));
    assert_false(fits_made(EQ_GGML_Q4_K, 4, 32, 8));
    assert_false(fits_made(EQ_GGML_Q4_0, 4, 16, 8)); /* a block with two steps */
    assert_false(fits_made(EQ_GGML_Q8_0, 8, 64, -1));
}

/* Steps of 7 bits leave room for z s in fp16. */
static void short_steps(void **state) {
    (void)state;
    row x;
    make(&x, 4, 32, -1, 5);
    assert_false(fits(&x, EQ_GGML_Q4_1));
    for (int g = 0; g < N / 32; g++) x.s[g] = (float)(64 + g) / 4096;
    assert_true(fits(&x, EQ_GGML_Q4_1));
}

/* Steps that are whole multiples of one step. */
static void grids(void **state) {
    (void)state;
    static const eq_ggml types[] = {EQ_GGML_Q2_K, EQ_GGML_Q3_K, EQ_GGML_Q4_K};
    static const int bits[] = {2, 3, 4}, most[] = {15, 31, 63}, zero[] = {2, 4, 8};
    row x;
    for (int k = 0; k < 3; k++)
        for (int64_t G = k == 2 ? 32 : 16; G <= 128; G *= 2) {
            make(&x, bits[k], G, zero[k], (uint64_t)(100 * k) + (uint64_t)G);
            for (int64_t g = 0; g < N / G; g++) {
                int by = 1 + (int)(eq_rand_u64(7, (uint64_t)(g + 50 * k)) % (unsigned)most[k]);
                x.s[g] = (g * G < 256 ? 0x1.23p-9f : 0x1.57p-8f) * (float)by;
                x.z[g] = (float)zero[k];
            }
            assert_true(fits(&x, types[k]));
            x.s[1] = -x.s[1]; /* the other sign: the codes turned round */
            x.z[1] = (float)((1 << bits[k]) - 1 - zero[k]);
            if (types[k] == EQ_GGML_Q3_K) assert_true(fits(&x, types[k]));
            x.s[1] = x.s[1] * 0x1.004p0f; /* beside the grid */
            assert_false(fits(&x, types[k]));
        }
    /* several zero points in a block: z sc has to be small enough */
    make(&x, 2, 16, -1, 9);
    for (int g = 0; g < N / 16; g++) x.s[g] = 0x1.23p-9f * (float)(1 + g % 5);
    assert_true(fits(&x, EQ_GGML_Q2_K));
}

/* Negative steps are those of reversed codes. */
static void negative_steps(void **state) {
    (void)state;
    row x;
    make(&x, 2, 64, 2, 77);
    for (int g = 0; g < N / 64; g += 2) x.s[g] = -x.s[g];
    assert_true(fits(&x, EQ_GGML_Q2_0));
    make(&x, 4, 256, -1, 78);
    x.s[1] = -x.s[1];
    assert_true(fits(&x, EQ_GGML_Q4_K) && fits(&x, EQ_GGML_Q5_0));
}

/* Steps that fp16 does not hold, or that are 0. */
static void odd_steps(void **state) {
    (void)state;
    row x;
    make(&x, 4, 64, 8, 3);
    x.s[3] = 0;
    assert_true(fits(&x, EQ_GGML_Q4_0) && fits(&x, EQ_GGML_Q8_0));
    x.s[3] = 0.1f;
    assert_false(fits(&x, EQ_GGML_Q4_0) || fits(&x, EQ_GGML_Q4_K));
    x.s[3] = 1e6f;
    uint8_t out[N * 4];
    assert_false(eq_ggml_pack(out, EQ_GGML_Q4_0, &x.r, true));
}

/* Lossy: how far off, in steps of the row's widest group. */
static void nearest(void **state) {
    (void)state;
    static const struct {
        eq_ggml t;
        int bits;
        float steps; /* of the row's */
    } cases[] = {{EQ_GGML_Q2_0, 2, 1.6f}, {EQ_GGML_Q2_K, 2, 0.6f},  {EQ_GGML_Q2_K, 4, 3.5f},
                 {EQ_GGML_Q3_K, 3, 1.2f}, {EQ_GGML_Q4_0, 4, 1.2f},  {EQ_GGML_Q4_1, 4, 0.6f},
                 {EQ_GGML_Q4_K, 4, 0.8f}, {EQ_GGML_Q5_0, 8, 12.0f}, {EQ_GGML_Q8_0, 8, 1.2f}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        row x;
        uint8_t out[N * 4];
        float again[N], most = 0, step = 0;
        make(&x, cases[k].bits, 32, -1, 40 + k);
        weights(&x);
        assert_true(eq_ggml_pack(out, cases[k].t, &x.r, true));
        eq_ggml_values(again, cases[k].t, out, N);
        for (int g = 0; g < N / 32; g++) step = fmaxf(step, x.s[g]);
        for (int i = 0; i < N; i++) most = fmaxf(most, fabsf(again[i] - x.w[i]) / step);
        if (!(most <= cases[k].steps))
            fail_msg("%s of %d bits: %g steps off", eq_ggml_of(cases[k].t).name, cases[k].bits,
                     (double)most);
    }
}

static void q8_0(void **state) {
    (void)state;
    float x[64], again[64];
    uint8_t out[68];
    for (int i = 0; i < 64; i++) x[i] = i < 32 ? (float)eq_rand_normal(1, (uint64_t)i) : 0;
    eq_ggml_q8_0(out, x, 64);
    eq_ggml_values(again, EQ_GGML_Q8_0, out, 64);
    for (int i = 0; i < 64; i++) assert_true(fabsf(again[i] - x[i]) <= 4.0f / 127 * 0.51f);
}

/* Blocks by hand: one field at a time. */
static void by_hand(void **state) {
    (void)state;
    uint8_t b[144] = {0};
    float w[256];
    /* 1.0 as fp16 is 0x3c00 */
    b[1] = 0x3c, b[2] = 0x93; /* Q2_0: codes 3, 0, 1, 2 */
    eq_ggml_values(w, EQ_GGML_Q2_0, b, 64);
    assert_true(w[0] == 2 && w[1] == -1 && w[2] == 0 && w[3] == 1 && w[4] == -1);
    b[2] = 0x1f; /* Q4_0: w[0] = 15 - 8, w[16] = 1 - 8 */
    eq_ggml_values(w, EQ_GGML_Q4_0, b, 32);
    assert_true(w[0] == 7 && w[16] == -7 && w[1] == -8);
    memset(b, 0, sizeof b);
    b[1] = 0x3c, b[4] = 0x80, b[6 + 3] = 0xf0; /* Q5_0: top bit of w[23], low of w[19] */
    eq_ggml_values(w, EQ_GGML_Q5_0, b, 32);
    assert_true(w[23] == 0 && w[19] == -1 && w[3] == -16);
    memset(b, 0, sizeof b);
    b[1] = 0x3c, b[3] = 0xbc, b[4] = 0x21; /* Q4_1: d 1, m -1 */
    eq_ggml_values(w, EQ_GGML_Q4_1, b, 32);
    assert_true(w[0] == 0 && w[16] == 1 && w[1] == -1);
    memset(b, 0, sizeof b);
    b[81] = 0x3c, b[83] = 0x3c; /* Q2_K: part 9 is weights 144 to 159 */
    b[9] = 0x25, b[16 + 32 + 16] = 0x03 << 0, b[16 + 32] = 0;
    eq_ggml_values(w, EQ_GGML_Q2_K, b, 256);
    assert_true(w[144] == 5 * 3 - 2 && w[145] == -2 && w[0] == 0);
    memset(b, 0, sizeof b);
    b[109] = 0x3c;                              /* Q3_K: part 5 is weights 80 to 95 */
    b[96 + 5] = 0x01, b[96 + 8 + 1] = 0x3 << 2; /* 1 + 48 - 32 = 17 */
    b[32 + 16] = 0x2 << 4, b[16] = 1 << 2;      /* weight 80: low 2, top set */
    eq_ggml_values(w, EQ_GGML_Q3_K, b, 256);
    assert_true(w[80] == 17 * 2 && w[81] == 17 * -4);
    memset(b, 0, sizeof b);
    b[1] = 0x3c, b[3] = 0x3c; /* Q4_K: part 6 has its low bits in byte 10, high ones in 2 and 6 */
    b[4 + 10] = 0x73, b[4 + 2] = 0x40, b[4 + 6] = 0x80; /* sc 3 + 16, m 7 + 32 */
    b[16 + 96] = 0x0b;
    eq_ggml_values(w, EQ_GGML_Q4_K, b, 256);
    assert_true(w[192] == 19 * 11 - 39 && w[193] == -39);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which),          cmocka_unit_test(short_steps), cmocka_unit_test(grids),
        cmocka_unit_test(negative_steps), cmocka_unit_test(odd_steps),   cmocka_unit_test(nearest),
        cmocka_unit_test(q8_0),           cmocka_unit_test(by_hand),
    };
    return cmocka_run_group_tests_name("ggml", tests, NULL, NULL);
}

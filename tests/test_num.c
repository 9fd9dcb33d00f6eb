/* fp16 and bf16 against their definitions: every 16-bit pattern, and on the fp32 side every number
 * that matters to a rounding (each value, the middle to its neighbour, and both sides of the
 * middle). */
#include <math.h>

#include "base/num.h"
#include "base/rng.h"
#include "scratch.h"

/* sign, exponent of e bits with bias 2^(e-1) - 1, fraction of f bits. */
static double define(uint32_t bits, int e, int f) {
    int bias = (1 << (e - 1)) - 1, x = (int)(bits >> f) & ((1 << e) - 1);
    double frac = bits & ((1u << f) - 1), sign = bits >> (e + f) & 1 ? -1 : 1;
    if (x == (1 << e) - 1) return frac != 0 ? NAN : sign * INFINITY;
    return sign * (x ? ldexp(1 + ldexp(frac, -f), x - bias) : ldexp(frac, 1 - bias - f));
}

static bool same(double a, double b) {
    return isnan(a) ? isnan(b) : a == b && signbit(a) == signbit(b);
}

static void widening(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        assert_true(same(eq_f16_to_f32((uint16_t)h), define(h, 5, 10)));
        assert_true(same(eq_bf16_to_f32((uint16_t)h), define(h, 8, 7)));
    }
}

typedef struct {
    uint16_t (*narrow)(float);
    int e, f;
} format;

static uint16_t to_bf16(float x) { return eq_f32_to_bf16(x); }
static const format formats[] = {{eq_f32_to_f16, 5, 10}, {to_bf16, 8, 7}};

/* The magnitude of pattern m, with infinity standing where the next finite number would be, so that
 * "nearest" decides about overflow too. */
static double place(const format *t, uint32_t m) {
    uint32_t inf = ((1u << t->e) - 1) << t->f;
    return m < inf ? define(m, t->e, t->f)
                   : 2 * define(inf - 1, t->e, t->f) - define(inf - 2, t->e, t->f);
}

static void check_one(const format *t, float x) {
    uint32_t h = t->narrow(x), top = 1u << (t->e + t->f), m = h & (top - 1),
             inf = ((1u << t->e) - 1) << t->f;
    if (isnan(x)) {
        assert_true(isnan(define(h, t->e, t->f)));
        return;
    }
    assert_int_equal(h >> (t->e + t->f), signbit(x) ? 1 : 0);
    assert_true(m <= inf);
    if (isinf(x)) {
        assert_int_equal(m, inf);
        return;
    }
    double a = fabs((double)x), mine = fabs(a - place(t, m));
    if (a >= place(t, inf)) { /* beyond everything */
        assert_int_equal(m, inf);
        return;
    }
    for (int d = -1; d <= 1; d += 2) {
        if ((d < 0 && m == 0) || (d > 0 && m == inf)) continue;
        double other = fabs(a - place(t, m + (uint32_t)d));
        if (mine > other || (mine == other && m % 2))
            fail_msg("%a gives pattern 0x%04x", (double)x, h);
    }
}

static void narrowing(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        const format *t = &formats[k];
        uint32_t inf = ((1u << t->e) - 1) << t->f;
        for (uint32_t m = 0; m < inf; m++) {
            float v = (float)place(t, m), mid = (float)((place(t, m) + place(t, m + 1)) / 2);
            float near[4] = {v, mid, nextafterf(mid, 0), nextafterf(mid, INFINITY)};
            for (int i = 0; i < 4; i++) check_one(t, near[i]), check_one(t, -near[i]);
            assert_int_equal(t->narrow(v), m);
        }
        for (uint64_t i = 0; i < 2000000; i++)
            check_one(t, eq_bits_f32((uint32_t)eq_rand_u64((uint64_t)k, i)));
        const float ends[] = {INFINITY, -INFINITY,  NAN,   3.4028235e38f,
                              65504,    65519.996f, 65520, 1e-45f};
        for (int i = 0; i < 8; i++) check_one(t, ends[i]);
        check_one(t, eq_bits_f32(0x7f800001u)); /* a NaN whose high bits alone look infinite */
        check_one(t, eq_bits_f32(0xffffffffu));
    }
}

static void names_and_sizes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t size;
    } want[EQ_DTYPES] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"U8", 1},     {"I32", 4},
                         {"U32", 4}, {"I64", 8},  {"F64", 8}, {"F8_E4M3", 1}};
    for (int i = 0; i < EQ_DTYPES; i++) {
        assert_string_equal(eq_dtype_name((eq_dtype)i), want[i].name);
        assert_int_equal(eq_dtype_size((eq_dtype)i), want[i].size);
    }
}

/* Every byte, by the sum of its bits' values. */
static void fp8(void **state) {
    (void)state;
    for (int b = 0; b < 256; b++) {
        int e = b >> 3 & 15;
        float want = 0, got = eq_f8_to_f32((uint8_t)b);
        for (int k = 0; k < 3; k++)
            if (b >> k & 1) want += ldexpf(1, (e ? e : 1) - 10 + k);
        if (e) want += ldexpf(1, e - 7);
        if ((b & 0x7f) == 0x7f)
            assert_true(isnan(got));
        else
            assert_true(got == (b & 0x80 ? -want : want));
    }
}

static void any_to_any(void **state) {
    (void)state;
    static const eq_dtype types[] = {EQ_F32, EQ_BF16, EQ_F16, EQ_F64};
    enum { N = 37 };
    for (int s = 0; s < 4; s++)
        for (int d = 0; d < 4; d++) {
            double src[N], dst[N + 1], want[N + 1];
            memset(dst, 0x5a, sizeof dst), memset(want, 0x5a, sizeof want);
            for (int64_t i = 0; i < N; i++)
                eq_store(src, types[s], i, eq_rand_normal(1, (uint64_t)i));
            for (int64_t i = 0; i < N; i++) eq_store(want, types[d], i, eq_load(src, types[s], i));
            eq_convert(dst, types[d], src, types[s], N);
            assert_memory_equal(dst, want, sizeof dst);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widening), cmocka_unit_test(narrowing),  cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(fp8),      cmocka_unit_test(any_to_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

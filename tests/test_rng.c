/* Python's generator by its published values, the counter-based one by its moments. */
#include <math.h>

#include "base/rng.h"
#include "scratch.h"

static void python_words(void **state) {
    (void)state;
    static const struct {
        uint64_t seed;
        uint32_t want[3];
    } cases[] = {
        {0, {3626764237u, 1654615998u, 3255389356u}},
        {((uint64_t)1 << 40) + 5, {2166296868u, 2220160828u, 1153647273u}}, /* a key of two words */
    };
    for (int c = 0; c < 2; c++) {
        eq_mt r;
        eq_mt_seed(&r, cases[c].seed);
        for (int i = 0; i < 3; i++) assert_int_equal(eq_mt_u32(&r), cases[c].want[i]);
    }
    eq_mt r;
    eq_mt_seed(&r, 1);
    for (int i = 0; i < 1999; i++) eq_mt_u32(&r); /* across three refills */
    assert_int_equal(eq_mt_u32(&r), 1058062369u);
}

static void python_integers(void **state) {
    (void)state;
    static const int64_t c4[6] = {25247, 27562, 2653, 16968, 33506, 31845};
    static const int64_t red[6] = {3706, 6002, 5562, 23662, 11081, 43891};
    static const int64_t wide[4] = {569101979933, 727003120290, 34040994009, 835504107970};
    eq_mt r;
    eq_mt_seed(&r, 0);
    for (int i = 0; i < 6; i++) assert_int_equal(eq_mt_randint(&r, 0, 45575), c4[i]);
    assert_int_equal(eq_mt_randint(&r, 0, 10), 6);
    eq_mt_seed(&r, 2);
    for (int i = 0; i < 6; i++) assert_int_equal(eq_mt_randint(&r, 0, 45575), red[i]);
    eq_mt_seed(&r, ((uint64_t)1 << 40) + 5);
    for (int i = 0; i < 4; i++) assert_int_equal(eq_mt_randint(&r, -7, 1000000000000), wide[i]);
    assert_int_equal(eq_mt_randint(&r, 3, 3), 3);
    assert_int_equal(eq_mt_randint(&r, 0, (int64_t)1 << 32), 710650538);
    eq_mt_seed(&r, 7); /* n = 2^32 has 33 bits: two words a number from here on */
    assert_int_equal(eq_mt_randint(&r, 0, 4294967295), 647892279);
    assert_int_equal(eq_mt_randint(&r, 0, 4294967295), 2795742288);
    assert_int_equal(eq_mt_randint(&r, 0, 4294967296), 2301595691);
    assert_int_equal(eq_mt_randint(&r, 0, 4294967296), 2179419893);
}

/* With n = 2^18 the mean of a unit normal is within 5 / sqrt(n) = 0.0098, its variance within
 * 5 sqrt(2 / n) = 0.0138, its fourth moment within 5 sqrt(96 / n) = 0.096 of 3. */
static void normal_moments(void **state) {
    (void)state;
    enum { N = 1 << 18 };
    for (uint64_t seed = 0; seed < 4; seed++) {
        double m1 = 0, m2 = 0, m4 = 0, lag = 0, last = 0;
        for (uint64_t i = 0; i < N; i++) {
            double x = eq_rand_normal(seed, i);
            m1 += x, m2 += x * x, m4 += x * x * x * x, lag += x * last;
            last = x;
        }
        assert_true(fabs(m1 / N) < 0.0098);
        assert_true(fabs(m2 / N - 1) < 0.0138);
        assert_true(fabs(m4 / N - 3) < 0.096);
        assert_true(fabs(lag / N) < 0.0098);
    }
}

static void counter_based(void **state) {
    (void)state;
    float first = eq_rand_normal(9, 1000);
    eq_rand_normal(9, 5);
    assert_true(eq_rand_normal(9, 1000) == first);
    assert_true(eq_rand_u64(9, 1) != eq_rand_u64(9, 2));
    assert_true(eq_rand_u64(9, 1) != eq_rand_u64(10, 1));
    for (uint64_t i = 0; i < 100000; i++) {
        double u = eq_rand_unit(3, i);
        assert_true(u >= 0 && u < 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(python_words),
        cmocka_unit_test(python_integers),
        cmocka_unit_test(normal_moments),
        cmocka_unit_test(counter_based),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

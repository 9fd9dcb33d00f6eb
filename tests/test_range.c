/* Starts from shrunk ranges (quant/range.h). Backends share these functions, so they are held
 * against a search in double precision that is written anew. */
#include "quant/range.h"

#include "base/rng.h"
#include "scratch.h"

enum { ROUNDS = 300, MOST = 256 };

/* Sum of |error|^3 of n weights. */
static double errors(const float *w, int64_t n, double s, double z, int bits) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double code = fmin(fmax(rint((double)w[i] / s), -z), (double)eq_q_max(bits) - z);
        sum += pow(fabs((double)w[i] - code * s), 3);
    }
    return sum;
}

/* The least errors that shares of the range down to the same one give, for any zero point of the
 * grid, and those of the min-max start. */
static double least(const float *w, int64_t n, int bits, eq_grid grid) {
    float lo, hi;
    eq_ends(w, n, &lo, &hi);
    double best = INFINITY, Q = (double)eq_q_max(bits);
    for (double z = (double)eq_z_least(bits, grid); z <= (double)eq_z_most(bits, grid); z++) {
        double top = fmax(z > 0 ? -(double)lo / z : 0, z < Q ? (double)hi / (Q - z) : 0);
        for (int p = 300; p <= 1000; p++)
            best = fmin(best, errors(w, n, fmax(top * p / 1000, EQ_S_MIN), z, bits));
    }
    return best;
}

static double minmax(const float *w, int64_t n, int bits, eq_grid grid) {
    float lo, hi, s, z;
    eq_ends(w, n, &lo, &hi);
    eq_minmax_start(lo, hi, bits, grid, &s, &z);
    return errors(w, n, (double)s, (double)eq_z_used(z, bits, grid), bits);
}

/* Groups of normal weights, heavy tails, and ranges that lie beside 0. */
static void group(uint64_t r, float *w, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float x = eq_rand_normal(3 + r, (uint64_t)i);
        if (r % 3 == 1) x *= x * x;
        w[i] = 0.05f * (x + (r % 5 == 4 ? 1.5f : 0.0f));
    }
}

static void nearly_the_least_errors(void **state) {
    (void)state;
    double searched = 0, simple = 0;
    for (uint64_t r = 0; r < ROUNDS; r++) {
        static const int sizes[] = {32, 64, 128, 43, 256};
        int bits = 2 + (int)(r % 3);
        int64_t n = sizes[r % 5];
        eq_grid grid = r % 2 ? EQ_GRID_PORTABLE : EQ_GRID_FREE;
        float w[MOST], s = 0, z = 0;
        group(r, w, n);
        eq_shrunk_start(&s, &z, w, 1, n, bits, grid);
        double found = errors(w, n, (double)s, (double)z, bits), best = least(w, n, bits, grid);
        assert_true(z == eq_z_used(z, bits, grid) && s >= EQ_S_MIN);
        if (found > 1.35 * best)
            fail_msg("round %d: errors %g, the least are %g", (int)r, found, best);
        searched += found / best / ROUNDS;
        simple += minmax(w, n, bits, grid) / best / ROUNDS;
    }
    if (searched > 1.05) fail_msg("errors are %.3f of the least on average", searched);
    if (simple < 1.3) fail_msg("of the min-max start %.3f: too easy", simple);
}

/* A block of a K type: one zero point, which is the better one of the two. */
static void groups_share_a_zero_point(void **state) {
    (void)state;
    int64_t zeros[2] = {0};
    for (uint64_t r = 0; r < ROUNDS; r++) {
        int n = 1 << r % 4, bits = r / 4 % 2 ? 4 : 2;
        int64_t G = EQ_K_WEIGHTS / n;
        float w[EQ_K_WEIGHTS], s[EQ_K_GROUPS], z[EQ_K_GROUPS], lo, hi;
        group(3 * r, w, EQ_K_WEIGHTS);
        eq_shrunk_start(s, z, w, n, G, bits, bits == 2 ? EQ_GRID_Q2_K : EQ_GRID_Q4_K);
        double found = 0, other = 0;
        for (int g = 0; g < n; g++) {
            double at = (double)(eq_q_max(bits) - z[0]), best = INFINITY;
            assert_true(z[g] == z[0]);
            found += errors(w + g * G, G, (double)s[g], (double)z[0], bits);
            eq_ends(w + g * G, G, &lo, &hi);
            double top = fmax(-(double)lo / at, (double)hi / ((double)eq_q_max(bits) - at));
            for (int p = EQ_SHRINK_LEAST; p <= EQ_SHRINK_PARTS; p++)
                best = fmin(best, errors(w + g * G, G, top * p / EQ_SHRINK_PARTS, at, bits));
            other += best;
        }
        if (found > other * 1.001)
            fail_msg("round %d: %g, of the other one %g", (int)r, found, other);
        zeros[z[0] > eq_z_least(bits, EQ_GRID_PORTABLE)]++;
    }
    assert_true(zeros[0] > 50 && zeros[1] > 50);
}

static void by_hand(void **state) {
    (void)state;
    float w[64], s = 0, z = 0;
    /* on a grid already: what is left of the range is all of it, and nothing is lost */
    for (int i = 0; i < 64; i++) w[i] = 0.25f * (float)(i % 4 - 1);
    eq_shrunk_start(&s, &z, w, 1, 64, 2, EQ_GRID_FREE);
    assert_true(s == 0.25f && z == 1.0f);
    /* one weight far outside is given up for 63 that differ only near 0 */
    for (int i = 0; i < 64; i++) w[i] = i ? (float)(i % 4 - 1) : 2.6f;
    eq_shrunk_start(&s, &z, w, 1, 64, 2, EQ_GRID_FREE);
    assert_true(z == 1.0f && s > 0.99f && s < 1.1f);
    /* above 0, below 0, all alike, all zero, tiny */
    for (int i = 0; i < 64; i++) w[i] = 0.3f + 0.001f * (float)(i % 4);
    eq_shrunk_start(&s, &z, w, 1, 64, 2, EQ_GRID_FREE);
    assert_true(z == 0.0f && s > 0.09f && s <= 0.31f);
    for (int i = 0; i < 64; i++) w[i] = -w[i];
    eq_shrunk_start(&s, &z, w, 1, 64, 2, EQ_GRID_FREE);
    assert_true(z == 3.0f && s > 0.09f && s <= 0.31f);
    for (int i = 0; i < 64; i++) w[i] = 0.5f;
    eq_shrunk_start(&s, &z, w, 1, 64, 3, EQ_GRID_FREE);
    assert_true(errors(w, 64, (double)s, (double)z, 3) < 1e-9);
    for (int i = 0; i < 64; i++) w[i] = 0.0f;
    eq_shrunk_start(&s, &z, w, 1, 64, 3, EQ_GRID_FREE);
    assert_true(s == EQ_S_MIN && z == 0.0f);
    for (int i = 0; i < 64; i++) w[i] = 1e-36f * (float)(i - 32);
    eq_shrunk_start(&s, &z, w, 1, 64, 3, EQ_GRID_FREE);
    assert_true(s == EQ_S_MIN && isfinite(z));
}

static void nearest(void **state) {
    (void)state;
    for (float t = -300.0f; t <= 300.0f; t += 0.0625f) assert_true(eq_nearest_small(t) == rintf(t));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearly_the_least_errors),
        cmocka_unit_test(groups_share_a_zero_point),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Steps on the grids of Q2_K and Q4_K (quant/kgrid.h), and where a block begins on them. Backends
 * share these functions, so they are held against what the types say, which is worked out anew. */
#include "quant/kgrid.h"

#include "base/num.h"
#include "base/rng.h"
#include "scratch.h"

enum { ROUNDS = 4000 };
static bool is_f16(float x) { return eq_f16_to_f32(eq_f32_to_f16(x)) == x; }

/* Is there an fp16 number of which each of n steps is one of the first `most` multiples? */
static bool on_grid(const float *y, int n, int most) {
    float top = 0;
    for (int g = 0; g < n; g++) top = fmaxf(top, y[g]);
    for (int by = 1; by <= most; by++) {
        float d = top / (float)by;
        bool all = is_f16(d) && d * (float)by == top;
        for (int g = 0; all && g < n; g++) {
            float k = rintf(y[g] / d);
            all = k >= 1 && k <= (float)most && d * k == y[g];
        }
        if (all) return true;
    }
    return false;
}

/* Steps of every size, near each other and not; sometimes beyond what may be used. */
static float any_step(uint64_t round, int g) {
    uint64_t seed = 77 + round;
    static const float odd[] = {0.0f, -0.5f, 1e-9f, 3e4f, 1e-4f, 0x1p-21f};
    float size = ldexpf(0.7f, (int)(round % 37) - 24), u = eq_rand_normal(seed, (uint64_t)g);
    if (round % 11 == 0 && g % 3 == 0) return odd[(round / 11 + (uint64_t)g) % 6];
    return size * expf((round % 5 ? 0.3f : 2.0f) * u);
}

/* What the first d that comes into question would leave, which is the search's upper bound. */
static double simple_error(const float *used, int n, int bits) {
    double top = 0, sum = 0, most = bits == 2 ? 15 : 63, d;
    for (int g = 0; g < n; g++) top = fmax(top, (double)used[g]);
    d = fmax(top / most * (1 + 1.0 / (bits == 2 ? 64 : 16)), top / most + 0x1p-24);
    for (int g = 0; g < n; g++) {
        bool limited = (double)used[g] < d || used[g] < EQ_S_MIN || used[g] > 0.9f * EQ_K_S_MAX;
        double e = limited ? d : d / 2;
        sum += e * e;
    }
    return sum;
}

/* The same of that d itself. */
static double first_error(const float *used, int n, int bits) {
    double sum = 0;
    float top = 0;
    for (int g = 0; g < n; g++) top = fmaxf(top, used[g]);
    float d = eq_k_d(top / eq_k_most(bits), bits);
    for (int g = 0; g < n; g++) {
        double e = (double)used[g] - (double)eq_k_step(used[g], d, bits);
        sum += e * e;
    }
    return sum;
}

static void steps_lie_on_it(void **state) {
    (void)state;
    double share = 0;
    for (uint64_t r = 0; r < ROUNDS; r++) {
        int n = 1 << r % 4, bits = r / 4 % 2 ? 4 : 2, G = EQ_K_WEIGHTS / n;
        float s[EQ_K_GROUPS], w[EQ_K_WEIGHTS], used[EQ_K_GROUPS], y[EQ_K_GROUPS], z[EQ_K_GROUPS];
        bool floors = r % 3 != 0;
        double error = 0;
        for (int i = 0; i < EQ_K_WEIGHTS; i++)
            w[i] = ldexpf(eq_rand_normal(99 + r, (uint64_t)i), -(int)(r % 19));
        for (int g = 0; g < n; g++) {
            s[g] = any_step(r, g);
            used[g] = floors ? eq_s_used_by(s[g], w + g * G, G) : s[g];
            used[g] = eq_clampf(used[g], EQ_S_LEAST, EQ_K_S_MAX);
        }
        eq_k_steps(y, s, floors ? w : NULL, n, bits);
        if (!on_grid(y, n, bits == 2 ? 15 : 63)) fail_msg("round %d: off the grid", (int)r);
        for (int g = 0; g < n; g++) {
            double e = (double)y[g] - (double)used[g];
            error += e * e;
            assert_true(is_f16(y[g]));
            /* what uses it later leaves it as it is */
            if (floors) assert_true(eq_s_used_by(y[g], w + g * G, G) == y[g]);
        }
        if (error > simple_error(used, n, bits) * (1 + 1e-5))
            fail_msg("round %d: %g, expected at most %g", (int)r, error,
                     simple_error(used, n, bits));
        double first = first_error(used, n, bits);
        share += first > 0 ? error / first / ROUNDS : 0;
        eq_k_steps(z, y, floors ? w : NULL, n, bits);
        assert_memory_equal(y, z, (size_t)n * sizeof *y);
    }
    if (share > 0.6) fail_msg("searched, %.2f of the error of the first d is left", share);
}

/* Worked out by hand. */
static void by_hand(void **state) {
    (void)state;
    /* d = 2^-8: multiples 15, 9, 1, 14 of it, the latter two a little beside */
    float s[] = {15.0f / 256, 9.0f / 256, 0.4f / 256, 14.2f / 256}, y[8];
    eq_k_steps(y, s, NULL, 4, 2);
    assert_true(y[0] == 15.0f / 256 && y[1] == 9.0f / 256 && y[3] == 14.0f / 256);
    assert_true(y[2] == 1.0f / 256);
    /* one group: the nearest number that is a multiple of a d of five digits */
    float one = 0.3f;
    eq_k_steps(y, &one, NULL, 1, 4);
    assert_true(fabsf(y[0] - one) < 1e-3f * one);
    /* what is not finite stays so, for the loss to show it */
    float bad[] = {0.01f, NAN};
    eq_k_steps(y, bad, NULL, 2, 2);
    assert_true(isfinite(y[0]) && isnan(y[1]));
}

static void starts(void **state) {
    (void)state;
    int64_t zeros[2][2] = {{0}};
    for (uint64_t r = 0; r < ROUNDS / 4; r++) {
        int n = 1 << r % 4, bits = r / 4 % 2 ? 4 : 2, G = EQ_K_WEIGHTS / n;
        float w[EQ_K_WEIGHTS], s[EQ_K_GROUPS], z[EQ_K_GROUPS];
        for (int i = 0; i < EQ_K_WEIGHTS; i++)
            w[i] = 0.05f * eq_rand_normal(5 + r, (uint64_t)i) + (r % 3 ? 0 : 0.01f);
        eq_k_start(s, z, w, n, bits == 2 ? EQ_GRID_Q2_K : EQ_GRID_Q4_K);
        for (int i = 0; i < EQ_K_WEIGHTS; i++) {
            float at = s[i / G], code = eq_clampf(eq_code(w[i], at, z[i / G]), 0, eq_q_max(bits));
            assert_true(z[i / G] == z[0]);
            assert_true(fabsf((code - z[0]) * at - w[i]) <= 0.5001f * at);
        }
        int over = (int)z[0] - (bits == 2 ? 1 : 7);
        assert_true(over == 0 || over == 1);
        zeros[bits / 4][over]++;
    }
    for (int k = 0; k < 2; k++) assert_true(zeros[k][0] > 20 && zeros[k][1] > 20);
    /* weights that are all alike, zeros too */
    float w[EQ_K_WEIGHTS] = {0}, s[4], z[4];
    for (int i = 64; i < 128; i++) w[i] = 0.5f;
    eq_k_start(s, z, w, 4, EQ_GRID_Q2_K);
    assert_true(s[0] == EQ_S_MIN && s[1] == 0.2f && z[1] == 1);
}

static void shapes(void **state) {
    (void)state;
    assert_true(eq_k_fits(256, 64) && eq_k_fits(768, 256) && eq_k_fits(512, 32));
    assert_false(eq_k_fits(576, 64) || eq_k_fits(512, 512) || eq_k_fits(256, 16));
    assert_false(eq_k_fits(768, 96));
    for (int g = EQ_GRID_FREE; g <= EQ_GRID_Q4_K; g++)
        assert_int_equal(eq_k_grid((eq_grid)g), g >= EQ_GRID_Q2_K);
    assert_true(eq_z_used(0, 2, EQ_GRID_Q2_K) == 1 && eq_z_used(3, 2, EQ_GRID_Q2_K) == 2);
    assert_true(eq_z_used(0, 4, EQ_GRID_Q4_K) == 7 && eq_z_used(15, 4, EQ_GRID_Q4_K) == 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_lie_on_it),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(starts),
        cmocka_unit_test(shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

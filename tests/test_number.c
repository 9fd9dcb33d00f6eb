/* The number format (METHOD section 1) on values worked out by hand: every backend takes it from
 * quant/number.h, so comparing backends with each other cannot see a mistake there. */
#include "base/num.h"
#include "quant/number.h"

#include "scratch.h"

static void codes(void **state) {
    (void)state;
    /* round(w / s) + z, to nearest, ties to even, before the clamp */
    static const struct {
        float w, s, z, t;
    } rows[] = {
        {0, 1, 0, 0},
        {0.5f, 1, 0, 0},
        {1.5f, 1, 0, 2},
        {2.5f, 1, 0, 2},
        {-0.5f, 1, 1, 1},
        {-1.5f, 1, 1, -1},
        {-2.5f, 1, 1, -1},
        {0.75f, 0.5f, 1, 3},
        {-0.4f, 0.5f, 2, 1},
        {10, 0.25f, 3, 43},
        {-9, 2, 3, -1},
        /* a true division; w * (1 / s) is 2.5000002, 1.4999999 and 1.4999999 */
        {37.5f, 15, 0, 2},
        {91.5f, 61, 0, 2},
        {163.5f, 109, 0, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (eq_code(rows[i].w, rows[i].s, rows[i].z) != rows[i].t)
            fail_msg("row %d: %g, expected %g", (int)i,
                     (double)eq_code(rows[i].w, rows[i].s, rows[i].z), (double)rows[i].t);
    int told = 0; /* by the rows above, a division from a product with the reciprocal */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        told += rintf(rows[i].w * (1.0f / rows[i].s)) + rows[i].z != rows[i].t;
    assert_true(told == 3);
}

static void limits(void **state) {
    (void)state;
    assert_true(eq_q_max(2) == 3 && eq_q_max(3) == 7 && eq_q_max(4) == 15 && eq_q_max(8) == 255);
    /* s in [1e-4, 1e4] */
    assert_true(eq_s_used(0.25f, 1) == 0.25f && eq_s_used(1e-5f, 1) == 1e-4f);
    assert_true(eq_s_used(-1, 1) == 1e-4f && eq_s_used(1e5f, 1) == 1e4f &&
                isnan(eq_s_used(NAN, 1)));
    assert_true(eq_s_used(0.25f, 0) == 0.25f && eq_s_used(1e-4f, 1e-9f) == 1e-4f);
    /* lower where the group's weights are small: a power of two, at most their largest / 256 */
    const float low[][2] = {{0.0257f, 1e-4f},     {0.0255f, 0x1p-14f},
                            {0x1p-8f, 0x1p-16f},  {0x1.8p-8f, 0x1p-16f},
                            {0x1p-12f, 0x1p-20f}, {0x1p-13f, 0x1p-21f},
                            {1e-5f, 0x1p-21f},    {0x1p-22f, 0x1p-21f},
                            {0x1p-23f, 1e-4f},    {0, 1e-4f}};
    for (size_t i = 0; i < sizeof low / sizeof *low; i++) {
        float f = low[i][1];
        assert_true(eq_s_floor(low[i][0]) == f && eq_s_used(0, low[i][0]) == f);
        assert_true(eq_s_held(f) && !eq_s_held(1.5f * f));
        assert_true(eq_f16_to_f32(eq_f32_to_f16(f)) >= f); /* what is written is not below it */
    }
    assert_false(eq_s_held(0.25f));
    /* z an integer in [0, Q], ties to even */
    const float z[][3] = {{0.4f, 0, 2}, {0.5f, 0, 2}, {1.5f, 2, 2}, {2.5f, 2, 2},   {-0.6f, 0, 2},
                          {3.4f, 3, 2}, {7, 3, 2},    {7, 7, 3},    {14.6f, 15, 4}, {20, 15, 4}};
    for (size_t i = 0; i < sizeof z / sizeof *z; i++)
        assert_true(eq_z_used(z[i][0], (int)z[i][2], EQ_GRID_FREE) == z[i][1]);
    /* portable: one of the middle two */
    const float p[][3] = {{0, 1, 2},    {1.4f, 1, 2}, {1.5f, 2, 2}, {9, 2, 2},    {2.5f, 3, 3},
                          {3.5f, 4, 3}, {-7, 3, 3},   {6, 7, 4},    {7.5f, 8, 4}, {15, 8, 4}};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++)
        assert_true(eq_z_used(p[i][0], (int)p[i][2], EQ_GRID_PORTABLE) == p[i][1]);
}

static void min_max(void **state) {
    (void)state;
    static const struct {
        float lo, hi;
        int bits;
        float s, z;
    } rows[] = {
        {-1, 2, 2, 1, 1},
        {-0.75f, 0.75f, 2, 0.5f, 2}, /* 1.5 to even */
        {-1.25f, 0.25f, 2, 0.5f, 2}, /* 2.5 to even */
        {-3, 4, 3, 1, 3},
        {-8, 7, 4, 1, 8},
        {0.5f, 2, 2, 0.5f, -1},
        {-2, -0.5f, 2, 0.5f, 4}, /* all of one sign: out of range, kept */
        {0, 0, 2, 1e-4f, 0},
        {0.25f, 0.25f, 2, 1e-4f, -2500}, /* constant: finite */
        {-2, -2, 4, 1e-4f, 1e4f},
        /* the first row, small: the step follows */
        {-0x1p-14f, 0x1p-13f, 2, 0x1p-14f, 1},
        {-0x1p-20f, 0x1p-19f, 2, 0x1p-20f, 1},
        {0x1p-13f, 0x1p-13f, 2, 0x1p-21f, -256}, /* constant: finite */
        {0, 0x1p-20f, 8, 0x1p-21f, 0},           /* as far as fp16 goes */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float s, z;
        eq_minmax_start(rows[i].lo, rows[i].hi, rows[i].bits, EQ_GRID_FREE, &s, &z);
        if (s != rows[i].s || z != rows[i].z)
            fail_msg("row %d: step %g, zero %g, expected %g, %g", (int)i, (double)s, (double)z,
                     (double)rows[i].s, (double)rows[i].z);
    }
}

/* As the paper where its zero point is on the grid; else the step reaches both ends. */
static void portable_start(void **state) {
    (void)state;
    static const struct {
        float lo, hi;
        int bits;
        float s, z;
    } rows[] = {
        {-1, 2, 2, 1, 1},
        {-0.75f, 0.75f, 2, 0.5f, 2},
        {-8, 7, 4, 1, 8},
        {-3, 4, 3, 1, 3},
        {-0.25f, 4, 2, 2, 1}, /* free: 17 / 12, 0 */
        {-4, 0.25f, 2, 2, 2},
        {-10, 5, 4, 1.25f, 8}, /* free: 1, 10 */
        {-4.5f, 24, 4, 3, 7},
        {0.5f, 2, 2, 1, 1}, /* of one sign */
        {-2, -0.5f, 2, 1, 2},
        {0, 0, 2, 1e-4f, 1}, /* constant */
        {0.25f, 0.25f, 2, 0.125f, 1},
        {-2, -2, 4, 0.25f, 8},
        {0, 0x1p-20f, 2, 0x1p-21f, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float s, z;
        eq_minmax_start(rows[i].lo, rows[i].hi, rows[i].bits, EQ_GRID_PORTABLE, &s, &z);
        if (s != rows[i].s || z != rows[i].z)
            fail_msg("row %d: step %g, zero %g, expected %g, %g", (int)i, (double)s, (double)z,
                     (double)rows[i].s, (double)rows[i].z);
    }
}

/* Paper, appendix E. */
static void sizes(void **state) {
    (void)state;
    assert_true(eq_bits_per_weight(2, 64) == 2.28125);
    assert_true(eq_bits_per_weight(3, 128) == 3.1484375);
    assert_true(eq_bits_per_weight(4, 128) == 4.15625);
}

/* sigmoid(0) = 1/2, sigmoid(ln 3) = 3/4: of -1 .. 4 remain -1/2 .. 3. */
static void clipped_range(void **state) {
    (void)state;
    const float c[2] = {0, logf(3)};
    float s, z;
    eq_clip_grid(-1, 4, c, 3, EQ_GRID_FREE, &s, &z);
    assert_true(fabsf(s - 0.5f) < 1e-6f && z == 1);
    eq_clip_grid(-1, 4, c, 3, EQ_GRID_PORTABLE, &s, &z); /* z 3, so that 3 = 4 steps */
    assert_true(fabsf(s - 0.75f) < 1e-6f && z == 3);
}

static void offsets(void **state) {
    (void)state;
    assert_true(eq_offset_used(0.25f) == 0.25f && eq_offset_used(3) < 1 && eq_offset_used(-3) > -1);
    assert_true(eq_offset_used(3) > 0.9999f);
    assert_true(eq_offset_grad(0.5f, 0.25f, 2) == 0.5f);
    /* a step goes down the gradient: out of the bound never, back always */
    assert_true(eq_offset_grad(1, 0.25f, -2) == 0 && eq_offset_grad(1, 0.25f, 2) == 0.5f);
    assert_true(eq_offset_grad(-1, 0.25f, 2) == 0 && eq_offset_grad(-1, 0.25f, -2) == -0.5f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clipped_range), cmocka_unit_test(offsets),
        cmocka_unit_test(codes),         cmocka_unit_test(limits),
        cmocka_unit_test(min_max),       cmocka_unit_test(portable_start),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

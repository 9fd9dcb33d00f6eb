/* The scalar twins of the tensor core instructions (src/backend/cuda/mma.cuh) against the layouts
 * of the PTX manual, written out here a second time, and against plain loops; copies that have not
 * been waited for are not there. Kernels in attention are right on the CPU only if these are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include <cmocka.h>
}

#include "backend/cuda/mma.cuh"

enum { M = 16, N = 8, K = 16, ROW = 24 /* elements: rows are not dense */ };

struct fragments {
    uint32_t a[32][4], b[32][4], b_turned[32][4];
    float d[32][4];
};

static uint16_t bf16(float f) { return (uint16_t)eq_ptx_bf16x2(f, 0.0f); }
static float small(int i) { return (float)(i * 37 % 61 - 30) / 8.0f; } /* exact in bf16 */

/* a: [16, 16]; b: [16 columns, 16], k along its rows; b_turned: [16, 16 columns]. */
static void kernel(fragments *out, const uint16_t *a, const uint16_t *b, const uint16_t *b_turned) {
    int lane = eq_lane();
    eq_shared row_a = eq_shared_of(a + (lane & 15) * ROW + (lane >> 4) * 8);
    eq_shared row_b = eq_shared_of(b + ((lane >> 4) * 8 + (lane & 7)) * ROW + (lane >> 3 & 1) * 8);
    eq_shared row_t = eq_shared_of(b_turned + (lane & 15) * ROW + (lane >> 4) * 8);
    eq_ldmatrix(out->a[lane], row_a);
    eq_ldmatrix(out->b[lane], row_b);
    eq_ldmatrix_trans(out->b_turned[lane], row_t);
    for (int i = 0; i < 4; i++) out->d[lane][i] = 1.0f;
    eq_mma(out->d[lane], out->a[lane], out->b[lane][0], out->b[lane][1]);
}

static uint16_t half(uint32_t pair, int high) { return (uint16_t)(pair >> 16 * high); }

static void run(void (*body)(void *), void *ctx) { eq_emu_run(dim3(1), dim3(32), 0, body, ctx); }

static void test_fragments(void **state) {
    (void)state;
    static uint16_t a[M * ROW], b[16 * ROW], turned[K * ROW];
    static fragments f;
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++) {
            a[i * ROW + k] = bf16(small(i * 16 + k));
            b[i * ROW + k] = turned[k * ROW + i] = bf16(small(400 + i * 16 + k));
        }
    auto body = [](void *) { kernel(&f, a, b, turned); };
    for (eq_emu_falling = 0; eq_emu_falling < 2; eq_emu_falling++) {
        run(body, NULL);
        assert_string_equal(eq_emu_fault(), "");
        for (int lane = 0; lane < 32; lane++) {
            int g = lane / 4, c = lane % 4;
            for (int i = 0; i < 8; i++) { /* two elements a register */
                int high = i % 2, reg = i / 2;
                int row = g + (reg % 2) * 8, col = 2 * c + high + (reg / 2) * 8;
                assert_int_equal(half(f.a[lane][reg], high), a[row * ROW + col]);
                int k = 2 * c + high + (reg % 2) * 8, n = g + (reg / 2) * 8;
                assert_int_equal(half(f.b[lane][reg], high), b[n * ROW + k]);
                assert_int_equal(f.b_turned[lane][reg], f.b[lane][reg]);
            }
            for (int i = 0; i < 4; i++) {
                int row = g + i / 2 * 8, n = 2 * c + i % 2;
                double want = 1.0;
                for (int k = 0; k < K; k++)
                    want += (double)small(row * 16 + k) * (double)small(400 + n * 16 + k);
                assert_true(fabs((double)f.d[lane][i] - want) < 1e-4);
            }
        }
    }
    eq_emu_falling = 0;
}

static unsigned char arrived[4][32];
static void copies(void) {
    alignas(16) static const unsigned char from[2][16] = {{1, 2, 3}, {4, 5, 6}};
    alignas(16) static unsigned char to[3][32];
    if (threadIdx.x) return;
    memset(to, 9, sizeof to);
    eq_copy16(eq_shared_of(to[0]), from[0], true);
    eq_copy_commit();
    eq_copy16(eq_shared_of(to[1]), from[1], false); /* not wanted: zeros */
    eq_copy4(eq_shared_of(to[2]), from[1], true);
    eq_copy_commit();
    for (int i = 0; i < 2; i++) arrived[0][i] = to[i][0];
    eq_copy_wait<1>();
    for (int i = 0; i < 2; i++) arrived[1][i] = to[i][0];
    eq_copy_wait<0>();
    for (int i = 0; i < 3; i++) arrived[2][i] = to[i][2];
    for (int i = 0; i < 3; i++) arrived[3][i] = to[i][16 - 12 * (i == 2)];
}
static void test_copies(void **state) {
    (void)state;
    run([](void *) { copies(); }, NULL);
    assert_int_equal(arrived[0][0], 0xff);
    assert_int_equal(arrived[0][1], 0xff);
    assert_int_equal(arrived[1][0], 1);
    assert_int_equal(arrived[1][1], 0xff);
    assert_int_equal(arrived[2][0], 3);
    assert_int_equal(arrived[2][1], 0);
    assert_int_equal(arrived[2][2], 6);
    for (int i = 0; i < 3; i++) assert_int_equal(arrived[3][i], 9); /* nothing behind them */
}

int main(void) {
#if defined(__SANITIZE_THREAD__)
    puts("SKIP the emulated device has fibers, which ThreadSanitizer does not follow");
    return 77;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests_name("tensor core twins", tests, NULL, NULL);
}

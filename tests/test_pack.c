/* Packing against a bit-by-bit packer, for every width, with guards around every output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/par.h"
#include "base/rng.h"
#include "naive_pack.h"
#include "quant/pack.h"

static const int widths[] = {2, 3, 4, 8};
enum { GUARD = 16 };

/* n bytes between guards of 0xA5. */
static uint8_t *guarded(int64_t n) {
    uint8_t *p = malloc((size_t)n + 2 * GUARD);
    assert_non_null(p);
    memset(p, 0xA5, (size_t)n + 2 * GUARD);
    return p + GUARD;
}
static void unguard(void *q, int64_t n) {
    uint8_t *p = q;
    for (int i = 0; i < GUARD; i++) assert_true(p[-1 - i] == 0xA5 && p[n + i] == 0xA5);
    free(p - GUARD);
}

static void fill(uint8_t *q, int64_t n, int bits, uint64_t seed) {
    for (int64_t i = 0; i < n; i++)
        q[i] = (uint8_t)(eq_rand_u64(seed, (uint64_t)i) & ((1u << bits) - 1));
}

static void rows_are_streams(void **state) {
    (void)state;
    const int64_t lengths[] = {32, 64, 96, 4096, 1, 31, 172, 100}; /* and rows that fill no word */
    for (int w = 0; w < 4; w++)
        for (int l = 0; l < 8; l++) {
            int bits = widths[w];
            int64_t n = lengths[l], bytes = eq_pack_words(n, bits) * 4;
            uint8_t *q = guarded(n), *back = guarded(n);
            uint32_t *words = (uint32_t *)(void *)guarded(bytes);
            fill(q, n, bits, (uint64_t)(10 * w + l));
            eq_pack_row(words, q, n, bits);
            for (int64_t k = 0; k < n; k++) assert_int_equal(naive_get(words, 1, k, bits), q[k]);
            for (int64_t bit = n * bits; bit < bytes * 8; bit++)
                assert_int_equal(words[bit / 32] >> bit % 32 & 1, 0);
            eq_unpack_row(back, words, n, bits);
            assert_memory_equal(back, q, n);
            unguard(q, n), unguard(back, n), unguard(words, bytes);
        }
}

/* qweight: column o of [I * bits / 32, O] is the stream of w_int[o, :]. */
static void gptq_columns_are_streams(void **state) {
    (void)state;
    const struct { int64_t O, I; } shapes[] = {{32, 32}, {1, 64}, {96, 160}, {130, 352}, {64, 64}};
    for (int w = 0; w < 4; w++)
        for (int s = 0; s < 5; s++) {
            int bits = widths[w];
            int64_t O = shapes[s].O, I = shapes[s].I, rw = eq_pack_words(I, bits),
                    bytes = O * rw * 4;
            uint8_t *q = guarded(O * I);
            uint32_t *rows = (uint32_t *)(void *)guarded(bytes),
                     *back = (uint32_t *)(void *)guarded(bytes);
            int32_t *qw = (int32_t *)(void *)guarded(bytes);
            fill(q, O * I, bits, (uint64_t)(100 + 10 * w + s));
            for (int64_t o = 0; o < O; o++) eq_pack_row(rows + o * rw, q + o * I, I, bits);
            eq_gptq_from_rows(qw, rows, O, I, bits);
            for (int64_t o = 0; o < O; o++)
                for (int64_t i = 0; i < I; i++)
                    assert_int_equal(naive_get((uint32_t *)qw + o, O, i, bits), q[o * I + i]);
            eq_rows_from_gptq(back, qw, O, I, bits);
            assert_memory_equal(back, rows, bytes);
            unguard(q, O * I), unguard(rows, bytes), unguard(back, bytes), unguard(qw, bytes);
        }
}

/* qzeros: row g of [NG, O * bits / 32] is the stream of z[:, g]. */
static void zeros_run_along_outputs(void **state) {
    (void)state;
    const struct { int64_t O, NG; } shapes[] = {{32, 1}, {64, 5}, {160, 3}};
    for (int w = 0; w < 4; w++)
        for (int s = 0; s < 3; s++) {
            int bits = widths[w];
            int64_t O = shapes[s].O, NG = shapes[s].NG, zw = O * bits / 32, bytes = NG * zw * 4;
            uint8_t *z = guarded(O * NG), *back = guarded(O * NG);
            int32_t *qz = (int32_t *)(void *)guarded(bytes);
            fill(z, O * NG, bits, (uint64_t)(200 + 10 * w + s));
            eq_gptq_zeros(qz, z, O, NG, bits);
            for (int64_t o = 0; o < O; o++)
                for (int64_t g = 0; g < NG; g++)
                    assert_int_equal(naive_get((uint32_t *)qz + g * zw, 1, o, bits), z[o * NG + g]);
            eq_zeros_from_gptq(back, qz, O, NG, bits);
            assert_memory_equal(back, z, O * NG);
            unguard(z, O * NG), unguard(back, O * NG), unguard(qz, bytes);
        }
}

/* FORMATS: 32 values of 3 bits are one 96-bit number, value k at bits 3k .. 3k + 2. */
static void three_bits_are_one_96_bit_number(void **state) {
    (void)state;
    uint8_t q[32];
    uint32_t words[3];
    for (int k = 0; k < 32; k++) q[k] = (uint8_t)(k == 10 ? 5 : k == 21 ? 6 : k == 31 ? 7 : 0);
    eq_pack_row(words, q, 32, 3);
    /* bits 30..32 hold 101: bit 30 and bit 32; bits 63..65 hold 110: bits 64 and 65; 93..95 hold
     * 111 */
    assert_int_equal(words[0], 0x40000000u);
    assert_int_equal(words[1], 0x00000001u);
    assert_int_equal(words[2], 0xe0000003u);
}

static void what_gptq_refuses(void **state) {
    (void)state;
    assert_null(eq_gptq_refuses(64, 128, 64, 2));
    assert_null(eq_gptq_refuses(96, 128, 128, 3));
    assert_non_null(eq_gptq_refuses(64, 128, 96, 2));
    assert_non_null(eq_gptq_refuses(64, 48, 48, 4));
    assert_non_null(eq_gptq_refuses(48, 64, 64, 3));
    assert_non_null(eq_gptq_refuses(40, 64, 64, 2));
    assert_null(eq_gptq_refuses(40, 64, 64, 4));
    assert_non_null(eq_gptq_refuses(64, 128, 64, 5));
    assert_non_null(eq_gptq_refuses(64, 128, 0, 4));
}

static void threads_do_not_matter(void **state) {
    (void)state;
    enum { O = 320, I = 256 };
    static uint8_t q[O * I];
    static uint32_t rows[O * I / 32 * 3];
    static int32_t one[O * I / 32 * 3], three[O * I / 32 * 3];
    fill(q, O * I, 3, 7);
    for (int o = 0; o < O; o++) eq_pack_row(rows + o * (I / 32 * 3), q + o * I, I, 3);
    eq_par_threads(1);
    eq_gptq_from_rows(one, rows, O, I, 3);
    eq_par_threads(3);
    eq_gptq_from_rows(three, rows, O, I, 3);
    eq_par_threads(0);
    assert_memory_equal(one, three, sizeof one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_streams),
        cmocka_unit_test(gptq_columns_are_streams),
        cmocka_unit_test(zeros_run_along_outputs),
        cmocka_unit_test(three_bits_are_one_96_bit_number),
        cmocka_unit_test(what_gptq_refuses),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

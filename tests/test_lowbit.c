/* The kernels of packed products, one tile at a time: with 8-bit activations the bits that
 * quant/act8.h defines at every instruction set, in fp32 within its rounding of sums in double.
 * Kernels that this CPU has not are run with their instructions in plain C (tests/isa_emu). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/lowbit.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "quant/act8.h"
#include "quant/pack.h"

extern const eq_lowbit emu_lowbit_avx512vnni, emu_lowbit_avxvnni;
static const eq_lowbit *tables[8];
static int table_count;

static int find_tables(void **state) {
    (void)state;
    eq_cpu_level level;
    if (eq_cpu_detect(&level, NULL, NULL) != EQ_OK) return 1;
    tables[table_count++] = &eq_lowbit_sse2;
    tables[table_count++] = &emu_lowbit_avx512vnni;
    if (level < EQ_CPU_AVX2) return puts("SKIP packed products above sse2: this CPU has none"), 0;
    tables[table_count++] = &eq_lowbit_avx2;
    tables[table_count++] = &emu_lowbit_avxvnni;
    if (eq_cpu_has_avxvnni()) tables[table_count++] = &eq_lowbit_avxvnni;
    if (level == EQ_CPU_AVX512 && eq_cpu_has_avx512vnni())
        tables[table_count++] = &eq_lowbit_avx512vnni;
    return 0;
}

enum { I = 320, ROWS = EQ_BLOCK_ROWS, W = 2 * EQ_TILE }; /* rows of x and of weights */
typedef struct {
    int bits;
    int64_t G;
    uint8_t code[W][I], z[W * I / 32];
    uint16_t s[W * I / 32];
    uint32_t words[W * I / 4];
    uint8_t tile[W * I];
    float x[ROWS * I];
    struct { /* one row behind the other, and as a block wants them */
        int8_t x8[ROWS * I];
        float step[ROWS * I / 32];
        int32_t sum8[ROWS * I / 32];
    } plain, block;
} sample;

/* Group g of row r of the weights, in tiles. */
static int64_t group_at(const sample *d, int64_t r, int64_t g) {
    return (r / EQ_TILE * (I / d->G) + g) * EQ_TILE + r % EQ_TILE;
}

/* extreme: the largest codes and activations of both signs, which would overflow first. */
static void make(sample *d, int bits, int64_t G, bool extreme) {
    uint64_t seed = (uint64_t)(bits * 1000 + G);
    int64_t groups = I / G;
    unsigned top = (1u << bits) - 1;
    d->bits = bits, d->G = G;
    for (int r = 0; r < W; r++) {
        for (int i = 0; i < I; i++)
            d->code[r][i] =
                (uint8_t)(extreme ? top : eq_rand_u64(seed, (uint64_t)(r * I + i)) & top);
        eq_pack_row(d->words + r * eq_pack_words(I, bits), d->code[r], I, bits);
        for (int64_t g = 0; g < groups; g++) {
            d->z[group_at(d, r, g)] =
                (uint8_t)(extreme ? 0 : eq_rand_u64(seed + 1, (uint64_t)(r * I + g)) & top);
            d->s[group_at(d, r, g)] = eq_f32_to_f16(
                0.01f * (1.0f + (float)eq_rand_unit(seed + 2, (uint64_t)(r * I + g))));
        }
    }
    for (int t = 0; t < W / EQ_TILE; t++)
        eq_lowbit_lay(d->tile + t * EQ_TILE * I * bits / 8,
                      d->words + t * EQ_TILE * eq_pack_words(I, bits), I, bits);
    for (int i = 0; i < ROWS * I; i++)
        d->x[i] = extreme ? (i / I % 2 ? -1.0f : 1.0f) : eq_rand_normal(seed + 3, (uint64_t)i);
    for (int r = 0; r < ROWS; r++)
        for (int64_t g = 0; g < groups; g++) {
            int8_t *q = d->plain.x8 + r * I + g * G;
            float step = eq_act8(q, d->x + r * I + g * G, G);
            int32_t sum = 0;
            for (int64_t i = 0; i < G; i++) {
                sum += q[i];
                d->block.x8[((g * G + i) / 4 * ROWS + r) * 4 + i % 4] = q[i];
            }
            d->plain.step[r * groups + g] = d->block.step[g * ROWS + r] = step;
            d->plain.sum8[r * groups + g] = d->block.sum8[g * ROWS + r] = sum;
        }
}

static float want8(const sample *d, int x, int r) {
    int64_t groups = I / d->G;
    float sum = 0.0f;
    for (int64_t g = 0; g < groups; g++) {
        int64_t whole = 0;
        for (int64_t i = g * d->G; i < (g + 1) * d->G; i++)
            whole += (d->code[r][i] - d->z[group_at(d, r, g)]) * d->plain.x8[x * I + i];
        sum = eq_act8_add(sum, whole, eq_f16_to_f32(d->s[group_at(d, r, g)]),
                          d->plain.step[x * groups + g]);
    }
    return sum;
}
static double want(const sample *d, int x, int r, double *size) {
    double sum = 0;
    *size = 0;
    for (int64_t i = 0; i < I; i++) {
        int64_t g = group_at(d, r, i / d->G);
        double t =
            (d->code[r][i] - d->z[g]) * (double)eq_f16_to_f32(d->s[g]) * (double)d->x[x * I + i];
        sum += t, *size += fabs(t);
    }
    return sum;
}

static void check(const sample *d, const eq_lowbit *t, int kind) {
    eq_tile_in in = {d->tile, d->s, d->z, I, d->G, d->plain.x8, d->plain.step, d->plain.sum8, d->x};
    if (kind == EQ_BLOCK) in.x8 = d->block.x8, in.step = d->block.step, in.sum8 = d->block.sum8;
    float y8[ROWS * EQ_TILE], y[ROWS * EQ_TILE];
    int at = eq_lowbit_at(d->bits), rows = kind == EQ_PAIR ? W : EQ_TILE;
    t->act8[at][kind](y8, &in);
    t->exact[at][kind](y, &in);
    for (int x = 0; x < (kind == EQ_BLOCK ? ROWS : 1); x++)
        for (int r = 0; r < rows; r++) {
            double size, exact = want(d, x, r, &size);
            float eight = want8(d, x, r), *is8 = &y8[x * rows + r], is = y[x * rows + r];
            if (memcmp(is8, &eight, sizeof eight))
                fail_msg("%s, kind %d, %d bits, groups of %d: row %d is %.9g, not %.9g", t->name,
                         kind, d->bits, (int)d->G, r, (double)*is8, (double)eight);
            if (fabs((double)is - exact) > size * I * 0x1p-25)
                fail_msg("%s, kind %d, %d bits, groups of %d, fp32: row %d is %.9g, not %.9g",
                         t->name, kind, d->bits, (int)d->G, r, (double)is, exact);
        }
}

static void kernels(void **state) {
    (void)state;
    static const int bits[] = {2, 3, 4, 8};
    static const int64_t group[] = {32, 64, 160, 320};
    static sample d;
    for (int b = 0; b < 4; b++)
        for (int g = 0; g < 4; g++)
            for (int extreme = 0; extreme < 2; extreme++) {
                make(&d, bits[b], group[g], extreme);
                for (int t = 0; t < table_count; t++)
                    for (int kind = 0; kind < EQ_TILE_KINDS; kind++) check(&d, tables[t], kind);
            }
}

/* Activations: the ends of the range, zeros, what is too small and what is no number. */
static void activations(void **state) {
    (void)state;
    float x[32] = {0};
    int8_t q[32];
    assert_true(eq_act8(q, x, 32) == 0.0f && q[5] == 0);
    x[3] = -2.54f, x[4] = 1.28f, x[5] = 0.0099f, x[6] = 0.0101f, x[7] = 0.04f;
    float step = eq_act8(q, x, 32);
    assert_true(fabsf(step - 0.02f) < 1e-8f);
    assert_true(q[3] == -127 && q[4] == 64 && q[5] == 0 && q[6] == 1 && q[7] == 2);
    x[3] = 1e-40f;
    for (int i = 4; i < 8; i++) x[i] = 0;
    assert_true(eq_act8(q, x, 32) == 0.0f && q[3] == 0);
    x[9] = INFINITY;
    assert_true(isnan(eq_act8(q, x, 32)) && q[9] == 0);
    x[9] = NAN;
    assert_true(isnan(eq_act8(q, x, 32)) && q[9] == 0);
    for (int i = 0; i < 32; i++) x[i] = 3e38f * (i % 2 ? 1.0f : -1.0f);
    step = eq_act8(q, x, 32);
    assert_true(isfinite(step) && q[0] == -127 && q[1] == 127);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kernels), cmocka_unit_test(activations)};
    return cmocka_run_group_tests_name("packed products", tests, find_tables, NULL);
}

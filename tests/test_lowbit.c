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

enum { I = 320, ROWS = EQ_BLOCK_ROWS };
typedef struct {
    int bits;
    int64_t G;
    uint8_t code[EQ_TILE][I], z[EQ_TILE * I / 32];
    uint16_t s[EQ_TILE * I / 32];
    uint32_t words[EQ_TILE * I / 4];
    uint8_t tile[EQ_TILE * I];
    float x[ROWS * I], step[ROWS * I / 32];
    int8_t x8[ROWS * I];
    int32_t sum8[ROWS * I / 32];
} sample;

/* extreme: the largest codes and activations of both signs, which would overflow first. */
static void make(sample *d, int bits, int64_t G, bool extreme) {
    uint64_t seed = (uint64_t)(bits * 1000 + G);
    int64_t groups = I / G;
    unsigned top = (1u << bits) - 1;
    d->bits = bits, d->G = G;
    for (int r = 0; r < EQ_TILE; r++) {
        for (int i = 0; i < I; i++)
            d->code[r][i] =
                (uint8_t)(extreme ? top : eq_rand_u64(seed, (uint64_t)(r * I + i)) & top);
        eq_pack_row(d->words + r * eq_pack_words(I, bits), d->code[r], I, bits);
        for (int64_t g = 0; g < groups; g++) { /* [I / G][16] */
            d->z[g * EQ_TILE + r] =
                (uint8_t)(extreme ? 0 : eq_rand_u64(seed + 1, (uint64_t)(r * I + g)) & top);
            d->s[g * EQ_TILE + r] = eq_f32_to_f16(
                0.01f * (1.0f + (float)eq_rand_unit(seed + 2, (uint64_t)(r * I + g))));
        }
    }
    eq_lowbit_lay(d->tile, d->words, I, bits);
    for (int i = 0; i < ROWS * I; i++)
        d->x[i] = extreme ? (i / I % 2 ? -1.0f : 1.0f) : eq_rand_normal(seed + 3, (uint64_t)i);
    for (int r = 0; r < ROWS; r++)
        for (int64_t g = 0; g < groups; g++) {
            int8_t *q = d->x8 + r * I + g * G;
            d->step[r * groups + g] = eq_act8(q, d->x + r * I + g * G, G);
            int32_t sum = 0;
            for (int64_t i = 0; i < G; i++) sum += q[i];
            d->sum8[r * groups + g] = sum;
        }
}

static float want8(const sample *d, int x, int r) {
    int64_t groups = I / d->G;
    float sum = 0.0f;
    for (int64_t g = 0; g < groups; g++) {
        int64_t whole = 0;
        for (int64_t i = g * d->G; i < (g + 1) * d->G; i++)
            whole += (d->code[r][i] - d->z[g * EQ_TILE + r]) * d->x8[x * I + i];
        sum =
            eq_act8_add(sum, whole, eq_f16_to_f32(d->s[g * EQ_TILE + r]), d->step[x * groups + g]);
    }
    return sum;
}
static double want(const sample *d, int x, int r, double *size) {
    double sum = 0;
    *size = 0;
    for (int64_t i = 0; i < I; i++) {
        int64_t g = i / d->G * EQ_TILE + r;
        double t =
            (d->code[r][i] - d->z[g]) * (double)eq_f16_to_f32(d->s[g]) * (double)d->x[x * I + i];
        sum += t, *size += fabs(t);
    }
    return sum;
}

static void check(const sample *d, const eq_lowbit *t, int block) {
    eq_tile_in in = {d->tile, d->s, d->z, I, d->G, d->x8, d->step, d->sum8, d->x};
    float y8[ROWS * EQ_TILE], y[ROWS * EQ_TILE];
    int at = eq_lowbit_at(d->bits);
    t->act8[at][block](y8, &in);
    t->exact[at][block](y, &in);
    for (int x = 0; x < (block ? ROWS : 1); x++)
        for (int r = 0; r < EQ_TILE; r++) {
            double size, exact = want(d, x, r, &size);
            float eight = want8(d, x, r);
            if (memcmp(&y8[x * EQ_TILE + r], &eight, sizeof eight))
                fail_msg("%s, %d bits, groups of %d: row %d is %.9g, not %.9g", t->name, d->bits,
                         (int)d->G, r, (double)y8[x * EQ_TILE + r], (double)eight);
            if (fabs((double)y[x * EQ_TILE + r] - exact) > size * I * 0x1p-25)
                fail_msg("%s, %d bits, groups of %d, fp32: row %d is %.9g, not %.9g", t->name,
                         d->bits, (int)d->G, r, (double)y[x * EQ_TILE + r], exact);
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
                    check(&d, tables[t], 0), check(&d, tables[t], 1);
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

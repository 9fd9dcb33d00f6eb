/* The layout of packed weights in tiles (lowbit.h), from rows and back, and the choice of kernels.
 */
#include "backend/cpu/cpu_lowbit.h"

#include <string.h>

#include "base/par.h"
#include "quant/pack.h"

const eq_lowbit *eq_lowbit_choose(eq_cpu_level level, const char *mask) {
    bool all = !mask || !strcmp(mask, "avx512");
    if (level == EQ_CPU_AVX512 && eq_cpu_has_avx512vnni()) return &eq_lowbit_avx512vnni;
    if (level >= EQ_CPU_AVX2 && all && eq_cpu_has_avxvnni()) return &eq_lowbit_avxvnni;
    return level >= EQ_CPU_AVX2 ? &eq_lowbit_avx2 : &eq_lowbit_sse2;
}

/* ---- one row of a run ------------------------------------------------------------------------ */

enum { STEPS = EQ_RUN / 4, VECTOR = 4 * EQ_TILE };
#define ONES 0x01010101u

/* u[t]: the four codes of step t, a byte each. `to`: the row's bytes of the run's first vector. */
static inline void lay_row(uint8_t *to, const uint32_t u[STEPS], int bits) {
    uint32_t v[STEPS] = {0};
    int n = bits == 8 ? 8 : bits == 4 ? 4 : bits; /* vectors */
    for (int t = 0; t < STEPS; t++) {
        if (bits == 8) v[t] = u[t];
        if (bits == 4) v[t / 2] |= u[t] << (t % 2 * 4);
        if (bits == 2 || bits == 3) v[t / 4] |= (u[t] & 3 * ONES) << (t % 4 * 2);
        if (bits == 3) v[2] |= (u[t] >> 2 & ONES) << t;
    }
    for (int i = 0; i < n; i++) memcpy(to + i * VECTOR, &v[i], sizeof v[i]);
}
static inline void unlay_row(uint32_t u[STEPS], const uint8_t *from, int bits) {
    uint32_t v[STEPS];
    for (int i = 0; i < bits; i++) memcpy(&v[i], from + i * VECTOR, sizeof v[i]);
    for (int t = 0; t < STEPS; t++) {
        if (bits == 8) u[t] = v[t];
        if (bits == 4) u[t] = v[t / 2] >> (t % 2 * 4) & 15 * ONES;
        if (bits == 2 || bits == 3) u[t] = v[t / 4] >> (t % 4 * 2) & 3 * ONES;
        if (bits == 3) u[t] |= (v[2] >> t & ONES) << 2;
    }
}

/* `bits` must be a constant where these are inlined. */
static inline void lay_tile(uint8_t *to, const uint32_t *from, int64_t I, const int bits) {
    int64_t row = eq_pack_words(I, bits);
    for (int64_t run = 0; run < I / EQ_RUN; run++, to += bits * VECTOR, from += bits)
        for (int r = 0; r < EQ_TILE; r++) {
            uint8_t code[EQ_RUN];
            uint32_t u[STEPS];
            eq_unpack_row(code, from + r * row, EQ_RUN, bits);
            memcpy(u, code, sizeof u);
            lay_row(to + 4 * r, u, bits);
        }
}
void eq_lowbit_lay(uint8_t *to, const uint32_t *from, int64_t I, int bits) {
    if (bits == 2) lay_tile(to, from, I, 2);
    if (bits == 3) lay_tile(to, from, I, 3);
    if (bits == 4) lay_tile(to, from, I, 4);
    if (bits == 8) lay_tile(to, from, I, 8);
}

void eq_lowbit_dequant(const eq_kernels *k, float *to, const eq_tile_in *t, int bits) {
    for (int64_t i = 0; i < t->I; i += EQ_RUN) {
        const uint8_t *from = t->q + i / EQ_RUN * bits * VECTOR;
        int64_t g = i / t->G * EQ_TILE;
        float s[EQ_TILE];
        k->f32_from_f16(s, t->s + g, EQ_TILE);
        for (int r = 0; r < EQ_TILE; r++) {
            uint32_t u[STEPS];
            uint8_t code[EQ_RUN];
            float z = (float)t->z[g + r], by = s[r], *row = to + r * t->I + i;
            unlay_row(u, from + 4 * r, bits);
            memcpy(code, u, sizeof code);
            for (int c = 0; c < EQ_RUN; c++) row[c] = ((float)code[c] - z) * by;
        }
    }
}

/* ---- a whole linear -------------------------------------------------------------------------- */

typedef struct {
    uint32_t *q;
    uint16_t *s;
    uint8_t *z;
    eq_qshape qs;
    eq_scratch scratch; /* of a thread: a tile's words, steps and zero points */
} lay_job;

static void lay_item(void *ctx, int64_t tile, int thread) {
    const lay_job *j = ctx;
    int64_t I = j->qs.I, groups = I / j->qs.G, words = EQ_TILE * eq_pack_words(I, j->qs.bits);
    uint32_t *q = eq_scratch_of(j->scratch, thread);
    uint16_t *s = (uint16_t *)(q + words), *s_to = j->s + tile * EQ_TILE * groups;
    uint8_t *z = (uint8_t *)(s + EQ_TILE * groups), *z_to = j->z + tile * EQ_TILE * groups;
    memcpy(q, j->q + tile * words, (size_t)words * sizeof *q);
    memcpy(s, s_to, (size_t)(EQ_TILE * groups) * sizeof *s);
    memcpy(z, z_to, (size_t)(EQ_TILE * groups));
    eq_lowbit_lay((uint8_t *)(j->q + tile * words), q, I, j->qs.bits);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < EQ_TILE; r++) {
            s_to[g * EQ_TILE + r] = s[r * groups + g];
            z_to[g * EQ_TILE + r] = z[r * groups + g];
        }
}

void eq_cpu_prepare_q(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_qshape qs) {
    int64_t tiles = eq_lowbit_rows(&qs) / EQ_TILE, groups = qs.I / qs.G;
    lay_job j = {q.p, s.p, z.p, qs, {0}};
    if (!tiles) return;
    j.scratch = eq_cpu_scratch(be, EQ_TILE * (4 * eq_pack_words(qs.I, qs.bits) + 3 * groups), 0);
    if (j.scratch.base) eq_par_for(tiles, lay_item, &j);
}

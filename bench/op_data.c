/* The numbers of a case. Counter-based, so that a buffer is the same for every backend and run.
 * Invariant: a plain case keeps w / s away from ties, a ties case has nothing else. */
#include "op_data.h"

#include <math.h>

#include "base/par.h"
#include "base/rng.h"
#include "quant/number.h"

static uint64_t seed_of(const eq_op_case *c, int buf) {
    return (uint64_t)c->op * 1000003u + (uint64_t)c->d[0] * 131 + (uint64_t)c->d[1] * 17 +
           (uint64_t)buf;
}

static float special(int64_t i) {
    static const uint32_t bits[] = {
        0x7fc00000, 0xffc12345, 0x7f800000, 0xff800000, 0x7f7fffff, 0xff7fffff, 0x00000001,
        0x80000001, 0x00800000, 0x007fffff, 0x80000000, 0x00000000, 0x3f808000, 0x3f818000,
        0x3f807fff, 0x3f808001, 0x7f7f8000, 0x477fe000, 0x477ff000, 0x33000000, 0x33000001};
    return eq_bits_f32(bits[(uint64_t)i % (sizeof bits / sizeof *bits)]);
}

static float value(eq_flavour f, uint64_t seed, int64_t i, float large) {
    float x = eq_rand_normal(seed, (uint64_t)i);
    switch (f) {
    case EQ_LARGE:
        return large * x;
    case EQ_TINY:
        return i % 3 == 0 ? 0.0f : i % 3 == 1 ? x * 1e-20f : x * 1e-39f;
    case EQ_CONSTANT:
        return (float)(i / 64 % 3) - 1.0f;
    case EQ_SPECIAL:
        return special(i);
    default:
        return x;
    }
}

enum { TIE_STEP_LOG2 = -7 }; /* a power of two: (k + 1/2) * step is exact in fp32 */

static float weight(const eq_op_case *c, uint64_t seed, int64_t i) {
    eq_qshape q = eq_case_qshape(c);
    float x = eq_rand_normal(seed, (uint64_t)i);
    switch (c->flavour) {
    case EQ_TIES: {
        int64_t span = (1 << q.bits) + 4,
                k = (int64_t)(eq_rand_u64(seed, (uint64_t)i) % (uint64_t)span);
        return ldexpf((float)(k - span / 2) + 0.5f, TIE_STEP_LOG2);
    }
    case EQ_CONSTANT: {
        static const float v[] = {0.0f, 0.25f, -3e-3f, 1e-30f, -1e4f};
        return v[i / q.G % 5];
    }
    case EQ_LARGE:
        return x * (i % 7 == 0 ? 3e4f : 1e-2f);
    case EQ_SMALL:
        return x * ldexpf(1.0f, -8 - (int)(i / q.G % 12));
    case EQ_TINY:
        return i % 3 ? x * 1e-6f : x * 1e-39f;
    default:
        return 0.02f * x;
    }
}

static float step(const eq_op_case *c, uint64_t seed, int64_t g) {
    eq_qshape q = eq_case_qshape(c);
    float u = (float)eq_rand_unit(seed, (uint64_t)g);
    switch (c->flavour) {
    case EQ_TIES:
        return ldexpf(1.0f, TIE_STEP_LOG2);
    case EQ_CLIPPED: {
        static const float beyond[] = {-0.5f, 0.0f, 3e4f, 1e-5f};
        return g % 4 == 3 ? beyond[g / 4 % 4] : 0.001f + 0.002f * u;
    }
    case EQ_SMALL: /* of the size of the weights; every fifth beyond the floor */
        return ldexpf(g % 5 ? 0.5f + u : u - 0.5f, -9 - (int)(g % 12) - (g % 5 ? 0 : 8));
    case EQ_LARGE:
        return 10.0f + 2000.0f * u;
    default:
        return (0.05f + 0.05f * u) / eq_q_max(q.bits);
    }
}

static float zero(const eq_op_case *c, uint64_t seed, int64_t g) {
    eq_qshape q = eq_case_qshape(c);
    float top = eq_q_max(q.bits), u = (float)eq_rand_unit(seed, (uint64_t)g);
    if (c->flavour == EQ_TIES) return floorf(u * top) + 0.5f; /* rounds to an even neighbour */
    if (c->flavour == EQ_CLIPPED && g % 3 == 0) return g % 2 ? -2.3f : top + 5.7f;
    return 0.5f * top + (u - 0.5f) * 0.8f * top;
}

static bool decayed(const eq_op_case *c, int64_t i) {
    return c->flavour == EQ_DECAYED && i % 4 == 0;
}

static float number(const eq_op_case *c, int kind, uint64_t seed, int64_t i) {
    switch (kind) {
    case EQ_FILL_VALUES:
        return value(c->flavour, seed, i, 1e4f);
    case EQ_FILL_LOGITS:
        return 2.0f * value(c->flavour, seed, i, 5e3f);
    case EQ_FILL_QUERIES:
        return value(c->flavour, seed, i, 100.0f);
    case EQ_FILL_MOMENTS:
        return decayed(c, i) ? 1e-39f * eq_rand_normal(seed, (uint64_t)i)
                             : value(c->flavour, seed, i, 1e4f);
    case EQ_FILL_SQUARES:
        return (decayed(c, i) && i % 16 == 0 ? 1e-39f : 1.0f) *
               fabsf(value(c->flavour, seed, i, 1e4f));
    case EQ_FILL_GRADS:
        return decayed(c, i) ? 0.0f : value(c->flavour, seed, i, 1e4f);
    case EQ_FILL_WEIGHTS:
        return weight(c, seed, i);
    case EQ_FILL_STEPS:
        return step(c, seed, i);
    case EQ_FILL_ZEROS:
        return zero(c, seed, i);
    case EQ_FILL_COS:
        return (float)cos(6.28 * eq_rand_unit(7, (uint64_t)i));
    case EQ_FILL_SIN:
        return (float)sin(6.28 * eq_rand_unit(7, (uint64_t)i));
    case EQ_FILL_TOTAL:
        return 3.25f;
    default:
        return eq_rand_normal(seed, (uint64_t)i);
    }
}

/* -1 .. V - 1, the two ends first. */
static int32_t target(uint64_t seed, int64_t i, int64_t V) {
    if (i < 2) return (int32_t)(i ? V - 1 : -1);
    return (int32_t)((int64_t)(eq_rand_u64(seed, (uint64_t)i) % (uint64_t)(V + 1)) - 1);
}

typedef struct {
    const eq_op_case *c;
    const eq_case_buf *b;
    uint64_t seed;
    void *host;
} fill_job;
enum { PIECE = 1 << 16 };
static void fill_piece(void *ctx, int64_t item, int thread) {
    (void)thread;
    const fill_job *j = ctx;
    const eq_case_buf *b = j->b;
    int64_t end = (item + 1) * PIECE < b->n ? (item + 1) * PIECE : b->n;
    for (int64_t i = item * PIECE; i < end; i++) {
        if (b->kind == EQ_FILL_WORDS)
            ((uint32_t *)j->host)[i] = (uint32_t)(eq_rand_u64(j->seed, (uint64_t)i) >> 32);
        else if (b->kind == EQ_FILL_CODES)
            ((uint8_t *)j->host)[i] =
                (uint8_t)(eq_rand_u64(j->seed, (uint64_t)i) >> (64 - j->c->d[3]));
        else if (b->kind == EQ_FILL_TARGETS)
            ((int32_t *)j->host)[i] = target(j->seed, i, j->c->d[1]);
        else if (b->kind == EQ_FILL_ROWS)
            ((int32_t *)j->host)[i] = target(j->seed, i, j->c->d[2]);
        else if (b->kind == EQ_FILL_AT)
            ((int32_t *)j->host)[i] = (int32_t)j->c->d[6];
        else
            eq_store(j->host, b->dt, i, number(j->c, b->kind, j->seed, i));
    }
}

void eq_case_fill(const eq_op_case *c, const eq_case_buf *bufs, int buf, void *host) {
    fill_job j = {c, &bufs[buf], seed_of(c, buf), host};
    eq_par_for((bufs[buf].n + PIECE - 1) / PIECE, fill_piece, &j);
}

/* See tiny_quant.h. */
#include "tiny_quant.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/rng.h"
#include "model/checkpoint.h"
#include "quant/pack.h"

static float step(const tiny_quant *o, uint64_t seed, int64_t i) {
    float r = (float)eq_rand_unit(seed + 50, (uint64_t)i);
    if (o->zeros == TINY_SHORT) return (float)(64 + (int)(r * 63)) / 8192;
    if (o->zeros == TINY_GRID) { /* eight groups of 32, four of 64, ... share a unit */
        float unit = (float)(64 + i * o->group / 256 % 50) / 65536; /* fp16 holds its multiples */
        return unit * (float)(i * o->group % 256 ? 1 + (int)(r * 14) : 15);
    }
    float s = eq_f16_to_f32(eq_f32_to_f16(0.001f + 0.02f * r));
    return o->trained == 1 ? s * (1 + 0x1p-14f) : s;
}

static float zero(const tiny_quant *o, uint64_t seed, int64_t i) {
    int Q = (1 << o->bits) - 1, half = 1 << (o->bits - 1);
    double r = eq_rand_unit(seed + 51, (uint64_t)i);
    int z = o->zeros == TINY_PORTABLE ? half - (r < 0.5) : (int)(r * (Q + 1));
    if (o->zeros == TINY_GRID) z = half;
    return o->trained == 2 ? (float)z + 0.3f : (float)z;
}

void tiny_quant_block(eq_qblock *b, const tiny_quant *o, int64_t block) {
    for (int l = 0; l < EQ_LINS; l++) {
        eq_qlinear *q = &b->lin[l];
        uint64_t seed = (uint64_t)(block * 100 + l);
        int64_t words = q->O * eq_pack_words(q->I, q->bits), groups = q->O * (q->I / q->G);
        tiny_quant of = *o;
        of.group = q->G;
        for (int64_t i = 0; i < words; i++) q->rows[i] = (uint32_t)eq_rand_u64(seed, (uint64_t)i);
        for (int64_t i = 0; i < groups; i++)
            q->s[i] = step(&of, seed, i), q->z[i] = zero(&of, seed, i);
    }
}

typedef struct {
    const eq_weights *base;
    const tiny_quant *o;
    eq_qblock b;
} maker;

static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    maker *m = ctx;
    eq_qblock_free(&m->b);
    EQ_TRY(eq_qblock_alloc(&m->b, &m->base->cfg, &EQ_ONE_SCHEME(m->o->bits, m->o->group), err));
    tiny_quant_block(&m->b, m->o, i);
    for (int k = 0; k < EQ_NORM_COUNT; k++) {
        const eq_tensor *t = m->base->blocks[i].norm[k];
        if (t) eq_convert(m->b.norm[k], EQ_F32, t->data, t->dt, t->n);
    }
    *b = &m->b;
    return EQ_OK;
}

void tiny_quant_write(const char *base, const char *out, const tiny_quant *o) {
    eq_err err = {0};
    eq_weights *w;
    maker m = {.o = o};
    eq_status st = eq_weights_open(&w, base, &err);
    m.base = w;
    if (st == EQ_OK) {
        eq_checkpoint c = {.base = w,
                           .schemes = EQ_ONE_SCHEME(o->bits, o->group),
                           .source = source,
                           .ctx = &m,
                           .recipe = "{}"};
        st = eq_checkpoint_write(&c, out, NULL, NULL, &err);
        eq_qblock_free(&m.b);
        eq_weights_close(w);
    }
    if (st == EQ_OK) return;
    fprintf(stderr, "tiny_quant: %s\n", err.msg);
    abort();
}

/* AWQ's GEMM layout (FORMATS): eight outputs in a word, in an order of their own; true zero points;
 * 4 bits alone. */
#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "export/export_blocks.h"
#include "export/export_folder.h"
#include "export/export_formats.h"
#include "quant/pack.h"

enum { QWEIGHT, QZEROS, SCALES, PARTS };
enum { COLS = 8, TILE = 64 }; /* outputs in a word, of an item */

static const char *refuses(const eq_export_job *x, const eq_qlinear *q) {
    int bits;
    int64_t group;
    if (q->bits != 4) return "AWQ holds 4 bits";
    if (q->I % q->G) return "the group size does not divide the inputs";
    if (q->O % COLS) return "the outputs are not a multiple of 8";
    return eq_export_uniform(x->src, &bits, &group) ? NULL : "AWQ holds one group size for all";
}

static int parts(const eq_export_job *x, eq_part *p, const eq_qlinear *q) {
    (void)x;
    p[QWEIGHT] = (eq_part){"qweight", EQ_I32, 2, {q->I, q->O / COLS}};
    p[QZEROS] = (eq_part){"qzeros", EQ_I32, 2, {q->I / q->G, q->O / COLS}};
    p[SCALES] = (eq_part){"scales", EQ_F16, 2, {q->I / q->G, q->O}};
    return PARTS;
}

/* Nibble i of a word holds column order[i]. */
static const int order[COLS] = {0, 2, 4, 6, 1, 3, 5, 7};

typedef struct {
    const eq_qlinear *q;
    uint32_t *words, *zeros;
} awq_job;

static eq_status pack_tile(void *ctx, int64_t item, eq_err *err) {
    const awq_job *j = ctx;
    const eq_qlinear *q = j->q;
    int64_t o0 = item * TILE, n = q->O - o0 < TILE ? q->O - o0 : TILE, NG = q->I / q->G;
    uint8_t *codes = eq_calloc(n * q->I, 1);
    if (!codes) return eq_nomem(err, "rows to pack", n * q->I);
    for (int64_t r = 0; r < n; r++)
        eq_unpack_row(codes + r * q->I, q->rows + (o0 + r) * eq_pack_words(q->I, 4), q->I, 4);
    for (int64_t i = 0; i < q->I; i++)
        for (int64_t c = 0; c < n / COLS; c++) {
            uint32_t w = 0;
            for (int k = 0; k < COLS; k++)
                w |= (uint32_t)codes[(c * COLS + order[k]) * q->I + i] << 4 * k;
            j->words[i * (q->O / COLS) + o0 / COLS + c] = w;
        }
    for (int64_t g = 0; g < NG; g++)
        for (int64_t c = 0; c < n / COLS; c++) {
            uint32_t w = 0;
            for (int k = 0; k < COLS; k++)
                w |= (uint32_t)q->z[(o0 + c * COLS + order[k]) * NG + g] << 4 * k;
            j->zeros[g * (q->O / COLS) + o0 / COLS + c] = w;
        }
    eq_free(codes);
    return EQ_OK;
}

static eq_status pack(const eq_packing *p, void *const *data, eq_err *err) {
    awq_job j = {p->q, data[QWEIGHT], data[QZEROS]};
    EQ_TRY(eq_put_steps(data[SCALES], true, p->q, p->name, p->job->o->lossy, err));
    return eq_par_try((p->q->O + TILE - 1) / TILE, pack_tile, &j, err);
}

/* Where column c lies: the inverse of `order`, said anew. */
static int nibble(const eq_tensor *t, int64_t row, int64_t c) {
    static const int at[COLS] = {0, 4, 1, 5, 2, 6, 3, 7};
    uint32_t w = ((const uint32_t *)t->data)[row * t->shape[1] + c / COLS];
    return (int)(w >> 4 * at[c % COLS] & 15u);
}

static void values(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o0,
                   int64_t n) {
    int64_t G = t[QWEIGHT]->shape[0] / t[QZEROS]->shape[0];
    for (int64_t i = 0; i < q->I; i++)
        for (int64_t o = o0; o < o0 + n; o++)
            out[(o - o0) * q->I + i] =
                (float)(nibble(t[QWEIGHT], i, o) - nibble(t[QZEROS], i / G, o)) *
                eq_f16_to_f32(((const uint16_t *)t[SCALES]->data)[i / G * q->O + o]);
}

static eq_status config(const eq_export_job *x, json_t *root, eq_err *err) {
    int bits = 4;
    int64_t group = -1;
    eq_export_uniform(x->src, &bits, &group);
    json_t *q = json_pack("{s:s, s:i, s:I, s:b, s:s, s:n}", "quant_method", "awq", "bits", bits,
                          "group_size", (json_int_t)group, "zero_point", 1, "version", "gemm",
                          "modules_to_not_convert");
    if (!q || json_object_set_new(root, "quantization_config", q))
        return eq_nomem(err, "config.json", 1 << 12);
    return EQ_OK;
}

const eq_format eq_format_awq = {
    .name = "awq",
    .about = "AWQ, GEMM layout: 4 bits, any zero point",
    .refuses = refuses,
    .parts = parts,
    .pack = pack,
    .values = values,
    .config = config,
};

/* GPTQ for readers that take less than version 2 with free zero points (FORMATS, "GPTQ"):
 * "gptq-v1" stores z - 1, which a z of 0 has no place for; its codes are reversed first, so that z
 * is Q. "gptq-sym" has z = 2^(bits - 1) everywhere, as readers of symmetric files assume. */
#include <string.h>

#include "base/mem.h"
#include "export/export_blocks.h"
#include "export/export_folder.h"
#include "export/export_formats.h"
#include "model/schemes.h"
#include "quant/pack.h"

enum { QWEIGHT, QZEROS, SCALES, G_IDX, PARTS };

static const char *refuses(const eq_export_job *x, const eq_qlinear *q) {
    (void)x;
    return eq_gptq_refuses(q->O, q->I, q->G, q->bits);
}

static int parts(const eq_export_job *x, eq_part *p, const eq_qlinear *q) {
    (void)x;
    int64_t NG = q->I / q->G;
    p[QWEIGHT] = (eq_part){"qweight", EQ_I32, 2, {eq_pack_words(q->I, q->bits), q->O}};
    p[QZEROS] = (eq_part){"qzeros", EQ_I32, 2, {NG, q->O * q->bits / 32}};
    p[SCALES] = (eq_part){"scales", EQ_F16, 2, {NG, q->O}};
    p[G_IDX] = (eq_part){"g_idx", EQ_I32, 1, {q->I}};
    return PARTS;
}

static eq_status pack(const eq_packing *p, void *const *data, int minus, eq_err *err) {
    const eq_qlinear *q = p->q;
    int64_t NG = q->I / q->G, n = q->O * NG;
    EQ_TRY(eq_put_steps(data[SCALES], true, q, p->name, p->job->o->lossy, err));
    uint8_t *z = eq_calloc(n, 1);
    if (!z) return eq_nomem(err, "zero points", n);
    for (int64_t i = 0; i < n; i++) z[i] = (uint8_t)((int)q->z[i] - minus);
    eq_gptq_zeros(data[QZEROS], z, q->O, NG, q->bits);
    eq_free(z);
    eq_gptq_from_rows(data[QWEIGHT], q->rows, q->O, q->I, q->bits);
    for (int64_t i = 0; i < q->I; i++) ((int32_t *)data[G_IDX])[i] = (int32_t)(i / q->G);
    return EQ_OK;
}

static bool is_zero(float s, float z, int bits) {
    (void)s, (void)bits;
    return z == 0;
}

static eq_status pack_v1(const eq_packing *p, void *const *data, eq_err *err) {
    EQ_TRY(eq_turn_groups(p->q, is_zero, err));
    return pack(p, data, 1, err);
}
static eq_status pack_v2(const eq_packing *p, void *const *data, eq_err *err) {
    return pack(p, data, 0, err);
}
static eq_status pack_sym(const eq_packing *p, void *const *data, eq_err *err) {
    EQ_TRY(eq_make_symmetric(p->q, p->name, p->job->o->lossy, err));
    return pack(p, data, 1, err);
}

/* ---- reading back, bit by bit ------------------------------------------------------------------
 */

/* Value k of column c of a stream that runs down the rows of words [*, cols]. */
static unsigned down(const eq_tensor *t, int64_t c, int64_t k, int bits) {
    const uint32_t *w = t->data;
    int64_t cols = t->shape[1];
    unsigned v = 0;
    for (int b = 0; b < bits; b++) {
        int64_t bit = k * bits + b;
        v |= (w[bit / 32 * cols + c] >> bit % 32 & 1u) << b;
    }
    return v;
}

static void values(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o0,
                   int64_t n, unsigned plus) {
    const int32_t *g_idx = t[G_IDX]->data;
    const uint16_t *scales = t[SCALES]->data;
    int64_t zero_words = t[QZEROS]->shape[1];
    for (int64_t i = 0; i < q->I; i++)
        for (int64_t o = o0; o < o0 + n; o++) {
            const uint32_t *row = (const uint32_t *)t[QZEROS]->data + g_idx[i] * zero_words;
            unsigned z = eq_bits_at(row, o * q->bits, q->bits) + plus;
            float s = eq_f16_to_f32(scales[g_idx[i] * q->O + o]);
            out[(o - o0) * q->I + i] = (float)((int)down(t[QWEIGHT], o, i, q->bits) - (int)z) * s;
        }
}
static void values_v1(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o,
                      int64_t n) {
    values(out, t, q, o, n, 1);
}
static void values_v2(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o,
                      int64_t n) {
    values(out, t, q, o, n, 0);
}

/* What a reader of symmetric files sees, who does not look at zero points. */
static void values_sym(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o0,
                       int64_t n) {
    const uint16_t *scales = t[SCALES]->data;
    int half = 1 << (q->bits - 1);
    for (int64_t i = 0; i < q->I; i++)
        for (int64_t o = o0; o < o0 + n; o++)
            out[(o - o0) * q->I + i] = (float)((int)down(t[QWEIGHT], o, i, q->bits) - half) *
                                       eq_f16_to_f32(scales[i / q->G * q->O + o]);
}

/* ---- config.json -------------------------------------------------------------------------------
 */

static eq_status config(const eq_export_job *x, json_t *root, const char *version, bool sym,
                        eq_err *err) {
    const eq_schemes *t = &x->src->cfg.schemes;
    json_t *q = json_pack(
        "{s:i, s:I, s:b, s:b, s:b, s:b, s:f, s:b, s:s, s:s, s:s, s:s, s:s, s:{s:s}}", "bits",
        t->all.bits, "group_size", (json_int_t)t->all.group, "sym", (int)sym, "desc_act", 0,
        "static_groups", 0, "true_sequential", 1, "damp_percent", 0.01, "lm_head", 0,
        "quant_method", "gptq", "checkpoint_format", version, "method", "gptq", "format", version,
        "pack_dtype", "int32", "meta", "quantizer", "eqat:" EQ_VERSION);
    json_t *dynamic = eq_schemes_dynamic(t, &x->src->cfg); /* NULL: all linears are alike */
    bool ok = q && (!dynamic || !json_object_set(q, "dynamic", dynamic)) &&
              !json_object_set(root, "quantization_config", q);
    json_decref(dynamic), json_decref(q);
    return ok ? EQ_OK : eq_nomem(err, "config.json", 1 << 12);
}
static eq_status config_v1(const eq_export_job *x, json_t *root, eq_err *err) {
    return config(x, root, "gptq", false, err);
}
static eq_status config_v2(const eq_export_job *x, json_t *root, eq_err *err) {
    return config(x, root, "gptq_v2", false, err);
}
static eq_status config_sym(const eq_export_job *x, json_t *root, eq_err *err) {
    return config(x, root, "gptq", true, err);
}

const eq_format eq_format_gptq = {
    .name = "gptq",
    .about = "GPTQ version 2, any zero point: what quantize writes, without eqat.state",
    .refuses = refuses,
    .parts = parts,
    .pack = pack_v2,
    .values = values_v2,
    .config = config_v2,
};
const eq_format eq_format_gptq_v1 = {
    .name = "gptq-v1",
    .about = "GPTQ version 1, for readers that are older than version 2",
    .refuses = refuses,
    .parts = parts,
    .pack = pack_v1,
    .values = values_v1,
    .config = config_v1,
};
const eq_format eq_format_gptq_sym = {
    .name = "gptq-sym",
    .about = "symmetric GPTQ (vLLM, SGLang): portable models",
    .middle = true,
    .refuses = refuses,
    .parts = parts,
    .pack = pack_sym,
    .values = values_sym,
    .config = config_sym,
};

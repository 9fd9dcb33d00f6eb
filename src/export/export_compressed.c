/* compressed-tensors, "pack-quantized" (FORMATS): rows are dense little-endian streams, which is
 * how blocks hold them. The symmetric form is what vLLM reads. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "export/export_blocks.h"
#include "export/export_folder.h"
#include "export/export_formats.h"
#include "quant/pack.h"

enum { PACKED, SCALE, SHAPE, ZERO };

static const char *refuses(const eq_export_job *x, const eq_qlinear *q) {
    (void)x;
    return q->I % q->G ? "the group size does not divide the inputs" : NULL;
}

static int parts_sym(const eq_export_job *x, eq_part *p, const eq_qlinear *q) {
    (void)x;
    int64_t words = (q->I * q->bits + 31) / 32;
    p[PACKED] = (eq_part){"weight_packed", EQ_I32, 2, {q->O, words}};
    p[SCALE] = (eq_part){"weight_scale", EQ_F16, 2, {q->O, q->I / q->G}};
    p[SHAPE] = (eq_part){"weight_shape", EQ_I64, 1, {2}};
    return ZERO;
}
static int parts_asym(const eq_export_job *x, eq_part *p, const eq_qlinear *q) {
    int n = parts_sym(x, p, q);
    p[n] = (eq_part){"weight_zero_point", EQ_I32, 2, {(q->O * q->bits + 31) / 32, q->I / q->G}};
    return n + 1;
}

static eq_status pack(const eq_packing *p, void *const *data, eq_err *err) {
    const eq_qlinear *q = p->q;
    EQ_TRY(eq_put_steps(data[SCALE], false, q, p->name, p->job->o->lossy, err));
    memcpy(data[PACKED], q->rows, (size_t)(q->O * eq_pack_words(q->I, q->bits) * 4));
    ((int64_t *)data[SHAPE])[0] = q->O, ((int64_t *)data[SHAPE])[1] = q->I;
    return EQ_OK;
}

static eq_status pack_sym(const eq_packing *p, void *const *data, eq_err *err) {
    EQ_TRY(eq_make_symmetric(p->q, p->name, p->job->o->lossy, err));
    return pack(p, data, err);
}

/* Zero points of one group are a stream along the outputs, one word a row. */
static eq_status pack_asym(const eq_packing *p, void *const *data, eq_err *err) {
    const eq_qlinear *q = p->q;
    int64_t NG = q->I / q->G, room = (q->O + 31) / 32 * 32, words = (q->O * q->bits + 31) / 32;
    EQ_TRY(pack(p, data, err));
    uint8_t *z = eq_calloc(room, 1);
    uint32_t *stream = eq_calloc(eq_pack_words(room, q->bits), sizeof *stream);
    for (int64_t g = 0; z && stream && g < NG; g++) {
        for (int64_t o = 0; o < q->O; o++) z[o] = (uint8_t)q->z[o * NG + g];
        eq_pack_row(stream, z, room, q->bits);
        for (int64_t w = 0; w < words; w++) ((uint32_t *)data[ZERO])[w * NG + g] = stream[w];
    }
    bool ok = z && stream;
    eq_free(z), eq_free(stream);
    return ok ? EQ_OK : eq_nomem(err, "zero points", room);
}

/* ---- reading back, bit by bit ------------------------------------------------------------------
 */

/* Signed codes with an offset of 2^(bits - 1), as the format defines them. */
static int zero_of(const eq_tensor *t, int64_t o, int64_t g, int bits) {
    int v = 0;
    for (int b = 0; b < bits; b++) {
        int64_t bit = o * bits + b;
        v |= (int)(((const uint32_t *)t->data)[bit / 32 * t->shape[1] + g] >> bit % 32 & 1u) << b;
    }
    return v - (1 << (bits - 1));
}

static void values(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o0,
                   int64_t n, bool zeros) {
    const int64_t *shape = t[SHAPE]->data;
    int64_t words = t[PACKED]->shape[1], NG = t[SCALE]->shape[1], G = shape[1] / NG;
    int half = 1 << (q->bits - 1);
    for (int64_t o = o0; o < o0 + n; o++) {
        const uint32_t *row = (const uint32_t *)t[PACKED]->data + o * words;
        for (int64_t i = 0; i < shape[1]; i++) {
            int code = (int)eq_bits_at(row, i * q->bits, q->bits) - half;
            int z = zeros ? zero_of(t[ZERO], o, i / G, q->bits) : 0;
            out[(o - o0) * q->I + i] =
                (float)(code - z) *
                eq_f16_to_f32(((const uint16_t *)t[SCALE]->data)[o * NG + i / G]);
        }
    }
}
static void values_sym(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o,
                       int64_t n) {
    values(out, t, q, o, n, false);
}
static void values_asym(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o,
                        int64_t n) {
    values(out, t, q, o, n, true);
}

/* ---- config.json -------------------------------------------------------------------------------
 */

static json_t *weights_of(int bits, int64_t group, bool symmetric) {
    json_t *size = group < 0 ? json_null() : json_integer(group);
    return json_pack("{s:i, s:s, s:b, s:s, s:o, s:b, s:n}", "num_bits", bits, "type", "int",
                     "symmetric", (int)symmetric, "strategy", group < 0 ? "channel" : "group",
                     "group_size", size, "dynamic", 0, "actorder");
}

static json_t *group_of(json_t *targets, int bits, int64_t group, bool symmetric) {
    return json_pack("{s:o, s:o, s:n, s:n, s:s}", "targets", targets, "weights",
                     weights_of(bits, group, symmetric), "input_activations", "output_activations",
                     "format", "pack-quantized");
}

/* One group where all linears are alike; else one for each kind, with its linears by name. */
static json_t *groups_of(const eq_export_job *x, bool symmetric) {
    json_t *all = json_object();
    int bits;
    int64_t group;
    if (eq_export_uniform(x->src, &bits, &group)) {
        json_object_set_new(all, "group_0",
                            group_of(json_pack("[s]", "Linear"), bits, group, symmetric));
        return all;
    }
    for (int64_t i = 0; i < x->src->cfg.L; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            if (!eq_export_leads(&x->src->cfg, (eq_lin)l)) continue;
            eq_qlinear q = eq_export_shape(x->src, i, (eq_lin)l);
            char key[48], name[96];
            snprintf(key, sizeof key, "w%dg%lld", q.bits, (long long)q.G);
            eq_export_name(name, x->src, i, (eq_lin)l);
            if (!json_object_get(all, key))
                json_object_set_new(all, key, group_of(json_array(), q.bits, q.G, symmetric));
            json_array_append_new(json_object_get(json_object_get(all, key), "targets"),
                                  json_string(name));
        }
    return all;
}

static eq_status config(const eq_export_job *x, json_t *root, bool symmetric, eq_err *err) {
    const char *head = eq_end_of(&x->src->cfg, EQ_END_HEAD);
    json_t *q = json_pack("{s:s, s:s, s:s, s:[s%], s:o, s:n}", "quant_method", "compressed-tensors",
                          "format", "pack-quantized", "quantization_status", "compressed", "ignore",
                          head, strlen(head) - strlen(".weight"), "config_groups",
                          groups_of(x, symmetric), "kv_cache_scheme");
    if (!q || json_object_set_new(root, "quantization_config", q))
        return eq_nomem(err, "config.json", 1 << 12);
    return EQ_OK;
}
static eq_status config_sym(const eq_export_job *x, json_t *root, eq_err *err) {
    return config(x, root, true, err);
}
static eq_status config_asym(const eq_export_job *x, json_t *root, eq_err *err) {
    return config(x, root, false, err);
}

const eq_format eq_format_ct = {
    .name = "compressed-tensors",
    .about = "symmetric pack-quantized (vLLM): portable models",
    .middle = true,
    .refuses = refuses,
    .parts = parts_sym,
    .pack = pack_sym,
    .values = values_sym,
    .config = config_sym,
};
const eq_format eq_format_ct_asym = {
    .name = "compressed-tensors-asym",
    .about = "the same with zero points, any model",
    .refuses = refuses,
    .parts = parts_asym,
    .pack = pack_asym,
    .values = values_asym,
    .config = config_asym,
};

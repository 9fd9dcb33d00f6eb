/* MLX, affine (FORMATS): value = s q + beta with fp16 s and beta = -z s. beta is exact where z s is
 * an fp16 number, so for every z that is a power of two; of a group and its reversal one often is.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "export/export_blocks.h"
#include "export/export_folder.h"
#include "export/export_formats.h"
#include "quant/pack.h"

enum { WEIGHT, SCALES, BIASES, PARTS };

static const char *refuses(const eq_export_job *x, const eq_qlinear *q) {
    (void)x;
    if (q->G != 32 && q->G != 64 && q->G != 128) return "MLX holds groups of 32, 64 and 128";
    if (q->I % q->G) return "the group size does not divide the inputs";
    return NULL;
}

static int parts(const eq_export_job *x, eq_part *p, const eq_qlinear *q) {
    (void)x;
    p[WEIGHT] = (eq_part){"weight", EQ_U32, 2, {q->O, eq_pack_words(q->I, q->bits)}};
    p[SCALES] = (eq_part){"scales", EQ_F16, 2, {q->O, q->I / q->G}};
    p[BIASES] = (eq_part){"biases", EQ_F16, 2, {q->O, q->I / q->G}};
    return PARTS;
}

static bool is_f16(float x) { return eq_f16_to_f32(eq_f32_to_f16(x)) == x; }
static bool other_is_exact(float s, float z, int bits) {
    float Q = (float)((1 << bits) - 1);
    return !is_f16(z * s) && is_f16((Q - z) * s);
}

static eq_status pack(const eq_packing *p, void *const *data, eq_err *err) {
    eq_qlinear *q = p->q;
    int64_t n = q->O * (q->I / q->G), not_exact = 0, first = 0;
    EQ_TRY(eq_turn_groups(q, other_is_exact, err));
    EQ_TRY(eq_put_steps(data[SCALES], false, q, p->name, p->job->o->lossy, err));
    for (int64_t i = 0; i < n; i++) {
        float beta = -q->z[i] * q->s[i];
        if (!is_f16(beta) && !not_exact++) first = i;
        ((uint16_t *)data[BIASES])[i] = eq_f32_to_f16(beta);
    }
    memcpy(data[WEIGHT], q->rows, (size_t)(q->O * eq_pack_words(q->I, q->bits) * 4));
    if (!not_exact || p->job->o->lossy) return EQ_OK;
    return eq_fail(
        err, EQ_EINPUT,
        "%s: expected zero point times step to be fp16 numbers, as MLX's biases are; %lld "
        "of %lld groups have others, the first is %lld: %g x %.9g (--grid portable trains "
        "models that have none; --lossy rounds)",
        p->name, (long long)not_exact, (long long)n, (long long)first, (double)q->z[first],
        (double)q->s[first]);
}

static void values(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o0,
                   int64_t n) {
    int64_t words = t[WEIGHT]->shape[1], NG = t[SCALES]->shape[1], G = q->I / NG;
    for (int64_t o = o0; o < o0 + n; o++)
        for (int64_t i = 0; i < q->I; i++) {
            int64_t g = o * NG + i / G;
            float s = eq_f16_to_f32(((const uint16_t *)t[SCALES]->data)[g]);
            float beta = eq_f16_to_f32(((const uint16_t *)t[BIASES]->data)[g]);
            const uint32_t *row = (const uint32_t *)t[WEIGHT]->data + o * words;
            out[(o - o0) * q->I + i] = s * (float)eq_bits_at(row, i * q->bits, q->bits) + beta;
        }
}

/* One setting for all, and those of the linears that differ under their names. */
static eq_status config(const eq_export_job *x, json_t *root, eq_err *err) {
    eq_qlinear first = eq_export_shape(x->src, 0, (eq_lin)0);
    json_t *q = json_pack("{s:I, s:i, s:s}", "group_size", (json_int_t)first.G, "bits", first.bits,
                          "mode", "affine");
    for (int64_t i = 0; i < x->src->cfg.L; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            eq_qlinear s = eq_export_shape(x->src, i, (eq_lin)l);
            char name[96];
            if (s.bits == first.bits && s.G == first.G) continue;
            if (!eq_export_leads(&x->src->cfg, (eq_lin)l)) continue;
            eq_export_name(name, x->src, i, (eq_lin)l);
            json_object_set_new(
                q, name, json_pack("{s:I, s:i}", "group_size", (json_int_t)s.G, "bits", s.bits));
        }
    bool ok = q && !json_object_set(root, "quantization", q) &&
              !json_object_set(root, "quantization_config", q);
    json_decref(q);
    return ok ? EQ_OK : eq_nomem(err, "config.json", 1 << 12);
}

const eq_format eq_format_mlx = {
    .name = "mlx",
    .about = "MLX, affine: portable models, and where zero point times step is an fp16 number",
    .real_zeros = true,
    .middle = true,
    .refuses = refuses,
    .parts = parts,
    .pack = pack,
    .values = values,
    .config = config,
};

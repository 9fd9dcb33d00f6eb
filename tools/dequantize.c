/* Full-precision copy of a quantized folder: every weight is (q - z) * s in F32, so that programs
 * without a GPTQ reader load exactly the model that was trained.
 * usage: dequantize FOLDER OUT */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/par.h"
#include "model/checkpoint.h"
#include "quant/number.h"
#include "quant/pack.h"

typedef struct {
    const eq_weights *w;
    eq_stw *out;
    bool declare; /* first walk: names and shapes; second: values */
    eq_qblock b;
    float *values;
} job;

static eq_status put_tensor(job *j, const eq_tensor *t, eq_err *err) {
    if (j->declare) return eq_stw_tensor(j->out, t->name, EQ_F32, t->ndim, t->shape, err);
    eq_convert(j->values, EQ_F32, t->data, t->dt, t->n);
    return eq_stw_put(j->out, j->values, t->n * 4, err);
}

typedef struct {
    const eq_qlinear *q;
    eq_lin_spec spec; /* which rows of the tensor they are */
    float *values;
} rows_job;

/* One output row: the stored, that is rounded, step and zero point. */
static void dequantize_row(void *ctx, int64_t o, int thread) {
    const rows_job *r = ctx;
    const eq_qlinear *q = r->q;
    int64_t NG = q->I / q->G, words = eq_pack_words(q->I, q->bits);
    float *to = r->values + eq_lin_row(&r->spec, o) * q->I;
    uint8_t code[32];
    (void)thread;
    for (int64_t i = 0; i < q->I; i += 32) {
        int64_t n = q->I - i < 32 ? q->I - i : 32;
        eq_unpack_row(code, q->rows + o * words + i / 32 * q->bits, n, q->bits);
        for (int64_t k = 0; k < n; k++) {
            int64_t g = o * NG + (i + k) / q->G;
            float s = eq_f16_to_f32(eq_f32_to_f16(q->s[g])),
                  z = eq_z_used(q->z[g], q->bits, q->grid);
            to[i + k] = ((float)code[k] - z) * s;
        }
    }
}

static eq_status put_linear(job *j, int64_t i, eq_lin l, eq_err *err) {
    eq_lin_spec s = eq_lin_of(&j->w->cfg, l);
    const eq_tensor *bias = j->w->blocks[i].bias[l];
    if (s.first) return EQ_OK; /* came with the first of its tensor */
    if (j->declare) {
        char name[128];
        int64_t shape[2] = {s.rows, s.I};
        snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)i, s.file);
        EQ_TRY(eq_stw_tensor(j->out, name, EQ_F32, 2, shape, err));
    } else {
        for (eq_lin k = l; k < EQ_LINS; k++) {
            rows_job r = {&j->b.lin[k], eq_lin_of(&j->w->cfg, k), j->values};
            if (!strcmp(r.spec.file, s.file)) eq_par_for(r.spec.O, dequantize_row, &r);
        }
        EQ_TRY(eq_stw_put(j->out, j->values, s.rows * s.I * 4, err));
    }
    return bias ? put_tensor(j, bias, err) : EQ_OK;
}

static eq_status walk(job *j, eq_err *err) {
    const eq_weights *w = j->w;
    EQ_TRY(put_tensor(j, w->embed, err));
    if (w->head != w->embed) EQ_TRY(put_tensor(j, w->head, err));
    EQ_TRY(put_tensor(j, w->norm, err));
    if (w->norm_bias) EQ_TRY(put_tensor(j, w->norm_bias, err));
    for (int64_t i = 0; i < w->cfg.L; i++) {
        if (!j->declare) EQ_TRY(eq_qblock_read(&j->b, w, i, err));
        for (eq_lin l = 0; l < EQ_LINS; l++) EQ_TRY(put_linear(j, i, l, err));
        for (eq_norm n = 0; n < EQ_NORM_COUNT; n++) {
            if (w->blocks[i].norm[n]) EQ_TRY(put_tensor(j, w->blocks[i].norm[n], err));
            if (w->blocks[i].norm_bias[n]) EQ_TRY(put_tensor(j, w->blocks[i].norm_bias[n], err));
        }
    }
    return EQ_OK;
}

static eq_status write_tensors(job *j, const char *path, eq_err *err) {
    const eq_config *c = &j->w->cfg;
    int64_t most = c->V * c->D;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, l);
        if (s.rows * s.I > most) most = s.rows * s.I;
    }
    if (!(j->values = eq_calloc(most, 4))) return eq_nomem(err, "one tensor", 4 * most);
    EQ_TRY(eq_stw_new(&j->out, path, err));
    EQ_TRY(eq_stw_meta(j->out, "format", "pt", err));
    j->declare = true;
    EQ_TRY(walk(j, err));
    EQ_TRY(eq_stw_begin(j->out, err));
    j->declare = false;
    EQ_TRY(walk(j, err));
    eq_stw *out = j->out;
    j->out = NULL;
    return eq_stw_end(out, err);
}

static eq_status write_config(const char *from, const char *to, eq_err *err) {
    json_t *root;
    EQ_TRY(eq_json_load(&root, from, err));
    json_object_del(root, "quantization_config");
    json_object_set_new(root, "torch_dtype", json_string("float32"));
    json_object_del(root, "dtype");
    char *text = eq_json_text(root, 2);
    json_decref(root);
    eq_status st = text ? eq_write_file(to, text, (int64_t)strlen(text), err)
                        : eq_nomem(err, "config.json", 4096);
    eq_free(text);
    return st;
}

static eq_status write_one(job *j, const char *name, const char *out, eq_err *err) {
    char *from = eq_path(j->w->dir, name), *to = eq_path(out, name);
    eq_status st = EQ_OK;
    if (!from || !to)
        st = eq_nomem(err, "a path", 256);
    else if (!strcmp(name, "config.json"))
        st = write_config(from, to, err);
    else if (!eq_is_dir(from) && !eq_ends_with(name, ".safetensors") &&
             !eq_ends_with(name, ".index.json") && strcmp(name, "quantize_config.json") &&
             strcmp(name, EQ_STATE_NAME) && strcmp(name, EQ_SUMS_NAME))
        st = eq_copy_file(from, to, err);
    eq_free(from), eq_free(to);
    return st;
}

static eq_status write_folder(job *j, const char *out, eq_err *err) {
    eq_names names;
    EQ_TRY(eq_mkdir(out, err));
    EQ_TRY(eq_list_dir(j->w->dir, &names, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < names.n && st == EQ_OK; i++) st = write_one(j, names.p[i], out, err);
    eq_names_free(&names);
    if (st != EQ_OK) return st;
    char *path = eq_path(out, "model.safetensors");
    st = path ? write_tensors(j, path, err) : eq_nomem(err, "a path", 256);
    eq_free(path);
    return st;
}

int main(int argc, char **argv) {
    eq_weights *w = NULL;
    eq_err err = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: dequantize FOLDER OUT\n");
        return 2;
    }
    eq_status st = eq_output_check(argv[2], argv[1], &err);
    if (st == EQ_OK) st = eq_weights_open(&w, argv[1], &err);
    if (st == EQ_OK && !eq_config_quantized(&w->cfg))
        st = eq_fail(&err, EQ_EINPUT, "%s: expected a quantized model, found full precision",
                     argv[1]);
    job j = {.w = w};
    if (st == EQ_OK) st = write_folder(&j, argv[2], &err);
    eq_stw_abort(j.out);
    eq_qblock_free(&j.b);
    eq_free(j.values);
    eq_weights_close(w);
    if (st != EQ_OK) fprintf(stderr, "%s\n", err.msg);
    return st == EQ_OK ? 0 : 1;
}

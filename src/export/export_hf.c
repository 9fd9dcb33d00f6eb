/* "hf": the weights themselves, as any Hugging Face folder of full precision. A loader turns
 * everything into the type that config.json names, so everything is written in it. fp32 holds every
 * product (q - z) s; fp16 and bf16 some. */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/par.h"
#include "export/export_blocks.h"
#include "export/export_formats.h"

static const struct {
    const char *name, *torch;
    eq_dtype dt;
} types[] = {{"f32", "float32", EQ_F32}, {"f16", "float16", EQ_F16}, {"bf16", "bfloat16", EQ_BF16}};

static int type_of(const eq_export_job *x) {
    for (int i = 0; x->o->dtype && i < 3; i++)
        if (!strcmp(types[i].name, x->o->dtype)) return i;
    return 0;
}
static eq_dtype dtype(const eq_export_job *x) { return types[type_of(x)].dt; }

static const char *refuses(const eq_export_job *x, const eq_qlinear *q) {
    (void)x, (void)q;
    return NULL;
}

static int parts(const eq_export_job *x, eq_part *p, const eq_qlinear *q) {
    p[0] = (eq_part){"weight", dtype(x), 2, {q->O, q->I}};
    return 1;
}

typedef struct {
    const eq_packing *p;
    void *out;
} hf_job;

static eq_status pack_row(void *ctx, int64_t o, eq_err *err) {
    const hf_job *j = ctx;
    const eq_qlinear *q = j->p->q;
    eq_dtype dt = dtype(j->p->job);
    bool lossy = j->p->job->o->lossy;
    char *out = (char *)j->out + o * q->I * eq_dtype_size(dt);
    float *w = eq_calloc(q->I, 2 * sizeof *w), *again = w + q->I;
    eq_status st = w ? EQ_OK : eq_nomem(err, "a row", q->I * 8);
    if (st == EQ_OK) {
        eq_qlinear_rows(q, w, o, 1);
        eq_convert(out, dt, w, EQ_F32, q->I);
        eq_convert(again, EQ_F32, out, dt, q->I);
    }
    for (int64_t i = 0; st == EQ_OK && i < q->I; i++)
        if (!isfinite(again[i]) || (!lossy && again[i] != w[i]))
            st = eq_fail(err, EQ_EINPUT,
                         "%s: expected weights that %s holds, found %.9g at [%lld, %lld] (--dtype "
                         "f32 holds all; --lossy rounds)",
                         j->p->name, eq_dtype_name(dt), (double)w[i], (long long)o, (long long)i);
    eq_free(w);
    return st;
}

static eq_status pack(const eq_packing *p, void *const *data, eq_err *err) {
    hf_job j = {p, data[0]};
    return eq_par_try(p->q->O, pack_row, &j, err);
}

static void values(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o,
                   int64_t n) {
    for (int64_t i = 0; i < n * q->I; i++) out[i] = eq_load(t[0]->data, t[0]->dt, o * q->I + i);
}

/* Both spellings where both are there. */
static eq_status config(const eq_export_job *x, json_t *root, eq_err *err) {
    const char *torch = types[type_of(x)].torch;
    bool both = json_object_get(root, "dtype") && json_object_get(root, "torch_dtype");
    bool old = json_object_get(root, "torch_dtype") || !json_object_get(root, "dtype");
    bool ok = true;
    if (old) ok = !json_object_set_new(root, "torch_dtype", json_string(torch));
    if (ok && (both || !old)) ok = !json_object_set_new(root, "dtype", json_string(torch));
    return ok ? EQ_OK : eq_nomem(err, "config.json", 1 << 12);
}

const eq_format eq_format_hf = {
    .name = "hf",
    .about = "full precision: the weights themselves, in --dtype",
    .real_zeros = true,
    .refuses = refuses,
    .parts = parts,
    .pack = pack,
    .values = values,
    .config = config,
    .others = dtype,
};

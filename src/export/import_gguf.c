/* A GGUF file as a folder of this program: config.json and tokenizer.json from its metadata, codes,
 * steps and zero points from its blocks. What was written is opened as any model and every weight
 * compared with what the file says (format/ggml_values.c). */
#include "export/import_gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "export/export_blocks.h"
#include "model/checkpoint.h"

void eq_import_opts_init(eq_import_opts *o) { *o = (eq_import_opts){0}; }

/* ---- comparing ---------------------------------------------------------------------------------
 */

typedef struct {
    const eq_gguf_tensor *t;
    const eq_gguf_arch *arch;
    const eq_config *cfg;
    const eq_qlinear *q;
    int l;
    double *worst; /* [O], of |difference| / largest weight of the row */
} compare_job;

static eq_status compare_row(void *ctx, int64_t o, eq_err *err) {
    const compare_job *j = ctx;
    int64_t I = j->q->I, r = eq_gguf_file_row(j->cfg, j->arch, (eq_lin)j->l, o);
    float *was = eq_calloc(2 * I, sizeof *was), *is = was + I, most = 0;
    if (!was) return eq_nomem(err, "a row", I * 8);
    eq_ggml_values(was, j->t->type, j->t->data + r * eq_ggml_row_bytes(j->t->type, I), I);
    eq_qlinear_rows(j->q, is, o, 1);
    for (int64_t i = 0; i < I; i++) most = fmaxf(most, fabsf(was[i]));
    for (int64_t i = 0; i < I; i++) {
        double d = fabs((double)was[i] - (double)is[i]) / (most > 0 ? (double)most : 1);
        if (!(d <= j->worst[o])) j->worst[o] = d;
    }
    eq_free(was);
    return EQ_OK;
}

/* Codes, steps and zero points of the folder against the file: equal, or where zero points are real
 * numbers as near as fp32 is. */
static eq_status compare_linear(eq_gguf_import *x, const eq_weights *w, const eq_qblock *b,
                                int64_t i, int l, eq_err *err) {
    char name[EQ_GGUF_NAME];
    snprintf(name, sizeof name, "blk.%lld.%s.weight", (long long)i, eq_gguf_linears[l]);
    const eq_qlinear *q = &b->lin[l];
    compare_job j = {eq_gguf_find(x->g, name), x->arch, &w->cfg, q, l, NULL};
    j.worst = eq_calloc(q->O, sizeof *j.worst);
    if (!j.worst) return eq_nomem(err, "a comparison", q->O * 8);
    eq_status st = eq_par_try(q->O, compare_row, &j, err);
    for (int64_t o = 0; o < q->O && st == EQ_OK; o++) {
        if (!(j.worst[o] <= 1e-5))
            st = eq_fail(err, EQ_EINPUT, "%s: %s: row %lld: read back, it differs by %.2g", w->dir,
                         name, (long long)o, j.worst[o]);
        if (j.worst[o] > x->res.worst) x->res.worst = j.worst[o];
    }
    x->res.weights += q->O * q->I;
    eq_free(j.worst);
    return st;
}

static eq_status compare_all(eq_gguf_import *x, const char *dir, eq_err *err) {
    eq_weights *w;
    eq_qblock b = {0};
    EQ_TRY(eq_weights_open(&w, dir, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < w->cfg.L && st == EQ_OK; i++) {
        if (eq_stopped(x->obs)) st = eq_fail(err, EQ_EINTR, "stopped on request");
        if (st == EQ_OK) st = eq_qblock_read(&b, w, i, err);
        for (int l = 0; l < EQ_LINS && st == EQ_OK; l++) st = compare_linear(x, w, &b, i, l, err);
    }
    eq_qblock_free(&b);
    eq_weights_close(w);
    return st;
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

static eq_status find_arch(eq_gguf_import *x, eq_err *err) {
    static const char *const names[] = {"llama", "qwen2", "qwen3"};
    for (int i = 0; i < 3; i++)
        if (eq_gguf_is(x->g, "general.architecture", names[i])) {
            x->arch = eq_gguf_arch_named(names[i]);
            return EQ_OK;
        }
    return eq_fail(err, EQ_EINPUT,
                   "%s: general.architecture: expected llama, qwen2 or qwen3, found another",
                   eq_gguf_path(x->g));
}

static eq_status fill(eq_gguf_import *x, const char *dir, eq_err *err) {
    json_t *config = NULL, *spec = NULL, *tok = NULL;
    eq_config cfg = {0};
    EQ_TRY(find_arch(x, err));
    eq_status st = eq_gguf_take_config(&config, x, err);
    if (st == EQ_OK) st = eq_gguf_take_tokenizer(&spec, &tok, x, err);
    if (st == EQ_OK) st = eq_json_write(spec, dir, "tokenizer.json", err);
    if (st == EQ_OK) st = eq_json_write(tok, dir, "tokenizer_config.json", err);
    /* read as every config is: what does not go together is said there */
    if (st == EQ_OK) st = eq_json_write(config, dir, "config.json", err);
    if (st == EQ_OK) st = eq_config_load(&cfg, dir, err);
    if (st == EQ_OK) st = eq_gguf_take_tensors(x, dir, &cfg, config, err);
    if (st == EQ_OK) st = eq_json_write(config, dir, "config.json", err);
    if (st == EQ_OK)
        st = eq_json_write(json_object_get(config, "quantization_config"), dir,
                           "quantize_config.json", err);
    json_decref(config), json_decref(spec), json_decref(tok);
    eq_config_free(&cfg);
    return st == EQ_OK ? compare_all(x, dir, err) : st;
}

static eq_status write_out(eq_gguf_import *x, eq_err *err) {
    eq_err ignored = {0};
    char *path = eq_output_path(x->o->out), *tmp = NULL;
    int lock = -1;
    eq_status st =
        path ? eq_temporary_folder(path, &tmp, &lock, err) : eq_nomem(err, "a path", 256);
    if (st == EQ_OK) st = fill(x, tmp, err);
    if (st == EQ_OK) {
        st = eq_rename_durable(tmp, path, err);
        if (st != EQ_OK && !eq_exists(tmp)) eq_remove_tree(path, &ignored);
    }
    if (st != EQ_OK && tmp) eq_remove_tree(tmp, &ignored);
    if (lock >= 0) close(lock);
    eq_free(path), eq_free(tmp);
    return st;
}

eq_status eq_import(const eq_import_opts *o, const eq_observer *obs, eq_import_result *res,
                    eq_err *err) {
    eq_gguf_import x = {.o = o, .obs = obs};
    double start = eq_now();
    eq_par_threads(o->threads);
    EQ_TRY(eq_output_check(o->out, o->file, err));
    EQ_TRY(eq_gguf_open(&x.g, o->file, err));
    eq_event(obs, "{\"event\":\"import\"}");
    eq_status st = write_out(&x, err);
    eq_gguf_close(x.g);
    x.res.seconds = eq_now() - start;
    if (st == EQ_OK && res) *res = x.res;
    return st;
}

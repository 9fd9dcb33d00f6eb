/* The table of formats, and the job: look at everything that can be refused, write beside the
 * target, compare, rename. Invariant: the output appears whole, after every weight in it was
 * compared, or not at all. */
#include "export/export.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "export/export_blocks.h"
#include "export/export_folder.h"
#include "export/export_formats.h"
#include "model/checkpoint.h"

const eq_format *const eq_formats[] = {
    &eq_format_gguf,    &eq_format_gptq, &eq_format_gptq_v1, &eq_format_gptq_sym, &eq_format_ct,
    &eq_format_ct_asym, &eq_format_awq,  &eq_format_mlx,     &eq_format_hf,       NULL,
};

const eq_format *eq_format_find(const char *name) {
    for (int i = 0; eq_formats[i]; i++)
        if (!strcmp(eq_formats[i]->name, name)) return eq_formats[i];
    return NULL;
}

bool eq_export_format(int i, const char **name, const char **about) {
    int n = (int)(sizeof eq_formats / sizeof *eq_formats) - 1;
    if (i < 0 || i >= n) return false;
    *name = eq_formats[i]->name, *about = eq_formats[i]->about;
    return true;
}

void eq_export_opts_init(eq_export_opts *o) { *o = (eq_export_opts){0}; }

/* ---- what can be refused -----------------------------------------------------------------------
 */

eq_status eq_export_check(const eq_export_job *x, eq_err *err) {
    for (int64_t i = 0; i < x->src->cfg.L; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            eq_qlinear q = eq_export_shape(x->src, i, (eq_lin)l);
            const char *why =
                eq_export_leads(&x->src->cfg, (eq_lin)l) ? x->format->refuses(x, &q) : NULL;
            char name[96];
            if (!why) continue;
            eq_export_name(name, x->src, i, (eq_lin)l);
            return eq_fail(
                err, EQ_EINPUT, "%s [%lld, %lld], %d bits, groups of %lld: %s cannot hold it: %s",
                name, (long long)q.O, (long long)q.I, q.bits, (long long)q.G, x->format->name, why);
        }
    return EQ_OK;
}

eq_status eq_export_check_zeros(const eq_export_job *x, eq_err *err) {
    for (int64_t i = 0; i < x->src->cfg.L; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            const eq_tensor *t = x->src->blocks[i].state_z[l];
            for (int64_t g = 0; t && g < t->n; g++) {
                float z = ((const float *)t->data)[g];
                if (z == rintf(z)) continue;
                if (x->o->lossy) {
                    eq_note(x->obs,
                            "%s holds whole zero points: the trained ones are rounded, what is "
                            "compared is the model as ppl --as-written sees it",
                            x->format->name);
                    return EQ_OK;
                }
                return eq_fail(err, EQ_EINPUT,
                               "%s: tensor %s: %s holds whole zero points, found a trained one of "
                               "%.6g in group %lld (hf and mlx hold real ones; --lossy rounds)",
                               t->file, t->name, x->format->name, (double)z, (long long)g);
            }
        }
    return EQ_OK;
}

static eq_status check_file(const char *out, eq_err *err) {
    if (!*out) return eq_fail(err, EQ_EINPUT, "expected an output file, found an empty name");
    if (eq_exists(out) || eq_is_dangling(out))
        return eq_fail(err, EQ_EINPUT, "%s: expected a file that is not there yet, found %s", out,
                       eq_is_dir(out) ? "a folder" : "one");
    if (out[strlen(out) - 1] == '/')
        return eq_fail(err, EQ_EINPUT, "%s: expected the name of a file, found a folder's", out);
    return eq_output_check_parent(out, out, err);
}

eq_status eq_export_check_place(const eq_export_job *x, eq_err *err) {
    return x->format->file ? check_file(x->o->out, err)
                           : eq_output_check(x->o->out, x->o->model, err);
}

static eq_status check_source(const eq_weights *w, eq_err *err) {
    if (eq_config_quantized(&w->cfg)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: expected a quantized model, found full precision (eqat quantize makes one)",
                   w->dir);
}

/* ---- writing -----------------------------------------------------------------------------------
 */

/* A file is made in the temporary folder and moved out of it. */
static eq_status put_in_place(const char *tmp, const char *made, const char *path, eq_err *err) {
    eq_err ignored = {0};
    if (made != tmp && eq_exists(path))
        return eq_fail(err, EQ_EINPUT, "%s: expected a file that is not there yet, found one",
                       path);
    eq_status st = eq_rename_durable(made, path, err);
    if (st != EQ_OK && !eq_exists(made)) eq_remove_tree(path, &ignored);
    return st;
}

static eq_status write_at(eq_export_job *x, const char *path, const char *tmp, eq_err *err) {
    eq_err ignored = {0};
    bool file = x->format->file;
    const char *base = strrchr(path, '/');
    char *made = file ? eq_path(tmp, base ? base + 1 : path) : NULL;
    const char *at = file ? made : tmp;
    eq_status st = at ? EQ_OK : eq_nomem(err, "a path", 256);
    if (st == EQ_OK)
        st = x->format->write ? x->format->write(x, at, err) : eq_export_folder(x, at, err);
    if (st == EQ_OK) st = eq_weights_unchanged(x->src, err);
    if (st == EQ_OK) st = put_in_place(tmp, at, path, err);
    if (st != EQ_OK || file) eq_remove_tree(tmp, &ignored);
    eq_free(made);
    return st;
}

static eq_status write_out(eq_export_job *x, eq_err *err) {
    const char *out = x->o->out;
    char *path = x->format->file ? eq_strdup(out) : eq_output_path(out), *tmp = NULL;
    int lock = -1;
    eq_status st = path ? eq_temporary_folder(path, &tmp, &lock, err)
                        : eq_nomem(err, "a path", (int64_t)strlen(out));
    if (st == EQ_OK) st = write_at(x, path, tmp, err);
    if (lock >= 0) close(lock);
    eq_free(path), eq_free(tmp);
    return st;
}

static eq_status run(eq_export_job *x, eq_err *err) {
    EQ_TRY(check_source(x->src, err));
    EQ_TRY(eq_export_check_place(x, err));
    EQ_TRY(eq_export_check(x, err));
    if (!x->format->real_zeros) EQ_TRY(eq_export_check_zeros(x, err));
    eq_event(x->obs, "{\"event\":\"export\",\"to\":\"%s\"}", x->format->name);
    return write_out(x, err);
}

eq_status eq_export(const eq_export_opts *o, const eq_observer *obs, eq_export_result *res,
                    eq_err *err) {
    eq_weights *w;
    const eq_format *f = o->to ? eq_format_find(o->to) : NULL;
    double start = eq_now();
    if (!f)
        return eq_fail(err, EQ_EINPUT, "expected the name of a format, found %s",
                       o->to ? o->to : "none");
    eq_par_threads(o->threads);
    EQ_TRY(eq_weights_open(&w, o->model, err));
    eq_export_job x = {.o = o, .format = f, .src = w, .obs = obs};
    eq_status st = run(&x, err);
    eq_weights_close(w);
    if (st != EQ_OK || !res) return st;
    *res = (eq_export_result){.bytes = x.bytes,
                              .weights = x.diff.weights,
                              .different = x.diff.different,
                              .worst = x.diff.worst,
                              .mean = x.diff.weights ? x.diff.sum / (double)x.diff.weights : 0,
                              .seconds = eq_now() - start};
    memcpy(res->worst_at, x.diff.worst_at, sizeof res->worst_at);
    memcpy(res->reader, x.reader, sizeof res->reader);
    memcpy(res->types, x.types, sizeof res->types);
    return EQ_OK;
}

/* eq_plan: memory and operations from cost.c, disk from the tensors that will be written, time from
 * the rates of a product and of an update measured on this machine. What eq_quantize would refuse
 * is refused here in the same words, as far as it shows without the data and the tensors. */
#include <string.h>

#include "backend/backend.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "data/sources.h"
#include "model/checkpoint.h"
#include "model/qblock.h"
#include "model/schemes.h"
#include "train/quantize_job.h"
#include "train/schedule.h"

/* Share of the product rate that the products of a training step reach (make bench prints it),
 * element-wise passes over weights that a step makes beside them, in updates' worth, and bytes a
 * second that are read and looked through, and tokenized. */
static const double STEP_SHARE = 0.8, PASSES = 2.5, READ = 5e8, TOKENIZE = 1e7;

typedef struct {
    eq_settings set;
    eq_config cfg;
    eq_run_shape shape;
    eq_run_cost cost;
    double rate, update; /* FLOP/s of a product, weights/s of an update */
    eq_job_disk disk;
    const char *out, *work; /* where they will be */
    eq_err refused;         /* why the run would be refused; status EQ_OK: it would not */
} plan;

/* ---- rates ----------------------------------------------------------------------------------- */

/* matmul_nt at 1024 x 4096 x 4096 in the compute type, AdamW on 4 Mi weights; best of three. A
 * device gets enough of both that starting them does not count, a small machine no more than an
 * eighth of its memory takes. */
static eq_status measure(plan *p, eq_backend *be, eq_arena *a, eq_err *err) {
    int64_t M = be->device ? 8192 : 1024, N = 4096, W = be->device ? 64 << 20 : 4 << 20;
    while (!be->device && M > 64 && 4 * (2 * M * N + N * N + 4 * W) > p->set.memory / 8)
        M /= 2, N /= 2, W /= 4;
    const int64_t K = N;
    eq_dtype ct = p->set.o.compute.precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16;
    eq_mut y = {0}, x = {0}, w = {0}, s[4] = {{0}};
    for (int pass = 0; pass < 2; pass++) {
        y = eq_take(a, ct, M * N), x = eq_take(a, ct, M * K), w = eq_take(a, ct, N * K);
        for (int i = 0; i < 4; i++) s[i] = eq_take(a, EQ_F32, W);
        if (!pass) EQ_TRY(eq_arena_alloc(a, be, "a measurement", err));
    }
    EQ_DO(be, fill, x, 0.5f), EQ_DO(be, fill, w, 0.25f);
    for (int i = 0; i < 4; i++) EQ_DO(be, fill, s[i], 0.125f);
    for (int k = 0; k < 3; k++) {
        double t = eq_now();
        EQ_DO(be, matmul_nt, y, eq_ro(x), eq_ro(w), M, N, K, M, 0);
        EQ_TRY(be->sync(be, err));
        double r = 2.0 * (double)(M * N * K) / (eq_now() - t);
        if (r > p->rate) p->rate = r;
        t = eq_now();
        EQ_DO(be, adamw, s[0], s[1], s[2], eq_ro(s[3]), eq_adamw_at(1e-5, 1, 1));
        EQ_TRY(be->sync(be, err));
        r = (double)W / (eq_now() - t);
        if (r > p->update) p->update = r;
    }
    return EQ_OK;
}

static eq_status rates(plan *p, eq_err *err) {
    eq_backend *be;
    eq_arena a = {0};
    eq_par_threads(p->set.o.compute.threads);
    EQ_TRY(eq_backend_open_for(&be, &p->set.o.compute, NULL, err));
    eq_status st = measure(p, be, &a, err);
    eq_arena_free(&a);
    be->close(be);
    return st;
}

static double seconds(const plan *p, double flop, double touched) {
    return flop / (p->rate * STEP_SHARE) + PASSES * touched / p->update;
}

/* The model is looked through once and read once more; each text is tokenized. */
static double read_seconds(const plan *p) {
    const eq_quantize_opts *o = &p->set.o;
    double element = !strcmp(p->cfg.dtype, "float32") ? 4 : 2;
    double text = eq_data_text_bytes(o->data) + eq_data_text_bytes(o->val_data);
    if (o->qp.data && (!o->data || strcmp(o->data, o->qp.data)))
        text += eq_data_text_bytes(o->qp.data);
    return 2 * (double)eq_config_params(&p->cfg) * element / READ + text / TOKENIZE;
}

/* ---- disk ------------------------------------------------------------------------------------ */

static void disk_bytes(plan *p) {
    const eq_config *c = &p->cfg;
    const eq_quantize_opts *o = &p->set.o;
    int64_t element = !strcmp(c->dtype, "float32") ? 4 : 2;
    p->disk =
        eq_job_disk_of(&p->set, c, (eq_config_params(c) - eq_config_linear_params(c)) * element,
                       p->shape.e2e_T, p->shape.e2e_windows);
    if (p->cost.streams_on_disk && !o->cache_dir) p->disk.first += p->cost.streams;
    p->out = o->out ? o->out : ".";
    p->work = o->work_dir ? o->work_dir : p->out; /* OUT.work lies beside it */
}

/* ---- the report ------------------------------------------------------------------------------ */

/* NULL, and no line, where the backend is no device. */
static json_t *device_bytes(int64_t bytes) { return bytes ? json_integer(bytes) : NULL; }

static json_t *ap_json(const plan *p) {
    const eq_run_cost *c = &p->cost;
    return json_pack("{s:I, s:o*, s:b, s:I, s:b, s:f, s:f}", "memory_bytes",
                     (json_int_t)c->ap_memory, "device_bytes", device_bytes(c->ap_device),
                     "fits_in_memory", c->ap_memory <= p->set.memory, "streams_bytes",
                     (json_int_t)c->streams, "streams_on_disk", c->streams_on_disk, "flop",
                     c->ap_flop, "seconds", seconds(p, c->ap_flop, c->ap_touched));
}

static json_t *e2e_json(const plan *p) {
    const eq_run_cost *c = &p->cost;
    eq_e2e_setup s = eq_settings_e2e(&p->set, p->shape.e2e_T, p->shape.e2e_windows);
    return json_pack("{s:I, s:o*, s:o*, s:b, s:I, s:f, s:f}", "memory_bytes",
                     (json_int_t)c->e2e_memory, "device_bytes", device_bytes(c->e2e_device),
                     "device_least_bytes", device_bytes(c->e2e_device_least), "fits_in_memory",
                     c->e2e_memory <= p->set.memory, "micro_batch", (json_int_t)s.qp.micro_batch,
                     "flop", c->e2e_flop, "seconds", seconds(p, c->e2e_flop, c->e2e_touched));
}

static json_t *whole(const plan *p) {
    const eq_job_disk *d = &p->disk;
    int64_t work = d->blocks + (d->first > d->second ? d->first : d->second);
    double bits = 8.0 * (double)d->packed / (double)eq_config_linear_params(&p->cfg);
    json_t *ap = p->shape.ap ? ap_json(p) : NULL, *e2e = p->shape.e2e ? e2e_json(p) : NULL;
    double reading = read_seconds(p);
    double all = reading + json_number_value(json_object_get(ap, "seconds")) +
                 json_number_value(json_object_get(e2e, "seconds"));
    json_t *o = json_pack(
        "{s:b, s:o, s:I, s:I, s:f, s:I, s:I, s:I, s:I}", "fits", p->refused.status == EQ_OK,
        "refused", p->refused.status == EQ_OK ? json_null() : eq_json_lossy(p->refused.msg),
        "memory_bytes", (json_int_t)p->cost.memory, "memory_limit_bytes", (json_int_t)p->set.memory,
        "seconds", all, "output_bytes", (json_int_t)d->out, "work_bytes", (json_int_t)work,
        "output_free_bytes", (json_int_t)eq_job_disk_free(p->out), "work_free_bytes",
        (json_int_t)eq_job_disk_free(p->work));
    eq_str words = {0};
    eq_schemes_words(&words, &p->set.schemes, &p->cfg);
    json_t *more = json_pack(
        "{s:I, s:I, s:s, s:i, s:I, s:f, s:f, s:f, s:o*, s:o*}", "parameters",
        (json_int_t)eq_config_params(&p->cfg), "linear_parameters",
        (json_int_t)eq_config_linear_params(&p->cfg), "scheme", words.p ? words.p : "", "bits",
        p->set.o.bits, "group_size", (json_int_t)p->set.o.group_size, "bits_per_weight", bits,
        "product_flop_per_second", p->rate, "read_seconds", reading, "block_ap", ap, "e2e_qp", e2e);
    if (o && more) json_object_update(o, more);
    json_decref(more);
    eq_str_free(&words);
    return o;
}

/* The order is eq_quantize's. */
static void judge(plan *p) {
    eq_err *e = &p->refused;
    const eq_quantize_opts *o = &p->set.o;
    if (o->out && !o->resume && eq_output_check(o->out, o->model, e) != EQ_OK) return;
    if (eq_run_cost_check(&p->cost, &p->set, &p->shape, e) != EQ_OK) return;
    eq_job_disk_check(&p->disk, p->out, p->work, e);
}

static eq_status make(plan *p, const eq_quantize_opts *o, char **json, eq_err *err) {
    EQ_TRY(eq_settings_resolve(&p->set, o, &p->cfg, false, NULL, err));
    bool data = o->data || o->qp.data || o->instruct.data;
    p->set.e2e = o->e2e && (o->method != EQ_METHOD_RTN || data);
    p->shape = eq_run_shape_of(&p->set, o->method != EQ_METHOD_RTN);
    char *dir = eq_job_existing(o->work_dir ? o->work_dir : o->out ? o->out : ".");
    p->cost = eq_run_cost_of(&p->set, &p->cfg, &p->shape, dir);
    eq_free(dir);
    EQ_TRY(rates(p, err));
    disk_bytes(p);
    judge(p);
    json_t *v = whole(p);
    *json = v ? eq_json_text(v, 2) : NULL;
    json_decref(v);
    return *json ? EQ_OK : eq_nomem(err, "the plan", 4096);
}

eq_status eq_plan(const eq_quantize_opts *o, char **json, eq_err *err) {
    plan p = {0};
    *json = NULL;
    if (!o->model) return eq_fail(err, EQ_EINPUT, "plan: expected a model folder");
    eq_status st = eq_config_load(&p.cfg, o->model, err);
    if (st == EQ_OK) st = make(&p, o, json, err);
    eq_settings_free(&p.set), eq_config_free(&p.cfg);
    return st;
}

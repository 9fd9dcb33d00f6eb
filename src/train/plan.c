/* eq_plan: memory from the bind functions that allocate, disk from the tensors that will be
 * written, time from METHOD section 8's operation counts and a product measured on this machine. */
#include <string.h>

#include "backend/backend.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "model/qblock.h"
#include "train/quantize_job.h"
#include "train/stream.h"

/* Share of the product rate that a whole training step reaches (make bench prints it). */
static const double STEP_SHARE = 0.7;

typedef struct {
    eq_settings set;
    eq_config cfg;
    double rate; /* FLOP/s of a product */
    int64_t ap_T, e2e_T;
} plan;

/* FLOP/s of matmul_nt at 1024 x 4096 x 4096 in the compute type, best of three. */
static eq_status product_rate(plan *p, eq_err *err) {
    const int64_t M = 1024, N = 4096, K = 4096;
    eq_dtype ct = p->set.o.compute.precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16;
    eq_backend *be;
    eq_arena a = {0};
    double best = 0;
    eq_par_threads(p->set.o.compute.threads);
    EQ_TRY(eq_backend_open(&be, p->set.o.compute.backend, p->set.o.compute.cpu_mask, err));
    eq_mut y = {0}, x = {0}, w = {0};
    eq_status st = EQ_OK;
    for (int pass = 0; pass < 2 && st == EQ_OK; pass++) {
        y = eq_take(&a, ct, M * N), x = eq_take(&a, ct, M * K), w = eq_take(&a, ct, N * K);
        if (!pass) st = eq_arena_alloc(&a, be, "a measurement", err);
    }
    if (st == EQ_OK) EQ_DO(be, fill, x, 0.5f), EQ_DO(be, fill, w, 0.25f);
    for (int k = 0; k < 3 && st == EQ_OK; k++) {
        double t = eq_now();
        EQ_DO(be, matmul_nt, y, eq_ro(x), eq_ro(w), M, N, K, M, 0);
        st = be->sync(be, err);
        double r = 2.0 * (double)(M * N * K) / (eq_now() - t);
        if (r > best) best = r;
    }
    p->rate = best;
    eq_arena_free(&a);
    be->close(be);
    return st;
}

/* Attention's products of one forward pass over `tokens` in windows of T, all layers. */
static double attention_flop(const eq_config *c, double tokens, int64_t T) {
    return 2.0 * tokens * (double)T * (double)(c->NH * c->HD) * (double)c->L;
}

static json_t *block_ap_json(const plan *p) {
    const eq_config *c = &p->cfg;
    const eq_quantize_opts *o = &p->set.o;
    eq_block_ap_setup s = eq_settings_ap(&p->set);
    eq_dtype st = o->compute.precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16;
    int64_t windows = o->ap.train_size + o->ap.val_size;
    int64_t job = eq_block_ap_bytes(c, &s, p->ap_T);
    int64_t streams = 2 * eq_stream_bytes(windows, o->ap.batch_size, p->ap_T, c->D, st);
    bool disk = eq_settings_streams_on_disk(&p->set, c, job, streams, windows * p->ap_T, NULL);
    double tokens = (double)o->ap.train_size * (double)p->ap_T;
    double flop = (6.0 * o->ap.epochs + 4.0) * (double)eq_config_linear_params(c) * tokens +
                  (3.5 * o->ap.epochs + 2.0) * attention_flop(c, tokens, p->ap_T);
    return json_pack(
        "{s:I, s:b, s:I, s:b, s:f, s:f}", "memory_bytes",
        (json_int_t)(job + (disk ? 0 : streams) + eq_qblock_bytes(c, o->bits, o->group_size)),
        "fits_in_memory", job <= p->set.memory, "streams_bytes", (json_int_t)streams,
        "streams_on_disk", disk, "flop", flop, "seconds", flop / (p->rate * STEP_SHARE));
}

static json_t *e2e_json(const plan *p) {
    const eq_config *c = &p->cfg;
    const eq_quantize_opts *o = &p->set.o;
    eq_e2e_setup s = eq_settings_e2e(&p->set, p->e2e_T, o->qp.train_size);
    double tokens = (double)o->qp.train_size * (double)p->e2e_T * o->qp.epochs;
    double flop = 8.0 * tokens * (double)(eq_config_linear_params(c) + c->V * c->D) +
                  4.5 * attention_flop(c, tokens, p->e2e_T);
    int64_t bytes = eq_e2e_bytes(c, &s, p->e2e_T);
    return json_pack("{s:I, s:b, s:I, s:f, s:f}", "memory_bytes", (json_int_t)bytes,
                     "fits_in_memory", bytes <= p->set.memory, "micro_batch",
                     (json_int_t)s.qp.micro_batch, "flop", flop, "seconds",
                     flop / (p->rate * STEP_SHARE));
}

/* What the output folder and the work folder hold, in bytes. */
static void disk_bytes(const plan *p, int64_t *out, int64_t *work, double *bits) {
    const eq_config *c = &p->cfg;
    int64_t element = !strcmp(c->dtype, "float32") ? 4 : 2;
    eq_job_disk d =
        eq_job_disk_of(&p->set, c, (eq_config_params(c) - eq_config_linear_params(c)) * element,
                       p->e2e_T, p->set.o.qp.train_size);
    *out = d.out;
    *work = d.blocks + (d.first > d.second ? d.first : d.second);
    *bits = 8.0 * (double)d.packed / (double)eq_config_linear_params(c);
}

static json_t *whole(const plan *p) {
    int64_t out, work;
    double bits;
    disk_bytes(p, &out, &work, &bits);
    json_t *ap = p->set.o.method == EQ_METHOD_RTN ? NULL : block_ap_json(p);
    json_t *e2e = p->set.e2e ? e2e_json(p) : NULL;
    if (ap && json_is_true(json_object_get(ap, "streams_on_disk")))
        work += json_integer_value(json_object_get(ap, "streams_bytes"));
    double seconds = json_number_value(json_object_get(ap, "seconds")) +
                     json_number_value(json_object_get(e2e, "seconds"));
    return json_pack("{s:I, s:I, s:i, s:I, s:f, s:o*, s:o*, s:I, s:I, s:I, s:f, s:f}", "parameters",
                     (json_int_t)eq_config_params(&p->cfg), "linear_parameters",
                     (json_int_t)eq_config_linear_params(&p->cfg), "bits", p->set.o.bits,
                     "group_size", (json_int_t)p->set.o.group_size, "bits_per_weight", bits,
                     "block_ap", ap, "e2e_qp", e2e, "memory_limit_bytes", (json_int_t)p->set.memory,
                     "output_bytes", (json_int_t)out, "work_bytes", (json_int_t)work,
                     "product_flop_per_second", p->rate, "seconds", seconds);
}

eq_status eq_plan(const eq_quantize_opts *o, char **json, eq_err *err) {
    plan p = {0};
    *json = NULL;
    if (!o->model) return eq_fail(err, EQ_EINPUT, "plan: expected a model folder");
    EQ_TRY(eq_config_load(&p.cfg, o->model, err));
    EQ_TRY(eq_settings_resolve(&p.set, o, &p.cfg, false, NULL, err));
    EQ_TRY(eq_qblock_check(&p.cfg, p.set.o.bits, p.set.o.group_size, err));
    p.set.e2e = o->e2e && (o->method != EQ_METHOD_RTN || o->data || o->qp.data);
    p.ap_T = p.set.ap_T, p.e2e_T = p.set.e2e_T;
    EQ_TRY(product_rate(&p, err));
    json_t *v = whole(&p);
    *json = v ? eq_json_text(v, 2) : NULL;
    json_decref(v);
    return *json ? EQ_OK : eq_nomem(err, "the plan", 4096);
}

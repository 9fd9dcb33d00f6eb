/* The paper's settings and what follows from bits, model and machine (METHOD sections 2 and 3). */
#include "train/settings.h"

#include <string.h>

#include "base/io.h"
#include "base/machine.h"
#include "base/observe.h"
#include "model/schemes.h"
#include "quant/kgrid.h"
#include "quant/scheme.h"

void eq_quantize_opts_init(eq_quantize_opts *o) {
    *o = (eq_quantize_opts){
        .bits = 2,
        .group_size = 64,
        .rate_scale = 1,
        .seed = 2,
        .save_seconds = 600,
        .e2e = true,
        .method = EQ_METHOD_BLOCK_AP,
        .ap = {.train_size = 4096,
               .val_size = 64,
               .batch_size = 2,
               .epochs = 2,
               .quant_lr = -1,
               .weight_lr = -1,
               .clip_lr = -1,
               .round_lr = -1,
               .min_lr_factor = 20,
               .train = EQ_TRAIN_S | EQ_TRAIN_Z | EQ_TRAIN_W | EQ_TRAIN_NORM},
        .qp = {.batch_size = 32,
               .epochs = 1,
               .lr = -1,
               .weight_lr = -1,
               .warmup = 0.03,
               .clip = 0.3,
               .train = EQ_TRAIN_S,
               .save_every = 8},
        .instruct = {.source_limit = 384, .target_limit = 128, .eval_every = 100},
        .compute = {.backend = "cpu", .precision = EQ_PREC_BF16},
    };
}

/* ---- checks: one row a setting --------------------------------------------------------------- */

static eq_status in_range(const char *name, double v, double lo, double hi, eq_err *err) {
    if (v >= lo && v <= hi) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: expected %g to %g, found %g", name, lo, hi, v);
}

static eq_status check(const eq_quantize_opts *o, eq_err *err) {
    const struct {
        const char *name;
        double v, lo, hi;
    } rows[] = {
        {"train-size", (double)o->ap.train_size, 1, 1e9},
        {"val-size", (double)o->ap.val_size, 0, 1e9},
        {"seqlen", (double)o->ap.seqlen, 0, 1 << 24},
        {"batch-size", (double)o->ap.batch_size, 1, 1e6},
        {"epochs", o->ap.epochs, 0, 1e4},
        {"rate-scale", o->rate_scale, 0, 1e6},
        {"quant-lr", o->ap.quant_lr, -1, 1e38},
        {"weight-lr", o->ap.weight_lr, -1, 1e38},
        {"clip-lr", o->ap.clip_lr, -1, 1e38},
        {"round-lr", o->ap.round_lr, -1, 1e38},
        {"min-lr-factor", o->ap.min_lr_factor, 1, 1e9},
        {"early-stop", o->ap.early_stop, 0, 1e4},
        {"e2e-train-size", (double)o->qp.train_size, 0, 1e9},
        {"max-steps", (double)o->qp.max_steps, 0, 1e9},
        {"source-limit", (double)o->instruct.source_limit, 1, 1 << 24},
        {"target-limit", (double)o->instruct.target_limit, 1, 1 << 24},
        {"eval-every", (double)o->instruct.eval_every, 1, 1e9},
        {"e2e-seqlen", (double)o->qp.seqlen, 0, 1 << 24},
        {"e2e-batch-size", (double)o->qp.batch_size, 1, 1e6},
        {"e2e-micro-batch", (double)o->qp.micro_batch, 0, 1e6},
        {"e2e-epochs", o->qp.epochs, 0, 1e4},
        {"e2e-lr", o->qp.lr, -1, 1e38},
        {"e2e-weight-lr", o->qp.weight_lr, -1, 1e38},
        {"e2e-warmup", o->qp.warmup, 0, 1},
        {"e2e-clip", o->qp.clip, 0, 1e38},
        {"save-seconds", o->save_seconds, 0, 1e9},
        {"save-every", (double)o->qp.save_every, 1, 1e9},
        {"memory-limit", (double)o->compute.memory_limit, 0, 1e18},
        {"device-memory", (double)o->compute.device_memory, 0, 1e18},
        {"threads", o->compute.threads, 0, 512},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        EQ_TRY(in_range(rows[i].name, rows[i].v, rows[i].lo, rows[i].hi, err));
    return EQ_OK;
}

static eq_status check_format(const eq_quantize_opts *o, eq_err *err) {
    if (o->bits < 2 || o->bits > 4)
        return eq_fail(err, EQ_EINPUT, "bits: expected 2, 3 or 4, found %d", o->bits);
    if (eq_scheme_group_known(o->group_size)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "group-size: expected 32, 64, 128, 256 or -1 (a whole row), found %lld",
                   (long long)o->group_size);
}

/* What of a block is trained together makes sense. */
static eq_status check_train(const eq_block_ap_opts *o, eq_err *err) {
    static const struct {
        unsigned what, without;
        const char *why;
    } rows[] = {
        {EQ_TRAIN_CLIP, EQ_TRAIN_S | EQ_TRAIN_Z,
         "expected clip without s and z, which follow from it"},
        {EQ_TRAIN_CLIP, EQ_TRAIN_W, "expected clip without w, whose range it clips"},
        {EQ_TRAIN_ROUND, EQ_TRAIN_W, "expected round without w, which moves the same roundings"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (o->train & rows[i].what && o->train & rows[i].without)
            return eq_fail(err, EQ_EINPUT, "train: %s", rows[i].why);
    if (o->train & EQ_TRAIN_CLIP && o->start == EQ_START_GPTQ)
        return eq_fail(err, EQ_EINPUT,
                       "start: expected minmax where clip is trained, found gptq, whose integers "
                       "are on the grid of the whole range");
    return EQ_OK;
}

/* The grid of a K type has one zero point for all groups of 256 weights, found when a block starts;
 * steps that follow from a clipped range bring zero points of their own, and offsets the weights
 * that floors of steps are of. */
static eq_status check_k_grid(eq_settings *s, bool blocks, eq_err *err) {
    const char *grid = eq_grid_name(s->o.grid);
    if (!eq_k_grid(s->o.grid)) return EQ_OK;
    if (s->e2e && s->o.qp.train & EQ_TRAIN_Z)
        return eq_fail(err, EQ_EINPUT,
                       "e2e-train: expected s without z, of which the grid %s has one for 256 "
                       "weights",
                       grid);
    if (blocks && s->o.ap.train & (EQ_TRAIN_CLIP | EQ_TRAIN_ROUND))
        return eq_fail(err, EQ_EINPUT, "train: expected neither clip nor round on the grid %s",
                       grid);
    s->o.ap.train &= ~(unsigned)EQ_TRAIN_Z;
    if (!blocks || s->o.ap.train) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "train: expected s, w or norm, found z alone, which the grid %s holds", grid);
}

/* Length of a window: as asked for, else `usual` or what the model can see. */
static int64_t length(int64_t asked, int64_t usual, const eq_config *c, const char *what,
                      const eq_observer *obs) {
    if (asked > c->T_max)
        eq_note(obs, "%s: windows of %lld tokens are longer than the model's context of %lld", what,
                (long long)asked, (long long)c->T_max);
    return asked ? asked : usual < c->T_max ? usual : c->T_max;
}

/* With the cosine's mean of half the rate an offset comes from 0 to its bound and no farther. */
static double round_lr(const eq_block_ap_opts *o) {
    int64_t steps = o->epochs * ((o->train_size + o->batch_size - 1) / o->batch_size);
    return 2.0 / (double)(steps ? steps : 1);
}

/* A checkpoint under tuning keeps its own. */
static eq_status resolve_schemes(eq_settings *s, const eq_config *c, bool tune, eq_err *err) {
    eq_scheme all = {s->o.bits, s->o.group_size, s->o.grid};
    if (tune) return eq_schemes_copy(&s->schemes, &c->schemes, c, err);
    EQ_TRY(eq_schemes_make(&s->schemes, c, all, s->o.scheme, err));
    return eq_schemes_check(&s->schemes, c, err);
}

void eq_settings_free(eq_settings *s) { eq_schemes_free(&s->schemes); }

eq_status eq_settings_resolve(eq_settings *s, const eq_quantize_opts *o, const eq_config *c,
                              bool tune, const eq_observer *obs, eq_err *err) {
    *s = (eq_settings){.o = *o, .e2e = o->e2e || tune};
    EQ_TRY(check(o, err));
    if (tune) {
        if (!eq_config_quantized(c))
            return eq_fail(
                err, EQ_EINPUT,
                "%s: expected a quantized model (quantization_config), found full precision",
                o->model);
        const eq_scheme *all = &c->schemes.all;
        s->o.bits = all->bits, s->o.group_size = all->group, s->o.grid = all->grid;
    } else {
        if (eq_config_quantized(c))
            return eq_fail(err, EQ_EINPUT,
                           "%s: expected a full-precision model, found %d-bit weights (eqat tune "
                           "trains those)",
                           o->model, c->schemes.all.bits);
        EQ_TRY(check_format(o, err));
    }
    EQ_TRY(resolve_schemes(s, c, tune, err));
    bool two = s->o.bits == 2;
    if (o->method == EQ_METHOD_GPTQ || o->method == EQ_METHOD_AWQ) {
        s->o.ap.start = o->method == EQ_METHOD_GPTQ ? EQ_START_GPTQ : EQ_START_AWQ;
        s->o.ap.epochs = 0, s->o.ap.val_size = 0;
    }
    if (!tune && o->method == EQ_METHOD_BLOCK_AP) EQ_TRY(check_train(&s->o.ap, err));
    bool clips = o->method == EQ_METHOD_BLOCK_AP && s->o.ap.train & EQ_TRAIN_CLIP;
    if (tune || clips || s->o.ap.start == EQ_START_AWQ) s->o.ap.range = EQ_RANGE_MINMAX;
    if (s->o.ap.quant_lr < 0) s->o.ap.quant_lr = 1e-4;
    if (s->o.ap.clip_lr < 0) s->o.ap.clip_lr = 5e-3;
    if (s->o.ap.round_lr < 0) s->o.ap.round_lr = round_lr(&s->o.ap);
    if (s->o.ap.weight_lr < 0) s->o.ap.weight_lr = two ? 2e-5 : 1e-5;
    if (s->o.qp.lr < 0) s->o.qp.lr = two ? 2e-5 : 1e-5;
    if (s->o.qp.weight_lr < 0) s->o.qp.weight_lr = two ? 2e-5 : 1e-5;
    const char *rows = o->instruct.data;
    if (!tune && o->method == EQ_METHOD_RTN && s->e2e && !o->data && !o->qp.data && !rows) {
        eq_note(obs, "no data given: round-to-nearest alone, without E2E-QP");
        s->e2e = false;
    }
    EQ_TRY(check_k_grid(s, !tune && o->method == EQ_METHOD_BLOCK_AP, err));
    if (s->e2e && !s->o.qp.data && (tune || !rows)) s->o.qp.data = o->data;
    if (!o->qp.train_size && (s->o.qp.data || !rows)) s->o.qp.train_size = 4096;
    const unsigned can = EQ_TRAIN_S | EQ_TRAIN_Z | EQ_TRAIN_W | EQ_TRAIN_NORM;
    if (!s->o.qp.train || s->o.qp.train & ~can)
        return eq_fail(err, EQ_EINPUT, "e2e-train: expected some of s, z, w, norm");
    s->ap_T = length(o->ap.seqlen, 2048, c, "Block-AP", obs);
    s->e2e_T = length(o->qp.seqlen, 4096, c, "E2E-QP", obs);
    s->memory = o->compute.memory_limit ? o->compute.memory_limit : eq_machine_memory() / 10 * 9;
    return EQ_OK;
}

/* ---- the jobs' own structs ------------------------------------------------------------------- */

eq_block_ap_setup eq_settings_ap(const eq_settings *s) {
    return (eq_block_ap_setup){.schemes = s->schemes,
                               .ap = s->o.ap,
                               .save_seconds = s->o.save_seconds,
                               .hints = eq_backend_hints(s->o.compute.backend),
                               .precision = s->o.compute.precision};
}

eq_e2e_setup eq_settings_e2e(const eq_settings *s, int64_t T, int64_t windows) {
    eq_e2e_setup e = {.schemes = s->schemes,
                      .precision = s->o.compute.precision,
                      .save_seconds = s->o.save_seconds,
                      .hints = eq_backend_hints(s->o.compute.backend),
                      .qp = s->o.qp};
    if (e.qp.batch_size > windows) e.qp.batch_size = windows;
    if (!e.qp.micro_batch) e.qp.micro_batch = eq_e2e_micro_batch(e.qp.batch_size, T);
    if (e.qp.micro_batch > e.qp.batch_size) e.qp.micro_batch = e.qp.batch_size;
    return e;
}

/* What passing over all blocks may cost when streams in memory are lost with the run: ten minutes
 * at 1e11 FLOP/s. */
static const double PASS_FLOP = 6e13;

bool eq_settings_streams_on_disk(const eq_settings *s, const eq_config *c, int64_t job,
                                 int64_t streams, int64_t tokens, const char *dir) {
    if (s->o.cache_dir || job + streams > s->memory) return true;
    bool room = !dir || eq_disk_free(dir) > 2 * streams;
    return room && 4.0 * (double)eq_config_linear_params(c) * (double)tokens > PASS_FLOP;
}

/* ---- what decides the result ----------------------------------------------------------------- */

static void put_digest(json_t *o, const char *key, const eq_windows *w) {
    if (w->n)
        json_object_set_new(o, key,
                            json_pack("{s:s, s:I, s:I}", "digest", w->digest.hex, "windows",
                                      (json_int_t)w->n, "tokens", (json_int_t)w->T));
}

/* By name, so that one that changed is named. Memory that is out takes *data along. */
static void put_files(json_t **data, const char *key, const eq_windows *w, const eq_windows *more) {
    eq_inputs all = {0};
    eq_err ignored = {0};
    bool good = eq_inputs_append(&all, &w->inputs, &ignored) == EQ_OK &&
                eq_inputs_append(&all, &more->inputs, &ignored) == EQ_OK;
    json_t *files = good && all.n ? eq_inputs_json(&all, false) : NULL;
    if (files) json_object_set_new(*data, key, files);
    if (!files && (!good || all.n)) json_decref(*data), *data = NULL;
    eq_inputs_free(&all);
}

static json_t *ap_json(const eq_block_ap_opts *a) {
    json_t *o = json_pack("{s:I, s:i, s:f, s:f, s:f, s:i, s:b, s:i}", "batch_size",
                          (json_int_t)a->batch_size, "epochs", a->epochs, "quant_lr", a->quant_lr,
                          "weight_lr", a->weight_lr, "min_lr_factor", a->min_lr_factor, "train",
                          (int)a->train, "keep_best", a->keep_best, "early_stop", a->early_stop);
    if (a->exact_sinks) json_object_set_new(o, "exact_sinks", json_true());
    if (a->train & EQ_TRAIN_CLIP) json_object_set_new(o, "clip_lr", json_real(a->clip_lr));
    if (a->train & EQ_TRAIN_ROUND) json_object_set_new(o, "round_lr", json_real(a->round_lr));
    if (a->start != EQ_START_MINMAX)
        json_object_set_new(o, "start", json_string(a->start == EQ_START_GPTQ ? "gptq" : "awq"));
    return o;
}
/* Not the micro-batch: gradients do not depend on it (backend/backend.h, windows). */
static json_t *e2e_json(const eq_e2e_opts *q) {
    json_t *o = json_pack("{s:I, s:i, s:f, s:f, s:f, s:i}", "batch_size", (json_int_t)q->batch_size,
                          "epochs", q->epochs, "lr", q->lr, "warmup", q->warmup, "clip", q->clip,
                          "train", (int)q->train);
    if (o && q->max_steps) json_object_set_new(o, "max_steps", json_integer(q->max_steps));
    if (o && q->train & (EQ_TRAIN_W | EQ_TRAIN_NORM))
        json_object_set_new(o, "weight_lr", json_real(q->weight_lr));
    if (o && q->loss == EQ_E2E_KL) json_object_set_new(o, "loss", json_string("kl"));
    return o;
}

json_t *eq_settings_first(const eq_settings *s, const eq_config *c, const char *model,
                          const json_t *side_files, const eq_windows *train, const eq_windows *val,
                          bool tune) {
    const eq_quantize_opts *o = &s->o;
    json_t *data = json_object(), *recipe = json_object();
    const char *method = tune                          ? "tune"
                         : o->method == EQ_METHOD_RTN  ? "rtn"
                         : o->method == EQ_METHOD_GPTQ ? "gptq"
                         : o->method == EQ_METHOD_AWQ  ? "awq"
                                                       : "block-ap";
    json_object_set_new(recipe, "method", json_string(method));
    json_object_set_new(recipe, "bits", json_integer(o->bits));
    json_object_set_new(recipe, "group_size", json_integer(o->group_size));
    json_t *dynamic = eq_schemes_dynamic(&s->schemes, c);
    if (dynamic) json_object_set_new(recipe, "dynamic", dynamic);
    if (o->grid != EQ_GRID_FREE)
        json_object_set_new(recipe, "grid", json_string(eq_grid_name(o->grid)));
    if (s->reach > 0) json_object_set_new(recipe, "reach", json_real(s->reach));
    if (o->ap.range == EQ_RANGE_MSE) json_object_set_new(recipe, "range", json_string("mse"));
    json_object_set_new(recipe, "precision",
                        json_string(o->compute.precision == EQ_PREC_F32 ? "f32" : "bf16"));
    json_object_set_new(recipe, "seed", json_integer((json_int_t)o->seed));
    if (train->n) json_object_set_new(recipe, "block_ap", ap_json(&o->ap));
    put_files(&data, "files", train, val);
    put_digest(data, "train", train), put_digest(data, "val", val);
    return json_pack("{s:o, s:s, s:O, s:o}", "recipe", recipe, "model", model, "side_files",
                     side_files, "data", data);
}

/* What of the rows the digests do not say. NULL: there are none. */
static json_t *instruct_json(const eq_instruct_opts *o, const eq_windows *val) {
    if (!o->data || !val->n) return NULL;
    return json_pack("{s:I}", "eval_every", (json_int_t)o->eval_every);
}

bool eq_has_teacher(const eq_quantize_opts *o) {
    return o->qp.loss == EQ_E2E_KL || o->qp.train & EQ_TRAIN_W;
}

json_t *eq_settings_second(const eq_settings *s, const char *teacher, const eq_windows *e2e,
                           const eq_windows *val) {
    json_t *data = json_object();
    if (*teacher) json_object_set_new(data, "teacher", json_string(teacher));
    eq_e2e_setup q = eq_settings_e2e(s, e2e->T, e2e->n);
    put_files(&data, "e2e_files", e2e, val);
    put_digest(data, "e2e", e2e), put_digest(data, "e2e_val", val);
    return json_pack("{s:{s:o, s:o*}, s:o}", "recipe", "e2e_qp", e2e_json(&q.qp), "instruct",
                     instruct_json(&s->o.instruct, val), "data", data);
}

json_t *eq_settings_recipe(const json_t *first, const json_t *second) {
    json_t *all = json_deep_copy(first), *front = json_pack("{s:s}", "eqat", EQ_VERSION);
    const char *const parts[] = {"recipe", "data"};
    for (int i = 0; second && i < 2; i++)
        json_object_update(json_object_get(all, parts[i]), json_object_get(second, parts[i]));
    /* The same windows give the same bytes, whatever files they came in: their digests stay. */
    json_object_del(json_object_get(all, "data"), "files");
    json_object_del(json_object_get(all, "data"), "e2e_files");
    json_object_update(front, all);
    json_decref(all);
    return front;
}

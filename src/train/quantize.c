/* eq_quantize and eq_tune: the order of a run. Everything that can be refused is refused before the
 * first step; every finished block is on disk before the next begins. */
#define _GNU_SOURCE
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "data/tokens.h"
#include "model/checkpoint.h"
#include "quant/number.h"
#include "train/block_ap.h"
#include "train/e2e_qp.h"
#include "train/rtn.h"
#include "train/settings.h"
#include "train/stream.h"
#include "train/work.h"

typedef struct {
    eq_settings set;
    bool tune;
    const eq_observer *obs;
    eq_weights *src;
    eq_backend *be;
    eq_windows train, val, e2e;
    eq_work work;
    const char *bos;        /* does a text begin with one: "yes", "no"; NULL: no text */
    char *work_dir, *cache; /* cache: see stream_folder */
    eq_e2e *qp;
    eq_qblock block; /* the one under way */
    double t_ap, t_e2e, t_write;
    int64_t bytes;
} job;

static bool runs_block_ap(const job *j) {
    return !j->tune && j->set.o.method == EQ_METHOD_BLOCK_AP;
}

/* ---- data ------------------------------------------------------------------------------------ */

static bool needs_tokenizer(const char *path) { return path && !eq_ends_with(path, ".npy"); }

static eq_status load_data(job *j, eq_err *err) {
    const eq_quantize_opts *o = &j->set.o;
    eq_tokenizer *tok = NULL;
    eq_tokens *last = NULL; /* both phases mostly draw from one file */
    eq_status st = EQ_OK;
    bool ap = runs_block_ap(j);
    if (ap && !o->data)
        return eq_fail(err, EQ_EINPUT, "Block-AP needs text or token ids: give --data");
    if (j->set.e2e && !o->qp.data)
        return eq_fail(err, EQ_EINPUT, "E2E-QP needs text or token ids: give --e2e-data or --data");
    if ((ap && (needs_tokenizer(o->data) || needs_tokenizer(o->val_data))) ||
        (j->set.e2e && needs_tokenizer(o->qp.data)))
        EQ_TRY(eq_tokenizer_open_bos(&tok, o->model, o->bos, err));
    j->bos = !tok ? NULL : eq_tokenizer_bos(tok) ? "yes" : "no";
    eq_window_opts w = {.tok = tok,
                        .vocab = j->src->cfg.V,
                        .seqlen = o->ap.seqlen,
                        .seqlen_default = j->set.ap_T,
                        .seed = o->seed,
                        .memory = j->set.memory,
                        .last = &last,
                        .obs = j->obs};
    if (ap)
        st = eq_windows_calibration(&j->train, &j->val, o->data, o->val_data, o->ap.train_size,
                                    o->ap.val_size, &w, err);
    w.seqlen = o->qp.seqlen, w.seqlen_default = j->set.e2e_T;
    if (st == EQ_OK && j->set.e2e)
        st = eq_windows_chunks(&j->e2e, o->qp.data, o->qp.train_size, &w, err);
    eq_tokens_close(last);
    eq_tokenizer_close(tok);
    return st;
}

/* ---- phase one ------------------------------------------------------------------------------- */

/* A block is saved before the streams leave it: see block_ap.c. */
static eq_status one_block(job *j, eq_block_ap *ap, int64_t i, const char *path, eq_err *err) {
    const eq_config *c = &j->src->cfg;
    if (eq_exists(path)) {
        EQ_TRY(eq_qblock_load(&j->block, c, j->set.o.bits, j->set.o.group_size, path, err));
    } else {
        EQ_TRY(eq_block_ap_train(ap, i, &j->block, j->obs, err));
        EQ_TRY(eq_qblock_save(&j->block, c, path, err));
    }
    return eq_block_ap_pass(ap, i, &j->block, j->obs, err);
}

static eq_status blocks(job *j, eq_block_ap *ap, eq_err *err) {
    for (int64_t i = 0; i < j->src->cfg.L; i++) {
        char *path = eq_work_block(&j->work, i);
        eq_status st = path ? one_block(j, ap, i, path, err) : eq_nomem(err, "a path", 256);
        eq_free(path);
        EQ_TRY(st);
    }
    return EQ_OK;
}

static int64_t blocks_done(const job *j) {
    int64_t i = 0;
    for (bool done = true; done && i < j->src->cfg.L; i += done) {
        char *path = eq_work_block(&j->work, i);
        done = path && eq_exists(path);
        eq_free(path);
    }
    return i;
}

/* Streams in files, when they do not fit into memory, when the user says where, and when they are
 * there. */
static eq_status place_streams(job *j, eq_block_ap_setup *s, eq_err *err) {
    const eq_config *c = &j->src->cfg;
    eq_dtype st = s->precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16;
    int64_t mem = eq_block_ap_bytes(c, s, j->train.T);
    int64_t streams =
        2 * eq_stream_bytes(j->train.n + j->val.n, s->ap.batch_size, j->train.T, c->D, st);
    if (mem > j->set.memory)
        return eq_fail(err, EQ_ENOMEM,
                       "Block-AP needs %.2f GiB for one block, the limit is %.2f GiB: lower "
                       "--batch-size or --seqlen",
                       (double)mem / (1 << 30), (double)j->set.memory / (1 << 30));
    bool there = eq_block_ap_has_files(s);
    if (!there && !eq_settings_streams_on_disk(&j->set, mem, streams)) s->cache_dir = NULL;
    if (s->cache_dir)
        eq_note(j->obs, "activation streams of %.2f GiB in mapped files in %s%s",
                (double)streams / (1 << 30), s->cache_dir,
                there ? "; they are there and looked through" : "");
    return EQ_OK;
}

static eq_status train_blocks(job *j, eq_block_ap_setup s, eq_err *err) {
    eq_block_ap *ap;
    EQ_TRY(place_streams(j, &s, err));
    EQ_TRY(eq_block_ap_open(&ap, j->be, j->src, &s, &j->train, &j->val, j->obs, err));
    int64_t behind = eq_block_ap_behind(ap);
    if (behind) /* METHOD section 8: 6 epochs + 4, of which 4 are the two passes */
        eq_note(j->obs,
                "the activation streams are made anew by passing over finished blocks (%lld), %.0f "
                "%% of what training them took%s",
                (long long)behind, 400.0 / (6 * s.ap.epochs + 4),
                s.cache_dir ? "" : "; with --cache-dir they outlive a run");
    eq_status r = blocks(j, ap, err);
    eq_block_ap_close(ap);
    return r;
}

/* s->cache_dir: the folder asked for, else that of the run's earlier starts, so that their streams
 * are found and in the end removed wherever they are. */
static eq_status stream_folder(job *j, eq_block_ap_setup *s, eq_err *err) {
    const char *asked = j->set.o.cache_dir;
    char real[PATH_MAX];
    EQ_TRY(eq_work_cache(&j->work, &j->cache, err));
    s->cache_dir = j->cache ? j->cache : j->work.dir;
    if (!asked) return EQ_OK;
    EQ_TRY(eq_mkdir(asked, err));
    if (!realpath(asked, real)) return eq_fail_errno(err, "%s: cannot find the folder", asked);
    if (!j->cache || strcmp(real, j->cache)) {
        EQ_TRY(eq_block_ap_remove_files(s, err));
        EQ_TRY(eq_work_note_cache(&j->work, real, err));
    }
    s->cache_dir = asked;
    return EQ_OK;
}

static eq_status block_ap(job *j, eq_err *err) {
    eq_block_ap_setup s = eq_settings_ap(&j->set);
    s.work_dir = j->work.dir, s.run = j->work.run, s.done = blocks_done(j);
    EQ_TRY(stream_folder(j, &s, err));
    if (s.done < j->src->cfg.L) EQ_TRY(train_blocks(j, s, err));
    return eq_block_ap_remove_files(&s, err);
}

/* ---- blocks on their way out ----------------------------------------------------------------- */

/* Block i as phase one left it: from the work folder, the checkpoint under tuning, or
 * round-to-nearest. */
static eq_status start_block(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    job *j = ctx;
    *b = &j->block;
    if (j->tune) {
        eq_qblock_free(&j->block);
        return eq_qblock_read(&j->block, j->src, i, err);
    }
    if (!runs_block_ap(j)) return eq_rtn_block(j->be, j->src, i, &j->block, err);
    char *path = eq_work_block(&j->work, i);
    if (!path) return eq_nomem(err, "a path", 256);
    eq_status st =
        eq_qblock_load(&j->block, &j->src->cfg, j->set.o.bits, j->set.o.group_size, path, err);
    eq_free(path);
    return st;
}

static eq_status final_block(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    job *j = ctx;
    EQ_TRY(start_block(ctx, i, b, err));
    return j->qp ? eq_e2e_apply(j->qp, i, &j->block, err) : EQ_OK;
}

/* ---- phase two and the file ------------------------------------------------------------------ */

static eq_status e2e(job *j, eq_err *err) {
    eq_e2e_setup s = eq_settings_e2e(&j->set, j->e2e.T, j->e2e.n);
    s.source = start_block, s.ctx = j, s.state_path = j->work.state, s.run = j->work.run;
    int64_t mem = eq_e2e_bytes(&j->src->cfg, &s, j->e2e.T);
    if (mem > j->set.memory)
        return eq_fail(
            err, EQ_ENOMEM,
            "E2E-QP needs %.2f GiB, the limit is %.2f GiB: lower --e2e-micro-batch or --e2e-seqlen",
            (double)mem / (1 << 30), (double)j->set.memory / (1 << 30));
    EQ_TRY(eq_e2e_open(&j->qp, j->be, j->src, &s, j->e2e.T, err));
    return eq_e2e_run(j->qp, &j->e2e, j->obs, err);
}

static eq_status write_out(job *j, eq_err *err) {
    eq_checkpoint c = {.base = j->src,
                       .bits = j->set.o.bits,
                       .group = j->set.o.group_size,
                       .source = final_block,
                       .ctx = j,
                       .recipe = j->work.run};
    return eq_checkpoint_write(&c, j->set.o.out, j->obs, &j->bytes, err);
}

static eq_status open_work(job *j, eq_err *err) {
    char model[33];
    EQ_TRY(eq_weights_read_through(j->src, j->obs, model, err));
    json_t *run =
        eq_settings_json(&j->set, model, runs_block_ap(j) ? &j->train : NULL,
                         runs_block_ap(j) ? &j->val : NULL, j->set.e2e ? &j->e2e : NULL, j->tune);
    eq_status st = eq_work_open(&j->work, j->work_dir, j->set.o.resume, run, err);
    json_decref(run);
    return st;
}

/* A run killed between the last rename and the removal of its work folder is already done. */
static bool already_written(const job *j) {
    char *path = eq_path(j->set.o.out, EQ_STATE_NAME);
    eq_st *st = NULL;
    eq_err ignored = {0};
    bool same = false;
    if (path && j->set.o.resume && eq_exists(path) && eq_st_open(&st, path, &ignored) == EQ_OK) {
        const char *recipe = eq_st_meta(st, "recipe");
        same = recipe && !strcmp(recipe, j->work.run);
        eq_st_close(st);
    }
    eq_free(path);
    return same;
}

/* Runs one phase; its time goes to *seconds, its high-water mark of memory to the log. */
static eq_status phase(job *j, const char *name, eq_status (*run)(job *, eq_err *), double *seconds,
                       eq_err *err) {
    double t = eq_now();
    eq_mem_peak_reset();
    eq_progress_say(j->obs, &(eq_progress){.phase = name, .loss = NAN});
    j->be->peak = j->be->bytes;
    EQ_TRY(run(j, err));
    *seconds = eq_now() - t;
    eq_event(j->obs,
             "{\"event\":\"phase\",\"phase\":\"%s\",\"seconds\":%.3f,\"host_peak_bytes\":%lld,"
             "\"backend_peak_bytes\":%lld}",
             name, *seconds, (long long)eq_mem_peak(), (long long)j->be->peak);
    return EQ_OK;
}

static eq_status phases(job *j, eq_err *err) {
    if (runs_block_ap(j)) EQ_TRY(phase(j, "block-ap", block_ap, &j->t_ap, err));
    if (j->set.e2e) EQ_TRY(phase(j, "e2e-qp", e2e, &j->t_e2e, err));
    return phase(j, "write", write_out, &j->t_write, err);
}

/* How many documents the windows come from; NULL: not drawn from documents. */
static json_t *documents(const eq_windows *w) {
    if (!w->docs.of) return NULL;
    return json_pack("{s:I, s:I, s:I}", "from", (json_int_t)w->docs.from, "long_enough",
                     (json_int_t)w->docs.long_enough, "of", (json_int_t)w->docs.of);
}

/* The first event: everything has been looked at, work begins. */
static void say_run(const job *j) {
    json_t *settings = NULL;
    eq_err ignored = {0};
    (void)!eq_json_parse(&settings, j->work.run, (int64_t)strlen(j->work.run), "run", &ignored);
    eq_json_event(j->obs, json_pack("{s:s, s:b, s:o*, s:s?, s:o*, s:o*, s:s, s:i}", "event", "run",
                                    "resumed", j->set.o.resume, "settings", settings, "bos", j->bos,
                                    "train_documents", documents(&j->train), "val_documents",
                                    documents(&j->val), "kernels",
                                    j->be->kernels ? j->be->kernels : j->be->name, "threads",
                                    eq_par_count()));
}

static eq_status run(job *j, eq_err *err) {
    const eq_quantize_opts *o = &j->set.o;
    j->work_dir = o->work_dir ? eq_strdup(o->work_dir) : eq_sprintf("%s.work", o->out);
    if (!j->work_dir) return eq_nomem(err, "a path", 256);
    eq_par_threads(o->compute.threads); /* tokenizing keeps to them, too */
    EQ_TRY(eq_backend_open(&j->be, o->compute.backend, o->compute.cpu_mask, err));
    EQ_TRY(eq_stop_wrap(&j->be, j->obs, err));
    EQ_TRY(load_data(j, err));
    if (!j->tune) EQ_TRY(eq_qblock_alloc(&j->block, &j->src->cfg, o->bits, o->group_size, err));
    if (o->dry_run) {
        eq_note(j->obs, "dry run: model, data, settings and output are fine; nothing was computed");
        return EQ_OK;
    }
    EQ_TRY(open_work(j, err));
    if (already_written(j))
        eq_note(j->obs, "%s was already complete", o->out);
    else {
        EQ_TRY(eq_output_check(o->out, o->model, err));
        say_run(j);
        EQ_TRY(phases(j, err));
    }
    return eq_remove_tree(j->work_dir, err);
}

static eq_status start(job *j, const eq_quantize_opts *o, eq_err *err) {
    if (!o->model || !o->out)
        return eq_fail(err, EQ_EINPUT, "expected a model folder and an output folder");
    EQ_TRY(eq_weights_open(&j->src, o->model, err));
    EQ_TRY(eq_settings_resolve(&j->set, o, &j->src->cfg, j->tune, j->obs, err));
    if (!j->tune) EQ_TRY(eq_checkpoint_check(&j->src->cfg, o->bits, o->group_size, err));
    if (!o->resume) EQ_TRY(eq_output_check(o->out, o->model, err));
    return run(j, err);
}

/* Over the linears: N + (N + 16) / g, weighted where groups are whole rows of different lengths. */
static double bits_per_weight(const job *j) {
    const eq_config *c = &j->src->cfg;
    double bits = 0, weights = 0;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, l);
        double n = (double)s.O * (double)s.I;
        bits += n * eq_bits_per_weight(j->set.o.bits, eq_group(j->set.o.group_size, s.I));
        weights += n;
    }
    return bits / weights;
}

static eq_status whole(const eq_quantize_opts *o, bool tune, const eq_observer *obs,
                       eq_quantize_result *res, eq_err *err) {
    job j = {.tune = tune, .obs = obs};
    eq_status st = start(&j, o, err);
    if (st == EQ_OK && res)
        *res = (eq_quantize_result){.seconds_block_ap = j.t_ap,
                                    .seconds_e2e = j.t_e2e,
                                    .seconds_write = j.t_write,
                                    .bytes = j.bytes,
                                    .bits_per_weight = bits_per_weight(&j)};
    eq_e2e_close(j.qp);
    eq_qblock_free(&j.block);
    eq_backend_say_trace(j.be, obs);
    if (j.be) j.be->close(j.be);
    eq_windows_free(&j.train), eq_windows_free(&j.val), eq_windows_free(&j.e2e);
    eq_work_close(&j.work);
    eq_free(j.work_dir), eq_free(j.cache);
    eq_weights_close(j.src);
    return st;
}

eq_status eq_quantize(const eq_quantize_opts *o, const eq_observer *obs, eq_quantize_result *res,
                      eq_err *err) {
    return whole(o, false, obs, res, err);
}
eq_status eq_tune(const eq_quantize_opts *o, const eq_observer *obs, eq_quantize_result *res,
                  eq_err *err) {
    return whole(o, true, obs, res, err);
}

/* eq_quantize and eq_tune: the order of a run. Everything that can be refused is refused before the
 * first step (preflight.c); every finished block is on disk before the next begins; the model's
 * files are what they were whenever something made from them is saved. */
#define _GNU_SOURCE
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "model/schemes.h"
#include "train/block_ap.h"
#include "train/quantize_job.h"
#include "train/rtn.h"
#include "train/stream.h"
#include "train/weight_error.h"

/* ---- phase one ------------------------------------------------------------------------------- */

/* How block i, which is in j->block, came about. */
static void note_fate(eq_job *j, int64_t i) {
    j->fate[i] = (eq_fate){j->block.rollbacks, j->block.untrained};
}

/* A block is saved before the streams leave it: see block_ap.c. */
static eq_status one_block(eq_job *j, eq_block_ap *ap, int64_t i, const char *path, eq_err *err) {
    const eq_config *c = &j->src->cfg;
    if (eq_exists(path)) {
        EQ_TRY(eq_qblock_load(&j->block, c, &j->set.schemes, i, path, err));
    } else {
        EQ_TRY(eq_block_ap_train(ap, i, &j->block, j->obs, err));
        eq_rtn_say_held(&j->block, c, i, j->obs);
        EQ_TRY(eq_weights_unchanged(j->src, err));
        EQ_TRY(eq_qblock_save(&j->block, c, path, err));
    }
    note_fate(j, i);
    return eq_block_ap_pass(ap, i, &j->block, j->obs, err);
}

/* ap NULL: all blocks are there. */
static eq_status blocks(eq_job *j, eq_block_ap *ap, eq_err *err) {
    const eq_config *c = &j->src->cfg;
    for (int64_t i = 0; i < c->L; i++) {
        char *path = eq_work_block(j->work.dir, i);
        eq_status st = path ? EQ_OK : eq_nomem(err, "a path", 256);
        if (st == EQ_OK && ap)
            st = one_block(j, ap, i, path, err);
        else if (st == EQ_OK)
            st = eq_qblock_load(&j->block, c, &j->set.schemes, i, path, err);
        if (st == EQ_OK) note_fate(j, i);
        eq_free(path);
        EQ_TRY(st);
    }
    return EQ_OK;
}

/* Streams in files: see eq_settings_streams_on_disk; also when they are there. */
static void place_streams(const eq_job *j, eq_block_ap_setup *s) {
    bool there = eq_block_ap_has_files(s);
    if (!there && !j->cost.streams_on_disk) s->cache_dir = NULL;
    if (s->cache_dir)
        eq_note(j->obs, "activation streams of %.2f GiB in mapped files in %s%s",
                (double)j->cost.streams / (1 << 30), s->cache_dir,
                there ? "; they are there and looked through" : "");
}

static eq_status train_with(eq_job *j, const eq_block_ap_setup *s, eq_err *err) {
    eq_block_ap *ap;
    EQ_TRY(eq_block_ap_open(&ap, j->be, j->src, s, &j->train, &j->val, j->obs, err));
    int64_t behind = eq_block_ap_behind(ap);
    if (behind) /* METHOD section 8: 6 epochs + 4, of which 4 are the two passes */
        eq_note(j->obs,
                "the activation streams are made anew by passing over finished blocks (%lld), %.0f "
                "%% of what training them took%s",
                (long long)behind, 400.0 / (6 * s->ap.epochs + 4),
                s->cache_dir ? "" : "; with --cache-dir they outlive a run");
    eq_status r = blocks(j, ap, err);
    eq_block_ap_close(ap);
    return r;
}

static eq_status train_blocks(eq_job *j, eq_block_ap_setup s, eq_err *err) {
    eq_err ignored = {0};
    place_streams(j, &s);
    j->streams_in_files = s.cache_dir != NULL;
    eq_status st = train_with(j, &s, err);
    /* embeddings that were read from a file that changed are of no model */
    if (eq_weights_unchanged(j->src, &ignored) != EQ_OK && s.cache_dir)
        eq_block_ap_remove_files(&s, &ignored);
    return st;
}

/* s->cache_dir: the folder asked for, else that of the run's earlier starts, so that their streams
 * are found and in the end removed wherever they are. */
static eq_status stream_folder(eq_job *j, eq_block_ap_setup *s, eq_err *err) {
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

static eq_status block_ap(eq_job *j, eq_err *err) {
    eq_block_ap_setup s = eq_settings_ap(&j->set);
    s.work_dir = j->work.dir, s.run = j->work.first;
    s.done = eq_work_blocks(j->work.dir, j->src->cfg.L);
    EQ_TRY(stream_folder(j, &s, err));
    EQ_TRY(s.done < j->src->cfg.L ? train_blocks(j, s, err) : blocks(j, NULL, err));
    return eq_block_ap_remove_files(&s, err);
}

/* ---- blocks on their way out ----------------------------------------------------------------- */

/* Block i as phase one left it: from the work folder, the checkpoint under tuning, or
 * round-to-nearest. */
static eq_status start_block(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    eq_job *j = ctx;
    *b = &j->block;
    if (j->tune) return eq_qblock_read(&j->block, j->src, i, err);
    if (!eq_job_trains_blocks(j)) {
        eq_qblock_turn(&j->block, &j->src->cfg, &j->set.schemes, i);
        EQ_TRY(eq_rtn_block(j->be, j->src, i, j->set.o.ap.range, &j->block, err));
        if (i >= j->rounded) eq_rtn_say_held(&j->block, &j->src->cfg, i, j->obs);
        if (i >= j->rounded) j->rounded = i + 1;
        return EQ_OK;
    }
    char *path = eq_work_block(j->work.dir, i);
    if (!path) return eq_nomem(err, "a path", 256);
    eq_status st = eq_qblock_load(&j->block, &j->src->cfg, &j->set.schemes, i, path, err);
    eq_free(path);
    return st;
}

static eq_status final_block(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    eq_job *j = ctx;
    EQ_TRY(start_block(ctx, i, b, err));
    if (j->qp) EQ_TRY(eq_e2e_apply(j->qp, i, &j->block, err));
    /* What is tuned has no weights to compare with, and AWQ's are not the model's: norms make up
     * for their scales. */
    bool compares = !j->tune && !(eq_job_trains_blocks(j) && j->set.o.ap.start == EQ_START_AWQ);
    if (!compares || i < j->told) return EQ_OK;
    j->told = i + 1;
    return eq_weight_error_say(&j->block, j->src, i, j->obs, err);
}

/* ---- phase two and the file ------------------------------------------------------------------ */

static eq_status e2e(eq_job *j, eq_err *err) {
    int64_t T = eq_job_e2e_T(j);
    eq_e2e_setup s = eq_settings_e2e(&j->set, T, j->e2e.n);
    s.source = start_block, s.ctx = j, s.state_path = j->work.state, s.run = j->work.all;
    s.teacher = j->teacher;
    s.val = j->e2e_val.n ? &j->e2e_val : NULL, s.eval_every = j->set.o.instruct.eval_every;
    EQ_TRY(eq_e2e_open_within(&j->qp, j->be, j->src, &s, T, j->obs, err));
    return eq_e2e_run(j->qp, &j->e2e, j->obs, err);
}

static eq_status write_out(eq_job *j, eq_err *err) {
    eq_checkpoint c = {.base = j->src,
                       .schemes = j->set.schemes,
                       .source = final_block,
                       .ctx = j,
                       .recipe = j->recipe,
                       .side_files = j->side_files,
                       .rollbacks = j->res.rollbacks,
                       .untrained = j->res.blocks_untrained};
    return eq_checkpoint_write(&c, j->set.o.out, j->obs, &j->res.bytes, err);
}

/* What of the work a stopped run keeps, behind what was under way. */
static eq_status say_kept(const eq_job *j, const char *name, eq_err *err) {
    const eq_err was = err ? *err : (eq_err){0};
    int64_t L = j->src->cfg.L, n = eq_work_blocks(j->work.dir, L);
    if (!eq_job_trains_blocks(j) || !strcmp(name, "e2e-qp")) return EQ_EINTR;
    if (err) *err = (eq_err){0};
    if (!strcmp(name, "write"))
        return eq_fail(err, EQ_EINTR, "%s while the output was written; all training is kept",
                       was.msg);
    bool lost = n > 0 && n < L && !j->streams_in_files;
    return eq_fail(err, EQ_EINTR, "%s; %lld of %lld blocks are done and kept%s", was.msg,
                   (long long)n, (long long)L,
                   lost ? ", their activation streams are made anew (--cache-dir keeps them)" : "");
}

/* Runs one phase; its time goes to *seconds, its high-water mark of memory to the log. */
static eq_status phase(eq_job *j, const char *name, eq_status (*run)(eq_job *, eq_err *),
                       double *seconds, eq_err *err) {
    double t = eq_now();
    eq_mem_peak_reset();
    eq_progress_say(j->obs, &(eq_progress){.phase = name, .loss = NAN});
    j->be->peak = j->be->bytes;
    eq_status st = run(j, err);
    if (st == EQ_EINTR) return say_kept(j, name, err);
    EQ_TRY(st);
    *seconds = eq_now() - t;
    eq_event(j->obs,
             "{\"event\":\"phase\",\"phase\":\"%s\",\"seconds\":%.3f,\"host_peak_bytes\":%lld,"
             "\"backend_peak_bytes\":%lld}",
             name, *seconds, (long long)eq_mem_peak(), (long long)j->be->peak);
    return EQ_OK;
}

static void sum_fates(eq_job *j) {
    for (int64_t i = 0; i < j->src->cfg.L; i++) {
        j->res.rollbacks += j->fate[i].rollbacks;
        j->res.blocks_untrained += j->fate[i].untrained;
    }
    if (j->qp) j->res.rollbacks += eq_e2e_rollbacks(j->qp);
}

static eq_status phases(eq_job *j, eq_err *err) {
    eq_quantize_result *r = &j->res;
    j->fate = eq_calloc(j->src->cfg.L, sizeof *j->fate);
    if (!j->fate) return eq_nomem(err, "a list of blocks", j->src->cfg.L * 16);
    if (eq_job_trains_blocks(j)) EQ_TRY(phase(j, "block-ap", block_ap, &r->seconds_block_ap, err));
    if (j->set.e2e) EQ_TRY(phase(j, "e2e-qp", e2e, &r->seconds_e2e, err));
    sum_fates(j);
    return phase(j, "write", write_out, &r->seconds_write, err);
}

/* What a run killed between the last rename and the removal of its work folder left. */
static eq_status clear_up(eq_job *j, const eq_identity *who, eq_err *err) {
    eq_err other = {0};
    bool begun;
    EQ_TRY(eq_work_look(j->work_dir, true, &begun, err));
    if (!begun) return eq_work_clear(j->work_dir, !j->set.o.work_dir, err);
    if (eq_work_compare(j->work_dir, who, &other) != EQ_OK) return EQ_OK;
    EQ_TRY(eq_work_open(&j->work, j->work_dir, true, who, j->obs, err));
    return eq_work_remove(&j->work, err);
}

/* How many documents the windows come from; NULL: not drawn from documents. */
static json_t *documents(const eq_windows *w) {
    if (!w->docs.of) return NULL;
    return json_pack("{s:I, s:I, s:I}", "from", (json_int_t)w->docs.from, "long_enough",
                     (json_int_t)w->docs.long_enough, "of", (json_int_t)w->docs.of);
}

/* What was read, file by file. */
static void say_data(const eq_job *j, const char *what, const eq_windows *w) {
    json_t *files = eq_inputs_json(&w->inputs, true);
    if (!files) return;
    eq_json_event(j->obs, json_pack("{s:s, s:s, s:I, s:I, s:s, s:o}", "event", "data", "for", what,
                                    "windows", (json_int_t)w->n, "tokens_a_window",
                                    (json_int_t)w->T, "digest", w->digest.hex, "files", files));
}

/* The first event: everything has been looked at, work begins. */
static void say_run(const eq_job *j) {
    json_t *settings = NULL;
    eq_err ignored = {0};
    (void)!eq_json_parse(&settings, j->recipe, (int64_t)strlen(j->recipe), "run", &ignored);
    eq_json_event(j->obs, json_pack("{s:s, s:b, s:o*, s:o, s:s?, s:o*, s:o*, s:s, s:i}", "event",
                                    "run", "resumed", j->set.o.resume, "settings", settings, "plan",
                                    eq_run_cost_json(&j->cost), "bos", j->bos, "train_documents",
                                    documents(&j->train), "val_documents", documents(&j->val),
                                    "kernels", j->be->kernels ? j->be->kernels : j->be->name,
                                    "threads", eq_par_count()));
}

static eq_status run(eq_job *j, eq_err *err) {
    const eq_quantize_opts *o = &j->set.o;
    if (o->dry_run) {
        eq_note(j->obs, "dry run: model, data, settings and output are fine; nothing was computed");
        return EQ_OK;
    }
    eq_identity who = eq_job_identity(j);
    if (j->complete) {
        eq_note(j->obs, "%s was already complete", o->out);
        return clear_up(j, &who, err);
    }
    EQ_TRY(eq_work_open(&j->work, j->work_dir, o->resume, &who, j->obs, err));
    say_run(j);
    say_data(j, "training", &j->train);
    say_data(j, "validation", &j->val);
    say_data(j, "e2e-qp", &j->e2e);
    say_data(j, "held out", &j->e2e_val);
    EQ_TRY(phases(j, err));
    /* The output stands: what is in the way of tidying up takes nothing from it. */
    (void)!eq_work_remove(&j->work, &j->res.work_left);
    return EQ_OK;
}

static eq_status whole(const eq_quantize_opts *o, bool tune, const eq_observer *obs,
                       eq_quantize_result *res, eq_err *err) {
    eq_job j = {.tune = tune, .work = {.lock = -1}};
    j.obs = eq_share_open(&j.share, obs);
    eq_status st = eq_job_look(&j, o, err);
    if (st == EQ_OK) st = run(&j, err);
    if (st == EQ_OK) j.res.bits_per_weight = eq_schemes_count(&j.set.schemes, &j.src->cfg).bits;
    if (st == EQ_OK && res) *res = j.res;
    eq_e2e_close(j.qp);
    eq_qblock_free(&j.block);
    eq_backend_say_trace(j.be, obs);
    if (j.be) j.be->close(j.be);
    eq_windows_free(&j.train), eq_windows_free(&j.val), eq_windows_free(&j.e2e);
    eq_windows_free(&j.e2e_val);
    eq_work_close(&j.work);
    json_decref(j.first), json_decref(j.second), json_decref(j.side_files);
    eq_free(j.recipe), eq_free(j.fate), eq_free(j.work_dir), eq_free(j.cache);
    eq_settings_free(&j.set);
    if (j.teacher != j.src) eq_weights_close(j.teacher);
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

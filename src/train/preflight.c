/* What is looked at before the first step. quantize, tune and --dry-run all come through here.
 * Invariant: nothing is made, changed or removed, so a refused command leaves nothing behind. */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "data/instruct_windows.h"
#include "data/tokens.h"
#include "train/quantize_job.h"
#include "train/stream.h"

/* ---- places ---------------------------------------------------------------------------------- */

/* A folder that the run keeps files in: not the model's, not in the output, which is renamed into
 * place whole. */
static eq_status check_folder(const char *dir, const char *what, const eq_job *j, eq_err *err) {
    const char *out = j->set.o.out, *model = j->set.o.model;
    if (!*dir) return eq_fail(err, EQ_EINPUT, "expected a %s, found an empty name", what);
    if (eq_same_file(dir, model))
        return eq_fail(err, EQ_EINPUT, "%s: expected a %s other than the model's folder", dir,
                       what);
    if (eq_lies_in(dir, out))
        return eq_fail(err, EQ_EINPUT, "%s: expected a %s outside of the output %s", dir, what,
                       out);
    if (eq_is_dir(dir)) return eq_dir_takes_entries(dir, dir, err);
    if (eq_exists(dir) || eq_is_dangling(dir))
        return eq_fail(err, EQ_EINPUT, "%s: expected a %s, found %s", dir, what,
                       eq_exists(dir) ? "a file" : "a link to nowhere");
    return eq_output_check_parent(dir, dir, err);
}

/* *begun: there is a run to go on with. A finished output is looked at when the run is known. */
static eq_status check_places(eq_job *j, bool *begun, bool *finished, eq_err *err) {
    const eq_quantize_opts *o = &j->set.o;
    bool empty = true;
    j->work_dir = o->work_dir ? eq_strdup(o->work_dir) : eq_path_beside(o->out, ".work");
    if (!j->work_dir) return eq_nomem(err, "a path", 256);
    if (o->resume && eq_is_dir(o->out)) EQ_TRY(eq_dir_is_empty(o->out, &empty, err));
    *finished = !empty && !eq_same_file(o->out, o->model);
    if (!*finished) EQ_TRY(eq_output_check(o->out, o->model, err));
    EQ_TRY(check_folder(j->work_dir, "work folder", j, err));
    if (o->cache_dir) EQ_TRY(check_folder(o->cache_dir, "cache folder", j, err));
    EQ_TRY(eq_work_look(j->work_dir, o->resume, begun, err));
    if (o->resume && !*begun && !*finished)
        eq_note(j->obs, "%s: nothing to go on with, the run begins", j->work_dir);
    return EQ_OK;
}

/* ---- data ------------------------------------------------------------------------------------ */

static eq_status open_tokenizer(eq_job *j, eq_tokenizer **tok, bool ap, eq_err *err) {
    const eq_quantize_opts *o = &j->set.o;
    const char *data[] = {ap ? o->data : NULL, ap ? o->val_data : NULL,
                          j->set.e2e ? o->qp.data : NULL};
    bool needed = j->set.e2e && o->instruct.data, is_text;
    for (int i = 0; i < 3; i++) {
        EQ_TRY(eq_data_is_text(&is_text, data[i], err));
        needed |= is_text;
    }
    if (needed) EQ_TRY(eq_tokenizer_open_bos(tok, o->model, o->bos, err));
    j->bos = !needed ? NULL : eq_tokenizer_bos(*tok) ? "yes" : "no";
    return EQ_OK;
}

/* What ends a packed document, and an answer. */
static eq_status find_eos(const eq_job *j, const eq_tokenizer *tok, int32_t *eos, eq_err *err) {
    int64_t id = tok && eq_tokenizer_eos(tok) >= 0 ? eq_tokenizer_eos(tok) : j->src->cfg.eos;
    bool needed = j->set.o.text.pack || (j->set.e2e && j->set.o.instruct.data);
    if (needed && (id < 0 || id >= j->src->cfg.V))
        return eq_fail(err, EQ_EINPUT,
                       "%s: packing and instruction rows need an end token: expected eos_token in "
                       "tokenizer_config.json or eos_token_id in config.json, found none",
                       j->set.o.model);
    *eos = (int32_t)id;
    return EQ_OK;
}

/* The template of chats: as named, else the folder's own, which is not needed unless a chat comes:
 * *why then says what is the matter with it. */
static eq_status open_chat(const eq_quantize_opts *o, eq_chat **chat, eq_err *why, eq_err *err) {
    const char *name = o->instruct.chat_template;
    if (name) return eq_chat_open(chat, o->model, strcmp(name, "own") ? name : NULL, err);
    eq_status st = eq_chat_open(chat, o->model, NULL, why);
    return st == EQ_EINPUT || st == EQ_OK ? EQ_OK : eq_fail(err, st, "%s", why->msg);
}

static eq_status read_rows(eq_job *j, const eq_instruct_read *r, const eq_window_opts *w,
                           eq_err *err) {
    const eq_quantize_opts *o = &j->set.o;
    eq_instruct_set train = {.data = o->instruct.data,
                             .text = o->qp.data,
                             .n = o->qp.train_size,
                             .batch = o->qp.batch_size,
                             .read = r};
    EQ_TRY(eq_windows_instruct(&j->e2e, &train, w, err));
    if (!o->instruct.val) return EQ_OK;
    eq_instruct_set val = {.data = o->instruct.val, .batch = 1, .in_order = true, .read = r};
    eq_window_opts alone = *w;
    alone.pack = false;
    return eq_windows_instruct(&j->e2e_val, &val, &alone, err);
}

/* Windows of instruction rows, with text among them where there is some. */
static eq_status load_rows(eq_job *j, const eq_window_opts *w, eq_err *err) {
    const eq_instruct_opts *o = &j->set.o.instruct;
    eq_chat *chat = NULL;
    eq_err why = {0};
    EQ_TRY(open_chat(&j->set.o, &chat, &why, err));
    eq_instruct_read r = {.tok = w->tok,
                          .chat = chat,
                          .no_chat = why.msg,
                          .turns = o->chat_template != NULL,
                          .all = o->all,
                          .source_limit = o->source_limit,
                          .target_limit = o->target_limit,
                          .length = w->pack ? j->src->cfg.T_max : j->set.e2e_T,
                          .vocab = w->vocab,
                          .bos = eq_tokenizer_bos_id(w->tok),
                          .eos = w->eos,
                          .skip_bad = w->skip_bad,
                          .memory = w->memory,
                          .obs = j->obs};
    eq_status st = read_rows(j, &r, w, err);
    eq_chat_close(chat);
    return st;
}

static eq_status load_data(eq_job *j, eq_err *err) {
    const eq_quantize_opts *o = &j->set.o;
    eq_tokenizer *tok = NULL;
    eq_tokens *last = NULL; /* both phases mostly draw from one file */
    eq_status st = EQ_OK;
    bool ap = eq_job_trains_blocks(j);
    if (ap && !o->data)
        return eq_fail(err, EQ_EINPUT, "Block-AP needs text or token ids: give --data");
    if (j->set.e2e && !o->qp.data && !o->instruct.data)
        return eq_fail(err, EQ_EINPUT, "E2E-QP needs text or token ids: give --e2e-data or --data");
    EQ_TRY(open_tokenizer(j, &tok, ap, err));
    eq_window_opts w = {.tok = tok,
                        .vocab = j->src->cfg.V,
                        .seqlen = o->ap.seqlen,
                        .seqlen_default = j->set.ap_T,
                        .seed = o->seed,
                        .memory = j->set.memory,
                        .last = &last,
                        .text_field = o->text.field,
                        .ids_dtype = o->text.ids_dtype,
                        .skip_bad = o->text.skip_bad,
                        .pack = o->text.pack,
                        .obs = j->obs};
    st = find_eos(j, tok, &w.eos, err);
    if (st == EQ_OK && ap)
        st = eq_windows_calibration(&j->train, &j->val, o->data, o->val_data, o->ap.train_size,
                                    o->ap.val_size, &w, err);
    w.seqlen = o->qp.seqlen, w.seqlen_default = j->set.e2e_T;
    if (st == EQ_OK && j->set.e2e && o->instruct.data)
        st = load_rows(j, &w, err);
    else if (st == EQ_OK && j->set.e2e)
        st = eq_windows_chunks(&j->e2e, o->qp.data, o->qp.train_size, &w, err);
    eq_tokens_close(last);
    eq_tokenizer_close(tok);
    eq_mem_give_back(); /* a tokenizer is a hundred thousand of them, and the plan counts none */
    return st;
}

/* ---- memory and disk ------------------------------------------------------------------------- */

/* Of both phases, as far as they are not behind the run. */
static eq_status check_memory(eq_job *j, int64_t blocks, eq_err *err) {
    eq_run_shape r = eq_run_shape_of(&j->set, eq_job_trains_blocks(j));
    r.train = j->train.n, r.val = j->val.n, r.ap_T = j->train.T;
    r.e2e_windows = j->e2e.n, r.e2e_T = eq_job_e2e_T(j);
    char *dir = eq_job_existing(j->work_dir);
    j->cost = eq_run_cost_of(&j->set, &j->src->cfg, &r, dir);
    eq_free(dir);
    eq_share_weigh(&j->share, &j->cost, &j->src->cfg);
    r.ap = r.ap && blocks < j->src->cfg.L;
    return eq_run_cost_check(&j->cost, &j->set, &r, err);
}

/* Of all tensors outside of the quantized linears, as they will be written. */
static int64_t bytes_outside(const eq_weights *w) {
    int64_t bytes = w->embed->bytes + w->norm->bytes;
    if (!w->cfg.tied) bytes += w->head->bytes;
    for (int64_t i = 0; i < w->cfg.L; i++) {
        const eq_block_tensors *b = &w->blocks[i];
        for (int l = 0; l < EQ_LINS; l++) bytes += b->bias[l] ? b->bias[l]->bytes : 0;
        for (int k = 0; k < EQ_NORM_COUNT; k++) bytes += b->norm[k] ? b->norm[k]->bytes : 0;
    }
    return bytes;
}

static eq_status check_disk(const eq_job *j, int64_t blocks, bool second_begun, eq_err *err) {
    const eq_config *c = &j->src->cfg;
    eq_job_disk d = eq_job_disk_of(&j->set, c, bytes_outside(j->src), eq_job_e2e_T(j), j->e2e.n);
    d.blocks = d.blocks / c->L * (c->L - blocks);
    /* Streams of an earlier start take their room already. */
    if (j->cost.streams_on_disk && !j->set.o.cache_dir && !eq_exists(j->work_dir))
        d.first += j->cost.streams;
    if (blocks == c->L) d.first = 0;
    if (second_begun) d.second = 0;
    return eq_job_disk_check(&d, j->set.o.out, j->work_dir, err);
}

/* ---- the model ------------------------------------------------------------------------------- */

/* All that training will read; a quantized folder's integers and states are looked at as they will
 * be read. */
static eq_status look_through(eq_job *j, char hex[33], eq_err *err) {
    EQ_TRY(eq_checkpoint_side_sums(&j->side_files, j->set.o.model, j->obs, err));
    EQ_TRY(eq_weights_read_through(j->src, j->obs, hex, err));
    if (j->tune && j->teacher)
        EQ_TRY(eq_weights_read_through(j->teacher, j->obs, j->teacher_sum, err));
    for (int64_t i = 0; j->tune && i < j->src->cfg.L; i++) {
        if (eq_stopped(j->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        EQ_TRY(eq_qblock_read(&j->block, j->src, i, err));
    }
    return EQ_OK;
}

static eq_status identify(eq_job *j, const char *model, eq_err *err) {
    j->first =
        eq_settings_first(&j->set, &j->src->cfg, model, j->side_files, &j->train, &j->val, j->tune);
    if (j->set.e2e) j->second = eq_settings_second(&j->set, j->teacher_sum, &j->e2e, &j->e2e_val);
    json_t *recipe = eq_settings_recipe(j->first, j->second);
    j->recipe = eq_json_text(recipe, 2);
    json_decref(recipe);
    bool whole = j->first && j->recipe && (!j->set.e2e || j->second);
    return whole ? EQ_OK : eq_nomem(err, "the recipe", 4096);
}

/* ---- an output that is there already --------------------------------------------------------- */

static int64_t count_of(const eq_st *st, const char *key) {
    const char *text = eq_st_meta(st, key);
    return text ? strtoll(text, NULL, 10) : 0;
}

/* The recipe that a folder was written with, without the version of the program. */
static eq_status recipe_of(const char *path, json_t **recipe, eq_quantize_result *res,
                           eq_err *err) {
    eq_st *st = NULL;
    EQ_TRY(eq_st_open(&st, path, err));
    const char *text = eq_st_meta(st, "recipe");
    eq_status s = text ? eq_json_parse(recipe, text, (int64_t)strlen(text), path, err)
                       : eq_fail(err, EQ_EINPUT, "%s: expected a recipe", path);
    res->rollbacks = count_of(st, "rollbacks");
    res->blocks_untrained = count_of(st, "blocks_untrained");
    eq_st_close(st);
    if (*recipe) json_object_del(*recipe, "eqat");
    return s;
}

static eq_status tensor_bytes(const char *out, int64_t *bytes, eq_err *err) {
    eq_st *st = NULL;
    EQ_TRY(eq_st_open(&st, out, err));
    for (int64_t i = 0; i < eq_st_count(st); i++) *bytes += eq_st_at(st, i)->bytes;
    eq_st_close(st);
    return EQ_OK;
}

/* Of this very run, and every file as it was written? */
static eq_status check_finished(eq_job *j, eq_err *err) {
    const char *out = j->set.o.out;
    json_t *was = NULL, *is = eq_settings_recipe(j->first, j->second);
    char *path = eq_path(out, EQ_STATE_NAME);
    eq_status st = path && is ? EQ_OK : eq_nomem(err, "a path", 256);
    if (st == EQ_OK && !eq_exists(path))
        st = eq_fail(err, EQ_EINPUT, "%s: expected an absent or empty folder, found files in it",
                     out);
    if (st == EQ_OK) st = recipe_of(path, &was, &j->res, err);
    if (st == EQ_OK) json_object_del(is, "eqat");
    if (st == EQ_OK) st = eq_work_differ(was, is, path, err);
    if (st == EQ_OK) st = eq_checkpoint_compare_sums(out, err);
    if (st == EQ_OK) st = tensor_bytes(out, &j->res.bytes, err);
    json_decref(was), json_decref(is);
    eq_free(path);
    j->complete = st == EQ_OK;
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void say_packing(const eq_job *j) {
    eq_err why = {0};
    if (eq_checkpoint_layout(&j->src->cfg, &j->set.schemes, &why) == EQ_LAYOUT_ROWS)
        eq_note(j->obs,
                "%s: the folder is written in eqat's own packing (quant_method \"eqat\"), which "
                "eqat alone reads",
                why.msg);
}

/* Are embeddings, final norm or head, which both models share, the same? */
static eq_status same_tensor(const eq_tensor *a, const eq_tensor *b, const eq_job *j, eq_err *err) {
    if (!a && !b) return EQ_OK;
    if (a && b && a->dt == b->dt && a->bytes == b->bytes &&
        !memcmp(a->data, b->data, (size_t)a->bytes))
        return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: expected the model that %s was quantized from, found another %s",
                   j->set.o.qp.teacher, j->set.o.model, a ? a->name : b->name);
}

static eq_status check_teacher(const eq_job *j, eq_err *err) {
    const eq_weights *t = j->teacher, *s = j->src;
    const struct {
        const char *name;
        int64_t is, want;
    } sizes[] = {
        {"blocks", t->cfg.L, s->cfg.L},        {"hidden size", t->cfg.D, s->cfg.D},
        {"inner size", t->cfg.F, s->cfg.F},    {"heads", t->cfg.NH, s->cfg.NH},
        {"key heads", t->cfg.NKV, s->cfg.NKV}, {"head size", t->cfg.HD, s->cfg.HD},
        {"vocabulary", t->cfg.V, s->cfg.V},
    };
    if (eq_config_quantized(&t->cfg))
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected a full-precision model as teacher, found %d-bit weights",
                       j->set.o.qp.teacher, t->cfg.schemes.all.bits);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].is != sizes[i].want)
            return eq_fail(err, EQ_EINPUT, "%s: %s: expected %lld as in %s, found %lld",
                           j->set.o.qp.teacher, sizes[i].name, (long long)sizes[i].want,
                           j->set.o.model, (long long)sizes[i].is);
    EQ_TRY(same_tensor(t->embed, s->embed, j, err));
    EQ_TRY(same_tensor(t->norm, s->norm, j, err));
    EQ_TRY(same_tensor(t->norm_bias, s->norm_bias, j, err));
    return same_tensor(t->head, s->head, j, err);
}

static eq_status open_teacher(eq_job *j, eq_err *err) {
    if (!j->set.e2e || !eq_has_teacher(&j->set.o)) return EQ_OK;
    if (!j->tune) {
        j->teacher = j->src;
        return EQ_OK;
    }
    if (!j->set.o.qp.teacher)
        return eq_fail(err, EQ_EINPUT, "%s: %s the full-precision model: give --teacher",
                       j->set.o.model,
                       j->set.o.qp.train & EQ_TRAIN_W ? "training weights needs those of"
                                                      : "the loss kl needs the predictions of");
    EQ_TRY(eq_weights_open(&j->teacher, j->set.o.qp.teacher, err));
    return check_teacher(j, err);
}

static eq_status open_all(eq_job *j, const eq_quantize_opts *o, bool *begun, bool *finished,
                          eq_err *err) {
    if (!o->model || !o->out)
        return eq_fail(err, EQ_EINPUT, "expected a model folder and an output folder");
    EQ_TRY(eq_weights_open(&j->src, o->model, err));
    EQ_TRY(eq_settings_resolve(&j->set, o, &j->src->cfg, j->tune, j->obs, err));
    say_packing(j);
    EQ_TRY(open_teacher(j, err));
    EQ_TRY(check_places(j, begun, finished, err));
    eq_par_threads(o->compute.threads); /* tokenizing keeps to them, too */
    EQ_TRY(eq_backend_open_for(&j->be, &o->compute, j->obs, err));
    EQ_TRY(eq_stop_wrap(&j->be, j->obs, err));
    EQ_TRY(load_data(j, err));
    return eq_qblock_alloc(&j->block, &j->src->cfg, &j->set.schemes, err);
}

eq_status eq_job_look(eq_job *j, const eq_quantize_opts *o, eq_err *err) {
    bool begun = false, finished = false;
    char model[33];
    EQ_TRY(open_all(j, o, &begun, &finished, err));
    int64_t blocks = begun ? eq_work_blocks(j->work_dir, j->src->cfg.L) : 0;
    if (!finished) EQ_TRY(check_memory(j, blocks, err));
    EQ_TRY(look_through(j, model, err));
    EQ_TRY(eq_job_scale_rates(j, err));
    EQ_TRY(identify(j, model, err));
    if (finished) return check_finished(j, err);
    eq_identity who = eq_job_identity(j);
    if (begun) EQ_TRY(eq_work_compare(j->work_dir, &who, err));
    return check_disk(j, blocks, begun && eq_work_second_begun(j->work_dir), err);
}

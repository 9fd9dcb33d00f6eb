/* See writing.h. Invariant: `fed` are the very tokens whose keys and values the session holds. */
#include "infer/writing.h"

#include <string.h>

#include "backend/backend.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "text/ids.h"

/* Adds the eos ids that a file of the folder names, one or a list; a missing file names none. */
static eq_status add_ends(eq_ids *ends, const char *dir, const char *name, eq_err *err) {
    char *path = eq_path(dir, name);
    json_t *root = NULL;
    if (!path) return eq_nomem(err, "a path", 256);
    eq_status st = eq_exists(path) ? eq_json_load(&root, path, err) : EQ_OK;
    const json_t *v = eq_json_get(root, "eos_token_id");
    int64_t n = json_is_array(v) ? (int64_t)json_array_size(v) : v ? 1 : 0;
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, (size_t)i) : v;
        if (!json_is_integer(id) || json_integer_value(id) < -1 ||
            json_integer_value(id) > INT32_MAX)
            st = eq_fail(err, EQ_EINPUT, "%s: \"eos_token_id\": expected an id or a list of ids",
                         path);
        else
            st = eq_ids_put(ends, (int32_t)json_integer_value(id), err);
    }
    json_decref(root);
    eq_free(path);
    return st;
}

eq_status eq_writing_open(eq_writing *w, const char *model, const eq_compute_opts *compute,
                          const eq_sampling *sampling, eq_err *err) {
    *w = (eq_writing){0};
    EQ_TRY(eq_weights_open(&w->src, model, err));
    EQ_TRY(eq_tokenizer_open(&w->tok, model, err));
    EQ_TRY(eq_sampler_new(&w->sampler, sampling, w->src->cfg.V, err));
    EQ_TRY(add_ends(&w->ends, model, "config.json", err));
    EQ_TRY(add_ends(&w->ends, model, "generation_config.json", err));
    eq_par_threads(compute->threads);
    return eq_backend_open_for(&w->be, compute, NULL, err);
}

eq_status eq_writing_start(eq_writing *w, const eq_compute_opts *compute, int64_t context,
                           eq_err *err) {
    w->logits = eq_calloc(w->src->cfg.V, sizeof *w->logits);
    if (!w->logits) return eq_nomem(err, "logits", 4 * w->src->cfg.V);
    return eq_session_open(&w->session, w->be, w->src, compute, context, err);
}

void eq_writing_close(eq_writing *w) {
    eq_session_close(w->session);
    if (w->be) w->be->close(w->be);
    eq_sampler_free(w->sampler);
    eq_tokenizer_close(w->tok);
    eq_weights_close(w->src);
    eq_ids_free(&w->ends), eq_ids_free(&w->fed);
    eq_free(w->logits);
    *w = (eq_writing){0};
}

static bool ends(const eq_writing *w, int32_t id) {
    for (int64_t i = 0; i < w->ends.n; i++)
        if (w->ends.p[i] == id) return true;
    return false;
}

static eq_status feed(eq_writing *w, const int32_t *ids, int64_t n, eq_err *err) {
    EQ_TRY(eq_ids_room(&w->fed, n, err));
    EQ_TRY(eq_session_feed(w->session, ids, n, NULL, NULL, err));
    memcpy(w->fed.p + w->fed.n, ids, (size_t)n * sizeof *ids);
    w->fed.n += n;
    eq_sampler_saw(w->sampler, ids, n);
    return EQ_OK;
}

/* The session comes to hold the prompt; at least its last token is fed, for its logits. */
static eq_status take_prompt(eq_writing *w, const eq_ids *prompt, int64_t *fed, eq_err *err) {
    int64_t shared = 0;
    while (shared < w->fed.n && shared < prompt->n - 1 && w->fed.p[shared] == prompt->p[shared])
        shared++;
    eq_session_truncate(w->session, shared);
    w->fed.n = shared;
    eq_sampler_forget(w->sampler);
    eq_sampler_saw(w->sampler, prompt->p, shared);
    *fed = prompt->n - shared;
    return feed(w, prompt->p + shared, *fed, err);
}

static eq_status write_tokens(eq_writing *w, int64_t max, eq_text_out *out, const eq_observer *obs,
                              eq_generate_result *res, eq_err *err) {
    for (;;) {
        int32_t id;
        if (res->tokens == max) return res->end = EQ_END_LENGTH, EQ_OK;
        if (eq_stopped(obs)) return res->end = EQ_END_ASKED, EQ_OK;
        EQ_TRY(eq_session_logits(w->session, w->logits, err));
        EQ_TRY(eq_sampler_next(w->sampler, w->logits, &id, err));
        if (ends(w, id)) return res->end = EQ_END_TOKEN, EQ_OK;
        res->tokens++;
        EQ_TRY(eq_text_out_put(out, id, err));
        if (out->stopped) return res->end = EQ_END_STOP, EQ_OK;
        if (res->tokens == max) continue;
        if (eq_session_at(w->session) + 1 >= eq_session_context(w->session))
            return res->end = EQ_END_CONTEXT, EQ_OK;
        EQ_TRY(feed(w, &id, 1, err));
    }
}

eq_status eq_writing_run(eq_writing *w, const eq_ids *prompt, int64_t max, eq_text_out *out,
                         const eq_observer *obs, eq_generate_result *res, eq_err *err) {
    int64_t room = eq_session_context(w->session);
    *res = (eq_generate_result){0};
    if (prompt->n < 1 || prompt->n >= room)
        return eq_fail(err, EQ_EINPUT, "prompt: expected 1 to %lld tokens, found %lld",
                       (long long)room - 1, (long long)prompt->n);
    double start = eq_now();
    EQ_TRY(take_prompt(w, prompt, &res->prompt_tokens, err));
    double ready = eq_now();
    res->prompt_seconds = ready - start;
    EQ_TRY(write_tokens(w, max, out, obs, res, err));
    res->seconds = eq_now() - ready;
    return eq_text_out_end(out, err);
}

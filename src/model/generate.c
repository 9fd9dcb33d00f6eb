/* Text from a model, token by token, the whole context recomputed for each: right for a look at a
 * model, not for serving. */
#include <math.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "model/lm_folder.h"
#include "text/ids.h"

void eq_generate_opts_init(eq_generate_opts *o) {
    *o = (eq_generate_opts){.max_tokens = 64,
                            .compute = {.backend = "cpu", .precision = EQ_PREC_BF16}};
}

/* The most likely token, the first of equals; or one drawn from softmax(logits / temperature). */
static int32_t pick(const float *logits, int64_t V, double temperature, double u) {
    int64_t best = 0;
    for (int64_t i = 1; i < V; i++)
        if (logits[i] > logits[best]) best = i;
    if (temperature <= 0) return (int32_t)best;
    double sum = 0, at = 0;
    for (int64_t i = 0; i < V; i++) sum += exp((logits[i] - logits[best]) / temperature);
    for (int64_t i = 0; i < V; i++)
        if ((at += exp((logits[i] - logits[best]) / temperature) / sum) > u) return (int32_t)i;
    return (int32_t)best;
}

/* Adds the eos ids that a file of the folder names, one or a list; a missing file names none. */
static eq_status add_stops(eq_ids *stops, const char *dir, const char *name, eq_err *err) {
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
            st = eq_ids_put(stops, (int32_t)json_integer_value(id), err);
    }
    json_decref(root);
    eq_free(path);
    return st;
}

static bool is_stop(const eq_ids *stops, int32_t id) {
    for (int64_t i = 0; i < stops->n; i++)
        if (stops->p[i] == id) return true;
    return false;
}

static eq_status continue_ids(eq_lm *lm, eq_ids *ids, const eq_ids *stops,
                              const eq_generate_opts *o, float *logits, eq_err *err) {
    const eq_config *c = lm->cfg;
    for (int k = 0; k < o->max_tokens && ids->n < lm->opts.T; k++) {
        EQ_TRY(eq_lm_forward(lm, ids->p, 1, ids->n, err));
        EQ_TRY(eq_lm_last_logits(lm, ids->n, logits, err));
        int32_t next = pick(logits, c->V, o->temperature, eq_rand_unit(o->seed, (uint64_t)k));
        if (is_stop(stops, next)) break;
        ids->p[ids->n++] = next;
    }
    return EQ_OK;
}

static eq_status run(const eq_generate_opts *o, const eq_weights *src, eq_tokenizer *tok,
                     eq_backend *be, char **text, eq_err *err) {
    const char *prompt = o->prompt ? o->prompt : "";
    eq_ids ids = {0}, stops = {0};
    eq_lm *lm = NULL;
    float *logits = eq_calloc(src->cfg.V, sizeof *logits);
    eq_status st = logits
                       ? eq_encode(tok, &ids, prompt, (int64_t)__builtin_strlen(prompt), true, err)
                       : eq_nomem(err, "logits", 4 * src->cfg.V);
    int64_t T = ids.n + o->max_tokens;
    if (T > src->cfg.T_max) T = src->cfg.T_max;
    if (st == EQ_OK && (ids.n == 0 || ids.n >= src->cfg.T_max))
        st = eq_fail(err, EQ_EINPUT, "prompt: expected 1 to %lld tokens, found %lld",
                     (long long)src->cfg.T_max - 1, (long long)ids.n);
    int32_t *room = st == EQ_OK ? eq_realloc(ids.p, T, sizeof *room) : NULL;
    if (room)
        ids.p = room, ids.cap = T;
    else if (st == EQ_OK)
        st = eq_nomem(err, "token ids", 4 * T);
    if (st == EQ_OK) st = add_stops(&stops, o->model, "config.json", err);
    if (st == EQ_OK) st = add_stops(&stops, o->model, "generation_config.json", err);
    if (st == EQ_OK) st = eq_lm_open_folder(&lm, be, src, &o->compute, true, 1, T, err);
    if (st == EQ_OK) st = continue_ids(lm, &ids, &stops, o, logits, err);
    if (st == EQ_OK && !(*text = eq_decode(tok, ids.p, ids.n, true)))
        st = eq_nomem(err, "the text", ids.n);
    eq_lm_close(lm);
    eq_ids_free(&ids), eq_ids_free(&stops);
    eq_free(logits);
    return st;
}

eq_status eq_generate(const eq_generate_opts *o, char **text, eq_err *err) {
    eq_weights *src;
    eq_tokenizer *tok = NULL;
    eq_backend *be = NULL;
    *text = NULL;
    if (!o->model) return eq_fail(err, EQ_EINPUT, "generate: expected a model folder");
    EQ_TRY(eq_weights_open(&src, o->model, err));
    eq_status st = eq_tokenizer_open(&tok, o->model, err);
    eq_par_threads(o->compute.threads);
    if (st == EQ_OK) st = eq_backend_open_for(&be, &o->compute, NULL, err);
    if (st == EQ_OK) st = run(o, src, tok, be, text, err);
    if (be) be->close(be);
    eq_tokenizer_close(tok);
    eq_weights_close(src);
    return st;
}

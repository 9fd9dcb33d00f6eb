/* A prompt and what the model says next. */
#include <string.h>

#include "base/mem.h"
#include "infer/writing.h"

void eq_sampling_init(eq_sampling *s) { *s = (eq_sampling){.top_p = 1, .repetition_penalty = 1}; }

void eq_generate_opts_init(eq_generate_opts *o) {
    *o = (eq_generate_opts){.max_tokens = 64,
                            .compute = {.backend = "cpu", .precision = EQ_PREC_BF16}};
    eq_sampling_init(&o->sampling);
}

/* Room for the prompt and what may follow, as far as the model goes; a prompt that does not fit is
 * refused before anything is uploaded. */
static eq_status context_of(const eq_generate_opts *o, const eq_config *c, int64_t prompt,
                            int64_t *context, eq_err *err) {
    int64_t most = o->context ? o->context : c->T_max;
    if (most > c->T_max)
        return eq_fail(err, EQ_EINPUT, "%s: context: expected 1 to %lld tokens, found %lld",
                       o->model, (long long)c->T_max, (long long)most);
    if (prompt < 1 || prompt >= most)
        return eq_fail(err, EQ_EINPUT, "prompt: expected 1 to %lld tokens, found %lld",
                       (long long)most - 1, (long long)prompt);
    *context = prompt + o->max_tokens < most ? prompt + o->max_tokens : most;
    return EQ_OK;
}

static eq_status run(const eq_generate_opts *o, const eq_observer *obs, eq_writing *w, eq_ids *ids,
                     eq_text_out *out, eq_generate_result *res, eq_err *err) {
    const char *prompt = o->prompt ? o->prompt : "";
    int64_t context = 0;
    EQ_TRY(eq_writing_open(w, o->model, &o->compute, &o->sampling, err));
    out->tok = w->tok;
    EQ_TRY(eq_encode(w->tok, ids, prompt, (int64_t)strlen(prompt), true, err));
    EQ_TRY(context_of(o, &w->src->cfg, ids->n, &context, err));
    EQ_TRY(eq_writing_start(w, &o->compute, context, err));
    EQ_TRY(eq_text_out_begin(out, ids->p, ids->n, true, err));
    return eq_writing_run(w, ids, o->max_tokens, out, obs, res, err);
}

eq_status eq_generate(const eq_generate_opts *o, const eq_observer *obs, eq_generate_result *res,
                      eq_err *err) {
    eq_writing w = {0};
    eq_ids ids = {0};
    eq_text_out out = {
        .stops = o->stops, .stop_count = o->stop_count, .text = o->text, .ctx = o->text_ctx};
    *res = (eq_generate_result){0};
    if (!o->model) return eq_fail(err, EQ_EINPUT, "generate: expected a model folder");
    eq_status st = run(o, obs, &w, &ids, &out, res, err);
    eq_writing_close(&w);
    eq_ids_free(&ids);
    if (st == EQ_OK) {
        eq_str_put(&out.all, "", 0);
        res->text = out.all.p;
        out.all = (eq_str){0};
    }
    eq_text_out_free(&out);
    return st;
}

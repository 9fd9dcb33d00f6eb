/* A conversation. Each turn is rendered whole by the model's chat template and continued; what the
 * session holds already of that text (nearly all of it) is not computed again.
 * Invariant: the messages alternate, and an answer is kept as it was handed on. */
#include <string.h>

#include "base/mem.h"
#include "infer/writing.h"
#include "text/chat.h"

typedef struct {
    char *role, *content;
} said;

struct eq_talk {
    eq_writing w;
    eq_chat *chat;
    eq_talk_opts o;
    said *said;
    int64_t n, cap;
};

void eq_talk_opts_init(eq_talk_opts *o) {
    *o = (eq_talk_opts){.max_tokens = 1024,
                        .compute = {.backend = "cpu", .precision = EQ_PREC_BF16}};
    eq_sampling_init(&o->sampling);
}

/* ---- messages -------------------------------------------------------------------------------- */

static void forget(eq_talk *t, int64_t from) {
    while (t->n > from) {
        t->n--;
        eq_free(t->said[t->n].role), eq_free(t->said[t->n].content);
    }
}

static eq_status remember(eq_talk *t, const char *role, const char *content, eq_err *err) {
    if (t->n == t->cap) {
        int64_t cap = t->cap ? 2 * t->cap : 16;
        said *more = eq_realloc(t->said, cap, sizeof *more);
        if (!more) return eq_nomem(err, "a conversation", cap * (int64_t)sizeof *more);
        t->said = more, t->cap = cap;
    }
    said s = {eq_strdup(role), eq_strdup(content)};
    if (s.role && s.content) {
        t->said[t->n++] = s;
        return EQ_OK;
    }
    eq_free(s.role), eq_free(s.content);
    return eq_nomem(err, "a message", (int64_t)strlen(content));
}

/* ---- open ------------------------------------------------------------------------------------ */

enum { CONTEXT = 4096 };

static eq_status open_in(eq_talk *t, const eq_talk_opts *o, eq_err *err) {
    EQ_TRY(eq_writing_open(&t->w, o->model, &o->compute, &o->sampling, err));
    EQ_TRY(eq_chat_open(&t->chat, o->model, o->template_name, err));
    int64_t most = t->w.src->cfg.T_max, context = o->context ? o->context : CONTEXT;
    if (!o->context && context > most) context = most;
    EQ_TRY(eq_writing_start(&t->w, &o->compute, context, err));
    return o->system ? remember(t, "system", o->system, err) : EQ_OK;
}

eq_status eq_talk_open(eq_talk **out, const eq_talk_opts *o, eq_err *err) {
    *out = NULL;
    if (!o->model) return eq_fail(err, EQ_EINPUT, "chat: expected a model folder");
    eq_talk *t = eq_calloc(1, sizeof *t);
    if (!t) return eq_nomem(err, "a conversation", sizeof *t);
    t->o = *o;
    eq_status st = open_in(t, o, err);
    if (st == EQ_OK)
        *out = t;
    else
        eq_talk_close(t);
    return st;
}

void eq_talk_close(eq_talk *t) {
    if (!t) return;
    forget(t, 0);
    eq_free(t->said);
    eq_chat_close(t->chat);
    eq_writing_close(&t->w);
    eq_free(t);
}

const char *eq_talk_template(const eq_talk *t) { return eq_chat_name(t->chat); }

void eq_talk_forget(eq_talk *t) { forget(t, t->o.system ? 1 : 0); }

/* ---- a turn ---------------------------------------------------------------------------------- */

static eq_status render(const eq_talk *t, eq_str *text, eq_err *err) {
    eq_message *m = eq_calloc(t->n, sizeof *m);
    if (!m) return eq_nomem(err, "a conversation", t->n * (int64_t)sizeof *m);
    for (int64_t i = 0; i < t->n; i++) m[i] = (eq_message){t->said[i].role, t->said[i].content};
    eq_status st = eq_chat_render(t->chat, text, m, t->n, true, err);
    eq_free(m);
    return st;
}

static eq_status answer(eq_talk *t, const eq_observer *obs, eq_text_out *out,
                        eq_generate_result *res, eq_err *err) {
    eq_str text = {0};
    eq_ids ids = {0};
    eq_status st = render(t, &text, err);
    if (st == EQ_OK) st = eq_chat_ids(t->w.tok, &ids, &text, err);
    int64_t room = eq_session_context(t->w.session);
    if (st == EQ_OK && ids.n >= room)
        st = eq_fail(err, EQ_EINPUT,
                     "conversation: expected at most %lld tokens, found %lld: begin a new one or "
                     "give it a longer context",
                     (long long)room - 1, (long long)ids.n);
    if (st == EQ_OK) st = eq_text_out_begin(out, ids.p, ids.n, false, err);
    if (st == EQ_OK) st = eq_writing_run(&t->w, &ids, t->o.max_tokens, out, obs, res, err);
    eq_str_free(&text);
    eq_ids_free(&ids);
    return st;
}

eq_status eq_talk_say(eq_talk *t, const char *text, const eq_observer *obs, eq_generate_result *res,
                      eq_err *err) {
    const char *end = eq_chat_end(t->chat);
    eq_text_out out = {.tok = t->w.tok,
                       .stops = &end,
                       .stop_count = *end != 0,
                       .text = t->o.text,
                       .ctx = t->o.text_ctx};
    int64_t before = t->n;
    *res = (eq_generate_result){0};
    EQ_TRY(remember(t, "user", text, err));
    eq_status st = answer(t, obs, &out, res, err);
    if (st == EQ_OK) {
        eq_str_put(&out.all, "", 0);
        st = out.all.oom ? eq_nomem(err, "the answer", out.all.n)
                         : remember(t, "assistant", out.all.p, err);
    }
    if (st == EQ_OK)
        res->text = out.all.p, out.all = (eq_str){0};
    else
        forget(t, before); /* as if it had not been said */
    eq_text_out_free(&out);
    return st;
}

/* See eval_windows.h. */
#include "eval/eval_windows.h"

#include "base/observe.h"
#include "data/sources.h"

eq_status eq_eval_windows(eq_windows *w, const eq_eval_text *t, const eq_config *c,
                          const eq_observer *obs, bool *text, bool *bos, eq_err *err) {
    const eq_eval_set set[] = {[EQ_PPL_WINDOWS] = EQ_EVAL_WINDOWS,
                               [EQ_PPL_WIKITEXT2] = EQ_EVAL_WIKITEXT2,
                               [EQ_PPL_C4] = EQ_EVAL_C4};
    eq_tokenizer *tok = NULL;
    bool is_text;
    EQ_TRY(eq_data_is_text(&is_text, t->data, err));
    if (is_text) EQ_TRY(eq_tokenizer_open_bos(&tok, t->model, t->bos, err));
    *text = tok, *bos = tok && eq_tokenizer_bos(tok);
    eq_window_opts wo = {.tok = tok,
                         .vocab = c->V,
                         .seqlen = t->seqlen,
                         .seqlen_default = c->T_max < 2048 ? c->T_max : 2048,
                         .memory = t->memory,
                         .text_field = t->text.field,
                         .ids_dtype = t->text.ids_dtype,
                         .skip_bad = t->text.skip_bad,
                         .obs = obs};
    eq_status st = eq_windows_eval(w, set[t->protocol], t->data, t->limit, &wo, err);
    eq_tokenizer_close(tok);
    if (st == EQ_OK && w->T > c->T_max)
        eq_note(obs, "windows of %lld tokens are longer than the model's context of %lld",
                (long long)w->T, (long long)c->T_max);
    return st;
}

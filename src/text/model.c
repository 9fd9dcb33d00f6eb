/* See model.h. */
#include "text/model.h"

#include <string.h>

#include "text/spec.h"

eq_status eq_model_open(eq_model *m, const json_t *spec, bool bytes, bool parsed, const char *where,
                        eq_err *err) {
    const char *type;
    if (!json_is_object(spec))
        return eq_fail(err, EQ_EINPUT, "%s: \"model\": expected an object, found %s", where,
                       eq_json_type(spec));
    EQ_TRY(eq_json_str(spec, "type", "BPE", &type, where, err));
    if (!strcmp(type, "BPE")) return eq_bpe_new(&m->bpe, spec, bytes, where, err);
    if (!strcmp(type, "Unigram"))
        return eq_unigram_new(&m->unigram, spec, bytes, parsed, where, err);
    return eq_spec_unsupported("model", type, where, err);
}

void eq_model_close(eq_model *m) {
    eq_bpe_free(m->bpe);
    eq_unigram_free(m->unigram);
    *m = (eq_model){0};
}

const eq_vocab *eq_model_vocab(const eq_model *m) {
    return m->bpe ? eq_bpe_vocab(m->bpe) : eq_unigram_vocab(m->unigram);
}

bool eq_model_work_new(eq_model_work *w, const eq_model *m, int64_t text_n) {
    *w = (eq_model_work){0};
    if (m->bpe) return (w->bpe = eq_bpe_work_new(text_n)) != NULL;
    return (w->unigram = eq_unigram_work_new(text_n)) != NULL;
}

void eq_model_work_free(eq_model_work *w) {
    eq_bpe_work_free(w->bpe);
    eq_unigram_work_free(w->unigram);
    *w = (eq_model_work){0};
}

bool eq_model_local(const eq_model *m) { return m->bpe && eq_bpe_local(m->bpe); }

int64_t eq_model_cut(const eq_model *m, const char *word, int64_t n, uint32_t space) {
    return m->bpe ? eq_bpe_cut(m->bpe, word, n, space) : 0;
}

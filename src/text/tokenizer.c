/* From a file to a tokenizer, and from ids to text. A folder without tokenizer.json but with
 * vocab.json and merges.txt is GPT-2's form. Invariant: an open tokenizer never changes; every call
 * has buffers of its own. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/ids.h"
#include "text/spec.h"
#include "text/tokenizer_folder.h"
#include "text/tokenizer_parts.h"
#include "text/tokenizer_text.h"
#include "text/utf8.h"

/* ---- opening --------------------------------------------------------------------------------- */

static eq_status load(eq_tokenizer *t, const json_t *spec, bool made, eq_err *err) {
    const char *where = t->path;
    if (!json_is_object(spec))
        return eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", where,
                       eq_json_type(spec));
    /* truncation and padding are settings of a call, not of the vocabulary: readers reset them. */
    EQ_TRY(eq_spec_known(spec,
                         "version truncation padding added_tokens normalizer pre_tokenizer "
                         "post_processor decoder model",
                         where, err));
    EQ_TRY(eq_normalizer_new(&t->normalizer, json_object_get(spec, "normalizer"), where, err));
    EQ_TRY(
        eq_pretokenizer_new(&t->pretokenizer, json_object_get(spec, "pre_tokenizer"), where, err));
    bool bytes = eq_pretokenizer_bytes(t->pretokenizer);
    EQ_TRY(eq_model_open(&t->model, json_object_get(spec, "model"), bytes, !made, where, err));
    EQ_TRY(eq_added_new(&t->added, json_object_get(spec, "added_tokens"), eq_model_vocab(&t->model),
                        t->normalizer, where, err));
    EQ_TRY(eq_template_load(&t->template, json_object_get(spec, "post_processor"), where, err));
    return eq_decoder_new(&t->decoder, json_object_get(spec, "decoder"), where, err);
}

/* The ids in front of a text and behind it, as transformers 4 (the paper's tools) has them: its
 * Llama classes follow add_bos_token (yes unless it says no) and add_eos_token of
 * tokenizer_config.json whatever tokenizer.json's template says, the other classes follow the
 * template alone. */
static eq_status follow_flags(eq_tokenizer *t, const json_t *config, eq_err *err) {
    static const char *const classes[] = {"LlamaTokenizer", "LlamaTokenizerFast",
                                          "CodeLlamaTokenizer", "CodeLlamaTokenizerFast"};
    const char *class = json_string_value(eq_json_get(config, "tokenizer_class"));
    bool llama = false, bos, eos;
    for (int i = 0; i < 4; i++) llama |= class && !strcmp(class, classes[i]);
    if (!llama) return EQ_OK;
    EQ_TRY(eq_json_bool(config, "add_bos_token", true, &bos, t->path, err));
    EQ_TRY(eq_json_bool(config, "add_eos_token", false, &eos, t->path, err));
    const char *bos_text = eq_tokenizer_named(config, "bos_token");
    const char *eos_text = eq_tokenizer_named(config, "eos_token");
    int32_t bos_id = eq_token_id(t, bos_text ? bos_text : "<s>");
    int32_t eos_id = eq_token_id(t, eos_text ? eos_text : "</s>");
    if ((bos && bos_id < 0 && eq_json_get(config, "add_bos_token")) || (eos && eos_id < 0))
        return eq_fail(err, EQ_EINPUT,
                       "%s: tokenizer_config.json: add_%s_token: expected a %s_token of the "
                       "vocabulary, found none",
                       t->path, bos && bos_id < 0 ? "bos" : "eos",
                       bos && bos_id < 0 ? "bos" : "eos");
    t->template.before.n = t->template.after.n = 0;
    if (bos && bos_id >= 0) EQ_TRY(eq_ids_put(&t->template.before, bos_id, err));
    return eos ? eq_ids_put(&t->template.after, eos_id, err) : EQ_OK;
}

/* The id that begins or ends a text: tokenizer_config.json's bos_token or eos_token, else
 * config.json's bos_token_id or (the first) eos_token_id. -1: none. */
static eq_status find_special(int32_t *id, const eq_tokenizer *t, const json_t *config,
                              const char *dir, bool bos, eq_err *err) {
    const char *text = eq_tokenizer_named(config, bos ? "bos_token" : "eos_token");
    *id = text ? eq_token_id(t, text) : -1;
    char *path = *id < 0 && eq_is_dir(dir) ? eq_path(dir, "config.json") : NULL;
    json_t *root = NULL;
    eq_status st = path && eq_exists(path) ? eq_json_load(&root, path, err) : EQ_OK;
    const json_t *v = eq_json_get(root, bos ? "bos_token_id" : "eos_token_id");
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < INT32_MAX)
        *id = (int32_t)json_integer_value(v);
    json_decref(root);
    eq_free(path);
    return st;
}

static eq_status choose_bos(eq_tokenizer *t, const json_t *config, const char *dir, eq_bos bos,
                            eq_err *err) {
    eq_ids *before = &t->template.before;
    int32_t id;
    if (bos == EQ_BOS_AUTO) return EQ_OK;
    EQ_TRY(find_special(&id, t, config, dir, true, err));
    if (id < 0 && bos == EQ_BOS_YES && !before->n)
        return eq_fail(err, EQ_EINPUT,
                       "%s: no BOS is known: expected bos_token in tokenizer_config.json or "
                       "bos_token_id in config.json",
                       dir);
    if (id < 0 || bos == EQ_BOS_NO) {
        /* whatever stands in front, where no file says which of it is the BOS */
        int64_t n = before->n;
        before->n = 0;
        for (int64_t i = 0; i < n && id >= 0; i++)
            if (before->p[i] != id) before->p[before->n++] = before->p[i];
        if (bos == EQ_BOS_YES) before->n = n;
        return EQ_OK;
    }
    if (before->n && before->p[0] == id) return EQ_OK;
    EQ_TRY(eq_ids_room(before, 1, err));
    if (before->n) memmove(before->p + 1, before->p, (size_t)before->n * sizeof *before->p);
    before->p[0] = id, before->n++;
    return EQ_OK;
}

eq_status eq_tokenizer_open_bos(eq_tokenizer **out, const char *dir, eq_bos bos, eq_err *err) {
    eq_tokenizer_files f = {0};
    eq_tokenizer *t = *out = eq_calloc(1, sizeof *t);
    if (!t) return eq_nomem(err, "a tokenizer", sizeof *t);
    eq_status st = eq_tokenizer_files_read(&f, dir, err);
    if (st == EQ_OK) {
        t->path = f.path, f.path = NULL;
        st = load(t, f.spec, f.made, err);
    }
    if (st == EQ_OK) st = follow_flags(t, f.config, err);
    if (st == EQ_OK) st = choose_bos(t, f.config, dir, bos, err);
    if (st == EQ_OK) st = find_special(&t->eos, t, f.config, dir, false, err);
    eq_tokenizer_files_free(&f);
    if (st != EQ_OK) {
        eq_tokenizer_close(t);
        *out = NULL;
    }
    return st;
}

eq_status eq_tokenizer_open(eq_tokenizer **t, const char *dir, eq_err *err) {
    return eq_tokenizer_open_bos(t, dir, EQ_BOS_AUTO, err);
}

bool eq_tokenizer_bos(const eq_tokenizer *t) { return t->template.before.n > 0; }
int32_t eq_tokenizer_bos_id(const eq_tokenizer *t) {
    return t->template.before.n ? t->template.before.p[0] : -1;
}
int32_t eq_tokenizer_eos(const eq_tokenizer *t) { return t->eos; }

void eq_tokenizer_close(eq_tokenizer *t) {
    if (!t) return;
    eq_normalizer_free(t->normalizer);
    eq_pretokenizer_free(t->pretokenizer);
    eq_model_close(&t->model);
    eq_added_free(t->added);
    eq_template_free(&t->template);
    eq_decoder_free(t->decoder);
    eq_free(t->path);
    eq_free(t);
}

void eq_ids_free(eq_ids *ids) {
    eq_free(ids->p);
    *ids = (eq_ids){0};
}

/* ---- decoding -------------------------------------------------------------------------------- */

eq_status eq_decode_text(const eq_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special,
                         eq_str *out, eq_err *err) {
    eq_pieces p = {0};
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < n && st == EQ_OK; i++) {
        int64_t len = 0;
        if (skip_special && eq_added_special(t->added, ids[i])) continue;
        const char *s = eq_added_form(t->added, ids[i], &len);
        if (!s) s = eq_vocab_text(eq_model_vocab(&t->model), ids[i], &len);
        if (s) st = eq_pieces_add(&p, s, len, err); /* an id that nothing has says nothing */
    }
    if (st == EQ_OK) st = eq_decoder_run(t->decoder, &p, out, err);
    eq_pieces_free(&p);
    return st;
}

char *eq_decode(const eq_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special) {
    eq_str s = {0};
    eq_str_put(&s, "", 0); /* a text without characters is a string, too */
    if (eq_decode_text(t, ids, n, skip_special, &s, NULL) == EQ_OK && !s.oom) return s.p;
    eq_str_free(&s);
    return NULL;
}

int32_t eq_token_id(const eq_tokenizer *t, const char *content) {
    int64_t n = (int64_t)strlen(content);
    int32_t id = eq_added_id(t->added, content, n);
    return id >= 0 ? id : eq_vocab_id(eq_model_vocab(&t->model), content, n);
}

int64_t eq_tokenizer_size(const eq_tokenizer *t) {
    int64_t a = eq_added_end(t->added), v = eq_vocab_end(eq_model_vocab(&t->model));
    return a > v ? a : v;
}

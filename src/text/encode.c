/* From text to ids, whole or in parts. The order is the peer's: added tokens that are not
 * normalized, normalizer, added tokens that are, pre-tokenizer, model, template. Invariant: parts
 * give the ids of the whole. What text that follows could change waits: raw bytes before the
 * normalizer, normalized ones behind it. A tokenizer in which too much hangs together
 * (eq_encoder_local) waits for the whole text. */
#include <string.h>

#include "base/mem.h"
#include "text/ids.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

struct eq_encoder {
    const eq_tokenizer *t;
    eq_ids *out;
    const char *text; /* the whole input's beginning; NULL where it is behind us */
    bool begun, used; /* the template was written; some of the input is done */
    /* of the text behind the last added token some was normalized, some was cut into words */
    bool in_part, in_words;
    eq_str raw, mid;  /* what waits before and behind the normalizer */
    int64_t patience; /* raw bytes that are worth another look */
    eq_normal normal;
    eq_pretok_work *pre;
    eq_model_work words;
};

static bool is_local(const eq_tokenizer *t) {
    uint32_t mark;
    bool cut = false, one_word = eq_pretokenizer_empty(t->pretokenizer);
    if (!eq_added_local(t->added) || !eq_normalizer_local(t->normalizer)) return false;
    if (eq_pretokenizer_metaspace(t->pretokenizer, &mark, &cut))
        return eq_normalizer_empty(t->normalizer) && (cut || eq_model_local(&t->model));
    return one_word ? eq_model_local(&t->model) : eq_pretokenizer_local(t->pretokenizer);
}

/* Where the words of a text that goes on can be cut, if no pattern says so; 0: nowhere yet. */
static int64_t cut_words(const eq_tokenizer *t, const char *s, int64_t n) {
    uint32_t mark = ' ';
    bool cut = false;
    if (!eq_pretokenizer_metaspace(t->pretokenizer, &mark, &cut) || !cut)
        return eq_model_cut(&t->model, s, n, mark);
    while (--n > 0 && s[n] != ' ') {
    }
    return n > 0 ? n : 0;
}

static eq_status word(void *ctx, const char *s, int64_t n, eq_err *err) {
    eq_encoder *e = ctx;
    return eq_model_word(&e->t->model, &e->words, s, n, e->out, err);
}

static eq_status normalized_part(void *ctx, int32_t id, const char *s, int64_t n, bool more,
                                 int64_t *used, eq_err *err) {
    eq_encoder *e = ctx;
    const eq_pretokenizer *p = e->t->pretokenizer;
    bool goes_on = e->in_words;
    *used = n, e->in_words = false;
    if (id >= 0) return eq_ids_put(e->out, id, err);
    if (more && !eq_pretokenizer_empty(p) && eq_pretokenizer_local(p))
        return eq_pretokenize_more(p, e->pre, s, n, used, word, e, err);
    if (more) *used = cut_words(e->t, s, n);
    e->in_words = more && (goes_on || *used);
    if (!*used) return EQ_OK;
    int64_t at = s - e->normal.text, head = e->normal.head > at ? e->normal.head - at : 0;
    return eq_pretokenize(p, e->pre, s, *used, head, goes_on, word, e, err);
}

static void drop(eq_str *s, int64_t n) {
    s->n -= n;
    if (s->n) memmove(s->p, s->p + n, (size_t)s->n);
}

/* What waits behind the normalizer goes on; all of it where the part ends. */
static eq_status go_on(eq_encoder *e, bool more, eq_err *err) {
    int64_t used = 0;
    if (e->mid.oom) return eq_nomem(err, "text", e->mid.n);
    e->normal.text = e->mid.p, e->normal.head = 0;
    EQ_TRY(eq_added_split(e->t->added, true, e->mid.p, e->mid.n, more, &used, normalized_part, e,
                          err));
    drop(&e->mid, used);
    return EQ_OK;
}

static eq_status end_part(eq_encoder *e, eq_err *err) {
    e->in_part = false;
    return e->mid.n ? go_on(e, false, err) : EQ_OK;
}

static eq_status raw_part(void *ctx, int32_t id, const char *s, int64_t n, bool more, int64_t *used,
                          eq_err *err) {
    eq_encoder *e = ctx;
    const eq_normalizer *z = e->t->normalizer;
    *used = n;
    if (id >= 0) {
        EQ_TRY(end_part(e, err));
        e->in_words = false;
        return eq_ids_put(e->out, id, err);
    }
    if (more && !eq_normalizer_empty(z)) *used = eq_normalizer_cut(z, s, n);
    if (!*used) return EQ_OK;
    EQ_TRY(eq_normalize(z, &e->normal, s, *used, s == e->text, e->in_part, err));
    bool wait = e->mid.n || (more && !eq_normalizer_empty(z));
    e->in_part = more;
    if (!wait)
        return eq_added_split(e->t->added, true, e->normal.text, e->normal.n, more, used,
                              normalized_part, e, err);
    eq_str_put(&e->mid, e->normal.text, e->normal.n);
    return go_on(e, more, err);
}

/* n bytes, more: of a text that goes on; *used: those that need not be seen again. */
static eq_status encode(eq_encoder *e, const char *text, int64_t n, bool more, int64_t *used,
                        eq_err *err) {
    *used = 0;
    if (n > 0) EQ_TRY(eq_added_split(e->t->added, false, text, n, more, used, raw_part, e, err));
    return more ? EQ_OK : end_part(e, err);
}

static bool work_new(eq_encoder *e, const eq_tokenizer *t, int64_t n) {
    *e = (eq_encoder){.t = t, .pre = eq_pretok_work_new(t->pretokenizer)};
    return e->pre && eq_model_work_new(&e->words, &t->model, n);
}

static void work_free(eq_encoder *e) {
    eq_pretok_work_free(e->pre);
    eq_model_work_free(&e->words);
    eq_normal_free(&e->normal);
    eq_str_free(&e->raw);
    eq_str_free(&e->mid);
}

static eq_status put_all(eq_ids *out, const eq_ids *more, eq_err *err) {
    for (int64_t i = 0; i < more->n; i++) EQ_TRY(eq_ids_put(out, more->p[i], err));
    return EQ_OK;
}

/* ---- a whole text ---------------------------------------------------------------------------- */

static eq_status encode_valid(const eq_tokenizer *t, eq_ids *out, const char *text, int64_t n,
                              eq_err *err) {
    eq_encoder e;
    int64_t used;
    eq_status st = work_new(&e, t, n) ? EQ_OK : eq_nomem(err, "encoding", n);
    e.out = out, e.text = text;
    if (st == EQ_OK) st = encode(&e, text, n, false, &used, err);
    work_free(&e);
    return st;
}

eq_status eq_encode(const eq_tokenizer *t, eq_ids *out, const char *text, int64_t n, bool special,
                    eq_err *err) {
    int64_t was = out->n;
    eq_str repaired = {0};
    eq_status st = special ? put_all(out, &t->template.before, err) : EQ_OK;
    if (st == EQ_OK && n > 0 && eq_utf8_valid(text, n) != n) {
        eq_utf8_repair(&repaired, text, n);
        if (repaired.oom) st = eq_nomem(err, "text", n);
        text = repaired.p, n = repaired.n;
    }
    if (st == EQ_OK && n > 0) st = encode_valid(t, out, text, n, err);
    if (st == EQ_OK && special) st = put_all(out, &t->template.after, err);
    eq_str_free(&repaired);
    if (st == EQ_OK) return EQ_OK;
    out->n = was;
    return st == EQ_EINPUT ? eq_fail_at(err, "%s", t->path) : st;
}

/* ---- a text in parts ------------------------------------------------------------------------- */

eq_encoder *eq_encoder_new(const eq_tokenizer *t) {
    eq_encoder *e = eq_calloc(1, sizeof *e);
    if (e && work_new(e, t, INT64_MAX)) return e;
    eq_encoder_free(e);
    return NULL;
}

void eq_encoder_free(eq_encoder *e) {
    if (!e) return;
    work_free(e);
    eq_free(e);
}

bool eq_encoder_local(const eq_encoder *e) { return is_local(e->t); }

/* New bytes join those that wait. Where nothing was certain, the next look comes when there are
 * twice as many, so that a text without a place to cut is not searched again and again. */
static eq_status put(eq_encoder *e, const char *text, int64_t n, bool last, eq_err *err) {
    int64_t used = 0;
    bool from_raw = e->raw.n > 0;
    if (from_raw || (!last && !is_local(e->t))) {
        eq_str_put(&e->raw, text, n);
        if (e->raw.oom) return eq_nomem(err, "text", e->raw.n + n);
        text = e->raw.p, n = e->raw.n;
        from_raw = true;
    }
    if (!last && (!is_local(e->t) || n < e->patience)) {
        if (!from_raw) eq_str_put(&e->raw, text, n);
        return e->raw.oom ? eq_nomem(err, "text", n) : EQ_OK;
    }
    if (!e->t) return EQ_OK;
    e->text = e->used ? NULL : text;
    EQ_TRY(encode(e, text, n, !last, &used, err));
    e->used = e->used || used;
    e->patience = used ? 0 : 2 * n;
    if (from_raw)
        drop(&e->raw, used);
    else
        eq_str_put(&e->raw, text + used, n - used);
    return e->raw.oom ? eq_nomem(err, "text", n) : EQ_OK;
}

eq_status eq_encoder_put(eq_encoder *e, eq_ids *out, const char *text, int64_t n, bool last,
                         eq_err *err) {
    e->out = out;
    if (!e->begun) EQ_TRY(put_all(out, &e->t->template.before, err));
    e->begun = true;
    eq_status st = put(e, text, n, last, err);
    if (st == EQ_OK && last) st = put_all(out, &e->t->template.after, err);
    return st == EQ_EINPUT ? eq_fail_at(err, "%s", e->t->path) : st;
}

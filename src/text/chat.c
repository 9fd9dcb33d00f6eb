/* See chat.h. Invariant: a span of the assistant begins where the text that asked for the answer
 * ends; a template in which that cannot be seen is refused for training. */
#include "text/chat.h"

#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/chat_families.h"
#include "text/ids.h"
#include "text/jinja/jinja_value.h"
#include "text/tokenizer_folder.h"
#include "text/utf8.h"

struct eq_chat {
    eq_jinja *template;
    char *name;
    char *token[4]; /* bos, eos, unk, pad; NULL: undefined */
    char *end;      /* what follows an answer, without the white space at its end */
    int64_t tail_n; /* bytes of that white space */
};

static const char *const token_keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};

/* ---- opening --------------------------------------------------------------------------------- */

/* dir/name, or NULL where it is absent. */
static eq_status json_of(json_t **out, const char *dir, const char *name, eq_err *err) {
    *out = NULL;
    char *path = eq_path(dir, name);
    if (!path) return eq_nomem(err, "a path", (int64_t)strlen(dir));
    eq_status st = eq_exists(path) ? eq_json_load_real(out, path, err) : EQ_OK;
    eq_free(path);
    return st;
}

/* tokenizer_config.json's, else special_tokens_map.json's, else those of the class. */
static eq_status read_tokens(eq_chat *c, const json_t *config, const char *dir, eq_err *err) {
    json_t *map = NULL;
    EQ_TRY(json_of(&map, dir, "special_tokens_map.json", err));
    const char *class = json_string_value(eq_json_get(config, "tokenizer_class"));
    bool llama = class && (eq_starts_with(class, "LlamaTokenizer"));
    static const char *const of_llama[] = {"<s>", "</s>", "<unk>", NULL};
    eq_status st = EQ_OK;
    for (int i = 0; i < 4 && st == EQ_OK; i++) {
        const char *s = eq_tokenizer_named(config, token_keys[i]);
        if (!s) s = eq_tokenizer_named(map, token_keys[i]);
        if (!s && llama) s = of_llama[i];
        if (s && !(c->token[i] = eq_strdup(s))) st = eq_nomem(err, "a chat template", 0);
    }
    json_decref(map);
    return st;
}

/* "chat_template" of tokenizer_config.json: a text, or a list of named ones, of which transformers
 * takes "default". NULL: there is none. */
static const json_t *in_config(const json_t *config) {
    const json_t *v = eq_json_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i);
        const char *name = json_string_value(eq_json_get(one, "name"));
        if (name && !strcmp(name, "default")) return eq_json_get(one, "template");
    }
    return json_is_string(v) ? v : NULL;
}

static eq_status parse(eq_chat *c, const char *text, int64_t n, const char *where, eq_err *err) {
    if (eq_utf8_valid(text, n) != n)
        return eq_fail(err, EQ_EINPUT, "%s: a chat template must be UTF-8", where);
    if (!(c->name = eq_strdup(where))) return eq_nomem(err, "a chat template", n);
    return eq_jinja_parse(&c->template, text, n, where, err);
}

static eq_status from_file(eq_chat *c, const char *path, eq_err *err) {
    eq_map m;
    EQ_TRY(eq_map_open(&m, path, err));
    eq_status st = parse(c, (const char *)m.data, m.size, path, err);
    eq_map_close(&m);
    return st;
}

static eq_status no_template(const char *name, const char *dir, eq_err *err) {
    eq_str all = {0};
    for (int i = 0; eq_chat_family(i); i++)
        eq_str_printf(&all, "%s%s", i ? ", " : "", eq_chat_family(i));
    const char *list = all.oom ? "" : all.p;
    if (name)
        eq_fail(err, EQ_EINPUT,
                "no chat template is called \"%.80s\": expected %s, or a file that ends in .jinja",
                name, list);
    else
        eq_fail(err, EQ_EINPUT,
                "%s: no chat template: expected chat_template.jinja, or \"chat_template\" in "
                "tokenizer_config.json, or the name of one: %s",
                dir, list);
    eq_str_free(&all);
    return EQ_EINPUT;
}

static eq_status own_template(eq_chat *c, const json_t *config, const char *dir, eq_err *err) {
    char *file = eq_path(dir, "chat_template.jinja"), *in = eq_path(dir, "tokenizer_config.json");
    const json_t *text = in_config(config);
    eq_status st;
    if (!file || !in)
        st = eq_nomem(err, "a path", (int64_t)strlen(dir));
    else if (eq_exists(file))
        st = from_file(c, file, err);
    else if (json_is_string(text))
        st = parse(c, json_string_value(text), (int64_t)json_string_length(text), in, err);
    else
        st = no_template(NULL, dir, err);
    eq_free(file), eq_free(in);
    return st;
}

/* Two turns with an answer that stands in no template: what follows it ends an answer. */
static eq_status try_out(eq_chat *c, eq_err *err) {
    static const char answer[] = "eqat:answer";
    const eq_message m[] = {{"user", "eqat:question"}, {"assistant", answer}};
    eq_str s = {0};
    eq_status st = eq_chat_render(c, &s, m, 1, true, err);
    if (st == EQ_OK) s.n = 0;
    if (st == EQ_OK) st = eq_chat_render(c, &s, m, 2, false, err);
    if (st == EQ_OK) {
        const char *at = strstr(s.p, answer);
        if (!(c->end = eq_strdup(at ? at + strlen(answer) : ""))) st = eq_nomem(err, "a chat", s.n);
    }
    if (st == EQ_OK) {
        eq_jv all = eq_j_cstr(c->end), end = eq_j_strip(all, eq_j_none(), false, true);
        c->tail_n = all.n - end.n;
        c->end[end.n] = 0;
    }
    eq_str_free(&s);
    return st;
}

static eq_status open_chat(eq_chat *c, const char *dir, const char *name, eq_err *err) {
    json_t *config = NULL;
    eq_status st = json_of(&config, dir, "tokenizer_config.json", err);
    const char *row = name ? eq_chat_family_text(name) : NULL;
    if (st == EQ_OK) st = read_tokens(c, config, dir, err);
    if (st == EQ_OK) {
        if (row)
            st = parse(c, row, (int64_t)strlen(row), name, err);
        else if (name && eq_ends_with(name, ".jinja"))
            st = from_file(c, name, err);
        else
            st = name ? no_template(name, dir, err) : own_template(c, config, dir, err);
    }
    json_decref(config);
    return st == EQ_OK ? try_out(c, err) : st;
}

eq_status eq_chat_open(eq_chat **out, const char *dir, const char *name, eq_err *err) {
    eq_chat *c = *out = eq_calloc(1, sizeof *c);
    if (!c) return eq_nomem(err, "a chat template", sizeof *c);
    eq_status st = open_chat(c, dir, name, err);
    if (st != EQ_OK) {
        eq_chat_close(c);
        *out = NULL;
    }
    return st;
}

bool eq_chat_given(const char *dir) {
    json_t *config = NULL;
    char *file = eq_path(dir, "chat_template.jinja");
    bool is = file && eq_exists(file);
    if (!is && json_of(&config, dir, "tokenizer_config.json", NULL) == EQ_OK)
        is = in_config(config) != NULL;
    json_decref(config);
    eq_free(file);
    return is;
}

void eq_chat_close(eq_chat *c) {
    if (!c) return;
    eq_jinja_free(c->template);
    for (int i = 0; i < 4; i++) eq_free(c->token[i]);
    eq_free(c->name);
    eq_free(c->end);
    eq_free(c);
}

const char *eq_chat_name(const eq_chat *c) { return c->name; }

/* ---- text ------------------------------------------------------------------------------------ */

static eq_status render(const eq_chat *c, eq_str *out, eq_spans *spans, const eq_message *m,
                        int64_t n, bool prompt, eq_err *err) {
    eq_jinja_input in = {m, n, prompt, c->token[0], c->token[1], c->token[2], c->token[3]};
    if (n < 1) return eq_fail(err, EQ_EINPUT, "%s: a chat without messages", c->name);
    for (int64_t i = 0; i < n; i++) {
        int64_t role = (int64_t)strlen(m[i].role), content = (int64_t)strlen(m[i].content);
        if (eq_utf8_valid(m[i].role, role) != role ||
            eq_utf8_valid(m[i].content, content) != content)
            return eq_fail(err, EQ_EINPUT, "message %lld is not UTF-8", (long long)i + 1);
    }
    return eq_jinja_render(c->template, &in, out, spans, err);
}

eq_status eq_chat_render(const eq_chat *c, eq_str *out, const eq_message *m, int64_t n, bool prompt,
                         eq_err *err) {
    return render(c, out, NULL, m, n, prompt, err);
}

const char *eq_chat_end(const eq_chat *c) { return c->end; }

/* ---- what the assistant says ----------------------------------------------------------------- */

/* The first n messages as text that the whole one must begin with. */
static eq_status prefix(const eq_chat *c, eq_str *out, const eq_message *m, int64_t n, bool prompt,
                        const char *all, bool *is, eq_err *err) {
    out->n = 0;
    EQ_TRY(render(c, out, NULL, m, n, prompt, err));
    *is = eq_starts_with(all, out->p);
    return EQ_OK;
}

/* The answer m[i] in `all`, which begins behind the text that asks for it. Its end is where the
 * conversation up to it ends; a template that writes the last turn in another way than earlier ones
 * has the answer and what ends it there all the same. */
static eq_status find_answer(const eq_chat *c, eq_str *part, const char *all, const eq_message *m,
                             int64_t i, eq_span *span, eq_err *err) {
    bool is = false;
    if (i > 0) EQ_TRY(prefix(c, part, m, i, true, all, &is, err));
    if (!is)
        return eq_fail(err, EQ_EINPUT,
                       "%s: message %lld: where the assistant's answer begins cannot be seen: the "
                       "template %s",
                       c->name, (long long)i + 1,
                       i ? "changes earlier turns" : "cannot ask for an answer to nothing");
    span->from = part->n;
    EQ_TRY(prefix(c, part, m, i + 1, false, all, &is, err));
    span->to = part->n - c->tail_n;
    if (is && span->to > span->from) return EQ_OK;
    eq_jv said = eq_j_strip(eq_j_cstr(m[i].content), eq_j_none(), true, true),
          text = eq_j_cstr(all);
    int64_t at = said.n && *c->end ? eq_j_find(text, said, span->from) : -1;
    if (at >= 0 && eq_starts_with(all + at + said.n, c->end))
        return span->to = at + said.n + (int64_t)strlen(c->end), EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: message %lld: where the assistant's answer ends cannot be seen", c->name,
                   (long long)i + 1);
}

eq_status eq_chat_spans(const eq_chat *c, eq_str *out, eq_spans *spans, const eq_message *m,
                        int64_t n, eq_err *err) {
    int64_t was = out->n, had = spans->n;
    eq_str part = {0};
    bool marks = eq_jinja_marks(c->template);
    eq_status st = render(c, out, marks ? spans : NULL, m, n, false, err);
    for (int64_t i = 0; i < n && st == EQ_OK && !marks; i++) {
        eq_span one;
        if (strcmp(m[i].role, "assistant")) continue;
        st = find_answer(c, &part, out->p + was, m, i, &one, err);
        one.from += was, one.to += was;
        if (st == EQ_OK) st = eq_spans_put(spans, one, err);
    }
    eq_str_free(&part);
    if (st != EQ_OK) out->n = was, spans->n = had;
    return st;
}

/* ---- ids ------------------------------------------------------------------------------------- */

eq_status eq_chat_ids(const eq_tokenizer *t, eq_ids *ids, const eq_str *text, eq_err *err) {
    return eq_encode(t, ids, text->p, text->n, false, err);
}

/* How many ids of the whole are there when the text ends at byte `at`; *cut: a token goes across.
 */
static eq_status ids_before(const eq_tokenizer *t, const char *text, int64_t at, const int32_t *all,
                            int64_t n, eq_ids *part, int64_t *k, bool *cut, eq_err *err) {
    part->n = 0;
    EQ_TRY(eq_encode(t, part, text, at, false, err));
    for (*k = 0; *k < part->n && *k < n && part->p[*k] == all[*k];) ++*k;
    *cut = *k < part->n;
    return EQ_OK;
}

static eq_status mark(const eq_tokenizer *t, const eq_str *text, const eq_spans *spans,
                      const int32_t *all, int64_t n, char *mask, eq_err *err) {
    eq_ids part = {0};
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < spans->n && st == EQ_OK; i++) {
        int64_t from, to;
        bool cut;
        st = ids_before(t, text->p, spans->p[i].from, all, n, &part, &from, &cut, err);
        if (st == EQ_OK) st = ids_before(t, text->p, spans->p[i].to, all, n, &part, &to, &cut, err);
        if (st == EQ_OK && cut && to < n) to++;
        if (st == EQ_OK && to > from) memset(mask + from, 1, (size_t)(to - from));
    }
    eq_ids_free(&part);
    return st;
}

eq_status eq_chat_encode(const eq_chat *c, const eq_tokenizer *t, eq_ids *ids, eq_str *mask,
                         const eq_message *m, int64_t n, eq_err *err) {
    eq_str text = {0};
    eq_spans spans = {0};
    int64_t was = ids->n, had = mask->n;
    char *bits = NULL;
    eq_status st = eq_chat_spans(c, &text, &spans, m, n, err);
    if (st == EQ_OK) st = eq_chat_ids(t, ids, &text, err);
    int64_t k = ids->n - was;
    if (st == EQ_OK && !(bits = eq_calloc(k, 1))) st = eq_nomem(err, "a chat", k);
    if (st == EQ_OK) st = mark(t, &text, &spans, ids->p + was, k, bits, err);
    if (st == EQ_OK) {
        eq_str_put(mask, bits, k);
        if (mask->oom) st = eq_nomem(err, "a chat", k);
    }
    if (st != EQ_OK) ids->n = was, mask->n = had;
    eq_free(bits);
    eq_spans_free(&spans);
    eq_str_free(&text);
    return st;
}

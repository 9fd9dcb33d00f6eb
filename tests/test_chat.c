/* Chat templates: the language against what transformers renders (tests/golden/chat.json, made by
 * tools/make_chat_goldens.py), the families, folders, and which ids are the assistant's. */
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "scratch.h"
#include "text/chat.h"
#include "tiny_tokenizer.h"

static json_t *golden;

/* The messages of chat k. */
static int64_t chat(size_t k, eq_message *m) {
    const json_t *list = json_array_get(json_object_get(golden, "chats"), k);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        m[i].role = json_string_value(json_object_get(one, "role"));
        m[i].content = json_string_value(json_object_get(one, "content"));
    }
    return (int64_t)json_array_size(list);
}

static void compare(const char *what, size_t k, eq_status st, const eq_str *got, const json_t *want,
                    const eq_err *err) {
    const char *text = json_string_value(want);
    if (!text && st == EQ_OK) fail_msg("%s: chat %zu: \"%s\", where it raises", what, k, got->p);
    if (text && st != EQ_OK) fail_msg("%s: chat %zu: %s", what, k, err->msg);
    if (text && strcmp(got->p, text))
        fail_msg("%s: chat %zu: wanted\n\"%s\"\nfound\n\"%s\"", what, k, text, got->p);
}

static void language_case(const json_t *one) {
    const char *text = json_string_value(json_object_get(one, "template"));
    const json_t *texts = json_object_get(one, "texts");
    eq_jinja *j;
    eq_err err = {0};
    eq_status st = eq_jinja_parse(&j, text, (int64_t)strlen(text), "template", &err);
    for (size_t k = 0; k < json_array_size(texts); k++) {
        eq_message m[8];
        eq_str got = {0};
        eq_err err2 = err;
        eq_jinja_input in = {m, chat(k, m), false, "<s>", "</s>", NULL, NULL};
        eq_status st2 = st == EQ_OK ? eq_jinja_render(j, &in, &got, NULL, &err2) : st;
        compare(text, k, st2, &got, json_array_get(texts, k), &err2);
        if (st2 != EQ_OK) check_error(&err2, EQ_EINPUT, "template: line ", NULL);
        eq_str_free(&got);
    }
    if (st == EQ_OK) eq_jinja_free(j);
}

static void language(void **state) {
    (void)state;
    const json_t *list = json_object_get(golden, "language");
    assert_true(json_array_size(list) > 50);
    for (size_t i = 0; i < json_array_size(list); i++) language_case(json_array_get(list, i));
}

/* ---- folders --------------------------------------------------------------------------------- */

static char *dir;

static void put(const char *name, const char *text) {
    char *path = eq_path(dir, name);
    assert_int_equal(eq_write_file(path, text, (int64_t)strlen(text), NULL), EQ_OK);
    eq_free(path);
}

static void new_folder(const char *config) {
    eq_free(dir);
    dir = eq_strdup(scratch_path("model"));
    assert_int_equal(eq_remove_tree(dir, NULL), EQ_OK);
    assert_int_equal(eq_mkdir(dir, NULL), EQ_OK);
    if (config) put("tokenizer_config.json", config);
}
#define TOKENS "\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"</s>\""

static eq_chat *opened(const char *name) {
    eq_chat *c;
    eq_err err = {0};
    if (eq_chat_open(&c, dir, name, &err) != EQ_OK) fail_msg("%s", err.msg);
    return c;
}

static void refused(const char *name, const char *word, const char *word2) {
    eq_chat *c;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (eq_chat_open(&c, dir, name, &err) == EQ_OK) fail_msg("%s is accepted", name ? name : "it");
    check_error(&err, EQ_EINPUT, word, word2, NULL);
    assert_int_equal(eq_mem_current(), before);
}

static void families(void **state) {
    (void)state;
    const json_t *list = json_object_get(golden, "families");
    new_folder("{" TOKENS "}");
    assert_true(json_array_size(list) >= 9);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(one, "family"));
        eq_chat *c = opened(name);
        assert_string_equal(eq_chat_name(c), name);
        for (size_t prompt = 0; prompt < 2; prompt++)
            for (size_t k = 0; k < json_array_size(json_object_get(golden, "chats")); k++) {
                eq_message m[8];
                eq_str got = {0};
                eq_err err = {0};
                eq_status st = eq_chat_render(c, &got, m, chat(k, m), prompt, &err);
                compare(name, k, st, &got,
                        json_array_get(json_array_get(json_object_get(one, "texts"), prompt), k),
                        &err);
                eq_str_free(&got);
            }
        eq_chat_close(c);
    }
}

static const char *rendered(const eq_chat *c, const eq_message *m, int64_t n, bool prompt) {
    static char out[2000];
    eq_str s = {0};
    eq_err err = {0};
    if (eq_chat_render(c, &s, m, n, prompt, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_true(s.n < (int64_t)sizeof out);
    strcpy(out, s.p);
    eq_str_free(&s);
    return out;
}

static const eq_message two[] = {
    {"user", "Hi"}, {"assistant", "Ho"}, {"user", "Hm"}, {"assistant", "Ha"}};

/* Those without a template that was published with a model. */
static void by_name(void **state) {
    (void)state;
    new_folder("{" TOKENS "}");
    eq_chat *c = opened("vicuna");
    assert_string_equal(
        rendered(c, two, 3, true),
        "<s>A chat between a curious user and an artificial intelligence assistant. The "
        "assistant gives helpful, detailed, and polite answers to the user's questions. "
        "USER: Hi ASSISTANT: Ho</s>USER: Hm ASSISTANT:");
    eq_chat_close(c);
    c = opened("alpaca");
    assert_string_equal(
        rendered(c, two, 1, true),
        "<s>Below is an instruction that describes a task. Write a response that "
        "appropriately completes the request.\n\n### Instruction:\nHi\n\n### Response: ");
    eq_chat_close(c);
    c = opened("mistral-v7");
    const eq_message m[] = {{"system", "S"}, {"user", "Hi"}, {"assistant", "Ho"}};
    assert_string_equal(rendered(c, m, 3, false),
                        "<s>[SYSTEM_PROMPT] S[/SYSTEM_PROMPT][INST] Hi[/INST] Ho</s>");
    assert_string_equal(eq_chat_end(c), "</s>");
    eq_chat_close(c);
    for (int i = 0; eq_chat_family(i); i++) eq_chat_close(opened(eq_chat_family(i)));
    refused("chatm1", "chatm1", "chatml, smollm2");
    new_folder("{}"); /* without the tokens it needs */
    refused("llama-2", "line 1", "\"bos_token\" is not defined");
    new_folder(NULL);
    eq_chat_close(opened("chatml"));
}

static void own(void **state) {
    (void)state;
    new_folder("{" TOKENS
               ",\"chat_template\":\"{% for m in messages %}[{{ m.content }}]{% endfor %}\"}");
    eq_chat *c = opened(NULL);
    assert_string_equal(rendered(c, two, 2, false), "[Hi][Ho]");
    assert_string_equal(eq_chat_end(c), "]");
    assert_non_null(strstr(eq_chat_name(c), "tokenizer_config.json"));
    eq_chat_close(c);
    put("chat_template.jinja", "{% for m in messages %}<{{ m.content }}>{% endfor %}\n");
    c = opened(NULL); /* a file of its own comes first */
    assert_string_equal(rendered(c, two, 2, false), "<Hi><Ho>");
    eq_chat_close(c);
    char *path = eq_path(dir, "other.jinja");
    put("other.jinja", "{{ messages[0].content }}{{ messages[-1].content }}  ");
    c = opened(path);
    assert_string_equal(rendered(c, two, 2, false), "HiHo  ");
    assert_string_equal(eq_chat_end(c), "");
    eq_chat_close(c);
    eq_free(path);
    new_folder(
        "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"x\"},{\"name\":\"default\","
        "\"template\":\"{{ messages[0].content }}\"}]}");
    c = opened(NULL);
    assert_string_equal(rendered(c, two, 1, false), "Hi");
    assert_true(eq_chat_given(dir));
    eq_chat_close(c);
    new_folder("{\"tokenizer_class\":\"LlamaTokenizer\",\"chat_template\":\"{{ bos_token + "
               "eos_token }}\"}");
    c = opened(NULL); /* the class has them */
    assert_string_equal(rendered(c, two, 1, false), "<s></s>");
    eq_chat_close(c);
    /* no clock: the same text on every day */
    new_folder("{\"chat_template\":\"{{ strftime_now('%d %B %Y, %Y-%m-%d %a') if strftime_now is "
               "defined }}\"}");
    c = opened(NULL);
    assert_string_equal(rendered(c, two, 1, false), "26 July 2024, 2024-07-26 Fri");
    eq_chat_close(c);
    new_folder("{\"chat_template\":\"{{ strftime_now('%c') }}\"}");
    refused(NULL, "strftime_now", "not supported");
    new_folder("{}");
    assert_false(eq_chat_given(dir));
    refused(NULL, "no chat template", "chat_template.jinja");
    eq_err err = {0};
    assert_int_equal(eq_chat_open(&c, dir, "absent.jinja", &err), EQ_EIO);
    check_error(&err, EQ_EIO, "absent.jinja", NULL);
    new_folder("{\"chat_template\":\"a\\n{% include 'x' %}\"}");
    refused(NULL, "line 2", "\"include\" is not supported");
    new_folder("{\"chat_template\":\"{{ messages | unheard }}\"}");
    refused(NULL, "line 1", "unheard");
    new_folder("{\"chat_template\":\"{{ raise_exception('only\\nin French') }}\"}");
    refused(NULL, "refuses these messages", "only in French");
    new_folder("{\"chat_template\":\"{% for a in range(99999) %}{% for b in range(99999) %}{% "
               "endfor %}{% endfor %}\"}");
    refused(NULL, "than any needs", NULL);
    new_folder("{\"chat_template\":\"{% set ns = namespace(x='aa') %}{% for a in range(99) %}{% "
               "set ns.x = ns.x "
               "~ ns.x %}{% endfor %}\"}");
    refused(NULL, "than any needs", NULL);
    new_folder("{\"chat_template\":\"{% set ns = namespace(x=[]) %}{% for a in range(999) %}{% set "
               "ns.x = [ns.x] "
               "%}{% endfor %}{{ ns.x == ns.x }}\"}");
    refused(NULL, "than any needs", NULL);
}

/* ---- what the assistant says ----------------------------------------------------------------- */

/* The text with the assistant's parts in braces. */
static const char *spans(const eq_chat *c, const eq_message *m, int64_t n) {
    static char out[2000];
    eq_str s = {0};
    eq_spans p = {0};
    eq_err err = {0};
    if (eq_chat_spans(c, &s, &p, m, n, &err) != EQ_OK) fail_msg("%s", err.msg);
    int64_t at = 0, k = 0;
    for (int64_t i = 0; i <= s.n; i++) {
        if (k < p.n && i == p.p[k].to) out[at++] = '}', k++;
        if (k < p.n && i == p.p[k].from) out[at++] = '{';
        if (i < s.n) out[at++] = s.p[i];
        assert_true(at < 1990);
    }
    out[at] = 0;
    assert_int_equal(k, p.n);
    eq_str_free(&s);
    eq_spans_free(&p);
    return out;
}

static void no_spans(const eq_chat *c, const eq_message *m, int64_t n, const char *word) {
    eq_str s = {0};
    eq_spans p = {0};
    eq_err err = {0};
    assert_int_equal(eq_chat_spans(c, &s, &p, m, n, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, word, NULL);
    assert_int_equal(s.n + p.n, 0);
    eq_str_free(&s);
    eq_spans_free(&p);
}

static void answers(void **state) {
    (void)state;
    new_folder("{" TOKENS "}");
    eq_chat *c = opened("chatml");
    assert_string_equal(spans(c, two, 4),
                        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n{Ho<|im_end|>}\n"
                        "<|im_start|>user\nHm<|im_end|>\n<|im_start|>assistant\n{Ha<|im_end|>}\n");
    assert_string_equal(spans(c, two, 1), "<|im_start|>user\nHi<|im_end|>\n");
    no_spans(c, two + 1, 1, "to nothing");
    eq_chat_close(c);
    c = opened("llama-2");
    assert_string_equal(spans(c, two, 4),
                        "<s>[INST] Hi [/INST]{ Ho </s>}<s>[INST] Hm [/INST]{ Ha </s>}");
    eq_chat_close(c);
    c = opened("mistral-v3"); /* which moves the system prompt to the last question */
    const eq_message m[] = {{"system", "S"}, {"user", "Hi"}, {"assistant", "Ho"}};
    no_spans(c, m, 3, "changes earlier turns");
    assert_string_equal(spans(c, m + 1, 2), "<s>[INST] Hi[/INST]{ Ho</s>}");
    eq_chat_close(c);
    /* the last answer is written in another way than those before it */
    new_folder("{\"chat_template\":\"{% for m in messages %}<{{ m.role }}>{{ '(thinks)' if m.role "
               "== 'assistant' "
               "and loop.last }}{{ m.content }}<end>\\n{% endfor %}{% if add_generation_prompt "
               "%}<assistant>{% endif %}\"}");
    c = opened(NULL);
    assert_string_equal(
        spans(c, two, 4),
        "<user>Hi<end>\n<assistant>{Ho<end>}\n<user>Hm<end>\n<assistant>{(thinks)Ha<end>}\n");
    eq_chat_close(c);
    /* its own marks count */
    new_folder(
        "{\"chat_template\":\"{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation "
        "%} {{ "
        "m.content }}{% endgeneration %}.{% else %}{{ m.content }}?{% endif %}{% endfor %}\"}");
    c = opened(NULL);
    assert_string_equal(spans(c, two, 4), "Hi?A:{ Ho}.Hm?A:{ Ha}.");
    eq_chat_close(c);
}

/* "abc" with ids in brackets where they are the assistant's. */
static void check_mask(const eq_tokenizer *t, const char *template, const char *expected) {
    char config[400];
    snprintf(config, sizeof config, "{\"chat_template\":\"%s\"}", template);
    new_folder(config);
    eq_chat *c = opened(NULL);
    eq_ids ids = {0};
    eq_str mask = {0}, out = {0};
    eq_err err = {0};
    if (eq_chat_encode(c, t, &ids, &mask, two, 2, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_int_equal(ids.n, mask.n);
    for (int64_t i = 0; i < ids.n; i++) {
        char *s = eq_decode(t, ids.p + i, 1, false);
        eq_str_printf(&out, mask.p[i] ? "[%s]" : "%s ", s);
        eq_free(s);
    }
    assert_string_equal(out.p, expected);
    eq_str_free(&out), eq_str_free(&mask), eq_ids_free(&ids);
    eq_chat_close(c);
}

static void masks(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = "HioU:. \n", .merges = "H o;: H;Ho .;. :;i :;:H o"};
    eq_tokenizer *t = tiny_tokenizer_open(&s);
    check_mask(t,
               "{{ 'U' + messages[0].content }}{% if messages | length > 1 or "
               "add_generation_prompt %}: {% endif %}"
               "{% if messages | length > 1 %}{% generation %}{{ messages[1].content }}.{% "
               "endgeneration %}{% endif %}",
               "U H i:   [Ho.]");
    /* a token that goes across the beginning or the end belongs to the answer */
    check_mask(t,
               "{{ messages[0].content }}:{% if messages | length > 1 %}{% generation %}{{ "
               "messages[1].content }}"
               "{% endgeneration %}.{% endif %}",
               "H i: [Ho.]");
    eq_tokenizer_close(t);
}

static void memory_runs_out(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = "HioU:. \n", .merges = "H o"};
    eq_tokenizer *t = tiny_tokenizer_open(&s);
    new_folder(
        "{" TOKENS
        ",\"chat_template\":\"{% macro f(x) %}{{ x | trim }}{% endmacro %}{% for m in messages %}"
        "{{ f(m.content) ~ ':' }}{% endfor %}{{ [1] | tojson if false }}{{ 'U' if "
        "add_generation_prompt }}\"}");
    int64_t before = eq_mem_current();
    for (int64_t nth = 1, failed = 1; failed; nth++) {
        eq_chat *c = NULL;
        eq_ids ids = {0};
        eq_str mask = {0};
        eq_err err = {0};
        eq_mem_fail_nth(nth);
        eq_status st = eq_chat_open(&c, dir, NULL, &err);
        if (st == EQ_OK) st = eq_chat_encode(c, t, &ids, &mask, two, 1, &err);
        failed = st != EQ_OK;
        eq_mem_fail_nth(0);
        if (failed) check_error(&err, EQ_ENOMEM, "memory", NULL);
        eq_chat_close(c);
        eq_ids_free(&ids);
        eq_str_free(&mask);
        assert_int_equal(eq_mem_current(), before);
        assert_true(nth < 500);
    }
    eq_tokenizer_close(t);
}

static int read_golden(void **state) {
    (void)state;
    return eq_json_load(&golden, "tests/golden/chat.json", NULL) != EQ_OK;
}
static int clean(void **state) {
    (void)state;
    json_decref(golden);
    eq_free(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(language),        cmocka_unit_test(families),
        cmocka_unit_test(by_name),         cmocka_unit_test(own),
        cmocka_unit_test(answers),         cmocka_unit_test(masks),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, read_golden, clean);
}

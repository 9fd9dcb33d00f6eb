/* Tokenizers as metadata of GGUF files: kinds, scores, types, ids, and what llama.cpp would cut
 * otherwise, which is refused. */
#include "tiny_gguf.h"

#include "base/io.h"
#include "scratch.h"

/* ---- tokenizers --------------------------------------------------------------------------------
 */

static void pieces(void **state) {
    (void)state;
    static const float scores[] = {0, 0, -1e9f, 0, -1e9f, -1e9f, -1e9f, 0, -1, -2, -3, -1e9f, 0};
    static const int types[] = {2, 3, 1, 6, 1, 1, 1, 1, 1, 1, 1, 1, 4, 5};
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    tg_quantized(tg_base("llama", tg_config("llama", false, "")), &o);
    tg_spm(tg_at("q"));
    eq_gguf *g = tg_exported(NULL, NULL, false, NULL);
    tg_text_is(g, "tokenizer.ggml.model", 0, "llama");
    tg_text_is(g, "tokenizer.ggml.pre", 0, "default");
    tg_text_is(g, "tokenizer.ggml.tokens", 8,
               "\xe2\x96\x81"
               "ab");
    tg_text_is(g, "tokenizer.ggml.tokens", 12, "<own>");
    tg_text_is(g, "tokenizer.ggml.tokens", TG_V - 1, "[PAD299]");
    tg_text_is(g, "tokenizer.chat_template", 0, "{{ x }}");
    const eq_gguf_value *s = eq_gguf_get(g, "tokenizer.ggml.scores");
    const eq_gguf_value *t = eq_gguf_get(g, "tokenizer.ggml.token_type");
    assert_true(s->n == TG_V && t->n == TG_V && eq_gguf_get(g, "tokenizer.ggml.tokens")->n == TG_V);
    for (int i = 0; i < 13; i++) {
        double x;
        assert_true(eq_gguf_num(s, i, &x) && x == (double)scores[i]);
    }
    for (int i = 0; i < 14; i++) {
        int64_t x;
        assert_true(eq_gguf_int(t, i, &x) && x == types[i]);
    }
    assert_int_equal(tg_whole(g, "tokenizer.ggml.bos_token_id"), 1);
    assert_int_equal(tg_whole(g, "tokenizer.ggml.eos_token_id"), 2);
    assert_int_equal(tg_whole(g, "tokenizer.ggml.add_bos_token"), 1);
    assert_int_equal(tg_whole(g, "tokenizer.ggml.add_eos_token"), 0);
    assert_int_equal(tg_whole(g, "tokenizer.ggml.add_space_prefix"), 1);
    eq_gguf_close(g);
}

#define SPLIT(r) \
    "{'type': 'Split', 'pattern': {'Regex': '" r "'}, 'behavior': 'Isolated', 'invert': false},"
#define LLAMA3 \
    "(?i:\\u0027s|\\u0027t|\\u0027re|\\u0027ve|\\u0027m|\\u0027ll|\\u0027d)|[^\\\\r\\\\n\\\\p{L}" \
    "\\\\p{N}]?\\\\p{L}+|" \
    "\\\\p{N}{1,3}| " \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
static void words(void **state) {
    (void)state;
    static const struct {
        const char *step;
        bool regex;
        const char *model, *pre; /* NULL: refused */
    } cases[] = {
        {"", true, NULL, "gpt-2"},
        {"{'type': 'Digits', 'individual_digits': true},", true, NULL, "smollm"},
        {SPLIT(LLAMA3), false, "'ignore_merges': true", "llama-bpe"},
        {SPLIT(LLAMA3), false, NULL, NULL},
        {SPLIT("a+"), false, NULL, NULL},
        {"{'type': 'Digits', 'individual_digits': false},", true, NULL, NULL},
        {"", true, "'ignore_merges': true", NULL},
    };
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    tg_quantized(tg_base("llama", tg_config("llama", false, "")), &o);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_err err = {0};
        eq_gguf *g;
        tg_bytes(tg_at("q"), cases[i].step, cases[i].regex, cases[i].model, "");
        eq_status st = tg_export(NULL, NULL, false, NULL, &err);
        if (!cases[i].pre) {
            assert_int_equal(st, EQ_EINPUT);
            check_error(&err, EQ_EINPUT, "tokenizer.json", "llama.cpp", NULL);
            assert_false(eq_exists(tg_at("out.gguf")));
            continue;
        }
        if (st != EQ_OK) fail_msg("%s", err.msg);
        assert_int_equal(eq_gguf_open(&g, tg_at("out.gguf"), &err), EQ_OK);
        tg_text_is(g, "tokenizer.ggml.model", 0, "gpt2");
        tg_text_is(g, "tokenizer.ggml.pre", 0, cases[i].pre);
        tg_text_is(g, "tokenizer.ggml.merges", 1, "th e");
        assert_null(eq_gguf_get(g, "tokenizer.ggml.scores"));
        assert_int_equal(tg_whole(g, "tokenizer.ggml.add_bos_token"), 0);
        eq_gguf_close(g);
    }
}

static void bad_tokenizers(void **state) {
    (void)state;
    static const struct {
        const char *more, *word;
    } cases[] = {
        {", 'added_tokens': [{'id': 300, 'content': 'x_y', 'special': true, 'normalized': "
         "false, " TG_FLAGS "}]",
         "300"},
        {", 'normalizer': {'type': 'NFKC'}", "NFKC"},
    };
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    tg_quantized(tg_base("llama", tg_config("llama", false, "")), &o);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_err err = {0};
        tg_bytes(tg_at("q"), "", true, NULL, cases[i].more);
        assert_int_equal(tg_export(NULL, NULL, false, NULL, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, "tokenizer.json", cases[i].word, NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces),
        cmocka_unit_test(words),
        cmocka_unit_test(bad_tokenizers),
    };
    return cmocka_run_group_tests_name("export_tokens", tests, tg_begin, tg_end);
}

/* Model folders: which class is made of vocab.json and merges.txt, and what stands in front of a
 * text. Expected ids are those of transformers (5.24; for the Llama classes 4.46). */
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "scratch.h"
#include "text/byte_char.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static char *dir;

static void put(const char *name, const char *text) {
    char *path = eq_path(dir, name);
    assert_non_null(path);
    assert_int_equal(eq_write_file(path, text, (int64_t)strlen(text), NULL), EQ_OK);
    eq_free(path);
}

static void new_folder(const char *name) {
    eq_free(dir);
    dir = eq_strdup(scratch_path(name));
    assert_int_equal(eq_remove_tree(dir, NULL), EQ_OK);
    assert_int_equal(eq_mkdir(dir, NULL), EQ_OK);
}

/* Every byte is a token, 0 to 255 in their order; further ones from 256 on. */
static void byte_vocab(eq_str *s, const char *more) {
    eq_str_puts(s, "{");
    for (int b = 0; b < 256; b++)
        eq_str_printf(s, "%s\"\\u%04x\":%d", b ? "," : "", (unsigned)eq_byte_to_char((uint8_t)b),
                      b);
    eq_str_printf(s, "%s}", more);
}

/* A folder of the old kind, in which two newlines and "ab" are one token each. */
static void old_folder(const char *name, const char *config, const char *model) {
    eq_str s = {0};
    new_folder(name);
    byte_vocab(&s, ",\"\\u010a\\u010a\":256,\"ab\":257,\"<|endoftext|>\":258");
    put("vocab.json", s.p);
    put("merges.txt", "#version: 0.2\n\xc4\x8a \xc4\x8a\na b\n");
    if (config) put("tokenizer_config.json", config);
    if (model) put("config.json", model);
    eq_str_free(&s);
}

/* A tokenizer.json whose template puts <t> (257) in front; <s> is 256, </s> 258. */
static void new_kind(const char *name, const char *config, const char *model, bool template) {
    eq_str s = {0};
    new_folder(name);
    eq_str_puts(&s, "{\"added_tokens\":[");
    static const char *const added[] = {"<s>", "<t>", "</s>"};
    for (int i = 0; i < 3; i++)
        eq_str_printf(&s,
                      "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
                      "\"rstrip\":false,\"normalized\":false,\"special\":true}",
                      i ? "," : "", 256 + i, added[i]);
    eq_str_puts(&s, "],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                    "\"trim_offsets\":true},\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":");
    byte_vocab(&s, "");
    eq_str_puts(&s, "}");
    if (template)
        eq_str_puts(&s, ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
                        "\"SpecialToken\":{\"id\":\"<t>\",\"type_id\":0}},{\"Sequence\":{\"id\":"
                        "\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<t>\":{\"id\":"
                        "\"<t>\",\"ids\":[257],\"tokens\":[\"<t>\"]}}}");
    eq_str_puts(&s, "}");
    put("tokenizer.json", s.p);
    if (config) put("tokenizer_config.json", config);
    if (model) put("config.json", model);
    eq_str_free(&s);
}

static void check_ids(eq_bos bos, const char *text, bool special, int64_t n, const int32_t *want) {
    eq_tokenizer *t;
    eq_err err = {0};
    eq_ids ids = {0};
    if (eq_tokenizer_open_bos(&t, dir, bos, &err) != EQ_OK) fail_msg("%s: %s", dir, err.msg);
    assert_int_equal(eq_encode(t, &ids, text, (int64_t)strlen(text), special, NULL), EQ_OK);
    if (ids.n != n || memcmp(ids.p, want, (size_t)n * sizeof *want)) {
        for (int64_t i = 0; i < ids.n; i++) printf("%d ", ids.p[i]);
        fail_msg("%s: \"%s\": other ids", dir, text);
    }
    if (special) assert_int_equal(eq_tokenizer_bos(t), n > 0 && want[0] >= 256 && want[0] < 258);
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
}
#define IDS(...) \
    sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (int32_t[]) { __VA_ARGS__ }

static void refused(eq_bos bos, const char *word, const char *word2) {
    eq_tokenizer *t;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    assert_int_equal(eq_tokenizer_open_bos(&t, dir, bos, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, word, word2, NULL);
    assert_int_equal(eq_mem_current(), before);
}

static void classes(void **state) {
    (void)state;
    /* GPT-2 cuts before the last of two newlines, Qwen2 does not, and composes characters. */
    static const char *const gpt2[] = {"{\"tokenizer_class\":\"GPT2Tokenizer\"}",
                                       "{\"tokenizer_class\":\"GPT2TokenizerFast\"}"};
    static const char *const qwen2[] = {"{\"tokenizer_class\":\"Qwen2Tokenizer\"}",
                                        "{\"tokenizer_class\":\"Qwen2TokenizerFast\"}"};
    for (int i = 0; i < 2; i++) {
        old_folder("gpt2", gpt2[i], "{\"model_type\":\"llama\"}"); /* the class decides */
        check_ids(EQ_BOS_AUTO, "ab\n\nb", false, IDS(257, 10, 10, 98));
        check_ids(EQ_BOS_AUTO, "e\xcc\x81", false, IDS(101, 0xcc, 0x81));
        check_ids(EQ_BOS_AUTO, "a<|endoftext|>", false, IDS(97, 258));
        old_folder("qwen2", qwen2[i], NULL);
        check_ids(EQ_BOS_AUTO, "ab\n\nb", false, IDS(257, 256, 98));
        check_ids(EQ_BOS_AUTO, "e\xcc\x81", false, IDS(0xc3, 0xa9));
        check_ids(EQ_BOS_AUTO, "12", false, IDS(49, 50));
    }
    old_folder("by-type", "{\"bos_token\":null}", "{\"model_type\":\"qwen3\"}");
    check_ids(EQ_BOS_AUTO, "a\n\nb", false, IDS(97, 256, 98));
    old_folder("bare", NULL, NULL);
    check_ids(EQ_BOS_AUTO, "a\n\nb", false, IDS(97, 10, 10, 98));
    old_folder("space", "{\"tokenizer_class\":\"GPT2Tokenizer\",\"add_prefix_space\":true}", NULL);
    check_ids(EQ_BOS_AUTO, "a", false, IDS(32, 97));
    old_folder("llama", "{\"tokenizer_class\":\"LlamaTokenizer\"}", NULL);
    refused(EQ_BOS_AUTO, "LlamaTokenizer", "tokenizer.json");
    old_folder("mistral", NULL, "{\"model_type\":\"mistral\"}");
    refused(EQ_BOS_AUTO, "model_type mistral", "tokenizer.json");
    old_folder("nothing", NULL, "{}");
    refused(EQ_BOS_AUTO, "no named class", "tokenizer.json");
}

static void added_tokens(void **state) {
    (void)state;
    old_folder("decoder",
               "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"model_max_length\":"
               "1000000000000000019884624838656,\"added_tokens_decoder\":{"
               "\"260\":{\"content\":\"<|b|>\",\"rstrip\":true},"
               "\"258\":{\"content\":\"<|endoftext|>\",\"special\":true},"
               "\"259\":{\"content\":\"<|a|>\",\"special\":true}}}",
               NULL);
    check_ids(EQ_BOS_AUTO, "<|a|> <|b|> a<|endoftext|>", false, IDS(259, 32, 260, 97, 258));
    old_folder("file", "{\"tokenizer_class\":\"GPT2Tokenizer\",\"eos_token\":\"<|a|>\"}", NULL);
    put("added_tokens.json", "{\"<|b|>\":260,\"<|a|>\":259}");
    check_ids(EQ_BOS_AUTO, "<|a|>a<|b|>", false, IDS(259, 97, 260));
    eq_tokenizer *t;
    assert_int_equal(eq_tokenizer_open(&t, dir, NULL), EQ_OK);
    char *text = eq_decode(t, (int32_t[]){259, 97, 260}, 3, true); /* only the eos is special */
    assert_string_equal(text, "a<|b|>");
    eq_free(text);
    eq_tokenizer_close(t);
    put("added_tokens.json", "{\"<|b|>\":261}");
    refused(EQ_BOS_AUTO, "expected id 259", "found 261");
    put("added_tokens.json", "{\"<|b|>\":\"x\"}");
    refused(EQ_BOS_AUTO, "<|b|>", "an id");
}

#define LLAMA "{\"tokenizer_class\":\"LlamaTokenizerFast\",\"bos_token\":{\"content\":\"<s>\"}"
static void llama_follows_flags(void **state) {
    (void)state;
    for (int template = 0; template <2; template ++) {
        new_kind("flags", LLAMA "}", NULL, template); /* yes, unless it says no */
        check_ids(EQ_BOS_AUTO, "a", true, IDS(256, 97));
        new_kind("flags", LLAMA ",\"add_bos_token\":true,\"add_eos_token\":true}", NULL, template);
        check_ids(EQ_BOS_AUTO, "a", true, IDS(256, 97, 258));
        check_ids(EQ_BOS_AUTO, "a", false, IDS(97));
        new_kind("flags", LLAMA ",\"add_bos_token\":false}", NULL, template);
        check_ids(EQ_BOS_AUTO, "a", true, IDS(97));
        check_ids(EQ_BOS_YES, "a", true, IDS(256, 97));
    }
    new_kind(
        "flags",
        "{\"tokenizer_class\":\"LlamaTokenizer\",\"bos_token\":\"<x>\",\"add_bos_token\":true}",
        NULL, true);
    refused(EQ_BOS_AUTO, "add_bos_token", "bos_token");
    new_kind("flags", LLAMA ",\"add_bos_token\":1}", NULL, true);
    refused(EQ_BOS_AUTO, "add_bos_token", "a boolean");
    new_kind("flags", "[]", NULL, true);
    refused(EQ_BOS_AUTO, "tokenizer_config.json", "an array");
}

static void others_follow_the_template(void **state) {
    (void)state;
    static const char fast[] = "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"bos_token\":\"<"
                               "s>\",\"add_bos_token\":true}";
    new_kind("fast", fast, NULL, true);
    check_ids(EQ_BOS_AUTO, "a", true, IDS(257, 97));
    check_ids(EQ_BOS_YES, "a", true, IDS(256, 257, 97)); /* <t> is not the BOS */
    check_ids(EQ_BOS_NO, "a", true, IDS(257, 97));
    new_kind("fast", fast, NULL, false);
    check_ids(EQ_BOS_AUTO, "a", true, IDS(97));
    check_ids(EQ_BOS_YES, "a", true, IDS(256, 97));
    check_ids(EQ_BOS_YES, "", true, IDS(256));
    check_ids(EQ_BOS_NO, "a", true, IDS(97));
    /* config.json knows the id, too */
    new_kind("by-id", NULL, "{\"bos_token_id\":257}", true);
    check_ids(EQ_BOS_YES, "a", true, IDS(257, 97)); /* once */
    check_ids(EQ_BOS_NO, "a", true, IDS(97));
    /* nobody knows it: what the template puts in front counts */
    new_kind("unknown", NULL, NULL, true);
    check_ids(EQ_BOS_YES, "a", true, IDS(257, 97));
    check_ids(EQ_BOS_NO, "a", true, IDS(97));
    new_kind("unknown", NULL, NULL, false);
    check_ids(EQ_BOS_NO, "a", true, IDS(97));
    refused(EQ_BOS_YES, "no BOS is known", "bos_token");
}

static void memory_runs_out(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        if (kind)
            new_kind("memory", LLAMA ",\"add_eos_token\":true}", NULL, true);
        else
            old_folder("memory", NULL, "{\"model_type\":\"qwen2\",\"bos_token_id\":3}");
        put("added_tokens.json", "{\"<|b|>\":259}");
        eq_status st = EQ_ENOMEM;
        int64_t before = eq_mem_current();
        for (int64_t nth = 1; st != EQ_OK; nth++) {
            eq_tokenizer *t;
            eq_err err = {0};
            eq_mem_fail_nth(nth);
            st = eq_tokenizer_open_bos(&t, dir, EQ_BOS_YES, &err);
            eq_mem_fail_nth(0);
            if (st != EQ_OK) check_error(&err, EQ_ENOMEM, NULL);
            eq_tokenizer_close(st == EQ_OK ? t : NULL);
            assert_int_equal(eq_mem_current(), before);
            assert_true(nth < 500);
        }
    }
}

static int clean(void **state) {
    (void)state;
    eq_free(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(added_tokens),
        cmocka_unit_test(llama_follows_flags),
        cmocka_unit_test(others_follow_the_template),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}

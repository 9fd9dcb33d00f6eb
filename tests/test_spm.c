/* Folders with a sentencepiece model or tiktoken's ranks alone: the ids of the tokenizer.json that
 * transformers makes of them (tools/peer_tokenizer.py compares real ones), and broken files. */
#include <math.h>

#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "text/base64.h"
#include "text/tokenizer.h"

#define META "\xe2\x96\x81"

static char *dir;

static void put(const char *name, const void *bytes, int64_t n) {
    char *path = eq_path(dir, name);
    assert_int_equal(eq_write_file(path, bytes, n, NULL), EQ_OK);
    eq_free(path);
}

static void new_folder(const char *config) {
    eq_free(dir);
    dir = eq_strdup(scratch_path("spm"));
    assert_int_equal(eq_remove_tree(dir, NULL), EQ_OK);
    assert_int_equal(eq_mkdir(dir, NULL), EQ_OK);
    if (config) put("tokenizer_config.json", config, (int64_t)strlen(config));
}

/* ---- writing a model ------------------------------------------------------------------------- */

static void put_varint(eq_str *s, uint64_t v) {
    for (; v > 0x7f; v >>= 7) eq_str_put(s, &(char){(char)(v | 0x80)}, 1);
    eq_str_put(s, &(char){(char)v}, 1);
}
static void put_int(eq_str *s, int field, uint64_t v) {
    put_varint(s, (uint64_t)field << 3), put_varint(s, v);
}
static void put_bytes(eq_str *s, int field, const char *p, int64_t n) {
    put_varint(s, (uint64_t)field << 3 | 2), put_varint(s, (uint64_t)n), eq_str_put(s, p, n);
}

typedef struct {
    const char *s;
    float score;
    int type;
} piece;

static void put_piece(eq_str *s, piece p) {
    eq_str one = {0};
    put_bytes(&one, 1, p.s, (int64_t)strlen(p.s));
    put_varint(&one, 2 << 3 | 5), eq_str_put(&one, &p.score, 4);
    if (p.type != 1) put_int(&one, 3, (uint64_t)p.type);
    put_bytes(s, 1, one.p, one.n);
    eq_str_free(&one);
}

/* type: 1 Unigram, 2 BPE. normalizer: fields of its message, may be NULL. */
static void put_model(const piece *p, int n, int type, bool fallback, const char *normalizer,
                      int64_t nn) {
    eq_str s = {0}, t = {0};
    for (int i = 0; i < n; i++) put_piece(&s, p[i]);
    put_int(&t, 3, (uint64_t)type), put_int(&t, 4, (uint64_t)n), put_int(&t, 35, fallback);
    put_bytes(&s, 2, t.p, t.n);
    if (normalizer) put_bytes(&s, 3, normalizer, nn);
    put_varint(&s, 99 << 3 | 1), eq_str_put(&s, "12345678", 8); /* a field that no one knows */
    put("tokenizer.model", s.p, s.n);
    eq_str_free(&s), eq_str_free(&t);
}

static const piece llama[] = {{"<unk>", 0, 2},     {"<s>", 0, 3},     {"</s>", 0, 3},
                              {"<0x0A>", 0, 6},    {META "a", -1, 1}, {"bc", -2, 1},
                              {META "abc", -3, 1}, {META, -4, 1},     {"a", -5, 1},
                              {"b", -6, 1},        {"c", -7, 1},      {"<u>", 0, 4}};
enum { LLAMA = sizeof llama / sizeof *llama };

static void check(const char *text, bool special, int64_t n, const int32_t *want) {
    eq_tokenizer *t;
    eq_err err = {0};
    eq_ids ids = {0};
    if (eq_tokenizer_open(&t, dir, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_int_equal(eq_encode(t, &ids, text, (int64_t)strlen(text), special, NULL), EQ_OK);
    if (ids.n != n || memcmp(ids.p, want, (size_t)n * sizeof *want)) {
        for (int64_t i = 0; i < ids.n; i++) printf("%d ", ids.p[i]);
        fail_msg("\"%s\": other ids", text);
    }
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
}
#define IDS(...) \
    sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (int32_t[]) { __VA_ARGS__ }

static void check_text(const char *want, int64_t n, const int32_t *ids) {
    eq_tokenizer *t;
    assert_int_equal(eq_tokenizer_open(&t, dir, NULL), EQ_OK);
    char *s = eq_decode(t, ids, n, false);
    assert_string_equal(s, want);
    eq_free(s);
    eq_tokenizer_close(t);
}

static void refused(const char *word, const char *word2) {
    eq_tokenizer *t;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (eq_tokenizer_open(&t, dir, &err) == EQ_OK)
        fail_msg("it is accepted, not refused: %s", word);
    check_error(&err, EQ_EINPUT, "tokenizer.model", word, word2, NULL);
    assert_int_equal(eq_mem_current(), before);
}

static void llama_kind(void **state) {
    (void)state;
    static const char *const configs[] = {
        "{\"tokenizer_class\":\"LlamaTokenizer\"}",
        "{\"tokenizer_class\":\"LlamaTokenizerFast\",\"legacy\":true}"};
    for (int i = 0; i < 2; i++) {
        new_folder(configs[i]);
        put_model(llama, LLAMA, 2, true, NULL, 0);
        check("abc", true, IDS(1, 6));
        check("a bc\n", false, IDS(4, 7, 5, 3));
        check("a</s>a", false, IDS(4, 2, 4)); /* a space in front of every part of a text */
        check("a<u>bc", false, IDS(4, 11, 7, 5));
        check("ax", false, IDS(4, 0));
        check_text("abc\n", 2, (int32_t[]){6, 3});
    }
    new_folder("{\"tokenizer_class\":\"LlamaTokenizer\",\"legacy\":false}");
    put_model(llama, LLAMA, 2, true, NULL, 0);
    check("a</s>a", false, IDS(4, 2, 8));
    new_folder("{\"tokenizer_class\":\"LlamaTokenizer\",\"add_prefix_space\":false}");
    put_model(llama, LLAMA, 2, true, NULL, 0);
    check("a a", false, IDS(8, 4));
    new_folder("{\"tokenizer_class\":\"LlamaTokenizer\",\"added_tokens_decoder\":{\"12\":{"
               "\"content\":\"<x>\","
               "\"special\":true}}}");
    put_model(llama, LLAMA, 2, true, NULL, 0);
    check("a<x>", false, IDS(4, 12));
    new_folder(NULL);
    put("config.json", "{\"model_type\":\"mistral\"}", 24);
    put_model(llama, LLAMA, 2, true, NULL, 0);
    check("abc", false, IDS(6));
    new_folder("{\"tokenizer_class\":\"InternLM2Tokenizer\"}");
    put_model(llama, LLAMA, 2, true, NULL, 0);
    refused("InternLM2Tokenizer", "LlamaTokenizer");
    new_folder("{\"tokenizer_class\":\"LlamaTokenizer\"}");
    put_model(llama, LLAMA, 1, true, NULL, 0);
    refused("Unigram", "BPE");
}

/* Without a class the model's own settings count. */
static void own_settings(void **state) {
    (void)state;
    static const piece p[] = {{"<unk>", 0, 2}, {"<s>", 0, 3},     {"</s>", 0, 3},
                              {META, -3, 1},   {META "a", -1, 1}, {"a", -2, 1},
                              {"b", -2.5f, 1}, {"ab", -9, 1},     {META "ab", -2.75f, 1}};
    new_folder(NULL);
    put_model(p, 9, 1, false, NULL, 0);
    check("ab", false, IDS(8));
    check("  a   b ", false, IDS(4, 3, 6)); /* spaces are joined, those at the ends go */
    check("a<s>ab", false, IDS(4, 1, 8));
    check("ax", false, IDS(4, 0));
    check_text("a b", 3, (int32_t[]){4, 3, 6});
    put_model(p, 9, 1, false, "\x18\x00\x20\x00", 4); /* no space in front, spaces as they are */
    check("a b", false, IDS(5, 3, 6));
    check(" a", false, IDS(4));
    /* BPE by scores: "ab" is made before the mark joins */
    static const piece q[] = {{"<unk>", 0, 2},    {META, -9, 1}, {"a", -9, 1},
                              {"b", -9, 1},       {"ab", -1, 1}, {META "a", -2, 1},
                              {META "ab", -3, 1}, {"b.", 0, 4},  {".", -9, 1}};
    put_model(q, 7, 2, false, NULL, 0);
    check("ab", false, IDS(6));
    check("b a", false, IDS(1, 3, 5));
    put_model(q, 9, 2, false, NULL, 0); /* the user's own pieces stay whole */
    check("ab.", false, IDS(5, 7));
}

/* Merges come in the order of the scores, whatever the ids are. */
static void scores_rank_merges(void **state) {
    (void)state;
    static const piece p[] = {{"<unk>", 0, 2}, {"a", -9, 1},  {"b", -9, 1}, {"c", -9, 1},
                              {"bc", -2, 1},   {"ab", -1, 1}, {META, -9, 1}};
    new_folder("{\"tokenizer_class\":\"LlamaTokenizer\",\"add_prefix_space\":false}");
    put_model(p, 7, 2, true, NULL, 0);
    check("abc", false, IDS(5, 3));
    new_folder(NULL);
    put_model(p, 7, 2, false, "\x18\x00", 2);
    check("abc", false, IDS(5, 3));
}

static void gemma_kind(void **state) {
    (void)state;
    static const piece p[] = {{"<pad>", 0, 3}, {"<eos>", 0, 3}, {"<bos>", 0, 3},   {"<unk>", 0, 2},
                              {"a", -1, 1},    {META, -1, 1},   {META "a", -1, 1}, {"<t>", 0, 4}};
    new_folder("{\"tokenizer_class\":\"GemmaTokenizer\"}");
    put_model(p, 8, 2, true, NULL, 0);
    check("a a<t>a", false, IDS(4, 6, 7, 4));
    check_text(" a", 1, (int32_t[]){6});
}

static void tiktoken(void **state) {
    (void)state;
    eq_str s = {0};
    for (int b = 0; b < 256; b++) {
        eq_base64_encode(&s, &(char){(char)b}, 1);
        eq_str_printf(&s, " %d\n", b);
    }
    static const char *const more[] = {"ab", " a", "abc", "bc"};
    for (int i = 0; i < 4; i++) {
        eq_base64_encode(&s, more[i], (int64_t)strlen(more[i]));
        eq_str_printf(&s, " %d\n", 256 + i);
    }
    new_folder(NULL);
    put("tokenizer.model", s.p, s.n);
    check("abc", false, IDS(258));
    check("abcbc abc", false, IDS(258, 259, 32, 258)); /* whole words first, then merges */
    check("1234", false, IDS(49, 50, 51, 52));
    check_text("abc a", 2, (int32_t[]){258, 257});
    new_folder("{\"added_tokens_decoder\":{\"262\":{\"content\":\"<|x|>\",\"special\":true},"
               "\"260\":{\"content\":"
               "\"<|a|>\",\"special\":true}}}");
    put("tokenizer.model", s.p, s.n);
    check("<|x|>a<|reserved_token_261|><|a|>", false, IDS(262, 97, 261, 260));
    new_folder("{\"tokenizer_class\":\"QWenTokenizer\"}");
    put("qwen.tiktoken", s.p, s.n);
    check("<|endoftext|><|im_end|>a<|extra_204|>", false, IDS(260, 262, 97, 467));
    static const struct {
        const char *text, *word;
    } wrong[] = {{"YQ== 0\nYg==\n", "line 2"}, {"YQ== 0\nYg== x\n", "line 2"},
                 {"YQ== 0\nYg 1\n", "line 2"}, {"YQ== 0\nYQ== 1\n", "line 2"},
                 {"YQ== 0\n\n 5\n", "line 3"}, {"YQ== 0\nYg== 99999999999\n", "line 2"},
                 {"YQ== 0\n", "the byte 0"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        new_folder(NULL);
        put("tokenizer.model", wrong[i].text, (int64_t)strlen(wrong[i].text));
        refused(wrong[i].word, NULL);
    }
    eq_str_free(&s);
}

static void broken(void **state) {
    (void)state;
    new_folder("{\"tokenizer_class\":\"LlamaTokenizer\"}");
    put("tokenizer.model", "x", 1);
    refused("sentencepiece model", NULL);
    put("tokenizer.model", "", 0);
    refused("no pieces", NULL);
    static const piece bad[][2] = {{{"<unk>", 0, 2}, {"\xff", 0, 1}},
                                   {{"<unk>", 0, 2}, {"", 0, 1}},
                                   {{"<unk>", 0, 2}, {"a", 0, 7}},
                                   {{"<unk>", 0, 2}, {"a", INFINITY, 1}},
                                   {{"<unk>", 0, 2}, {"<unk>", 0, 1}}};
    static const char *const words[] = {"no text", "no text", "unknown type", "not finite",
                                        "twice"};
    for (int i = 0; i < 5; i++) {
        put_model(bad[i], 2, 2, true, NULL, 0);
        refused(words[i], NULL);
    }
    put_model(llama, LLAMA, 3, true, NULL, 0);
    refused("neither Unigram nor BPE", NULL);
    /* cut anywhere, it is refused or says something else, and never worse */
    put_model(llama, LLAMA, 2, true, NULL, 0);
    char *path = eq_path(dir, "tokenizer.model");
    eq_map m;
    assert_int_equal(eq_map_open(&m, path, NULL), EQ_OK);
    char *whole = eq_calloc(m.size, 1);
    int64_t n = m.size;
    memcpy(whole, m.data, (size_t)n);
    eq_map_close(&m);
    for (int64_t k = 0; k < n; k++) {
        eq_tokenizer *t;
        eq_err err = {0};
        put("tokenizer.model", whole, k);
        if (eq_tokenizer_open(&t, dir, &err) == EQ_OK)
            eq_tokenizer_close(t);
        else
            check_error(&err, EQ_EINPUT, "tokenizer.model", NULL);
    }
    eq_free(whole);
    eq_free(path);
}

static void memory_runs_out(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        new_folder(kind ? NULL : "{\"tokenizer_class\":\"LlamaTokenizer\"}");
        put_model(llama, LLAMA, 2 - kind, true, kind ? "\x12\x08\x04\0\0\0\0\0\0\0" : NULL,
                  kind ? 10 : 0);
        int64_t before = eq_mem_current();
        for (int64_t nth = 1, failed = 1; failed; nth++) {
            eq_tokenizer *t;
            eq_err err = {0};
            eq_mem_fail_nth(nth);
            eq_status st = eq_tokenizer_open(&t, dir, &err);
            eq_mem_fail_nth(0);
            failed = st != EQ_OK;
            if (failed) check_error(&err, EQ_ENOMEM, NULL);
            eq_tokenizer_close(failed ? NULL : t);
            assert_int_equal(eq_mem_current(), before);
            assert_true(nth < 1000);
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
        cmocka_unit_test(llama_kind),      cmocka_unit_test(own_settings),
        cmocka_unit_test(gemma_kind),      cmocka_unit_test(scores_rank_merges),
        cmocka_unit_test(tiktoken),        cmocka_unit_test(broken),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}

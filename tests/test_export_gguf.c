/* GGUF files: types, order, permuted rows, rope, tokenizers. eq_export compares every weight with
 * the model's by itself; here the file is read as llama.cpp reads it. */
#include "export/export_gguf.h"

#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "export/export_blocks.h"
#include "scratch.h"
#include "tiny_model.h"
#include "tiny_quant.h"
#include "tiny_tokenizer.h"

static char *dir;
static const char *at(const char *name) {
    static char ring[8][256];
    static int k;
    char *p = ring[k++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

enum { V = 300 };
static const char *config(const char *family, bool tied, const char *more) {
    static char text[1024];
    snprintf(text, sizeof text,
             "{\"model_type\": \"%s\", \"hidden_size\": 256, \"intermediate_size\": 256,\n"
             "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
             "\"head_dim\": 64, \"vocab_size\": %d, \"max_position_embeddings\": 64,\n"
             "\"rms_norm_eps\": 1e-05, \"torch_dtype\": \"bfloat16\", \"bos_token_id\": 1,\n"
             "\"eos_token_id\": 2, \"tie_word_embeddings\": %s%s}",
             family, V, tied ? "true" : "false", more);
    return text;
}

/* ---- tokenizers --------------------------------------------------------------------------------
 */

#define FLAGS "'single_word': false, 'lstrip': false, 'rstrip': false"
static const char spm_rest[] =
    "'normalizer': {'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': "
    "'\xe2\x96\x81'},"
    "{'type': 'Replace', 'pattern': {'String': ' '}, 'content': '\xe2\x96\x81'}]},"
    "'added_tokens': [{'id': 0, 'content': '<unk>', 'special': true, 'normalized': false, " FLAGS
    "},"
    "{'id': 1, 'content': '<s>', 'special': true, 'normalized': false, " FLAGS "},"
    "{'id': 12, 'content': '<own>', 'special': false, 'normalized': false, " FLAGS "}],"
    "'post_processor': {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>', "
    "'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}], 'pair': [], 'special_tokens': "
    "{'<s>': {'id': '<s>', 'ids': [1], 'tokens': ['<s>']}}}";
static const char spm_json[] =
    "{\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"byte_fallback\": true,"
    "\"fuse_unk\": true, \"vocab\": {\"<unk>\": 0, \"<s>\": 1, \"</s>\": 2, \"<0x0A>\": 3, \"a\": "
    "4,"
    "\"b\": 5, \"\xe2\x96\x81\": 6, \"ab\": 7, \"\xe2\x96\x81"
    "ab\": 8, \"ba\": 9, \"bab\": 10,"
    "\"xyz\": 11}, \"merges\": [\"a b\", \"\xe2\x96\x81 ab\", \"b a\", \"ba b\", \"b ab\"]}";

static const char bytes_rest[] = "'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [%s"
                                 "{'type': 'ByteLevel', 'add_prefix_space': false, 'trim_offsets': "
                                 "true, 'use_regex': %s}]}";

/* tokenizer.json of the byte-level kind with one step in front of ByteLevel. */
static void write_bytes(const char *folder, const char *step, bool use_regex, const char *model,
                        const char *more) {
    char rest[2048], all[3072];
    snprintf(rest, sizeof rest, bytes_rest, step, use_regex ? "true" : "false");
    snprintf(all, sizeof all, "%s%s", rest, more);
    tiny_tokenizer t = {.merges = "t h;th e", .model = model, .rest = all};
    eq_err err = {0};
    char *to = tiny_path(folder, "tokenizer.json");
    eq_remove_tree(to, &err);
    assert_int_equal(eq_copy_file(tiny_tokenizer_file(&t), to, &err), EQ_OK);
    eq_free(to);
}

static void write_spm(const char *folder) {
    eq_str s = {0};
    eq_str_puts(&s, spm_json), eq_str_puts(&s, ", ");
    for (const char *c = spm_rest; *c; c++) eq_str_printf(&s, "%c", *c == '\'' ? '"' : *c);
    eq_str_puts(&s, "}");
    tiny_text(folder, "tokenizer.json", s.p);
    tiny_text(folder, "tokenizer_config.json",
              "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"chat_template\": \"{{ x }}\"}");
    eq_str_free(&s);
}

/* ---- models ------------------------------------------------------------------------------------
 */

/* A base model by name, made anew. */
static const char *base(const char *name, const char *text) {
    tiny_opts o = {.dt = EQ_BF16, .seed = 5};
    eq_err err = {0};
    const char *path = at(name);
    eq_remove_tree(path, &err);
    assert_int_equal(eq_mkdir(path, &err), EQ_OK);
    tiny_write(path, text, &o);
    return path;
}

static const char *quantized(const char *from, const tiny_quant *o) {
    eq_err err = {0};
    eq_remove_tree(at("q"), &err);
    tiny_quant_write(from, at("q"), o);
    return at("q");
}

static eq_status export_it(const char *type, const char *embeddings, bool lossy,
                           eq_export_result *res, eq_err *err) {
    eq_export_opts o;
    eq_export_opts_init(&o);
    eq_err ignored = {0};
    eq_remove_tree(at("out.gguf"), &ignored);
    o.model = at("q"), o.out = at("out.gguf"), o.to = "gguf";
    o.type = type, o.embeddings = embeddings, o.lossy = lossy;
    return eq_export(&o, NULL, res, err);
}

static eq_gguf *exported(const char *type, const char *embeddings, bool lossy,
                         eq_export_result *res) {
    eq_err err = {0};
    eq_gguf *g;
    if (export_it(type, embeddings, lossy, res, &err) != EQ_OK) fail_msg("%s", err.msg);
    if (eq_gguf_open(&g, at("out.gguf"), &err) != EQ_OK) fail_msg("%s", err.msg);
    return g;
}

static int64_t whole(const eq_gguf *g, const char *key) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    int64_t out;
    if (!v || v->array || !eq_gguf_int(v, 0, &out)) fail_msg("%s is not there", key);
    return out;
}
static double real(const eq_gguf *g, const char *key) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    double out;
    if (!v || !eq_gguf_num(v, 0, &out)) fail_msg("%s is not there", key);
    return out;
}
static void text_is(const eq_gguf *g, const char *key, int64_t i, const char *want) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    const char *s = "";
    int64_t n = 0;
    if (!v || v->kind != EQ_GGUF_STR) fail_msg("%s is not there", key);
    const uint8_t *p = v->at;
    for (int64_t k = 0; k <= i; k++) assert_true(eq_gguf_next(v, &p, &s, &n));
    if ((size_t)n != strlen(want) || memcmp(s, want, (size_t)n))
        fail_msg("%s[%d] is %.*s, expected %s", key, (int)i, (int)n, s, want);
}

/* ---- types -------------------------------------------------------------------------------------
 */

static void smallest(void **state) {
    (void)state;
    static const struct {
        tiny_quant q;
        const char *type;
    } cases[] = {
        {{2, 64, TINY_PORTABLE, false}, "q2_0"}, {{2, 128, TINY_PORTABLE, true}, "q2_0"},
        {{2, 64, TINY_FREE, false}, "q4_0"},     {{2, 32, TINY_PORTABLE, false}, "q4_0"},
        {{2, 256, TINY_FREE, false}, "q2_k"},    {{2, -1, TINY_FREE, true}, "q2_k"},
        {{2, 64, TINY_GRID, false}, "q2_0"},     {{2, 32, TINY_GRID, false}, "q2_k"},
        {{3, 64, TINY_FREE, false}, "q4_0"},     {{3, 256, TINY_PORTABLE, false}, "q3_k"},
        {{3, 32, TINY_GRID, false}, "q3_k"},     {{4, 64, TINY_PORTABLE, false}, "q4_0"},
        {{4, 32, TINY_FREE, false}, "q5_0"},     {{4, 32, TINY_SHORT, false}, "q4_1"},
        {{4, 256, TINY_FREE, false}, "q4_k"},
    };
    base("llama", config("llama", false, ""));
    write_spm(at("llama"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[64];
        eq_export_result res;
        quantized(at("llama"), &cases[i].q);
        eq_gguf *g = exported(NULL, NULL, false, &res);
        snprintf(want, sizeof want, "14 linears %s", cases[i].type);
        if (strcmp(res.types, want)) fail_msg("case %d: %s, expected %s", (int)i, res.types, want);
        assert_true(res.different == 0 && res.weights > 2 * V * 256);
        assert_non_null(strstr(res.reader, strcmp(cases[i].type, "q2_0") ? "2024" : "2026"));
        const eq_gguf_tensor *t = eq_gguf_find(g, "blk.1.ffn_down.weight");
        assert_string_equal(eq_ggml_of(t->type).name, cases[i].type);
        eq_gguf_close(g);
    }
}

static void asked_for(void **state) {
    (void)state;
    tiny_quant o = {4, 64, TINY_FREE, false};
    eq_export_result res;
    eq_err err = {0};
    quantized(base("llama", config("llama", false, "")), &o);
    write_spm(at("q"));
    assert_int_equal(export_it("q4_0", NULL, false, &res, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "model.layers.0.self_attn.q_proj", "q4_0", "--lossy", NULL);
    assert_false(eq_exists(at("out.gguf")));
    static const char *const types[] = {"q2_0", "q2_k", "q3_k", "q4_0", "q4_k", "q4_1", "f16"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        eq_gguf_close(exported(types[i], NULL, true, &res));
        assert_true(res.different > 0 && res.worst > 0 && res.mean > 0);
    }
    eq_gguf_close(exported("f32", NULL, false, &res));
    assert_int_equal(res.different, 0);
    err = (eq_err){0};
    assert_int_equal(export_it("q9", NULL, false, &res, &err), EQ_EINPUT);
}

static void embeddings(void **state) {
    (void)state;
    static const struct {
        const char *as;
        eq_ggml type;
    } cases[] = {{NULL, EQ_GGML_BF16},
                 {"stored", EQ_GGML_BF16},
                 {"f16", EQ_GGML_F16},
                 {"q8_0", EQ_GGML_Q8_0}};
    tiny_quant o = {4, 64, TINY_PORTABLE, false};
    quantized(base("llama", config("llama", false, "")), &o);
    write_spm(at("q"));
    for (int i = 0; i < 4; i++) {
        eq_export_result res;
        eq_gguf *g = exported(NULL, cases[i].as, false, &res);
        assert_int_equal(eq_gguf_find(g, "token_embd.weight")->type, cases[i].type);
        assert_int_equal(eq_gguf_find(g, "output.weight")->type, cases[i].type);
        /* of bf16 numbers, fp16 rounds those below 2^-14 */
        assert_true((res.different > 0) == (i >= 2));
        assert_true(res.worst <= (i == 3 ? 0.01 : i == 2 ? 0x1p-25 : 0x1p-126));
        if (i == 3) assert_non_null(strstr(res.worst_at, "weight"));
        eq_gguf_close(g);
    }
}

/* ---- the model ---------------------------------------------------------------------------------
 */

/* Rows of q and k: neighbours there are half a head apart here. */
static void permuted(void **state) {
    (void)state;
    tiny_quant o = {4, 64, TINY_PORTABLE, false};
    eq_err err = {0};
    quantized(base("llama", config("llama", false, ", \"attention_bias\": true")), &o);
    write_spm(at("q"));
    eq_gguf *g = exported(NULL, NULL, false, NULL);
    eq_weights *w;
    eq_qblock b = {0};
    assert_int_equal(eq_weights_open(&w, at("q"), &err), EQ_OK);
    assert_int_equal(eq_export_block(&b, w, 1, &err), EQ_OK);
    const eq_gguf_tensor *k = eq_gguf_find(g, "blk.1.attn_k.weight");
    const eq_gguf_tensor *bias = eq_gguf_find(g, "blk.1.attn_k.bias");
    float want[256], got[256];
    for (int h = 0; h < 2; h++)
        for (int j = 0; j < 32; j++)
            for (int half = 0; half < 2; half++) {
                int from = h * 64 + half * 32 + j, to = h * 64 + 2 * j + half;
                eq_qlinear_rows(&b.lin[EQ_LIN_K], want, from, 1);
                eq_ggml_values(got, k->type, k->data + to * (256 / 32 * 18), 256);
                for (int i = 0; i < 256; i++) assert_true(want[i] == got[i]);
                float x;
                memcpy(&x, bias->data + 4 * to, 4);
                assert_true(x == eq_load(w->blocks[1].bias[EQ_LIN_K]->data, EQ_BF16, from));
            }
    eq_qblock_free(&b);
    eq_weights_close(w);
    eq_gguf_close(g);
}

static void metadata(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    quantized(base("llama", config("llama", false,
                                   ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": "
                                   "\"linear\", \"factor\": 4.0}")),
              &o);
    write_spm(at("q"));
    eq_gguf *g = exported(NULL, NULL, false, NULL);
    text_is(g, "general.architecture", 0, "llama");
    text_is(g, "general.name", 0, "q");
    assert_int_equal(whole(g, "general.file_type"), 41);
    assert_int_equal(whole(g, "general.quantization_version"), 2);
    assert_int_equal(whole(g, "llama.vocab_size"), V);
    assert_int_equal(whole(g, "llama.context_length"), 64);
    assert_int_equal(whole(g, "llama.embedding_length"), 256);
    assert_int_equal(whole(g, "llama.block_count"), 2);
    assert_int_equal(whole(g, "llama.attention.head_count"), 4);
    assert_int_equal(whole(g, "llama.attention.head_count_kv"), 2);
    assert_int_equal(whole(g, "llama.attention.key_length"), 64);
    assert_int_equal(whole(g, "llama.rope.dimension_count"), 64);
    assert_true(real(g, "llama.rope.freq_base") == 500000.0);
    assert_true(real(g, "llama.attention.layer_norm_rms_epsilon") == (double)1e-5f);
    text_is(g, "llama.rope.scaling.type", 0, "linear");
    assert_true(real(g, "llama.rope.scaling.factor") == 4.0);
    static const eq_gguf_kind kinds[] = {EQ_GGUF_U32, EQ_GGUF_F32, EQ_GGUF_BOOL};
    static const char *const keys[] = {"llama.block_count", "llama.rope.freq_base",
                                       "tokenizer.ggml.add_bos_token"};
    for (int i = 0; i < 3; i++) assert_int_equal(eq_gguf_get(g, keys[i])->kind, kinds[i]);
    eq_gguf_close(g);
}

static void llama3_rope(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    eq_err err = {0};
    quantized(
        base("llama", config("llama", true,
                             ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": "
                             "\"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
                             "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": "
                             "32}")),
        &o);
    write_spm(at("q"));
    eq_gguf *g = exported(NULL, NULL, false, NULL);
    assert_null(eq_gguf_get(g, "llama.rope.scaling.type"));
    assert_null(eq_gguf_find(g, "output.weight")); /* tied */
    const eq_gguf_tensor *t = eq_gguf_find(g, "rope_freqs.weight");
    eq_config c, plain;
    assert_int_equal(eq_config_load(&c, at("q"), &err), EQ_OK);
    plain = c, plain.rope.kind = EQ_ROPE_PLAIN;
    float a[64], b[64], sink[64], factor[32];
    eq_rope_tables(&c, &c.rope, 2, sink, a), eq_rope_tables(&plain, &plain.rope, 2, sink, b);
    memcpy(factor, t->data, sizeof factor);
    assert_true(t->n == 32 && factor[0] == 1 && factor[31] == 8);
    for (int i = 0; i < 32; i++) /* sines of position 1, of angles below 1 */
        assert_true(fabs(asin((double)b[32 + i]) / (double)factor[i] - asin((double)a[32 + i])) <
                    2e-6 * asin((double)a[32 + i]) + 1e-12);
    eq_gguf_close(g);
}

static void families(void **state) {
    (void)state;
    static const char *const names[] = {"mistral", "qwen2", "qwen3"};
    static const char *const archs[] = {"llama", "qwen2", "qwen3"};
    tiny_quant o = {4, 64, TINY_PORTABLE, false};
    for (int i = 0; i < 3; i++) {
        quantized(base(names[i], config(names[i], false, i ? "" : ", \"sliding_window\": 16")), &o);
        write_spm(at("q"));
        eq_gguf *g = exported(NULL, NULL, false, NULL);
        char key[64];
        snprintf(key, sizeof key, "%s.context_length", archs[i]);
        text_is(g, "general.architecture", 0, archs[i]);
        assert_int_equal(whole(g, key), i ? 64 : 16);
        assert_true(!eq_gguf_find(g, "blk.0.attn_q.bias") == (i != 1));
        assert_true(!eq_gguf_find(g, "blk.0.attn_q_norm.weight") == (i != 2));
        assert_int_equal(eq_gguf_count(g), 3 + 2 * (9 + (i == 1 ? 3 : i == 2 ? 2 : 0)));
        eq_gguf_close(g);
    }
}

static void not_held(void **state) {
    (void)state;
    static const struct {
        const char *family, *more, *word;
    } cases[] = {
        {"llama", ", \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}", "dynamic"},
        {"llama",
         ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2.0, \"beta_fast\": 16.0, "
         "\"original_max_position_embeddings\": 32}",
         "beta_fast"},
        {"qwen3", ", \"attention_bias\": true", "biases"},
    };
    tiny_quant o = {4, 64, TINY_PORTABLE, false};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_err err = {0};
        quantized(base("m", config(cases[i].family, false, cases[i].more)), &o);
        write_spm(at("q"));
        assert_int_equal(export_it(NULL, NULL, true, NULL, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, cases[i].word, NULL);
        assert_false(eq_exists(at("out.gguf")));
    }
}

/* ---- tokenizers --------------------------------------------------------------------------------
 */

static void pieces(void **state) {
    (void)state;
    static const float scores[] = {0, 0, -1e9f, 0, -1e9f, -1e9f, -1e9f, 0, -1, -2, -3, -1e9f, 0};
    static const int types[] = {2, 3, 1, 6, 1, 1, 1, 1, 1, 1, 1, 1, 4, 5};
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    quantized(base("llama", config("llama", false, "")), &o);
    write_spm(at("q"));
    eq_gguf *g = exported(NULL, NULL, false, NULL);
    text_is(g, "tokenizer.ggml.model", 0, "llama");
    text_is(g, "tokenizer.ggml.pre", 0, "default");
    text_is(g, "tokenizer.ggml.tokens", 8,
            "\xe2\x96\x81"
            "ab");
    text_is(g, "tokenizer.ggml.tokens", 12, "<own>");
    text_is(g, "tokenizer.ggml.tokens", V - 1, "[PAD299]");
    text_is(g, "tokenizer.chat_template", 0, "{{ x }}");
    const eq_gguf_value *s = eq_gguf_get(g, "tokenizer.ggml.scores");
    const eq_gguf_value *t = eq_gguf_get(g, "tokenizer.ggml.token_type");
    assert_true(s->n == V && t->n == V && eq_gguf_get(g, "tokenizer.ggml.tokens")->n == V);
    for (int i = 0; i < 13; i++) {
        double x;
        assert_true(eq_gguf_num(s, i, &x) && x == (double)scores[i]);
    }
    for (int i = 0; i < 14; i++) {
        int64_t x;
        assert_true(eq_gguf_int(t, i, &x) && x == types[i]);
    }
    assert_int_equal(whole(g, "tokenizer.ggml.bos_token_id"), 1);
    assert_int_equal(whole(g, "tokenizer.ggml.eos_token_id"), 2);
    assert_int_equal(whole(g, "tokenizer.ggml.add_bos_token"), 1);
    assert_int_equal(whole(g, "tokenizer.ggml.add_eos_token"), 0);
    assert_int_equal(whole(g, "tokenizer.ggml.add_space_prefix"), 1);
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
    quantized(base("llama", config("llama", false, "")), &o);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_err err = {0};
        eq_gguf *g;
        write_bytes(at("q"), cases[i].step, cases[i].regex, cases[i].model, "");
        eq_status st = export_it(NULL, NULL, false, NULL, &err);
        if (!cases[i].pre) {
            assert_int_equal(st, EQ_EINPUT);
            check_error(&err, EQ_EINPUT, "tokenizer.json", "llama.cpp", NULL);
            assert_false(eq_exists(at("out.gguf")));
            continue;
        }
        if (st != EQ_OK) fail_msg("%s", err.msg);
        assert_int_equal(eq_gguf_open(&g, at("out.gguf"), &err), EQ_OK);
        text_is(g, "tokenizer.ggml.model", 0, "gpt2");
        text_is(g, "tokenizer.ggml.pre", 0, cases[i].pre);
        text_is(g, "tokenizer.ggml.merges", 1, "th e");
        assert_null(eq_gguf_get(g, "tokenizer.ggml.scores"));
        assert_int_equal(whole(g, "tokenizer.ggml.add_bos_token"), 0);
        eq_gguf_close(g);
    }
}

static void bad_tokenizers(void **state) {
    (void)state;
    static const struct {
        const char *more, *word;
    } cases[] = {
        {", 'added_tokens': [{'id': 300, 'content': 'x_y', 'special': true, 'normalized': "
         "false, " FLAGS "}]",
         "300"},
        {", 'normalizer': {'type': 'NFKC'}", "NFKC"},
    };
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    quantized(base("llama", config("llama", false, "")), &o);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_err err = {0};
        write_bytes(at("q"), "", true, NULL, cases[i].more);
        assert_int_equal(export_it(NULL, NULL, false, NULL, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, "tokenizer.json", cases[i].word, NULL);
    }
}

/* ---- files -------------------------------------------------------------------------------------
 */

static void places(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    eq_err err = {0};
    quantized(base("llama", config("llama", false, "")), &o);
    write_spm(at("q"));
    eq_export_opts e;
    eq_export_opts_init(&e);
    e.model = at("q"), e.to = "gguf";
    const char *bad[] = {at("q"), at("q/config.json"), "", at("none/sub/")};
    for (int i = 0; i < 4; i++) {
        e.out = bad[i], err = (eq_err){0};
        assert_int_equal(eq_export(&e, NULL, NULL, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, "file", NULL);
    }
}

static void threads(void **state) {
    (void)state;
    tiny_quant o = {3, 256, TINY_PORTABLE, false};
    eq_err err = {0};
    eq_digest d[2];
    quantized(base("llama", config("llama", false, "")), &o);
    write_spm(at("q"));
    for (int n = 0; n < 2; n++) {
        eq_export_opts e;
        eq_export_opts_init(&e);
        eq_remove_tree(at("out.gguf"), &err);
        err = (eq_err){0};
        e.model = at("q"), e.out = at("out.gguf"), e.to = "gguf", e.threads = 1 + 2 * n;
        assert_int_equal(eq_export(&e, NULL, NULL, &err), EQ_OK);
        assert_int_equal(eq_hash_file(at("out.gguf"), &d[n], &err), EQ_OK);
    }
    assert_string_equal(d[0].hex, d[1].hex);
}

static void faults(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    quantized(base("llama", config("llama", false, "")), &o);
    write_spm(at("q"));
    for (int kind = 0; kind < 2; kind++) {
        bool done = false;
        for (int64_t n = 1; !done; n += 1 + n / 8) {
            assert_true(n < 1 << 20);
            eq_err err = {0};
            int64_t before = eq_mem_current();
            kind ? eq_io_fail_nth(n) : eq_mem_fail_nth(n);
            done = export_it(NULL, NULL, false, NULL, &err) == EQ_OK;
            eq_io_fail_nth(0), eq_mem_fail_nth(0);
            if (!done) check_error(&err, err.status, NULL);
            assert_true(done == eq_exists(at("out.gguf")));
            assert_int_equal(eq_mem_current(), before);
        }
    }
}

static int set_up(void **state) {
    (void)state;
    dir = tiny_dir();
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    tiny_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smallest), cmocka_unit_test(asked_for),      cmocka_unit_test(embeddings),
        cmocka_unit_test(permuted), cmocka_unit_test(metadata),       cmocka_unit_test(llama3_rope),
        cmocka_unit_test(families), cmocka_unit_test(not_held),       cmocka_unit_test(pieces),
        cmocka_unit_test(words),    cmocka_unit_test(bad_tokenizers), cmocka_unit_test(places),
        cmocka_unit_test(threads),  cmocka_unit_test(faults),
    };
    return cmocka_run_group_tests_name("export_gguf", tests, set_up, tear_down);
}

/* GGUF files: types, order, permuted rows, rope. eq_export compares every weight with the model's
 * by itself; here the file is read as llama.cpp reads it. */
#include "tiny_gguf.h"

#include <math.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "export/export_blocks.h"
#include "scratch.h"

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
    tg_base("llama", tg_config("llama", false, ""));
    tg_spm(tg_at("llama"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[64];
        eq_export_result res;
        tg_quantized(tg_at("llama"), &cases[i].q);
        eq_gguf *g = tg_exported(NULL, NULL, false, &res);
        snprintf(want, sizeof want, "14 linears %s", cases[i].type);
        if (strcmp(res.types, want)) fail_msg("case %d: %s, expected %s", (int)i, res.types, want);
        assert_true(res.different == 0 && res.weights > 2 * TG_V * 256);
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
    tg_quantized(tg_base("llama", tg_config("llama", false, "")), &o);
    tg_spm(tg_at("q"));
    assert_int_equal(tg_export("q4_0", NULL, false, &res, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "model.layers.0.self_attn.q_proj", "q4_0", "--lossy", NULL);
    assert_false(eq_exists(tg_at("out.gguf")));
    static const char *const types[] = {"q2_0", "q2_k", "q3_k", "q4_0", "q4_k", "q4_1", "f16"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        eq_gguf_close(tg_exported(types[i], NULL, true, &res));
        assert_true(res.different > 0 && res.worst > 0 && res.mean > 0);
    }
    eq_gguf_close(tg_exported("f32", NULL, false, &res));
    assert_int_equal(res.different, 0);
    err = (eq_err){0};
    assert_int_equal(tg_export("q9", NULL, false, &res, &err), EQ_EINPUT);
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
    tg_quantized(tg_base("llama", tg_config("llama", false, "")), &o);
    tg_spm(tg_at("q"));
    for (int i = 0; i < 4; i++) {
        eq_export_result res;
        eq_gguf *g = tg_exported(NULL, cases[i].as, false, &res);
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
    tg_quantized(tg_base("llama", tg_config("llama", false, ", \"attention_bias\": true")), &o);
    tg_spm(tg_at("q"));
    eq_gguf *g = tg_exported(NULL, NULL, false, NULL);
    eq_weights *w;
    eq_qblock b = {0};
    assert_int_equal(eq_weights_open(&w, tg_at("q"), &err), EQ_OK);
    assert_int_equal(eq_export_block(&b, w, 1, false, &err), EQ_OK);
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
    tg_quantized(
        tg_base("llama", tg_config("llama", false,
                                   ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": "
                                   "\"linear\", \"factor\": 4.0}")),
        &o);
    tg_spm(tg_at("q"));
    eq_gguf *g = tg_exported(NULL, NULL, false, NULL);
    tg_text_is(g, "general.architecture", 0, "llama");
    tg_text_is(g, "general.name", 0, "q");
    assert_int_equal(tg_whole(g, "general.file_type"), 41);
    assert_int_equal(tg_whole(g, "general.quantization_version"), 2);
    assert_int_equal(tg_whole(g, "llama.vocab_size"), TG_V);
    assert_int_equal(tg_whole(g, "llama.context_length"), 64);
    assert_int_equal(tg_whole(g, "llama.embedding_length"), 256);
    assert_int_equal(tg_whole(g, "llama.block_count"), 2);
    assert_int_equal(tg_whole(g, "llama.attention.head_count"), 4);
    assert_int_equal(tg_whole(g, "llama.attention.head_count_kv"), 2);
    assert_int_equal(tg_whole(g, "llama.attention.key_length"), 64);
    assert_int_equal(tg_whole(g, "llama.rope.dimension_count"), 64);
    assert_true(tg_real(g, "llama.rope.freq_base") == 500000.0);
    assert_true(tg_real(g, "llama.attention.layer_norm_rms_epsilon") == (double)1e-5f);
    tg_text_is(g, "llama.rope.scaling.type", 0, "linear");
    assert_true(tg_real(g, "llama.rope.scaling.factor") == 4.0);
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
    tg_quantized(
        tg_base("llama",
                tg_config("llama", true,
                          ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": "
                          "\"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
                          "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": "
                          "32}")),
        &o);
    tg_spm(tg_at("q"));
    eq_gguf *g = tg_exported(NULL, NULL, false, NULL);
    assert_null(eq_gguf_get(g, "llama.rope.scaling.type"));
    assert_null(eq_gguf_find(g, "output.weight")); /* tied */
    const eq_gguf_tensor *t = eq_gguf_find(g, "rope_freqs.weight");
    eq_config c, plain;
    assert_int_equal(eq_config_load(&c, tg_at("q"), &err), EQ_OK);
    plain = c, plain.rope.kind = EQ_ROPE_PLAIN;
    float a[64], b[64], sink[64], factor[32];
    eq_rope_tables(&c, &c.rope, 2, 2, sink, a);
    eq_rope_tables(&plain, &plain.rope, 2, 2, sink, b);
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
        tg_quantized(
            tg_base(names[i], tg_config(names[i], false, i ? "" : ", \"sliding_window\": 16")), &o);
        tg_spm(tg_at("q"));
        eq_gguf *g = tg_exported(NULL, NULL, false, NULL);
        char key[64];
        snprintf(key, sizeof key, "%s.context_length", archs[i]);
        tg_text_is(g, "general.architecture", 0, archs[i]);
        assert_int_equal(tg_whole(g, key), i ? 64 : 16);
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
        tg_quantized(tg_base("m", tg_config(cases[i].family, false, cases[i].more)), &o);
        tg_spm(tg_at("q"));
        assert_int_equal(tg_export(NULL, NULL, true, NULL, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, cases[i].word, NULL);
        assert_false(eq_exists(tg_at("out.gguf")));
    }
}

/* ---- files -------------------------------------------------------------------------------------
 */

static void places(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    eq_err err = {0};
    tg_quantized(tg_base("llama", tg_config("llama", false, "")), &o);
    tg_spm(tg_at("q"));
    eq_export_opts e;
    eq_export_opts_init(&e);
    e.model = tg_at("q"), e.to = "gguf";
    const char *bad[] = {tg_at("q"), tg_at("q/config.json"), "", tg_at("none/sub/")};
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
    tg_quantized(tg_base("llama", tg_config("llama", false, "")), &o);
    tg_spm(tg_at("q"));
    for (int n = 0; n < 2; n++) {
        eq_export_opts e;
        eq_export_opts_init(&e);
        eq_remove_tree(tg_at("out.gguf"), &err);
        err = (eq_err){0};
        e.model = tg_at("q"), e.out = tg_at("out.gguf"), e.to = "gguf", e.threads = 1 + 2 * n;
        assert_int_equal(eq_export(&e, NULL, NULL, &err), EQ_OK);
        assert_int_equal(eq_hash_file(tg_at("out.gguf"), &d[n], &err), EQ_OK);
    }
    assert_string_equal(d[0].hex, d[1].hex);
}

static void faults(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    tg_quantized(tg_base("llama", tg_config("llama", false, "")), &o);
    tg_spm(tg_at("q"));
    for (int kind = 0; kind < 2; kind++) {
        bool done = false;
        for (int64_t n = 1; !done; n += 1 + n / 8) {
            assert_true(n < 1 << 20);
            eq_err err = {0};
            int64_t before = eq_mem_current();
            kind ? eq_io_fail_nth(n) : eq_mem_fail_nth(n);
            done = tg_export(NULL, NULL, false, NULL, &err) == EQ_OK;
            eq_io_fail_nth(0), eq_mem_fail_nth(0);
            if (!done) check_error(&err, err.status, NULL);
            assert_true(done == eq_exists(tg_at("out.gguf")));
            assert_int_equal(eq_mem_current(), before);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smallest), cmocka_unit_test(asked_for), cmocka_unit_test(embeddings),
        cmocka_unit_test(permuted), cmocka_unit_test(metadata),  cmocka_unit_test(llama3_rope),
        cmocka_unit_test(families), cmocka_unit_test(not_held),  cmocka_unit_test(places),
        cmocka_unit_test(threads),  cmocka_unit_test(faults),
    };
    return cmocka_run_group_tests_name("export_gguf", tests, tg_begin, tg_end);
}

/* config.json: families, defaults, what must be refused, and the tables of rope. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/config.h"
#include "tiny_model.h"

static char *dir;
static int setup(void **state) {
    (void)state;
    dir = tiny_dir();
    return 0;
}
static int teardown(void **state) {
    (void)state;
    tiny_remove(dir);
    return 0;
}

#define LLAMA \
    "\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":" \
    "2," \
    "\"num_attention_heads\":4,\"vocab_size\":50"
#define REST \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2," \
    "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"vocab_size\":50"

static eq_status load(eq_config *c, const char *text, eq_err *err) {
    *err = (eq_err){0};
    tiny_text(dir, "config.json", text);
    return eq_config_load(c, dir, err);
}
static eq_config good(const char *text) {
    eq_config c;
    eq_err err;
    if (load(&c, text, &err) != EQ_OK) fail_msg("%s", err.msg);
    return c;
}
static void bad(const char *text, const char *say) {
    eq_config c;
    eq_err err;
    if (load(&c, text, &err) != EQ_EINPUT) fail_msg("accepted: %s", text);
    if (!strstr(err.msg, say)) fail_msg("expected \"%s\" in: %s", say, err.msg);
    assert_non_null(strstr(err.msg, "config.json"));
}

static void defaults_are_those_of_the_classes(void **state) {
    (void)state;
    eq_config c = good("{" LLAMA "}");
    assert_string_equal(c.family, "llama");
    assert_true(c.D == 64 && c.F == 96 && c.L == 2 && c.V == 50 && c.NH == 4);
    assert_true(c.NKV == 4 && c.HD == 16 && c.T_max == 2048 && c.window == 0);
    assert_true(c.eps == 1e-6 && c.rope.theta == 10000.0 && c.rope.kind == EQ_ROPE_PLAIN);
    assert_true(!c.tied && !c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.qk_norm);
    assert_true(c.bos == -1 && c.eos == -1 && !eq_config_quantized(&c) && c.dtype[0] == 0);

    c = good("{\"model_type\":\"mistral\"," REST "}");
    assert_true(c.window == 4096 && c.T_max == 131072);
    assert_int_equal(good("{\"model_type\":\"mistral\"," REST ",\"sliding_window\":null}").window,
                     0);
    assert_int_equal(good("{\"model_type\":\"mistral\"," REST ",\"sliding_window\":7}").window, 7);

    c = good("{\"model_type\":\"qwen2\"," REST ",\"sliding_window\":128}");
    assert_true(c.window == 0 && c.qkv_bias && !c.o_bias && !c.qk_norm && c.T_max == 32768);
    c = good("{\"model_type\":\"qwen3\"," REST "}");
    assert_true(c.HD == 128 && c.qk_norm && !c.qkv_bias);
    c = good("{\"model_type\":\"qwen3\"," REST ",\"attention_bias\":true}");
    assert_true(c.qkv_bias && c.o_bias);
    c = good("{" LLAMA ",\"attention_bias\":true,\"mlp_bias\":true}");
    assert_true(c.qkv_bias && c.o_bias && c.mlp_bias);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    eq_config c = good("{" LLAMA ",\"num_key_value_heads\":2,\"head_dim\":32,\"rms_norm_eps\":1e-5,"
                       "\"max_position_embeddings\":512,\"tie_word_embeddings\":true,"
                       "\"torch_dtype\":\"bfloat16\",\"bos_token_id\":1,\"eos_token_id\":[5,6],"
                       "\"architectures\":[\"LlamaForCausalLM\"],\"pretraining_tp\":1,"
                       "\"attention_dropout\":0.0,\"use_cache\":true,\"_name_or_path\":\"x\","
                       "\"rope_interleaved\":false,\"some_new_switch\":null}");
    assert_true(c.NKV == 2 && c.HD == 32 && c.eps == 1e-5 && c.T_max == 512 && c.tied);
    assert_true(c.bos == 1 && c.eos == 5);
    assert_string_equal(c.dtype, "bfloat16");
    assert_string_equal(good("{" LLAMA ",\"dtype\":\"float16\"}").dtype, "float16");
    assert_int_equal(good("{" LLAMA ",\"num_key_value_heads\":null}").NKV, 4);
}

static void both_spellings_of_rope(void **state) {
    (void)state;
    eq_config c = good("{" LLAMA ",\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\","
                       "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
                       "\"original_max_position_embeddings\":8192}}");
    assert_true(c.rope.kind == EQ_ROPE_LLAMA3 && c.rope.theta == 5e5 && c.rope.factor == 8);
    assert_true(c.rope.low_freq == 1 && c.rope.high_freq == 4 && c.rope.original_T == 8192);
    c = good("{" LLAMA
             ",\"rope_parameters\":{\"rope_theta\":1000000.0,\"rope_type\":\"default\"}}");
    assert_true(c.rope.kind == EQ_ROPE_PLAIN && c.rope.theta == 1e6);
    c = good("{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}");
    assert_true(c.rope.kind == EQ_ROPE_LINEAR && c.rope.factor == 2.5);
    c = good("{" LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}");
    assert_true(c.rope.kind == EQ_ROPE_DYNAMIC);
    bad("{" LLAMA ",\"rope_scaling\":{\"type\":\"longrope\",\"factor\":2}}", "\"short_factor\"");
    bad("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"su\",\"factor\":2}}", "\"su\"");
    bad("{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", "\"factor\"");
    bad("{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":-1}}", "\"factor\"");
    bad("{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"beta_fast\":32}}",
        "\"beta_fast\"");
    bad("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
        "\"high_freq_factor\":4}}",
        "\"high_freq_factor\"");
    bad("{" LLAMA ",\"rope_scaling\":7}", "\"rope_scaling\"");
    bad("{" LLAMA ",\"rope_theta\":0}", "\"rope_theta\"");
    bad("{" LLAMA ",\"rope_theta\":1e4,\"rope_parameters\":{\"rope_theta\":1e6}}",
        "\"rope_theta\"");
    bad("{" LLAMA ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6}}}",
        "\"full_attention\"");
}

/* Keys of real files that say nothing about the numbers. */
static void harmless_keys(void **state) {
    (void)state;
    static const char *const keys[] = {
        "\"auto_map\":{\"AutoModelForCausalLM\":\"a--b.LlamaForCausalLM\"}",
        "\"internal_version\":\"7b-alpha\"", "\"pretraining_tp\":2", "\"attention_dropout\":0.1",
        "\"hidden_act\":\"swish\""};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char text[512];
        snprintf(text, sizeof text, "{" LLAMA ",%s}", keys[i]);
        assert_int_equal(good(text).D, 64);
    }
}

static void what_it_does_not_know_is_refused(void **state) {
    (void)state;
    bad("{" LLAMA ",\"attention_multiplier\":0.5}", "\"attention_multiplier\"");
    bad("{" LLAMA ",\"rope_interleaved\":true}", "\"rope_interleaved\"");
    bad("{" LLAMA ",\"partial_rotary_factor\":0.5}", "\"partial_rotary_factor\"");
    bad("{" LLAMA ",\"hidden_act\":\"gelu\"}", "\"gelu\"");
    bad("{" LLAMA ",\"sliding_window\":64}",
        "\"sliding_window\": expected none for model_type llama");
    bad("{" LLAMA ",\"use_sliding_window\":true}", "\"use_sliding_window\": expected false");
    bad("{" LLAMA ",\"architectures\":[\"LlamaForSequenceClassification\"]}",
        "LlamaForSequenceClassification");
    bad("{\"model_type\":\"gptj\"," REST "}", "\"gptj\"");
    bad("{" REST "}", "found nothing");
    bad("{\"model_type\":\"mistral\"," REST ",\"attention_bias\":true}", "\"attention_bias\"");
    bad("{\"model_type\":\"qwen3\"," REST ",\"mlp_bias\":true}", "\"mlp_bias\"");
    bad("[]", "an object");
    bad("{" LLAMA ",\"hidden_size\":128}", "duplicate");
    bad("{\"model_type\":", "not JSON");
}

static void shapes_are_checked(void **state) {
    (void)state;
    const char *f = "{\"model_type\":\"llama\",\"hidden_size\":%s,\"intermediate_size\":96,"
                    "\"num_hidden_layers\":%s,\"num_attention_heads\":%s,"
                    "\"num_key_value_heads\":%s,\"vocab_size\":50}";
    static const struct {
        const char *D, *L, *NH, *NKV, *say;
    } rows[] = {
        {"66", "2", "4", "2", "hidden_size"},
        {"60", "2", "4", "2", "head_dim"},
        {"64", "2", "4", "3", "num_key_value_heads"},
        {"64", "0", "4", "4", "num_hidden_layers"},
        {"64", "2", "0", "4", "num_attention_heads"},
        {"-64", "2", "4", "4", "hidden_size"},
        {"64.0", "2", "4", "4", "hidden_size"},
        {"1e3", "2", "4", "4", "hidden_size"},
        {"99999999999", "2", "4", "4", "hidden_size"},
        {"\"64\"", "2", "4", "4", "hidden_size"},
        {"64", "null", "4", "4", "num_hidden_layers"},
        {"4096", "2", "2", "2", "head_dim"},
        {"64", "9223372036854775808", "4", "4", "not JSON"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text, f, rows[i].D, rows[i].L, rows[i].NH, rows[i].NKV);
        bad(text, rows[i].say);
    }
    bad("{" LLAMA ",\"head_dim\":15}", "\"head_dim\"");
    bad("{" LLAMA ",\"rms_norm_eps\":0}", "\"rms_norm_eps\"");
    bad("{" LLAMA ",\"max_position_embeddings\":0}", "\"max_position_embeddings\"");
}

static void windows_of_qwen(void **state) {
    (void)state;
#define Q "{\"model_type\":\"qwen2\"," REST ",\"use_sliding_window\":true,\"sliding_window\":9"
    assert_int_equal(good(Q ",\"max_window_layers\":2}").window, 0);
    assert_int_equal(good(Q ",\"max_window_layers\":0}").window, 9);
    eq_config c = good(Q ",\"max_window_layers\":1}");
    assert_true(c.window == 9 && eq_layer_window(&c, 0) == 0 && eq_layer_window(&c, 1) == 9);
#define S "\"sliding_attention\""
#define F "\"full_attention\""
    assert_int_equal(good(Q ",\"layer_types\":[" S "," S "]}").window, 9);
    /* what transformers 5 writes for a model in which no layer slides */
    assert_int_equal(good(Q ",\"max_window_layers\":2,\"layer_types\":[" F "," F "]}").window, 0);
    c = good(Q ",\"layer_types\":[" S "," F "]}");
    assert_true(eq_layer_window(&c, 0) == 9 && eq_layer_window(&c, 1) == 0);
    bad(Q ",\"layer_types\":[" F ",\"chunked_attention\"]}", "chunked_attention");
    bad("{\"model_type\":\"mistral\"," REST ",\"layer_types\":[" S "," F "]}", "layer 1");
    bad(Q ",\"layer_types\":[" S "]}", "\"layer_types\"");
    assert_int_equal(
        good("{\"model_type\":\"qwen2\"," REST ",\"layer_types\":[" F "," F "]}").window, 0);
    bad("{\"model_type\":\"qwen2\"," REST ",\"layer_types\":[" F "," S "]}", "layer 1");
}

#define GPTQ(rest) "{" LLAMA ",\"quantization_config\":{" rest "}}"
static void quantization(void **state) {
    (void)state;
    eq_config c = good(GPTQ("\"quant_method\":\"gptq\",\"bits\":3,\"group_size\":-1,\"sym\":true,"
                            "\"desc_act\":false"));
    assert_true(c.schemes.all.bits == 3 && c.schemes.all.group == -1 &&
                c.layout == EQ_LAYOUT_GPTQ_V1);
    c = good(GPTQ("\"bits\":2,\"group_size\":64,\"sym\":false,\"desc_act\":false,"
                  "\"static_groups\":false,\"true_sequential\":true,\"damp_percent\":0.01,"
                  "\"lm_head\":false,\"quant_method\":\"gptq\",\"checkpoint_format\":\"gptq_v2\","
                  "\"method\":\"gptq\",\"format\":\"gptq_v2\",\"pack_dtype\":\"int32\""));
    assert_true(c.schemes.all.bits == 2 && c.schemes.all.group == 64 &&
                c.layout == EQ_LAYOUT_GPTQ_V2);
    c = good(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"data_type\":\"int\","
                  "\"iters\":200,\"autoround_version\":\"0.4.1\",\"lr\":0.005,\"amp\":true,"
                  "\"enable_quanted_input\":true,\"scale_dtype\":\"torch.float16\""));
    assert_true(c.schemes.all.bits == 4 && c.schemes.all.group == 128);
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"data_type\":\"nv_fp\""),
        "\"nv_fp\"");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"act_bits\":8"),
        "\"act_bits\"");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"new_key\":8"),
        "quantization_config: \"new_key\"");
    bad(GPTQ("\"quant_method\":\"bitsandbytes\",\"bits\":4"), "\"bitsandbytes\"");
    bad(GPTQ("\"bits\":4,\"group_size\":128"), "quant_method");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":5,\"group_size\":128"), "found 5");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":16,\"group_size\":128"), "\"bits\"");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":0"), "group_size");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4"), "group_size");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"desc_act\":true"),
        "desc_act");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"format\":\"marlin\""),
        "marlin");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"format\":\"gptq\","
             "\"checkpoint_format\":\"gptq_v2\""),
        "agree");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"pack_dtype\":\"int16\""),
        "int16");
    bad(GPTQ("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"rotation\":\"hadamard\""),
        "rotation");
}

/* What AutoAWQ and GPTQModel write. */
static void awq(void **state) {
    (void)state;
#define AWQ(rest) GPTQ("\"quant_method\":\"awq\",\"bits\":4,\"group_size\":64" rest)
    eq_config c =
        good(AWQ(",\"zero_point\":true,\"version\":\"gemm\",\"modules_to_not_convert\":null"));
    assert_true(c.schemes.all.bits == 4 && c.schemes.all.group == 64 && c.layout == EQ_LAYOUT_AWQ);
    c = good(
        AWQ(",\"zero_point\":true,\"version\":\"GEMM\",\"backend\":\"autoawq\",\"do_fuse\":false"));
    assert_true(c.layout == EQ_LAYOUT_AWQ);
    c = good(AWQ(
        ",\"method\":\"awq\",\"format\":\"gemm\",\"checkpoint_format\":\"gemm\",\"sym\":false,"
        "\"desc_act\":false,\"lm_head\":false,\"pack_dtype\":\"int32\",\"meta\":{\"uri\":\"x\"}"));
    assert_true(c.layout == EQ_LAYOUT_AWQ);
    bad(AWQ(",\"version\":\"gemv_fast\""), "gemv_fast");
    bad(AWQ(",\"version\":\"gemm\",\"format\":\"marlin\""), "marlin");
    bad(AWQ(",\"zero_point\":false"), "zero_point");
    bad(AWQ(",\"new_key\":1"), "quantization_config: \"new_key\"");
    bad(GPTQ("\"quant_method\":\"awq\",\"bits\":8,\"group_size\":64"), "expected 4");
    bad(GPTQ("\"quant_method\":\"awq\",\"bits\":4"), "group_size");
}

/* What llm-compressor writes; groups by class, name and regex. */
static void compressed(void **state) {
    (void)state;
#define CT(groups, rest) \
    GPTQ("\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"," \
         "\"quantization_status\":\"compressed\",\"config_groups\":{" groups "}" rest)
#define GROUP(name, targets, weights) \
    "\"" name "\":{\"targets\":[" targets "],\"input_activations\":null," \
    "\"output_activations\":null,\"weights\":{" weights "}}"
#define W(bits, group, sym) \
    "\"num_bits\":" bits ",\"type\":\"int\",\"symmetric\":" sym ",\"strategy\":\"group\"," \
    "\"group_size\":" group ",\"dynamic\":false,\"actorder\":null"
    eq_config c =
        good(CT(GROUP("group_0", "\"Linear\"",
                      W("4", "64", "true") ",\"observer\":\"minmax\","
                                           "\"observer_kwargs\":{},\"block_structure\":null"),
                ",\"ignore\":[\"lm_head\"],\"kv_cache_scheme\":null,\"version\":\"0.9\","
                "\"sparsity_config\":{},\"transform_config\":{},"
                "\"global_compression_ratio\":1.5"));
    assert_true(c.schemes.all.bits == 4 && c.schemes.all.group == 64 && !c.schemes.at &&
                c.layout == EQ_LAYOUT_CT_SYM);
    c = good(CT(GROUP("a", "\"Linear\"",
                      "\"num_bits\":8,\"symmetric\":false,\"strategy\":\"channel\","
                      "\"group_size\":null,\"actorder\":\"weight\""),
                ",\"ignore\":[\"re:.*lm_head\"]"));
    assert_true(c.schemes.all.bits == 8 && c.schemes.all.group == -1 &&
                c.layout == EQ_LAYOUT_CT_ASYM);
    /* a name or a regex before the class, wherever it stands */
    eq_err err;
    tiny_text(dir, "config.json",
              CT(GROUP("all", "\"Linear\"", W("2", "32", "true")) "," GROUP(
                     "down", "\"re:.*down_proj$\"",
                     W("4", "64", "true")) "," GROUP("one", "\"model.layers.1.self_attn.q_proj\"",
                                                     W("3", "32", "true")),
                 ""));
    if (eq_config_load(&c, dir, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_int_equal(eq_scheme_at(&c.schemes, 0, EQ_LIN_Q).bits, 2);
    assert_int_equal(eq_scheme_at(&c.schemes, 1, EQ_LIN_Q).bits, 3);
    assert_int_equal(eq_scheme_at(&c.schemes, 1, EQ_LIN_DOWN).bits, 4);
    assert_int_equal(eq_scheme_at(&c.schemes, 0, EQ_LIN_DOWN).group, 64);
    eq_config_free(&c);
#define ONE(weights) CT(GROUP("g", "\"Linear\"", weights), "")
    bad(ONE("\"num_bits\":5,\"group_size\":64"), "found 5");
    bad(ONE("\"num_bits\":4,\"group_size\":64,\"type\":\"float\""), "float");
    bad(ONE("\"num_bits\":4,\"strategy\":\"block\",\"block_structure\":[128,128]"), "block");
    bad(ONE("\"num_bits\":4,\"strategy\":\"tensor\""), "tensor");
    bad(ONE("\"num_bits\":4,\"strategy\":\"group\""), "group_size");
    bad(ONE("\"num_bits\":4,\"group_size\":64,\"actorder\":\"group\""), "activation order");
    bad(ONE("\"num_bits\":4,\"group_size\":64,\"dynamic\":true"), "dynamic");
    bad(ONE("\"num_bits\":4,\"group_size\":64,\"new\":1"), "g: weights: \"new\"");
    bad(CT(GROUP("g", "\"re:.*mlp.*\"", W("4", "64", "true")), ""), "q_proj in none");
    bad(CT(GROUP("g", "\"re:(\"", W("4", "64", "true")), ""), "is not supported");
    bad(CT(GROUP("g", "7", W("4", "64", "true")), ""), "names of linears");
    bad(CT(GROUP("g", "\"Linear\"", W("4", "64", "true")),
           ",\"ignore\":[\"re:.*layers.1.*o_proj\"]"),
        "o_proj ignored");
    bad(CT(GROUP("g", "\"Linear\"", W("4", "64", "true")) "," GROUP("h", "\"re:.*down_proj\"",
                                                                    W("4", "64", "false")),
           ""),
        "g and h to differ");
    bad(CT("", ""), "config_groups");
    bad(CT("\"g\":[]", ""), "array");
    bad(CT(GROUP("g", "\"Linear\"", W("4", "64", "true")), ",\"kv_cache_scheme\":{\"num_bits\":8}"),
        "kv_cache_scheme");
    bad(CT(GROUP("g", "\"Linear\"", W("4", "64", "true")), ",\"transform_config\":{\"r\":1}"),
        "transform_config");
    bad(CT(GROUP("g", "\"Linear\"", W("4", "64", "true")),
           ",\"sparsity_config\":{\"format\":\"sparse-24\"}"),
        "sparse-24");
    bad(GPTQ("\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\","
             "\"config_groups\":{}"),
        "float-quantized");
    bad(CT("\"g\":{\"targets\":[\"Linear\"],\"input_activations\":{\"num_bits\":8},\"weights\":{" W(
               "4", "64", "true") "}}",
           ""),
        "input_activations");
}

/* Frequencies and factor of transformers 5.24 (_compute_yarn_parameters), head_dim 16. */
static void yarn(void **state) {
    (void)state;
    static const struct {
        const char *rope;
        double scale;
        float f[8];
    } cases[] = {
        {"\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":16",
         1.138629436111989,
         {1.0f, 0.079056941f, 0.0250000004f, 0.00790569466f, 0.00249999994f, 0.000790569466f,
          0.000250000012f, 7.90569466e-05f}},
        {"\"rope_type\":\"yarn\",\"factor\":8.0,\"original_max_position_embeddings\":1024,"
         "\"attention_factor\":1.25,\"beta_fast\":16,\"beta_slow\":2,\"attn_factor\":0.5",
         1.25,
         {1.0f, 0.316227764f, 0.100000001f, 0.0177878123f, 0.00124999997f, 0.000395284733f,
          0.000125000006f, 3.95284733e-05f}},
        {"\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":1024,"
         "\"truncate\":false",
         1.138629436111989,
         {1.0f, 0.316227764f, 0.0853986368f, 0.0191267766f, 0.00355697144f, 0.000790569466f,
          0.000250000012f, 7.90569466e-05f}},
        {"\"rope_type\":\"yarn\",\"factor\":40.0,\"original_max_position_embeddings\":1024,"
         "\"mscale\":0.707,\"mscale_all_dim\":0.5",
         1.064468903941252,
         {1.0f, 0.316227764f, 0.0756250024f, 0.0162066743f, 0.00268749986f, 7.90569466e-05f,
          2.49999994e-05f, 7.90569447e-06f}},
        {"\"type\":\"yarn\",\"factor\":4.0", /* trained for all of max_position_embeddings */
         1.138629436111989,
         {1.0f, 0.316227764f, 0.100000001f, 0.025693506f, 0.00624999963f, 0.00138349656f,
          0.000250000012f, 7.90569466e-05f}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[512];
        float cos_[16], sin_[16];
        snprintf(text, sizeof text,
                 "{" LLAMA ",\"max_position_embeddings\":2048,\"rope_scaling\":{%s}}",
                 cases[k].rope);
        eq_config c = good(text);
        eq_rope_tables(&c, &c.rope, 2, 2, cos_, sin_);
        for (int i = 0; i < 8; i++) {
            double f = atan2(sin_[8 + i], cos_[8 + i]), scale = hypot(sin_[8 + i], cos_[8 + i]);
            if (fabs(f / cases[k].f[i] - 1) > 1e-6 || fabs(scale / cases[k].scale - 1) > 1e-6)
                fail_msg("case %d, pair %d: wanted %.9g x %.9g, found %.9g x %.9g", (int)k, i,
                         (double)cases[k].f[i], cases[k].scale, f, scale);
            assert_true(fabs(cos_[i] / cases[k].scale - 1) < 1e-6 && sin_[i] == 0);
        }
    }
    bad("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":-1}}", "\"factor\"");
    bad("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"low_freq_factor\":1}}",
        "\"low_freq_factor\"");
    bad("{" LLAMA ",\"rope_theta\":1.0,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2}}",
        "above 1");
}

/* Said twice, in the same words or not. */
static void rope_said_twice(void **state) {
    (void)state;
#define TWICE(a, b) "{" LLAMA ",\"rope_scaling\":{" a "},\"rope_parameters\":{" b "}}"
    eq_config c =
        good(TWICE("\"type\":\"linear\",\"factor\":2.0", "\"rope_type\":\"linear\",\"factor\":2"));
    assert_true(c.rope.kind == EQ_ROPE_LINEAR && c.rope.factor == 2);
    assert_int_equal(good(TWICE("", "\"rope_type\":\"linear\",\"factor\":3")).rope.factor, 3);
    bad(TWICE("\"type\":\"linear\",\"factor\":2", "\"rope_type\":\"linear\",\"factor\":3"),
        "\"factor\"");
    bad(TWICE("\"type\":\"linear\",\"factor\":2", "\"rope_type\":\"dynamic\",\"factor\":2"),
        "type");
    bad(TWICE("\"type\":\"default\"", "\"rope_type\":\"default\",\"rope_theta\":500"),
        "\"rope_theta\"");
}

/* What sets each family apart, from the same files that the other tests train. */
static void families(void **state) {
    (void)state;
    eq_config c = good(tiny_config("gemma2", false));
    assert_true(c.norms == EQ_NORMS_AROUND && c.norm_plus_one && c.act == EQ_ACT_GELU_TANH);
    assert_true(c.attn_scale == 1 / sqrt(24.0) && c.embed_scale == 8 && c.attn_cap == 2.5 &&
                c.logit_cap == 3);
    assert_true(eq_layer_window(&c, 0) == 8 && eq_layer_window(&c, 1) == 0);
    c = good(tiny_config("gemma3_text", false));
    assert_true(c.qk_norm == EQ_QK_HEAD && c.attn_cap == 0 && c.logit_cap == 0);
    assert_true(eq_layer_rope(&c, 0)->theta == 100 && eq_layer_rope(&c, 0)->kind == EQ_ROPE_PLAIN);
    assert_true(eq_layer_rope(&c, 1)->theta == 10000 && eq_layer_rope(&c, 1)->factor == 8);
    c = good(tiny_config("phi3", false));
    assert_true(c.rope.kind == EQ_ROPE_LONG && c.rope.dim == 12 && c.rope.original_T == 10);
    assert_true(c.rope.long_factor[5] == 6 && eq_layer_window(&c, 1) == 12);
    c = good(tiny_config("smollm3", false));
    assert_true(eq_layer_rope(&c, 0) == &c.rope && eq_layer_rope(&c, 1) == NULL);
    assert_true(eq_layer_window(&c, 0) == 0 && eq_layer_window(&c, 1) == 8);
    c = good(tiny_config("granite", false));
    assert_true(c.residual_scale == 0.22 && c.logit_scale == 0.25 && c.attn_scale == 0.4);
    c = good(tiny_config("olmo3", false));
    assert_true(c.norms == EQ_NORMS_BEHIND && c.qk_norm == EQ_QK_ROW && c.o_bias == false);
    assert_true(eq_layer_rope(&c, 0)->kind == EQ_ROPE_PLAIN && eq_layer_rope(&c, 1)->factor == 4);
    c = good(tiny_config("internlm2", false));
    assert_true(c.qkv_bias && c.o_bias && !c.mlp_bias);
    c = good(tiny_config("minicpm", false));
    assert_true(c.residual_scale == 1.4 / sqrt(2.0) && c.logit_scale == 0.25);
    c = good(tiny_config("stablelm", false));
    assert_true(c.norm_center && c.rope.dim == 4 && c.qkv_bias && !c.o_bias);
    c = good(tiny_config("ministral3", false));
    assert_true(c.rope.query_beta == 0.3 && c.window == 0);
#define OF(family, rest) "{\"model_type\":\"" family "\"," REST "," rest "}"
    c = good(OF("gemma", "\"hidden_act\":\"gelu\",\"hidden_activation\":null"));
    assert_true(c.act == EQ_ACT_GELU_TANH && c.embed_scale == 8 && c.norm_plus_one && c.HD == 256);
    assert_true(c.norms == EQ_NORMS_BEFORE && c.attn_scale == 1.0 / 16 && c.tied);
#define LONG_AT(T) \
    OF("minicpm", \
       "\"scale_emb\":12,\"scale_depth\":1.4,\"dim_model_base\":256," \
       "\"mup_denominator\":32,\"max_position_embeddings\":64,\"rope_scaling\":{\"rope_type\":" \
       "\"longrope\",\"short_factor\":[1,1,1,1,1,1,1,1],\"long_factor\":[2,2,2,2,2,2,2,2]," \
       "\"original_max_position_embeddings\":" #T "}")
    assert_true(good(LONG_AT(64)).rope.short_factor[0] == 1);
    assert_true(good(LONG_AT(32)).rope.short_factor[7] == 2);
    bad(OF("minicpm", "\"sparse_config\":{\"kernel_size\":32},\"scale_emb\":12,\"scale_depth\":1.4,"
                      "\"dim_model_base\":256"),
        "\"sparse_config\"");
    bad(OF("minicpm", "\"scale_emb\":12,\"scale_depth\":1.4"), "\"dim_model_base\"");
    bad(OF("stablelm", "\"use_parallel_residual\":true"), "\"use_parallel_residual\"");
    bad(OF("stablelm", "\"qk_layernorm\":true"), "\"qk_layernorm\"");
    bad(OF("stablelm", "\"partial_rotary_factor\":0.2"), "\"partial_rotary_factor\"");
    bad(OF("gemma2", "\"use_bidirectional_attention\":true"), "\"use_bidirectional_attention\"");
    bad(OF("gemma3_text", "\"attn_logit_softcapping\":50.0"), "\"attn_logit_softcapping\"");
    bad(OF("gemma3_text", "\"rope_parameters\":{\"rope_theta\":500.0}"), "\"rope_theta\"");
    bad(OF("olmo3", "\"rope_theta\":10000.0"), "\"rope_theta\"");
    bad(OF("smollm3", "\"no_rope_layers\":[1]"), "\"no_rope_layers\"");
    bad(OF("phi3", "\"lm_head_bias\":true"), "\"lm_head_bias\"");
    bad(OF("ministral3", "\"sliding_window\":null"), "\"rope_parameters\"");
    bad("{\"model_type\":\"gemma3\",\"text_config\":{}}", "text and images");
    bad("{" LLAMA
        ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,\"llama_4_scaling_beta\":0.1}}",
        "\"llama_4_scaling_beta\"");
}

static void fp8(void **state) {
    (void)state;
    eq_config c =
        good("{" LLAMA ",\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\","
             "\"activation_scheme\":\"dynamic\",\"weight_block_size\":[128,64]}}");
    assert_true(!eq_config_quantized(&c) && c.fp8[0] == 128 && c.fp8[1] == 64);
    bad("{" LLAMA ",\"quantization_config\":{\"quant_method\":\"fp8\"}}", "\"weight_block_size\"");
    bad("{" LLAMA ",\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}}",
        "\"e5m2\"");
}

static void parameters(void **state) {
    (void)state;
    eq_config c = good("{\"model_type\":\"llama\",\"hidden_size\":4096,\"intermediate_size\":11008,"
                       "\"num_hidden_layers\":32,\"num_attention_heads\":32,\"vocab_size\":32000}");
    assert_int_equal(eq_config_params(&c), 6738415616); /* Llama-2-7B */
    assert_int_equal(eq_config_linear_params(&c), 6476005376);
    c = good("{\"model_type\":\"qwen3\",\"hidden_size\":1024,\"intermediate_size\":3072,"
             "\"num_hidden_layers\":28,\"num_attention_heads\":16,\"num_key_value_heads\":8,"
             "\"vocab_size\":151936,\"tie_word_embeddings\":true}");
    assert_int_equal(eq_config_params(&c), 596049920); /* Qwen3-0.6B */
    c = good("{\"model_type\":\"qwen2\",\"hidden_size\":896,\"intermediate_size\":4864,"
             "\"num_hidden_layers\":24,\"num_attention_heads\":14,\"num_key_value_heads\":2,"
             "\"vocab_size\":151936,\"tie_word_embeddings\":true}");
    assert_int_equal(eq_config_params(&c), 494032768); /* Qwen2-0.5B */
}

/* cos and sin of position `t`, pair `i`, by LlamaRotaryEmbedding of transformers 5.23 in fp32
 * (hidden 512, 4 heads; the settings of rope_cases). */
typedef struct {
    int set;
    int64_t t, i;
    float cos, sin;
} golden;
enum { PLAIN, LINEAR, DYNAMIC_SHORT, DYNAMIC_LONG, LLAMA3, SETS };
static const struct {
    const char *text;
    int64_t T;
} rope_cases[SETS] = {
#define SIZE \
    "{\"model_type\":\"llama\",\"hidden_size\":512,\"intermediate_size\":96," \
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"vocab_size\":50"
    {SIZE ",\"max_position_embeddings\":4096}", 4096},
    {SIZE
     ",\"max_position_embeddings\":4096,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}",
     4096},
    {SIZE ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}}", 2048},
    {SIZE ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}}", 3000},
    {SIZE ",\"rope_theta\":500000.0,\"max_position_embeddings\":131072,\"rope_scaling\":{"
          "\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":1.0,"
          "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}}",
     8192},
};
/* clang-format off */
static const golden goldens[] = {
    {PLAIN, 1, 0, 0.540302336f, 0.841470957f}, {PLAIN, 1, 1, 0.647905827f, 0.761720419f},
    {PLAIN, 1, 16, 0.995004177f, 0.0998334214f}, {PLAIN, 1, 31, 0.999933302f, 0.0115475627f},
    {PLAIN, 1, 32, 0.999949992f, 0.00999983307f}, {PLAIN, 1, 48, 0.999999523f, 0.000999999931f},
    {PLAIN, 1, 63, 1.0f, 0.000115478193f}, {PLAIN, 100, 0, 0.862318873f, -0.506365657f},
    {PLAIN, 100, 1, 0.201253638f, -0.979539156f}, {PLAIN, 100, 16, -0.839071512f, -0.54402113f},
    {PLAIN, 100, 31, 0.404118001f, 0.914706886f}, {PLAIN, 100, 32, 0.540302336f, 0.841470957f},
    {PLAIN, 100, 48, 0.995004177f, 0.0998334214f}, {PLAIN, 100, 63, 0.999933302f, 0.0115475627f},
    {PLAIN, 4095, 0, -0.0659759939f, -0.997821212f}, {PLAIN, 4095, 1, -0.742445707f, 0.669906199f},
    {PLAIN, 4095, 16, 0.459863335f, 0.8879897f}, {PLAIN, 4095, 31, -0.986511409f, -0.163692653f},
    {PLAIN, 4095, 32, -0.994033098f, -0.109078795f}, {PLAIN, 4095, 48, -0.578907907f, -0.815392911f},
    {PLAIN, 4095, 63, 0.890258849f, 0.455454975f}, {LINEAR, 1, 0, 0.921060979f, 0.389418364f},
    {LINEAR, 1, 1, 0.940605879f, 0.339500457f}, {LINEAR, 1, 16, 0.999200106f, 0.0399893336f},
    {LINEAR, 1, 31, 0.999989331f, 0.00461911177f}, {LINEAR, 1, 32, 0.999992013f, 0.00399998901f},
    {LINEAR, 1, 48, 0.99999994f, 0.000400000019f}, {LINEAR, 1, 63, 1.0f, 4.61912787e-05f},
    {LINEAR, 100, 0, -0.666938066f, 0.745113134f}, {LINEAR, 100, 1, -0.996716619f, -0.0809685886f},
    {LINEAR, 100, 16, -0.653643608f, -0.756802499f}, {LINEAR, 100, 31, 0.895201683f, 0.445661277f},
    {LINEAR, 100, 32, 0.921060979f, 0.389418334f}, {LINEAR, 100, 48, 0.999200106f, 0.0399893373f},
    {LINEAR, 100, 63, 0.999989331f, 0.00461911177f}, {LINEAR, 4095, 0, -0.334023327f, -0.942564785f},
    {LINEAR, 4095, 1, 0.020500429f, -0.999789834f}, {LINEAR, 4095, 16, 0.905947089f, 0.423390955f},
    {LINEAR, 4095, 31, 0.997837722f, 0.0657256469f}, {LINEAR, 4095, 32, -0.782555759f, -0.622580469f},
    {LINEAR, 4095, 48, -0.0671532303f, 0.997742653f}, {LINEAR, 4095, 63, 0.982163787f, 0.188027352f},
    {DYNAMIC_SHORT, 1, 0, 0.540302336f, 0.841470957f}, {DYNAMIC_SHORT, 1, 1, 0.647905827f, 0.761720419f},
    {DYNAMIC_SHORT, 1, 16, 0.995004177f, 0.0998334214f}, {DYNAMIC_SHORT, 1, 31, 0.999933302f, 0.0115475627f},
    {DYNAMIC_SHORT, 1, 32, 0.999949992f, 0.00999983307f}, {DYNAMIC_SHORT, 1, 48, 0.999999523f, 0.000999999931f},
    {DYNAMIC_SHORT, 1, 63, 1.0f, 0.000115478193f}, {DYNAMIC_SHORT, 2047, 0, 0.249715254f, -0.968319297f},
    {DYNAMIC_SHORT, 2047, 1, 0.717373252f, 0.69668901f}, {DYNAMIC_SHORT, 2047, 16, -0.879267335f, -0.476328611f},
    {DYNAMIC_SHORT, 2047, 31, 0.0763683543f, -0.99707967f}, {DYNAMIC_SHORT, 2047, 32, -0.0496266708f, 0.998767853f},
    {DYNAMIC_SHORT, 2047, 48, -0.458408684f, 0.888741493f}, {DYNAMIC_SHORT, 2047, 63, 0.972191215f, 0.234188586f},
    {DYNAMIC_LONG, 1, 0, 0.540302336f, 0.841470957f}, {DYNAMIC_LONG, 1, 1, 0.654726505f, 0.755865872f},
    {DYNAMIC_LONG, 1, 16, 0.996421516f, 0.0845233873f}, {DYNAMIC_LONG, 1, 31, 0.999965072f, 0.00835636165f},
    {DYNAMIC_LONG, 1, 32, 0.99997437f, 0.00716122007f}, {DYNAMIC_LONG, 1, 48, 0.999999821f, 0.000606018759f},
    {DYNAMIC_LONG, 1, 63, 1.0f, 5.98429579e-05f}, {DYNAMIC_LONG, 100, 0, 0.862318873f, -0.506365657f},
    {DYNAMIC_LONG, 100, 1, -0.641333342f, -0.76726234f}, {DYNAMIC_LONG, 100, 16, -0.571599662f, 0.82053262f},
    {DYNAMIC_LONG, 100, 31, 0.670698762f, 0.741729856f}, {DYNAMIC_LONG, 100, 32, 0.754353166f, 0.656468809f},
    {DYNAMIC_LONG, 100, 48, 0.998164237f, 0.0605647936f}, {DYNAMIC_LONG, 100, 63, 0.999982119f, 0.00598425977f},
    {DYNAMIC_LONG, 2999, 0, -0.342721343f, 0.939437091f}, {DYNAMIC_LONG, 2999, 1, 0.969642043f, 0.244528681f},
    {DYNAMIC_LONG, 2999, 16, -0.777225018f, 0.629222751f}, {DYNAMIC_LONG, 2999, 31, 0.997429132f, -0.0716598555f},
    {DYNAMIC_LONG, 2999, 32, -0.870555639f, 0.49206996f}, {DYNAMIC_LONG, 2999, 48, -0.244160682f, 0.969734788f},
    {DYNAMIC_LONG, 2999, 63, 0.983938634f, 0.178507164f}, {LLAMA3, 1, 0, 0.540302336f, 0.841470957f},
    {LLAMA3, 1, 1, 0.686146915f, 0.727463007f}, {LLAMA3, 1, 16, 0.99929297f, 0.0375971682f},
    {LLAMA3, 1, 31, 0.999999702f, 0.000762541196f}, {LLAMA3, 1, 32, 0.99999994f, 0.000429556705f},
    {LLAMA3, 1, 48, 1.0f, 1.66196742e-06f}, {LLAMA3, 1, 63, 1.0f, 7.67231469e-08f},
    {LLAMA3, 100, 0, 0.862318873f, -0.506365657f}, {LLAMA3, 100, 1, 0.975965977f, -0.217922851f},
    {LLAMA3, 100, 16, -0.814453125f, -0.580229402f}, {LLAMA3, 100, 31, 0.997094035f, 0.076180242f},
    {LLAMA3, 100, 32, 0.999077559f, 0.0429424606f}, {LLAMA3, 100, 48, 1.0f, 0.00016619674f},
    {LLAMA3, 100, 63, 1.0f, 7.6723145e-06f}, {LLAMA3, 8191, 0, -0.646390498f, -0.763006806f},
    {LLAMA3, 8191, 1, 0.977398813f, -0.211403862f}, {LLAMA3, 8191, 16, 0.988022983f, 0.154306799f},
    {LLAMA3, 8191, 31, 0.999307811f, -0.0372012258f}, {LLAMA3, 8191, 32, -0.929807723f, -0.368045628f},
    {LLAMA3, 8191, 48, 0.999907315f, 0.0136127546f}, {LLAMA3, 8191, 63, 0.999999821f, 0.000628439244f},
};
/* clang-format on */

/* Where inv_freq agrees to the last bit the angle does, and only the last bit of cos and sin is
 * left; one step of inv_freq off would be t * f * 2^-24, which the tolerance allows. */
static void rope_tables_are_those_of_transformers(void **state) {
    (void)state;
    for (int s = 0; s < SETS; s++) {
        eq_config c = good(rope_cases[s].text);
        int64_t n = rope_cases[s].T * 64;
        float *tables = eq_calloc(2 * n, sizeof(float));
        assert_non_null(tables);
        eq_rope_tables(&c, &c.rope, rope_cases[s].T, rope_cases[s].T, tables, tables + n);
        for (size_t k = 0; k < sizeof goldens / sizeof *goldens; k++) {
            const golden *g = &goldens[k];
            if (g->set != s) continue;
            double f = pow(c.rope.theta, -(double)g->i / 64);
            double tolerance = 1.2e-7 + (double)g->t * f * 0x1p-23;
            assert_true(fabs((double)tables[g->t * 64 + g->i] - (double)g->cos) <= tolerance);
            assert_true(fabs((double)tables[n + g->t * 64 + g->i] - (double)g->sin) <= tolerance);
        }
        eq_free(tables);
    }
}

static void memory_may_run_out(void **state) {
    (void)state;
    eq_config c;
    eq_err err;
    int failures = 0;
    for (int64_t n = 1;; n++) {
        err = (eq_err){0};
        eq_mem_fail_nth(n);
        eq_status st = eq_config_load(&c, dir, &err);
        eq_mem_fail_nth(0);
        if (st == EQ_OK) break;
        assert_int_equal(st, EQ_ENOMEM);
        failures++;
    }
    assert_true(failures >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_classes),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(both_spellings_of_rope),
        cmocka_unit_test(harmless_keys),
        cmocka_unit_test(what_it_does_not_know_is_refused),
        cmocka_unit_test(shapes_are_checked),
        cmocka_unit_test(windows_of_qwen),
        cmocka_unit_test(quantization),
        cmocka_unit_test(awq),
        cmocka_unit_test(compressed),
        cmocka_unit_test(yarn),
        cmocka_unit_test(rope_said_twice),
        cmocka_unit_test(families),
        cmocka_unit_test(fp8),
        cmocka_unit_test(parameters),
        cmocka_unit_test(rope_tables_are_those_of_transformers),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

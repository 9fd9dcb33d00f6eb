/* quantization_config of config.json, by its quant_method: GPTQ and this program's own here; the
 * others in config_*.c. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "model/config_parse.h"
#include "model/schemes.h"
#include "quant/pack.h"

static const eq_key gptq_keys[] = {
    {"quant_method", EQ_KEY_READ},
    {"method", EQ_KEY_READ},
    {"bits", EQ_KEY_READ},
    {"group_size", EQ_KEY_READ},
    {"checkpoint_format", EQ_KEY_READ},
    {"format", EQ_KEY_READ},
    {"pack_dtype", EQ_KEY_READ},
    {"desc_act", EQ_KEY_OFF},
    {"lm_head", EQ_KEY_OFF},
    {"dynamic", EQ_KEY_READ},
    {"rotation", EQ_KEY_OFF},
    {"adapter", EQ_KEY_OFF},
    {"is_marlin_format", EQ_KEY_OFF},
    {"sym", EQ_KEY_FREE}, /* zeros are stored in either case */
    {"static_groups", EQ_KEY_FREE},
    {"true_sequential", EQ_KEY_FREE},
    {"damp_percent", EQ_KEY_FREE},
    {"damp_auto_increment", EQ_KEY_FREE},
    {"mse", EQ_KEY_FREE},
    {"act_group_aware", EQ_KEY_FREE},
    {"meta", EQ_KEY_READ},
    {"dataset", EQ_KEY_FREE},
    {"tokenizer", EQ_KEY_FREE},
    {"batch_size", EQ_KEY_FREE},
    {"pad_token_id", EQ_KEY_FREE},
    {"model_seqlen", EQ_KEY_FREE},
    {"model_name_or_path", EQ_KEY_FREE},
    {"model_file_base_name", EQ_KEY_FREE},
    {"block_name_to_quantize", EQ_KEY_FREE},
    {"modules_in_block_to_quantize", EQ_KEY_FREE}, /* a linear left out has no qweight: an error */
    {"module_name_preceding_first_block", EQ_KEY_FREE},
    {"cache_block_outputs", EQ_KEY_FREE},
    {"use_cuda_fp16", EQ_KEY_FREE},
    {"use_exllama", EQ_KEY_FREE},
    {"disable_exllama", EQ_KEY_FREE},
    {"exllama_config", EQ_KEY_FREE},
    {"max_input_length", EQ_KEY_FREE},
    {"backend", EQ_KEY_FREE},
    {"offload_to_disk", EQ_KEY_FREE},
    {"offload_to_disk_path", EQ_KEY_FREE},
    {"gptaq", EQ_KEY_FREE},
    {"gptaq_alpha", EQ_KEY_FREE},
    {"hyb_act", EQ_KEY_OFF},
    {"pack_impl", EQ_KEY_FREE},
    {"fallback", EQ_KEY_FREE},
    {"failsafe", EQ_KEY_FREE},
    {"hessian", EQ_KEY_FREE},
    {"gc_mode", EQ_KEY_FREE},
    {"vram_strategy", EQ_KEY_FREE},
    {"wait_for_submodule_finalizers", EQ_KEY_FREE},
    {"auto_forward_data_parallelism", EQ_KEY_FREE},
    /* AutoRound's exports say how they were made */
    {"data_type", EQ_KEY_READ},
    {"act_bits", EQ_KEY_READ},
    {"iters", EQ_KEY_FREE},
    {"nsamples", EQ_KEY_FREE},
    {"seqlen", EQ_KEY_FREE},
    {"lr", EQ_KEY_FREE},
    {"minmax_lr", EQ_KEY_FREE},
    {"amp", EQ_KEY_FREE},
    {"low_gpu_mem_usage", EQ_KEY_FREE},
    {"gradient_accumulate_steps", EQ_KEY_FREE},
    {"enable_minmax_tuning", EQ_KEY_FREE},
    {"enable_quanted_input", EQ_KEY_FREE},
    {"enable_norm_bias_tuning", EQ_KEY_FREE},
    {"scale_dtype", EQ_KEY_FREE}, /* scales have the type they are stored in */
    {"autoround_version", EQ_KEY_FREE},
    {"provider", EQ_KEY_FREE},
    {"v2", EQ_KEY_FREE},
    {"v2_alpha", EQ_KEY_FREE},
};

eq_status eq_need_word(const json_t *q, const char *key, const char *missing, const char *word,
                       const char *where, eq_err *err) {
    const char *s;
    EQ_TRY(eq_json_str(q, key, missing, &s, where, err));
    if (s && strcmp(s, word))
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"%s\": expected \"%s\", found \"%s\"", where, key,
                       word, s);
    return EQ_OK;
}

/* Quantized activations are another forward pass; 16 bits and more are none. */
static eq_status check_act_bits(const json_t *q, const char *where, eq_err *err) {
    int64_t bits;
    EQ_TRY(eq_json_int(q, "act_bits", 16, 0, 64, &bits, where, err));
    if (bits >= 16) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: quantization_config \"act_bits\": expected 16 or more, found %lld", where,
                   (long long)bits);
}

/* GPTQModel, which takes one off whole words, signs in "meta": a text, or a list of them. */
static bool is_by_gptqmodel(const json_t *q) {
    const json_t *by = eq_json_get(eq_json_get(q, "meta"), "quantizer");
    size_t n = json_is_array(by) ? json_array_size(by) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_is_array(by) ? json_array_get(by, i) : by);
        if (s && eq_starts_with(s, "gptqmodel:")) return true;
    }
    return false;
}

static eq_status parse_version(eq_config *c, const json_t *q, const char *where, eq_err *err) {
    const char *a, *b;
    EQ_TRY(eq_json_str(q, "checkpoint_format", NULL, &a, where, err));
    EQ_TRY(eq_json_str(q, "format", a, &b, where, err));
    if (!a) a = b;
    if (a && strcmp(a, b))
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config: expected \"checkpoint_format\" and \"format\" to "
                       "agree, found \"%s\" and \"%s\"",
                       where, a, b);
    if (a && strcmp(a, "gptq") && strcmp(a, "gptq_v2"))
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"checkpoint_format\": expected \"gptq\" or "
                       "\"gptq_v2\", found \"%s\"",
                       where, a);
    /* files older than the key are version 1 */
    c->layout = !a || !strcmp(a, "gptq") ? EQ_LAYOUT_GPTQ_V1 : EQ_LAYOUT_GPTQ_V2;
    return EQ_OK;
}

/* What takes off of 3-bit words has changed from version to version. */
static void take_writer(eq_config *c, const json_t *q) {
    bool whole = c->layout == EQ_LAYOUT_GPTQ_V1 && is_by_gptqmodel(q);
    for (int64_t i = 0; whole && i < c->L * EQ_LINS; i++)
        whole = eq_scheme_at(&c->schemes, i / EQ_LINS, (eq_lin)(i % EQ_LINS)).bits != 3;
    if (whole) c->layout = EQ_LAYOUT_GPTQ_V1_WORDS;
}

/* Other tools keep other things in "meta". */
static eq_status parse_grid(eq_scheme *all, const json_t *q, const char *where, eq_err *err) {
    const json_t *meta = eq_json_get(q, "meta");
    const char *grid;
    if (!json_is_object(meta)) return EQ_OK;
    EQ_TRY(eq_json_str(meta, "eqat_grid", "free", &grid, where, err));
    if (eq_grid_find(&all->grid, grid)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: quantization_config \"eqat_grid\": expected \"free\", \"portable\", "
                   "\"q2_k\" or \"q4_k\", found \"%s\"",
                   where, grid);
}

eq_status eq_need_scheme(eq_scheme *s, const json_t *q, const char *where, eq_err *err) {
    int64_t bits;
    EQ_TRY(eq_json_need_int(q, "bits", 2, 8, &bits, where, err));
    if (!eq_bits_known((int)bits))
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"bits\": expected 2, 3, 4 or 8, found %d", where,
                       (int)bits);
    EQ_TRY(eq_json_need_int(q, "group_size", -1, 1 << 22, &s->group, where, err));
    if (s->group == 0)
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"group_size\": expected -1 or a positive number, "
                       "found 0",
                       where);
    s->bits = (int)bits;
    return EQ_OK;
}

static eq_status parse_schemes(eq_config *c, const json_t *q, const char *where, eq_err *err) {
    eq_scheme all = {0};
    const json_t *dynamic = eq_json_get(q, "dynamic");
    EQ_TRY(eq_need_scheme(&all, q, where, err));
    EQ_TRY(parse_grid(&all, q, where, err));
    c->schemes.all = all;
    if (!dynamic) return EQ_OK;
    if (!json_is_object(dynamic))
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"dynamic\": expected an object, found %s", where,
                       eq_json_type(dynamic));
    return eq_schemes_from_dynamic(&c->schemes, c, all, dynamic, where, err);
}

static eq_status parse_gptq(eq_config *c, const json_t *q, const char *where, const char *inside,
                            eq_err *err) {
    bool own = !strcmp(json_string_value(json_object_get(q, "quant_method")), "eqat");
    EQ_TRY(eq_need_word(q, "method", NULL, own ? "eqat" : "gptq", where, err));
    EQ_TRY(eq_need_word(q, "pack_dtype", NULL, "int32", where, err));
    EQ_TRY(eq_need_word(q, "data_type", NULL, "int", where, err));
    EQ_TRY(eq_keys_check(q, gptq_keys, sizeof gptq_keys / sizeof *gptq_keys, inside, err));
    EQ_TRY(check_act_bits(q, where, err));
    if (own)
        c->layout = EQ_LAYOUT_ROWS;
    else
        EQ_TRY(parse_version(c, q, where, err));
    EQ_TRY(parse_schemes(c, q, where, err));
    take_writer(c, q);
    return EQ_OK;
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct {
    const char *method;
    eq_status (*parse)(eq_config *c, const json_t *q, const char *where, const char *inside,
                       eq_err *err);
} methods[] = {
    {"gptq", parse_gptq},  {"eqat", parse_gptq},
    {"awq", eq_awq_parse}, {"compressed-tensors", eq_compressed_parse},
    {"fp8", eq_fp8_parse},
};

eq_status eq_quant_parse(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    const json_t *q = eq_json_get(root, "quantization_config");
    const char *method;
    c->schemes = (eq_schemes){0}, c->layout = EQ_LAYOUT_GPTQ_V2;
    if (!q) return EQ_OK;
    if (!json_is_object(q))
        return eq_fail(err, EQ_EINPUT, "%s: \"quantization_config\": expected an object, found %s",
                       where, eq_json_type(q));
    char inside[512]; /* messages of the check name the object, too */
    snprintf(inside, sizeof inside, "%.480s: quantization_config", where);
    EQ_TRY(eq_json_str(q, "quant_method", "nothing", &method, where, err));
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].method, method)) return methods[i].parse(c, q, where, inside, err);
    return eq_fail(err, EQ_EINPUT,
                   "%s: quantization_config \"quant_method\": expected \"gptq\", \"awq\", "
                   "\"compressed-tensors\" or \"fp8\", found \"%s\"",
                   where, method);
}

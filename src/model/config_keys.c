/* Key tables' one checker, and quantization_config. A key that is not in a table is an error: what
 * it says might change the arithmetic. */
#include <stdio.h>
#include <string.h>

#include "model/config_parse.h"

static bool is_off(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return json_object_size(v) == 0;
    case JSON_ARRAY:
        return json_array_size(v) == 0;
    case JSON_STRING:
        return json_string_length(v) == 0;
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(v) == 0;
    default:
        return !json_is_true(v);
    }
}

eq_status eq_keys_check(const json_t *o, const eq_key *keys, int64_t n, const char *where,
                        eq_err *err) {
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)o, name, v) {
        if (json_is_null(v) || name[0] == '_') continue;
        int64_t i = 0;
        while (i < n && strcmp(keys[i].name, name)) i++;
        if (i == n)
            return eq_fail(err, EQ_EINPUT,
                           "%s: \"%s\": expected a key this program knows, found one that may "
                           "change the arithmetic",
                           where, name);
        if (keys[i].rule == EQ_KEY_OFF && !is_off(v))
            return eq_fail(err, EQ_EINPUT,
                           "%s: \"%s\": expected it switched off (null, false, 0 or empty), found "
                           "%s that is not",
                           where, name, eq_json_type(v));
        if (keys[i].rule == EQ_KEY_ONE && !(json_is_number(v) && json_number_value(v) == 1))
            return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected 1, found another value", where,
                           name);
    }
    return EQ_OK;
}

/* ---- quantization_config --------------------------------------------------------------------- */

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
    {"dynamic", EQ_KEY_OFF},
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
    {"meta", EQ_KEY_FREE},
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

static eq_status need_word(const json_t *q, const char *key, const char *missing, const char *word,
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
    c->gptq_v1 = !a || !strcmp(a, "gptq"); /* files older than the key are version 1 */
    return EQ_OK;
}

eq_status eq_gptq_parse(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    const json_t *q = eq_json_get(root, "quantization_config");
    int64_t bits;
    c->bits = 0, c->G = 0, c->gptq_v1 = false;
    if (!q) return EQ_OK;
    if (!json_is_object(q))
        return eq_fail(err, EQ_EINPUT, "%s: \"quantization_config\": expected an object, found %s",
                       where, eq_json_type(q));
    EQ_TRY(need_word(q, "quant_method", "nothing", "gptq", where, err));
    EQ_TRY(need_word(q, "method", NULL, "gptq", where, err));
    EQ_TRY(need_word(q, "pack_dtype", NULL, "int32", where, err));
    EQ_TRY(need_word(q, "data_type", NULL, "int", where, err));
    char inside[512]; /* messages of the check name the object, too */
    snprintf(inside, sizeof inside, "%.480s: quantization_config", where);
    EQ_TRY(eq_keys_check(q, gptq_keys, sizeof gptq_keys / sizeof *gptq_keys, inside, err));
    EQ_TRY(check_act_bits(q, where, err));
    EQ_TRY(eq_json_need_int(q, "bits", 2, 8, &bits, where, err));
    if (bits > 4 && bits != 8)
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"bits\": expected 2, 3, 4 or 8, found %d", where,
                       (int)bits);
    EQ_TRY(eq_json_need_int(q, "group_size", -1, 1 << 22, &c->G, where, err));
    if (c->G == 0)
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"group_size\": expected -1 or a positive number, "
                       "found 0",
                       where);
    EQ_TRY(parse_version(c, q, where, err));
    c->bits = (int)bits;
    return EQ_OK;
}

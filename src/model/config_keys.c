/* THE table of config.json's keys, and key tables' one checker. A key that is not in a table is an
 * error: what it says might change the arithmetic. */
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

/* rule: EQ_KEY_FREE where there is no row. */
static eq_status check_key(const char *name, const json_t *v, bool known, eq_key_rule rule,
                           const char *where, eq_err *err) {
    if (json_is_null(v) || name[0] == '_') return EQ_OK;
    if (!known)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"%s\": expected a key this program knows, found one that may "
                       "change the arithmetic",
                       where, name);
    if (rule == EQ_KEY_OFF && !is_off(v))
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"%s\": expected it switched off (null, false, 0 or empty), found "
                       "%s that is not",
                       where, name, eq_json_type(v));
    if (rule == EQ_KEY_ONE && !(json_is_number(v) && json_number_value(v) == 1))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected 1, found another value", where, name);
    return EQ_OK;
}

eq_status eq_keys_check(const json_t *o, const eq_key *keys, int64_t n, const char *where,
                        eq_err *err) {
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, name, v) {
        int64_t i = 0;
        while (i < n && strcmp(keys[i].name, name)) i++;
        EQ_TRY(check_key(name, v, i < n, i < n ? keys[i].rule : EQ_KEY_FREE, where, err));
    }
    return EQ_OK;
}

eq_status eq_need_positive(const json_t *o, const char *key, double missing, double *out,
                           const char *where, eq_err *err) {
    EQ_TRY(eq_json_num(o, key, missing, out, where, err));
    if (!(*out > 0 && *out <= 1e12))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected a positive number, found %g", where,
                       key, *out);
    return EQ_OK;
}

/* ---- config.json -------------------------------------------------------------------------------
 */

#define ALL(name, rule) \
    { {name, EQ_KEY_##rule}, NULL }
#define OF(families, name, rule) \
    { {name, EQ_KEY_##rule}, families }
/* clang-format off */
static const struct config_key {
    eq_key key;
    const char *families; /* a word each; NULL: all. Of two rows of a name the first that fits */
} config_keys[] = {
    /* what a family has to itself */
    OF("gemma2 gemma3_text", "query_pre_attn_scalar", READ), OF("gemma2", "attn_logit_softcapping", READ),
    OF("gemma3_text", "attn_logit_softcapping", OFF), OF("gemma2 gemma3_text", "final_logit_softcapping", READ),
    OF("gemma2 gemma3_text", "hidden_activation", READ), OF("gemma2 gemma3_text", "hidden_act", FREE),
    OF("gemma", "hidden_activation", FREE), /* transformers reads hidden_act */
    OF("gemma gemma2 gemma3_text", "use_bidirectional_attention", OFF), OF("gemma2 gemma3_text", "cache_implementation", FREE),
    OF("gemma2", "sliding_window_size", FREE), /* transformers reads sliding_window */
    OF("gemma3_text", "rope_local_base_freq", READ), OF("gemma3_text", "sliding_window_pattern", READ),
    OF("phi3", "lm_head_bias", OFF), OF("phi3", "full_attn_mod", ONE), OF("phi3", "interpolate_factor", ONE),
    OF("phi3 stablelm", "partial_rotary_factor", READ),
    OF("smollm3", "no_rope_layers", READ), OF("smollm3", "no_rope_layer_interval", READ),
    OF("smollm3", "max_window_layers", FREE),
    OF("granite", "embedding_multiplier", READ), OF("granite", "residual_multiplier", READ),
    OF("granite", "attention_multiplier", READ), OF("granite", "logits_scaling", READ),
    OF("internlm2", "bias", READ),
    OF("minicpm", "scale_emb", READ), OF("minicpm", "scale_depth", READ), OF("minicpm", "dim_model_base", READ),
    OF("minicpm", "mup_denominator", FREE), /* of heads that draft */ OF("minicpm", "sparse_config", OFF),
    OF("stablelm", "layer_norm_eps", READ), OF("stablelm", "use_qkv_bias", READ), OF("stablelm", "qk_layernorm", OFF),
    OF("stablelm", "use_parallel_residual", OFF), OF("stablelm", "rms_norm_eps", FREE),
    OF("stablelm internlm2", "attention_bias", OFF),
    /* what all have, or pass over */
    ALL("model_type", READ), ALL("architectures", READ), ALL("torch_dtype", READ), ALL("dtype", READ),
    ALL("hidden_size", READ), ALL("intermediate_size", READ), ALL("num_hidden_layers", READ), ALL("vocab_size", READ),
    ALL("num_attention_heads", READ), ALL("num_key_value_heads", READ), ALL("head_dim", READ),
    ALL("max_position_embeddings", READ), ALL("rms_norm_eps", READ), ALL("hidden_act", READ),
    ALL("tie_word_embeddings", READ), ALL("attention_bias", READ), ALL("mlp_bias", READ),
    ALL("rope_theta", READ), ALL("rope_scaling", READ), ALL("rope_parameters", READ),
    ALL("original_max_position_embeddings", READ), ALL("sliding_window", READ), ALL("use_sliding_window", READ),
    ALL("max_window_layers", READ), ALL("layer_types", READ), ALL("bos_token_id", READ), ALL("eos_token_id", READ),
    ALL("quantization_config", READ),
    ALL("is_encoder_decoder", OFF), ALL("add_cross_attention", OFF),
    ALL("cross_attention_hidden_size", OFF), ALL("chunk_size_feed_forward", OFF), ALL("pruned_heads", OFF),
    ALL("rope_interleaved", OFF), ALL("use_mrope", OFF), ALL("per_layer_config", OFF), ALL("tie_encoder_decoder", OFF),
    ALL("partial_rotary_factor", ONE),
    /* dropout belongs to pretraining (METHOD has none); pretraining_tp cuts products into slices */
    ALL("attention_dropout", FREE), ALL("hidden_dropout", FREE), ALL("resid_pdrop", FREE), ALL("embd_pdrop", FREE),
    ALL("attn_pdrop", FREE), ALL("pretraining_tp", FREE), ALL("auto_map", FREE), ALL("internal_version", FREE),
    ALL("transformers_version", FREE), ALL("transformers.js_config", FREE), ALL("name_or_path", FREE),
    ALL("initializer_range", FREE), ALL("use_cache", FREE), ALL("gradient_checkpointing", FREE),
    ALL("attn_implementation", FREE), ALL("is_decoder", FREE), ALL("is_llama_config", FREE), ALL("torchscript", FREE),
    ALL("use_bfloat16", FREE), ALL("tf_legacy_loss", FREE), ALL("unsloth_fixed", FREE), ALL("unsloth_version", FREE),
    ALL("max_sequence_length", FREE), ALL("model_max_length", FREE), ALL("tokenizer_class", FREE),
    ALL("tokenizer_model_max_length", FREE), ALL("tokenizer_padding_side", FREE),
    ALL("pad_token_id", FREE), ALL("unk_token_id", FREE), ALL("sep_token_id", FREE), ALL("cls_token_id", FREE),
    ALL("decoder_start_token_id", FREE), ALL("prefix", FREE), ALL("finetuning_task", FREE),
    ALL("task_specific_params", FREE), ALL("problem_type", FREE), ALL("num_labels", FREE), ALL("id2label", FREE),
    ALL("label2id", FREE), ALL("return_dict", FREE), ALL("return_dict_in_generate", FREE),
    ALL("output_attentions", FREE), ALL("output_hidden_states", FREE), ALL("output_scores", FREE),
    ALL("tie_last_hidden_states", FREE),
    /* generation settings that older files keep here */
    ALL("max_length", FREE), ALL("min_length", FREE), ALL("max_new_tokens", FREE), ALL("do_sample", FREE),
    ALL("early_stopping", FREE), ALL("num_beams", FREE), ALL("num_beam_groups", FREE), ALL("diversity_penalty", FREE),
    ALL("temperature", FREE), ALL("top_k", FREE), ALL("top_p", FREE), ALL("min_p", FREE), ALL("typical_p", FREE),
    ALL("repetition_penalty", FREE), ALL("length_penalty", FREE), ALL("no_repeat_ngram_size", FREE),
    ALL("encoder_no_repeat_ngram_size", FREE), ALL("bad_words_ids", FREE), ALL("num_return_sequences", FREE),
    ALL("forced_bos_token_id", FREE), ALL("forced_eos_token_id", FREE), ALL("remove_invalid_values", FREE),
    ALL("exponential_decay_length_penalty", FREE), ALL("suppress_tokens", FREE),
    ALL("begin_suppress_tokens", FREE),
};
/* clang-format on */

/* Whether a word of the list is `name`. */
static bool has_word(const char *words, const char *name) {
    size_t n = strlen(name);
    for (const char *s = words; (s = strstr(s, name)); s += n)
        if ((s == words || s[-1] == ' ') && (s[n] == 0 || s[n] == ' ')) return true;
    return false;
}

static const eq_key *key_of(const char *name, const eq_family *f) {
    for (size_t i = 0; i < sizeof config_keys / sizeof *config_keys; i++) {
        const struct config_key *k = &config_keys[i];
        if (!strcmp(k->key.name, name) && (!k->families || has_word(k->families, f->name)))
            return &k->key;
    }
    return NULL;
}

eq_status eq_config_check_keys(const json_t *root, const eq_family *f, const char *where,
                               eq_err *err) {
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)root, name, v) {
        const eq_key *k = key_of(name, f);
        EQ_TRY(check_key(name, v, k, k ? k->rule : EQ_KEY_FREE, where, err));
    }
    return EQ_OK;
}

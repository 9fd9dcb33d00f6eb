/* config.json -> eq_config, by a table of families. The defaults are those of transformers'
 * classes; a key that is not in the table of keys is an error, so nothing that is said there is
 * passed over. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/config_parse.h"
#include "model/weights.h"

/* ---- the families ---------------------------------------------------------------------------- */

typedef enum { NEVER, ALWAYS, BY_KEY } has; /* BY_KEY: as attention_bias, mlp_bias say */
typedef enum { NO_WINDOW, WINDOW, WINDOW_BY_FLAG } window_rule; /* by use_sliding_window */

static const struct family {
    const char *name, *architecture;
    has qkv_bias, o_bias, mlp_bias;
    bool qk_norm;
    window_rule window;
    int64_t NKV, HD, T_max; /* where config.json does not say; 0: NH, D / NH */
} families[] = {
    {"llama", "LlamaForCausalLM", BY_KEY, BY_KEY, BY_KEY, false, NO_WINDOW, 0, 0, 2048},
    {"mistral", "MistralForCausalLM", NEVER, NEVER, NEVER, false, WINDOW, 8, 0, 131072},
    {"qwen2", "Qwen2ForCausalLM", ALWAYS, NEVER, NEVER, false, WINDOW_BY_FLAG, 32, 0, 32768},
    {"qwen3", "Qwen3ForCausalLM", BY_KEY, BY_KEY, NEVER, true, WINDOW_BY_FLAG, 32, 128, 32768},
};
enum { FAMILIES = sizeof families / sizeof *families };

#define READ(k) \
    { k, EQ_KEY_READ }
#define FREE(k) \
    { k, EQ_KEY_FREE }
#define OFF(k) \
    { k, EQ_KEY_OFF }
/* clang-format off */
static const eq_key keys[] = {
    READ("model_type"), READ("architectures"), READ("torch_dtype"), READ("dtype"),
    READ("hidden_size"), READ("intermediate_size"), READ("num_hidden_layers"), READ("vocab_size"),
    READ("num_attention_heads"), READ("num_key_value_heads"), READ("head_dim"),
    READ("max_position_embeddings"), READ("rms_norm_eps"), READ("hidden_act"),
    READ("tie_word_embeddings"), READ("attention_bias"), READ("mlp_bias"),
    READ("rope_theta"), READ("rope_scaling"), READ("rope_parameters"),
    READ("original_max_position_embeddings"), READ("sliding_window"), READ("use_sliding_window"),
    READ("max_window_layers"), READ("layer_types"), READ("bos_token_id"), READ("eos_token_id"),
    READ("quantization_config"),
    OFF("is_encoder_decoder"), OFF("add_cross_attention"),
    OFF("cross_attention_hidden_size"), OFF("chunk_size_feed_forward"), OFF("pruned_heads"),
    OFF("rope_interleaved"), OFF("use_mrope"), OFF("per_layer_config"), OFF("tie_encoder_decoder"),
    {"partial_rotary_factor", EQ_KEY_ONE},
    /* dropout belongs to pretraining (METHOD has none); pretraining_tp cuts products into slices */
    FREE("attention_dropout"), FREE("hidden_dropout"), FREE("resid_pdrop"), FREE("embd_pdrop"),
    FREE("attn_pdrop"), FREE("pretraining_tp"), FREE("auto_map"), FREE("internal_version"),
    FREE("transformers_version"), FREE("transformers.js_config"), FREE("name_or_path"),
    FREE("initializer_range"), FREE("use_cache"), FREE("gradient_checkpointing"),
    FREE("attn_implementation"), FREE("is_decoder"), FREE("is_llama_config"), FREE("torchscript"),
    FREE("use_bfloat16"), FREE("tf_legacy_loss"), FREE("unsloth_fixed"), FREE("unsloth_version"),
    FREE("max_sequence_length"), FREE("model_max_length"), FREE("tokenizer_class"),
    FREE("tokenizer_model_max_length"), FREE("tokenizer_padding_side"),
    FREE("pad_token_id"), FREE("unk_token_id"), FREE("sep_token_id"), FREE("cls_token_id"),
    FREE("decoder_start_token_id"), FREE("prefix"), FREE("finetuning_task"),
    FREE("task_specific_params"), FREE("problem_type"), FREE("num_labels"), FREE("id2label"),
    FREE("label2id"), FREE("return_dict"), FREE("return_dict_in_generate"),
    FREE("output_attentions"), FREE("output_hidden_states"), FREE("output_scores"),
    FREE("tie_last_hidden_states"),
    /* generation settings that older files keep here */
    FREE("max_length"), FREE("min_length"), FREE("max_new_tokens"), FREE("do_sample"),
    FREE("early_stopping"), FREE("num_beams"), FREE("num_beam_groups"), FREE("diversity_penalty"),
    FREE("temperature"), FREE("top_k"), FREE("top_p"), FREE("min_p"), FREE("typical_p"),
    FREE("repetition_penalty"), FREE("length_penalty"), FREE("no_repeat_ngram_size"),
    FREE("encoder_no_repeat_ngram_size"), FREE("bad_words_ids"), FREE("num_return_sequences"),
    FREE("forced_bos_token_id"), FREE("forced_eos_token_id"), FREE("remove_invalid_values"),
    FREE("exponential_decay_length_penalty"), FREE("suppress_tokens"),
    FREE("begin_suppress_tokens"),
};
/* clang-format on */

/* ---- parts ----------------------------------------------------------------------------------- */

static eq_status find_family(const struct family **f, const json_t *root, const char *where,
                             eq_err *err) {
    const char *type;
    EQ_TRY(eq_json_str(root, "model_type", NULL, &type, where, err));
    for (int i = 0; type && i < FAMILIES; i++)
        if (!strcmp(type, families[i].name)) {
            *f = &families[i];
            return EQ_OK;
        }
    return eq_fail(err, EQ_EINPUT,
                   "%s: \"model_type\": expected llama, mistral, qwen2 or qwen3, found %s%s%s",
                   where, type ? "\"" : "", type ? type : "nothing", type ? "\"" : "");
}

/* Another head than a language model's ("LlamaForSequenceClassification") is another model. */
static eq_status check_architecture(const struct family *f, const json_t *root, const char *where,
                                    eq_err *err) {
    const json_t *a = eq_json_get(root, "architectures");
    if (!a || (json_is_array(a) && json_array_size(a) == 0)) return EQ_OK;
    const char *s = json_string_value(json_array_get(a, 0));
    if (json_array_size(a) == 1 && s && !strcasecmp(s, f->architecture)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: \"architectures\": expected [\"%s\"], found \"%s\"", where,
                   f->architecture, s ? s : eq_json_type(a));
}

static eq_status parse_shapes(eq_config *c, const struct family *f, const json_t *root,
                              const char *where, eq_err *err) {
    EQ_TRY(eq_json_need_int(root, "hidden_size", 1, 1 << 20, &c->D, where, err));
    EQ_TRY(eq_json_need_int(root, "intermediate_size", 1, 1 << 22, &c->F, where, err));
    EQ_TRY(eq_json_need_int(root, "num_hidden_layers", 1, 1 << 12, &c->L, where, err));
    EQ_TRY(eq_json_need_int(root, "vocab_size", 1, 1 << 24, &c->V, where, err));
    EQ_TRY(eq_json_need_int(root, "num_attention_heads", 1, 1 << 14, &c->NH, where, err));
    /* an explicit null means one key head for each query head */
    int64_t NKV = f->NKV && !json_object_get(root, "num_key_value_heads") ? f->NKV : c->NH;
    EQ_TRY(eq_json_int(root, "num_key_value_heads", NKV, 1, 1 << 14, &c->NKV, where, err));
    if (c->NH % c->NKV)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"num_key_value_heads\": expected a divisor of num_attention_heads "
                       "%lld, found %lld",
                       where, (long long)c->NH, (long long)c->NKV);
    int64_t HD = f->HD ? f->HD : c->D / c->NH;
    EQ_TRY(eq_json_int(root, "head_dim", HD, 1, 1024, &c->HD, where, err));
    if (!f->HD && !eq_json_get(root, "head_dim") && c->D % c->NH)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: \"hidden_size\": expected a multiple of num_attention_heads %lld, found "
            "%lld",
            where, (long long)c->NH, (long long)c->D);
    if (c->HD % 2 || c->HD > 1024 || c->HD < 2)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"head_dim\": expected an even number from 2 to 1024, found %lld",
                       where, (long long)c->HD);
    return eq_json_int(root, "max_position_embeddings", f->T_max, 1, INT32_MAX, &c->T_max, where,
                       err);
}

static eq_status parse_bias(bool *out, has rule, const char *key, const json_t *root,
                            const char *where, eq_err *err) {
    bool said;
    EQ_TRY(eq_json_bool(root, key, false, &said, where, err));
    if (rule == NEVER && said)
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected false for this model_type, found true",
                       where, key);
    *out = rule == ALWAYS || said;
    return EQ_OK;
}

static eq_status parse_biases(eq_config *c, const struct family *f, const json_t *root,
                              const char *where, eq_err *err) {
    EQ_TRY(parse_bias(&c->qkv_bias, f->qkv_bias, "attention_bias", root, where, err));
    EQ_TRY(parse_bias(&c->mlp_bias, f->mlp_bias, "mlp_bias", root, where, err));
    c->o_bias = f->o_bias == BY_KEY && c->qkv_bias;
    c->qk_norm = f->qk_norm;
    return EQ_OK;
}

/* layer_types, where it is written, must say the same of every layer as the rest of the file. */
static eq_status check_layer_types(const eq_config *c, const json_t *root, const char *where,
                                   eq_err *err) {
    const json_t *types = eq_json_get(root, "layer_types");
    const char *want = c->window ? "sliding_attention" : "full_attention";
    if (!types) return EQ_OK;
    if (!json_is_array(types) || (int64_t)json_array_size(types) != c->L)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"layer_types\": expected an array of %lld names, found "
                       "%s of %lld",
                       where, (long long)c->L, eq_json_type(types),
                       (long long)json_array_size(types));
    for (int64_t i = 0; i < c->L; i++) {
        const char *s = json_string_value(json_array_get(types, (size_t)i));
        if (!s || strcmp(s, want))
            return eq_fail(
                err, EQ_EINPUT,
                "%s: \"layer_types\": expected %s for every layer, found %s at layer %lld", where,
                want, s ? s : "no name", (long long)i);
    }
    return EQ_OK;
}

static eq_status parse_window(eq_config *c, const struct family *f, const json_t *root,
                              const char *where, eq_err *err) {
    bool use, said = json_object_get(root, "sliding_window") != NULL;
    int64_t window, first;
    EQ_TRY(eq_json_int(root, "sliding_window", said ? 0 : 4096, 1, INT32_MAX, &window, where, err));
    EQ_TRY(eq_json_bool(root, "use_sliding_window", false, &use, where, err));
    EQ_TRY(eq_json_int(root, "max_window_layers", 28, 0, INT32_MAX, &first, where, err));
    if (f->window == NO_WINDOW && ((said && window) || use))
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"sliding_window\": expected none for model_type %s, found %lld", where,
                       f->name, (long long)window);
    bool on = f->window == WINDOW || (f->window == WINDOW_BY_FLAG && use);
    /* layer_types decides where both are written, as in transformers */
    const json_t *types = eq_json_get(root, "layer_types");
    const char *type = json_string_value(json_array_get(types, 0));
    if (on && f->window == WINDOW_BY_FLAG && type && !strcmp(type, "full_attention")) on = false;
    if (on && f->window == WINDOW_BY_FLAG && !types) {
        if (first >= c->L) on = false;
        if (on && window && first > 0)
            return eq_fail(err, EQ_EINPUT,
                           "%s: \"max_window_layers\": expected 0 or at least %lld (all layers "
                           "alike), found %lld",
                           where, (long long)c->L, (long long)first);
    }
    c->window = on ? window : 0;
    return check_layer_types(c, root, where, err);
}

/* eos may be a list; the first one is kept here, generate looks at all. */
static eq_status parse_token(int64_t *id, const char *key, const json_t *root, const char *where,
                             eq_err *err) {
    const json_t *v = eq_json_get(root, key);
    if (json_is_array(v) && json_is_integer(json_array_get(v, 0))) {
        *id = json_integer_value(json_array_get(v, 0));
        return EQ_OK;
    }
    return eq_json_int(root, key, -1, -1, INT32_MAX, id, where, err);
}

static eq_status parse_rest(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    const char *act, *dtype, *old;
    EQ_TRY(eq_json_str(root, "hidden_act", "silu", &act, where, err));
    if (strcmp(act, "silu") && strcmp(act, "swish"))
        return eq_fail(err, EQ_EINPUT, "%s: \"hidden_act\": expected \"silu\", found \"%s\"", where,
                       act);
    EQ_TRY(eq_json_num(root, "rms_norm_eps", 1e-6, &c->eps, where, err));
    if (!(c->eps > 0 && c->eps < 1))
        return eq_fail(err, EQ_EINPUT, "%s: \"rms_norm_eps\": expected between 0 and 1, found %g",
                       where, c->eps);
    EQ_TRY(eq_json_bool(root, "tie_word_embeddings", false, &c->tied, where, err));
    EQ_TRY(eq_json_str(root, "torch_dtype", "", &old, where, err));
    EQ_TRY(eq_json_str(root, "dtype", old, &dtype, where, err));
    if (strlen(dtype) >= sizeof c->dtype)
        return eq_fail(err, EQ_EINPUT, "%s: \"torch_dtype\": expected a type's name, found \"%s\"",
                       where, dtype);
    snprintf(c->dtype, sizeof c->dtype, "%s", dtype);
    EQ_TRY(parse_token(&c->bos, "bos_token_id", root, where, err));
    return parse_token(&c->eos, "eos_token_id", root, where, err);
}

static eq_status parse(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    const struct family *f = NULL;
    if (!json_is_object(root))
        return eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", where,
                       eq_json_type(root));
    EQ_TRY(find_family(&f, root, where, err));
    snprintf(c->family, sizeof c->family, "%s", f->name);
    EQ_TRY(check_architecture(f, root, where, err));
    EQ_TRY(parse_shapes(c, f, root, where, err));
    EQ_TRY(parse_biases(c, f, root, where, err));
    EQ_TRY(parse_window(c, f, root, where, err));
    EQ_TRY(parse_rest(c, root, where, err));
    EQ_TRY(eq_rope_parse(c, root, where, err));
    EQ_TRY(eq_gptq_parse(c, root, where, err));
    return eq_keys_check(root, keys, sizeof keys / sizeof *keys, where, err);
}

eq_status eq_config_load(eq_config *c, const char *dir, eq_err *err) {
    json_t *root;
    eq_config out = {0};
    char *path = eq_path(dir, "config.json");
    if (!path) return eq_nomem(err, "a path", (int64_t)strlen(dir));
    eq_status st = eq_json_load(&root, path, err);
    if (st == EQ_OK) {
        st = parse(&out, root, path, err);
        json_decref(root);
    }
    if (st == EQ_OK) *c = out;
    eq_free(path);
    return st;
}

/* ---- counting -------------------------------------------------------------------------------- */

int64_t eq_config_linear_params(const eq_config *c) {
    int64_t n = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
        n += s.O * s.I;
    }
    return n * c->L;
}

int64_t eq_config_params(const eq_config *c) {
    int64_t block = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
        block += s.bias ? s.O : 0;
    }
    for (int k = 0; k < EQ_NORM_COUNT; k++) {
        eq_norm_spec s = eq_norm_of(c, (eq_norm)k);
        block += s.exists ? s.n : 0;
    }
    return eq_config_linear_params(c) + block * c->L + c->V * c->D * (c->tied ? 1 : 2) + c->D;
}

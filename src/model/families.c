/* THE table of model families (docs/add-a-model.md): what a block is made of, how files spell it,
 * and the defaults of transformers' classes. A family that only these columns tell apart is a row.
 */
#include <math.h>

#include "model/config_parse.h"

/* ---- scales and caps with keys of their own -----------------------------------------------------
 */

/* A cap that is null or not written is none. */
static eq_status parse_cap(double *cap, const char *key, double missing, const json_t *root,
                           const char *where, eq_err *err) {
    *cap = 0;
    if (json_is_null(json_object_get(root, key))) return EQ_OK;
    if (missing == 0 && !json_object_get(root, key)) return EQ_OK;
    return eq_need_positive(root, key, missing, cap, where, err);
}

static eq_status gemma(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    (void)root, (void)where, (void)err;
    c->embed_scale = sqrt((double)c->D);
    return EQ_OK;
}

static eq_status gemma_scores(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    double scalar;
    EQ_TRY(eq_need_positive(root, "query_pre_attn_scalar", 256, &scalar, where, err));
    c->attn_scale = 1 / sqrt(scalar);
    return gemma(c, root, where, err);
}

static eq_status gemma2(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    EQ_TRY(gemma_scores(c, root, where, err));
    EQ_TRY(parse_cap(&c->attn_cap, "attn_logit_softcapping", 50, root, where, err));
    return parse_cap(&c->logit_cap, "final_logit_softcapping", 30, root, where, err);
}

/* transformers' Gemma 3 has a key for capped scores and does not look at it. */
static eq_status gemma3(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    EQ_TRY(gemma_scores(c, root, where, err));
    return parse_cap(&c->logit_cap, "final_logit_softcapping", 0, root, where, err);
}

static eq_status granite(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    double divisor;
    EQ_TRY(eq_need_positive(root, "embedding_multiplier", 1, &c->embed_scale, where, err));
    EQ_TRY(eq_need_positive(root, "residual_multiplier", 1, &c->residual_scale, where, err));
    EQ_TRY(eq_need_positive(root, "attention_multiplier", 1, &c->attn_scale, where, err));
    EQ_TRY(eq_need_positive(root, "logits_scaling", 1, &divisor, where, err));
    c->logit_scale = 1 / divisor;
    return EQ_OK;
}

/* Its three keys have no default worth trusting: 0 is refused. */
static eq_status minicpm(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    double depth, base;
    EQ_TRY(eq_need_positive(root, "scale_emb", 0, &c->embed_scale, where, err));
    EQ_TRY(eq_need_positive(root, "scale_depth", 0, &depth, where, err));
    EQ_TRY(eq_need_positive(root, "dim_model_base", 0, &base, where, err));
    c->residual_scale = depth / sqrt((double)c->L);
    c->logit_scale = base / (double)c->D;
    return EQ_OK;
}

/* ---- the table ----------------------------------------------------------------------------------
 */

const eq_family eq_families[] = {
    {.name = "llama",
     .architecture = "LlamaForCausalLM",
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .mlp_bias = EQ_BY_KEY,
     .T_max = 2048},
    {.name = "mistral",
     .architecture = "MistralForCausalLM",
     .slide = EQ_SLIDE_ALL,
     .window = 4096,
     .NKV = 8,
     .T_max = 131072},
    {.name = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .qkv_bias = EQ_ALWAYS,
     .slide = EQ_SLIDE_BY_FLAG,
     .types_decide = true,
     .window = 4096,
     .NKV = 32,
     .T_max = 32768},
    {.name = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .qk_norm = EQ_QK_HEAD,
     .slide = EQ_SLIDE_BY_FLAG,
     .types_decide = true,
     .window = 4096,
     .NKV = 32,
     .HD = 128,
     .T_max = 32768},
    {.name = "gemma",
     .architecture = "GemmaForCausalLM",
     .norm_plus_one = true,
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .act = "gelu_pytorch_tanh",
     .gelu_is_tanh = true,
     .NKV = 16,
     .HD = 256,
     .T_max = 8192,
     .tied = true,
     .scales = gemma},
    {.name = "gemma2",
     .architecture = "Gemma2ForCausalLM",
     .files = EQ_FILES_GEMMA,
     .norms = EQ_NORMS_AROUND,
     .norm_plus_one = true,
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .act_key = "hidden_activation",
     .act = "gelu_pytorch_tanh",
     .slide = EQ_SLIDE_PATTERN,
     .types_decide = true,
     .window = 4096,
     .window_every = 2,
     .NKV = 4,
     .HD = 256,
     .T_max = 8192,
     .tied = true,
     .scales = gemma2},
    {.name = "gemma3_text",
     .architecture = "Gemma3ForCausalLM",
     .files = EQ_FILES_GEMMA,
     .norms = EQ_NORMS_AROUND,
     .norm_plus_one = true,
     .qk_norm = EQ_QK_HEAD,
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .act_key = "hidden_activation",
     .act = "gelu_pytorch_tanh",
     .slide = EQ_SLIDE_PATTERN,
     .types_decide = true,
     .window = 4096,
     .window_every = 6,
     .ropes_by_type = true,
     .local_key = "rope_local_base_freq",
     .NKV = 4,
     .HD = 256,
     .T_max = 131072,
     .theta = 1e6,
     .theta_sliding = 1e4,
     .tied = true,
     .scales = gemma3},
    {.name = "phi3",
     .architecture = "Phi3ForCausalLM",
     .files = EQ_FILES_PHI3,
     .slide = EQ_SLIDE_ALL,
     .long_alias = true,
     .original_T = 4096,
     .T_max = 4096,
     .eps = 1e-5,
     .rotary = 1},
    {.name = "smollm3",
     .architecture = "SmolLM3ForCausalLM",
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .mlp_bias = EQ_BY_KEY,
     .slide = EQ_SLIDE_NO_ROPE,
     .types_decide = true,
     .NKV = 4,
     .T_max = 32768,
     .theta = 2e6,
     .tied = true},
    {.name = "granite",
     .architecture = "GraniteForCausalLM",
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .mlp_bias = EQ_BY_KEY,
     .T_max = 2048,
     .scales = granite},
    {.name = "olmo2",
     .architecture = "Olmo2ForCausalLM",
     .files = EQ_FILES_GEMMA,
     .norms = EQ_NORMS_BEHIND,
     .qk_norm = EQ_QK_ROW,
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .T_max = 2048,
     .eps = 1e-5},
    {.name = "olmo3",
     .architecture = "Olmo3ForCausalLM",
     .files = EQ_FILES_GEMMA,
     .norms = EQ_NORMS_BEHIND,
     .qk_norm = EQ_QK_ROW,
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .slide = EQ_SLIDE_PATTERN,
     .types_decide = true,
     .window = 4096,
     .window_every = 4,
     .ropes_by_type = true,
     .T_max = 2048,
     .eps = 1e-5,
     .theta = 5e5,
     .theta_sliding = 5e5},
    {.name = "internlm2",
     .architecture = "InternLM2ForCausalLM",
     .files = EQ_FILES_INTERNLM2,
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .bias_key = "bias",
     .own_bias = true,
     .T_max = 2048},
    {.name = "minicpm",
     .architecture = "MiniCPMForCausalLM",
     .qkv_bias = EQ_BY_KEY,
     .o_bias = EQ_BY_KEY,
     .long_whole = true,
     .T_max = 2048,
     .tied = true,
     .scales = minicpm},
    {.name = "stablelm",
     .architecture = "StableLmForCausalLM",
     .norm_center = true,
     .qkv_bias = EQ_BY_KEY,
     .bias_key = "use_qkv_bias",
     .eps_key = "layer_norm_eps",
     .eps = 1e-5,
     .NKV = 32,
     .T_max = 4096,
     .rotary = 0.25},
    {.name = "ministral",
     .architecture = "MinistralForCausalLM",
     .slide = EQ_SLIDE_ALL,
     .types_decide = true,
     .window = 4096,
     .NKV = 8,
     .T_max = 131072},
    {.name = "ministral3",
     .architecture = "Ministral3ForCausalLM",
     .slide = EQ_SLIDE_ALL,
     .query_scaling = true,
     .NKV = 8,
     .HD = 128,
     .T_max = 262144,
     .eps = 1e-5},
};
const int eq_family_count = sizeof eq_families / sizeof *eq_families;

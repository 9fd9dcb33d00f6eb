/* GGUF metadata to config.json. What the file does not say has its value in transformers' classes;
 * what it says and this does not know about rope is refused. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "export/import_gguf.h"

eq_status eq_gguf_need_int(const eq_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t *out,
                           eq_err *err) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    bool whole = v && !v->array && eq_gguf_int(v, 0, out);
    if (whole && *out >= lo && *out <= hi) return EQ_OK;
    char found[32] = "none";
    if (whole) snprintf(found, sizeof found, "%lld", (long long)*out);
    return eq_fail(
        err, EQ_EINPUT, "%s: %.200s: expected a whole number from %lld to %lld, found %s",
        eq_gguf_path(g), key, (long long)lo, (long long)hi, v && !whole ? "another type" : found);
}

int64_t eq_gguf_int_or(const eq_gguf *g, const char *key, int64_t or_else) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    int64_t out;
    return v && !v->array && eq_gguf_int(v, 0, &out) ? out : or_else;
}

static double num_or(const eq_gguf *g, const char *key, double or_else) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    double out;
    return v && !v->array && eq_gguf_num(v, 0, &out) ? out : or_else;
}

bool eq_gguf_is(const eq_gguf *g, const char *key, const char *text) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    const char *s;
    int64_t n;
    if (!v || v->array || v->kind != EQ_GGUF_STR) return false;
    const uint8_t *at = v->at;
    return eq_gguf_next(v, &at, &s, &n) && (size_t)n == strlen(text) && !memcmp(s, text, (size_t)n);
}

const char *eq_gguf_key_of(char out[96], const eq_gguf_import *x, const char *tail) {
    snprintf(out, 96, "%s.%s", x->arch->arch, tail);
    return out;
}

/* An fp32 number as it was meant: the shortest decimal that is the same fp32. */
static json_t *short_real(double x) {
    char text[40];
    for (int digits = 1; digits < 10; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, x);
        double back;
        if (sscanf(text, "%lf", &back) == 1 && (float)back == (float)x) return json_real(back);
    }
    return json_real(x);
}

/* ---- rope --------------------------------------------------------------------------------------
 */

/* Llama 3's divisors say its factor; the other numbers are those of all its models, and the whole
 * is compared. */
static eq_status put_llama3(json_t *c, const eq_gguf_import *x, const eq_gguf_tensor *t,
                            double base, int64_t HD, eq_err *err) {
    eq_config cfg = {.HD = HD};
    float want[1024], is;
    bool same = t->type == EQ_GGML_F32 && t->n == HD / 2 && HD / 2 <= 1024;
    if (same) {
        memcpy(&is, t->data + 4 * (t->n - 1), 4);
        cfg.rope.kind = EQ_ROPE_LLAMA3, cfg.rope.theta = base, cfg.rope.factor = (double)is;
        cfg.rope.low_freq = 1, cfg.rope.high_freq = 4, cfg.rope.original_T = 8192;
        same = eq_gguf_rope_factors(want, &cfg);
    }
    for (int64_t i = 0; same && i < t->n; i++) {
        memcpy(&is, t->data + 4 * i, 4);
        same = fabsf(is - want[i]) <= 1e-4f * want[i];
    }
    if (!same)
        return eq_fail(err, EQ_EINPUT,
                       "%s: rope_freqs.weight: expected Llama 3's divisors (low 1, high 4, 8192 "
                       "tokens), found others",
                       eq_gguf_path(x->g));
    json_object_set_new(c, "rope_scaling",
                        json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor",
                                  cfg.rope.factor, "low_freq_factor", 1.0, "high_freq_factor", 4.0,
                                  "original_max_position_embeddings", 8192));
    return EQ_OK;
}

static eq_status put_rope(json_t *c, const eq_gguf_import *x, int64_t HD, eq_err *err) {
    char key[96];
    const eq_gguf *g = x->g;
    double base = num_or(g, eq_gguf_key_of(key, x, "rope.freq_base"), 10000);
    double factor = num_or(g, eq_gguf_key_of(key, x, "rope.scaling.factor"), 0);
    const eq_gguf_tensor *divisors = eq_gguf_find(g, "rope_freqs.weight");
    int64_t rotated = eq_gguf_int_or(g, eq_gguf_key_of(key, x, "rope.dimension_count"), HD);
    if (rotated != HD)
        return eq_fail(err, EQ_EINPUT, "%s: %s: expected all %lld dimensions of a head, found %lld",
                       eq_gguf_path(g), key, (long long)HD, (long long)rotated);
    json_object_set_new(c, "rope_theta", short_real(base));
    if (divisors) return put_llama3(c, x, divisors, base, HD, err);
    const eq_gguf_value *type = eq_gguf_get(g, eq_gguf_key_of(key, x, "rope.scaling.type"));
    if (!type || eq_gguf_is(g, key, "none")) return EQ_OK;
    bool linear = eq_gguf_is(g, key, "linear"), yarn = eq_gguf_is(g, key, "yarn");
    if (!(linear || yarn) || !(factor > 0))
        return eq_fail(err, EQ_EINPUT,
                       "%s: %s: expected linear or yarn, with a factor, found others",
                       eq_gguf_path(g), key);
    json_t *r = json_pack("{s:s, s:o}", "rope_type", linear ? "linear" : "yarn", "factor",
                          short_real(factor));
    int64_t T =
        eq_gguf_int_or(g, eq_gguf_key_of(key, x, "rope.scaling.original_context_length"), 0);
    if (yarn && T > 0) json_object_set_new(r, "original_max_position_embeddings", json_integer(T));
    json_object_set_new(c, "rope_scaling", r);
    return EQ_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

static const char *class_of(const char *family) {
    return !strcmp(family, "llama")   ? "LlamaForCausalLM"
           : !strcmp(family, "qwen2") ? "Qwen2ForCausalLM"
                                      : "Qwen3ForCausalLM";
}

static eq_status put_shapes(json_t *c, const eq_gguf_import *x, int64_t *head, eq_err *err) {
    static const struct {
        const char *key, *name;
        int64_t hi;
    } rows[] = {
        {"embedding_length", "hidden_size", 1 << 20},
        {"feed_forward_length", "intermediate_size", 1 << 22},
        {"block_count", "num_hidden_layers", 1 << 12},
        {"attention.head_count", "num_attention_heads", 1 << 14},
        {"context_length", "max_position_embeddings", INT32_MAX},
    };
    char key[96];
    int64_t v;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        EQ_TRY(eq_gguf_need_int(x->g, eq_gguf_key_of(key, x, rows[i].key), 1, rows[i].hi, &v, err));
        json_object_set_new(c, rows[i].name, json_integer(v));
    }
    int64_t heads = json_integer_value(json_object_get(c, "num_attention_heads"));
    int64_t D = json_integer_value(json_object_get(c, "hidden_size"));
    *head = eq_gguf_int_or(x->g, eq_gguf_key_of(key, x, "attention.key_length"), D / heads);
    if (*head < 2 || *head > 1024 || *head % 2)
        return eq_fail(err, EQ_EINPUT, "%s: %s: expected an even number from 2 to 1024, found %lld",
                       eq_gguf_path(x->g), key, (long long)*head);
    v = eq_gguf_int_or(x->g, eq_gguf_key_of(key, x, "attention.head_count_kv"), heads);
    json_object_set_new(c, "num_key_value_heads", json_integer(v));
    if (*head * heads != D || !strcmp(x->arch->family, "qwen3"))
        json_object_set_new(c, "head_dim", json_integer(*head));
    return EQ_OK;
}

eq_status eq_gguf_take_config(json_t **out, eq_gguf_import *x, eq_err *err) {
    const eq_gguf_tensor *embed = eq_gguf_find(x->g, "token_embd.weight");
    const char *family = x->arch->family;
    char key[96];
    int64_t HD;
    if (!embed || embed->ndim != 2)
        return eq_fail(err, EQ_EINPUT, "%s: token_embd.weight: expected a matrix, found %s",
                       eq_gguf_path(x->g), embed ? "another shape" : "none");
    x->V = embed->dim[1];
    json_t *c = *out =
        json_pack("{s:s, s:[s], s:s, s:b, s:I}", "model_type", family, "architectures",
                  class_of(family), "hidden_act", "silu", "tie_word_embeddings",
                  eq_gguf_find(x->g, "output.weight") == NULL, "vocab_size", (json_int_t)x->V);
    if (!c) return eq_nomem(err, "config.json", 1 << 12);
    EQ_TRY(put_shapes(c, x, &HD, err));
    double eps = num_or(x->g, eq_gguf_key_of(key, x, "attention.layer_norm_rms_epsilon"), 0);
    if (!(eps > 0 && eps < 1))
        return eq_fail(err, EQ_EINPUT, "%s: %s: expected a number above 0, found %g",
                       eq_gguf_path(x->g), key, eps);
    json_object_set_new(c, "rms_norm_eps", short_real(eps));
    bool qkv = eq_gguf_find(x->g, "blk.0.attn_q.bias"),
         o = eq_gguf_find(x->g, "blk.0.attn_output.bias");
    if (!strcmp(family, "llama") && qkv != o)
        return eq_fail(err, EQ_EINPUT, "%s: expected biases of q, k, v and output together or none",
                       eq_gguf_path(x->g));
    if (!strcmp(family, "llama")) {
        json_object_set_new(c, "attention_bias", json_boolean(qkv));
        json_object_set_new(c, "mlp_bias", json_boolean(eq_gguf_find(x->g, "blk.0.ffn_up.bias")));
    }
    int64_t bos = eq_gguf_int_or(x->g, "tokenizer.ggml.bos_token_id", -1);
    int64_t eos = eq_gguf_int_or(x->g, "tokenizer.ggml.eos_token_id", -1);
    if (bos >= 0) json_object_set_new(c, "bos_token_id", json_integer(bos));
    if (eos >= 0) json_object_set_new(c, "eos_token_id", json_integer(eos));
    return put_rope(c, x, HD, err);
}

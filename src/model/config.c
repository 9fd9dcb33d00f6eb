/* config.json -> eq_config, by the table of families (families.c). A key that is not in the table
 * of keys (config_keys.c) is an error, so nothing that is said there is passed over. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/config_parse.h"
#include "model/schemes.h"

/* ---- parts ----------------------------------------------------------------------------------- */

static eq_status find_family(const eq_family **f, const json_t *root, const char *where,
                             eq_err *err) {
    const char *type;
    eq_str known = {0};
    EQ_TRY(eq_json_str(root, "model_type", NULL, &type, where, err));
    for (int i = 0; type && i < eq_family_count; i++)
        if (!strcmp(type, eq_families[i].name)) {
            *f = &eq_families[i];
            return EQ_OK;
        }
    for (int i = 0; i < eq_family_count; i++)
        eq_str_printf(&known, "%s%s",
                      i == 0                    ? ""
                      : i + 1 < eq_family_count ? ", "
                                                : " or ",
                      eq_families[i].name);
    eq_status st = eq_fail(err, EQ_EINPUT, "%s: \"model_type\": expected %s, found %s%s%s%s", where,
                           known.p ? known.p : "a known one", type ? "\"" : "",
                           type ? type : "nothing", type ? "\"" : "",
                           eq_json_get(root, "text_config")
                               ? " (of text and images; a folder of its text model alone is read)"
                               : "");
    eq_str_free(&known);
    return st;
}

/* Another head than a language model's ("LlamaForSequenceClassification") is another model. */
static eq_status check_architecture(const eq_family *f, const json_t *root, const char *where,
                                    eq_err *err) {
    const json_t *a = eq_json_get(root, "architectures");
    if (!a || (json_is_array(a) && json_array_size(a) == 0)) return EQ_OK;
    const char *s = json_string_value(json_array_get(a, 0));
    if (json_array_size(a) == 1 && s && !strcasecmp(s, f->architecture)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: \"architectures\": expected [\"%s\"], found \"%s\"", where,
                   f->architecture, s ? s : eq_json_type(a));
}

static eq_status parse_shapes(eq_config *c, const eq_family *f, const json_t *root,
                              const char *where, eq_err *err) {
    EQ_TRY(eq_json_need_int(root, "hidden_size", 1, 1 << 20, &c->D, where, err));
    EQ_TRY(eq_json_need_int(root, "intermediate_size", 1, 1 << 22, &c->F, where, err));
    EQ_TRY(eq_json_need_int(root, "num_hidden_layers", 1, EQ_MAX_LAYERS, &c->L, where, err));
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
    EQ_TRY(eq_json_int(root, "head_dim", HD, 1, EQ_MAX_HEAD, &c->HD, where, err));
    if (!f->HD && !eq_json_get(root, "head_dim") && c->D % c->NH)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: \"hidden_size\": expected a multiple of num_attention_heads %lld, found "
            "%lld",
            where, (long long)c->NH, (long long)c->D);
    if (c->HD % 2 || c->HD > EQ_MAX_HEAD || c->HD < 2)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"head_dim\": expected an even number from 2 to 1024, found %lld",
                       where, (long long)c->HD);
    return eq_json_int(root, "max_position_embeddings", f->T_max, 1, INT32_MAX, &c->T_max, where,
                       err);
}

static eq_status parse_bias(bool *out, eq_has rule, const char *key, bool missing,
                            const json_t *root, const char *where, eq_err *err) {
    bool said;
    EQ_TRY(eq_json_bool(root, key, rule == EQ_BY_KEY && missing, &said, where, err));
    if (rule == EQ_NEVER && said)
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected false for this model_type, found true",
                       where, key);
    *out = rule == EQ_ALWAYS || said;
    return EQ_OK;
}

static eq_status parse_biases(eq_config *c, const eq_family *f, const json_t *root,
                              const char *where, eq_err *err) {
    const char *key = f->bias_key ? f->bias_key : "attention_bias";
    EQ_TRY(parse_bias(&c->qkv_bias, f->qkv_bias, key, f->own_bias, root, where, err));
    EQ_TRY(parse_bias(&c->mlp_bias, f->mlp_bias, "mlp_bias", false, root, where, err));
    c->o_bias = f->o_bias == EQ_BY_KEY && c->qkv_bias;
    return EQ_OK;
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

static eq_status parse_act(eq_config *c, const eq_family *f, const json_t *root, const char *where,
                           eq_err *err) {
    static const struct {
        const char *name;
        eq_act act;
    } acts[] = {{"silu", EQ_ACT_SILU},
                {"swish", EQ_ACT_SILU},
                {"gelu_pytorch_tanh", EQ_ACT_GELU_TANH},
                {"gelu_new", EQ_ACT_GELU_TANH}};
    const char *key = f->act_key ? f->act_key : "hidden_act", *name;
    EQ_TRY(eq_json_str(root, key, f->act ? f->act : "silu", &name, where, err));
    if (f->gelu_is_tanh && !strcmp(name, "gelu")) name = "gelu_pytorch_tanh";
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(name, acts[i].name)) {
            c->act = acts[i].act;
            return EQ_OK;
        }
    return eq_fail(err, EQ_EINPUT,
                   "%s: \"%s\": expected \"silu\" or \"gelu_pytorch_tanh\", found \"%s\"", where,
                   key, name);
}

static eq_status parse_rest(eq_config *c, const eq_family *f, const json_t *root, const char *where,
                            eq_err *err) {
    const char *dtype, *old, *eps = f->eps_key ? f->eps_key : "rms_norm_eps";
    EQ_TRY(eq_json_num(root, eps, f->eps > 0 ? f->eps : 1e-6, &c->eps, where, err));
    if (!(c->eps > 0 && c->eps < 1))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected between 0 and 1, found %g", where, eps,
                       c->eps);
    EQ_TRY(eq_json_bool(root, "tie_word_embeddings", f->tied, &c->tied, where, err));
    EQ_TRY(eq_json_str(root, "torch_dtype", "", &old, where, err));
    EQ_TRY(eq_json_str(root, "dtype", old, &dtype, where, err));
    if (strlen(dtype) >= sizeof c->dtype)
        return eq_fail(err, EQ_EINPUT, "%s: \"torch_dtype\": expected a type's name, found \"%s\"",
                       where, dtype);
    snprintf(c->dtype, sizeof c->dtype, "%s", dtype);
    EQ_TRY(parse_token(&c->bos, "bos_token_id", root, where, err));
    return parse_token(&c->eos, "eos_token_id", root, where, err);
}

void eq_config_plain(eq_config *c) {
    c->attn_scale = 1.0 / sqrt((double)c->HD);
    c->embed_scale = c->residual_scale = c->logit_scale = 1;
    c->rope.dim = c->HD, c->rope.theta = 10000, c->rope.scale = 1;
}

/* What the family's row says outright. */
static void take_row(eq_config *c, const eq_family *f) {
    snprintf(c->family, sizeof c->family, "%s", f->name);
    c->files = f->files, c->norms = f->norms, c->qk_norm = f->qk_norm;
    c->norm_plus_one = f->norm_plus_one, c->norm_center = f->norm_center;
}

static eq_status parse(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    const eq_family *f = NULL;
    if (!json_is_object(root))
        return eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", where,
                       eq_json_type(root));
    EQ_TRY(find_family(&f, root, where, err));
    take_row(c, f);
    EQ_TRY(check_architecture(f, root, where, err));
    EQ_TRY(parse_shapes(c, f, root, where, err));
    eq_config_plain(c);
    EQ_TRY(parse_biases(c, f, root, where, err));
    EQ_TRY(parse_act(c, f, root, where, err));
    EQ_TRY(eq_layers_parse(c, f, root, where, err));
    EQ_TRY(parse_rest(c, f, root, where, err));
    EQ_TRY(eq_rope_parse(c, f, root, where, err));
    if (f->scales) EQ_TRY(f->scales(c, root, where, err));
    EQ_TRY(eq_quant_parse(c, root, where, err));
    return eq_config_check_keys(root, f, where, err);
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
    if (st == EQ_OK)
        *c = out;
    else
        eq_config_free(&out);
    eq_free(path);
    return st;
}

void eq_config_free(eq_config *c) { eq_schemes_free(&c->schemes); }

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
        block += s.exists ? s.n * (c->norm_center ? 2 : 1) : 0;
    }
    return eq_config_linear_params(c) + block * c->L + c->V * c->D * (c->tied ? 1 : 2) +
           c->D * (c->norm_center ? 2 : 1);
}

/* What a model folder holds, and how large the model is and would be (paper, Table 11).
 * The paper's sizes: every linear of a block at N + (N + 16) / g bits a weight, all else in fp16.
 * Its 3-bit rows come from files that put ten values into 32 bits, so N is 3.2 there; ours hold
 * true 3 bits and are smaller. Both are given. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/layouts.h"
#include "model/schemes.h"

/* ---- sizes ----------------------------------------------------------------------------------- */

/* Bits a linear weight costs, over all linears; `width` is N, not always whole. */
static double bits_of_linears(const eq_config *c, double width, int64_t group) {
    double bits = 0, weights = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
        double n = (double)s.O * (double)s.I;
        bits += n * (width + (width + 16) / (double)eq_group(group, s.I));
        weights += n;
    }
    return bits / weights;
}

static double gib(const eq_config *c, double bits_a_weight) {
    double linear = (double)eq_config_linear_params(c), all = (double)eq_config_params(c);
    return (linear * bits_a_weight / 8 + (all - linear) * 2) / (double)(1 << 30);
}

static json_t *size_row(const eq_config *c, const char *scheme, int bits, int64_t group) {
    double ours = bits ? bits_of_linears(c, bits, group) : 16;
    double paper = bits == 3 ? bits_of_linears(c, 3.2, group) : ours;
    return json_pack("{s:s, s:f, s:f, s:f}", "scheme", scheme, "bits_per_weight", ours, "gib",
                     gib(c, ours), "table11_gib", gib(c, paper));
}

static json_t *size_table(const eq_config *c) {
    static const struct {
        const char *scheme;
        int bits;
        int64_t group;
    } rows[] = {{"fp16", 0, 0},
                {"w4g128", 4, 128},
                {"w3g128", 3, 128},
                {"w2g64", 2, 64},
                {"w2g128", 2, 128}};
    json_t *table = json_array();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        json_array_append_new(table, size_row(c, rows[i].scheme, rows[i].bits, rows[i].group));
    return table;
}

/* ---- architecture ---------------------------------------------------------------------------- */

static json_t *rope(const eq_config *c, const eq_rope_spec *r) {
    json_t *v = json_pack("{s:s, s:f}", "type", eq_rope_name(r->kind), "theta", r->theta);
    if (r->kind != EQ_ROPE_PLAIN) json_object_set_new(v, "factor", json_real(r->factor));
    if (r->original_T) json_object_set_new(v, "original_context", json_integer(r->original_T));
    if (r->dim != c->HD) json_object_set_new(v, "turned_elements", json_integer(r->dim));
    return v;
}

static int64_t layers_with(const eq_config *c, int bit) {
    int64_t n = 0;
    for (int64_t i = 0; i < c->L; i++) n += (c->layer[i] & bit) != 0;
    return n;
}

/* What sets a family apart, where it is not as Llama has it. */
static void add_special(json_t *v, const eq_config *c) {
    static const char *const places[] = {"before", "behind", "around"};
    const struct {
        const char *name;
        double is, plain;
    } numbers[] = {{"embedding_scale", c->embed_scale, 1},
                   {"residual_scale", c->residual_scale, 1},
                   {"logit_scale", c->logit_scale, 1},
                   {"score_cap", c->attn_cap, 0},
                   {"logit_cap", c->logit_cap, 0}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].is != numbers[i].plain)
            json_object_set_new(v, numbers[i].name, json_real(numbers[i].is));
    if (c->norms) json_object_set_new(v, "norms", json_string(places[c->norms]));
    if (c->norm_plus_one) json_object_set_new(v, "norm_plus_one", json_true());
    if (c->norm_center) json_object_set_new(v, "layer_norm", json_true());
    if (c->act == EQ_ACT_GELU_TANH) json_object_set_new(v, "activation", json_string("gelu_tanh"));
    int64_t sliding = layers_with(c, EQ_LAYER_SLIDING), bare = layers_with(c, EQ_LAYER_NO_ROPE);
    if (sliding && sliding < c->L) json_object_set_new(v, "sliding_layers", json_integer(sliding));
    if (bare) json_object_set_new(v, "layers_without_rope", json_integer(bare));
    if (c->two_ropes) json_object_set_new(v, "rope_of_sliding_layers", rope(c, &c->rope_sliding));
}

static json_t *architecture(const eq_config *c) {
    json_t *v = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:b, s:b, s:f, s:o}",
        "family", c->family, "hidden", (json_int_t)c->D, "inner", (json_int_t)c->F, "layers",
        (json_int_t)c->L, "vocabulary", (json_int_t)c->V, "heads", (json_int_t)c->NH, "kv_heads",
        (json_int_t)c->NKV, "head_dim", (json_int_t)c->HD, "context", (json_int_t)c->T_max,
        "sliding_window", (json_int_t)c->window, "tied_head", c->tied, "qkv_bias", c->qkv_bias,
        "o_bias", c->o_bias, "mlp_bias", c->mlp_bias, "qk_norm", c->qk_norm != EQ_QK_PLAIN,
        "norm_eps", c->eps, "rope", rope(c, &c->rope));
    if (v) add_special(v, c);
    return v;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static json_t *types(const eq_st *st) {
    json_t *rows = json_array();
    for (int d = 0; d < EQ_DTYPES; d++) {
        int64_t count = 0, bytes = 0;
        for (int64_t i = 0; i < eq_st_count(st); i++) {
            const eq_tensor *t = eq_st_at(st, i);
            if (t->dt == (eq_dtype)d) count++, bytes += t->bytes;
        }
        if (count)
            json_array_append_new(rows, json_pack("{s:s, s:I, s:I}", "type",
                                                  eq_dtype_name((eq_dtype)d), "tensors",
                                                  (json_int_t)count, "bytes", (json_int_t)bytes));
    }
    return rows;
}

static int64_t tensor_bytes(const eq_st *st) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < eq_st_count(st); i++) bytes += eq_st_at(st, i)->bytes;
    return bytes;
}

static json_t *tensor_list(const eq_st *st) {
    json_t *rows = json_array();
    for (int64_t i = 0; i < eq_st_count(st); i++) {
        const eq_tensor *t = eq_st_at(st, i);
        json_t *shape = json_array();
        for (int d = 0; d < t->ndim; d++) json_array_append_new(shape, json_integer(t->shape[d]));
        json_array_append_new(rows, json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "type",
                                              eq_dtype_name(t->dt), "shape", shape, "bytes",
                                              (json_int_t)t->bytes));
    }
    return rows;
}

static void add_files(json_t *root, const eq_weights *w, bool tensors) {
    int64_t bytes = tensor_bytes(w->st), params = eq_config_params(&w->cfg);
    double whole = 8 * (double)bytes / (double)params;
    json_object_set_new(root, "files",
                        json_pack("{s:I, s:I, s:I, s:f, s:I}", "count",
                                  (json_int_t)eq_st_files(w->st), "tensors",
                                  (json_int_t)eq_st_count(w->st), "tensor_bytes", (json_int_t)bytes,
                                  "bits_per_parameter", whole, "training_state_bytes",
                                  (json_int_t)(w->state ? tensor_bytes(w->state) : 0)));
    json_object_set_new(root, "types", types(w->st));
    if (tensors) json_object_set_new(root, "tensors", tensor_list(w->st));
}

/* ---- quantization ---------------------------------------------------------------------------- */

static void add_quantization(json_t *root, const eq_config *c) {
    eq_scheme all = c->schemes.all;
    eq_str words = {0};
    if (!eq_config_quantized(c) || eq_schemes_check(&c->schemes, c, NULL) != EQ_OK) return;
    double bits = eq_schemes_count(&c->schemes, c).bits;
    eq_schemes_words(&words, &c->schemes, c);
    json_object_set_new(root, "quantization",
                        json_pack("{s:s, s:i, s:I, s:s, s:s, s:f, s:f}", "scheme",
                                  words.p ? words.p : "", "bits", all.bits, "group_size",
                                  (json_int_t)all.group, "grid", eq_grid_name(all.grid), "format",
                                  eq_layout_of(c->layout)->name, "bits_per_weight", bits, "gib",
                                  gib(c, bits)));
    eq_str_free(&words);
}

/* What eqat.state remembers of the run. A recipe that is not JSON is shown as text. */
static void add_recipe(json_t *root, const eq_weights *w) {
    const char *recipe = w->state ? eq_st_meta(w->state, "recipe") : NULL;
    const char *version = w->state ? eq_st_meta(w->state, "version") : NULL;
    if (version) json_object_set_new(root, "written_by_version", json_string(version));
    if (!recipe) return;
    json_t *v = json_loads(recipe, JSON_REJECT_DUPLICATES, NULL);
    json_object_set_new(root, "recipe", v ? v : json_string(recipe));
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* A folder with nothing but a config.json can be looked at as well. */
static eq_status has_tensors(const char *dir, bool *has, eq_err *err) {
    char *one = eq_path(dir, "model.safetensors");
    char *index = eq_path(dir, "model.safetensors.index.json");
    eq_status st = one && index ? EQ_OK : eq_nomem(err, "a path", 256);
    if (st == EQ_OK) *has = eq_exists(one) || eq_exists(index);
    eq_free(one), eq_free(index);
    return st;
}

static json_t *describe(const char *model, const eq_config *c, const eq_weights *w, bool tensors) {
    json_t *root = json_pack("{s:o, s:o, s:I, s:I}", "model", eq_json_lossy(model), "architecture",
                             architecture(c), "parameters", (json_int_t)eq_config_params(c),
                             "linear_parameters", (json_int_t)eq_config_linear_params(c));
    if (!root) return NULL;
    add_quantization(root, c);
    json_object_set_new(root, "sizes", size_table(c));
    if (w) add_recipe(root, w), add_files(root, w, tensors);
    return root;
}

eq_status eq_inspect(const char *model, bool tensors, char **json, eq_err *err) {
    eq_config c;
    eq_weights *w = NULL;
    bool has;
    *json = NULL;
    EQ_TRY(eq_config_load(&c, model, err));
    eq_status st = has_tensors(model, &has, err);
    if (st == EQ_OK && has) st = eq_weights_open(&w, model, err);
    json_t *root = st == EQ_OK ? describe(model, &c, w, tensors) : NULL;
    *json = root ? eq_json_text(root, 2) : NULL;
    json_decref(root);
    eq_weights_close(w);
    eq_config_free(&c);
    if (st != EQ_OK) return st;
    return *json ? EQ_OK : eq_nomem(err, "a description", 1 << 16);
}

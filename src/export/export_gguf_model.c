/* What a GGUF file says about the model beside its tensors (FORMATS, "GGUF"). A field that
 * llama.cpp would not compute with is refused or said. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "export/export_gguf.h"

static const eq_gguf_arch archs[] = {
    {"llama", "llama", true, false},         {"mistral", "llama", true, false},
    {"qwen2", "qwen2", false, false},        {"qwen3", "qwen3", false, false},
    {"internlm2", "internlm2", true, false}, {"phi3", "phi3", false, true},
};

const eq_gguf_arch *eq_gguf_arch_of(const eq_config *c) {
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (!strcmp(archs[i].family, c->family)) return &archs[i];
    return NULL;
}

const eq_gguf_arch *eq_gguf_arch_named(const char *arch) {
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (!strcmp(archs[i].arch, arch)) return &archs[i];
    return NULL;
}

/* ---- q and k -----------------------------------------------------------------------------------
 */

/* llama.cpp rotates neighbours (2j, 2j + 1) where Hugging Face rotates (j, j + HD/2). */
static bool is_permuted(const eq_gguf_arch *a, eq_lin l) {
    return a->permuted && (l == EQ_LIN_Q || l == EQ_LIN_K);
}
int64_t eq_gguf_source_row(const eq_config *c, const eq_gguf_arch *a, eq_lin l, int64_t r) {
    int64_t in = r % c->HD;
    return is_permuted(a, l) ? r - in + in % 2 * (c->HD / 2) + in / 2 : r;
}
int64_t eq_gguf_file_row(const eq_config *c, const eq_gguf_arch *a, eq_lin l, int64_t o) {
    int64_t in = o % c->HD, half = c->HD / 2;
    return is_permuted(a, l) ? o - in + in % half * 2 + in / half : o;
}

/* ---- tensors -----------------------------------------------------------------------------------
 */

bool eq_gguf_leads(const eq_config *c, const eq_gguf_arch *a, eq_lin l) {
    return !a->joined || eq_export_leads(c, l);
}

const char *eq_gguf_linear_name(const eq_gguf_arch *a, eq_lin l) {
    if (a->joined && l == EQ_LIN_Q) return "attn_qkv";
    if (a->joined && l == EQ_LIN_GATE) return "ffn_up"; /* gate and up */
    return eq_gguf_linears[l];
}

eq_status eq_gguf_linear(eq_qlinear *t, const eq_qblock *b, const eq_config *c,
                         const eq_gguf_arch *a, eq_lin l, eq_err *err) {
    if (a->joined) return eq_export_join(t, b, c, l, err);
    *t = b->lin[l];
    return EQ_OK;
}

/* ---- what it does not hold ---------------------------------------------------------------------
 */

/* Of yarn, llama.cpp's llama takes the factor and the trained length, and defaults for the rest. */
static eq_status check_yarn(const eq_export_job *x, eq_err *err) {
    static const char *const keys[] = {"attention_factor", "beta_fast",      "beta_slow",
                                       "mscale",           "mscale_all_dim", "truncate"};
    json_t *root;
    const eq_str *text = &x->src->config;
    EQ_TRY(eq_json_parse(&root, text->p, text->n, "config.json", err));
    const json_t *r = eq_json_get(root, "rope_parameters");
    if (!r) r = eq_json_get(root, "rope_scaling");
    eq_status st = EQ_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && st == EQ_OK; i++)
        if (r && eq_json_get(r, keys[i]))
            st =
                eq_fail(err, EQ_EINPUT,
                        "%s: rope type yarn: gguf is written with its defaults alone, found \"%s\"",
                        x->src->dir, keys[i]);
    json_decref(root);
    return st;
}

/* What the format's model of this family computes of a block is fixed by its name. */
static const char *other_block(const eq_config *c, const eq_gguf_arch *a) {
    bool phi3 = !strcmp(a->arch, "phi3"), qwen2 = !strcmp(a->arch, "qwen2");
    bool turned = !c->two_ropes && c->rope.query_beta == 0 && (phi3 || c->rope.dim == c->HD);
    for (int64_t i = 0; i < c->L; i++) turned = turned && !(c->layer[i] & EQ_LAYER_NO_ROPE);
    if (!turned) return "turns heads alike in every layer, whole ones where it is not phi3";
    if (c->norms != EQ_NORMS_BEFORE || c->norm_plus_one || c->norm_center)
        return "has plain norms in front";
    if (c->act != EQ_ACT_SILU) return "has silu";
    if (c->rope.kind == EQ_ROPE_LONG && !phi3) return "has no rope type longrope";
    if (c->rope.kind == EQ_ROPE_DYNAMIC)
        return "has no rope type dynamic, whose base grows with the text";
    if ((qwen2 || phi3) && c->HD != c->D / c->NH)
        return "has heads of hidden_size / heads, and no head_dim";
    bool llama = !strcmp(a->arch, "llama");
    if (!llama && (c->o_bias || c->mlp_bias || (c->qkv_bias && !qwen2)))
        return "has no such biases (attention_bias)";
    return NULL;
}

eq_status eq_gguf_check_model(const eq_export_job *x, eq_err *err) {
    const eq_config *c = &x->src->cfg;
    const eq_gguf_arch *a = eq_gguf_arch_of(c);
    const char *why = a ? other_block(c, a) : NULL;
    if (!a)
        return eq_fail(err, EQ_EINPUT,
                       "%s: gguf is written of llama, mistral, qwen2, qwen3, internlm2 and phi3 "
                       "models, found %s",
                       x->src->dir, c->family);
    if (why)
        return eq_fail(err, EQ_EINPUT, "%s: gguf's %s %s, found another block", x->src->dir,
                       a->arch, why);
    if (c->rope.kind == EQ_ROPE_YARN) EQ_TRY(check_yarn(x, err));
    if (c->window && c->window < c->T_max)
        eq_note(x->obs,
                "llama.cpp's %s attends to all tokens: context_length is written as %lld, within "
                "which the sliding window makes no difference",
                a->arch, (long long)c->window);
    return EQ_OK;
}

/* ---- metadata ----------------------------------------------------------------------------------
 */

typedef struct {
    eq_ggw *w;
    const char *arch;
    char name[96];
} keys;

static const char *key(keys *k, const char *tail) {
    snprintf(k->name, sizeof k->name, "%s.%s", k->arch, tail);
    return k->name;
}
static void put_str(eq_ggw *w, const char *name, const char *s) {
    eq_ggw_str(w, name, s, (int64_t)strlen(s));
}

static void put_rope(keys *k, const eq_config *c) {
    eq_ggw_u32(k->w, key(k, "rope.dimension_count"), c->rope.dim);
    eq_ggw_f32(k->w, key(k, "rope.freq_base"), c->rope.theta);
    if (!strcmp(k->arch, "phi3")) { /* its loaders want both */
        eq_ggw_u32(k->w, key(k, "rope.scaling.original_context_length"), c->rope.original_T);
        eq_ggw_u32(k->w, key(k, "attention.sliding_window"), c->window);
    }
    if (c->rope.kind == EQ_ROPE_LONG)
        eq_ggw_f32(k->w, key(k, "rope.scaling.attn_factor"), c->rope.scale);
    bool yarn = c->rope.kind == EQ_ROPE_YARN;
    if (!yarn && c->rope.kind != EQ_ROPE_LINEAR) return;
    put_str(k->w, key(k, "rope.scaling.type"), yarn ? "yarn" : "linear");
    eq_ggw_f32(k->w, key(k, "rope.scaling.factor"), c->rope.factor);
    if (yarn) eq_ggw_u32(k->w, key(k, "rope.scaling.original_context_length"), c->rope.original_T);
}

/* The folder's name, which users see in lists. */
static void put_name(eq_ggw *w, const char *dir) {
    char *real = eq_real_path(dir);
    const char *slash = real ? strrchr(real, '/') : NULL;
    json_t *name = eq_json_lossy(slash && slash[1] ? slash + 1 : "model");
    if (name) put_str(w, "general.name", json_string_value(name));
    json_decref(name);
    eq_free(real);
}

void eq_gguf_put_model(eq_ggw *w, const eq_export_job *x, int file_type) {
    const eq_config *c = &x->src->cfg;
    keys k = {.w = w, .arch = eq_gguf_arch_of(c)->arch};
    int64_t T = c->window && c->window < c->T_max ? c->window : c->T_max;
    put_str(w, "general.architecture", k.arch);
    put_str(w, "general.type", "model");
    put_name(w, x->src->dir);
    eq_ggw_u32(w, "general.file_type", file_type);
    eq_ggw_u32(w, "general.quantization_version", 2);
    eq_ggw_u32(w, "general.alignment", EQ_GGUF_ALIGN);
    eq_ggw_u32(w, key(&k, "vocab_size"), c->V);
    eq_ggw_u32(w, key(&k, "context_length"), T);
    eq_ggw_u32(w, key(&k, "embedding_length"), c->D);
    eq_ggw_u32(w, key(&k, "block_count"), c->L);
    eq_ggw_u32(w, key(&k, "feed_forward_length"), c->F);
    eq_ggw_u32(w, key(&k, "attention.head_count"), c->NH);
    eq_ggw_u32(w, key(&k, "attention.head_count_kv"), c->NKV);
    eq_ggw_f32(w, key(&k, "attention.layer_norm_rms_epsilon"), c->eps);
    eq_ggw_u32(w, key(&k, "attention.key_length"), c->HD);
    eq_ggw_u32(w, key(&k, "attention.value_length"), c->HD);
    put_rope(&k, c);
}

bool eq_gguf_rope_factors(float *out, const eq_config *c) {
    const double turn = 2 * 3.14159265358979323846;
    if (c->rope.kind != EQ_ROPE_LLAMA3) return false;
    double T = (double)c->rope.original_T, factor = c->rope.factor;
    for (int64_t i = 0; i < c->HD / 2; i++) {
        double wave = turn * pow(c->rope.theta, (double)(2 * i) / (double)c->HD);
        double share = (T / wave - c->rope.low_freq) / (c->rope.high_freq - c->rope.low_freq);
        share = share < 0 ? 0 : share > 1 ? 1 : share;
        out[i] = (float)(1 / ((1 - share) / factor + share));
    }
    return true;
}

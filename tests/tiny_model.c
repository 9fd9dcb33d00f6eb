/* See tiny_model.h. Walks the name table that weights.c reads with. */
#define _GNU_SOURCE
#include "tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/rng.h"

static eq_err err;
static void must(eq_status st) {
    if (st == EQ_OK) return;
    fprintf(stderr, "tiny_model: %s\n", err.msg);
    abort();
}

char *tiny_dir(void) {
    /* in memory where that is possible: these tests write thousands of files and sync each */
    bool shm = access("/dev/shm", W_OK | X_OK) == 0 && eq_disk_free("/dev/shm") > 32 << 20;
    char *dir = eq_strdup(shm ? "/dev/shm/eqat-test-XXXXXX" : "/tmp/eqat-test-XXXXXX");
    if (!dir || !mkdtemp(dir)) abort();
    return dir;
}
void tiny_remove(char *dir) {
    must(eq_remove_tree(dir, &err));
    eq_free(dir);
}
char *tiny_path(const char *dir, const char *name) {
    char *p = eq_path(dir, name);
    if (!p) abort();
    return p;
}
void tiny_text(const char *dir, const char *name, const char *text) {
    char *p = tiny_path(dir, name);
    must(eq_write_file(p, text, (int64_t)strlen(text), &err));
    eq_free(p);
}

/* What a family's config.json says beside the shapes: all that sets it apart, at sizes of two
 * blocks. */
static const struct {
    const char *family, *keys;
} special[] = {
    {"mistral", "\"sliding_window\": 8"},
    {"gemma", "\"hidden_act\": \"gelu\""},
    {"gemma2",
     "\"sliding_window\": 8, \"query_pre_attn_scalar\": 24, \"attn_logit_softcapping\": 2.5, "
     "\"final_logit_softcapping\": 3.0"},
    {"gemma3_text",
     "\"sliding_window\": 8, \"sliding_window_pattern\": 2, \"query_pre_attn_scalar\": 24, "
     "\"rope_local_base_freq\": 100.0, \"rope_scaling\": {\"rope_type\": \"linear\", "
     "\"factor\": 8.0}"},
    {"phi3",
     "\"sliding_window\": 12, \"partial_rotary_factor\": 0.75, "
     "\"original_max_position_embeddings\": 10, \"rope_scaling\": {\"type\": \"longrope\", "
     "\"short_factor\": [1, 1.1, 1.2, 1.3, 1.4, 1.5], \"long_factor\": [1, 2, 3, 4, 5, 6]}"},
    {"smollm3", "\"no_rope_layers\": [1, 0], \"use_sliding_window\": true, \"sliding_window\": 8"},
    {"granite", "\"embedding_multiplier\": 6.0, \"residual_multiplier\": 0.22, "
                "\"attention_multiplier\": 0.4, \"logits_scaling\": 4.0"},
    {"olmo2", "\"attention_bias\": true"},
    {"olmo3",
     "\"sliding_window\": 8, \"layer_types\": [\"sliding_attention\", \"full_attention\"], "
     "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, "
     "\"original_max_position_embeddings\": 8}"},
    {"internlm2", "\"bias\": true"},
    {"minicpm", "\"scale_emb\": 6, \"scale_depth\": 1.4, \"dim_model_base\": 16"},
    {"stablelm", "\"use_qkv_bias\": true, \"layer_norm_eps\": 1e-05"},
    {"ministral",
     "\"sliding_window\": 8, \"layer_types\": [\"full_attention\", \"sliding_attention\"]"},
    {"ministral3", "\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4.0, "
                   "\"original_max_position_embeddings\": 8, \"llama_4_scaling_beta\": 0.3}"},
};

const char *tiny_config(const char *family, bool tied) {
    static char text[1024];
    const char *keys = "";
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (!strcmp(special[i].family, family)) keys = special[i].keys;
    bool theta = strcmp(family, "olmo3") && strcmp(family, "ministral3");
    snprintf(text, sizeof text,
             "{\n \"model_type\": \"%s\", \"hidden_size\": 64, \"intermediate_size\": 96,\n"
             " \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
             " \"head_dim\": 16, \"vocab_size\": 50, \"max_position_embeddings\": 32,\n"
             " \"rms_norm_eps\": 1e-05%s, \"torch_dtype\": \"float32\",\n"
             " \"tie_word_embeddings\": %s, \"bos_token_id\": 1, \"eos_token_id\": 2%s%s\n}\n",
             family, theta ? ", \"rope_theta\": 10000.0" : "", tied ? "true" : "false",
             *keys ? ", " : "", keys);
    return text;
}

typedef struct {
    const eq_config *c;
    const tiny_opts *o;
    eq_stw *w;
    bool declare;  /* first pass: names and shapes; second: bytes */
    int shard, of; /* tensor k goes to shard k % of */
    int64_t k;
    json_t *map;
} walk;

float tiny_golden(const char *name, int64_t i) {
    uint32_t u = 2166136261u;
    for (const char *s = name; *s; s++) u = (u ^ (uint8_t)*s) * 16777619u;
    u += (uint32_t)i * 0x9e3779b1u;
    u = (u ^ u >> 16) * 0x85ebca6bu;
    u = (u ^ u >> 13) * 0xc2b2ae35u;
    u ^= u >> 16;
    return (float)(u >> 8) * 0x1p-23f - 1.0f;
}

/* Of a size that keeps activations near one in tiny models; norms multiply with about one. */
static float golden_weight(const eq_config *c, const char *name, int64_t rows, int64_t i) {
    float v = tiny_golden(name, i);
    if (rows >= 0) return strcmp(name, eq_end_of(c, EQ_END_EMBED)) ? 0.5f * v : v;
    return eq_ends_with(name, ".weight") && !c->norm_plus_one ? 1.0f + 0.25f * v : 0.25f * v;
}

static void tensor(walk *a, const char *name, int64_t rows, int64_t cols) {
    const tiny_opts *o = a->o;
    int64_t shape[2] = {rows < 0 ? cols : rows, cols}, k = a->k++;
    if (o->leave_out && !strcmp(o->leave_out, name)) return;
    if (k % a->of != a->shard) return;
    eq_dtype dt = o->fp8 && eq_ends_with(name, "_proj.weight") ? EQ_F8 : o->dt;
    const char *written = o->no_prefix && !strncmp(name, "model.", 6) ? name + 6 : name;
    if (o->bad_shape && !strcmp(o->bad_shape, name)) shape[0]++;
    int64_t n = rows < 0 ? shape[0] : shape[0] * cols;
    if (a->declare) {
        must(eq_stw_tensor(a->w, written, dt, rows < 0 ? 1 : 2, shape, &err));
        char file[64];
        snprintf(file, sizeof file, "model-%05d-of-%05d.safetensors", a->shard + 1, a->of);
        json_object_set_new(a->map, written, json_string(file));
        return;
    }
    float scale = rows < 0 ? 0.1f : 1.0f / sqrtf((float)cols);
    if (o->huge && !strcmp(o->huge, name)) scale *= 1e38f;
    uint64_t seed = o->seed;
    /* a tied matrix has the same bytes under either name */
    const char *key = o->both && !strcmp(name, eq_end_of(a->c, EQ_END_HEAD))
                          ? eq_end_of(a->c, EQ_END_EMBED)
                          : name;
    for (const char *s = key; *s; s++) seed = seed * 31 + (uint64_t)*s;
    char *p = eq_calloc(n, eq_dtype_size(dt));
    if (!p) abort();
    for (int64_t i = 0; dt == EQ_F8 && i < n; i++) {
        p[i] = (char)eq_rand_u64(seed, (uint64_t)i);
        if ((p[i] & 0x7f) == 0x7f) p[i] = 0; /* NaN */
    }
    for (int64_t i = 0; dt != EQ_F8 && i < n; i++)
        eq_store(p, dt, i,
                 o->golden ? golden_weight(a->c, name, rows, i)
                           : scale * eq_rand_normal(seed, (uint64_t)i) + (rows < 0 ? 1.0f : 0.0f));
    if (o->nan && !strcmp(o->nan, name)) eq_store(p, dt, n - 1, NAN);
    must(eq_stw_put(a->w, p, n * eq_dtype_size(dt), &err));
    eq_free(p);
}

/* "model.layers.N.NAME.PART"; rows < 0: a vector. */
static void of_block(walk *a, int64_t i, const char *name, const char *part, int64_t rows,
                     int64_t cols) {
    char full[128];
    snprintf(full, sizeof full, "model.layers.%d.%s.%s", (int)i, name, part);
    tensor(a, full, rows, cols);
}

static void tensors(walk *a) {
    const eq_config *c = a->c;
    a->k = 0;
    if (!(c->tied && a->o->only_head)) tensor(a, eq_end_of(c, EQ_END_EMBED), c->V, c->D);
    for (int64_t i = 0; i < c->L; i++) {
        for (int l = 0; l < EQ_LINS; l++) {
            eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
            if (s.first) continue;
            of_block(a, i, s.file, "weight", s.rows, s.I);
            if (a->o->fp8)
                of_block(a, i, s.file, "weight_scale_inv", (s.rows + c->fp8[0] - 1) / c->fp8[0],
                         (s.I + c->fp8[1] - 1) / c->fp8[1]);
            if (s.bias) of_block(a, i, s.file, "bias", -1, s.rows);
        }
        for (int n = 0; n < EQ_NORM_COUNT; n++) {
            eq_norm_spec s = eq_norm_of(c, (eq_norm)n);
            if (!s.exists) continue;
            of_block(a, i, s.name, "weight", -1, s.n);
            if (c->norm_center) of_block(a, i, s.name, "bias", -1, s.n);
        }
    }
    tensor(a, eq_end_of(c, EQ_END_NORM), -1, c->D);
    if (c->norm_center) tensor(a, eq_end_of(c, EQ_END_NORM_BIAS), -1, c->D);
    if (!c->tied || a->o->only_head || a->o->both) tensor(a, eq_end_of(c, EQ_END_HEAD), c->V, c->D);
    if (a->o->extra) tensor(a, a->o->extra, -1, 2);
}

void tiny_write(const char *dir, const char *config, const tiny_opts *o) {
    eq_config c;
    json_t *map = json_object();
    int of = o->shards > 1 ? o->shards : 1;
    tiny_text(dir, "config.json", config);
    must(eq_config_load(&c, dir, &err));
    for (int s = 0; s < of; s++) {
        char file[64];
        snprintf(file, sizeof file, "model-%05d-of-%05d.safetensors", s + 1, of);
        char *path = tiny_path(dir, of > 1 ? file : "model.safetensors");
        walk a = {&c, o, NULL, true, s, of, 0, map};
        must(eq_stw_new(&a.w, path, &err));
        must(eq_stw_meta(a.w, "format", "pt", &err));
        tensors(&a);
        must(eq_stw_begin(a.w, &err));
        a.declare = false;
        tensors(&a);
        must(eq_stw_end(a.w, &err));
        eq_free(path);
    }
    if (of > 1) {
        json_t *root = json_pack("{s:{s:i}, s:O}", "metadata", "total_size", 0, "weight_map", map);
        char *text = eq_json_text(root, 2);
        tiny_text(dir, "model.safetensors.index.json", text);
        eq_free(text), json_decref(root);
    }
    json_decref(map);
}

char *tiny_rounded(char *dir, int bits) {
    eq_quantize_opts o;
    char *out = tiny_dir();
    eq_quantize_opts_init(&o);
    o.model = dir, o.out = out, o.method = EQ_METHOD_RTN, o.e2e = false;
    o.bits = bits, o.group_size = 32;
    must(eq_quantize(&o, NULL, NULL, &err));
    tiny_remove(dir);
    return out;
}

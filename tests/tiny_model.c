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

const char *tiny_config(const char *family, bool tied) {
    static char text[1024];
    snprintf(text, sizeof text,
             "{\n \"model_type\": \"%s\", \"hidden_size\": 64, \"intermediate_size\": 96,\n"
             " \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
             " \"head_dim\": 16, \"vocab_size\": 50, \"max_position_embeddings\": 32,\n"
             " \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"torch_dtype\": \"float32\",\n"
             " \"tie_word_embeddings\": %s, \"bos_token_id\": 1, \"eos_token_id\": 2%s\n}\n",
             family, tied ? "true" : "false",
             strcmp(family, "mistral") ? "" : ", \"sliding_window\": 8");
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

static void tensor(walk *a, const char *name, int64_t rows, int64_t cols) {
    const tiny_opts *o = a->o;
    int64_t shape[2] = {rows < 0 ? cols : rows, cols}, k = a->k++;
    if (o->leave_out && !strcmp(o->leave_out, name)) return;
    if (k % a->of != a->shard) return;
    const char *written = o->no_prefix && !strncmp(name, "model.", 6) ? name + 6 : name;
    if (o->bad_shape && !strcmp(o->bad_shape, name)) shape[0]++;
    int64_t n = rows < 0 ? shape[0] : shape[0] * cols;
    if (a->declare) {
        must(eq_stw_tensor(a->w, written, o->dt, rows < 0 ? 1 : 2, shape, &err));
        char file[64];
        snprintf(file, sizeof file, "model-%05d-of-%05d.safetensors", a->shard + 1, a->of);
        json_object_set_new(a->map, written, json_string(file));
        return;
    }
    float scale = rows < 0 ? 0.1f : 1.0f / sqrtf((float)cols);
    if (o->huge && !strcmp(o->huge, name)) scale *= 1e38f;
    uint64_t seed = o->seed;
    /* a tied matrix has the same bytes under either name */
    const char *key =
        o->both && !strcmp(name, "lm_head.weight") ? "model.embed_tokens.weight" : name;
    for (const char *s = key; *s; s++) seed = seed * 31 + (uint64_t)*s;
    char *p = eq_calloc(n, eq_dtype_size(o->dt));
    if (!p) abort();
    for (int64_t i = 0; i < n; i++)
        eq_store(p, o->dt, i, scale * eq_rand_normal(seed, (uint64_t)i) + (rows < 0 ? 1.0f : 0.0f));
    if (o->nan && !strcmp(o->nan, name)) eq_store(p, o->dt, n - 1, NAN);
    must(eq_stw_put(a->w, p, n * eq_dtype_size(o->dt), &err));
    eq_free(p);
}

static void tensors(walk *a) {
    const eq_config *c = a->c;
    char name[128];
    a->k = 0;
    if (!(c->tied && a->o->only_head)) tensor(a, "model.embed_tokens.weight", c->V, c->D);
    for (int64_t i = 0; i < c->L; i++) {
        for (int l = 0; l < EQ_LINS; l++) {
            eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", (int)i, s.name);
            tensor(a, name, s.O, s.I);
            snprintf(name, sizeof name, "model.layers.%d.%s.bias", (int)i, s.name);
            if (s.bias) tensor(a, name, -1, s.O);
        }
        for (int n = 0; n < EQ_NORM_COUNT; n++) {
            eq_norm_spec s = eq_norm_of(c, (eq_norm)n);
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", (int)i, s.name);
            if (s.exists) tensor(a, name, -1, s.n);
        }
    }
    tensor(a, "model.norm.weight", -1, c->D);
    if (!c->tied || a->o->only_head || a->o->both) tensor(a, "lm_head.weight", c->V, c->D);
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

/* make-model: a Hugging Face folder of random weights in any shape, for tests and measurements.
 * Invariant: a weight depends on the seed, the tensor's place in the model and the weight's place
 * in the tensor alone, never on shards, types or threads; memory does not grow with the model. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "model/config_parse.h"
#include "model/weights.h"

typedef struct {
    const char *out, *family, *dtype, *tied_as, *rope_scaling;
    int64_t hidden, inner, layers, heads, kv_heads, head_dim, vocab, context, seed, shard_size,
        window;
    int64_t threads;
    double std, theta, rope_factor, eps;
    bool tied, attention_bias, mlp_bias;
} options;

static const options defaults = {.family = "llama",
                                 .dtype = "bf16",
                                 .tied_as = "embed",
                                 .shard_size = 5000000000,
                                 .std = 0.02,
                                 .theta = 10000,
                                 .eps = 1e-5};

/* ---- the command line ------------------------------------------------------------------------ */

static const struct {
    const char *name, *family, *dtype, *rope;
    int64_t hidden, inner, layers, heads, kv_heads, head_dim, vocab, context;
    double theta, eps;
    bool tied;
} presets[] = {
    {"tiny", "llama", "f32", NULL, 128, 256, 2, 4, 2, 0, 384, 128, 1e4, 1e-5, false},
    {"llama-2-7b", "llama", "f16", NULL, 4096, 11008, 32, 32, 32, 0, 32000, 4096, 1e4, 1e-5, false},
    {"tinyllama-1.1b", "llama", "bf16", NULL, 2048, 5632, 22, 32, 4, 0, 32000, 2048, 1e4, 1e-5,
     false},
    {"llama-3.2-1b", "llama", "bf16", "llama3", 2048, 8192, 16, 32, 8, 64, 128256, 131072, 5e5,
     1e-5, true},
    {"qwen3-0.6b", "qwen3", "bf16", NULL, 1024, 3072, 28, 16, 8, 128, 151936, 40960, 1e6, 1e-6,
     true},
};
enum { PRESETS = sizeof presets / sizeof *presets };

typedef enum { TEXT, WHOLE, REAL, FLAG } option_kind;
#define O(name, kind, field, help) \
    { name, kind, offsetof(options, field), help }
static const struct {
    const char *name;
    option_kind kind;
    size_t at;
    const char *help;
} table[] = {
    O("--family", TEXT, family, "model_type: llama, mistral, gemma2, phi3, ..."),
    O("--hidden", WHOLE, hidden, "width of the residual stream"),
    O("--inner", WHOLE, inner, "width inside the MLP"),
    O("--layers", WHOLE, layers, "transformer blocks"),
    O("--heads", WHOLE, heads, "query heads"),
    O("--kv-heads", WHOLE, kv_heads, "key and value heads (default: as many as query heads)"),
    O("--head-dim", WHOLE, head_dim, "width of a head (default: hidden / heads)"),
    O("--vocab", WHOLE, vocab, "vocabulary; below 259 no tokenizer is written"),
    O("--context", WHOLE, context, "max_position_embeddings"),
    O("--dtype", TEXT, dtype, "bf16, f16 or f32"),
    O("--tied", FLAG, tied, "one matrix for embedding and head"),
    O("--tied-as", TEXT, tied_as, "the name it is stored under: embed or lm_head"),
    O("--attention-bias", FLAG, attention_bias,
      "biases of attention, where the family may have them"),
    O("--mlp-bias", FLAG, mlp_bias, "biases in the MLP (llama)"),
    O("--rope-theta", REAL, theta, "base of the rotary embedding"),
    O("--rope-scaling", TEXT, rope_scaling, "llama3, linear or dynamic"),
    O("--rope-factor", REAL, rope_factor, "its factor (default: 32 for llama3, else 2)"),
    O("--rms-eps", REAL, eps, "epsilon of the norms"),
    O("--sliding-window", WHOLE, window, "attention window, where the family has one"),
    O("--std", REAL, std, "standard deviation of the weights"),
    O("--seed", WHOLE, seed, "of the weights"),
    O("--shard-size", WHOLE, shard_size, "bytes of tensors a file at most"),
    O("--threads", WHOLE, threads, "default: one per core"),
};
enum { OPTIONS = sizeof table / sizeof *table };

static int usage(FILE *f, int code) {
    fprintf(f, "usage: make-model OUT [--like PRESET] [options]\npresets:");
    for (int i = 0; i < PRESETS; i++) fprintf(f, " %s", presets[i].name);
    fprintf(f, "\n");
    for (int i = 0; i < OPTIONS; i++) fprintf(f, "  %-18s %s\n", table[i].name, table[i].help);
    return code;
}

static bool set_preset(options *o, const char *name) {
    for (int i = 0; i < PRESETS; i++) {
        if (strcmp(name, presets[i].name)) continue;
        o->family = presets[i].family, o->dtype = presets[i].dtype;
        o->rope_scaling = presets[i].rope, o->tied = presets[i].tied;
        o->hidden = presets[i].hidden, o->inner = presets[i].inner, o->layers = presets[i].layers;
        o->heads = presets[i].heads, o->kv_heads = presets[i].kv_heads;
        o->head_dim = presets[i].head_dim, o->vocab = presets[i].vocab;
        o->context = presets[i].context, o->theta = presets[i].theta, o->eps = presets[i].eps;
        return true;
    }
    return false;
}

/* Takes one option at argv[i]; the number of words taken, 0: not understood. */
static int take(options *o, int left, char **argv) {
    for (int k = 0; k < OPTIONS; k++) {
        if (strcmp(argv[0], table[k].name)) continue;
        void *field = (char *)o + table[k].at;
        char *end = NULL;
        if (table[k].kind == FLAG) return *(bool *)field = true, 1;
        if (left < 2) return 0;
        if (table[k].kind == TEXT) *(const char **)field = argv[1];
        if (table[k].kind == WHOLE) *(int64_t *)field = strtoll(argv[1], &end, 10);
        if (table[k].kind == REAL) *(double *)field = strtod(argv[1], &end);
        bool bad = end && (*end || end == argv[1] || argv[1][0] == '-');
        return bad ? 0 : 2;
    }
    return 0;
}

static int parse(options *o, int argc, char **argv) {
    *o = defaults;
    for (int i = 1; i + 1 < argc; i++) /* first, so that options override it wherever it stands */
        if (!strcmp(argv[i], "--like") && !set_preset(o, argv[i + 1])) {
            fprintf(stderr, "make-model: unknown preset %s\n", argv[i + 1]);
            return 2;
        }
    for (int i = 1; i < argc;) {
        int n = !strcmp(argv[i], "--like") && i + 1 < argc ? 2 : take(o, argc - i, argv + i);
        if (!n && argv[i][0] != '-' && !o->out) o->out = argv[i], n = 1;
        if (!n) {
            fprintf(stderr, "make-model: %s: unknown option, or a value that it does not take\n",
                    argv[i]);
            return 2;
        }
        i += n;
    }
    if (!o->kv_heads) o->kv_heads = o->heads;
    if (o->out && o->hidden && o->inner && o->layers && o->heads && o->vocab && o->context)
        return 0;
    fprintf(stderr,
            "make-model: expected OUT and --like, or every one of --hidden --inner --layers "
            "--heads --vocab --context\n");
    return 2;
}

/* ---- config and tokenizer -------------------------------------------------------------------- */

static eq_status write_json(json_t *v, const char *dir, const char *name, eq_err *err) {
    char *path = eq_path(dir, name), *text = v ? eq_json_text(v, 2) : NULL;
    eq_status st = path && text ? eq_write_file(path, text, (int64_t)strlen(text), err)
                                : eq_nomem(err, name, 1 << 20);
    eq_free(path);
    eq_free(text);
    json_decref(v);
    return st;
}

static void put_rope_scaling(json_t *c, const options *o) {
    if (!o->rope_scaling) return;
    bool llama3 = !strcmp(o->rope_scaling, "llama3");
    json_t *r = json_object();
    json_object_set_new(r, "rope_type", json_string(o->rope_scaling));
    json_object_set_new(r, "factor",
                        json_real(o->rope_factor != 0 ? o->rope_factor
                                  : llama3            ? 32
                                                      : 2));
    if (llama3) {
        json_object_set_new(r, "low_freq_factor", json_real(1));
        json_object_set_new(r, "high_freq_factor", json_real(4));
        json_object_set_new(r, "original_max_position_embeddings",
                            json_integer(o->context > 8192 ? 8192 : (o->context + 3) / 4));
    }
    json_object_set_new(c, "rope_scaling", r);
}

/* What a family's config.json must say, or says in the models that people have. */
static const struct {
    const char *family, *keys;
} special[] = {
    {"granite", "{\"embedding_multiplier\": 12.0, \"residual_multiplier\": 0.22, "
                "\"attention_multiplier\": 0.015625, \"logits_scaling\": 8.0}"},
    {"minicpm", "{\"scale_emb\": 12, \"scale_depth\": 1.4, \"dim_model_base\": 256}"},
    {"stablelm", "{\"layer_norm_eps\": 1e-05}"},
    {"ministral3", "{\"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 1000000.0, "
                   "\"factor\": 16.0, \"original_max_position_embeddings\": 16384, "
                   "\"llama_4_scaling_beta\": 0.1}, \"rope_theta\": null}"},
    {"olmo3", "{\"rope_theta\": 500000.0}"},
};

static void put_special(json_t *c, const char *family) {
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        if (strcmp(special[i].family, family)) continue;
        json_t *keys = json_loads(special[i].keys, 0, NULL);
        json_object_update(c, keys);
        json_decref(keys);
    }
}

static const eq_family *family_of(const char *name) {
    for (int i = 0; i < eq_family_count; i++)
        if (!strcmp(name, eq_families[i].name)) return &eq_families[i];
    return NULL;
}

static json_t *make_config(const options *o, eq_err *err) {
    const eq_family *f = family_of(o->family);
    const char *dtype = !strcmp(o->dtype, "bf16")  ? "bfloat16"
                        : !strcmp(o->dtype, "f16") ? "float16"
                        : !strcmp(o->dtype, "f32") ? "float32"
                                                   : NULL;
    if (!f || !dtype) {
        eq_fail(err, EQ_EINPUT, "%s: expected %s", f ? o->dtype : o->family,
                f ? "bf16, f16 or f32" : "a model_type that eqat reads, such as llama");
        return NULL;
    }
    json_t *c = json_pack(
        "{s:[s], s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:s, s:i, s:i}",
        "architectures", f->architecture, "model_type", o->family, "hidden_act", "silu",
        "hidden_size", (json_int_t)o->hidden, "intermediate_size", (json_int_t)o->inner,
        "num_hidden_layers", (json_int_t)o->layers, "num_attention_heads", (json_int_t)o->heads,
        "num_key_value_heads", (json_int_t)o->kv_heads, "vocab_size", (json_int_t)o->vocab,
        "max_position_embeddings", (json_int_t)o->context, "rms_norm_eps", o->eps, "rope_theta",
        o->theta, "tie_word_embeddings", (int)o->tied, "torch_dtype", dtype, "bos_token_id", 1,
        "eos_token_id", 2);
    int64_t head_dim = o->head_dim ? o->head_dim : o->hidden / o->heads;
    if (o->head_dim || f->HD) /* whose default is the same for every width */
        json_object_set_new(c, "head_dim", json_integer(head_dim));
    if (o->attention_bias)
        json_object_set_new(c, f->bias_key ? f->bias_key : "attention_bias", json_true());
    if (o->mlp_bias) json_object_set_new(c, "mlp_bias", json_true());
    if (f->slide != EQ_SLIDE_NEVER)
        json_object_set_new(c, "sliding_window", o->window ? json_integer(o->window) : json_null());
    if (f->slide == EQ_SLIDE_BY_FLAG && o->window) {
        json_object_set_new(c, "use_sliding_window", json_true());
        json_object_set_new(c, "max_window_layers", json_integer(0));
    }
    put_rope_scaling(c, o);
    put_special(c, o->family);
    return c;
}

/* The character GPT-2's byte-level tokenizers write a byte as. */
static void byte_character(char out[4], int byte) {
    static int code[256], ready;
    for (int b = 0, next = 256; !ready && b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 161 && b <= 172) || b >= 174;
        code[b] = printable ? b : next++;
    }
    ready = 1;
    int c = code[byte];
    if (c < 128)
        out[0] = (char)c, out[1] = 0;
    else
        out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), out[2] = 0;
}

enum { SPECIALS = 3 };
static const char *const specials[SPECIALS] = {"<unk>", "<s>", "</s>"};

static json_t *make_vocab(int64_t n) {
    json_t *v = json_object();
    char name[32];
    for (int64_t i = 0; i < n; i++) {
        if (i < SPECIALS)
            snprintf(name, sizeof name, "%s", specials[i]);
        else if (i < SPECIALS + 256)
            byte_character(name, (int)i - SPECIALS);
        else
            snprintf(name, sizeof name, "<filler-%lld>", (long long)i);
        json_object_set_new(v, name, json_integer(i));
    }
    return v;
}

/* Byte-level BPE without a merge: every byte is a token, the rest of the vocabulary is never
 * met. */
static eq_status write_tokenizer(const options *o, eq_err *err) {
    json_t *added = json_array();
    for (int i = 0; i < SPECIALS; i++)
        json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", i,
                                               "content", specials[i], "single_word", 0, "lstrip",
                                               0, "rstrip", 0, "normalized", 0, "special", 1));
    const char *byte_level = "{s:s, s:b, s:b, s:b}";
    json_t *pre = json_pack(byte_level, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets",
                            1, "use_regex", 1);
    json_t *bos = json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", specials[1], "type_id", 0);
    json_t *a = json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0);
    json_t *b = json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1);
    json_t *post =
        json_pack("{s:s, s:[O,O], s:[O,O,O], s:{s:{s:s, s:[i], s:[s]}}}", "type",
                  "TemplateProcessing", "single", bos, a, "pair", bos, a, b, "special_tokens",
                  specials[1], "id", specials[1], "ids", 1, "tokens", specials[1]);
    json_decref(bos), json_decref(a), json_decref(b);
    json_t *model =
        json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:[]}", "type", "BPE", "dropout",
                  "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                  "byte_fallback", 0, "ignore_merges", 0, "vocab", make_vocab(o->vocab), "merges");
    json_t *all =
        json_pack("{s:s, s:n, s:n, s:o, s:n, s:O, s:o, s:o, s:o}", "version", "1.0", "truncation",
                  "padding", "added_tokens", added, "normalizer", "pre_tokenizer", pre,
                  "post_processor", post, "decoder", pre, "model", model);
    EQ_TRY(write_json(all, o->out, "tokenizer.json", err));
    return write_json(json_pack("{s:s, s:s, s:s, s:s, s:I, s:b}", "tokenizer_class",
                                "PreTrainedTokenizerFast", "bos_token", specials[1], "eos_token",
                                specials[2], "unk_token", specials[0], "model_max_length",
                                (json_int_t)o->context, "clean_up_tokenization_spaces", 0),
                      o->out, "tokenizer_config.json", err);
}

/* ---- weights --------------------------------------------------------------------------------- */

typedef struct {
    char name[96];
    int ndim;
    int64_t shape[2], n;
    double mean, std;
    int shard;
} tensor;

typedef struct {
    tensor *t;
    int64_t n;
    int shards;
} tensor_list;

static void add(tensor_list *l, const options *o, double mean, int64_t rows, int64_t cols,
                const char *name) {
    tensor *t = &l->t[l->n++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->ndim = cols ? 2 : 1, t->shape[0] = rows, t->shape[1] = cols;
    t->n = rows * (cols ? cols : 1), t->mean = mean, t->std = o->std;
}

/* "model.layers.N.NAME.PART" */
static void add_to(tensor_list *l, const options *o, double mean, int64_t rows, int64_t cols,
                   int64_t i, const char *name, const char *part) {
    char full[96];
    snprintf(full, sizeof full, "model.layers.%lld.%s.%s", (long long)i, name, part);
    add(l, o, mean, rows, cols, full);
}

static void add_block(tensor_list *l, const options *o, const eq_config *c, int64_t i) {
    for (int k = 0; k < EQ_LINS; k++) {
        eq_lin_spec s = eq_lin_of(c, (eq_lin)k);
        if (s.first) continue; /* rows of one that is there */
        add_to(l, o, 0, s.rows, s.I, i, s.file, "weight");
        if (s.bias) add_to(l, o, 0, s.rows, 0, i, s.file, "bias");
    }
    for (int k = 0; k < EQ_NORM_COUNT; k++) {
        eq_norm_spec s = eq_norm_of(c, (eq_norm)k);
        if (!s.exists) continue;
        add_to(l, o, c->norm_plus_one ? 0 : 1, s.n, 0, i, s.name, "weight");
        if (c->norm_center) add_to(l, o, 0, s.n, 0, i, s.name, "bias");
    }
}

static eq_status list_tensors(tensor_list *l, const options *o, const eq_config *c, int64_t size,
                              eq_err *err) {
    *l = (tensor_list){0};
    l->t = eq_calloc(4 + c->L * 2 * (EQ_LINS + EQ_NORM_COUNT), sizeof *l->t);
    if (!l->t) return eq_nomem(err, "a list of tensors", 1 << 20);
    bool as_head = !strcmp(o->tied_as, "lm_head");
    if (!c->tied || !as_head) add(l, o, 0, c->V, c->D, eq_end_of(c, EQ_END_EMBED));
    for (int64_t i = 0; i < c->L; i++) add_block(l, o, c, i);
    add(l, o, c->norm_plus_one ? 0 : 1, c->D, 0, eq_end_of(c, EQ_END_NORM));
    if (c->norm_center) add(l, o, 0, c->D, 0, eq_end_of(c, EQ_END_NORM_BIAS));
    if (!c->tied || as_head) add(l, o, 0, c->V, c->D, eq_end_of(c, EQ_END_HEAD));
    int64_t used = 0;
    for (int64_t i = 0; i < l->n; i++) {
        int64_t bytes = l->t[i].n * size;
        if (used && used + bytes > o->shard_size) l->shards++, used = 0;
        l->t[i].shard = l->shards;
        used += bytes;
    }
    l->shards++;
    return EQ_OK;
}

enum { CHUNK = 1 << 22, ITEM = 1 << 16 };

typedef struct {
    const tensor *t;
    uint64_t seed;
    int64_t first, n;
    eq_dtype dt;
    void *out;
} fill_job;

static void fill(void *ctx, int64_t item, int thread) {
    const fill_job *j = ctx;
    (void)thread;
    int64_t end = (item + 1) * ITEM < j->n ? (item + 1) * ITEM : j->n;
    for (int64_t i = item * ITEM; i < end; i++) {
        double v = j->t->mean + j->t->std * eq_rand_normal(j->seed, (uint64_t)(j->first + i));
        eq_store(j->out, j->dt, i, (float)v);
    }
}

static eq_status write_tensor(eq_stw *w, const tensor *t, int64_t index, const options *o,
                              eq_dtype dt, void *buf, eq_err *err) {
    fill_job j = {.t = t, .dt = dt, .out = buf};
    j.seed = eq_rand_u64((uint64_t)o->seed, (uint64_t)index);
    for (; j.first < t->n; j.first += j.n) {
        j.n = t->n - j.first < CHUNK ? t->n - j.first : CHUNK;
        eq_par_for((j.n + ITEM - 1) / ITEM, fill, &j);
        EQ_TRY(eq_stw_put(w, buf, j.n * eq_dtype_size(dt), err));
    }
    return EQ_OK;
}

static void shard_name(char out[64], int shard, int shards) {
    if (shards == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05d-of-%05d.safetensors", shard + 1, shards);
}

static eq_status fill_shard(eq_stw *w, const tensor_list *l, int shard, const options *o,
                            eq_dtype dt, void *buf, eq_err *err) {
    EQ_TRY(eq_stw_meta(w, "format", "pt", err));
    for (int64_t i = 0; i < l->n; i++)
        if (l->t[i].shard == shard)
            EQ_TRY(eq_stw_tensor(w, l->t[i].name, dt, l->t[i].ndim, l->t[i].shape, err));
    EQ_TRY(eq_stw_begin(w, err));
    for (int64_t i = 0; i < l->n; i++)
        if (l->t[i].shard == shard) EQ_TRY(write_tensor(w, &l->t[i], i, o, dt, buf, err));
    return EQ_OK;
}

static eq_status write_shard(const tensor_list *l, int shard, const options *o, eq_dtype dt,
                             void *buf, eq_err *err) {
    char name[64];
    shard_name(name, shard, l->shards);
    char *path = eq_path(o->out, name);
    eq_stw *w = NULL;
    eq_status st = path ? eq_stw_new(&w, path, err) : eq_nomem(err, "a path", 256);
    eq_free(path);
    if (st == EQ_OK) st = fill_shard(w, l, shard, o, dt, buf, err);
    if (st == EQ_OK) return eq_stw_end(w, err);
    eq_stw_abort(w);
    return st;
}

static eq_status write_index(const tensor_list *l, const options *o, int64_t size, eq_err *err) {
    json_t *map = json_object();
    int64_t total = 0;
    char name[64];
    for (int64_t i = 0; i < l->n; i++) {
        shard_name(name, l->t[i].shard, l->shards);
        json_object_set_new(map, l->t[i].name, json_string(name));
        total += l->t[i].n * size;
    }
    json_t *all =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    return write_json(all, o->out, "model.safetensors.index.json", err);
}

static eq_status write_weights(const options *o, const eq_config *c, eq_err *err) {
    eq_dtype dt = !strcmp(o->dtype, "bf16") ? EQ_BF16 : !strcmp(o->dtype, "f16") ? EQ_F16 : EQ_F32;
    tensor_list l = {0};
    void *buf = eq_calloc(CHUNK, eq_dtype_size(dt));
    eq_status st = buf ? list_tensors(&l, o, c, eq_dtype_size(dt), err)
                       : eq_nomem(err, "a buffer", CHUNK * eq_dtype_size(dt));
    for (int i = 0; i < l.shards && st == EQ_OK; i++) st = write_shard(&l, i, o, dt, buf, err);
    if (st == EQ_OK && l.shards > 1) st = write_index(&l, o, eq_dtype_size(dt), err);
    eq_free(l.t);
    eq_free(buf);
    return st;
}

/* Takes the config. */
static eq_status write_folder(const options *o, json_t *config, eq_err *err) {
    EQ_TRY(write_json(config, o->out, "config.json", err));
    eq_config c; /* the shapes come from the program's own reading of what was written */
    EQ_TRY(eq_config_load(&c, o->out, err));
    EQ_TRY(write_json(json_pack("{s:i, s:i}", "bos_token_id", 1, "eos_token_id", 2), o->out,
                      "generation_config.json", err));
    if (c.V >= SPECIALS + 256) EQ_TRY(write_tokenizer(o, err));
    return write_weights(o, &c, err);
}

static eq_status make(const options *o, eq_err *err) {
    bool empty, existed = eq_exists(o->out);
    EQ_TRY(eq_dir_is_empty(o->out, &empty, err));
    if (!empty) return eq_fail(err, EQ_EINPUT, "%s: expected an absent or empty folder", o->out);
    if (strcmp(o->tied_as, "embed") && strcmp(o->tied_as, "lm_head"))
        return eq_fail(err, EQ_EINPUT, "--tied-as %s: expected embed or lm_head", o->tied_as);
    EQ_TRY(eq_mkdir(o->out, err));
    json_t *config = make_config(o, err);
    eq_status st = config ? write_folder(o, config, err) : EQ_EINPUT;
    if (st != EQ_OK && !existed) eq_remove_tree(o->out, NULL);
    return st;
}

int main(int argc, char **argv) {
    options o;
    eq_err err = {0};
    if (argc > 1 && !strcmp(argv[1], "--help")) return usage(stdout, 0);
    if (argc < 2) return usage(stderr, 2);
    if (parse(&o, argc, argv)) return 2;
    eq_par_threads((int)o.threads);
    eq_status st = make(&o, &err);
    eq_par_shutdown();
    if (st != EQ_OK) fprintf(stderr, "make-model: %s\n", err.msg);
    return st == EQ_OK ? 0 : 1;
}

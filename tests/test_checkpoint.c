/* Checkpoints: what is written is what the blocks say, read by this program and by a naive GPTQ
 * reader; nothing is left behind when writing fails at any point. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "model/checkpoint.h"
#include "model/schemes.h"
#include "naive_pack.h"
#include "quant/number.h"
#include "quant/pack.h"
#include "tiny_model.h"

/* Shapes that groups up to 128 divide; 172 is one that GPTQ's words cannot hold. */
static int inner = 256;
static const char *config(const char *family, bool tied, int blocks) {
    static char text[1024];
    snprintf(text, sizeof text,
             "{\"model_type\": \"%s\", \"hidden_size\": 128, \"intermediate_size\": %d,\n"
             "\"num_hidden_layers\": %d, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
             "\"head_dim\": 32, \"vocab_size\": 50, \"max_position_embeddings\": 32,\n"
             "\"rms_norm_eps\": 1e-05, \"initializer_range\": 0.1, \"rope_theta\": 10000.0,\n"
             "\"tie_word_embeddings\": %s}",
             family, inner, blocks, tied ? "true" : "false");
    return text;
}

/* ---- blocks made up -------------------------------------------------------------------------- */

typedef enum { KEEP_NORMS, CHANGE_NORMS, CHANGE_LAST_NORM } norms_mode;
typedef struct {
    const eq_weights *base;
    int bits;
    int64_t group;
    norms_mode norms;
    eq_qblock b;
    int calls;
    bool too_large; /* a step that fp16 cannot hold */
    bool rows;      /* is written as EQ_LAYOUT_ROWS */
} maker;

static void make(maker *m, eq_qblock *b, int64_t block) {
    float Q = eq_q_max(m->bits);
    for (int l = 0; l < EQ_LINS; l++) {
        eq_qlinear *q = &b->lin[l];
        uint64_t seed = (uint64_t)(block * 100 + l);
        int64_t words = q->O * eq_pack_words(q->I, q->bits), groups = q->O * (q->I / q->G);
        for (int64_t i = 0; i < words; i++) q->rows[i] = (uint32_t)eq_rand_u64(seed, (uint64_t)i);
        for (int64_t i = 0; i < groups; i++) {
            /* trained values: s between fp16 numbers, z real and partly outside of [0, Q] */
            q->s[i] = 0.001f + 0.02f * (float)eq_rand_unit(seed + 50, (uint64_t)i);
            q->z[i] = -0.4f + (Q + 0.8f) * (float)eq_rand_unit(seed + 51, (uint64_t)i);
        }
    }
    for (int k = 0; k < EQ_NORM_COUNT; k++) {
        const eq_tensor *t = m->base->blocks[block].norm[k];
        if (!t) continue;
        eq_convert(b->norm[k], EQ_F32, t->data, t->dt, t->n);
        bool last = block == m->base->cfg.L - 1;
        if (m->norms == CHANGE_NORMS || (m->norms == CHANGE_LAST_NORM && last))
            b->norm[k][3] += 0.01f;
    }
    if (m->too_large) b->lin[EQ_LIN_UP].s[5] = 70000.0f;
}

static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    maker *m = ctx;
    eq_qblock_free(&m->b);
    EQ_TRY(eq_qblock_alloc(&m->b, &m->base->cfg, &EQ_ONE_SCHEME(m->bits, m->group), err));
    make(m, &m->b, i);
    m->calls++;
    *b = &m->b;
    return EQ_OK;
}

static eq_status write_to(maker *m, const char *out, int64_t shard_bytes, int64_t *bytes,
                          eq_err *err) {
    eq_checkpoint c = {.base = m->base,
                       .schemes = EQ_ONE_SCHEME(m->bits, m->group),
                       .source = source,
                       .ctx = m,
                       .recipe = "{\"seed\":7}",
                       .shard_bytes = shard_bytes};
    eq_status st = eq_checkpoint_write(&c, out, NULL, bytes, err);
    eq_qblock_free(&m->b);
    return st;
}

static eq_weights *open_good(const char *dir) {
    eq_weights *w;
    eq_err err = {0};
    if (eq_weights_open(&w, dir, &err) != EQ_OK) fail_msg("%s", err.msg);
    return w;
}

/* ---- a reader written from FORMATS alone ----------------------------------------------------- */

static float naive_weight(const eq_block_tensors *t, int l, int64_t o, int64_t i, int64_t G,
                          int bits) {
    if (!t->g_idx[l]) { /* packed rows */
        int64_t NG = t->scales[l]->shape[1], words = t->qweight[l]->shape[1], at = o * NG + i / G;
        unsigned code = naive_get((const uint32_t *)t->qweight[l]->data + o * words, 1, i, bits);
        int zero = ((const uint8_t *)t->qzeros[l]->data)[at];
        return (float)((int)code - zero) *
               eq_f16_to_f32(((const uint16_t *)t->scales[l]->data)[at]);
    }
    int64_t O = t->scales[l]->shape[1], g = i / G;
    unsigned q = naive_get((const uint32_t *)t->qweight[l]->data + o, O, i, bits);
    unsigned z = naive_get((const uint32_t *)t->qzeros[l]->data + g * (O * bits / 32), 1, o, bits);
    float s = eq_f16_to_f32(((const uint16_t *)t->scales[l]->data)[g * O + o]);
    return (float)((int)q - (int)z) * s;
}

static void compare_linear(const eq_block_tensors *t, int l, const eq_qlinear *q) {
    int64_t NG = q->I / q->G, rw = eq_pack_words(q->I, q->bits);
    for (int64_t o = 0; o < q->O; o++)
        for (int64_t i = 0; i < q->I; i++) {
            float s = eq_f16_to_f32(eq_f32_to_f16(q->s[o * NG + i / q->G]));
            float z = eq_z_used(q->z[o * NG + i / q->G], q->bits, q->grid);
            float want = ((float)naive_get(q->rows + o * rw, 1, i, q->bits) - z) * s;
            if (naive_weight(t, l, o, i, q->G, q->bits) != want)
                fail_msg("%s [%d, %d]", t->qweight[l]->name, (int)o, (int)i);
        }
}

static void same_bytes(const eq_tensor *a, const eq_tensor *b) {
    assert_int_equal(a->dt, b->dt);
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->data, b->data, a->bytes);
}
static void same_tensor(const eq_tensor *a, const eq_tensor *b) {
    assert_string_equal(a->name, b->name);
    same_bytes(a, b);
}

static void check_folder(maker *m, const char *out) {
    eq_weights *w = open_good(out);
    eq_qblock b = {0}, want = {0};
    eq_err err = {0};
    assert_int_equal(w->cfg.schemes.all.bits, m->bits);
    assert_int_equal(w->cfg.schemes.all.group, m->group);
    assert_int_equal(w->cfg.layout, m->rows ? EQ_LAYOUT_ROWS : EQ_LAYOUT_GPTQ_V2);
    same_bytes(w->embed, m->base->embed);
    same_bytes(w->head, m->base->head);
    assert_string_equal(w->embed->name, "model.embed_tokens.weight");
    same_tensor(w->norm, m->base->norm);
    assert_int_equal(eq_qblock_alloc(&want, &w->cfg, &EQ_ONE_SCHEME(m->bits, m->group), &err),
                     EQ_OK);
    for (int64_t i = 0; i < w->cfg.L; i++) {
        make(m, &want, i);
        assert_int_equal(eq_qblock_read(&b, w, i, &err), EQ_OK);
        /* the block is one allocation: steps, zero points, integers and norms at once */
        assert_memory_equal(b.lin[0].rows, want.lin[0].rows,
                            eq_qblock_bytes(&w->cfg, &EQ_ONE_SCHEME(m->bits, m->group)));
        for (int l = 0; l < EQ_LINS; l++) {
            compare_linear(&w->blocks[i], l, &want.lin[l]);
            if (w->blocks[i].bias[l]) same_tensor(w->blocks[i].bias[l], m->base->blocks[i].bias[l]);
        }
        for (int k = 0; k < EQ_NORM_COUNT; k++) {
            const eq_tensor *t = w->blocks[i].norm[k], *was = m->base->blocks[i].norm[k];
            bool changed =
                m->norms == CHANGE_NORMS || (m->norms == CHANGE_LAST_NORM && i == w->cfg.L - 1);
            if (t && !changed) same_tensor(t, was);
            if (t && changed) assert_int_equal(t->dt, EQ_F32);
        }
    }
    assert_string_equal(eq_st_meta(w->state, "recipe"), "{\"seed\":7}");
    assert_string_equal(eq_st_meta(w->state, "version"), EQ_VERSION);
    eq_qblock_free(&b), eq_qblock_free(&want);
    eq_weights_close(w);
}

/* The parent holds the output folder (or nothing) and no temporary one. */
static void check_left(const char *parent, bool out_there) {
    eq_names n;
    eq_err err = {0};
    assert_int_equal(eq_list_dir(parent, &n, &err), EQ_OK);
    assert_int_equal(n.n, out_there ? 1 : 0);
    eq_names_free(&n);
}

typedef struct {
    char *model, *parent, *out;
    maker m;
} fixture;
static fixture begin(const char *text, const tiny_opts *o, int bits, int64_t group) {
    fixture f = {.model = tiny_dir(), .parent = tiny_dir()};
    f.out = tiny_path(f.parent, "out");
    tiny_write(f.model, text, o);
    f.m = (maker){.base = open_good(f.model), .bits = bits, .group = group};
    return f;
}
static void end(fixture *f) {
    eq_weights_close((eq_weights *)(uintptr_t)f->m.base);
    tiny_remove(f->model), tiny_remove(f->parent), eq_free(f->out);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void every_width_and_group(void **state) {
    (void)state;
    const int widths[] = {2, 3, 4, 8};
    const int64_t groups[] = {32, 64, 128, -1};
    for (int w = 0; w < 4; w++)
        for (int g = 0; g < 4; g++) {
            fixture f = begin(config("llama", false, 2), &(tiny_opts){.dt = EQ_BF16, .seed = 5},
                              widths[w], groups[g]);
            eq_err err = {0};
            int64_t bytes = 0;
            f.m.norms = g % 2 ? CHANGE_NORMS : KEEP_NORMS;
            if (write_to(&f.m, f.out, 0, &bytes, &err) != EQ_OK) fail_msg("%s", err.msg);
            assert_true(bytes > 0);
            check_folder(&f.m, f.out);
            check_left(f.parent, true);
            end(&f);
        }
}

static void families_heads_and_shards(void **state) {
    (void)state;
    const struct {
        const char *family;
        bool tied;
        tiny_opts o;
        int64_t shard;
    } rows[] = {
        {"qwen2", true, {.dt = EQ_F16, .only_head = true}, 0}, /* biases */
        {"qwen3", true, {.dt = EQ_BF16, .both = true}, 20000},
        {"mistral", true, {.dt = EQ_F32}, 100000},
        {"llama", false, {.dt = EQ_F32, .shards = 3}, 1},
    };
    for (int r = 0; r < 4; r++) {
        fixture f = begin(config(rows[r].family, rows[r].tied, 2), &rows[r].o, 3, 64);
        eq_err err = {0};
        f.m.norms = r % 2 ? CHANGE_NORMS : KEEP_NORMS;
        if (write_to(&f.m, f.out, rows[r].shard, NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
        check_folder(&f.m, f.out);
        eq_weights *w = open_good(f.out);
        assert_true(rows[r].shard ? eq_st_files(w->st) > 1 : eq_st_files(w->st) == 1);
        assert_int_equal(eq_st_find(w->st, "lm_head.weight") != NULL, !rows[r].tied);
        eq_weights_close(w);
        char *index = tiny_path(f.out, "model.safetensors.index.json");
        assert_int_equal(eq_exists(index), rows[r].shard > 0);
        eq_free(index);
        end(&f);
    }
}

/* Blocks whose first norms are untouched and whose last are not: found out while writing. */
static void late_change_of_a_norm(void **state) {
    (void)state;
    for (int shard = 0; shard < 2; shard++) {
        fixture f = begin(config("llama", false, 3), &(tiny_opts){.dt = EQ_BF16}, 2, 64);
        eq_err err = {0};
        f.m.norms = CHANGE_LAST_NORM;
        if (write_to(&f.m, f.out, shard ? 30000 : 0, NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
        check_folder(&f.m, f.out);
        end(&f);
    }
}

static void blocks_are_asked_for_once(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 3), &(tiny_opts){0}, 2, 64);
    eq_err err = {0};
    assert_int_equal(write_to(&f.m, f.out, 0, NULL, &err), EQ_OK);
    assert_int_equal(f.m.calls, 3);
    end(&f);
}

static void file_has(const char *dir, const char *name, const char *text) {
    char *p = tiny_path(dir, name);
    eq_map m;
    eq_err err = {0};
    if (eq_map_open(&m, p, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_int_equal(m.size, strlen(text));
    assert_memory_equal(m.data, text, m.size);
    eq_map_close(&m), eq_free(p);
}

static json_t *load_json(const char *dir, const char *name) {
    char *p = tiny_path(dir, name);
    json_t *v;
    eq_err err = {0};
    if (eq_json_load(&v, p, &err) != EQ_OK) fail_msg("%s", err.msg);
    eq_free(p);
    return v;
}

static void side_files_and_config(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 1), &(tiny_opts){0}, 2, 64);
    const char *const kept[] = {
        "tokenizer.json", "tokenizer_config.json", "generation_config.json", "vocab.json",
        "merges.txt",     "chat_template.jinja",   "tokenizer.model",        "LICENSE",
        "README.md"};
    const char *const dropped[] = {
        "pytorch_model.bin",   "pytorch_model.bin.index.json", "x.gguf",
        "consolidated.00.pth", "quantize_config.json",         "other.safetensors",
        EQ_SUMS_NAME};
    eq_err err = {0};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        tiny_text(f.model, kept[i], "a\n\xff b");
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        tiny_text(f.model, dropped[i], "{}");
    char *sub = tiny_path(f.model, "onnx"), *link = tiny_path(f.model, "added_tokens.json");
    assert_int_equal(eq_mkdir(sub, &err), EQ_OK);
    assert_int_equal(symlink("LICENSE", link), 0);
    assert_int_equal(write_to(&f.m, f.out, 0, NULL, &err), EQ_OK);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) file_has(f.out, kept[i], "a\n\xff b");
    file_has(f.out, "added_tokens.json", "a\n\xff b");
    eq_names n;
    assert_int_equal(eq_list_dir(f.out, &n, &err), EQ_OK);
    /* kept, the link, config, quantize_config, model, state, sums */
    assert_int_equal(n.n, sizeof kept / sizeof *kept + 6);
    eq_names_free(&n);

    json_t *was = load_json(f.model, "config.json"), *is = load_json(f.out, "config.json"),
           *alone = load_json(f.out, "quantize_config.json");
    json_t *q = json_object_get(is, "quantization_config");
    assert_true(json_equal(q, alone));
    assert_int_equal(json_integer_value(json_object_get(q, "bits")), 2);
    assert_string_equal(json_string_value(json_object_get(q, "checkpoint_format")), "gptq_v2");
    json_object_del(is, "quantization_config");
    assert_true(json_equal(was, is)); /* reals bit for bit, 1e-05 and 0.1 among them */
    json_decref(was), json_decref(is), json_decref(alone);
    eq_free(sub), eq_free(link);
    end(&f);
}

/* E2E-QP starts from a checkpoint: everything but the steps comes from there. */
static void from_a_quantized_base(void **state) {
    (void)state;
    fixture f = begin(config("qwen2", true, 2), &(tiny_opts){.dt = EQ_BF16}, 2, 64);
    eq_err err = {0};
    char *out2 = tiny_path(f.parent, "again");
    f.m.norms = CHANGE_NORMS;
    assert_int_equal(write_to(&f.m, f.out, 0, NULL, &err), EQ_OK);
    eq_weights *first = open_good(f.out);
    maker m = {.base = first, .bits = 2, .group = 64, .norms = KEEP_NORMS};
    if (write_to(&m, out2, 0, NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
    check_folder(&m, out2);
    json_t *a = load_json(f.out, "config.json"), *b = load_json(out2, "config.json");
    assert_true(json_equal(a, b));
    json_decref(a), json_decref(b);
    eq_weights_close(first);
    eq_free(out2);
    end(&f);
}

static void inspect_of_a_checkpoint(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 2), &(tiny_opts){.dt = EQ_BF16}, 3, 64);
    eq_err err = {0};
    char *text;
    json_t *v;
    assert_int_equal(write_to(&f.m, f.out, 0, NULL, &err), EQ_OK);
    assert_int_equal(eq_inspect(f.out, false, &text, &err), EQ_OK);
    assert_int_equal(eq_json_parse(&v, text, (int64_t)strlen(text), "inspect", &err), EQ_OK);
    const json_t *q = json_object_get(v, "quantization");
    assert_true(json_real_value(json_object_get(q, "bits_per_weight")) == 3 + 19.0 / 64);
    assert_string_equal(json_string_value(json_object_get(q, "scheme")), "w3g64");
    assert_string_equal(json_string_value(json_object_get(q, "format")), "gptq_v2");
    const json_t *recipe = json_object_get(v, "recipe");
    assert_int_equal(json_integer_value(json_object_get(recipe, "seed")), 7);
    json_decref(v), eq_free(text);
    end(&f);
}

static void hash_folder(const char *dir, char hex[33]) {
    eq_names n;
    eq_err err = {0};
    eq_hash *h = eq_hash_new();
    assert_int_equal(eq_list_dir(dir, &n, &err), EQ_OK);
    for (int64_t i = 0; i < n.n; i++) {
        char *p = tiny_path(dir, n.p[i]);
        eq_digest d;
        assert_int_equal(eq_hash_file(p, &d, &err), EQ_OK);
        eq_hash_put(h, n.p[i], (int64_t)strlen(n.p[i]));
        eq_hash_put(h, d.hex, 33);
        eq_free(p);
    }
    eq_names_free(&n);
    memcpy(hex, eq_hash_end(h).hex, 33);
}

static void threads_do_not_matter(void **state) {
    (void)state;
    char hex[2][33];
    for (int t = 0; t < 2; t++) {
        fixture f = begin(config("llama", false, 2), &(tiny_opts){0}, 3, 32);
        eq_err err = {0};
        eq_par_threads(t ? 3 : 1);
        assert_int_equal(write_to(&f.m, f.out, 0, NULL, &err), EQ_OK);
        hash_folder(f.out, hex[t]);
        end(&f);
    }
    eq_par_threads(0);
    assert_string_equal(hex[0], hex[1]);
}

/* An empty folder is taken, a link to one too; a slash at the end and missing parents are fine. */
static void places(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 1), &(tiny_opts){0}, 2, 64);
    eq_err err = {0};
    char *empty = tiny_path(f.parent, "a/empty"), *link = tiny_path(f.parent, "link");
    assert_int_equal(eq_mkdir(empty, &err), EQ_OK);
    assert_int_equal(symlink("a/empty", link), 0);
    const char *const names[] = {"link", "c/d/e", "x//", "y/"};
    for (int i = 0; i < 4; i++) {
        char *out = tiny_path(f.parent, names[i]);
        if (i == 3) assert_int_equal(eq_mkdir(out, &err), EQ_OK);
        if (write_to(&f.m, out, 0, NULL, &err) != EQ_OK) fail_msg("%s: %s", out, err.msg);
        check_folder(&f.m, out);
        eq_free(out);
    }
    check_folder(&f.m, empty); /* what the link led to; the link is one still */
    assert_true(eq_same_file(link, empty));
    eq_names n;
    assert_int_equal(eq_list_dir(f.parent, &n, &err), EQ_OK);
    assert_int_equal(n.n, 5); /* a, link, c, x, y */
    eq_names_free(&n);
    eq_free(empty), eq_free(link);
    end(&f);
}

/* The model's file is written to while the checkpoint is being made: none appears. */
static eq_status touching_source(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    maker *m = ctx;
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    char *path = tiny_path(m->base->dir, "model.safetensors");
    utimensat(AT_FDCWD, path, old, 0);
    eq_free(path);
    return source(ctx, i, b, err);
}
static void changed_while_writing(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 1), &(tiny_opts){0}, 2, 64);
    eq_checkpoint c = {
        .base = f.m.base, .schemes = EQ_ONE_SCHEME(2, 64), .source = touching_source, .ctx = &f.m};
    eq_err err = {0};
    assert_int_equal(eq_checkpoint_write(&c, f.out, NULL, NULL, &err), EQ_EINPUT);
    assert_non_null(strstr(err.msg, "model.safetensors: "));
    assert_non_null(strstr(err.msg, "written to"));
    check_left(f.parent, false);
    eq_qblock_free(&f.m.b);
    end(&f);
}

/* Every file has its sum; one that is changed, cut or gone is named. */
static void sums(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 1), &(tiny_opts){0}, 2, 64);
    eq_err err = {0};
    tiny_text(f.model, "tokenizer.json", "{}");
    assert_int_equal(write_to(&f.m, f.out, 30000, NULL, &err), EQ_OK);
    if (eq_checkpoint_compare_sums(f.out, &err) != EQ_OK) fail_msg("%s", err.msg);
    eq_names n;
    assert_int_equal(eq_list_dir(f.out, &n, &err), EQ_OK);
    assert_true(n.n > 6);
    for (int64_t i = 0; i < n.n; i++) {
        if (!strcmp(n.p[i], EQ_SUMS_NAME)) continue;
        char *path = tiny_path(f.out, n.p[i]), *away = tiny_path(f.parent, "away");
        assert_int_equal(eq_rename_durable(path, away, &err), EQ_OK);
        assert_int_equal(eq_checkpoint_compare_sums(f.out, &err), EQ_EIO);
        assert_non_null(strstr(err.msg, n.p[i]));
        eq_map m;
        assert_int_equal(eq_map_open(&m, away, NULL), EQ_OK);
        assert_int_equal(eq_write_file(path, m.data, m.size - 1, NULL), EQ_OK);
        eq_map_close(&m);
        err = (eq_err){0};
        assert_int_equal(eq_checkpoint_compare_sums(f.out, &err), EQ_EINPUT);
        assert_non_null(strstr(err.msg, n.p[i]));
        err = (eq_err){0};
        assert_int_equal(eq_rename_durable(away, path, &err), EQ_OK);
        eq_free(path), eq_free(away);
    }
    assert_int_equal(eq_checkpoint_compare_sums(f.out, &err), EQ_OK);
    tiny_text(f.out, EQ_SUMS_NAME, "nonsense\n");
    assert_int_equal(eq_checkpoint_compare_sums(f.out, &err), EQ_EINPUT);
    eq_names_free(&n);
    end(&f);
}

/* The state as version 0.1 named it. */
static void old_name_of_the_state(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 1), &(tiny_opts){0}, 2, 64);
    eq_err err = {0};
    assert_int_equal(write_to(&f.m, f.out, 0, NULL, &err), EQ_OK);
    char *is = tiny_path(f.out, EQ_STATE_NAME), *was = tiny_path(f.out, "eqat.safetensors");
    assert_int_equal(eq_rename_durable(is, was, &err), EQ_OK);
    check_folder(&f.m, f.out);
    eq_free(is), eq_free(was);
    end(&f);
}

static void what_gptq_cannot_hold(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 1), &(tiny_opts){0}, 2, 64);
    eq_err err = {0};
    assert_int_equal(eq_schemes_check(&EQ_ONE_SCHEME(2, 64), &f.m.base->cfg, &err), EQ_OK);
    assert_int_equal(eq_schemes_check(&EQ_ONE_SCHEME(2, 96), &f.m.base->cfg, &err), EQ_EINPUT);
    assert_non_null(strstr(err.msg, "self_attn.q_proj [128, 128]"));
    assert_non_null(strstr(err.msg, "group"));
    err = (eq_err){0};
    assert_int_equal(eq_schemes_check(&EQ_ONE_SCHEME(5, 64), &f.m.base->cfg, &err), EQ_EINPUT);
    err = (eq_err){0};
    f.m.too_large = true;
    assert_int_equal(write_to(&f.m, f.out, 0, NULL, &err), EQ_EINPUT);
    assert_non_null(strstr(err.msg, "model.layers.0.mlp.up_proj"));
    assert_non_null(strstr(err.msg, "70000"));
    check_left(f.parent, false);
    end(&f);
}

/* 172 rows of 2, 3, 4 bits fill no whole words of zero points, 172 inputs none of a column. */
static void packed_rows(void **state) {
    (void)state;
    inner = 172;
    for (int bits = 2; bits <= 4; bits++) {
        fixture f = begin(config("qwen2", false, 2), &(tiny_opts){.seed = 5}, bits, -1);
        eq_err err = {0}, why = {0};
        f.m.rows = true;
        assert_int_equal(eq_checkpoint_layout(&f.m.base->cfg, &EQ_ONE_SCHEME(bits, -1), &why),
                         EQ_LAYOUT_ROWS);
        assert_non_null(strstr(why.msg, "mlp.gate_proj [172, 128]"));
        if (write_to(&f.m, f.out, 30000, NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
        check_folder(&f.m, f.out);
        end(&f);
    }
    inner = 256;
}

static void disk_full_at_any_write(void **state) {
    (void)state;
    fixture f = begin(config("qwen2", false, 1), &(tiny_opts){0}, 2, 64);
    int failures = 0;
    tiny_text(f.model, "tokenizer.json", "{}");
    for (int64_t n = 1;; n++) {
        eq_err err = {0};
        eq_io_fail_nth(n);
        eq_status st = write_to(&f.m, f.out, 30000, NULL, &err);
        eq_io_fail_nth(0);
        if (st == EQ_OK) break;
        assert_int_equal(st, EQ_EIO);
        assert_non_null(strstr(err.msg, "No space left"));
        check_left(f.parent, false);
        failures++;
    }
    assert_true(failures > 40);
    check_folder(&f.m, f.out);
    end(&f);
}

static void memory_out_at_any_allocation(void **state) {
    (void)state;
    fixture f = begin(config("llama", true, 1), &(tiny_opts){0}, 3, 128);
    int64_t before = eq_mem_current();
    int failures = 0;
    for (int64_t n = 1;; n++) {
        eq_err err = {0};
        eq_mem_fail_nth(n);
        eq_status st = write_to(&f.m, f.out, 0, NULL, &err);
        eq_mem_fail_nth(0);
        assert_int_equal(eq_mem_current(), before);
        if (st == EQ_OK) break;
        if (st != EQ_ENOMEM) fail_msg("allocation %d: %s", (int)n, err.msg);
        check_left(f.parent, false);
        failures++;
    }
    assert_true(failures > 50);
    check_folder(&f.m, f.out);
    end(&f);
}

static volatile int stop = 1;
static void stopped_on_request(void **state) {
    (void)state;
    fixture f = begin(config("llama", false, 1), &(tiny_opts){0}, 2, 64);
    eq_err err = {0};
    eq_observer obs = {.stop = &stop};
    eq_checkpoint c = {
        .base = f.m.base, .schemes = EQ_ONE_SCHEME(2, 64), .source = source, .ctx = &f.m};
    assert_int_equal(eq_checkpoint_write(&c, f.out, &obs, NULL, &err), EQ_EINTR);
    check_left(f.parent, false);
    eq_qblock_free(&f.m.b);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_width_and_group),
        cmocka_unit_test(families_heads_and_shards),
        cmocka_unit_test(late_change_of_a_norm),
        cmocka_unit_test(blocks_are_asked_for_once),
        cmocka_unit_test(side_files_and_config),
        cmocka_unit_test(from_a_quantized_base),
        cmocka_unit_test(inspect_of_a_checkpoint),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(places),
        cmocka_unit_test(changed_while_writing),
        cmocka_unit_test(sums),
        cmocka_unit_test(old_name_of_the_state),
        cmocka_unit_test(what_gptq_cannot_hold),
        cmocka_unit_test(packed_rows),
        cmocka_unit_test(disk_full_at_any_write),
        cmocka_unit_test(memory_out_at_any_allocation),
        cmocka_unit_test(stopped_on_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Model folders: every way a tied head is stored, shards, and every way a folder can be wrong. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "model/config_parse.h"
#include "tiny_model.h"

static eq_weights *open_good(const char *dir) {
    eq_weights *w;
    eq_err err = {0};
    if (eq_weights_open(&w, dir, &err) != EQ_OK) fail_msg("%s", err.msg);
    return w;
}

/* Opens a folder that must be refused with every one of the words in the message. */
static void open_bad(const char *dir, const char *a, const char *b) {
    eq_weights *w;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    assert_int_equal(eq_weights_open(&w, dir, &err), EQ_EINPUT);
    assert_null(w);
    if (!strstr(err.msg, a) || !strstr(err.msg, b)) fail_msg("wanted %s, %s in: %s", a, b, err.msg);
    assert_null(strchr(err.msg, '\n'));
    assert_int_equal(eq_mem_current(), before);
}

static void every_family_opens(void **state) {
    (void)state;
    for (int f = 0; f < eq_family_count; f++) {
        char *dir = tiny_dir();
        tiny_write(dir, tiny_config(eq_families[f].name, f % 2),
                   &(tiny_opts){.dt = EQ_BF16, .seed = 1});
        eq_weights *w = open_good(dir);
        assert_int_equal(w->cfg.L, 2);
        for (int64_t i = 0; i < 2; i++)
            for (int l = 0; l < EQ_LINS; l++) {
                eq_lin_spec s = eq_lin_of(&w->cfg, (eq_lin)l);
                assert_int_equal(w->blocks[i].weight[l]->n, s.rows * s.I);
                assert_int_equal(w->blocks[i].bias[l] != NULL, s.bias);
                assert_null(w->blocks[i].qweight[l]);
            }
        assert_int_equal(w->blocks[1].norm[EQ_NORM_QH] != NULL, w->cfg.qk_norm != EQ_QK_PLAIN);
        assert_non_null(
            strstr(w->blocks[1].weight[EQ_LIN_DOWN]->name, eq_lin_of(&w->cfg, EQ_LIN_DOWN).file));
        assert_true((w->embed == w->head) == w->cfg.tied);
        eq_weights_close(w);
        tiny_remove(dir);
    }
}

static float scale8(const eq_weights *w, int l, int64_t o, int64_t i) {
    const eq_tensor *s = w->blocks[1].scale8[l];
    return eq_load(s->data, s->dt, o / w->cfg.fp8[0] * s->shape[1] + i / w->cfg.fp8[1]);
}

/* A weight is its byte's number times the scale of its block, also in blocks that are cut off. */
static void fp8_sources(void **state) {
    (void)state;
    char *dir = tiny_dir(), config[2048];
    eq_backend *be;
    assert_int_equal(eq_backend_open(&be, "ref", NULL, NULL), EQ_OK);
    snprintf(config, sizeof config,
             "{\"quantization_config\":{\"quant_method\":\"fp8\","
             "\"weight_block_size\":[48,40]},%s",
             tiny_config("phi3", false) + 1);
    tiny_write(dir, config, &(tiny_opts){.seed = 6, .fp8 = true});
    eq_weights *w = open_good(dir);
    for (int l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(&w->cfg, (eq_lin)l);
        const eq_tensor *t = w->blocks[1].weight[l];
        eq_err err = {0};
        eq_mut m = {be->alloc(be, 4 * s.O * s.I), s.O * s.I, EQ_F32};
        float *got = m.p;
        assert_int_equal(eq_weights_check_rows(w, 1, (eq_lin)l, 0, s.O, &err), EQ_OK);
        eq_weights_put_rows(w, 1, (eq_lin)l, 0, s.O, be, m);
        for (int64_t o = 0; o < s.O; o++)
            for (int64_t i = 0; i < s.I; i++) {
                int64_t row = eq_lin_row(&s, o);
                float v = eq_load(t->data, EQ_F8, row * s.I + i) * scale8(w, l, row, i);
                assert_true(got[o * s.I + i] == v);
            }
        be->free_(be, m.p);
    }
    eq_weights_close(w);
    be->close(be);
    tiny_text(dir, "config.json", tiny_config("phi3", false));
    open_bad(dir, "weight_scale_inv", "quantization_config");
    tiny_remove(dir);
}

/* Folders saved from the model without its head: the names are the usual ones from then on. */
static void names_without_prefix(void **state) {
    (void)state;
    for (int shards = 1; shards < 4; shards += 2) {
        char *dir = tiny_dir();
        tiny_write(dir, tiny_config("llama", false),
                   &(tiny_opts){.seed = 4, .no_prefix = true, .shards = shards});
        eq_weights *w = open_good(dir);
        assert_string_equal(w->embed->name, "model.embed_tokens.weight");
        assert_string_equal(w->head->name, "lm_head.weight");
        assert_string_equal(w->blocks[1].norm[EQ_NORM_IN]->name,
                            "model.layers.1.input_layernorm.weight");
        assert_ptr_equal(eq_st_find(w->st, "model.norm.weight"), w->norm);
        assert_null(eq_st_find(w->st, "norm.weight"));
        eq_weights_close(w);
        tiny_remove(dir);
    }
}

static void tied_heads(void **state) {
    (void)state;
    const char *config = tiny_config("llama", true);
    const tiny_opts ways[] = {
        {.seed = 3}, {.seed = 3, .only_head = true}, {.seed = 3, .both = true}};
    for (int i = 0; i < 3; i++) {
        char *dir = tiny_dir();
        tiny_write(dir, config, &ways[i]);
        eq_weights *w = open_good(dir);
        assert_ptr_equal(w->embed, w->head);
        assert_string_equal(w->embed->name,
                            ways[i].only_head ? "lm_head.weight" : "model.embed_tokens.weight");
        eq_weights_close(w);
        tiny_remove(dir);
    }
    /* both names, other bytes: an untied folder whose config says tied */
    char *dir = tiny_dir();
    tiny_write(dir, tiny_config("llama", false), &(tiny_opts){.seed = 3});
    tiny_text(dir, "config.json", tiny_config("llama", true));
    open_bad(dir, "lm_head.weight", "tie_word_embeddings");
    tiny_remove(dir);
}

static void shards(void **state) {
    (void)state;
    char *dir = tiny_dir();
    tiny_write(dir, tiny_config("qwen3", false), &(tiny_opts){.seed = 4, .shards = 3});
    eq_weights *w = open_good(dir);
    assert_int_equal(eq_st_files(w->st), 3);
    eq_weights_close(w);
    tiny_remove(dir);
}

static void wrong_tensors(void **state) {
    (void)state;
    const struct {
        tiny_opts o;
        const char *a, *b;
    } rows[] = {
        {{.leave_out = "model.layers.1.mlp.up_proj.weight"},
         "model.layers.1.mlp.up_proj.weight: expected F32, F16 or BF16 [96, 64]",
         "found no such tensor"},
        {{.leave_out = "model.norm.weight"}, "model.norm.weight", "[64]"},
        {{.leave_out = "model.layers.0.input_layernorm.weight"}, "input_layernorm", "[64]"},
        {{.leave_out = "lm_head.weight"}, "lm_head.weight", "[50, 64]"},
        {{.bad_shape = "model.layers.0.self_attn.k_proj.weight"},
         "k_proj.weight: expected F32, F16 or BF16 [32, 64]",
         "found F32 [33, 64]"},
        {{.bad_shape = "model.embed_tokens.weight"}, "[50, 64]", "found F32 [51, 64]"},
        {{.extra = "model.layers.2.mlp.up_proj.weight"}, "model.layers.2.mlp.up_proj", "2 layers"},
        {{.extra = "model.layers.01.mlp.up_proj.weight"}, "model.layers.01", "one more"},
        {{.extra = "model.layers.0.self_attn.q_norm.weight"}, "q_norm", "one more"},
        {{.extra = "model.layers.0.mlp.up_proj.weights"}, "up_proj.weights", "one more"},
        {{.extra = "model.layers.9999999999999999999999.x"}, "99999.x", "one more"},
        {{.extra = "model.layers."}, "model.layers.", "one more"},
        {{.extra = "score.weight"}, "score.weight", "one more"},
        {{.extra = "model.layers.0.self_attn.q_proj.bias"}, "q_proj.bias", "no bias"},
        {{.extra = "model.layers.0.self_attn.q_proj.qweight"}, "qweight", "quantization_config"},
        {{.dt = EQ_F64}, "expected F32, F16 or BF16", "F64"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *dir = tiny_dir();
        tiny_write(dir, tiny_config("llama", false), &rows[i].o);
        open_bad(dir, rows[i].a, rows[i].b);
        tiny_remove(dir);
    }
    char *dir = tiny_dir();
    tiny_write(dir, tiny_config("llama", false),
               &(tiny_opts){.extra = "model.layers.0.self_attn.rotary_emb.inv_freq"});
    eq_weights_close(open_good(dir));
    tiny_remove(dir);
    dir = tiny_dir();
    tiny_text(dir, "config.json", tiny_config("llama", false));
    open_bad(dir, dir, "model.safetensors");
    tiny_remove(dir);
}

static void not_a_number(void **state) {
    (void)state;
    const eq_dtype types[] = {EQ_F32, EQ_BF16, EQ_F16};
    for (int i = 0; i < 3; i++) {
        char *dir = tiny_dir();
        eq_err err = {0};
        tiny_write(dir, tiny_config("llama", false),
                   &(tiny_opts){.dt = types[i], .nan = "model.layers.0.mlp.up_proj.weight"});
        eq_weights *w = open_good(dir);
        assert_int_equal(eq_tensor_check_finite(w->embed, &err), EQ_OK);
        assert_int_equal(eq_tensor_check_finite(w->blocks[0].weight[EQ_LIN_UP], &err), EQ_EINPUT);
        assert_non_null(strstr(err.msg, "mlp.up_proj.weight"));
        assert_non_null(strstr(err.msg, "element 6143"));
        eq_weights_close(w);
        tiny_remove(dir);
    }
}

/* The first of several is named, whatever thread saw which piece first. */
static void the_first_infinity_is_named(void **state) {
    (void)state;
    int64_t n = 3 << 20;
    uint16_t *p = eq_calloc(n, 2);
    assert_non_null(p);
    eq_tensor t = {
        .name = "t", .file = "f", .dt = EQ_BF16, .ndim = 1, .shape = {n}, .n = n, .data = p};
    for (int threads = 1; threads < 4; threads++) {
        eq_err err = {0};
        eq_par_threads(threads);
        p[1 << 21] = 0x7f80, p[(1 << 20) + 5] = 0xff80, p[n - 1] = 0x7fc0;
        assert_int_equal(eq_tensor_check_finite(&t, &err), EQ_EINPUT);
        assert_non_null(strstr(err.msg, "found -inf at element 1048581"));
    }
    eq_par_threads(0);
    eq_free(p);
}

static void fingerprints(void **state) {
    (void)state;
    char hex[4][33];
    const tiny_opts o[] = {{.seed = 1}, {.seed = 1}, {.seed = 2}, {.seed = 1}};
    for (int i = 0; i < 4; i++) {
        char *dir = tiny_dir();
        eq_err err = {0};
        tiny_write(dir, tiny_config("llama", false), &o[i]);
        if (i == 3) { /* one blank more in config.json */
            char text[1200];
            snprintf(text, sizeof text, "%s ", tiny_config("llama", false));
            tiny_text(dir, "config.json", text);
        }
        eq_weights *w = open_good(dir);
        assert_int_equal(eq_weights_read_through(w, NULL, hex[i], &err), EQ_OK);
        eq_weights_close(w);
        tiny_remove(dir);
    }
    assert_int_equal(strlen(hex[0]), 32);
    assert_string_equal(hex[0], hex[1]);
    assert_string_not_equal(hex[0], hex[2]);
    assert_string_not_equal(hex[0], hex[3]);
}

/* Whatever is not finite is named before anything is computed from it. */
static void read_through_finds_it(void **state) {
    (void)state;
    const char *const names[] = {"model.embed_tokens.weight",
                                 "lm_head.weight",
                                 "model.norm.weight",
                                 "model.layers.1.input_layernorm.weight",
                                 "model.layers.0.self_attn.q_proj.bias",
                                 "model.layers.1.mlp.down_proj.weight"};
    for (int i = 0; i < 6; i++) {
        char *dir = tiny_dir(), hex[33];
        eq_err err = {0};
        tiny_write(dir, tiny_config("qwen2", false),
                   &(tiny_opts){.nan = names[i], .shards = i % 3, .dt = i % 2 ? EQ_BF16 : EQ_F32});
        eq_weights *w = open_good(dir);
        assert_int_equal(eq_weights_read_through(w, NULL, hex, &err), EQ_EINPUT);
        assert_non_null(strstr(err.msg, names[i]));
        assert_non_null(strstr(err.msg, "expected finite numbers"));
        eq_weights_close(w);
        tiny_remove(dir);
    }
}

static void put_byte(const char *path, long at, int by) {
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, at, SEEK_END);
    int was = fgetc(f);
    fseek(f, at, SEEK_END);
    fputc(was ^ by, f);
    fclose(f);
}

/* A touched file is the one that was read, another number in it makes it another. */
static void touched_or_changed(void **state) {
    (void)state;
    char *dir = tiny_dir(), hex[33];
    eq_err err = {0};
    tiny_write(dir, tiny_config("llama", false), &(tiny_opts){.seed = 1});
    char *path = eq_path(dir, "model.safetensors");
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    eq_weights *w = open_good(dir);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_int_equal(eq_weights_unchanged(w, &err), EQ_EINPUT); /* nothing to compare with yet */
    assert_int_equal(eq_weights_read_through(w, NULL, hex, &err), EQ_OK);
    assert_int_equal(eq_weights_unchanged(w, &err), EQ_OK);
    put_byte(path, -3, 1);
    for (int i = 0; i < 2; i++) { /* it does not become right by having been looked at */
        err = (eq_err){0};
        assert_int_equal(eq_weights_unchanged(w, &err), EQ_EINPUT);
        assert_non_null(strstr(err.msg, path));
        assert_non_null(strstr(err.msg, "expected the file as it was opened"));
    }
    put_byte(path, -3, 1);
    assert_int_equal(eq_weights_unchanged(w, &err), EQ_OK);
    eq_weights_close(w);
    eq_free(path);
    tiny_remove(dir);
}

static void keep_progress(void *ctx, const eq_progress *p) { *(eq_progress *)ctx = *p; }
static void read_through_says_how_far(void **state) {
    (void)state;
    volatile int stop = 0;
    eq_progress last = {0};
    eq_observer obs = {.ctx = &last, .progress = keep_progress, .stop = &stop};
    char *dir = tiny_dir(), hex[33];
    eq_err err = {0};
    tiny_write(dir, tiny_config("llama", false), &(tiny_opts){.shards = 2});
    eq_weights *w = open_good(dir);
    assert_int_equal(eq_weights_read_through(w, &obs, hex, &err), EQ_OK);
    assert_string_equal(last.phase, "read");
    assert_true(last.total > 0 && last.done == last.total);
    stop = 1;
    assert_int_equal(eq_weights_read_through(w, &obs, hex, &err), EQ_EINTR);
    eq_weights_close(w);
    tiny_remove(dir);
}

static void memory_may_run_out(void **state) {
    (void)state;
    char *dir = tiny_dir();
    tiny_write(dir, tiny_config("qwen2", false), &(tiny_opts){.shards = 2});
    int64_t before = eq_mem_current(), n = 1;
    for (;; n++) {
        eq_weights *w;
        eq_err err = {0};
        char hex[33];
        eq_mem_fail_nth(n);
        eq_status st = eq_weights_open(&w, dir, &err);
        if (st == EQ_OK) st = eq_weights_read_through(w, NULL, hex, &err);
        eq_mem_fail_nth(0);
        eq_weights_close(w);
        assert_int_equal(eq_mem_current(), before);
        if (st == EQ_OK) break;
        assert_int_equal(st, EQ_ENOMEM);
    }
    assert_true(n > 10);
    tiny_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_opens),
        cmocka_unit_test(fp8_sources),
        cmocka_unit_test(names_without_prefix),
        cmocka_unit_test(tied_heads),
        cmocka_unit_test(shards),
        cmocka_unit_test(wrong_tensors),
        cmocka_unit_test(not_a_number),
        cmocka_unit_test(the_first_infinity_is_named),
        cmocka_unit_test(fingerprints),
        cmocka_unit_test(touched_or_changed),
        cmocka_unit_test(read_through_finds_it),
        cmocka_unit_test(read_through_says_how_far),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Quantized blocks: GPTQ folders of both versions, foreign and broken ones, and work files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/qblock.h"
#include "naive_pack.h"
#include "quant/pack.h"
#include "tiny_model.h"

/* ---- a GPTQ folder, tensor by tensor --------------------------------------------------------- */

typedef struct {
    int bits;
    int64_t G;
    bool v1;
    bool zero_bias;    /* a bias of zeros at every linear, as early tools wrote */
    const char *spoil; /* a tensor to spoil ... */
    int64_t at;        /* ... at this 32-bit word (16-bit for scales) ... */
    uint32_t value;    /* ... with these bits */
    const char *leave_out;
    bool state; /* eqat.state as well */
} folder;

static unsigned code_at(int64_t block, int l, int64_t o, int64_t i, int bits) {
    return (unsigned)(eq_rand_u64((uint64_t)(block * 50 + l), (uint64_t)(o * 1000 + i)) &
                      ((1u << bits) - 1));
}
static unsigned zero_at(int64_t block, int l, int64_t o, int64_t g, int bits) {
    unsigned Q = (1u << bits) - 1; /* never 0: version 1 cannot hold it */
    return 1 +
           (unsigned)(eq_rand_u64((uint64_t)(block * 50 + l + 7), (uint64_t)(o * 1000 + g)) % Q);
}
static float step_at(int64_t o, int64_t g) { return 0.01f * (float)(1 + (o * 7 + g * 3) % 50); }

typedef struct {
    const folder *f;
    const eq_config *c;
    eq_stw *w;
    bool declare;
} pass;

static void must(eq_status st, const eq_err *err) {
    if (st != EQ_OK) fail_msg("%s", err->msg);
}

/* Declares, or writes `bytes` after spoiling them if asked. Takes over p. */
static void put(pass *a, const char *name, eq_dtype dt, int64_t rows, int64_t cols, void *p) {
    eq_err err = {0};
    int64_t shape[2] = {rows < 0 ? cols : rows, cols}, n = rows < 0 ? cols : rows * cols;
    const folder *f = a->f;
    if (f->leave_out && !strcmp(f->leave_out, name)) {
        eq_free(p);
        return;
    }
    if (a->declare)
        must(eq_stw_tensor(a->w, name, dt, rows < 0 ? 1 : 2, shape, &err), &err);
    else {
        if (f->spoil && !strcmp(f->spoil, name)) {
            if (dt == EQ_F16)
                ((uint16_t *)p)[f->at] = (uint16_t)f->value;
            else
                ((uint32_t *)p)[f->at] = f->value;
        }
        must(eq_stw_put(a->w, p, n * eq_dtype_size(dt), &err), &err);
    }
    eq_free(p);
}

static void *zeroed(int64_t n, int64_t size) {
    void *p = eq_calloc(n, size);
    assert_non_null(p);
    return p;
}

static const char *make_name(char name[128], int64_t block, const char *module, const char *part) {
    snprintf(name, 128, "model.layers.%d.%s.%s", (int)block, module, part);
    return name;
}

static void put_linear(pass *a, int64_t block, int l) {
    const folder *f = a->f;
    eq_lin_spec s = eq_lin_of(a->c, (eq_lin)l);
    int64_t G = eq_group(f->G, s.I), NG = s.I / G, zw = s.O * f->bits / 32;
    char name[128];
    uint32_t *qw = zeroed(s.O * eq_pack_words(s.I, f->bits), 4), *qz = zeroed(NG * zw, 4);
    uint16_t *sc = zeroed(NG * s.O, 2);
    int32_t *gi = zeroed(s.I, 4);
    for (int64_t o = 0; o < s.O; o++) {
        for (int64_t i = 0; i < s.I; i++)
            naive_put(qw + o, s.O, i, f->bits, code_at(block, l, o, i, f->bits));
        for (int64_t g = 0; g < NG; g++) {
            naive_put(qz + g * zw, 1, o, f->bits,
                      zero_at(block, l, o, g, f->bits) - (f->v1 ? 1 : 0));
            sc[g * s.O + o] = eq_f32_to_f16(step_at(o, g));
        }
    }
    for (int64_t i = 0; i < s.I; i++) gi[i] = (int32_t)(i / G);
    put(a, make_name(name, block, s.name, "qweight"), EQ_I32, eq_pack_words(s.I, f->bits), s.O, qw);
    put(a, make_name(name, block, s.name, "qzeros"), EQ_I32, NG, zw, qz);
    put(a, make_name(name, block, s.name, "scales"), EQ_F16, NG, s.O, sc);
    put(a, make_name(name, block, s.name, "g_idx"), EQ_I32, -1, s.I, gi);
    if (f->zero_bias)
        put(a, make_name(name, block, s.name, "bias"), EQ_F16, -1, s.O, zeroed(s.O, 2));
}

static void put_ones(pass *a, const char *name, int64_t rows, int64_t cols) {
    int64_t n = rows < 0 ? cols : rows * cols;
    float *p = zeroed(n, 4);
    for (int64_t i = 0; i < n; i++) p[i] = 1;
    put(a, name, EQ_F32, rows, cols, p);
}

static void put_model(pass *a) {
    const eq_config *c = a->c;
    char name[128];
    for (int64_t i = 0; i < c->L; i++) {
        for (int l = 0; l < EQ_LINS; l++) put_linear(a, i, l);
        for (int k = 0; k < EQ_NORM_COUNT; k++)
            if (eq_norm_of(c, (eq_norm)k).exists) {
                eq_norm_spec s = eq_norm_of(c, (eq_norm)k);
                put_ones(a, make_name(name, i, s.name, "weight"), -1, s.n);
            }
    }
    put_ones(a, "model.embed_tokens.weight", c->V, c->D);
    put_ones(a, "lm_head.weight", c->V, c->D);
    put_ones(a, "model.norm.weight", -1, c->D);
}

/* s a little off its fp16 value and z off its integer: they round to what is written. */
static void put_state(pass *a) {
    for (int64_t b = 0; b < a->c->L; b++)
        for (int l = 0; l < EQ_LINS; l++) {
            eq_lin_spec s = eq_lin_of(a->c, (eq_lin)l);
            int64_t NG = s.I / eq_group(a->f->G, s.I);
            float *ts = zeroed(s.O * NG, 4), *tz = zeroed(s.O * NG, 4);
            for (int64_t i = 0; i < s.O * NG; i++) {
                ts[i] = eq_f16_to_f32(eq_f32_to_f16(step_at(i / NG, i % NG))) * (1 + 0x1p-13f);
                tz[i] = (float)zero_at(b, l, i / NG, i % NG, a->f->bits) + 0.3f;
            }
            char name[128];
            put(a, make_name(name, b, s.name, "eqat_s"), EQ_F32, s.O, NG, ts);
            put(a, make_name(name, b, s.name, "eqat_z"), EQ_F32, s.O, NG, tz);
        }
}

static void write_file(const folder *f, const eq_config *c, const char *dir, const char *file,
                       void (*body)(pass *)) {
    eq_err err = {0};
    char *path = tiny_path(dir, file);
    pass a = {f, c, NULL, true};
    must(eq_stw_new(&a.w, path, &err), &err);
    body(&a);
    must(eq_stw_begin(a.w, &err), &err);
    a.declare = false;
    body(&a);
    must(eq_stw_end(a.w, &err), &err);
    eq_free(path);
}

static char *write_folder(const folder *f) {
    char *dir = tiny_dir(), text[1024];
    eq_err err = {0};
    eq_config c;
    snprintf(
        text, sizeof text,
        "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 128,"
        "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
        "\"vocab_size\": 10, \"quantization_config\": {\"quant_method\": \"gptq\","
        "\"bits\": %d, \"group_size\": %d, \"desc_act\": false, \"checkpoint_format\": \"%s\"}}",
        f->bits, (int)f->G, f->v1 ? "gptq" : "gptq_v2");
    tiny_text(dir, "config.json", text);
    must(eq_config_load(&c, dir, &err), &err);
    write_file(f, &c, dir, "model.safetensors", put_model);
    if (f->state) write_file(f, &c, dir, EQ_STATE_NAME, put_state);
    return dir;
}

static eq_weights *open_good(const char *dir) {
    eq_weights *w;
    eq_err err = {0};
    must(eq_weights_open(&w, dir, &err), &err);
    return w;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void both_versions_every_width(void **state) {
    (void)state;
    const int widths[] = {2, 3, 4, 8};
    const int64_t groups[] = {32, 64, -1};
    for (int k = 0; k < 4 * 3 * 2; k++) {
        folder f = {
            .bits = widths[k % 4], .G = groups[k / 4 % 3], .v1 = k >= 12, .zero_bias = k % 2};
        char *dir = write_folder(&f);
        eq_weights *w = open_good(dir);
        eq_qblock b = {0};
        eq_err err = {0};
        assert_int_equal(w->cfg.layout == EQ_LAYOUT_GPTQ_V1, f.v1);
        assert_null(w->blocks[0].bias[0]);
        for (int64_t i = 0; i < 2; i++) {
            must(eq_qblock_read(&b, w, i, &err), &err);
            for (int l = 0; l < EQ_LINS; l++) {
                const eq_qlinear *q = &b.lin[l];
                int64_t NG = q->I / q->G, rw = eq_pack_words(q->I, q->bits);
                for (int64_t o = 0; o < q->O; o++) {
                    for (int64_t c = 0; c < q->I; c++)
                        assert_int_equal(naive_get(q->rows + o * rw, 1, c, q->bits),
                                         code_at(i, l, o, c, q->bits));
                    for (int64_t g = 0; g < NG; g++) {
                        assert_true(q->z[o * NG + g] == (float)zero_at(i, l, o, g, q->bits));
                        assert_true(q->s[o * NG + g] ==
                                    eq_f16_to_f32(eq_f32_to_f16(step_at(o, g))));
                    }
                }
            }
            assert_true(b.norm[EQ_NORM_IN][5] == 1.0f);
            assert_null(b.norm[EQ_NORM_QH]);
        }
        eq_qblock_free(&b);
        eq_weights_close(w);
        tiny_remove(dir);
    }
}

static void state_is_preferred(void **state) {
    (void)state;
    char *dir = write_folder(&(folder){.bits = 2, .G = 64, .state = true});
    eq_weights *w = open_good(dir);
    eq_qblock b = {0};
    eq_err err = {0};
    must(eq_qblock_read(&b, w, 1, &err), &err);
    const float *s = w->blocks[1].state_s[EQ_LIN_O]->data,
                *z = w->blocks[1].state_z[EQ_LIN_O]->data;
    assert_memory_equal(b.lin[EQ_LIN_O].s, s, 64 * 4);
    assert_memory_equal(b.lin[EQ_LIN_O].z, z, 64 * 4);
    assert_true(b.lin[EQ_LIN_O].s[3] != eq_f16_to_f32(eq_f32_to_f16(b.lin[EQ_LIN_O].s[3])));
    eq_qblock_free(&b);
    eq_weights_close(w);
    tiny_remove(dir);
}

static void broken_folders(void **state) {
    (void)state;
    const struct {
        folder f;
        const char *a, *b;
    } rows[] = {
        {{.bits = 4, .G = 32, .spoil = "model.layers.1.mlp.up_proj.g_idx", .at = 40, .value = 0},
         "up_proj.g_idx",
         "expected group 1 at input 40, found 0"},
        {{.bits = 4,
          .G = 32,
          .spoil = "model.layers.0.self_attn.q_proj.scales",
          .at = 2,
          .value = 0x7e00},
         "q_proj.scales",
         "finite"},
        {{.bits = 4,
          .G = 32,
          .v1 = true,
          .spoil = "model.layers.0.mlp.down_proj.qzeros",
          .at = 1,
          .value = 0x111111f1},
         "down_proj.qzeros",
         "found 16 at output 9, group 0"},
        {{.bits = 2,
          .G = 64,
          .state = true,
          .spoil = "model.layers.0.mlp.gate_proj.eqat_s",
          .at = 7,
          .value = 0x3f800000},
         "gate_proj.eqat_s",
         "element 7"},
        {{.bits = 2,
          .G = 64,
          .state = true,
          .spoil = "model.layers.0.mlp.gate_proj.eqat_z",
          .at = 7,
          .value = 0x7fc00000},
         "gate_proj.eqat_z",
         "finite"},
        {{.bits = 2,
          .G = 64,
          .spoil = "model.layers.0.input_layernorm.weight",
          .at = 1,
          .value = 0xff800000},
         "input_layernorm",
         "found -inf at element 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *dir = write_folder(&rows[i].f);
        eq_weights *w = open_good(dir);
        eq_qblock b = {0};
        eq_err err = {0};
        int64_t before = eq_mem_current();
        eq_status st = eq_qblock_read(&b, w, 0, &err);
        if (st == EQ_OK) st = eq_qblock_read(&b, w, 1, &err);
        assert_int_equal(st, EQ_EINPUT);
        if (!strstr(err.msg, rows[i].a) || !strstr(err.msg, rows[i].b)) fail_msg("%s", err.msg);
        eq_qblock_free(&b);
        assert_int_equal(eq_mem_current(), before);
        eq_weights_close(w);
        tiny_remove(dir);
    }
}

static void folders_that_do_not_open(void **state) {
    (void)state;
    const struct {
        folder f;
        const char *a, *b;
    } rows[] = {
        {{.bits = 4, .G = 32, .leave_out = "model.layers.1.mlp.up_proj.qzeros"},
         "up_proj.qzeros: expected I32 [2, 16]",
         "no such tensor"},
        {{.bits = 3, .G = 32, .leave_out = "model.layers.0.self_attn.k_proj.qweight"},
         "k_proj.qweight: expected I32 [6, 32]",
         "no such tensor"},
        {{.bits = 4, .G = 32, .leave_out = "model.layers.0.self_attn.k_proj.scales"},
         "k_proj.scales",
         "[2, 32]"},
        {{.bits = 4, .G = 32, .leave_out = "model.layers.0.self_attn.k_proj.g_idx"},
         "k_proj.g_idx",
         "[64]"},
        {{.bits = 4, .G = 32, .state = true, .leave_out = "model.layers.0.mlp.up_proj.eqat_z"},
         "up_proj.eqat_z",
         "expected F32 [128, 2]"},
        {{.bits = 4,
          .G = 32,
          .zero_bias = true,
          .spoil = "model.layers.0.mlp.up_proj.bias",
          .at = 0,
          .value = 1},
         "up_proj.bias",
         "no bias"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *dir = write_folder(&rows[i].f);
        eq_weights *w;
        eq_err err = {0};
        assert_int_equal(eq_weights_open(&w, dir, &err), EQ_EINPUT);
        if (!strstr(err.msg, rows[i].a) || !strstr(err.msg, rows[i].b)) fail_msg("%s", err.msg);
        tiny_remove(dir);
    }
    /* full-precision tensors under a config that says GPTQ, and a group that divides nothing */
    char *dir = tiny_dir(), text[1200];
    eq_weights *w;
    eq_err err = {0};
    tiny_write(dir, tiny_config("llama", false), &(tiny_opts){0});
    const char *config = tiny_config("llama", false);
    const char *const groups[] = {"32", "60"}, *const say[] = {"the config says gptq",
                                                               "groups of 60"};
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text,
                 "%.*s, \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4, "
                 "\"group_size\": %s}}",
                 (int)(strrchr(config, '}') - config), config, groups[i]);
        tiny_text(dir, "config.json", text);
        err = (eq_err){0};
        assert_int_equal(eq_weights_open(&w, dir, &err), EQ_EINPUT);
        if (!strstr(err.msg, say[i])) fail_msg("%s", err.msg);
    }
    tiny_remove(dir);
}

/* ---- work files ------------------------------------------------------------------------------ */

static void save_and_load(void **state) {
    (void)state;
    char *dir = write_folder(&(folder){.bits = 3, .G = 32, .state = true});
    char *path = tiny_path(dir, "block-00001.work");
    eq_weights *w = open_good(dir);
    eq_qblock b = {0}, c = {0};
    eq_err err = {0};
    must(eq_qblock_read(&b, w, 1, &err), &err);
    must(eq_qblock_save(&b, &w->cfg, path, &err), &err);
    must(eq_qblock_load(&c, &w->cfg, &EQ_ONE_SCHEME(3, 32), 1, path, &err), &err);
    int64_t bytes = eq_qblock_bytes(&w->cfg, &EQ_ONE_SCHEME(3, 32));
    assert_memory_equal(b.lin[0].rows, c.lin[0].rows, bytes);
    memset(c.lin[0].rows, 0, (size_t)bytes);
    must(eq_qblock_load(&c, &w->cfg, &EQ_ONE_SCHEME(3, 32), 1, path, &err),
         &err); /* into the same block */
    assert_memory_equal(b.lin[0].rows, c.lin[0].rows, bytes);
    eq_qblock_free(&c);

    assert_int_equal(eq_qblock_load(&c, &w->cfg, &EQ_ONE_SCHEME(3, 64), 1, path, &err), EQ_EINPUT);
    assert_non_null(strstr(err.msg, "self_attn.q_proj.s"));
    err = (eq_err){0};
    assert_int_equal(eq_qblock_load(&c, &w->cfg, &EQ_ONE_SCHEME(2, 32), 1, path, &err), EQ_EINPUT);
    assert_non_null(strstr(err.msg, "self_attn.q_proj.rows"));
    err = (eq_err){0};
    b.lin[EQ_LIN_UP].s[9] = INFINITY;
    must(eq_qblock_save(&b, &w->cfg, path, &err), &err);
    assert_int_equal(eq_qblock_load(&c, &w->cfg, &EQ_ONE_SCHEME(3, 32), 1, path, &err), EQ_EINPUT);
    assert_non_null(strstr(err.msg, "mlp.up_proj.s"));
    err = (eq_err){0};
    tiny_text(dir, "block-00001.work", "short");
    assert_int_equal(eq_qblock_load(&c, &w->cfg, &EQ_ONE_SCHEME(3, 32), 1, path, &err), EQ_EINPUT);
    assert_null(c.lin[0].rows);
    err = (eq_err){0};
    assert_int_equal(eq_qblock_alloc(&c, &w->cfg, &EQ_ONE_SCHEME(7, 32), &err), EQ_EINPUT);
    assert_int_equal(eq_qblock_alloc(&c, &w->cfg, &EQ_ONE_SCHEME(2, 0), &err), EQ_EINPUT);
    eq_qblock_free(&b), eq_free(path);
    eq_weights_close(w);
    tiny_remove(dir);
}

static void memory_may_run_out(void **state) {
    (void)state;
    char *dir = write_folder(&(folder){.bits = 2, .G = 64});
    char *path = tiny_path(dir, "block");
    eq_weights *w = open_good(dir);
    int64_t before = eq_mem_current(), n = 1;
    for (;; n++) {
        eq_qblock b = {0}, c = {0};
        eq_err err = {0};
        eq_mem_fail_nth(n);
        eq_status st = eq_qblock_read(&b, w, 0, &err);
        if (st == EQ_OK) st = eq_qblock_save(&b, &w->cfg, path, &err);
        if (st == EQ_OK) st = eq_qblock_load(&c, &w->cfg, &EQ_ONE_SCHEME(2, 64), 1, path, &err);
        eq_mem_fail_nth(0);
        eq_qblock_free(&b), eq_qblock_free(&c);
        assert_int_equal(eq_mem_current(), before);
        if (st == EQ_OK) break;
        assert_int_equal(st, EQ_ENOMEM);
    }
    assert_true(n > 10);
    eq_free(path);
    eq_weights_close(w);
    tiny_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions_every_width),
        cmocka_unit_test(state_is_preferred),
        cmocka_unit_test(broken_folders),
        cmocka_unit_test(folders_that_do_not_open),
        cmocka_unit_test(save_and_load),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

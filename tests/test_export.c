/* Exports that are folders: what a reader of each format gets is the model's every weight, and what
 * a format does not hold is refused by name, with nothing left behind. */
#include "export/export.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "export/export_blocks.h"
#include "scratch.h"
#include "tiny_model.h"
#include "tiny_quant.h"

static char *dir;

static const char *config(const char *family, bool tied) {
    static char text[1024];
    snprintf(text, sizeof text,
             "{\"model_type\": \"%s\", \"hidden_size\": 128, \"intermediate_size\": 256,\n"
             "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
             "\"head_dim\": 32, \"vocab_size\": 60, \"max_position_embeddings\": 32,\n"
             "\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"torch_dtype\": \"bfloat16\",\n"
             "\"tie_word_embeddings\": %s}",
             family, tied ? "true" : "false");
    return text;
}

/* Path below the test's folder; good until the next eight. */
static const char *at(const char *name) {
    static char ring[8][256];
    static int k;
    char *p = ring[k++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

/* A quantized folder by its settings, made once. */
static const char *model(const tiny_quant *o) {
    char name[64];
    snprintf(name, sizeof name, "w%dg%d-%d-%d", o->bits, (int)o->group, (int)o->zeros, o->trained);
    const char *path = at(name);
    if (!eq_exists(path)) tiny_quant_write(at("base"), path, o);
    return path;
}

static eq_status export_to(const char *from, const char *to, const char *out, bool lossy,
                           const char *dtype, eq_export_result *res, eq_err *err) {
    eq_export_opts o;
    eq_export_opts_init(&o);
    o.model = from, o.out = out, o.to = to, o.lossy = lossy, o.dtype = dtype;
    return eq_export(&o, NULL, res, err);
}

static void gone(const char *out) {
    eq_err err = {0};
    eq_remove_tree(out, &err);
}

/* ---- what is exact -----------------------------------------------------------------------------
 */

static void exact(const char *to, const tiny_quant *o) {
    eq_err err = {0};
    eq_export_result res = {0};
    const char *out = at("out");
    int64_t before = eq_mem_current();
    if (export_to(model(o), to, out, false, NULL, &res, &err) != EQ_OK)
        fail_msg("%s of %d bits, groups of %d: %s", to, o->bits, (int)o->group, err.msg);
    assert_int_equal(eq_mem_current(), before);
    int64_t linears = 2 * (128 * 128 * 2 + 128 * 64 * 2 + 3 * 128 * 256);
    assert_true(res.weights >= linears && res.different == 0 && res.worst == 0);
    assert_true(res.bytes > 0);
    gone(out);
}

static void every_format(void **state) {
    (void)state;
    static const int bits[] = {2, 3, 4};
    static const int64_t groups[] = {32, 64, 128, -1};
    for (int b = 0; b < 3; b++)
        for (int g = 0; g < 4; g++) {
            bool trained = g % 2;
            tiny_quant any = {bits[b], groups[g], TINY_FREE, trained};
            tiny_quant portable = {bits[b], groups[g], TINY_PORTABLE, trained};
            exact("gptq", &any), exact("gptq-v1", &any);
            exact("compressed-tensors-asym", &any), exact("hf", &any);
            if (bits[b] == 4) exact("awq", &any);
            exact("gptq-sym", &portable), exact("compressed-tensors", &portable);
            if (groups[g] > 0) exact("mlx", &portable);
        }
}

/* Trained zero points are real: kept where that can be, refused or rounded where it cannot. */
static void real_zeros(void **state) {
    (void)state;
    static const char *const whole[] = {"gptq", "gptq-v1", "compressed-tensors-asym", "awq"};
    tiny_quant o = {4, 64, TINY_FREE, 2};
    eq_err err = {0};
    eq_export_result res;
    exact("hf", &o);
    for (int i = 0; i < 4; i++) {
        err = (eq_err){0};
        assert_int_equal(export_to(model(&o), whole[i], at("out"), false, NULL, &res, &err),
                         EQ_EINPUT);
        check_error(&err, EQ_EINPUT, "eqat_z", "whole zero points", NULL);
        err = (eq_err){0};
        if (export_to(model(&o), whole[i], at("out"), true, NULL, &res, &err) != EQ_OK)
            fail_msg("%s: %s", whole[i], err.msg);
        gone(at("out"));
    }
    err = (eq_err){0};
    assert_int_equal(export_to(model(&o), "mlx", at("out"), false, NULL, &res, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "fp16 numbers", NULL);
    err = (eq_err){0}; /* no farther off than rounding -z s to fp16 is */
    assert_int_equal(export_to(model(&o), "mlx", at("out"), true, NULL, &res, &err), EQ_OK);
    if (!(res.different > 0 && res.worst < 1e-3)) fail_msg("mlx is off by %g", res.worst);
    gone(at("out"));
}

/* Two bits from a portable model: -2 s .. s, which fp16 holds. */
static void half_precision(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false}, three = {3, 64, TINY_FREE, false};
    eq_err err = {0};
    eq_export_result res;
    assert_int_equal(export_to(model(&three), "hf", at("out"), false, "f16", &res, &err),
                     EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "F16", "--lossy", NULL);
    err = (eq_err){0};
    assert_int_equal(export_to(model(&o), "hf", at("out"), false, "bf16", &res, &err), EQ_EINPUT);
    err = (eq_err){0};
    assert_int_equal(export_to(model(&three), "hf", at("out"), true, "bf16", &res, &err), EQ_OK);
    assert_true(res.different > 0 && res.worst > 0 && res.worst < 1e-3 && res.mean < res.worst);
    gone(at("out"));
}

/* gptq-sym is read as a GPTQ folder again, and is version 1. */
static void read_as_a_model(void **state) {
    (void)state;
    tiny_quant o = {4, 64, TINY_PORTABLE, false};
    eq_err err = {0};
    eq_weights *was, *is;
    eq_qblock a = {0}, b = {0};
    assert_int_equal(export_to(model(&o), "gptq-sym", at("out"), false, NULL, NULL, &err), EQ_OK);
    assert_int_equal(eq_weights_open(&was, model(&o), &err), EQ_OK);
    if (eq_weights_open(&is, at("out"), &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_true(is->cfg.layout == EQ_LAYOUT_GPTQ_V1);
    for (int64_t i = 0; i < 2; i++) {
        assert_int_equal(eq_export_block(&a, was, i, false, &err), EQ_OK);
        assert_int_equal(eq_qblock_read(&b, is, i, &err), EQ_OK);
        for (int l = 0; l < EQ_LINS; l++) {
            int64_t I = a.lin[l].I;
            float x[256], y[256];
            assert_true(b.lin[l].z[0] == 8 && b.lin[l].z[3] == 8);
            for (int64_t r = 0; r < a.lin[l].O; r++) {
                eq_qlinear_rows(&a.lin[l], x, r, 1), eq_qlinear_rows(&b.lin[l], y, r, 1);
                for (int64_t k = 0; k < I; k++) assert_true(x[k] == y[k]);
            }
        }
    }
    eq_qblock_free(&a), eq_qblock_free(&b);
    eq_weights_close(was), eq_weights_close(is);
    gone(at("out"));
}

/* ---- what is refused ---------------------------------------------------------------------------
 */

static void refused(const tiny_quant *o, const char *to, const char *word, const char *other) {
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (export_to(model(o), to, at("out"), false, NULL, NULL, &err) == EQ_OK)
        fail_msg("%s took %d bits, groups of %d", to, o->bits, (int)o->group);
    check_error(&err, EQ_EINPUT, word, other, NULL);
    assert_int_equal(eq_mem_current(), before);
    assert_false(eq_exists(at("out")));
}

static void refusals(void **state) {
    (void)state;
    tiny_quant free3 = {3, 64, TINY_FREE, false}, free4 = {4, 64, TINY_FREE, false};
    tiny_quant wide = {4, -1, TINY_PORTABLE, false};
    refused(&free3, "awq", "model.layers.0.self_attn.q_proj", "4 bits");
    refused(&free4, "gptq-sym", "model.layers.0.self_attn.q_proj", "--grid portable");
    refused(&free4, "compressed-tensors", "model.layers.0.self_attn.q_proj", "7 and 8");
    refused(&free4, "mlx", "model.layers.0.self_attn.q_proj", "fp16");
    refused(&wide, "mlx", "model.layers.0.mlp.down_proj", "32, 64 and 128");
    refused(&wide, "nothing", "nothing", NULL);
}

static void places(void **state) {
    (void)state;
    tiny_quant o = {4, 64, TINY_FREE, false};
    const char *m = model(&o);
    eq_err err = {0};
    assert_int_equal(export_to(at("base"), "awq", at("out"), false, NULL, NULL, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "base", "full precision", NULL);
    err = (eq_err){0};
    assert_int_equal(export_to(m, "awq", m, false, NULL, NULL, &err), EQ_EINPUT);
    err = (eq_err){0};
    assert_int_equal(export_to(m, "awq", at("base"), false, NULL, NULL, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "base", "empty folder", NULL);
    err = (eq_err){0};
    assert_int_equal(export_to(at("none"), "awq", at("out"), false, NULL, NULL, &err), EQ_EIO);
}

/* ---- lossy -------------------------------------------------------------------------------------
 */

static void lossy(void **state) {
    (void)state;
    static const char *const to[] = {"gptq-sym", "compressed-tensors", "mlx"};
    tiny_quant o = {4, 64, TINY_FREE, false};
    for (int i = 0; i < 3; i++) {
        eq_err err = {0};
        eq_export_result res;
        if (export_to(model(&o), to[i], at("out"), true, NULL, &res, &err) != EQ_OK)
            fail_msg("%s: %s", to[i], err.msg);
        /* codes are cut to the range that is left: by up to 8 steps of at most 0.021 */
        assert_true(res.different > 0 && res.worst > 0 && res.worst <= 8 * 0.021);
        assert_true(res.mean > 0 && res.mean < res.worst && res.worst_at[0]);
        gone(at("out"));
    }
}

/* ---- the same bytes, and nothing half-written ---------------------------------------------------
 */

static eq_digest sum_of(const char *path) {
    eq_digest d;
    eq_err err = {0};
    char *p = tiny_path(path, "model.safetensors");
    if (eq_hash_file(p, &d, &err) != EQ_OK) fail_msg("%s", err.msg);
    eq_free(p);
    return d;
}

static void threads(void **state) {
    (void)state;
    static const char *const to[] = {"gptq-v1", "gptq-sym", "compressed-tensors", "awq", "mlx"};
    tiny_quant o = {4, 64, TINY_PORTABLE, false};
    for (int i = 0; i < 5; i++) {
        eq_digest d[2];
        for (int n = 0; n < 2; n++) {
            eq_err err = {0};
            eq_export_opts opts;
            eq_export_opts_init(&opts);
            opts.model = model(&o), opts.out = at("out"), opts.to = to[i], opts.threads = 1 + 2 * n;
            assert_int_equal(eq_export(&opts, NULL, NULL, &err), EQ_OK);
            d[n] = sum_of(at("out"));
            gone(at("out"));
        }
        assert_string_equal(d[0].hex, d[1].hex);
    }
    eq_par_threads(0);
}

/* The nth allocation, the nth write. */
static void faults(void **state) {
    (void)state;
    static const char *const to[] = {"gptq-sym", "mlx", "hf", "awq"};
    tiny_quant o = {4, 64, TINY_PORTABLE, false};
    char m[256], last[1200] = "";
    snprintf(m, sizeof m, "%s", model(&o));
    for (int i = 0; i < 4; i++)
        for (int kind = 0; kind < 2; kind++) {
            bool done = false;
            for (int64_t n = 1; !done; n += 1 + n / 4) {
                if (n > 1 << 16) fail_msg("%s", last);
                eq_err err = {0};
                int64_t before = eq_mem_current();
                kind ? eq_io_fail_nth(n) : eq_mem_fail_nth(n);
                done = export_to(m, to[i], at("out"), false, NULL, NULL, &err) == EQ_OK;
                eq_io_fail_nth(0), eq_mem_fail_nth(0);
                if (!done) check_error(&err, err.status, NULL);
                snprintf(last, sizeof last, "%s: %s", to[i], err.msg);
                assert_true(done == eq_exists(at("out")));
                assert_int_equal(eq_mem_current(), before);
                gone(at("out"));
            }
        }
    eq_names names;
    eq_err err = {0};
    assert_int_equal(eq_list_dir(dir, &names, &err), EQ_OK);
    for (int64_t i = 0; i < names.n; i++) assert_null(strstr(names.p[i], ".tmp-"));
    eq_names_free(&names);
}

/* ---- the public list ---------------------------------------------------------------------------
 */

static void list(void **state) {
    (void)state;
    const char *name, *about;
    int n = 0;
    while (eq_export_format(n, &name, &about)) {
        assert_ptr_equal(eq_format_find(name), eq_formats[n]);
        assert_true(about[0] && !strchr(about, '\n'));
        n++;
    }
    assert_true(n == 9 && !eq_export_format(-1, &name, &about));
}

static int set_up(void **state) {
    (void)state;
    tiny_opts o = {.dt = EQ_BF16, .seed = 3};
    dir = tiny_dir();
    char *base = tiny_path(dir, "base");
    eq_err err = {0};
    if (eq_mkdir(base, &err)) return 1;
    tiny_write(base, config("llama", false), &o);
    tiny_text(base, "tokenizer_config.json", "{}");
    eq_free(base);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    tiny_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format),   cmocka_unit_test(real_zeros),
        cmocka_unit_test(half_precision), cmocka_unit_test(read_as_a_model),
        cmocka_unit_test(refusals),       cmocka_unit_test(places),
        cmocka_unit_test(lossy),          cmocka_unit_test(threads),
        cmocka_unit_test(faults),         cmocka_unit_test(list),
    };
    return cmocka_run_group_tests_name("export", tests, set_up, tear_down);
}

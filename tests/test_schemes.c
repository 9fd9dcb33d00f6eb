/* Schemes of single linears: the words for them, their form in quantization_config, and whole
 * folders whose linears differ, next to folders whose linears are alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/qblock.h"
#include "model/schemes.h"
#include "tiny_model.h"

static char *dir;
static eq_config cfg;

static void must(eq_status st, const eq_err *err) {
    if (st != EQ_OK) fail_msg("%s", err->msg);
}
static int setup(void **state) {
    (void)state;
    eq_err err = {0};
    dir = tiny_dir();
    tiny_write(dir, tiny_config("llama", false), &(tiny_opts){.dt = EQ_F32, .seed = 9});
    must(eq_config_load(&cfg, dir, &err), &err);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    eq_config_free(&cfg);
    tiny_remove(dir);
    return 0;
}

/* ---- words ----------------------------------------------------------------------------------- */

static void set_from_words(void **state) {
    (void)state;
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    assert_null(eq_scheme_set(&o, "W3A16G128"));
    assert_true(o.bits == 3 && o.group_size == 128 && !o.scheme);
    assert_null(eq_scheme_set(&o, "w4"));
    assert_true(o.bits == 4 && o.group_size == 128);
    assert_null(eq_scheme_set(&o, "w2g-1,down_proj=w4g64,layers.0.*=w4"));
    assert_true(o.bits == 2 && o.group_size == -1);
    assert_string_equal(o.scheme, "down_proj=w4g64,layers.0.*=w4");
    assert_null(eq_scheme_set(&o, "mlp=w3")); /* nothing of the rest */
    assert_true(o.bits == 2 && o.group_size == -1 && !strcmp(o.scheme, "mlp=w3"));
    static const char *const bad[][2] = {{"", "a scheme like"},
                                         {"w5", "2, 3 or 4 bits"},
                                         {"w2g48", "groups of"},
                                         {"w2g64,", NULL},
                                         {"w2,w3", "PATTERN=SCHEME"},
                                         {"w2,=w3", "PATTERN=SCHEME"},
                                         {"w2,mlp=", "a scheme like"},
                                         {"w2,mlp=w9g64", "2, 3 or 4 bits"},
                                         {"w2,m[l]p=w4", "letters"},
                                         {"w2,mlp=w4g64x", "a scheme like"},
                                         {"w2,mlp=w4=w3", "a scheme like"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = eq_scheme_set(&o, bad[i][0]);
        if (!bad[i][1] ? why != NULL : !why || !strstr(why, bad[i][1]))
            fail_msg("\"%s\": %s", bad[i][0], why ? why : "accepted");
    }
}

static eq_schemes made(const char *others) {
    eq_schemes t;
    eq_err err = {0};
    must(eq_schemes_make(&t, &cfg, (eq_scheme){.bits = 2, .group = 32}, others, &err), &err);
    return t;
}
static void says(const eq_schemes *t, const char *want) {
    eq_str words = {0};
    eq_schemes_words(&words, t, &cfg);
    assert_string_equal(words.p, want);
    eq_str_free(&words);
}

static const char *const items[][2] = {
    {NULL, "w2g32"},
    {"down_proj=w4g32", "w2g32,mlp.down_proj=w4g32"},
    {"mlp.down_proj=w4", "w2g32,mlp.down_proj=w4g32"},
    {"model.layers.1.mlp.down_proj=w3", "w2g32,1.mlp.down_proj=w3g32"},
    {"proj=w4", NULL}, /* whole parts only */
    {"layers.0=w2", "w2g32"},
    {"*proj=w3,mlp=w2g32",
     "w2g32,self_attn.q_proj=w3g32,self_attn.k_proj=w3g32,self_attn.v_proj=w3g32,"
     "self_attn.o_proj=w3g32"},
    {"mlp=w4g-1,layers.0.*=w2g32,up_proj=w3",
     "w2g32,1.mlp.gate_proj=w4g-1,mlp.up_proj=w3g32,1.mlp.down_proj=w4g-1"},
    {"layers.*.mlp.*e_proj=w4", "w2g32,mlp.gate_proj=w4g32"},
    {"layers.10=w4", NULL},
    {"weight=w4", NULL},
};

static void patterns(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        eq_schemes t;
        eq_err err = {0};
        eq_status st =
            eq_schemes_make(&t, &cfg, (eq_scheme){.bits = 2, .group = 32}, items[i][0], &err);
        if (items[i][1]) {
            must(st, &err);
            says(&t, items[i][1]);
            eq_schemes_free(&t);
            continue;
        }
        assert_int_equal(st, EQ_EINPUT);
        assert_non_null(strstr(err.msg, "model.layers.1.mlp.down_proj"));
    }
}

/* ---- "dynamic" ------------------------------------------------------------------------------- */

static eq_status from_dynamic(eq_schemes *t, const char *text, eq_err *err) {
    json_t *v = json_loads(text, 0, NULL);
    *err = (eq_err){0};
    assert_non_null(v);
    eq_status st = eq_schemes_from_dynamic(t, &cfg, (eq_scheme){.bits = 2, .group = 32}, v,
                                           "config.json", err);
    json_decref(v);
    return st;
}

/* What is written is read back, in any order of its rules. */
static void dynamic_and_back(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        eq_err err;
        eq_schemes back;
        if (!items[i][1]) continue;
        eq_schemes t = made(items[i][0]);
        json_t *v = eq_schemes_dynamic(&t, &cfg), *turned = json_object();
        assert_int_equal(v != NULL, strchr(items[i][1], ',') != NULL);
        const char *keys[4 * EQ_LINS], *key;
        int n = 0;
        json_t *rule;
        json_object_foreach(v, key, rule) keys[n++] = key;
        while (n--) json_object_set(turned, keys[n], json_object_get(v, keys[n]));
        char *text = eq_json_text(turned, 0);
        must(from_dynamic(&back, text, &err), &err);
        says(&back, items[i][1]);
        eq_free(text), json_decref(v), json_decref(turned);
        eq_schemes_free(&t), eq_schemes_free(&back);
    }
}

/* As GPTQModel reads them: matched from the name's beginning, the first rule that fits counts. */
static void dynamic_of_others(void **state) {
    (void)state;
    static const char *const good[][2] = {
        {"{}", "w2g32"},
        {"{\"+:.*down_proj.*\": {\"bits\": 4}}", "w2g32,mlp.down_proj=w4g32"},
        {"{\".*\\\\.1\\\\..*(up|gate).*\": {\"bits\": 3, \"group_size\": 64, \"desc_act\": false}}",
         "w2g32,1.mlp.gate_proj=w3g64,1.mlp.up_proj=w3g64"},
        {"{\"down_proj\": {\"bits\": 4}}", "w2g32"},
        {"{\"+:.*up.*\": {\"bits\": 4}, \"+:model.*mlp.*\": {\"bits\": 8, \"group_size\": -1}}",
         "w2g32,mlp.gate_proj=w8g-1,mlp.up_proj=w4g32,mlp.down_proj=w8g-1"},
        {"{\"+:model\\\\.layers\\\\.[01]\\\\.self\": {\"group_size\": 64}}",
         "w2g32,self_attn.q_proj=w2g64,self_attn.k_proj=w2g64,self_attn.v_proj=w2g64,"
         "self_attn.o_proj=w2g64"},
    };
    static const char *const bad[][2] = {
        {"{\"-:.*up.*\": {}}", "left out"},
        {"{\"+:.*up.*\": {\"bits\": 5}}", "found w5"},
        {"{\"+:.*up.*\": {\"bits\": \"four\"}}", "bits"},
        {"{\"+:.*up.*\": {\"group_size\": 0}}", "groups"},
        {"{\"+:.*up.*\": {\"desc_act\": true}}", "desc_act"},
        {"{\"+:.*up.*\": {\"rank\": 8}}", "rank"},
        {"{\"+:.*up.*\": 4}", "an object"},
        {"{\"+:(up\": {\"bits\": 4}}", "regex"},
    };
    eq_schemes t;
    eq_err err;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        must(from_dynamic(&t, good[i][0], &err), &err);
        says(&t, good[i][1]);
        eq_schemes_free(&t);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (from_dynamic(&t, bad[i][0], &err) != EQ_EINPUT) fail_msg("accepted: %s", bad[i][0]);
        if (!strstr(err.msg, bad[i][1])) fail_msg("\"%s\" is not in: %s", bad[i][1], err.msg);
    }
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static void checks_and_sizes(void **state) {
    (void)state;
    eq_err err = {0};
    eq_schemes t = made("down_proj=w4g32");
    must(eq_schemes_check(&t, &cfg, &err), &err);
    /* D 64, F 96, 4 heads over 2: 64 x 64 twice, 32 x 64 twice, three of 64 x 96 */
    eq_schemes_size n = eq_schemes_count(&t, &cfg);
    int64_t others = 2 * 64 * 64 + 2 * 32 * 64 + 2 * 64 * 96, down = 64 * 96;
    assert_int_equal(n.words, 2 * (others * 2 + down * 4) / 32);
    assert_int_equal(n.groups, 2 * (others + down) / 32);
    double bits = ((double)others * (2 + 18.0 / 32) + (double)down * (4 + 20.0 / 32)) /
                  (double)(others + down);
    assert_true(n.bits > bits - 1e-12 && n.bits < bits + 1e-12);
    eq_schemes_free(&t);
    t = made("1.mlp.down_proj=w2g64"); /* 96 inputs */
    assert_int_equal(eq_schemes_check(&t, &cfg, &err), EQ_EINPUT);
    assert_non_null(strstr(err.msg, "model.layers.1.mlp.down_proj [64, 96]"));
    assert_non_null(strstr(err.msg, "w2g64"));
    eq_schemes_free(&t);
}

/* A block has room for every block, and turns. */
static void blocks_turn(void **state) {
    (void)state;
    eq_err err = {0};
    eq_schemes t = made("layers.1=w4g-1,1.*.q_proj=w3g32");
    eq_qblock b = {0};
    must(eq_qblock_alloc(&b, &cfg, &t, &err), &err);
    for (int64_t i = 1; i >= 0; i--) {
        eq_qblock_turn(&b, &cfg, &t, i);
        assert_int_equal(b.lin[EQ_LIN_Q].bits, i ? 3 : 2);
        assert_int_equal(b.lin[EQ_LIN_DOWN].bits, i ? 4 : 2);
        assert_int_equal(b.lin[EQ_LIN_DOWN].G, i ? 96 : 32);
        const char *end = (const char *)(b.norm[EQ_NORM_POST] + 64);
        assert_true(end - (const char *)b.lin[0].rows <= eq_qblock_bytes(&cfg, &t));
        memset(b.lin[0].rows, 0x5a, (size_t)(end - (const char *)b.lin[0].rows));
    }
    eq_qblock_free(&b);
    eq_schemes_free(&t);
}

/* ---- whole folders --------------------------------------------------------------------------- */

/* 640 ids below 50 as .npy; eq_free the path. */
static char *ids(void) {
    char bytes[128 + 640] = "\x93NUMPY\x01\x00\x76";
    eq_err err = {0};
    char *path = tiny_path(dir, "ids.npy");
    snprintf(bytes + 10, 119, "%-117s\n",
             "{'descr': '|u1', 'fortran_order': False, 'shape': (640,), }");
    for (int i = 0; i < 640; i++) bytes[128 + i] = (char)((i * i + i / 7) % 50);
    must(eq_write_file(path, bytes, sizeof bytes, &err), &err);
    return path;
}

/* Rounded, or trained in both phases at rates that change nothing, block by block. */
static eq_weights *quantized(const char *name, const char *scheme, eq_grid grid, bool trained) {
    eq_quantize_opts o;
    eq_err err = {0};
    eq_weights *w;
    char *out = tiny_path(dir, name), *data = ids();
    eq_quantize_opts_init(&o);
    assert_null(eq_scheme_set(&o, scheme));
    o.model = dir, o.out = out, o.grid = grid, o.e2e = trained;
    o.method = trained ? EQ_METHOD_BLOCK_AP : EQ_METHOD_RTN;
    o.data = o.qp.data = data;
    o.ap.train_size = 4, o.ap.val_size = 2, o.ap.seqlen = o.qp.seqlen = 16, o.ap.epochs = 1;
    o.qp.train_size = 4, o.qp.batch_size = 2;
    o.ap.quant_lr = o.ap.weight_lr = o.qp.lr = 0;
    o.compute.precision = EQ_PREC_F32;
    must(eq_quantize(&o, NULL, NULL, &err), &err);
    must(eq_weights_open(&w, out, &err), &err);
    must(eq_remove_tree(out, &err), &err); /* it stays mapped */
    eq_free(out), eq_free(data);
    return w;
}

static void same_tensor(const eq_tensor *a, const eq_tensor *b) {
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->data, b->data, (size_t)a->bytes);
}

/* Every linear of a mixed folder is that of the folder in which all have its scheme. */
static void mixed_is_made_of_uniform(bool trained) {
    static const char *const kinds[] = {"w2g32", "w4g-1", "w3g32"};
    eq_weights *all[3],
        *mixed = quantized("mixed", "w2g32,mlp=w4g-1,1.*.v_proj=w3", EQ_GRID_FREE, trained);
    for (int k = 0; k < 3; k++) all[k] = quantized(kinds[k], kinds[k], EQ_GRID_FREE, trained);
    eq_str words = {0};
    eq_schemes_words(&words, &mixed->cfg.schemes, &mixed->cfg);
    assert_string_equal(words.p, "w2g32,1.self_attn.v_proj=w3g32,mlp.gate_proj=w4g-1,"
                                 "mlp.up_proj=w4g-1,mlp.down_proj=w4g-1");
    eq_str_free(&words);
    for (int64_t i = 0; i < 2; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            int k = l >= EQ_LIN_GATE ? 1 : i == 1 && l == EQ_LIN_V ? 2 : 0;
            const eq_block_tensors *a = &mixed->blocks[i], *b = &all[k]->blocks[i];
            same_tensor(a->qweight[l], b->qweight[l]), same_tensor(a->qzeros[l], b->qzeros[l]);
            same_tensor(a->scales[l], b->scales[l]), same_tensor(a->g_idx[l], b->g_idx[l]);
            same_tensor(a->state_s[l], b->state_s[l]), same_tensor(a->state_z[l], b->state_z[l]);
        }
    for (int k = 0; k < 3; k++) eq_weights_close(all[k]);
    eq_weights_close(mixed);
}

static void mixed_rounded(void **state) {
    (void)state;
    mixed_is_made_of_uniform(false);
}
static void mixed_trained(void **state) {
    (void)state;
    mixed_is_made_of_uniform(true);
}

/* Portable zero points are the middle two, and stay known as such. */
static void portable_folder(void **state) {
    (void)state;
    eq_err err = {0};
    eq_weights *w = quantized("portable", "w2g32,up_proj=w3,down_proj=w4", EQ_GRID_PORTABLE, true);
    int64_t met[5][2] = {{0}};
    assert_int_equal(w->cfg.schemes.all.grid, EQ_GRID_PORTABLE);
    eq_qblock b = {0};
    for (int64_t i = 0; i < 2; i++) {
        must(eq_qblock_read(&b, w, i, &err), &err);
        for (int l = 0; l < EQ_LINS; l++) {
            const eq_qlinear *q = &b.lin[l];
            int low = (1 << (q->bits - 1)) - 1;
            assert_int_equal(q->grid, EQ_GRID_PORTABLE);
            for (int64_t g = 0; g < q->O * (q->I / q->G); g++) {
                assert_true(q->z[g] == (float)low || q->z[g] == (float)(low + 1));
                met[q->bits][(int)q->z[g] - low]++;
            }
        }
    }
    for (int bits = 2; bits <= 4; bits++) assert_true(met[bits][0] > 0 && met[bits][1] > 0);
    eq_qblock_free(&b);
    eq_weights_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_from_words),   cmocka_unit_test(patterns),
        cmocka_unit_test(dynamic_and_back), cmocka_unit_test(dynamic_of_others),
        cmocka_unit_test(checks_and_sizes), cmocka_unit_test(blocks_turn),
        cmocka_unit_test(mixed_rounded),    cmocka_unit_test(mixed_trained),
        cmocka_unit_test(portable_folder),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

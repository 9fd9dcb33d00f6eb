/* Folders that other tools wrote, as models of this program: AWQ, compressed-tensors, GPTQ of
 * either version. Unpacking is checked against bytes of the formats' own tools (tests/golden),
 * whole folders against the models that the exporters made them of; what does not fit its config is
 * refused. */
#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "export/export.h"
#include "export/export_blocks.h"
#include "model/layouts.h"
#include "quant/pack.h"
#include "scratch.h"
#include "tiny_model.h"
#include "tiny_quant.h"

static char *dir;

static const char *at(const char *name) {
    static char ring[8][256];
    static int k;
    char *p = ring[k++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

/* ---- unpacking --------------------------------------------------------------------------------
 */

static const eq_tensor *golden_tensor(const eq_st *st, const char *group, const char *name) {
    char full[160];
    snprintf(full, sizeof full, "%s.%s", group, name);
    const eq_tensor *t = eq_st_find(st, full);
    if (!t) fail_msg("no tensor %s in the golden file", full);
    return t;
}

/* Codes and zero points of a linear of the golden file; symmetric ones are another form of it. */
static void golden_layout(const eq_st *st, eq_layout layout, const char *group, const char *format,
                          int bits, bool symmetric) {
    const eq_layout_spec *spec = eq_layout_of(layout);
    const eq_tensor *q = golden_tensor(st, group, "q"), *z = golden_tensor(st, group, "z");
    int64_t O = q->shape[0], I = q->shape[1], NG = z->shape[1], words = eq_pack_words(I, bits);
    uint32_t *rows = eq_calloc(O * words, sizeof *rows);
    uint8_t *zeros = eq_calloc(O * NG, 1), *codes = eq_calloc(I, 1);
    eq_layout_part p[EQ_LAYOUT_PARTS];
    const eq_tensor *t[2] = {NULL, NULL};
    char full[96];
    int n = spec->parts(p, O, I, NG, bits), half = 1 << (bits - 1), Q = (1 << bits) - 1;
    snprintf(full, sizeof full, "%s.%s", group, format);
    for (int k = 0; k < n; k++) {
        const eq_tensor *found = golden_tensor(st, full, p[k].name);
        assert_int_equal(found->shape[0], p[k].rows < 0 ? p[k].cols : p[k].rows);
        if (p[k].rows >= 0) assert_int_equal(found->shape[1], p[k].cols);
        if (p[k].slot == offsetof(eq_block_tensors, qweight)) t[0] = found;
        if (p[k].slot == offsetof(eq_block_tensors, qzeros)) t[1] = found;
    }
    assert_null(spec->refuses(O, I, I / NG, bits));
    spec->rows(rows, t[0], O, I, bits);
    spec->zeros(zeros, t[1], O, NG, bits);
    for (int64_t o = 0; o < O; o++) {
        eq_unpack_row(codes, rows + o * words, I, bits);
        for (int64_t i = 0; i < I; i++) {
            int64_t g = o * NG + i / (I / NG);
            int want = ((const uint8_t *)q->data)[o * I + i], zero = ((const uint8_t *)z->data)[g];
            bool turned = symmetric ? zero < half : layout == EQ_LAYOUT_GPTQ_V1 && zero == 0;
            if (turned) want = Q - want, zero = Q - zero;
            assert_int_equal(codes[i], want);
            assert_int_equal(zeros[g] + spec->plus, zero);
        }
    }
    eq_free(rows), eq_free(zeros), eq_free(codes);
}

static void goldens(void **state) {
    (void)state;
    eq_st *st;
    eq_err err = {0};
    char group[32];
    if (eq_st_open(&st, "tests/golden/export.safetensors", &err)) fail_msg("%s", err.msg);
    for (int bits = 2; bits <= 4; bits++) {
        snprintf(group, sizeof group, "portable%d", bits);
        golden_layout(st, EQ_LAYOUT_GPTQ_V1, group, "gptq-sym", bits, true);
        golden_layout(st, EQ_LAYOUT_CT_SYM, group, "compressed-tensors", bits, true);
        snprintf(group, sizeof group, "free%d", bits);
        golden_layout(st, EQ_LAYOUT_GPTQ_V2, group, "gptq", bits, false);
        golden_layout(st, EQ_LAYOUT_GPTQ_V1, group, "gptq-v1", bits, false);
        golden_layout(st, EQ_LAYOUT_CT_ASYM, group, "compressed-tensors-asym", bits, false);
    }
    golden_layout(st, EQ_LAYOUT_AWQ, "free4", "awq", 4, false);
    eq_st_close(st);
}

/* Shapes that fill no word, no line and no piece: the definition, value by value. */
static void awq_shapes(void **state) {
    (void)state;
    static const int place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    static const int64_t shapes[][2] = {{8, 1}, {8, 300}, {72, 31}, {136, 257}};
    for (int k = 0; k < 4; k++) {
        int64_t O = shapes[k][0], I = shapes[k][1], words = eq_pack_words(I, 4);
        int32_t *in = eq_calloc(I * O / 8, 4);
        uint32_t *rows = eq_calloc(O * words + 1, 4);
        uint8_t *codes = eq_calloc(I, 1);
        for (int64_t i = 0; i < I * O / 8; i++) in[i] = (int32_t)((uint32_t)i * 2654435761u);
        rows[O * words] = 0xfeedfaceu;
        eq_rows_from_awq(rows, in, O, I);
        assert_int_equal(rows[O * words], 0xfeedfaceu);
        for (int64_t o = 0; o < O; o++) {
            eq_unpack_row(codes, rows + o * words, I, 4);
            for (int64_t i = 0; i < I; i++)
                assert_int_equal(codes[i],
                                 (uint32_t)in[i * (O / 8) + o / 8] >> 4 * place[o % 8] & 15u);
        }
        eq_free(in), eq_free(rows), eq_free(codes);
    }
}

/* ---- whole folders ----------------------------------------------------------------------------
 */

static const char *model(const char *family, const tiny_quant *o) {
    char name[64], base[64];
    snprintf(base, sizeof base, "base-%s", family);
    snprintf(name, sizeof name, "%s-w%dg%d-%d-%d", family, o->bits, (int)o->group, (int)o->zeros,
             o->trained);
    if (!eq_exists(at(base))) {
        tiny_opts t = {.dt = EQ_BF16, .seed = 4};
        eq_err err = {0};
        assert_int_equal(eq_mkdir(at(base), &err), EQ_OK);
        tiny_write(at(base), tiny_config(family, false), &t);
        tiny_text(at(base), "tokenizer_config.json", "{}");
    }
    const char *path = at(name);
    if (!eq_exists(path)) tiny_quant_write(at(base), path, o);
    return path;
}

static void export_to(const char *from, const char *to, const char *out) {
    eq_export_opts o;
    eq_err err = {0};
    eq_export_opts_init(&o);
    eq_remove_tree(out, &(eq_err){0});
    o.model = from, o.out = out, o.to = to;
    if (eq_export(&o, NULL, NULL, &err) != EQ_OK) fail_msg("%s to %s: %s", from, to, err.msg);
}

/* Every weight of two folders. */
static void same_weights(const char *a, const char *b) {
    eq_err err = {0};
    eq_weights *was, *is;
    eq_qblock x = {0}, y = {0};
    if (eq_weights_open(&was, a, &err) || eq_weights_open(&is, b, &err)) fail_msg("%s", err.msg);
    for (int64_t i = 0; i < was->cfg.L; i++) {
        if (eq_export_block(&x, was, i, false, &err) || eq_export_block(&y, is, i, false, &err))
            fail_msg("%s", err.msg);
        for (int l = 0; l < EQ_LINS; l++) {
            float p[256], q[256];
            assert_true(x.lin[l].I <= 256);
            for (int64_t o = 0; o < x.lin[l].O; o++) {
                eq_qlinear_rows(&x.lin[l], p, o, 1), eq_qlinear_rows(&y.lin[l], q, o, 1);
                for (int64_t k = 0; k < x.lin[l].I; k++) assert_true(p[k] == q[k]);
            }
        }
    }
    eq_qblock_free(&x), eq_qblock_free(&y);
    eq_weights_close(was), eq_weights_close(is);
}

/* Every format that holds quantized tensors comes back as it was, of every way to join them; and
 * goes out again. */
static void every_format(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "phi3", "internlm2"};
    static const struct {
        const char *to;
        tiny_zeros zeros;
        int bits; /* 0: all */
    } cases[] = {
        {"gptq", TINY_FREE, 0},
        {"gptq-v1", TINY_FREE, 0},
        {"gptq-sym", TINY_PORTABLE, 0},
        {"compressed-tensors", TINY_PORTABLE, 0},
        {"compressed-tensors-asym", TINY_FREE, 0},
        {"awq", TINY_FREE, 4},
    };
    for (int f = 0; f < 3; f++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
            for (int bits = 2; bits <= 4; bits++) {
                tiny_quant o = {bits, bits == 3 ? -1 : 32, cases[k].zeros, bits == 2};
                if (cases[k].bits && cases[k].bits != bits) continue;
                int64_t before = eq_mem_current();
                export_to(model(families[f], &o), cases[k].to, at("out"));
                same_weights(model(families[f], &o), at("out"));
                export_to(at("out"), "compressed-tensors-asym", at("again"));
                same_weights(at("out"), at("again"));
                assert_int_equal(eq_mem_current(), before);
            }
}

/* Joined tensors stay joined in the files. */
static void joined(void **state) {
    (void)state;
    tiny_quant o = {4, 32, TINY_PORTABLE, false};
    static const char *const to[] = {"hf", "awq", "mlx", "compressed-tensors"};
    static const char *const part[] = {"weight", "qweight", "weight", "weight_packed"};
    for (int k = 0; k < 4; k++) {
        eq_st *st;
        eq_err err = {0};
        char name[96];
        export_to(model("phi3", &o), to[k], at("out"));
        if (eq_st_open(&st, at("out"), &err)) fail_msg("%s", err.msg);
        snprintf(name, sizeof name, "model.layers.1.self_attn.qkv_proj.%s", part[k]);
        assert_non_null(eq_st_find(st, name));
        snprintf(name, sizeof name, "model.layers.1.mlp.gate_up_proj.%s", part[k]);
        assert_non_null(eq_st_find(st, name));
        snprintf(name, sizeof name, "model.layers.1.self_attn.k_proj.%s", part[k]);
        assert_null(eq_st_find(st, name));
        eq_st_close(st);
    }
}

/* ---- changed folders --------------------------------------------------------------------------
 */

/* The first text in config.json, which must be there, becomes another. */
static void edit(const char *folder, const char *from, const char *to) {
    char *path = tiny_path(folder, "config.json"), text[8192], *p;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    if (!(p = strstr(text, from))) fail_msg("no %s in %s", from, text);
    char *out = eq_sprintf("%.*s%s%s", (int)(p - text), text, to, p + strlen(from));
    tiny_text(folder, "config.json", out);
    eq_free(out), eq_free(path);
}

/* Calls fn for the bytes of a tensor, which it may change. */
static void patch(const char *folder, const char *name, void (*fn)(void *p, int64_t bytes)) {
    eq_st *st;
    eq_err err = {0};
    const char *path;
    const uint8_t *data;
    int64_t size;
    if (eq_st_open(&st, folder, &err)) fail_msg("%s", err.msg);
    const eq_tensor *t = eq_st_find(st, name);
    assert_non_null(t);
    eq_st_file(st, 0, &path, &data, &size);
    long offset = (long)((const uint8_t *)t->data - data);
    void *copy = malloc((size_t)t->bytes);
    assert_non_null(copy);
    memcpy(copy, t->data, (size_t)t->bytes);
    fn(copy, t->bytes);
    FILE *f = fopen(path, "r+b");
    assert_true(f && !fseek(f, offset, SEEK_SET) &&
                fwrite(copy, 1, (size_t)t->bytes, f) == (size_t)t->bytes && !fclose(f));
    free(copy);
    eq_st_close(st);
}

static eq_status read_all(const char *folder, eq_err *err) {
    eq_weights *w;
    eq_qblock b = {0};
    EQ_TRY(eq_weights_open(&w, folder, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < w->cfg.L && st == EQ_OK; i++) st = eq_qblock_read(&b, w, i, err);
    eq_qblock_free(&b);
    eq_weights_close(w);
    return st;
}

static void refused(const char *folder, const char *word, const char *other) {
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (read_all(folder, &err) == EQ_OK) fail_msg("%s was read, expected \"%s\"", folder, word);
    check_error(&err, EQ_EINPUT, word, other, NULL);
    assert_int_equal(eq_mem_current(), before);
}

static void minus_words(void *p, int64_t bytes, uint32_t one) {
    for (int64_t i = 0; i < bytes / 4; i++) ((uint32_t *)p)[i] -= one;
}
static void minus2(void *p, int64_t bytes) { minus_words(p, bytes, 0x55555555u); }
static void minus4(void *p, int64_t bytes) { minus_words(p, bytes, 0x11111111u); }

/* Zero points of 0 in GPTQModel's version 1: the borrow is undone, if the file says who wrote it.
 */
static void whole_words(void **state) {
    (void)state;
    for (int bits = 2; bits <= 4; bits += 2) {
        tiny_quant o = {bits, 32, TINY_FREE, false};
        char name[96];
        export_to(model("llama", &o), "gptq", at("out"));
        for (int i = 0; i < 2; i++)
            for (int l = 0; l < EQ_LINS; l++) {
                eq_config c;
                eq_err err = {0};
                assert_int_equal(eq_config_load(&c, at("out"), &err), EQ_OK);
                snprintf(name, sizeof name, "model.layers.%d.%s.qzeros", i,
                         eq_lin_of(&c, (eq_lin)l).file);
                eq_config_free(&c);
                patch(at("out"), name, bits == 2 ? minus2 : minus4);
            }
        edit(at("out"), "\"checkpoint_format\": \"gptq_v2\"", "\"checkpoint_format\": \"gptq\"");
        edit(at("out"), "\"format\": \"gptq_v2\"", "\"format\": \"gptq\"");
        refused(at("out"), "self_attn.q_proj.qzeros", "version 1");
        edit(at("out"), "\"quantizer\": \"eqat", "\"quantizer\": \"gptqmodel:5.6.12-");
        same_weights(model("llama", &o), at("out"));
        edit(at("out"), "\"quantizer\": \"gptqmodel:5.6.12-",
             "\"quantizer\": [\"gptqmodel:1.0\"], \"by\": \"");
        same_weights(model("llama", &o), at("out"));
    }
}

static void another_shape(void *p, int64_t bytes) {
    assert_int_equal(bytes, 16);
    ((int64_t *)p)[0]++;
}
static void not_a_number(void *p, int64_t bytes) {
    (void)bytes;
    ((uint16_t *)p)[3] = 0x7e00;
}
static void other_order(void *p, int64_t bytes) {
    (void)bytes;
    ((int32_t *)p)[5] = 1;
}

static void broken(void **state) {
    (void)state;
    tiny_quant o = {4, 32, TINY_PORTABLE, false};
    static const struct {
        const char *to, *from, *edit, *word, *other;
        const char *tensor;
        void (*fn)(void *p, int64_t bytes);
    } rows[] = {
        {"awq", "\"group_size\": 32", "\"group_size\": 16", "q_proj.qzeros", "[4, 8]", NULL, NULL},
        {"awq", "\"group_size\": 32", "\"group_size\": 24", "q_proj", "groups of 24", NULL, NULL},
        {"awq", "\"awq\"", "\"gptq\"", "\"zero_point\"", "knows", NULL, NULL},
        {"awq", "\"version\": \"gemm\"", "\"version\": \"gemv\"", "\"version\"", "gemv", NULL,
         NULL},
        {"awq", NULL, NULL, "q_proj.scales", "finite", "model.layers.0.self_attn.q_proj.scales",
         not_a_number},
        {"compressed-tensors", "\"group_size\": 32", "\"group_size\": 64", "q_proj.weight_scale",
         "[64, 1]", NULL, NULL},
        {"compressed-tensors", "\"num_bits\": 4", "\"num_bits\": 8", "q_proj.weight_packed",
         "[64, 16]", NULL, NULL},
        {"compressed-tensors", "\"symmetric\": true", "\"symmetric\": false",
         "q_proj.weight_zero_point", "no such tensor", NULL, NULL},
        {"compressed-tensors-asym", "\"symmetric\": false", "\"symmetric\": true",
         "weight_zero_point", "one more", NULL, NULL},
        {"compressed-tensors", NULL, NULL, "weight_shape", "[65, 64]",
         "model.layers.1.self_attn.q_proj.weight_shape", another_shape},
        {"compressed-tensors", NULL, NULL, "v_proj.weight_scale", "finite",
         "model.layers.1.self_attn.v_proj.weight_scale", not_a_number},
        {"gptq-sym", "\"desc_act\": false", "\"desc_act\": true", "desc_act", "switched off", NULL,
         NULL},
        {"gptq-sym", NULL, NULL, "g_idx", "activation order", "model.layers.0.mlp.up_proj.g_idx",
         other_order},
        {"gptq-sym", "\"group_size\": 32", "\"group_size\": 64", "q_proj.qzeros", "[1, 8]", NULL,
         NULL},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        export_to(model("llama", &o), rows[k].to, at("out"));
        if (rows[k].from) edit(at("out"), rows[k].from, rows[k].edit);
        if (rows[k].fn) patch(at("out"), rows[k].tensor, rows[k].fn);
        refused(at("out"), rows[k].word, rows[k].other);
    }
    /* cut anywhere */
    export_to(model("llama", &o), "awq", at("out"));
    char *file = tiny_path(at("out"), "model.safetensors"), *cut = tiny_path(dir, "cut");
    eq_map m;
    eq_err err = {0};
    assert_int_equal(eq_map_open(&m, file, &err), EQ_OK);
    for (int64_t n = m.size - 1; n > 0; n -= m.size / 7) {
        FILE *f = fopen(cut, "wb");
        assert_true(f && fwrite(m.data, 1, (size_t)n, f) == (size_t)n && !fclose(f));
        assert_int_equal(rename(cut, file), 0);
        refused(at("out"), "model.safetensors", NULL);
    }
    eq_map_close(&m);
    eq_free(file), eq_free(cut);
}

static int set_up(void **state) {
    (void)state;
    dir = tiny_dir();
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    tiny_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens), cmocka_unit_test(awq_shapes),  cmocka_unit_test(every_format),
        cmocka_unit_test(joined),  cmocka_unit_test(whole_words), cmocka_unit_test(broken),
    };
    return cmocka_run_group_tests_name("foreign", tests, set_up, tear_down);
}

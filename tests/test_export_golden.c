/* Bytes of every format against tests/golden/export.safetensors: one small linear packed by the
 * formats' own tools, or by their definitions (tools/make_export_goldens.py; MANIFEST says which).
 */
#include "base/mem.h"
#include "export/export.h"
#include "format/ggml.h"
#include "quant/pack.h"
#include "scratch.h"

static eq_st *golden;

static const eq_tensor *tensor(const char *group, const char *name) {
    char full[160];
    snprintf(full, sizeof full, "%s.%s", group, name);
    const eq_tensor *t = eq_st_find(golden, full);
    if (!t) fail_msg("no tensor %s in the golden file", full);
    return t;
}

/* The linear of a group of tensors; eq_free its rows, s and z. */
static eq_qlinear linear(const char *group, int bits) {
    const eq_tensor *q = tensor(group, "q"), *s = tensor(group, "s"), *z = tensor(group, "z");
    eq_qlinear l = {.bits = bits, .O = q->shape[0], .I = q->shape[1]};
    l.G = l.I / s->shape[1];
    l.rows = eq_calloc(l.O * eq_pack_words(l.I, bits), sizeof *l.rows);
    l.s = eq_calloc(s->n, sizeof *l.s), l.z = eq_calloc(z->n, sizeof *l.z);
    for (int64_t o = 0; o < l.O; o++)
        eq_pack_row(l.rows + o * eq_pack_words(l.I, bits), (const uint8_t *)q->data + o * l.I, l.I,
                    bits);
    for (int64_t i = 0; i < s->n; i++)
        l.s[i] = eq_load(s->data, s->dt, i), l.z[i] = ((const uint8_t *)z->data)[i];
    return l;
}
static void drop(eq_qlinear *l) { eq_free(l->rows), eq_free(l->s), eq_free(l->z); }

static void same(const eq_tensor *t, const void *data, int64_t bytes) {
    if (t->bytes != bytes)
        fail_msg("%s: %d bytes, expected %d", t->name, (int)bytes, (int)t->bytes);
    for (int64_t i = 0; i < bytes; i++)
        if (((const uint8_t *)data)[i] != ((const uint8_t *)t->data)[i])
            fail_msg("%s: byte %d is %d, expected %d", t->name, (int)i, ((const uint8_t *)data)[i],
                     ((const uint8_t *)t->data)[i]);
}

static void folder_format(const char *group, const char *name, int bits) {
    eq_export_opts o;
    eq_export_opts_init(&o);
    const eq_format *f = eq_format_find(name);
    eq_export_job x = {.o = &o, .format = f};
    eq_qlinear l = linear(group, bits);
    eq_part p[EQ_PARTS_MAX];
    void *data[EQ_PARTS_MAX];
    int64_t bytes[EQ_PARTS_MAX];
    char full[96];
    eq_err err = {0};
    int n = f->parts(&x, p, &l);
    for (int i = 0; i < n; i++) {
        bytes[i] = eq_dtype_size(p[i].dt) * p[i].shape[0] * (p[i].ndim > 1 ? p[i].shape[1] : 1);
        data[i] = eq_calloc(bytes[i], 1);
    }
    eq_packing at = {"a linear", &l, &x};
    if (f->pack(&at, data, &err) != EQ_OK) fail_msg("%s of %s: %s", name, group, err.msg);
    snprintf(full, sizeof full, "%s.%s", group, name);
    for (int i = 0; i < n; i++) {
        const eq_tensor *t = tensor(full, p[i].name);
        assert_int_equal(t->dt, p[i].dt);
        assert_int_equal(t->ndim, p[i].ndim);
        assert_int_equal(t->shape[0], p[i].shape[0]);
        same(t, data[i], bytes[i]);
        eq_free(data[i]);
    }
    drop(&l);
}

static void folders(void **state) {
    (void)state;
    char group[32];
    for (int bits = 2; bits <= 4; bits++) {
        snprintf(group, sizeof group, "portable%d", bits);
        folder_format(group, "gptq-sym", bits);
        folder_format(group, "compressed-tensors", bits);
        folder_format(group, "mlx", bits);
        snprintf(group, sizeof group, "free%d", bits);
        folder_format(group, "gptq", bits);
        folder_format(group, "gptq-v1", bits);
        folder_format(group, "compressed-tensors-asym", bits);
    }
    folder_format("free4", "awq", 4);
}

static void blocks(void **state) {
    (void)state;
    static const struct {
        const char *group, *type;
        int bits;
    } cases[] = {{"portable2", "q2_0", 2}, {"portable3", "q4_0", 3}, {"portable4", "q4_0", 4},
                 {"free2", "q4_0", 2},     {"free3", "q4_0", 3},     {"free4", "q5_0", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_qlinear l = linear(cases[i].group, cases[i].bits);
        const eq_tensor *codes = tensor(cases[i].group, "q");
        char full[96];
        eq_ggml t;
        assert_true(eq_ggml_find(&t, cases[i].type));
        int64_t row = eq_ggml_row_bytes(t, l.I);
        uint8_t *out = eq_calloc(l.O, row);
        for (int64_t o = 0; o < l.O; o++) {
            int64_t g = o * (l.I / l.G);
            eq_code_row r = {
                (const uint8_t *)codes->data + o * l.I, l.s + g, l.z + g, l.I, l.G, l.bits};
            assert_true(eq_ggml_pack(out + o * row, t, &r, false));
        }
        snprintf(full, sizeof full, "%s.%s", cases[i].group, cases[i].type);
        same(tensor(full, "blocks"), out, l.O * row);
        eq_free(out);
        drop(&l);
    }
}

static int set_up(void **state) {
    (void)state;
    eq_err err = {0};
    if (eq_st_open(&golden, "tests/golden/export.safetensors", &err) == EQ_OK) return 0;
    fprintf(stderr, "%s\n", err.msg);
    return 1;
}
static int tear_down(void **state) {
    (void)state;
    eq_st_close(golden);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(folders), cmocka_unit_test(blocks)};
    return cmocka_run_group_tests_name("export goldens", tests, set_up, tear_down);
}

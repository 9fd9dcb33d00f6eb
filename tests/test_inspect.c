/* inspect: the paper's sizes (Table 11) from configs alone, and what a folder holds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "tiny_model.h"

static json_t *inspect(const char *dir, bool tensors) {
    char *text;
    eq_err err = {0};
    json_t *v = NULL;
    if (eq_inspect(dir, tensors, &text, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_int_equal(eq_json_parse(&v, text, (int64_t)strlen(text), "inspect", &err), EQ_OK);
    eq_free(text);
    return v;
}

static double size_of(const json_t *v, const char *scheme, const char *key) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(v, "sizes"), i,
                       row) if (!strcmp(json_string_value(json_object_get(row, "scheme")),
                                        scheme)) return json_real_value(json_object_get(row, key));
    fail_msg("no row %s", scheme);
    return 0;
}

static const struct {
    const char *model;
    int D, F, L, NH, NKV;
    double fp16, w4g128, w3g128, w2g64, w2g128; /* GiB, Table 11 */
} table11[] = {
    {"Llama-2-7B", 4096, 11008, 32, 32, 32, 12.55, 3.62, 3.01, 2.21, 2.10},
    {"Llama-2-13B", 5120, 13824, 40, 40, 40, 24.24, 6.75, 5.56, 3.98, 3.77},
    {"Llama-2-70B", 8192, 28672, 80, 64, 8, 128.48, 34.10, 27.67, 19.16, 18.04},
};

static void sizes_of_the_paper(void **state) {
    (void)state;
    for (int m = 0; m < 3; m++) {
        char *dir = tiny_dir(), text[512];
        snprintf(text, sizeof text,
                 "{\"model_type\":\"llama\",\"hidden_size\":%d,\"intermediate_size\":%d,"
                 "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
                 "\"vocab_size\":32000}",
                 table11[m].D, table11[m].F, table11[m].L, table11[m].NH, table11[m].NKV);
        tiny_text(dir, "config.json", text);
        json_t *v = inspect(dir, false);
        const char *const schemes[] = {"fp16", "w4g128", "w3g128", "w2g64", "w2g128"};
        const double want[] = {table11[m].fp16, table11[m].w4g128, table11[m].w3g128,
                               table11[m].w2g64, table11[m].w2g128};
        for (int k = 0; k < 5; k++) {
            double got = size_of(v, schemes[k], "table11_gib");
            /* printed with two decimals */
            if (fabs(got - want[k]) > 0.0051)
                fail_msg("%s %s: %g, paper %g", table11[m].model, schemes[k], got, want[k]);
            double ours = size_of(v, schemes[k], "gib");
            if (k == 2)
                assert_true(ours < got - 0.1); /* true 3 bits */
            else
                assert_true(ours == got);
        }
        assert_null(json_object_get(v, "files"));
        assert_null(json_object_get(v, "quantization"));
        json_decref(v);
        tiny_remove(dir);
    }
}

static void a_folder_with_tensors(void **state) {
    (void)state;
    char *dir = tiny_dir();
    tiny_write(dir, tiny_config("qwen2", true), &(tiny_opts){.dt = EQ_BF16});
    json_t *v = inspect(dir, true), *files = json_object_get(v, "files");
    int64_t params = json_integer_value(json_object_get(v, "parameters"));
    assert_int_equal(json_integer_value(json_object_get(files, "tensor_bytes")), 2 * params);
    assert_true(json_real_value(json_object_get(files, "bits_per_parameter")) == 16.0);
    json_t *list = json_object_get(v, "tensors");
    assert_int_equal(json_array_size(list), json_integer_value(json_object_get(files, "tensors")));
    assert_int_equal(json_array_size(list), 1 + 2 * (7 + 3 + 2) + 1);
    const json_t *a = json_object_get(v, "architecture");
    assert_string_equal(json_string_value(json_object_get(a, "family")), "qwen2");
    assert_true(json_is_true(json_object_get(a, "qkv_bias")));
    assert_int_equal(json_integer_value(json_object_get(a, "kv_heads")), 2);
    json_decref(v);
    v = inspect(dir, false);
    assert_null(json_object_get(v, "tensors"));
    json_decref(v);
    tiny_remove(dir);
}

static void a_wrong_folder(void **state) {
    (void)state;
    char *dir = tiny_dir(), *text;
    eq_err err = {0};
    assert_int_equal(eq_inspect(dir, false, &text, &err), EQ_EIO);
    assert_non_null(strstr(err.msg, "config.json"));
    err = (eq_err){0};
    tiny_write(dir, tiny_config("llama", true), &(tiny_opts){.leave_out = "model.norm.weight"});
    assert_int_equal(eq_inspect(dir, false, &text, &err), EQ_EINPUT);
    assert_null(text);
    tiny_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_the_paper),
        cmocka_unit_test(a_folder_with_tensors),
        cmocka_unit_test(a_wrong_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

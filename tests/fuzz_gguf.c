/* Any bytes as a GGUF file. What opens must be readable to its last byte: keys, elements, texts,
 * tensors, weights; and what the importer makes of its metadata is JSON or an error. */
#include "export/import_gguf.h"
#include "format/gguf.h"
#include "fuzz_main.h"

static void read_value(const eq_gguf *g, const eq_gguf_value *v) {
    const uint8_t *at = v->at;
    const char *s;
    int64_t n, whole, texts = 0;
    double x;
    volatile uint8_t sink = 0;
    FUZZ_CHECK(eq_gguf_get(g, v->key) == v);
    for (int64_t i = 0; i < v->n && i < 1000; i++)
        (void)!eq_gguf_int(v, i, &whole), (void)!eq_gguf_num(v, i, &x);
    for (int64_t i = 0; i < v->bytes; i++) sink = (uint8_t)(sink + v->at[i]);
    while (eq_gguf_next(v, &at, &s, &n)) {
        FUZZ_CHECK(n >= 0 && (const uint8_t *)s + n <= v->at + v->bytes);
        texts++;
    }
    FUZZ_CHECK(v->kind != EQ_GGUF_STR || texts == v->n);
}

static void read_tensor(const eq_gguf *g, const eq_gguf_tensor *t) {
    float w[256];
    volatile float sink = 0;
    eq_ggml_spec s = eq_ggml_of(t->type);
    FUZZ_CHECK(eq_gguf_find(g, t->name) == t && t->bytes == t->n / s.block * s.bytes);
    for (int64_t i = 0; i < t->n / s.block; i++) {
        eq_ggml_values(w, t->type, t->data + i * s.bytes, s.block);
        sink = w[0];
    }
    (void)sink;
}

static void take_metadata(eq_gguf *g) {
    json_t *config = NULL, *spec = NULL, *tok = NULL;
    eq_err err = {0};
    eq_gguf_import x = {.g = g, .arch = eq_gguf_arch_named("llama")};
    eq_status st = eq_gguf_take_config(&config, &x, &err);
    if (st == EQ_OK) st = eq_gguf_take_tokenizer(&spec, &tok, &x, &err);
    if (st != EQ_OK) fuzz_check_error(&err);
    json_decref(config), json_decref(spec), json_decref(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file("input.gguf", data, size);
    eq_gguf *g;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (eq_gguf_open(&g, path, &err) == EQ_OK) {
        for (int64_t i = 0; i < eq_gguf_keys(g); i++) read_value(g, eq_gguf_key(g, i));
        for (int64_t i = 0; i < eq_gguf_count(g); i++) read_tensor(g, eq_gguf_at(g, i));
        take_metadata(g);
    } else {
        fuzz_check_error(&err);
    }
    eq_gguf_close(g);
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}

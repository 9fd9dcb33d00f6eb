/* GGUF: what is written is read again, and what is wrong in a file is an error that names it. */
#include "format/gguf.h"

#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"

static const char *write_some(void) {
    const char *path = scratch_path("some.gguf");
    static const int64_t a[2] = {32, 3}, b[1] = {5};
    uint8_t q[3 * 18];
    float f[5] = {1, 2, 3, 4, 5};
    eq_ggw *w;
    eq_err err = {0};
    for (int i = 0; i < 54; i++) q[i] = (uint8_t)i;
    assert_int_equal(eq_ggw_new(&w, path, &err), EQ_OK);
    eq_ggw_str(w, "general.architecture", "llama", 5);
    eq_ggw_u32(w, "x.count", 4000000000);
    eq_ggw_f32(w, "x.eps", 1e-5);
    eq_ggw_bool(w, "x.on", true);
    eq_ggw_array(w, "x.tokens", EQ_GGUF_STR, 3);
    eq_ggw_put_str(w, "a\0b", 3), eq_ggw_put_str(w, "", 0), eq_ggw_put_str(w, "\xe2\x96\x81t", 4);
    eq_ggw_array(w, "x.types", EQ_GGUF_I32, 2);
    eq_ggw_put_i32(w, -7), eq_ggw_put_i32(w, 3);
    eq_ggw_array(w, "x.scores", EQ_GGUF_F32, 1);
    eq_ggw_put_f32(w, -2.5f);
    assert_int_equal(eq_ggw_tensor(w, "blk.0.attn_q.weight", EQ_GGML_Q4_0, 2, a, &err), EQ_OK);
    assert_int_equal(eq_ggw_tensor(w, "output_norm.weight", EQ_GGML_F32, 1, b, &err), EQ_OK);
    assert_int_equal(eq_ggw_begin(w, &err), EQ_OK);
    assert_int_equal(eq_ggw_put(w, q, 30, &err), EQ_OK);
    assert_int_equal(eq_ggw_put(w, q + 30, 24, &err), EQ_OK);
    assert_int_equal(eq_ggw_put(w, f, 20, &err), EQ_OK);
    int64_t bytes = eq_ggw_bytes(w);
    assert_int_equal(eq_ggw_end(w, &err), EQ_OK);
    eq_map m;
    assert_int_equal(eq_map_open(&m, path, &err), EQ_OK);
    assert_int_equal(m.size, bytes);
    assert_int_equal(bytes % EQ_GGUF_ALIGN, 0);
    eq_map_close(&m);
    return path;
}

static void there_and_back(void **state) {
    (void)state;
    eq_gguf *g;
    eq_err err = {0};
    int64_t n, v;
    double x;
    const char *s;
    int64_t before = eq_mem_current();
    if (eq_gguf_open(&g, write_some(), &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_true(eq_gguf_int(eq_gguf_get(g, "x.count"), 0, &v) && v == 4000000000);
    assert_true(eq_gguf_num(eq_gguf_get(g, "x.eps"), 0, &x) && x == (double)1e-5f);
    assert_true(eq_gguf_int(eq_gguf_get(g, "x.on"), 0, &v) && v == 1);
    assert_false(eq_gguf_int(eq_gguf_get(g, "x.eps"), 0, &v));
    assert_true(eq_gguf_int(eq_gguf_get(g, "x.types"), 0, &v) && v == -7);
    assert_false(eq_gguf_int(eq_gguf_get(g, "x.types"), 2, &v));
    assert_true(eq_gguf_num(eq_gguf_get(g, "x.scores"), 0, &x) && x == -2.5);
    assert_null(eq_gguf_get(g, "output_norm.weight")); /* a tensor's name is no key */
    assert_null(eq_gguf_find(g, "x.on"));
    const eq_gguf_value *t = eq_gguf_get(g, "x.tokens");
    const uint8_t *at = t->at;
    assert_true(t->array && t->n == 3);
    assert_true(eq_gguf_next(t, &at, &s, &n) && n == 3 && !memcmp(s, "a\0b", 3));
    assert_true(eq_gguf_next(t, &at, &s, &n) && n == 0);
    assert_true(eq_gguf_next(t, &at, &s, &n) && n == 4 && !eq_gguf_next(t, &at, &s, &n));
    const eq_gguf_tensor *q = eq_gguf_find(g, "blk.0.attn_q.weight");
    const eq_gguf_tensor *f = eq_gguf_find(g, "output_norm.weight");
    assert_true(q->type == EQ_GGML_Q4_0 && q->ndim == 2 && q->dim[0] == 32 && q->dim[1] == 3);
    assert_true(q->bytes == 54 && q->data[53] == 53 && (f->data - q->data) == 64);
    assert_true(f->n == 5 && !memcmp(f->data, (float[]){1, 2, 3, 4, 5}, 20));
    eq_gguf_close(g);
    assert_int_equal(eq_mem_current(), before);
}

/* Every cut of the file is an error, and so is every number that is too large. */
static void damaged(void **state) {
    (void)state;
    eq_map m;
    eq_err err = {0};
    char path[256];
    snprintf(path, sizeof path, "%s", write_some());
    assert_int_equal(eq_map_open(&m, path, &err), EQ_OK);
    for (int64_t n = 0; n < m.size - 12; n++) { /* the padding behind the last may be missing */
        eq_gguf *g;
        err = (eq_err){0};
        const char *cut = scratch_file("cut.gguf", m.data, n);
        if (eq_gguf_open(&g, cut, &err) == EQ_OK) fail_msg("%d bytes were enough", (int)n);
        check_error(&err, EQ_EINPUT, "cut.gguf", NULL);
    }
    for (int64_t at = 4; at < 24; at++) {
        eq_gguf *g;
        uint8_t bytes[4096];
        assert_true(m.size <= (int64_t)sizeof bytes);
        memcpy(bytes, m.data, (size_t)m.size);
        bytes[at] ^= 0xf0;
        err = (eq_err){0};
        const char *bad = scratch_file("bad.gguf", bytes, m.size);
        assert_int_equal(eq_gguf_open(&g, bad, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, "bad.gguf", NULL);
    }
    eq_map_close(&m);
}

static void wrong_use(void **state) {
    (void)state;
    eq_ggw *w;
    eq_err err = {0};
    static const int64_t rows[2] = {33, 2}, one[1] = {4};
    const char *path = scratch_path("none.gguf");
    assert_int_equal(eq_ggw_new(&w, path, &err), EQ_OK);
    assert_int_equal(eq_ggw_tensor(w, "a", EQ_GGML_Q4_0, 2, rows, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "tensor a", "blocks of 32", NULL);
    err = (eq_err){0};
    assert_int_equal(eq_ggw_tensor(w,
                                   "a.name.that.is.longer.than.the.sixty.four.bytes.which.readers."
                                   "of.this.format.have",
                                   EQ_GGML_F32, 1, one, &err),
                     EQ_EINPUT);
    err = (eq_err){0};
    assert_int_equal(eq_ggw_tensor(w, "a", EQ_GGML_F32, 1, one, &err), EQ_OK);
    assert_int_equal(eq_ggw_begin(w, &err), EQ_OK);
    assert_int_equal(eq_ggw_put(w, "0123456789abcdef0", 17, &err), EQ_EINPUT);
    err = (eq_err){0};
    assert_int_equal(eq_ggw_end(w, &err), EQ_EINPUT); /* bytes are missing */
    assert_false(eq_exists(path));
    err = (eq_err){0};
    assert_int_equal(eq_ggw_new(&w, path, &err), EQ_OK);
    eq_ggw_u32(w, "x", 1ll << 32);
    assert_int_equal(eq_ggw_begin(w, &err), EQ_EINPUT);
    eq_ggw_abort(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(damaged),
                                       cmocka_unit_test(wrong_use)};
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}

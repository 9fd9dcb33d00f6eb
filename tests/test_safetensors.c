/* safetensors: what is written is read back, every bad form is one line, nothing is
 * half-written. */
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "format/safetensors.h"
#include "scratch.h"

/* A file of this header and `data` bytes 0, 1, 2, ... behind it. */
static const char *put_raw(const char *name, const char *header, int64_t data) {
    static uint8_t bytes[1 << 16];
    int64_t n = (int64_t)strlen(header);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(n >> 8 * i);
    memcpy(bytes + 8, header, (size_t)n);
    for (int64_t i = 0; i < data; i++) bytes[8 + n + i] = (uint8_t)i;
    return scratch_file(name, bytes, 8 + n + data);
}

static eq_st *open_good(const char *path) {
    eq_st *st;
    eq_err err = {0};
    if (eq_st_open(&st, path, &err) != EQ_OK) fail_msg("%s", err.msg);
    return st;
}

static void open_bad(const char *path, const char *word, const char *word2) {
    eq_st *st;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    assert_int_not_equal(eq_st_open(&st, path, &err), EQ_OK);
    assert_null(st);
    check_error(&err, EQ_EINPUT, word, word2, NULL);
    assert_int_equal(eq_mem_current(), before);
}

/* ---- writing and reading back ---------------------------------------------------------------- */

static eq_status write_all_types(const char *path, eq_err *err) {
    eq_stw *w = NULL;
    eq_status st = eq_stw_new(&w, path, err);
    if (st == EQ_OK) st = eq_stw_meta(w, "recipe", "{\"bits\":2}\n\"\xc3\xa9\"", err);
    for (int d = 0; d < EQ_DTYPES && st == EQ_OK; d++)
        st = eq_stw_tensor(w, eq_dtype_name((eq_dtype)d), (eq_dtype)d, 2, (int64_t[]){3, d + 1},
                           err);
    if (st == EQ_OK) st = eq_stw_tensor(w, "scalar", EQ_F32, 0, NULL, err);
    if (st == EQ_OK) st = eq_stw_tensor(w, "none", EQ_F32, 2, (int64_t[]){0, 7}, err);
    if (st == EQ_OK) st = eq_stw_begin(w, err);
    uint8_t v = 0;
    for (int d = 0; d < EQ_DTYPES; d++)
        for (int64_t i = 0; st == EQ_OK && i < 3 * (d + 1) * eq_dtype_size((eq_dtype)d); i++, v++)
            st = eq_stw_put(w, &v, 1, err);
    if (st == EQ_OK) st = eq_stw_put(w, &(float){1.5f}, 4, err);
    if (st == EQ_OK) return eq_stw_end(w, err);
    eq_stw_abort(w);
    return st;
}

static void all_types(void **state) {
    (void)state;
    const char *path = scratch_path("types.safetensors");
    eq_err err = {0};
    if (write_all_types(path, &err) != EQ_OK) fail_msg("%s", err.msg);
    eq_st *st = open_good(path);
    assert_int_equal(eq_st_count(st), EQ_DTYPES + 2);
    uint8_t v = 0;
    for (int d = 0; d < EQ_DTYPES; d++) {
        const eq_tensor *t = eq_st_find(st, eq_dtype_name((eq_dtype)d));
        assert_ptr_equal(t, eq_st_at(st, d));
        assert_true(t->dt == (eq_dtype)d && t->ndim == 2 && t->shape[0] == 3 &&
                    t->shape[1] == d + 1);
        assert_int_equal(t->n, 3 * (d + 1));
        assert_int_equal(t->bytes, t->n * eq_dtype_size(t->dt));
        assert_int_equal((uintptr_t)t->data % (uintptr_t)eq_dtype_size(t->dt), 0);
        for (int64_t i = 0; i < t->bytes; i++, v++)
            assert_int_equal(((const uint8_t *)t->data)[i], v);
    }
    const eq_tensor *s = eq_st_find(st, "scalar"), *none = eq_st_find(st, "none");
    assert_true(s->ndim == 0 && s->n == 1 && eq_load(s->data, EQ_F32, 0) == 1.5f);
    assert_true(none->n == 0 && none->bytes == 0 && none->shape[1] == 7);
    assert_null(eq_st_find(st, "absent"));
    assert_null(eq_st_find(st, "__metadata__"));
    assert_string_equal(eq_st_meta(st, "recipe"), "{\"bits\":2}\n\"\xc3\xa9\"");
    assert_null(eq_st_meta(st, "absent"));
    const char *file;
    const uint8_t *data;
    int64_t size;
    assert_int_equal(eq_st_files(st), 1);
    eq_st_file(st, 0, &file, &data, &size);
    assert_string_equal(file, path);
    uint64_t header;
    memcpy(&header, data, 8);
    assert_int_equal(header % 8, 0); /* the data starts aligned */
    assert_memory_equal(data + 8, "{\"__metadata__\"", 15);
    eq_st_close(st);
    eq_st_close(NULL);
}

static void writer_refuses(void **state) {
    (void)state;
    const char *path = scratch_path("refused.safetensors");
    eq_stw *w;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    assert_int_equal(eq_stw_new(&w, path, &err), EQ_OK);
    assert_int_equal(eq_stw_tensor(w, "a", EQ_F32, 1, (int64_t[]){2}, &err), EQ_OK);
    assert_int_equal(eq_stw_tensor(w, "a", EQ_F32, 1, (int64_t[]){2}, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, path, "a", "twice", NULL);
    err = (eq_err){0};
    assert_int_equal(eq_stw_tensor(w, "b", EQ_F32, 1, (int64_t[]){-2}, &err), EQ_EINPUT);
    err = (eq_err){0};
    int64_t wraps[2] = {(int64_t)1 << 40, (int64_t)1 << 40};
    assert_int_equal(eq_stw_tensor(w, "b", EQ_F32, 2, wraps, &err), EQ_EINPUT);
    err = (eq_err){0};
    assert_int_equal(eq_stw_tensor(w, "b\xff", EQ_F32, 1, (int64_t[]){2}, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "UTF-8", NULL);
    err = (eq_err){0};
    assert_int_equal(eq_stw_tensor(w, "__metadata__", EQ_F32, 1, (int64_t[]){2}, &err), EQ_EINPUT);
    err = (eq_err){0};
    assert_int_equal(eq_stw_put(w, "x", 1, &err), EQ_EINPUT); /* before begin */
    err = (eq_err){0};
    assert_int_equal(eq_stw_begin(w, &err), EQ_OK);
    assert_int_equal(eq_stw_meta(w, "k", "v", &err), EQ_EINPUT);
    err = (eq_err){0};
    assert_int_equal(eq_stw_put(w, "123456789", 9, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "9 bytes put", "8 declared", NULL);
    err = (eq_err){0};
    assert_int_equal(eq_stw_put(w, "1234", 4, &err), EQ_OK);
    assert_int_equal(eq_stw_end(w, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "8 bytes declared", "4 put", NULL);
    assert_false(eq_exists(path));
    assert_int_equal(eq_mem_current(), before);
}

/* ---- one file, every way it can be wrong ----------------------------------------------------- */

#define T(dtype, shape, at) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" at "}"

static const struct {
    const char *header;
    int data;
    const char *word, *word2;
} bad[] = {
    {"[]", 0, "starting with '{'", "bad-"},
    {" {}", 0, "starting with '{'", "bad-"},
    {"{", 0, "not JSON", "bad-"},
    {"{\"a\":", 0, "not JSON", "bad-"},
    {"{}}", 0, "not JSON", "bad-"},
    {"{\"\xff\":1}", 0, "not JSON", "bad-"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"a\":" T("U8", "[1]", "[1,2]") "}", 2, "uplicate", "a"},
    {"{\"a\":7}", 0, "tensor a", "expected an object"},
    {"{\"a\":{}}", 0, "tensor a", "dtype, shape and data_offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":1}}", 1, "tensor a",
     "expected an object of"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"offsets\":[0,1]}}", 1, "tensor a", "data_offsets"},
    {"{\"a\":" T("BOOL", "[1]", "[0,1]") "}", 1, "tensor a", "unknown dtype BOOL"},
    {"{\"a\":" T("I8", "[1]", "[0,1]") "}", 1, "tensor a", "unknown dtype I8"},
    {"{\"a\":" T("I16", "[1]", "[0,2]") "}", 2, "tensor a", "unknown dtype I16"},
    {"{\"a\":" T("F8_E5M2", "[1]", "[0,1]") "}", 1, "tensor a", "unknown dtype F8_E5M2"},
    {"{\"a\":" T("f32", "[1]", "[0,4]") "}", 4, "tensor a", "unknown dtype f32"},
    {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor a",
     "dtype: expected"},
    {"{\"a\":" T("U8", "{}", "[0,1]") "}", 1, "tensor a", "shape: expected an array"},
    {"{\"a\":" T("U8", "[-1]", "[0,1]") "}", 1, "tensor a", "shape[0]"},
    {"{\"a\":" T("U8", "[1,1.0]", "[0,1]") "}", 1, "tensor a", "shape[1]"},
    {"{\"a\":" T("U8", "[18446744073709551617]", "[0,1]") "}", 1, "not JSON", "too big"},
    {"{\"a\":" T("U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "tensor a", "overflows"},
    {"{\"a\":" T("F64", "[2305843009213693952]", "[0,0]") "}", 0, "tensor a", "overflows"},
    {"{\"a\":" T("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "at most 8", "found 9"},
    {"{\"a\":" T("U8", "[1]", "[0]") "}", 1, "tensor a", "[begin, end]"},
    {"{\"a\":" T("U8", "[1]", "[0,1,2]") "}", 1, "tensor a", "[begin, end]"},
    {"{\"a\":" T("U8", "[1]", "[0,1.0]") "}", 1, "tensor a", "[begin, end]"},
    {"{\"a\":" T("U8", "[1]", "[1,0]") "}", 1, "tensor a", "[1, 0]"},
    {"{\"a\":" T("U8", "[1]", "[-1,0]") "}", 1, "tensor a", "[-1, 0]"},
    {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 7, "tensor a", "the file holds 7"},
    {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, "makes 8 bytes", "hold 4"},
    {"{\"a\":" T("U8", "[2]", "[1,3]") "}", 3, "tensor a", "a hole"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[1]", "[3,4]") "}", 4, "tensor b",
     "a hole"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[1,3]") "}", 3, "tensor b",
     "inside tensor a"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[0,2]") "}", 2, "tensor b",
     "inside tensor a"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") "}", 3, "end at data byte 2", "holds 3"},
    {"{}", 1, "end at data byte 0", "holds 1"},
    {"{\"__metadata__\":[]}", 0, "__metadata__", "an object"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__", "k: expected a string"},
};

static void bad_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[64];
        snprintf(name, sizeof name, "bad-%zu.safetensors", i);
        open_bad(put_raw(name, bad[i].header, bad[i].data), bad[i].word, bad[i].word2);
    }
}

static void bad_lengths(void **state) {
    (void)state;
    open_bad(scratch_file("l0.safetensors", "", 0), "8 bytes of header length", "has 0");
    open_bad(scratch_file("l1.safetensors", "\2\0\0\0\0\0\0", 7), "8 bytes of header length",
             "has 7");
    open_bad(scratch_file("l2.safetensors", "\0\0\0\0\0\0\0\0", 8), "'{'", "header");
    open_bad(scratch_file("l3.safetensors", "\3\0\0\0\0\0\0\0{}", 10), "longer than the file",
             "3 bytes");
    open_bad(scratch_file("l4.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10),
             "at most 100000000", "18446744073709551615");
    open_bad(scratch_file("l5.safetensors", "\0\0\0\0\1\0\0\0{}", 10), "at most 100000000",
             "4294967296");
}

static void every_truncation(void **state) {
    (void)state;
    eq_err err = {0};
    const char *path = scratch_path("whole.safetensors");
    assert_int_equal(write_all_types(path, &err), EQ_OK);
    eq_map m;
    assert_int_equal(eq_map_open(&m, path, &err), EQ_OK);
    for (int64_t n = 0; n < m.size; n++)
        open_bad(scratch_file("cut.safetensors", m.data, n), "cut.safetensors", "");
    eq_map_close(&m);
}

/* ---- what foreign writers do ----------------------------------------------------------------- */

static void unaligned(void **state) {
    (void)state;
    /* 3 bytes in front of an F32 and an F64, and a header of odd length */
    const char *h = "{\"a\":" T("U8", "[3]", "[0,3]") ",\"b\":" T(
        "F32", "[2]", "[3,11]") ",\"c\":" T("F64", "[1]", "[11,19]") "}";
    for (int pad = 0; pad < 8; pad++) {
        char header[512] = "";
        snprintf(header, sizeof header, "%s%.*s", h, pad, "        ");
        eq_st *st = open_good(put_raw("odd.safetensors", header, 19));
        for (int i = 0; i < 3; i++) {
            const eq_tensor *t = eq_st_at(st, i);
            static const uint8_t first[3] = {0, 3, 11};
            assert_int_equal((uintptr_t)t->data % (uintptr_t)eq_dtype_size(t->dt), 0);
            for (int64_t k = 0; k < t->bytes; k++)
                assert_int_equal(((const uint8_t *)t->data)[k], first[i] + k);
        }
        eq_st_close(st);
    }
}

static void order_of_the_file(void **state) {
    (void)state;
    const char *h = "{\"z\":" T("U8", "[1]", "[4,5]") ",\"y\":" T("U8", "[0]", "[4,4]") ",\"x\":" T(
        "U8", "[4]", "[0,4]") ",\"w\":" T("U8", "[3,0]", "[0,0]") "}  ";
    eq_st *st = open_good(put_raw("order.safetensors", h, 5));
    static const char *const want[4] = {"w", "x", "y", "z"};
    for (int i = 0; i < 4; i++) assert_string_equal(eq_st_at(st, i)->name, want[i]);
    eq_st_close(st);
    st = open_good(put_raw("nothing.safetensors", "{}", 0));
    assert_int_equal(eq_st_count(st), 0);
    assert_null(eq_st_find(st, "x"));
    eq_st_close(st);
}

/* ---- shards ---------------------------------------------------------------------------------- */

#define SHARD1 "{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("U8", "[1]", "[1,2]") "}"
#define SHARD2 "{\"c\":" T("U8", "[1]", "[0,1]") ",\"__metadata__\":{\"k\":\"2\"}}"
#define INDEX(map) "{\"metadata\":{\"total_size\":3},\"weight_map\":{" map "}}"

static char *folder(const char *name, const char *index) {
    char file[128];
    char *dir = eq_strdup(scratch_path(name));
    assert_int_equal(eq_mkdir(dir, NULL), EQ_OK);
    snprintf(file, sizeof file, "%s/one", name), put_raw(file, SHARD1, 2);
    snprintf(file, sizeof file, "%s/two", name), put_raw(file, SHARD2, 1);
    snprintf(file, sizeof file, "%s/model.safetensors.index.json", name);
    scratch_text(file, index);
    return dir;
}

static void shards(void **state) {
    (void)state;
    /* with a buffer that nobody wrote */
    char *dir =
        folder("shards", INDEX("\"c\":\"two\",\"x.rotary_emb.inv_freq\":\"one\",\"a\":\"one\","
                               "\"b\":\"one\""));
    eq_st *st = open_good(dir);
    assert_int_equal(eq_st_count(st), 3);
    assert_int_equal(eq_st_files(st), 2);
    assert_string_equal(eq_st_at(st, 2)->name, "c");
    assert_non_null(strstr(eq_st_find(st, "c")->file, "/shards/two"));
    assert_null(eq_st_meta(st, "k")); /* of the first file only */
    eq_st_close(st);
    scratch_text("shards/model.safetensors", "x"); /* a single file is taken before an index */
    open_bad(dir, "shards/model.safetensors", "8 bytes");
    eq_free(dir);
}

static void bad_indexes(void **state) {
    (void)state;
    static const struct {
        const char *index, *word, *word2;
    } cases[] = {
        {"{", "not JSON", "index.json"},
        {"[]", "weight_map", "found nothing"},
        {"{\"weight_map\":{}}", "weight_map", "an empty one"},
        {"{\"weight_map\":[1]}", "weight_map", "an array"},
        {INDEX("\"a\":1"), "tensor a", "file name"},
        {INDEX("\"a\":\"\""), "tensor a", "file name"},
        {INDEX("\"a\":\"../one\""), "tensor a", "file name of this folder"},
        {INDEX("\"a\":\"one\",\"a\":\"two\""), "uplicate", "index.json"},
        {INDEX("\"a\":\"one\",\"b\":\"one\",\"c\":\"three\""), "shard three", "not there"},
        {INDEX("\"a\":\"one\",\"b\":\"one\",\"c\":\"two\",\"d\":\"two\""), "tensor d",
         "found nowhere"},
        {INDEX("\"a\":\"one\",\"b\":\"two\",\"c\":\"two\""), "tensor b",
         "expected in two, found one"},
        {INDEX("\"a\":\"one\",\"c\":\"two\""), "tensor b of one", "not in the weight_map"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *dir = folder("bad-index", cases[i].index);
        open_bad(dir, cases[i].word, cases[i].word2);
        eq_free(dir);
    }
    char *dir = folder("twice", INDEX("\"a\":\"one\",\"b\":\"one\",\"c\":\"two\""));
    put_raw("twice/two", "{\"a\":" T("U8", "[1]", "[0,1]") ",\"c\":" T("U8", "[1]", "[1,2]") "}",
            2);
    open_bad(dir, "tensor a", "lies in");
    eq_free(dir);
    char *empty = eq_strdup(scratch_path("no-model"));
    assert_int_equal(eq_mkdir(empty, NULL), EQ_OK);
    open_bad(empty, "no-model", "found neither");
    static const struct {
        const char *file, *word;
    } others[] = {
        /* each is named before those above it */
        {"weights.safetensors", "rename it"},
        {"model.Q4_K_M.gguf", "eqat import"},
        {"model-00001-of-00002.safetensors", "index.json, which lists them, is missing"},
        {"adapter_model.safetensors", "merge_and_unload"},
        {"consolidated.safetensors", "Hugging Face form"},
        {"pytorch_model.bin", "save_pretrained"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char path[128];
        snprintf(path, sizeof path, "no-model/%s", others[i].file);
        scratch_text(path, "x");
        open_bad(empty, others[i].file, others[i].word);
    }
    eq_free(empty);
}

static void absent(void **state) {
    (void)state;
    eq_st *st;
    eq_err err = {0};
    assert_int_equal(eq_st_open(&st, scratch_path("absent.safetensors"), &err), EQ_EIO);
    check_error(&err, EQ_EIO, "absent.safetensors", NULL);
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void memory_runs_out(void **state) {
    (void)state;
    char *dir = folder("faults", INDEX("\"c\":\"two\",\"a\":\"one\",\"b\":\"one\""));
    const char *odd = put_raw("odd2.safetensors", "{\"a\":" T("F64", "[1]", "[0,8]") "}", 8);
    for (int what = 0; what < 2; what++)
        for (int64_t nth = 1;; nth++) {
            eq_st *st;
            eq_err err = {0};
            int64_t before = eq_mem_current();
            eq_mem_fail_nth(nth);
            eq_status status = eq_st_open(&st, what ? odd : dir, &err);
            eq_mem_fail_nth(0);
            eq_st_close(st);
            assert_int_equal(eq_mem_current(), before);
            if (status == EQ_OK) break;
            check_error(&err, EQ_ENOMEM, "out of memory", NULL);
            assert_true(nth < 200);
        }
    eq_free(dir);
}

static void writer_faults(void **state) {
    (void)state;
    const char *path = scratch_path("full.safetensors");
    for (int what = 0; what < 2; what++) {
        unlink(path);
        for (int64_t nth = 1;; nth++) {
            eq_err err = {0};
            int64_t before = eq_mem_current();
            if (what)
                eq_mem_fail_nth(nth);
            else
                eq_io_fail_nth(nth);
            eq_status status = write_all_types(path, &err);
            eq_mem_fail_nth(0), eq_io_fail_nth(0);
            assert_int_equal(eq_mem_current(), before);
            if (status == EQ_OK) break;
            check_error(&err, what ? EQ_ENOMEM : EQ_EIO, what ? "memory" : "No space", NULL);
            if (eq_exists(path)) eq_st_close(open_good(path)); /* absent or whole */
            assert_true(nth < 2000);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_types),         cmocka_unit_test(writer_refuses),
        cmocka_unit_test(bad_headers),       cmocka_unit_test(bad_lengths),
        cmocka_unit_test(every_truncation),  cmocka_unit_test(unaligned),
        cmocka_unit_test(order_of_the_file), cmocka_unit_test(shards),
        cmocka_unit_test(bad_indexes),       cmocka_unit_test(absent),
        cmocka_unit_test(memory_runs_out),   cmocka_unit_test(writer_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* .npy: every type, version and shape that is read, every one that is refused. */
#include "base/io.h"
#include "base/mem.h"
#include "format/id_file.h"
#include "scratch.h"

static const char *put_raw(int version, const char *header, const void *data, int64_t n) {
    static uint8_t bytes[4096];
    size_t h = strlen(header), at = version == 1 ? 10 : 12;
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (uint8_t)version, bytes[7] = 0;
    bytes[8] = (uint8_t)h, bytes[9] = (uint8_t)(h >> 8), bytes[10] = bytes[11] = 0;
    memcpy(bytes + at, header, h);
    if (n) memcpy(bytes + at + h, data, (size_t)n);
    return scratch_file("t.npy", bytes, (int64_t)(at + h) + n);
}

typedef struct {
    int32_t *ids;
    int64_t rows, cols;
    bool is_2d;
} read_ids;

static eq_status read_all(read_ids *out, const char *path, const char *raw, eq_err *err) {
    eq_file f = eq_file_of(path);
    eq_id_file in;
    *out = (read_ids){0};
    EQ_TRY(eq_id_file_open(&in, &f, raw, err));
    int64_t n = eq_id_file_count(&in), half = n / 2;
    *out = (read_ids){eq_calloc(n, 4), in.head.rows, in.head.cols, in.head.is_2d};
    eq_status st = out->ids ? eq_id_file_get(&in, out->ids, 0, half, (int64_t)1 << 31, err)
                            : eq_nomem(err, path, 4 * n);
    if (st == EQ_OK)
        st = eq_id_file_get(&in, out->ids + half, half, n - half, (int64_t)1 << 31, err);
    eq_id_file_close(&in);
    if (st == EQ_OK) return st;
    eq_free(out->ids);
    *out = (read_ids){0};
    return st;
}

static read_ids read_good(const char *path) {
    read_ids out;
    eq_err err = {0};
    if (read_all(&out, path, NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
    return out;
}

static void read_bad(const char *path, const char *word) {
    read_ids out;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    assert_int_not_equal(read_all(&out, path, NULL, &err), EQ_OK);
    check_error(&err, EQ_EINPUT, "t.npy", word, NULL);
    assert_null(out.ids);
    assert_int_equal(eq_mem_current(), before);
}

static void every_type(void **state) {
    (void)state;
    static const struct {
        const char *descr;
        int size;
        int64_t top;
    } types[] = {{"|u1", 1, 255},       {"|i1", 1, 127},       {"<u1", 1, 255},
                 {"<u2", 2, 65535},     {"<i2", 2, 32767},     {"<u4", 4, INT32_MAX},
                 {"<i4", 4, INT32_MAX}, {"<u8", 8, INT32_MAX}, {"<i8", 8, INT32_MAX}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int version = 1; version <= 3; version++) {
            uint8_t data[48] = {0};
            const int64_t want[6] = {0, 1, 2, 100, 127, types[t].top};
            char header[128];
            for (int i = 0; i < 6; i++)
                for (int k = 0; k < types[t].size; k++)
                    data[i * types[t].size + k] = (uint8_t)(want[i] >> 8 * k);
            snprintf(header, sizeof header,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }     \n",
                     types[t].descr);
            read_ids a = read_good(put_raw(version, header, data, 6 * types[t].size));
            assert_true(a.is_2d && a.rows == 2 && a.cols == 3);
            for (int i = 0; i < 6; i++) assert_int_equal(a.ids[i], want[i]);
            eq_free(a.ids);
        }
}

static void shapes(void **state) {
    (void)state;
    static const struct {
        const char *shape;
        int64_t rows, cols;
        bool is_2d;
    } cases[] = {{"(4,)", 1, 4, false},
                 {"(4, 1)", 4, 1, true},
                 {"(2,2)", 2, 2, true},
                 {"( 1 , 4 , )", 1, 4, true}};
    for (int c = 0; c < 4; c++) {
        char header[128]; /* keys in any order, either quote */
        snprintf(header, sizeof header,
                 "{\"shape\": %s,'descr':\"|u1\", 'fortran_order' : False}\n", cases[c].shape);
        read_ids a = read_good(put_raw(1, header, "\1\2\3\4", 4));
        assert_true(a.rows == cases[c].rows && a.cols == cases[c].cols &&
                    a.is_2d == cases[c].is_2d);
        eq_free(a.ids);
    }
}

#define H(descr, order, shape) \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *header, *word;
    } cases[] = {
        {H("'>i4'", "False", "(1,)"), "little-endian"},
        {H("'<f4'", "False", "(1,)"), "expected integers"},
        {H("'|b1'", "False", "(1,)"), "expected integers"},
        {H("'|i4'", "False", "(1,)"), "expected integers"},
        {H("'<i3'", "False", "(1,)"), "expected integers"},
        {H("'<i44'", "False", "(1,)"), "expected integers"},
        {H("'|O'", "False", "(1,)"), "expected integers"},
        {H("''", "False", "(1,)"), "expected integers"},
        {H("'0123456789012345678'", "False", "(1,)"), "descr"},
        {H("[('a', '<i4')]", "False", "(1,)"), "descr"},
        {H("'<i4'", "True", "(1, 1)"), "C order"},
        {H("'<i4'", "0", "(1,)"), "fortran_order"},
        {H("'<i4'", "False", "()"), "found 0"},
        {H("'<i4'", "False", "(1, 1, 1)"), "found 3"},
        {H("'<i4'", "False", "(-1,)"), "shape"},
        {H("'<i4'", "False", "(1)"), "shape"},
        {H("'<i4'", "False", "1"), "shape"},
        {H("'<i4'", "False", "(99999999999999999999,)"), "shape"},
        {H("'<i4'", "False", "(4611686018427387904, 4611686018427387904)"), "the file holds 4"},
        {H("'<i4'", "False", "(4611686018427387904,)"), "the file holds 4"},
        {H("'<i4'", "False", "(2,)"), "the file holds 4"},
        {H("'<i4'", "False", "(0,)"), "the file holds 4"},
        {"{'descr': '<i4', 'fortran_order': False}\n", "dict"},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (1,), 'more': 1}\n", "dict"},
        {"{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (1,)}\n", "dict"},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (1,)} x\n", "dict"},
        {"{'descr': '<i4'", "dict"},
        {"", "dict"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        read_bad(put_raw(1, cases[i].header, "\1\0\0\0", 4), cases[i].word);
}

static void bad_ids(void **state) {
    (void)state;
    read_bad(put_raw(1, H("'<i4'", "False", "(2, 1)"), "\1\0\0\0\xff\xff\xff\xff", 8),
             "row 1, column 0");
    read_bad(put_raw(1, H("'|i1'", "False", "(3,)"), "\1\2\x80", 3), "token 2");
    read_bad(put_raw(1, H("'<u4'", "False", "(1,)"), "\0\0\0\x80", 4), "found 2147483648");
    read_bad(put_raw(1, H("'<i8'", "False", "(1,)"), "\0\0\0\0\1\0\0\0", 8), "found 4294967296");
    read_bad(put_raw(1, H("'<u8'", "False", "(1,)"), "\xff\xff\xff\xff\xff\xff\xff\xff", 8),
             "token 0");
}

static void damaged(void **state) {
    (void)state;
    const char *path = put_raw(1, H("'<i4'", "False", "(2,)"), "\1\0\0\0\2\0\0\0", 8);
    eq_map m;
    assert_int_equal(eq_map_open(&m, path, NULL), EQ_OK);
    uint8_t copy[256];
    memcpy(copy, m.data, (size_t)m.size);
    int64_t size = m.size;
    eq_map_close(&m);
    for (int64_t n = 0; n < size; n++) read_bad(scratch_file("t.npy", copy, n), "");
    copy[size] = 0;
    read_bad(scratch_file("t.npy", copy, size + 1), "the file holds 9");
    copy[6] = 4;
    read_bad(scratch_file("t.npy", copy, size), "version 1, 2 or 3, found 4.0");
    copy[6] = 1, copy[0] = 'x';
    read_bad(scratch_file("t.npy", copy, size), "NumPy");
    read_bad(scratch_file("t.npy", "\x93NUMPY\2\0\x10\0", 10), "truncated");
    read_ids out;
    eq_err err = {0};
    assert_int_equal(read_all(&out, scratch_path("absent.npy"), NULL, &err), EQ_EIO);
}

static void written(void **state) {
    (void)state;
    const char *path = scratch_path("w.npy");
    const int32_t ids[6] = {0, 1, 31999, 5, INT32_MAX, 7};
    for (int is_2d = 0; is_2d < 2; is_2d++) {
        eq_err err = {0};
        assert_int_equal(eq_npy_write(path, ids, is_2d ? 3 : 1, is_2d ? 2 : 6, is_2d, &err), EQ_OK);
        read_ids a = read_good(path);
        assert_true(a.is_2d == is_2d && a.rows == (is_2d ? 3 : 1) && a.cols == (is_2d ? 2 : 6));
        assert_memory_equal(a.ids, ids, sizeof ids);
        eq_free(a.ids);
        eq_map m;
        assert_int_equal(eq_map_open(&m, path, &err), EQ_OK);
        assert_int_equal(m.size, 128 + sizeof ids); /* NumPy aligns the data to 64 */
        assert_int_equal(m.data[127], '\n');
        eq_map_close(&m);
    }
}

static void raw_ids(void **state) {
    (void)state;
    static const struct {
        const char *type, *bytes;
        int64_t n, want;
    } good[] = {{"u16", "\1\0\xff\xff", 4, 65535},
                {"u32", "\1\0\0\0\0\0\1\0", 8, 65536},
                {"i32", "\1\0\0\0\2\0\0\0", 8, 2},
                {"i64", "\1\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0", 16, 3}};
    static const struct {
        const char *type, *bytes, *word;
        int64_t n;
    } bad[] = {{NULL, "\1\0", "--ids-dtype", 2},
               {"f32", "\1\0", "found f32", 2},
               {"u32", "\1\0", "integers of 4 bytes, found 2 bytes", 2},
               {"i32", "\1\0\0\0\xff\xff\xff\xff", "token 1", 8}};
    for (int i = 0; i < 4; i++) {
        read_ids a;
        eq_err err = {0};
        const char *path = scratch_file("r.bin", good[i].bytes, good[i].n);
        if (read_all(&a, path, good[i].type, &err) != EQ_OK) fail_msg("%s", err.msg);
        assert_true(!a.is_2d && a.rows == 1 && a.cols == 2);
        assert_true(a.ids[0] == 1 && a.ids[1] == good[i].want);
        eq_free(a.ids);
        path = scratch_file("r.bin", bad[i].bytes, bad[i].n);
        assert_int_equal(read_all(&a, path, bad[i].type, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, "r.bin", bad[i].word, NULL);
    }
}

/* 0: the disk is full, 1: no memory to write, 2: no memory to read back */
static eq_status fault(int what, int64_t nth, const char *path, eq_err *err) {
    const int32_t ids[2] = {1, 2};
    read_ids a = {0};
    if (what == 0)
        eq_io_fail_nth(nth);
    else
        eq_mem_fail_nth(nth);
    eq_status st =
        what == 2 ? read_all(&a, path, NULL, err) : eq_npy_write(path, ids, 1, 2, false, err);
    eq_mem_fail_nth(0), eq_io_fail_nth(0);
    eq_free(a.ids);
    return st;
}

static void faults(void **state) {
    (void)state;
    const char *path = scratch_path("f.npy");
    for (int what = 0; what < 3; what++) {
        eq_status st = EQ_EIO;
        int64_t nth = 0;
        while (st != EQ_OK) {
            eq_err err = {0};
            assert_true(++nth < 50);
            st = fault(what, nth, path, &err);
            if (st != EQ_OK) check_error(&err, what ? EQ_ENOMEM : EQ_EIO, NULL);
        }
        assert_true(nth > 1); /* something did fail */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type), cmocka_unit_test(shapes),  cmocka_unit_test(refused),
        cmocka_unit_test(bad_ids),    cmocka_unit_test(damaged), cmocka_unit_test(written),
        cmocka_unit_test(raw_ids),    cmocka_unit_test(faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

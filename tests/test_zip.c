/* ZIP archives, csv files and rows of JSON: what they hold, and what is damaged. */
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/csv.h"
#include "format/json_rows.h"
#include "format/zip.h"
#include "scratch.h"

/* Two entries, "a/one.txt" stored and "two.txt" deflated ("hello hello hello hello"). Made by
 * Python's zipfile. */
static const uint8_t archive[] = {
    0x50, 0x4b, 0x03, 0x04, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x21, 0x58, 0x0b, 0xf9,
    0x43, 0x56, 0x06, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x61, 0x2f,
    0x6f, 0x6e, 0x65, 0x2e, 0x74, 0x78, 0x74, 0x73, 0x74, 0x6f, 0x72, 0x65, 0x64, 0x50, 0x4b, 0x03,
    0x04, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x58, 0xe3, 0x51, 0x3d, 0x8d, 0x0a,
    0x00, 0x00, 0x00, 0x17, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x74, 0x77, 0x6f, 0x2e, 0x74,
    0x78, 0x74, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x27, 0x01, 0x50, 0x4b, 0x01, 0x02,
    0x14, 0x03, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x21, 0x58, 0x0b, 0xf9, 0x43, 0x56,
    0x06, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, 0x00, 0x61, 0x2f, 0x6f, 0x6e, 0x65, 0x2e,
    0x74, 0x78, 0x74, 0x50, 0x4b, 0x01, 0x02, 0x14, 0x03, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00,
    0x00, 0x21, 0x58, 0xe3, 0x51, 0x3d, 0x8d, 0x0a, 0x00, 0x00, 0x00, 0x17, 0x00, 0x00, 0x00, 0x07,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x2d, 0x00, 0x00,
    0x00, 0x74, 0x77, 0x6f, 0x2e, 0x74, 0x78, 0x74, 0x50, 0x4b, 0x05, 0x06, 0x00, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x02, 0x00, 0x6c, 0x00, 0x00, 0x00, 0x5c, 0x00, 0x00, 0x00, 0x00, 0x00,
};

enum { LOCAL_DATA = 39 }; /* the first stored byte */

static eq_status read_entry(const uint8_t *bytes, int64_t n, const char *name, char **text,
                            eq_err *err) {
    eq_zip *z;
    int64_t size;
    *text = NULL;
    EQ_TRY(eq_zip_open(&z, scratch_file("x.zip", bytes, n), err));
    int64_t i = eq_zip_find(z, name);
    eq_status st =
        i < 0 ? eq_fail(err, EQ_EINPUT, "no entry") : eq_zip_read(z, i, text, &size, err);
    if (st == EQ_OK) assert_int_equal(size, (int64_t)strlen(*text));
    eq_zip_close(z);
    return st;
}

static void entries(void **state) {
    (void)state;
    eq_err err = {0};
    char *text;
    eq_zip *z;
    assert_int_equal(eq_zip_open(&z, scratch_file("x.zip", archive, sizeof archive), &err), EQ_OK);
    assert_int_equal(eq_zip_count(z), 2);
    assert_string_equal(eq_zip_name(z, 0), "a/one.txt");
    assert_int_equal(eq_zip_find(z, "one.txt"), -1);
    eq_zip_close(z);
    assert_int_equal(read_entry(archive, sizeof archive, "a/one.txt", &text, &err), EQ_OK);
    assert_string_equal(text, "stored");
    eq_free(text);
    assert_int_equal(read_entry(archive, sizeof archive, "two.txt", &text, &err), EQ_OK);
    assert_string_equal(text, "hello hello hello hello");
    eq_free(text);
}

/* Every cut, and every byte changed: an error of one line, or the bytes as they were. */
static void damage(void **state) {
    (void)state;
    static const char *const names[] = {"a/one.txt", "two.txt"};
    static const char *const whole[] = {"stored", "hello hello hello hello"};
    uint8_t bytes[sizeof archive];
    for (size_t at = 0; at < 2 * sizeof archive; at++)
        for (int k = 0; k < 2; k++) {
            eq_err err = {0};
            char *text;
            size_t n = at < sizeof archive ? at : sizeof archive;
            memcpy(bytes, archive, sizeof archive);
            if (at >= sizeof archive) bytes[at - sizeof archive] ^= 0xff;
            if (read_entry(bytes, (int64_t)n, names[k], &text, &err) == EQ_OK)
                assert_string_equal(text, whole[k]);
            else
                check_error(&err, EQ_EINPUT, NULL);
            eq_free(text);
        }
    eq_err err = {0};
    char *text;
    memcpy(bytes, archive, sizeof archive);
    bytes[LOCAL_DATA] ^= 1;
    assert_int_equal(read_entry(bytes, sizeof bytes, "a/one.txt", &text, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "x.zip", "entry \"a/one.txt\"", "checksum", NULL);
}

/* ---- csv ------------------------------------------------------------------------------------- */

static void fields(void **state) {
    (void)state;
    static const char text[] = "a,\"b \"\"x\"\", c\",\r\n\n\"two\r\nlines\",e\"f\"\rlast,";
    eq_csv c;
    eq_err err = {0};
    static const char *const want[] = {"a", "b \"x\", c", "", "two\r\nlines", "e\"f\"", "last", ""};
    static const int counts[] = {3, 2, 2}, lines[] = {1, 3, 5};
    assert_int_equal(eq_csv_parse(&c, text, sizeof text - 1, "f.csv", &err), EQ_OK);
    assert_int_equal(c.n_rows, 3);
    assert_int_equal(c.n_fields, 7);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(c.rows[i].count, counts[i]);
        assert_int_equal(c.rows[i].line, lines[i]);
    }
    for (int i = 0; i < 7; i++) {
        assert_int_equal(c.fields[i].n, (int64_t)strlen(want[i]));
        assert_memory_equal(c.text.p + c.fields[i].at, want[i], strlen(want[i]));
    }
    eq_csv_free(&c);
    assert_int_equal(eq_csv_parse(&c, "a\n\"b", 4, "f.csv", &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "f.csv: line 2", "closing quote", NULL);
    eq_csv_free(&c);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static eq_status count_row(void *ctx, const json_t *row, const char *where, eq_err *err) {
    (void)row, (void)where, (void)err;
    ++*(int *)ctx;
    return EQ_OK;
}
static eq_status all(eq_err *err) {
    char *text;
    int rows = 0;
    eq_csv c = {0};
    eq_status st = read_entry(archive, sizeof archive, "two.txt", &text, err);
    eq_free(text);
    if (st == EQ_OK) st = eq_csv_parse(&c, "a,b\nc,d\n", 8, "f", err);
    eq_csv_free(&c);
    if (st == EQ_OK) st = eq_json_rows(scratch_text("r.jsonl", "{}\n{}\n"), count_row, &rows, err);
    return st;
}
static void memory(void **state) {
    (void)state;
    int64_t before = eq_mem_current();
    for (int64_t n = 1;; n++) {
        eq_err err = {0};
        eq_mem_fail_nth(n);
        eq_status st = all(&err);
        eq_mem_fail_nth(0);
        assert_int_equal(eq_mem_current(), before);
        if (st == EQ_OK) break;
        check_error(&err, st, NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(entries), cmocka_unit_test(damage),
                                       cmocka_unit_test(fields), cmocka_unit_test(memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

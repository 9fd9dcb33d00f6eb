/* Text corpora: documents come out whole in every packing, damage is named by line or byte. */
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/corpus.h"
#include "format/inflate.h"
#include "scratch.h"

/* ---- packing --------------------------------------------------------------------------------- */

static void put_gz(eq_str *out, const char *p, int64_t n) {
    static uint8_t buf[1 << 20];
    z_stream z = {.next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = buf, z.avail_out = sizeof buf;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    eq_str_put(out, buf, (int64_t)(sizeof buf - z.avail_out));
    deflateEnd(&z);
}

static void put_zst(eq_str *out, const char *p, int64_t n) {
    static uint8_t buf[1 << 20];
    size_t k = ZSTD_compress(buf, sizeof buf, p, (size_t)n, 3);
    assert_false(ZSTD_isError(k));
    eq_str_put(out, buf, (int64_t)k);
}

static const char *const packings[] = {"", ".gz", ".zst"};

/* NAME + packing, in `parts` members or frames. */
static const char *put_packed(const char *name, int packing, const char *p, int64_t n, int parts) {
    eq_str out = {0};
    char file[128];
    for (int k = 0; k < parts; k++) {
        int64_t from = n * k / parts, to = n * (k + 1) / parts;
        if (packing == 0) eq_str_put(&out, p + from, to - from);
        if (packing == 1) put_gz(&out, p + from, to - from);
        if (packing == 2) put_zst(&out, p + from, to - from);
    }
    snprintf(file, sizeof file, "%s%s", name, packings[packing]);
    const char *path = scratch_file(file, out.p ? out.p : "", out.n);
    eq_str_free(&out);
    return path;
}

/* ---- reading --------------------------------------------------------------------------------- */

static eq_corpus *open_good(const char *path) {
    eq_corpus *c;
    eq_err err = {0};
    eq_file f = eq_file_of(path);
    if (eq_corpus_open(&c, &f, NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
    return c;
}

static bool next_is(eq_corpus *c, const char *want, int64_t n, int64_t line) {
    const char *text;
    int64_t got;
    eq_err err = {0};
    if (eq_corpus_next(c, &text, &got, &err) != EQ_OK) fail_msg("%s", err.msg);
    if (!want) return text == NULL;
    return text && got == n && !memcmp(text, want, (size_t)n) && eq_corpus_line(c) == line;
}

/* Reads on to the error that must come. */
static void read_bad(const char *path, const char *word, const char *word2) {
    eq_corpus *c = NULL;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    eq_file f = eq_file_of(path);
    eq_status st = eq_corpus_open(&c, &f, NULL, &err);
    for (const char *text = ""; st == EQ_OK && text;) {
        int64_t n;
        st = eq_corpus_next(c, &text, &n, &err);
    }
    eq_corpus_close(c);
    check_error(&err, EQ_EINPUT, path, word, word2, NULL);
    assert_int_equal(eq_mem_current(), before);
}

/* A .txt comes in pieces; they are put together again here. */
static void check_text(const char *path, const char *want, int64_t n) {
    eq_corpus *c = open_good(path);
    eq_str all = {0};
    assert_true(eq_corpus_is_text(c));
    int64_t at, size, before = -1;
    for (const char *text = "";;) {
        int64_t k;
        eq_err err = {0};
        if (eq_corpus_next(c, &text, &k, &err) != EQ_OK) fail_msg("%s", err.msg);
        if (!text) break;
        assert_int_equal(eq_corpus_line(c), 1);
        assert_true(k <= (1 << 18) + 4);
        eq_str_put(&all, text, k);
        eq_corpus_place(c, &at, &size);
        assert_true(at >= before && at <= size);
        before = at;
    }
    assert_int_equal(all.n, n);
    if (n) assert_memory_equal(all.p, want, (size_t)n);
    assert_true(next_is(c, NULL, 0, 0)); /* the end stays the end */
    eq_corpus_place(c, &at, &size);
    assert_int_equal(at, size);
    eq_str_free(&all);
    eq_corpus_close(c);
}

static void one_text(void **state) {
    (void)state;
    enum { N = 700001 }; /* more than the pieces it is unpacked in */
    char *text = eq_calloc(N, 1);
    for (int i = 0; i < N; i++) text[i] = (char)(i % 97 ? 'a' + i * 7 % 26 : '\n');
    for (int i = 5; i + 6 < N; i += 1001) memcpy(text + i, "\xe2\x82\xac\xf0\x9f\x98\x80", 7);
    /* characters that lie across the ends of pieces */
    memcpy(text + (1 << 18) - 1, "\xf0\x9f\x98\x80", 4);
    memcpy(text + (1 << 19) - 3, "\xf0\x9f\x98\x80", 4);
    memcpy(text + N - 3, "\xe2\x82\xac", 3);
    for (int p = 0; p < 3; p++)
        for (int parts = 1; parts <= 3; parts++)
            check_text(put_packed("one.txt", p, text, N, parts), text, N);
    eq_free(text);
    check_text(scratch_text("empty.txt", ""), "", 0);
}

/* As Python's text mode reads them, wherever the pieces end. */
static void line_ends(void **state) {
    (void)state;
    check_text(scratch_text("crlf.raw", "\r\na\r\rb\r\n\r\nc\n\rd\r"), "\na\n\nb\n\nc\n\nd\n", 12);
    enum { N = 1 << 18 };
    char *text = eq_calloc(2 * N, 1), *want = eq_calloc(2 * N, 1);
    memset(text, 'x', 2 * N), memset(want, 'x', 2 * N);
    memcpy(text + N - 1, "\r\n", 2); /* the pair lies in two pieces */
    want[N - 1] = '\n';
    check_text(scratch_file("pair.txt", text, 2 * N), want, 2 * N - 1);
    eq_free(text), eq_free(want);
}

static void lines(void **state) {
    (void)state;
    eq_str s = {0};
    enum { DOCS = 3000 };
    for (int i = 0; i < DOCS; i++) { /* lengths from nothing to beyond a piece */
        eq_str_printf(&s, "{\"id\":%d,\"text\":\"%d:", i, i);
        for (int k = 0; k < (i == 77 ? 300000 : i % 400); k++) eq_str_puts(&s, "x");
        eq_str_puts(&s, i % 3 ? "\"}\n" : "\"} \r\n");
    }
    s.n--; /* no newline at the end */
    for (int p = 0; p < 3; p++)
        for (int parts = 1; parts <= 4; parts += 3) {
            eq_corpus *c = open_good(put_packed("d.jsonl", p, s.p, s.n, parts));
            assert_false(eq_corpus_is_text(c));
            for (int i = 0; i < DOCS; i++) {
                const char *text;
                int64_t n;
                assert_int_equal(eq_corpus_next(c, &text, &n, NULL), EQ_OK);
                assert_int_equal(atoi(text), i);
                int digits = snprintf(NULL, 0, "%d:", i);
                assert_int_equal(n, digits + (i == 77 ? 300000 : i % 400));
                assert_int_equal(eq_corpus_line(c), i + 1);
            }
            assert_true(next_is(c, NULL, 0, 0));
            eq_corpus_close(c);
        }
    eq_str_free(&s);
}

static void what_a_line_may_be(void **state) {
    (void)state;
    /* a byte order mark, and an integer that needs all of 64 bits, beside the text */
    eq_corpus *m = open_good(
        scratch_text("mark.JSONL", "\xef\xbb\xbf{\"text\":\"a\",\"id\":13835058055282163712}\n"));
    assert_true(next_is(m, "a", 1, 1));
    eq_corpus_close(m);
    m = open_good(scratch_text("mark.ndjson", "\xef\xbb\xbf\n{\"text\":\"a\"}"));
    assert_true(next_is(m, "a", 1, 2));
    eq_corpus_close(m);
    const char *text =
        "\n  \r\n{\"text\":\"\\u00e9\\ud83d\\ude00\\u0000z\"}\n\n{\"text\":\"\",\"a\":[1,{}]}\n\n";
    eq_corpus *c = open_good(scratch_text("may.json", text));
    assert_true(next_is(c, "\xc3\xa9\xf0\x9f\x98\x80\0z", 8, 3));
    assert_true(next_is(c, "", 0, 5));
    assert_true(next_is(c, NULL, 0, 0));
    eq_corpus_close(c);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static void not_utf8(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *word;
    } cases[] = {
        {"ab\xff", "byte 2: expected UTF-8, found 0xff"},
        {"\xc0\x80", "byte 0"},         /* overlong */
        {"a\xe2\x82", "byte 1"},        /* cut */
        {"aa\xed\xa0\x80", "byte 2"},   /* a surrogate */
        {"\xf4\x90\x80\x80", "byte 0"}, /* beyond U+10FFFF */
        {"\xc3\xa9\x80", "byte 2"},     /* a stray continuation */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int p = 0; p < 3; p++)
            read_bad(put_packed("u.txt", p, cases[i].bytes, (int64_t)strlen(cases[i].bytes), 1),
                     cases[i].word, "UTF-8");
}

static void bad_lines(void **state) {
    (void)state;
    static const struct {
        const char *line, *word, *word2;
    } cases[] = {
        {"{\"text\":\"a", "line 2", "not JSON"},
        {"{\"text\":\"\xff\"}", "line 2: \"text\"", "no UTF-8"},
        {"{\"text\":\"\\ud800\"}", "line 2: \"text\"", "a lone surrogate"},
        {"{\"text\":\"\\udc00\\ud800\"}", "line 2: \"text\"", "a lone surrogate"},
        {"{\"text\":\"a\"} x", "line 2", "not JSON"},
        {"x", "line 2", "not JSON"},
        {"[\"text\"]", "line 2", "expected a JSON object, found an array"},
        {"{\"a\":1,\"txt\":\"a\"}", "found nothing; strings in it: \"txt\"", "--text-field"},
        {"{\"text\":7}", "line 2: \"text\"", "found a number"},
        {"{\"text\":null}", "line 2: \"text\"", "found null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int p = 0; p < 3; p++) {
            char text[256];
            int n = snprintf(text, sizeof text, "{\"text\":\"good\"}\n%s\n", cases[i].line);
            read_bad(put_packed("l.jsonl", p, text, n, 1), cases[i].word, cases[i].word2);
        }
}

/* An array may be laid out in any way; what is wrong in it is named by element and line. */
static void arrays(void **state) {
    (void)state;
    static const char text[] =
        "\xef\xbb\xbf \n[\n {\"text\":\n\"a]}\\\"\"} ,{\"x\":[{}],\"text\":\"\"},"
        "{\"text\":\"c\\n\"}\n\n]\n ";
    for (int p = 0; p < 3; p++)
        for (int parts = 1; parts <= 30; parts += 29) {
            eq_corpus *c = open_good(put_packed("array.json", p, text, sizeof text - 1, parts));
            assert_true(next_is(c, "a]}\"", 4, 3));
            assert_true(next_is(c, "", 0, 4));
            assert_true(next_is(c, "c\n", 2, 4));
            assert_true(next_is(c, NULL, 0, 0));
            assert_true(next_is(c, NULL, 0, 0));
            eq_corpus_close(c);
        }
    eq_corpus *c = open_good(scratch_text("none.json", " [ ] "));
    assert_true(next_is(c, NULL, 0, 0));
    eq_corpus_close(c);
    static const struct {
        const char *text, *word, *word2;
    } bad[] = {{"[{\"text\":\"a\"}\n", "line 2", "no end"},
               {"[{\"text\":\"a\"", "line 1", "the file is cut"},
               {"[", "line 1", "no end"},
               {"[{\"text\":\"a\"},\n]", "line 2", "expected an element"},
               {"[,]", "line 1", "expected an element"},
               {"[{\"text\":\"a\"} {}]", "line 1", "expected ','"},
               {"[{\"text\":\"a\"}] x", "line 1", "behind the array"},
               {"[{\"text\":\"a\"},\n 7]", "element 2 (line 2)", "found a number"},
               {"[{\"text\":\"a\"},\n {\"text\":1e}]", "element 2 (line 2)", "exponent"},
               {"[{\"text\":\"a\"},\n {]}]", "element 2", "not JSON"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        read_bad(scratch_text("bad.json", bad[i].text), bad[i].word, bad[i].word2);
}

/* One frame: no content size, a window of 256 MiB, one raw block. */
static void wide_windows(void **state) {
    (void)state;
    static const char frame[] = "\x28\xb5\x2f\xfd\x00\x90\x09\x00\x00x";
    eq_file f = eq_file_of(scratch_file("wide.txt.zst", frame, sizeof frame - 1));
    eq_corpus *c;
    check_text(f.path, "x", 1);
    for (int room = 27; room <= 28; room++) {
        eq_err err = {0};
        const char *text;
        int64_t n;
        assert_int_equal(
            eq_corpus_open(&c, &f, &(eq_corpus_opts){.memory = (int64_t)1 << room}, &err), EQ_OK);
        eq_status st = eq_corpus_next(c, &text, &n, &err);
        assert_int_equal(st, room == 28 ? EQ_OK : EQ_EINPUT);
        if (st)
            check_error(&err, EQ_EINPUT, "wide.txt.zst", "window above 128 MiB", "--long", NULL);
        eq_corpus_close(c);
    }
}

/* Zeros behind the last member of a .gz, as tapes and disks leave them. */
static void padding(void **state) {
    (void)state;
    eq_str s = {0};
    put_gz(&s, "one ", 4), put_gz(&s, "", 0), put_gz(&s, "two", 3);
    int64_t n = s.n;
    eq_str_put(&s, (char[600]){0}, 600);
    check_text(scratch_file("pad.txt.gz", s.p, s.n), "one two", 7);
    s.p[n + 300] = 1;
    read_bad(scratch_file("pad2.txt.gz", s.p, s.n), "damaged at byte", "");
    eq_str_free(&s);
}

static void marks(void **state) {
    (void)state;
    check_text(scratch_text("mark.txt", "\xef\xbb\xbf"
                                        "a\xef\xbb\xbf"
                                        "b"),
               "a\xef\xbb\xbf"
               "b",
               5);
    eq_str s = {0}; /* a mark that comes in three pieces */
    put_gz(&s, "\xef", 1), put_gz(&s, "\xbb", 1), put_gz(&s, "\xbfz", 2);
    check_text(scratch_file("m3.txt.gz", s.p, s.n), "z", 1);
    eq_str_free(&s);
    read_bad(scratch_file("wide.txt",
                          "\xff\xfe"
                          "a\0",
                          4),
             "byte 0", "UTF-16");
}

/* A field of another name, and what stands beside it and is not looked at. */
static void fields(void **state) {
    (void)state;
    static const struct {
        const char *line, *field, *want;
    } cases[] = {
        {"{\"body\":\"x\"}", "body", "x"},
        {"{\"a\":{\"b\":{\"c\":\"x\"}}}", "a.b.c", "x"},
        {"{\"a.b\":\"x\",\"a\":{\"b\":\"y\"}}", "a.b", "x"},
        {"{\"a\":1,\"a\":{\"b\":\"z\",\"b\":\"x\"}}", "a.b", "x"},
        {"{\"text\":\"y\",\"text\":\"x\"}", "text", "x"},
        {"{\"te\\u0078t\":\"x\"}", "text", "x"},
        {"{\"n\":NaN,\"i\":[-Infinity,Infinity],\"text\":\"x\"}", "text", "x"},
        {"{\"id\":123456789012345678901234567890,\"e\":1e999,\"text\":\"x\"}", "text", "x"},
        {"{\"s\":\"\\ud800\",\"t\":\"\xff\",\"text\":\"x\"}", "text", "x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_file f = eq_file_of(scratch_text("field.jsonl", cases[i].line));
        eq_corpus *c;
        eq_err err = {0};
        assert_int_equal(eq_corpus_open(&c, &f, &(eq_corpus_opts){.field = cases[i].field}, &err),
                         EQ_OK);
        assert_true(next_is(c, cases[i].want, (int64_t)strlen(cases[i].want), 1));
        eq_corpus_close(c);
    }
}

static void skipping(void **state) {
    (void)state;
    static const char text[] =
        "{\"text\":\"a\"}\n{\"text\":\"\\ud800\"}\nnot JSON\n{\"text\":\"b\"}\n{}\n";
    eq_file f = eq_file_of(scratch_text("skip.jsonl", text));
    eq_corpus *c;
    const char *why;
    assert_int_equal(eq_corpus_open(&c, &f, &(eq_corpus_opts){.skip_bad = true}, NULL), EQ_OK);
    assert_true(next_is(c, "a", 1, 1));
    assert_int_equal(eq_corpus_skipped(c, &why), 0);
    assert_true(next_is(c, "b", 1, 4));
    assert_true(next_is(c, NULL, 0, 0));
    assert_int_equal(eq_corpus_skipped(c, &why), 3);
    assert_non_null(strstr(why, "line 2: \"text\": a lone surrogate"));
    eq_digest want, sum = eq_corpus_sum(c);
    assert_int_equal(eq_hash_file(f.path, &want, NULL), EQ_OK);
    assert_string_equal(sum.hex, want.hex); /* of the whole file */
    eq_corpus_close(c);
}

static void cut_anywhere(void **state) {
    (void)state;
    char text[900], packed[2048];
    for (int i = 0; i < 900; i++) text[i] = (char)('a' + i * i % 23);
    for (int p = 1; p < 3; p++) {
        eq_map m;
        assert_int_equal(eq_map_open(&m, put_packed("cut.txt", p, text, 900, 1), NULL), EQ_OK);
        int64_t size = m.size;
        memcpy(packed, m.data, (size_t)size);
        eq_map_close(&m);
        const char *name = p == 1 ? "cut2.txt.gz" : "cut2.txt.zst";
        for (int64_t n = 0; n < size; n++)
            read_bad(scratch_file(name, packed, n), "compressed", "");
        memcpy(packed + size, "tail", 4);
        read_bad(scratch_file(name, packed, size + 4), "damaged at byte", "");
        packed[size / 2] = (char)(packed[size / 2] ^ 0x10);
        if (p == 1)
            read_bad(scratch_file(name, packed, size), "damaged", ""); /* gzip sums its data */
    }
    read_bad(scratch_text("not.txt.gz", "plain text"), "damaged at byte", "");
    read_bad(scratch_text("not.txt.zst", "plain text"), "damaged at byte", "");
}

static void names(void **state) {
    (void)state;
    static const char *const refused[] = {"a.npy.gz", "a", "a.gz", "a.txt.bz2", "txt", "a.parquet"};
    eq_corpus *c;
    for (int i = 0; i < 6; i++) {
        eq_err err = {0};
        eq_file f = eq_file_of(refused[i]);
        assert_int_equal(eq_corpus_open(&c, &f, NULL, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, refused[i], ".txt", ".jsonl", ".gz", ".zst", ".npy", NULL);
        assert_int_equal(strstr(err.msg, "to_json") != NULL, i == 5);
    }
    eq_err err = {0};
    eq_file f = eq_file_of(scratch_path("absent.txt"));
    assert_int_equal(eq_corpus_open(&c, &f, NULL, &err), EQ_EIO);
    check_error(&err, EQ_EIO, "absent.txt", NULL);
}

static eq_status read_through(const char *path, eq_err *err) {
    eq_corpus *c;
    eq_file f = eq_file_of(path);
    EQ_TRY(eq_corpus_open(&c, &f, NULL, err));
    eq_status st = EQ_OK;
    for (const char *text = ""; st == EQ_OK && text;) {
        int64_t n;
        st = eq_corpus_next(c, &text, &n, err);
    }
    eq_corpus_close(c);
    return st;
}

static void memory_runs_out(void **state) {
    (void)state;
    const char *text = "{\"text\":\"a\"}\n{\"text\":\"bb\"}\n";
    for (int kind = 0; kind < 2; kind++)
        for (int p = 0; p < 3; p++) {
            const char *path =
                put_packed(kind ? "m.jsonl" : "m.txt", p, text, (int64_t)strlen(text), 2);
            int64_t before = eq_mem_current();
            for (int64_t nth = 1;; nth++) {
                eq_err err = {0};
                eq_mem_fail_nth(nth);
                eq_status st = read_through(path, &err);
                eq_mem_fail_nth(0);
                assert_int_equal(eq_mem_current(), before);
                if (st == EQ_OK) break;
                check_error(&err, EQ_ENOMEM, NULL);
                assert_true(nth < 100);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_text),        cmocka_unit_test(line_ends),
        cmocka_unit_test(lines),           cmocka_unit_test(what_a_line_may_be),
        cmocka_unit_test(not_utf8),        cmocka_unit_test(bad_lines),
        cmocka_unit_test(names),           cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(arrays),          cmocka_unit_test(wide_windows),
        cmocka_unit_test(padding),         cmocka_unit_test(marks),
        cmocka_unit_test(fields),          cmocka_unit_test(skipping),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

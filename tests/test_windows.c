/* Windows: the draws of the paper's tools (documents and starts computed with Python's random), the
 * joined WikiText-2 rows, and what is said when a file does not hold what was asked for. */
#include <stdlib.h>

#include "data/tokens.h"
#include "format/npy.h"
#include "tiny_docs.h"
#include "tiny_tokenizer.h"

static void check_doc_windows(const eq_windows *w, const int (*want)[2], int64_t n) {
    assert_true(w->n == n && w->T == T);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < T; k++)
            assert_int_equal(w->ids[i * T + k], doc_id(want[i][0], want[i][1] + k));
}

static void documents(void **state) {
    (void)state;
    static const int train[6][2] = {{23, 6}, {51, 42}, {19, 16}, {38, 6}, {38, 1}, {43, 5}};
    static const int val[4][2] = {{57, 3}, {58, 23}, {58, 28}, {58, 17}};
    eq_digest first = {""};
    for (int gz = 0; gz < 2; gz++) {
        eq_windows a, b;
        eq_window_opts o = opts(T);
        calibrate(&a, &b, put_docs(gz ? "d.jsonl.gz" : "d.jsonl", DOCS), NULL, 6, 4, &o);
        check_doc_windows(&a, train, 6);
        check_doc_windows(&b, val, 4);
        check_notes(
            gz ? "d.jsonl.gz: 6 training windows come from 5 of 54 documents; 34 have more than "
                 "40 tokens"
               : "d.jsonl: 6 training windows come from 5 of 54 documents",
            "4 validation windows come from 2 of 6 documents; 3 have");
        if (gz)
            assert_string_equal(a.digest.hex, first.hex);
        else
            first = a.digest;
        eq_windows_free(&a), eq_windows_free(&b);
        o = opts(0), o.seed = 3; /* T is the default; another seed draws others */
        calibrate(&a, &b, scratch_path("d.jsonl"), NULL, 6, 0, &o);
        assert_true(a.T == T && b.n == 0);
        assert_string_not_equal(a.digest.hex, first.hex);
        eq_windows_free(&a), eq_windows_free(&b);
    }
}

static void documents_too_short(void **state) {
    (void)state;
    const char *path = put_docs("s.jsonl", DOCS);
    eq_window_opts o = opts(200);
    bad_calibration(path, NULL, 0, &o, "documents 1 to 54: windows of 200", "longest has 95");
    o = opts(92); /* long enough ones lie in the first nine tenths only */
    bad_calibration(path, NULL, 4, &o, "documents 55 to 60", "at least 93, the longest has 82");
    o = opts(T);
    bad_calibration(put_docs("one.jsonl", 1), NULL, 0, &o, "at least 2 documents", "found 1");
    bad_calibration(scratch_text("no.jsonl", "\n"), NULL, 0, &o, "no document", "no.jsonl");
    bad_calibration(scratch_text("l.jsonl", "{\"text\":\"a\"}\n{}\n"), NULL, 0, &o, "line 2",
                    "text");
}

/* ---- one long text --------------------------------------------------------------------------- */

static const char *put_long_text(const char *name, int64_t bytes) {
    eq_str s = {0};
    for (int64_t k = 0; k < bytes; k++) eq_str_put(&s, (char[]){doc_char(0, k)}, 1);
    const char *path = scratch_file(name, s.p ? s.p : "", bytes);
    eq_str_free(&s);
    return path;
}

static void long_text(void **state) {
    (void)state;
    static const int64_t train[6] = {331, 154, 404, 666, 49, 74}, val[4] = {927, 871, 905, 933};
    const char *paths[2] = {put_long_text("t.txt", 1000), put_npy("t.npy", 1, 1001, false)};
    for (int f = 0; f < 2; f++) { /* 1001 tokens either way */
        eq_windows a, b;
        eq_window_opts o = opts(T);
        o.seed = 7;
        calibrate(&a, &b, paths[f], NULL, 6, 4, &o);
        for (int64_t i = 0; i < 6; i++)
            for (int64_t k = 0; k < T; k++) {
                int64_t at = train[i] + k;
                assert_int_equal(a.ids[i * T + k], f ? at * 31 % VOCAB : doc_id(0, at));
                at = i < 4 ? val[i] + k : 0;
                if (i < 4) assert_int_equal(b.ids[i * T + k], f ? at * 31 % VOCAB : doc_id(0, at));
            }
        eq_windows_free(&a), eq_windows_free(&b);
    }
}

static void long_text_too_short(void **state) {
    (void)state;
    eq_windows a, b;
    eq_window_opts o = opts(T); /* int(0.9 n) >= 41 needs 46 tokens */
    bad_calibration(put_npy("n45.npy", 1, 45, false), NULL, 2, &o, "at least 46 tokens",
                    "found 45");
    calibrate(&a, &b, put_npy("n46.npy", 1, 46, false), NULL, 3, 2,
              &o); /* one start, drawn thrice */
    assert_true(a.n == 3 && a.ids[0] == 0 && a.ids[2 * T] == 0 && b.n == 2);
    eq_windows_free(&a), eq_windows_free(&b);
    bad_calibration(put_long_text("empty.txt", 0), NULL, 2, &o, "empty.txt", "empty");
    bad_calibration(put_npy("n0.npy", 1, 0, false), NULL, 2, &o, "n0.npy", "no token");
}

static void own_validation_file(void **state) {
    (void)state;
    static const int train[6][2] = {{23, 6}, {51, 42}, {19, 16}, {38, 6}, {38, 1}, {43, 5}};
    static const int64_t val[3] = {220, 326, 201}; /* the same generator goes on */
    eq_windows a, b;
    eq_window_opts o = opts(0);
    calibrate(&a, &b, put_docs("o.jsonl", DOCS), put_npy("o.npy", 1, 500, false), 6, 3, &o);
    check_doc_windows(&a, train, 6);
    assert_true(b.n == 3 && b.T == T);
    for (int64_t i = 0; i < 3; i++)
        for (int64_t k = 0; k < T; k++)
            assert_int_equal(b.ids[i * T + k], (val[i] + k) * 31 % VOCAB);
    eq_windows_free(&a), eq_windows_free(&b);
    calibrate(&a, &b, put_docs("o.jsonl", DOCS), put_npy("o2.npy", 2, T, true), 6, 3, &o);
    assert_true(b.n == 2 &&
                strstr(notes.p, "o2.npy: found 2 validation windows of the 3 asked for"));
    eq_windows_free(&a), eq_windows_free(&b);
    bad_calibration(scratch_path("o.jsonl"), put_npy("o3.npy", 9, 30, true), 3, &o, "o3.npy",
                    "windows of 40 tokens, found rows of 30");
    bad_calibration(scratch_path("o.jsonl"), put_npy("o4.npy", 1, 40, false), 3, &o, "o4.npy",
                    "at least 41 tokens");
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void check_rows(const eq_windows *w, int64_t first, int64_t n, int64_t cols) {
    assert_true(w->n == n && w->T == cols);
    for (int64_t i = 0; i < n * cols; i++)
        assert_int_equal(w->ids[i], (first * cols + i) * 31 % VOCAB);
}

static void rows(void **state) {
    (void)state;
    static const struct {
        int64_t rows, n_train, n_val, train, val;
        const char *note;
    } cases[] = {
        {20, 6, 4, 6, 4, NULL},
        {20, 16, 4, 16, 4, NULL},
        {20, 100, 4, 16, 4, "found 16 training windows of the 100 asked for"},
        {20, 6, 0, 6, 0, NULL},
        {20, 6, 10, 6, 10, NULL},
        {20, 6, 11, 6, 2, "found 2 validation windows of the 11 asked for"},
        {5, 6, 64, 5, 0, "found 0 validation windows of the 64 asked for"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        eq_windows a, b;
        eq_window_opts o = opts(c % 2 ? 7 : 0);
        calibrate(&a, &b, put_npy("r.npy", cases[c].rows, 7, true), NULL, cases[c].n_train,
                  cases[c].n_val, &o);
        check_rows(&a, 0, cases[c].train, 7);
        check_rows(&b, cases[c].rows - cases[c].val, cases[c].val, 7);
        if (cases[c].note)
            assert_non_null(strstr(notes.p, cases[c].note));
        else
            assert_int_equal(notes.n, 0);
        eq_windows_free(&a), eq_windows_free(&b);
    }
    eq_window_opts o = opts(8);
    bad_calibration(scratch_path("r.npy"), NULL, 0, &o, "windows of 8 tokens", "rows of 7");
    o = opts(0);
    bad_calibration(put_npy("c1.npy", 9, 1, true), NULL, 0, &o, "at least 2 tokens", "found 1");
    bad_calibration(put_npy("c0.npy", 0, 9, true), NULL, 0, &o, "c0.npy", "no token");
}

/* ---- windows in order ------------------------------------------------------------------------ */

/* Python: l = list(range(75)); random.Random(2).shuffle(l) */
static const int shuffled[75] = {6,  0,  40, 3,  9,  47, 53, 45, 54, 22, 38, 36, 30, 66, 42,
                                 74, 19, 12, 5,  63, 70, 26, 18, 31, 48, 16, 61, 13, 25, 41,
                                 56, 37, 57, 62, 44, 60, 8,  69, 49, 43, 52, 14, 15, 73, 35,
                                 72, 33, 67, 24, 65, 29, 58, 1,  2,  17, 59, 28, 34, 23, 68,
                                 64, 71, 51, 50, 55, 20, 4,  27, 32, 39, 21, 46, 10, 11, 7};

/* Chunks of all documents in a row, drawn from the whole file. */
static void chunks(void **state) {
    (void)state;
    eq_windows w;
    eq_err err = {0};
    eq_window_opts o = opts(T);
    const char *path = put_docs("k.jsonl", DOCS);
    int32_t *all = eq_calloc(75 * T, sizeof *all);
    for (int64_t at = 0, i = 0, k = 0; at < 75 * T; at++) { /* 3030 ids, the last 30 dropped */
        all[at] = doc_id(i, k);
        if (++k > doc_bytes(i)) i++, k = 0;
    }
    for (int64_t n = 0; n < 100; n += 20) {
        notes.n = 0;
        assert_int_equal(eq_windows_chunks(&w, path, n, &o, &err), EQ_OK);
        assert_int_equal(w.n, n == 0 || n > 75 ? 75 : n);
        for (int64_t i = 0; i < w.n; i++)
            assert_memory_equal(w.ids + i * T, all + shuffled[i] * T, T * sizeof *all);
        assert_int_equal(notes.n > 0, n > 75);
        eq_windows_free(&w);
    }
    assert_non_null(strstr(notes.p, "training windows of the 80 asked for"));
    eq_free(all);
    /* ids in one row are cut and shuffled, too: 3000 of them */
    assert_int_equal(eq_windows_chunks(&w, put_npy("k1.npy", 1, 3010, false), 9, &o, &err), EQ_OK);
    for (int64_t i = 0; i < 9 * T; i++)
        assert_int_equal(w.ids[i], (shuffled[i / T] * T + i % T) * 31 % VOCAB);
    eq_windows_free(&w);
    /* windows that somebody made stay in their order */
    assert_int_equal(eq_windows_chunks(&w, put_npy("k.npy", 9, 5, true), 4,
                                       &(eq_window_opts){.vocab = 999}, &err),
                     EQ_OK);
    check_rows(&w, 0, 4, 5);
    eq_windows_free(&w);
    assert_int_equal(eq_windows_chunks(&w, put_npy("k39.npy", 1, 39, false), 4, &o, &err),
                     EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "k39.npy", "at least 40 tokens", "found 39", NULL);
}

/* A file that serves two calls is read once. */
static void one_reading(void **state) {
    (void)state;
    eq_windows a, b, c;
    eq_err err = {0};
    eq_tokens *last = NULL;
    eq_window_opts o = opts(T);
    const char *path = put_docs("once.jsonl", DOCS);
    assert_int_equal(eq_windows_chunks(&c, path, 9, &o, &err), EQ_OK);
    char digest[33];
    memcpy(digest, c.digest.hex, 33);
    eq_windows_free(&c);
    o.last = &last;
    calibrate(&a, &b, path, put_npy("once.npy", 9, T, true), 6, 4, &o);
    assert_non_null(last);
    assert_int_equal(remove(path), 0);
    assert_int_equal(eq_windows_chunks(&c, path, 9, &o, &err), EQ_OK);
    assert_string_equal(c.digest.hex, digest);
    eq_windows_free(&a), eq_windows_free(&b), eq_windows_free(&c);
    assert_int_equal(eq_windows_chunks(&c, scratch_path("once.npy"), 9, &o, &err), EQ_OK);
    assert_int_equal(c.n, 9); /* another file takes its place */
    eq_windows_free(&c);
    eq_tokens_close(last);
}

/* One long document among a thousand: every window comes from it, and that is said. */
static void few_documents(void **state) {
    (void)state;
    eq_str s = {0};
    for (int i = 0; i < 1000; i++) {
        eq_str_puts(&s, "{\"text\":\"short");
        for (int k = 0; k < 300 && i == 500; k++) eq_str_printf(&s, "%d ", k);
        eq_str_puts(&s, "\"}\n");
    }
    eq_windows a, b;
    eq_window_opts o = opts(T);
    calibrate(&a, &b, scratch_file("few.jsonl", s.p, s.n), NULL, 64, 0, &o);
    check_notes("few.jsonl: 64 training windows come from 1 of 900 documents; 1 have more than 40",
                "64 training windows of 40 tokens are drawn from 1096 tokens: they overlap");
    eq_windows_free(&a), eq_windows_free(&b);
    eq_str_free(&s);
    calibrate(&a, &b, put_long_text("dense.txt", 1000), NULL, 30, 0, &o);
    check_notes("dense.txt: 30 training windows of 40 tokens are drawn from 899 tokens", "overlap");
    eq_windows_free(&a), eq_windows_free(&b);
    notes.n = 0;
    calibrate(&a, &b, put_long_text("dense.txt", 1000), NULL, 20, 0, &o);
    assert_int_equal(notes.n, 0);
    eq_windows_free(&a), eq_windows_free(&b);
}

/* The same windows whether ids stay in memory (in 16 bits or in 32) or are made a second time. */
static void little_memory(void **state) {
    (void)state;
    const char *paths[5] = {put_docs("lm.jsonl", DOCS), put_docs("lm.jsonl.gz", DOCS),
                            put_long_text("lm.txt", 5000), put_docs("lm2.jsonl", DOCS),
                            put_long_text("lm2.raw", 5000)};
    for (int f = 0; f < 5; f++) {
        eq_digest first[2] = {{""}};
        for (int way = 0; way < 3; way++) {
            eq_windows a = {0}, b = {0};
            eq_err err = {0};
            eq_window_opts o = opts(T);
            if (way == 1) o.memory = eq_mem_current() + 300000;
            if (way == 2) o.vocab = 70000;
            eq_status st = f < 3   ? eq_windows_calibration(&a, &b, paths[f], NULL, 9, 4, &o, &err)
                           : f < 4 ? eq_windows_chunks(&a, paths[f], 30, &o, &err)
                                   : eq_windows_eval(&a, EQ_EVAL_WIKITEXT2, paths[f], 0, &o, &err);
            if (st != EQ_OK) fail_msg("%s", err.msg);
            if (way == 1) check_notes("do not fit into the memory limit", "a second time");
            if (way) assert_string_equal(a.digest.hex, first[0].hex);
            if (way) assert_string_equal(b.digest.hex, first[1].hex);
            first[0] = a.digest, first[1] = b.digest;
            eq_windows_free(&a), eq_windows_free(&b);
        }
    }
    eq_window_opts o = opts(T);
    o.memory = 1000;
    eq_windows a, b;
    eq_err err = {0};
    assert_int_equal(eq_windows_calibration(&a, &b, paths[0], NULL, 9, 4, &o, &err), EQ_ENOMEM);
    check_error(&err, EQ_ENOMEM, "9 windows of 40 tokens", "limit", NULL);
}

static void evaluation(void **state) {
    (void)state;
    eq_windows w;
    eq_err err = {0};
    eq_window_opts o = opts(T);
    const char *path = put_long_text("e.txt", 1000);
    assert_int_equal(eq_windows_eval(&w, EQ_EVAL_WINDOWS, path, 0, &o, &err), EQ_OK);
    assert_int_equal(w.n, 25); /* 1001 tokens, the last one dropped */
    for (int64_t i = 0; i < w.n * T; i++) assert_int_equal(w.ids[i], doc_id(0, i));
    eq_windows_free(&w);
    assert_int_equal(eq_windows_eval(&w, EQ_EVAL_WINDOWS, path, 3, &o, &err), EQ_OK);
    assert_int_equal(w.n, 3);
    assert_int_equal(notes.n, 0);
    eq_windows_free(&w);
    for (int set = 0; set < 3; set++) { /* rows are the windows under every name */
        o = opts(0);
        assert_int_equal(eq_windows_eval(&w, (eq_eval_set)set, put_npy("e.npy", 6, 9, true),
                                         set ? 4 : 0, &o, &err),
                         EQ_OK);
        check_rows(&w, 0, set ? 4 : 6, 9);
        eq_windows_free(&w);
    }
}

static void c4(void **state) {
    (void)state;
    static const int want[4][2] = {{24, 26}, {2, 16}, {31, 25}, {58, 19}};
    static const int last[2][2] = {{50, 12}, {38, 18}};
    eq_windows w, tail;
    eq_err err = {0};
    eq_window_opts o = opts(T);
    const char *path = put_docs("c4.jsonl", DOCS);
    assert_int_equal(eq_windows_eval(&w, EQ_EVAL_C4, path, 4, &o, &err), EQ_OK);
    check_doc_windows(&w, want, 4); /* random.seed(0) whatever the seed */
    eq_windows_free(&w);
    assert_int_equal(eq_windows_eval(&w, EQ_EVAL_C4, path, 0, &o, &err), EQ_OK);
    assert_int_equal(w.n, 256);
    tail = (eq_windows){.ids = w.ids + 254 * T, .n = 2, .T = T};
    check_doc_windows(&tail, last, 2);
    eq_windows_free(&w);
    assert_int_equal(eq_windows_eval(&w, EQ_EVAL_C4, put_long_text("c4.txt", 900), 0, &o, &err),
                     EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "c4.txt", "documents", NULL);
}

static void wikitext(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
    } forms[] = {
        {"w.raw", " \n = A = \n \n b c \n d \n"},
        {"w2.txt", " \r\n = A = \r\n \r\n b c \r\n d \r\n"},
        {"w3.txt", "\n\n = A = \n\n\n\n\n b c \n\n\n d \n"},
        {"w4.txt", "\r\n\r\n = A = \r\n\r\n\r\n\r\n\r\n b c \r\n\r\n\r\n d \r\n"},
        {"w5.jsonl",
         "{\"text\":\"\"}\n{\"text\":\" = A = \\n\"}\n{\"text\":\"\"}\n{\"text\":\" b c \\n\"}\n{"
         "\"text\":\" d \\n\"}"}};
    const char *want = "\n\n = A = \n\n\n\n\n b c \n\n\n d \n";
    for (int f = 0; f < 5; f++) {
        eq_windows w;
        eq_err err = {0};
        eq_window_opts o = opts(2);
        if (eq_windows_eval(&w, EQ_EVAL_WIKITEXT2, scratch_text(forms[f].name, forms[f].text), 0,
                            &o, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(w.n, (1 + strlen(want)) / 2);
        assert_int_equal(w.ids[0], BOS); /* one in all */
        for (int64_t i = 1; i < w.n * 2; i++) assert_int_equal(w.ids[i], want[i - 1]);
        eq_windows_free(&w);
    }
    eq_windows w;
    eq_err err = {0};
    eq_window_opts o = opts(2);
    assert_int_equal(
        eq_windows_eval(&w, EQ_EVAL_WIKITEXT2, scratch_text("w0.raw", ""), 0, &o, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "w0.raw", "empty", NULL);
}

static void real_wikitext(void **state) {
    (void)state;
    const char *raw = "../shared/text/wikitext2/wiki.test.raw";
    const char *joined = "../shared/text/wikitext2/test-joined.txt";
    if (!eq_exists(raw) || !eq_exists(joined)) {
        printf("SKIP real_wikitext: no ../shared\n");
        return;
    }
    eq_windows a, b;
    eq_err err = {0};
    eq_window_opts o = opts(512);
    assert_int_equal(eq_windows_eval(&a, EQ_EVAL_WIKITEXT2, raw, 0, &o, &err), EQ_OK);
    assert_int_equal(eq_windows_eval(&b, EQ_EVAL_WIKITEXT2, joined, 0, &o, &err), EQ_OK);
    assert_true(a.n > 2000 && a.n == b.n);
    assert_string_equal(a.digest.hex, b.digest.hex);
    eq_windows_free(&a), eq_windows_free(&b);
}

/* ---- what is refused everywhere -------------------------------------------------------------- */

static void vocabulary(void **state) {
    (void)state;
    eq_window_opts o = opts(T);
    o.vocab = 200; /* the id of BOS is 256, ids of the .npy go to 256 */
    bad_calibration(put_npy("v.npy", 30, 40, true), NULL, 0, &o, "row 0, column 7: id 217",
                    "vocabulary has 200");
    bad_calibration(put_npy("v1.npy", 1, 2000, false), NULL, 0, &o, "token 7",
                    "vocabulary has 200");
    bad_calibration(put_long_text("v.txt", 500), NULL, 0, &o, "v.txt: token 0: id 256", "has 200");
    bad_calibration(put_docs("v.jsonl", DOCS), NULL, 0, &o, "line ", "token 0: id 256");
    o = opts(T), o.tok = NULL;
    bad_calibration(scratch_path("v.txt"), NULL, 0, &o, "v.txt", "tokenizer");
    o = opts(1);
    bad_calibration(scratch_path("v.txt"), NULL, 0, &o, "at least 2 tokens", "found 1");
    o = opts(T);
    bad_calibration("data.parquet", NULL, 0, &o, "data.parquet", ".jsonl");
}

static void fingerprint(void **state) {
    (void)state;
    eq_windows a, b;
    eq_err err = {0};
    int32_t ids[12] = {0}; /* the same bytes in another shape are other windows */
    eq_window_opts o = opts(0);
    assert_int_equal(eq_npy_write(scratch_path("f1.npy"), ids, 3, 4, true, &err), EQ_OK);
    assert_int_equal(eq_npy_write(scratch_path("f2.npy"), ids, 4, 3, true, &err), EQ_OK);
    assert_int_equal(eq_windows_chunks(&a, scratch_path("f1.npy"), 0, &o, &err), EQ_OK);
    assert_int_equal(eq_windows_chunks(&b, scratch_path("f2.npy"), 0, &o, &err), EQ_OK);
    assert_string_not_equal(a.digest.hex, b.digest.hex);
    assert_int_equal(strlen(a.digest.hex), 32);
    eq_windows_free(&a), eq_windows_free(&b);
}

static void stopping(void **state) {
    (void)state;
    const char *path = put_docs("stop.jsonl", DOCS);
    eq_window_opts o = opts(T);
    eq_windows a, b;
    eq_err err = {0};
    stop = 1;
    assert_int_equal(eq_windows_calibration(&a, &b, path, NULL, 6, 4, &o, &err), EQ_EINTR);
    err = (eq_err){0};
    assert_int_equal(eq_windows_chunks(&a, path, 4, &o, &err), EQ_EINTR);
    stop = 0;
}

/* A tokenizer whose tokens look at what stands before them takes a text as a whole, or not at all.
 */
static void whole_texts(void **state) {
    (void)state;
    eq_windows a, b;
    eq_window_opts o = opts(T);
    eq_tokenizer *whole = tiny_tokenizer_open(&(tiny_tokenizer){
        .rest = "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true},"
                "'added_tokens':[{'id':256,'content':'<s>','single_word':false,'lstrip':true,"
                "'rstrip':false,'normalized':false,'special':true}]"});
    const char *path = put_long_text("whole.txt", 5000);
    o.tok = whole, o.memory = 8 * 5000;
    calibrate(&a, &b, path, NULL, 6, 4, &o);
    eq_windows_free(&a), eq_windows_free(&b);
    o.memory--;
    eq_err err = {0};
    assert_int_equal(eq_windows_calibration(&a, &b, path, NULL, 6, 4, &o, &err), EQ_ENOMEM);
    check_error(&err, EQ_ENOMEM, "whole.txt", "as a whole", ".jsonl", NULL);
    eq_tokenizer_close(whole);
}

static eq_status run(int what, const char *const paths[5], eq_err *err) {
    eq_windows a = {0}, b = {0};
    eq_window_opts o = opts(T);
    eq_status st;
    if (what < 3)
        st = eq_windows_calibration(&a, &b, paths[what], NULL, 3, 2, &o, err);
    else if (what == 3)
        st = eq_windows_chunks(&a, paths[0], 9, &o, err);
    else
        st = eq_windows_eval(&a, EQ_EVAL_WIKITEXT2, paths[4], 0, &o, err);
    eq_windows_free(&a), eq_windows_free(&b);
    return st;
}

static void memory_runs_out(void **state) {
    (void)state;
    const char *paths[5] = {put_docs("m.jsonl", 12), put_docs("m.jsonl.gz", 12),
                            put_npy("m.npy", 9, T, true), NULL, put_long_text("m.raw", 200)};
    for (int what = 0; what < 5; what++) {
        eq_status st = EQ_ENOMEM;
        int64_t before = eq_mem_current();
        for (int64_t nth = 1; st != EQ_OK; nth++) {
            eq_err err = {0};
            eq_mem_fail_nth(nth);
            st = run(what, paths, &err);
            eq_mem_fail_nth(0);
            if (st != EQ_OK) check_error(&err, EQ_ENOMEM, NULL);
            assert_int_equal(eq_mem_current(), before);
            assert_true(nth < 3000);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents),
        cmocka_unit_test(documents_too_short),
        cmocka_unit_test(long_text),
        cmocka_unit_test(long_text_too_short),
        cmocka_unit_test(own_validation_file),
        cmocka_unit_test(rows),
        cmocka_unit_test(chunks),
        cmocka_unit_test(one_reading),
        cmocka_unit_test(few_documents),
        cmocka_unit_test(little_memory),
        cmocka_unit_test(whole_texts),
        cmocka_unit_test(evaluation),
        cmocka_unit_test(c4),
        cmocka_unit_test(wikitext),
        cmocka_unit_test(real_wikitext),
        cmocka_unit_test(vocabulary),
        cmocka_unit_test(fingerprint),
        cmocka_unit_test(stopping),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, make_tokenizer, free_tokenizer);
}

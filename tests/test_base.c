/* The small parts of src/base: errors, memory, strings, JSON, hashes. */
#include <errno.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/str.h"
#include "scratch.h"

static void errors(void **state) {
    (void)state;
    eq_err err = {0};
    assert_int_equal(eq_fail(&err, EQ_EINPUT, "%s: a\nb\r%d", "f", 7), EQ_EINPUT);
    assert_string_equal(err.msg, "f: a b 7");
    assert_int_equal(eq_fail(&err, EQ_EIO, "second"), EQ_EINPUT); /* the first one wins */
    assert_int_equal(eq_fail_at(&err, "block %d", 3), EQ_EINPUT);
    assert_string_equal(err.msg, "block 3: f: a b 7");
    assert_int_equal(eq_fail(NULL, EQ_ENOMEM, "nobody listens"), EQ_ENOMEM);
    err = (eq_err){0};
    errno = ENOSPC;
    assert_int_equal(eq_fail_errno(&err, "x"), EQ_EIO);
    check_error(&err, EQ_EIO, "x: ", "No space", NULL);
    char longer[3000];
    memset(longer, 'a', sizeof longer - 1), longer[sizeof longer - 1] = 0;
    err = (eq_err){0};
    eq_fail(&err, EQ_EINPUT, "%s", longer);
    eq_fail_at(&err, "%s", longer);
    assert_in_range(strlen(err.msg), 900, sizeof err.msg - 1);
}

static void checked_products(void **state) {
    (void)state;
    int64_t v = 5, big = INT64_MAX;
    assert_true(eq_mul(3, 4, &v) && v == 12);
    assert_true(eq_mul(0, big, &v) && v == 0);
    assert_true(eq_add(big - 1, 1, &v) && v == big);
    assert_false(eq_mul((int64_t)1 << 32, (int64_t)1 << 31, &v));
    assert_false(eq_mul(-1, 1, &v) || eq_mul(1, -1, &v) || eq_mul(INT64_MIN, -1, &v));
    assert_false(eq_add(big, 1, &v) || eq_add(-1, 1, &v) || eq_add(1, -1, &v));
}

static void memory(void **state) {
    (void)state;
    int64_t before = eq_mem_current();
    eq_mem_peak_reset();
    for (int64_t n = 0; n < 300; n++) {
        unsigned char *p = eq_calloc(n, 3);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (int64_t i = 0; i < 3 * n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xff, (size_t)(3 * n)); /* the next block must be zeroed all the same */
        assert_int_equal(eq_mem_current(), before + 3 * n);
        eq_free(p);
    }
    eq_free(NULL);
    assert_int_equal(eq_mem_current(), before);
    assert_int_equal(eq_mem_peak(), before + 3 * 299);
    assert_null(eq_calloc(-1, 1));
    assert_null(eq_calloc(INT64_MAX, 2));
    assert_null(eq_calloc(INT64_MAX, 1));
}

static void growing(void **state) {
    (void)state;
    char *p = eq_calloc(4, 1);
    memcpy(p, "abc", 4);
    p = eq_realloc(p, 100, 10);
    assert_string_equal(p, "abc");
    assert_null(eq_realloc(p, INT64_MAX, 2));
    assert_string_equal(p, "abc"); /* still whole */
    p = eq_realloc(p, 2, 1);
    assert_memory_equal(p, "ab", 2);
    eq_free(p);
    char *s = eq_sprintf("%d-%s", 5, "x"), *t = eq_strdup("");
    assert_string_equal(s, "5-x");
    assert_string_equal(t, "");
    eq_free(s), eq_free(t);
}

static void failing_on_request(void **state) {
    (void)state;
    eq_mem_fail_nth(3);
    void *a = eq_calloc(1, 1), *b = eq_calloc(1, 1), *c = eq_calloc(1, 1), *d = eq_calloc(1, 1);
    assert_true(a && b && !c && d); /* once */
    eq_mem_fail_nth(1);
    eq_mem_fail_nth(0);
    assert_non_null(c = eq_calloc(1, 1));
    eq_free(a), eq_free(b), eq_free(c), eq_free(d);
    eq_err err = {0};
    eq_nomem(&err, "a list", 3 << 20);
    check_error(&err, EQ_ENOMEM, "a list", "3.0 MiB", NULL);
}

static void strings(void **state) {
    (void)state;
    eq_str s = {0};
    for (int i = 0; i < 1000; i++) eq_str_printf(&s, "%03d,", i);
    eq_str_put(&s, "\0z", 2);
    eq_str_puts(&s, "");
    assert_int_equal(s.n, 4002);
    assert_memory_equal(s.p + 3996, "999,\0z\0", 7);
    assert_memory_equal(s.p, "000,001,", 8);
    eq_mem_fail_nth(1);
    char big[8192] = "x";
    eq_str_put(&s, big, sizeof big);
    assert_true(s.oom && s.n == 4002); /* unchanged, and stays so */
    eq_str_puts(&s, "y");
    assert_int_equal(s.n, 4002);
    eq_str_free(&s);
    assert_true(!s.p && !s.n && !s.oom);
    assert_true(eq_ends_with("a.txt", ".txt") && eq_ends_with("a", "") &&
                !eq_ends_with("t", ".txt"));
    assert_true(eq_starts_with("a.txt", "a.") && !eq_starts_with("a", "a."));
}

static json_t *parse(const char *text) {
    json_t *v;
    eq_err err = {0};
    if (eq_json_parse(&v, text, (int64_t)strlen(text), "t", &err) != EQ_OK) fail_msg("%s", err.msg);
    return v;
}

static void json_values(void **state) {
    (void)state;
    json_t *o = parse("{\"i\": 7, \"r\": 0.5, \"s\": \"x\", \"b\": true, \"n\": null, \"a\": []}");
    int64_t i;
    double r;
    const char *s;
    bool b;
    eq_err err = {0};
    assert_int_equal(eq_json_int(o, "i", 0, 0, 7, &i, "t", &err), EQ_OK);
    assert_int_equal(i, 7);
    assert_int_equal(eq_json_int(o, "n", 9, 0, 1, &i, "t", &err), EQ_OK); /* null: missing */
    assert_int_equal(i, 9);
    assert_int_equal(eq_json_num(o, "i", 0, &r, "t", &err), EQ_OK);
    assert_true(r == 7);
    assert_int_equal(eq_json_num(o, "x", 2.5, &r, "t", &err), EQ_OK);
    assert_true(r == 2.5);
    assert_int_equal(eq_json_str(o, "s", NULL, &s, "t", &err), EQ_OK);
    assert_string_equal(s, "x");
    assert_int_equal(eq_json_bool(o, "b", false, &b, "t", &err), EQ_OK);
    assert_true(b);
    assert_null(eq_json_get(o, "n"));
    assert_string_equal(eq_json_type(json_object_get(o, "a")), "an array");
    char *text = eq_json_text(o, 0);
    assert_string_equal(text, "{\"i\":7,\"r\":0.5,\"s\":\"x\",\"b\":true,\"n\":null,\"a\":[]}");
    eq_free(text);
    eq_mem_fail_nth(1);
    assert_null(eq_json_text(o, 0));
    json_decref(o);
}

#define WRONG(call, ...) \
    do { \
        eq_err err_ = {0}, *err = &err_; \
        (void)(call); \
        check_error(err, EQ_EINPUT, "where", __VA_ARGS__, NULL); \
    } while (0)

static void json_errors(void **state) {
    (void)state;
    json_t *o = parse("{\"i\": 7, \"s\": \"x\"}"), *v;
    int64_t i;
    double r;
    const char *s;
    bool b;
    WRONG(eq_json_int(o, "i", 0, 0, 6, &i, "where", err), "\"i\"", "0 to 6", "7");
    WRONG(eq_json_int(o, "s", 0, 0, 6, &i, "where", err), "an integer", "a string");
    WRONG(eq_json_need_int(o, "x", 0, 6, &i, "where", err), "\"x\"", "an integer", "nothing");
    WRONG(eq_json_num(o, "s", 0, &r, "where", err), "a number", "a string");
    WRONG(eq_json_str(o, "i", NULL, &s, "where", err), "a string", "an integer");
    WRONG(eq_json_bool(o, "i", false, &b, "where", err), "a boolean", "an integer");
    WRONG(eq_json_parse(&v, "{\"a\":1,\n\"a\":2}", 15, "where", err), "line 2", "uplicate");
    WRONG(eq_json_parse(&v, "{\"a\":", 5, "where", err), "not JSON");
    WRONG(eq_json_parse(&v, "\"\xff\"", 3, "where", err), "not JSON");
    WRONG(eq_json_parse(&v, "", 0, "where", err), "not JSON");
    json_decref(o);
    eq_err err = {0};
    assert_int_equal(eq_json_load(&v, scratch_path("absent.json"), &err), EQ_EIO);
    check_error(&err, EQ_EIO, "absent.json", NULL);
}

static void hashes(void **state) {
    (void)state;
    eq_hash *h = eq_hash_new();
    eq_hash_put(h, "ab", 2);
    eq_hash_put(h, "", 0);
    eq_hash_put(h, "c", 1);
    eq_digest pieces = eq_hash_end(h), whole = eq_hash_bytes("abc", 3), file;
    /* XXH3-128 of "abc", from the reference implementation's xxhsum -H2 */
    assert_string_equal(whole.hex, "06b05ab6733a618578af5f94892f3950");
    assert_string_equal(pieces.hex, whole.hex);
    eq_err err = {0};
    assert_int_equal(eq_hash_file(scratch_text("abc", "abc"), &file, &err), EQ_OK);
    assert_string_equal(file.hex, whole.hex);
    assert_string_not_equal(eq_hash_bytes("abd", 3).hex, whole.hex);
    assert_int_equal(eq_hash_file(scratch_path("absent"), &file, &err), EQ_EIO);
}

static void hear(void *ctx, const char *line) { eq_str_puts(ctx, line); }

static void observers(void **state) {
    (void)state;
    eq_str heard = {0};
    volatile int stop = 0;
    eq_observer o = {.ctx = &heard, .note = hear, .stop = &stop};
    eq_note(&o, "a %d", 1);
    eq_event(&o, "nobody"); /* no function: nothing happens */
    eq_note(NULL, "nobody");
    eq_progress_say(NULL, NULL);
    assert_string_equal(heard.p, "a 1");
    assert_false(eq_stopped(&o) || eq_stopped(NULL));
    stop = 1;
    assert_true(eq_stopped(&o));
    assert_true(eq_now() > 0);
    eq_str_free(&heard);
}

/* Cut in the middle of a character, and bytes that are none: the line is UTF-8. */
static void lines_are_utf8(void **state) {
    (void)state;
    eq_err e = {0};
    eq_fail(&e, EQ_EINPUT, "%.4s|%.5s|%s", "ab\xc3\xa9", "ab\xe2\x82\xac\xe2",
            "\xff\xed\xa0\x80 \xf0\x9f\x98\x80");
    assert_string_equal(e.msg, "ab\xc3\xa9|ab\xe2\x82\xac|???? \xf0\x9f\x98\x80");
    e = (eq_err){0};
    eq_fail(&e, EQ_EINPUT, "%.3s", "ab\xc3\xa9");
    assert_string_equal(e.msg, "ab?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_utf8),
        cmocka_unit_test(errors),
        cmocka_unit_test(checked_products),
        cmocka_unit_test(memory),
        cmocka_unit_test(growing),
        cmocka_unit_test(strings),
        cmocka_unit_test(failing_on_request),
        cmocka_unit_test(json_values),
        cmocka_unit_test(json_errors),
        cmocka_unit_test(hashes),
        cmocka_unit_test(observers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

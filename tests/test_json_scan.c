/* The pull scanner beside jansson: what jansson reads, it reads the same way; what neither reads is
 * refused with a reason. */
#include <jansson.h>

#include "base/rng.h"
#include "base/str.h"
#include "format/json_scan.h"
#include "scratch.h"

/* Both on one text: accepted by jansson means accepted here, with the same "text" and members. */
static void beside_jansson(const char *p, int64_t n) {
    json_t *v = json_loadb(p, (size_t)n, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    eq_jscan s = eq_jscan_of(p, n), whole, key, member;
    bool good = eq_jscan_value(&s, &whole) && eq_jscan_end(&s);
    if (!good) assert_non_null(s.why);
    if (v) assert_true(good);
    if (v && json_is_object(v)) {
        size_t members = 0;
        const json_t *text = json_object_get(v, "text");
        eq_str out = {0};
        assert_int_equal(eq_jscan_find(whole, "text", &member), text != NULL);
        if (json_is_string(text)) {
            assert_true(eq_jscan_text(&member, &out));
            assert_int_equal(out.n, json_string_length(text));
            if (out.n) assert_memory_equal(out.p, json_string_value(text), (size_t)out.n);
        } else if (text) {
            assert_false(eq_jscan_text(&member, &out));
        }
        eq_str_free(&out);
        for (eq_jscan in = whole; eq_jscan_next(&in, &key, &member);) members++;
        assert_true(members >= json_object_size(v));
    }
    json_decref(v);
}

static void texts(void **state) {
    (void)state;
    static const char *const some[] = {"",
                                       " ",
                                       "0",
                                       "-0",
                                       "01",
                                       "1.",
                                       "1.5e",
                                       "1e+7",
                                       "-",
                                       "-1.25E-3",
                                       "+1",
                                       ".5",
                                       "1 2",
                                       "nul",
                                       "null",
                                       "true",
                                       "tru",
                                       "[]",
                                       "[ ]",
                                       "[1,]",
                                       "[,1]",
                                       "[1 2]",
                                       "{}",
                                       "{\"a\"}",
                                       "{\"a\":}",
                                       "{\"a\":1,}",
                                       "{,}",
                                       "{\"a\" : 1 , \"b\" : [ { } , [ ] ] }",
                                       "{\"text\":\"x\"}",
                                       "{\"text\":\"a\\u00e9\\n\\/\"}",
                                       "{\"text\":\"\\ud83d\\ude00\\u0000\"}",
                                       "{\"text\":\"\\x\"}",
                                       "{\"text\":\"\\u12\"}",
                                       "{\"text\":\"a\tb\"}",
                                       "{\"text\":\"\xc3\xa9\"}",
                                       "\"",
                                       "\"\\",
                                       "\"\\u",
                                       "{\"text\":[1,2]}",
                                       "[[[[",
                                       "]",
                                       "{\"text\":\"x\"}}",
                                       "{\"a\":1 \"b\":2}",
                                       "{1:2}",
                                       "[1}",
                                       "{\"a\":1]",
                                       "\"a\" ",
                                       "{\"t\\u0065xt\":\"y\"}"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        beside_jansson(some[i], (int64_t)strlen(some[i]));
}

/* Pieces of JSON put together at random: most are wrong somewhere, some are right. */
static void at_random(void **state) {
    (void)state;
    static const char *const piece[] = {
        "{", "}",      "[",    "]",    ",", ":",     "\"text\"",   "\"a\"",         "\"\\u00e9\"",
        "1", "-2.5e3", "true", "null", " ", "\"x\"", "{\"text\":", "\"text\":\"y\""};
    int read = 0;
    for (uint64_t k = 0; k < 200000; k++) {
        char text[256];
        int64_t n = 0, parts = 1 + (int64_t)(eq_rand_u64(k, 0) % 9);
        for (int64_t i = 0; i < parts; i++) {
            const char *p = piece[eq_rand_u64(k, (uint64_t)i + 1) % 17];
            memcpy(text + n, p, strlen(p));
            n += (int64_t)strlen(p);
        }
        beside_jansson(text, n);
        eq_jscan s = eq_jscan_of(text, n), v;
        read += eq_jscan_value(&s, &v) && eq_jscan_end(&s);
    }
    assert_true(read > 2000);
}

static void depth(void **state) {
    (void)state;
    static char text[10000];
    for (int levels = 2040; levels <= 2060; levels++) {
        memset(text, '[', (size_t)levels), memset(text + levels, ']', (size_t)levels);
        beside_jansson(text, 2 * levels);
        eq_jscan s = eq_jscan_of(text, 2 * levels), v;
        assert_int_equal(eq_jscan_value(&s, &v), levels <= 2048);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(at_random),
        cmocka_unit_test(depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

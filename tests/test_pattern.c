/* Oniguruma's regexes as PCRE2's: what is translated, what is refused, and what is found. */
#include "base/mem.h"
#include "scratch.h"
#include "text/pattern.h"

/* White space where a text is searched as it is. */
#define SPACES \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}" \
    "\\x{" \
    "205f}\\x{3000}"

static void translated(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"a|b", "a|b"},
        {"(a)(?:b)", "(?:a)(?:b)"},
        {"\\p{N}{1,3}", "\\p{N}{1,3}"},
        {"\\p{N}{1,3}+", "(?:\\p{N}{1,3})+"}, /* possessive in PCRE2, a repetition here */
        {"(?:ab){,2}+c", "(?:(?:ab){0,2})+c"},
        {"a++b*+c?+d+?", "a++b*+c?+d+?"},
        {"\\d\\D", "\\p{Nd}\\P{Nd}"},
        {"\\p{Han}\\p{^L}\\P{^Lu}\\p{Letter}", "\\p{sc:Han}\\P{L}\\p{Lu}\\p{L}"},
        {"\\v\\t[\\v\\n]", "\\x{b}\\x{9}[\\x{b}\\x{a}]"},
        {"[-a.\\]^]", "[\\-a\\.\\]\\^]"},
        {"x{|}", "x\\{|\\}"},
        {"(?i)it", "(?i)it"},
        {"(?i:'s|'t)", "(?i:\\'s|\\'t)"},
        {"[a[bc]d]", "[abcd]"},
        {"[^a[b-d]]", "[^ab-d]"},
        {"[a[^b]]", "(?:[a]|[^b])"},
        {"[^a[^b]]+", "(?:(?!(?:[a]|[^b]))(?s:.))+"},
        {"[a-z&&[^b]]", "(?:(?:(?=[a-z])(?:[^b])))"},
        {"[^a&&b&&c]", "(?:(?!(?:(?:(?=(?:(?:(?=[a])[b])))[c])))(?s:.))"},
        {"[\\x{2b000}-\\x{2ffff}]\\s", "[\xf0\xab\x80\x80-\xf0\xaf\xbf\xbf][" SPACES "]"},
        {"\\u00e9\\x41\\x{1F999}", "\xc3\xa9"
                                   "A\xf0\x9f\xa6\x99"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        eq_str out = {0};
        eq_err err = {0};
        bool as_is;
        if (eq_pattern_translate(&out, pairs[i][0], &as_is, "file", &err) != EQ_OK)
            fail_msg("%s", err.msg);
        assert_string_equal(out.p, pairs[i][1]);
        eq_str_free(&out);
    }
}

static void refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "[a&&]",
        "[&&a]",
        "[a[b]",
        "[a-[b]]",
        "[]a]",
        "(a)\\1",
        "\\K",
        "\\Ga",
        "\\R",
        "\\X",
        "(?m:.)",
        "a(?i)b",
        "(?<n>a)",
        "(?#c)",
        "(?~a)",
        "(?(1)a)",
        "a**",
        "a{1,2}{3}",
        "*a",
        "^*",
        "(?=a)*",
        "a{3}?",
        "(a",
        "a)",
        "[a",
        "\\",
        "\\p{Foo}",
        "\\pL",
        "\\xe9",
        "\\x{d800}",
        "\\u12",
        "(?i:ss)",
        "(?i:\xc3\xa9)",
        "(?i:\\p{Lu})",
        "(?i:[\\p{L}])",
        "\\p{Cyrillic}",
        "[\\w-z]",
        "[a-\\d]",
        "[\\W]",
        "[[:alpha:]]",
        "[\\x{2b000}-\\x{2ffff}]\\p{L}",
        "[\\x{2b000}-\\x{2ffff}]\\d",
        "[\\x{2b000}-\\x{2ffff}]\\b",
        "[\\S\\x{2b000}-\\x{2ffff}]",
        "\\h",
        "\\p{ L}",
        "\\0",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        eq_pattern *p;
        eq_err err = {0};
        if (eq_pattern_regex(&p, wrong[i], "tok.json", &err) == EQ_OK)
            fail_msg("%s is accepted", wrong[i]);
        check_error(&err, EQ_EINPUT, "tok.json", "regex", NULL);
        assert_null(p);
    }
}

/* All matches as "start-end" with a space behind each. */
static const char *matches(eq_pattern *p, const char *text, int64_t n) {
    static char out[512];
    eq_scan s = {0};
    int64_t lo, hi;
    bool found = true;
    out[0] = 0;
    assert_int_equal(eq_scan_start(&s, p, text, n, NULL), EQ_OK);
    while (eq_scan_next(&s, &found, &lo, &hi, NULL) == EQ_OK && found)
        sprintf(out + strlen(out), "%d-%d ", (int)lo, (int)hi);
    eq_scan_free(&s);
    return out;
}

static void check_matches(const char *regex, const char *text, const char *expected) {
    eq_pattern *p;
    eq_err err = {0};
    if (eq_pattern_regex(&p, regex, "file", &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_string_equal(matches(p, text, (int64_t)strlen(text)), expected);
    eq_pattern_free(p);
}

static void found(void **state) {
    (void)state;
    check_matches("a*", "baac", "0-0 1-3 4-4 "); /* no empty match right behind a match */
    check_matches("", "ab", "0-0 1-1 2-2 ");
    check_matches("^.", "a\nb", "0-1 2-3 "); /* ^ and $ stand at lines */
    check_matches(".$", "a\nb", "0-1 2-3 ");
    check_matches("\\s+(?!\\S)|\\s+", "a   b", "1-3 3-4 ");
    check_matches("(?i:s)", "S\xc5\xbf", "0-1 1-3 ");     /* long s folds to s */
    check_matches("\\s", "\xe1\xa0\x8e\xc2\x85", "3-5 "); /* U+180E is no white space */
    /* Younger than the data of PCRE2 10.42: a digit of Unicode 16, a letter of 15.1, a mark of
     * 16. */
    check_matches("\\p{N}+",
                  "\xf0\x90\xb5\x80"
                  "1",
                  "0-5 ");
    check_matches("\\p{Han}", "\xf0\xae\xaf\xb0", "0-4 ");
    check_matches("\\p{L}\\p{M}", "a\xe0\xa2\x97", "0-4 ");
    /* Such a range as it is written, the young ones in it and no others (U+0897; U+ABED stands for
     * it). */
    check_matches("[\\u0800-\\u4e00]", "a\xe0\xa2\x97\xea\xaf\xad", "1-4 ");
    check_matches("[[^a-m]&&\\w]+", "hello nonsense", "4-5 6-10 11-13 ");
    check_matches(" ?[^(\\s|[.,])]+", "ab c.|d", "0-2 2-4 6-7 ");
    /* The six signs of Latin-1 are word characters alone, not in a class. */
    check_matches("\\w+", "a\xc2\xb2 ", "0-3 ");
    check_matches("[\\w]+", "a\xc2\xb2 ", "0-1 ");
    check_matches("\\b", "e\xcc\x81 ", "0-0 3-3 ");
}

static void literals(void **state) {
    (void)state;
    json_t *spec = json_pack("{s:s}", "String", "aa");
    eq_pattern *p;
    assert_int_equal(eq_pattern_parse(&p, spec, "file", NULL), EQ_OK);
    assert_string_equal(matches(p, "aaaba", 5), "0-2 ");
    assert_string_equal(matches(p, "a\0aa", 4), "2-4 ");
    assert_string_equal(matches(p, "a", 1), "");
    eq_pattern_free(p);
    json_decref(spec);
    spec = json_pack("{s:s}", "Regexp", "aa");
    eq_err err = {0};
    assert_int_equal(eq_pattern_parse(&p, spec, "file", &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "file", "pattern", NULL);
    json_decref(spec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(translated),
        cmocka_unit_test(refused),
        cmocka_unit_test(found),
        cmocka_unit_test(literals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Merging against the definition: again and again the pair of lowest rank, the leftmost of those.
 * Random merges and words, short and long, so that the short way, the heap, the cut of long words
 * and the cache must all give the same. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "scratch.h"
#include "tiny_tokenizer.h"

enum { LETTERS = 4, MAX_MERGES = 40, MAX_WORD = 1200 };

typedef struct {
    int left[MAX_MERGES], right[MAX_MERGES], whole[MAX_MERGES];
    char token[LETTERS + MAX_MERGES][64];
    int tokens, n;
} rules;

static uint64_t seed, at;
static int64_t draw(int64_t n) { return (int64_t)(eq_rand_u64(seed, at++) % (uint64_t)n); }

static int find_token(const rules *r, const char *s) {
    for (int i = 0; i < r->tokens; i++)
        if (!strcmp(r->token[i], s)) return i;
    return -1;
}

/* Random merges of tokens that are there already; some make a token that another one made. */
static void make_rules(rules *r, int n) {
    memset(r, 0, sizeof *r);
    for (; r->tokens < LETTERS; r->tokens++) r->token[r->tokens][0] = (char)('a' + r->tokens);
    while (r->n < n) {
        int a = (int)draw(r->tokens), b = (int)draw(r->tokens), known = 0;
        char whole[160];
        snprintf(whole, sizeof whole, "%s%s", r->token[a], r->token[b]);
        for (int i = 0; i < r->n; i++) known |= r->left[i] == a && r->right[i] == b;
        if (known || strlen(whole) > 12) {
            if (draw(50) == 0) return;
            continue;
        }
        int w = find_token(r, whole);
        if (w < 0) strcpy(r->token[w = r->tokens++], whole);
        r->left[r->n] = a, r->right[r->n] = b, r->whole[r->n++] = w;
    }
}

static int64_t by_definition(const rules *r, int32_t *s, int64_t n) {
    for (;;) {
        int64_t place = -1;
        int rank = r->n;
        for (int64_t i = 0; i + 1 < n; i++)
            for (int k = 0; k < rank; k++)
                if (r->left[k] == s[i] && r->right[k] == s[i + 1]) rank = k, place = i;
        if (place < 0) return n;
        s[place] = r->whole[rank];
        memmove(s + place + 1, s + place + 2, (size_t)(n - place - 2) * sizeof *s);
        n--;
    }
}

static eq_tokenizer *open_rules(const rules *r) {
    eq_str merges = {0};
    eq_str_puts(&merges, "");
    for (int i = 0; i < r->n; i++)
        eq_str_printf(&merges, "%s%s %s", i ? ";" : "", r->token[r->left[i]],
                      r->token[r->right[i]]);
    eq_tokenizer *t = tiny_tokenizer_open(&(tiny_tokenizer){.chars = "abcd", .merges = merges.p});
    eq_str_free(&merges);
    return t;
}

static void check_word(const rules *r, const eq_tokenizer *t, int64_t n, int letters) {
    static char word[MAX_WORD];
    static int32_t s[MAX_WORD];
    for (int64_t i = 0; i < n; i++) {
        s[i] = (int32_t)draw(letters);
        word[i] = (char)('a' + s[i]);
    }
    eq_ids ids = {0};
    assert_int_equal(eq_encode(t, &ids, word, n, false, NULL), EQ_OK);
    int64_t want = by_definition(r, s, n);
    assert_int_equal(ids.n, want);
    for (int64_t i = 0; i < want; i++) {
        char *got = eq_decode(t, ids.p + i, 1, false);
        assert_string_equal(got, r->token[s[i]]);
        eq_free(got);
    }
    eq_ids_free(&ids);
}

static void merges_as_defined(void **state) {
    (void)state;
    static rules r;
    for (seed = 0; seed < 60; seed++) {
        at = 0;
        make_rules(&r, 1 + (int)draw(MAX_MERGES));
        eq_tokenizer *t = open_rules(&r);
        for (int k = 0; k < 12; k++) check_word(&r, t, 1 + draw(60), 1 + (int)draw(LETTERS));
        check_word(&r, t, 1 + draw(400), 1 + (int)draw(LETTERS));
        if (seed % 20 == 0) check_word(&r, t, MAX_WORD, 2);
        eq_tokenizer_close(t);
    }
}

/* One word of 4 million letters, which no gap divides. Quadratic time would take hours. */
static void long_word_is_fast(void **state) {
    (void)state;
    int64_t n = 4 << 20;
    char *word = eq_calloc(n, 1);
    assert_non_null(word);
    memset(word, 'a', (size_t)n);
    eq_tokenizer *t = tiny_tokenizer_open(
        &(tiny_tokenizer){.chars = "a", .merges = "a a;aa aa;aaaa aaaa;aaaaaaaa aaaaaaaa"});
    eq_ids ids = {0};
    assert_int_equal(eq_encode(t, &ids, word, n - 1, false, NULL), EQ_OK);
    assert_int_equal(ids.n, n / 16 + 3); /* 15 letters are left over: 8 + 4 + 2 + 1 */
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
    eq_free(word);
}

static void unknown_characters(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = "ab", .merges = "a b", .tokens = "<unk>;<0xC3>;<0xA9>;<0xE2>"};
    s.model = "'unk_token':'<unk>','fuse_unk':false";
    tiny_check(&s, "abxyb", "ab|<unk>|<unk>|b");
    s.model = "'unk_token':'<unk>','fuse_unk':true";
    tiny_check(&s, "abxyb", "ab|<unk>|b");
    s.model = "'unk_token':null";
    tiny_check(&s, "axb", "ab"); /* nothing is left of x: a and b are neighbours */
    /* Only characters all of whose bytes are there fall back; a waiting <unk> comes behind them. */
    s.model = "'unk_token':'<unk>','fuse_unk':true,'byte_fallback':true";
    tiny_check(&s,
               "a\xe2\x82\xac\xc3\xa9\xe2\x82\xac\xe2\x82\xac"
               "ab",
               "a|<0xC3>|<0xA9>|<unk>|ab");
    s.model = "'unk_token':'<unk>','fuse_unk':false,'byte_fallback':true";
    tiny_check(&s,
               "a\xe2\x82\xac\xc3\xa9\xe2\x82\xac\xe2\x82\xac"
               "ab",
               "a|<0xC3>|<0xA9>|<unk>|<unk>|<unk>|ab");
    s.model = "'unk_token':'<none>'";
    eq_tokenizer *t = tiny_tokenizer_open(&s);
    eq_err err = {0};
    eq_ids ids = {0};
    assert_int_equal(eq_encode(t, &ids, "ab", 2, false, &err), EQ_OK);
    assert_int_equal(eq_encode(t, &ids, "ax", 2, false, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "tokenizer.json", "<none>", NULL);
    assert_int_equal(ids.n, 1); /* a failed call takes nothing along */
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
}

static void ignore_merges(void **state) {
    (void)state;
    tiny_tokenizer s = {
        .chars = "abc", .merges = "a b", .tokens = "abc;abcabcabcabcabcabcabcabcabcabcabc"};
    tiny_check(&s, "abc", "ab|c");
    s.model = "'ignore_merges':true";
    tiny_check(&s, "abc", "abc");
    tiny_check(&s, "abcabcabcabcabcabcabcabcabcabcabc", "abcabcabcabcabcabcabcabcabcabcabc");
    tiny_check(&s, "abcabc", "ab|c|ab|c"); /* only the whole word counts */
    s.rest = "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true}";
    s.chars = NULL, s.merges = "\xc4\xa0 a;a b",
    s.tokens = "\xc4\xa0"
               "abc";
    tiny_check(&s, "abc abc",
               "ab|c|\xc4\xa0"
               "abc");
}

static void merge_forms(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = "ab", .tokens = "ab;ba"};
    s.model = "'merges':['#version: 0.2','a b']";
    tiny_check(&s, "aba", "ab|a");
    s.model = "'merges':[['b','a'],['a','b']]";
    tiny_check(&s, "aba", "a|ba");
    s.model = "'merges':['a b','b a','a b']"; /* the last of equal ones says the rank */
    tiny_check(&s, "aba", "a|ba");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_as_defined),  cmocka_unit_test(long_word_is_fast),
        cmocka_unit_test(unknown_characters), cmocka_unit_test(ignore_merges),
        cmocka_unit_test(merge_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

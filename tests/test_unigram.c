/* Unigram against the definition: of all ways to cut a word the one with the largest sum. Random
 * pieces and words, short and longer than what is given out at once; unknown characters, their
 * bytes, tables of characters, broken files. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "scratch.h"
#include "text/base64.h"
#include "text/charsmap.h"
#include "text/unigram.h"
#include "tiny_tokenizer.h"

#define META "\xe2\x96\x81"

enum { PIECES = 24, MAX_WORD = 60000 };
static uint64_t seed, at;
static int64_t draw(int64_t n) { return (int64_t)(eq_rand_u64(seed, at++) % (uint64_t)n); }

typedef struct {
    char s[PIECES][8];
    double score[PIECES];
    int n;
} pieces;

static void make_pieces(pieces *p) {
    *p = (pieces){.n = 1};
    strcpy(p->s[0], "<unk>");
    while (p->n < PIECES) {
        char s[8] = "";
        for (int64_t k = p->n < 3 ? 0 : draw(5); k >= 0; k--) s[strlen(s)] = (char)('a' + draw(3));
        int known = 0;
        for (int i = 0; i < p->n; i++) known |= !strcmp(p->s[i], s);
        if (known && draw(20)) continue;
        if (known) break;
        strcpy(p->s[p->n], s);
        p->score[p->n++] = -(double)(1 + draw(64)) / 8; /* sums are exact: the best one is clear */
    }
}

static eq_tokenizer *open_pieces(const pieces *p) {
    eq_str s = {0};
    for (int i = 0; i < p->n; i++) eq_str_printf(&s, "%s%s %g", i ? ";" : "", p->s[i], p->score[i]);
    eq_tokenizer *t = tiny_tokenizer_open(&(tiny_tokenizer){.pieces = s.p, .model = "'unk_id':0"});
    eq_str_free(&s);
    return t;
}

/* The best sum of a word of known letters. */
static double best_sum(const pieces *p, const char *w, int64_t n) {
    static double best[MAX_WORD + 1];
    for (int64_t i = 1; i <= n; i++) {
        best[i] = -INFINITY;
        for (int k = 1; k < p->n; k++) {
            int64_t len = (int64_t)strlen(p->s[k]);
            if (len <= i && !memcmp(w + i - len, p->s[k], (size_t)len))
                best[i] = fmax(best[i], best[i - len] + p->score[k]);
        }
    }
    return best[n];
}

static void check_word(const pieces *p, const eq_tokenizer *t, int64_t n, int letters) {
    static char word[MAX_WORD + 1];
    for (int64_t i = 0; i < n; i++) word[i] = (char)('a' + draw(letters));
    eq_ids ids = {0};
    assert_int_equal(eq_encode(t, &ids, word, n, false, NULL), EQ_OK);
    double sum = 0;
    int64_t done = 0;
    for (int64_t i = 0; i < ids.n; i++) {
        const char *s = p->s[ids.p[i]];
        assert_memory_equal(word + done, s, strlen(s));
        sum += p->score[ids.p[i]], done += (int64_t)strlen(s);
    }
    assert_int_equal(done, n);
    assert_true(sum == best_sum(p, word, n));
    eq_ids_free(&ids);
}

static void best_way(void **state) {
    (void)state;
    static pieces p;
    for (seed = 0; seed < 40; seed++) {
        at = 0;
        make_pieces(&p);
        bool all = true;
        for (char c = 'a'; c <= 'c'; c++) {
            bool is = false;
            for (int i = 1; i < p.n; i++) is |= p.s[i][0] == c && !p.s[i][1];
            all &= is;
        }
        if (!all) continue; /* what is unknown has a test of its own */
        eq_tokenizer *t = open_pieces(&p);
        for (int k = 0; k < 10; k++) check_word(&p, t, 1 + draw(60), 3);
        check_word(&p, t, 2000, 2);
        if (seed % 10 == 0) check_word(&p, t, MAX_WORD, 3);
        eq_tokenizer_close(t);
    }
}

/* No place of this word can be given out before its end: "ab" and "ba" go across every one. */
static void long_word_without_a_gap(void **state) {
    (void)state;
    int64_t n = 1 << 20;
    char *word = eq_calloc(n, 1);
    for (int64_t i = 0; i < n; i++) word[i] = i % 2 ? 'b' : 'a';
    eq_tokenizer *t = tiny_tokenizer_open(
        &(tiny_tokenizer){.pieces = "a -3;b -3;ab -4;ba -4.5", .model = "'unk_id':null"});
    eq_ids ids = {0};
    assert_int_equal(eq_encode(t, &ids, word, n - 1, false, NULL), EQ_OK);
    assert_int_equal(ids.n, n / 2);
    for (int64_t i = 0; i < ids.n; i++) assert_int_equal(ids.p[i], i + 1 < ids.n ? 2 : 0);
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
    eq_free(word);
}

static void unknown(void **state) {
    (void)state;
    tiny_tokenizer s = {.pieces = "<unk> 0;a -1;b -1.5;xy -2;<0xC3> -9;<0xA9> -9",
                        .model = "'unk_id':0"};
    tiny_check(&s, "axa", "a|<unk>|a");
    tiny_check(&s, "axxxa", "a|<unk>|a"); /* neighbours are one */
    tiny_check(&s, "axya", "a|xy|a");
    tiny_check(&s, "a<unk>xa", "a|<unk>|a"); /* its own text is one of them */
    tiny_check(&s, "\xc3\xa9", "<unk>");
    s.model = "'unk_id':0,'byte_fallback':true";
    tiny_check(&s, "a\xc3\xa9\xc3\xa9", "a|<0xC3>|<0xA9>|<0xC3>|<0xA9>");
    tiny_check(&s, "\xc3\xa9x", "<unk>"); /* all of a run or nothing */
    s.model = "'byte_fallback':false";
    eq_tokenizer *t = tiny_tokenizer_open(&s);
    eq_ids ids = {0};
    eq_err err = {0};
    assert_int_equal(eq_encode(t, &ids, "ab", 2, false, NULL), EQ_OK);
    assert_int_equal(eq_encode(t, &ids, "ac", 2, false, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "tokenizer.json", "unknown token", NULL);
    assert_int_equal(ids.n, 2);
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
    /* of equal pieces the last one counts, with its score */
    s = (tiny_tokenizer){.pieces = "ab -9;a -1;b -1;ab -1.5", .model = "'unk_id':null"};
    t = tiny_tokenizer_open(&s);
    assert_int_equal(eq_encode(t, &ids, "ab", 2, false, NULL), EQ_OK);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.p[0], 3);
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
}

/* Of equal sums the one that comes first stays: that of the token which begins further left. */
static void equal_sums(void **state) {
    (void)state;
    tiny_tokenizer s = {.pieces = "<unk> 0;a -1;aa -2;xa -50;b -0.5", .model = "'unk_id':0"};
    tiny_check(&s, "aa", "aa");
    tiny_check(&s, "aaa", "a|aa");
    tiny_check(&s, "xa", "xa"); /* unknown costs 10 more than the least */
    s.pieces = "<unk> 0;b -0.5;xb -50";
    tiny_check(&s, "xb", "xb");
}

/* "aaa" and three times "a" have the same sum; behind a long row of b, whose sum has fewer places
 * for them, they do not. */
static void sums_of_the_whole_word(void **state) {
    (void)state;
    enum { ROW = 20000 };
    static char word[ROW + 3], text[200];
    double sum = 0, x = 0, z = 0;
    bool apart = false;
    memset(word, 'b', ROW), memset(word + ROW, 'a', 3);
    for (int i = 0; i < ROW; i++) sum += -1.7;
    for (int k = 1; k < 1000 && !apart; k++) {
        x = -(double)(1000 + k) / 1024 / 1.25; /* 15 digits say it */
        snprintf(text, sizeof text, "%.15g", x);
        x = strtod(text, NULL), z = x + x + x;
        snprintf(text, sizeof text, "%.15g", z);
        apart = strtod(text, NULL) == z && sum + x + x + x > sum + z;
    }
    assert_true(apart);
    snprintf(text, sizeof text, "<unk> 0;b -1.7;aaa %.15g;a %.15g", z, x);
    eq_tokenizer *t = tiny_tokenizer_open(&(tiny_tokenizer){.pieces = text, .model = "'unk_id':0"});
    eq_ids ids = {0};
    assert_int_equal(eq_encode(t, &ids, word, sizeof word, false, NULL), EQ_OK);
    assert_int_equal(ids.n, ROW + 3);
    ids.n = 0;
    assert_int_equal(eq_encode(t, &ids, "aaa", 3, false, NULL), EQ_OK);
    assert_int_equal(ids.n, 1);
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
}

/* Found by reading numbers with Hugging Face `tokenizers` 0.23.3 and writing them again. */
static void scores(void **state) {
    (void)state;
    static const double read[][2] = {{-10.266640656135307, -10.266640656135309},
                                     {-10.792631190848203, -10.792631190848205},
                                     {-10.048692909832399, -10.0486929098324},
                                     {-2.5, -2.5},
                                     {0, 0},
                                     {-123456789.125, -123456789.125}};
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        assert_true(eq_unigram_score(read[i][0]) == read[i][1]);
}

static void t5_kind(void **state) {
    (void)state;
    tiny_tokenizer s = {.pieces = "<unk> 0;</s> 0;" META " -2;" META "a -1;b -1;ab -1.2;a -3",
                        .model = "'unk_id':0"};
    s.rest =
        "'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'WhitespaceSplit'},{'type':"
        "'Metaspace','replacement':'" META "','prepend_scheme':'always','split':true}]},"
        "'post_processor':{'type':'TemplateProcessing','single':[{'Sequence':{'id':'A','type_id':0}"
        "},"
        "{'SpecialToken':{'id':'</s>','type_id':0}}],'pair':[],'special_tokens':{'</s>':{'id':'</"
        "s>',"
        "'ids':[1],'tokens':['</s>']}}}";
    tiny_check(&s, "ab  ab b", META "a|b|" META "a|b|" META "|b");
    /* as bytes of the byte-level alphabet */
    s = (tiny_tokenizer){.pieces = "<unk> 0;a -1;\xc3\x83\xc2\xa9 -1;\xc4\xa0 -1",
                         .model = "'unk_id':0"};
    s.rest = "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true,'"
             "use_regex':"
             "false}";
    tiny_check(&s, "a \xc3\xa9", "a|\xc4\xa0|\xc3\x83\xc2\xa9");
}

/* ---- tables of characters -------------------------------------------------------------------- */

/* A double array of a few keys, made the plain way: every node has a block of 256 units. */
static void make_charsmap(eq_str *base64, const char *const (*map)[2], int n) {
    enum { NODES = 40, UNITS = NODES * 256 };
    static uint32_t unit[UNITS];
    static int child[NODES][256], leaf[NODES];
    eq_str strings = {0}, raw = {0};
    int nodes = 1;
    memset(unit, 0, sizeof unit), memset(child, 0, sizeof child), memset(leaf, 0xff, sizeof leaf);
    for (int i = 0; i < n; i++) {
        int node = 0;
        for (const char *c = map[i][0]; *c; c++) {
            int *next = &child[node][(uint8_t)*c];
            if (!*next) *next = nodes++;
            assert_true(nodes < NODES);
            node = *next;
        }
        leaf[node] = (int)strings.n;
        eq_str_put(&strings, map[i][1], (int64_t)strlen(map[i][1]) + 1);
    }
    /* Node k's children are at place ^ label, where place is the start of block k; the unit of a
     * node holds its own place ^ that of its children as the offset. */
    for (int k = 0; k < nodes; k++)
        for (int c = 1; c < 256; c++)
            if (child[k][c]) {
                uint32_t here = (uint32_t)(k * 256) ^ (uint32_t)c;
                uint32_t there = (uint32_t)child[k][c] * 256;
                uint32_t offset = here ^ there;
                assert_true(offset < 1u << 21);
                unit[here] = (uint32_t)c | offset << 10 | (leaf[child[k][c]] >= 0 ? 1u << 8 : 0);
                if (leaf[child[k][c]] >= 0) unit[there] = 1u << 31 | (uint32_t)leaf[child[k][c]];
            }
    unit[0] = 0; /* the root: its children are in block 0 */
    uint32_t bytes = sizeof unit;
    eq_str_put(&raw, &bytes, 4);
    eq_str_put(&raw, unit, sizeof unit);
    eq_str_put(&raw, strings.p, strings.n);
    eq_base64_encode(base64, raw.p, raw.n);
    eq_str_free(&raw), eq_str_free(&strings);
}

static void check_map(const eq_charsmap *m, const char *text, const char *want, int64_t head) {
    eq_str out = {0};
    eq_err err = {0};
    int64_t got;
    if (eq_charsmap_run(m, &out, text, (int64_t)strlen(text), &got, &err) != EQ_OK)
        fail_msg("%s", err.msg);
    eq_str_put(&out, "", 0);
    assert_string_equal(out.p, want);
    assert_int_equal(got, head);
    eq_str_free(&out);
}

static void charsmaps(void **state) {
    (void)state;
    static const char *const map[][2] = {{"a", "A"},
                                         {"\r", " "},
                                         {"e\xcc\x81", "\xc3\xa9"},
                                         {"\xef\xac\x81", "fi"},
                                         {"\xcc\x82", ""}};
    eq_str b = {0};
    eq_charsmap *m;
    make_charsmap(&b, map, 5);
    assert_int_equal(eq_charsmap_new(&m, b.p, b.n, "file", NULL), EQ_OK);
    check_map(m, "bab", "bAb", 1);
    check_map(m, "\xef\xac\x81x", "fix", 2);
    check_map(m, "e\xcc\x81", "\xc3\xa9", 2);
    /* a cluster that begins with something in the table becomes that, mark and all */
    check_map(m, "a\xcc\x81z", "Az", 1);
    check_map(m, "\r\nz", " z", 1);
    check_map(m, "x\xcc\x82z", "xz", 1);
    /* one of 6 bytes or more does so character by character */
    check_map(m, "a\xcc\x81\xcc\x81\xcc\x81z", "A\xcc\x81\xcc\x81\xcc\x81z", 1);
    check_map(m, "", "", -1);
    eq_charsmap_free(m);
    tiny_tokenizer s = {.chars = "Afib \xcc\x81"};
    eq_str rest = {0};
    eq_str_printf(&rest, "'normalizer':{'type':'Precompiled','precompiled_charsmap':'%s'}", b.p);
    s.rest = rest.p;
    tiny_check(&s, "ba\xef\xac\x81", "b|A|f|i");
    eq_str_free(&rest);
    eq_str_free(&b);
}

static void broken_charsmaps(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "", "!!!!", "AAAA", "AAAAAA==", "BAAAAAAAAAA=x", "BQAAAAAAAAAA", "BAAAAAAAAAD/"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        eq_charsmap *m;
        eq_err err = {0};
        if (eq_charsmap_new(&m, wrong[i], (int64_t)strlen(wrong[i]), "file", &err) == EQ_OK)
            fail_msg("\"%s\" is accepted", wrong[i]);
        check_error(&err, EQ_EINPUT, "file", "Precompiled", NULL);
        assert_null(m);
    }
    /* offsets that lead out of the table are found when they are reached */
    uint32_t unit[2] = {8, 0xfffffc00};
    eq_str raw = {0}, b = {0};
    eq_charsmap *m;
    eq_str_put(&raw, unit, 8);
    eq_str_put(&raw, "\0\0\0\0", 4);
    eq_base64_encode(&b, raw.p, raw.n);
    assert_int_equal(eq_charsmap_new(&m, b.p, b.n, "file", NULL), EQ_OK);
    eq_str out = {0};
    eq_err err = {0};
    int64_t head;
    assert_int_equal(eq_charsmap_run(m, &out, "a", 1, &head, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "charsmap", "broken", NULL);
    eq_charsmap_free(m);
    eq_str_free(&raw), eq_str_free(&b), eq_str_free(&out);
}

static void base64(void **state) {
    (void)state;
    static const char bytes[] = "\0\xff"
                                "abc~";
    for (int64_t n = 0; n < 7; n++) {
        eq_str a = {0}, b = {0};
        eq_str_put(&a, "", 0), eq_str_put(&b, "", 0);
        eq_base64_encode(&a, bytes, n);
        assert_true(eq_base64_decode(&b, a.p, a.n));
        assert_int_equal(b.n, n);
        assert_memory_equal(b.p, bytes, (size_t)n);
        eq_str_free(&a), eq_str_free(&b);
    }
    static const char *const wrong[] = {
        "A", "AA", "AAA", "A===", "AB==", "AAB=", "AA=A", "AAAA====", "AA A"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        eq_str b = {0};
        assert_false(eq_base64_decode(&b, wrong[i], (int64_t)strlen(wrong[i])));
        eq_str_free(&b);
    }
}

static void errors(void **state) {
    (void)state;
    static const struct {
        const char *pieces, *model, *word;
    } cases[] = {{"a -1", "'unk_id':1", "unk_id 1"},
                 {"a -1", "'unk_id':-1", "unk_id"},
                 {"a -1", "'unk_id':0,'more':1", "more"},
                 {"a -1", "'unk_id':0,'vocab':{}", "an array"},
                 {"a -1", "'unk_id':0,'vocab':[['a']]", "token 0"},
                 {"a -1", "'unk_id':0,'vocab':[['a',0],[1,2]]", "token 1"},
                 {"a -1", "'unk_id':0,'vocab':[['a','b']]", "token 0"},
                 {"a -1", "'unk_id':0,'byte_fallback':1", "byte_fallback"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_tokenizer *t;
        eq_err err = {0};
        tiny_tokenizer s = {.pieces = cases[i].pieces, .model = cases[i].model};
        if (eq_tokenizer_open(&t, tiny_tokenizer_file(&s), &err) == EQ_OK)
            fail_msg("%s is accepted", cases[i].model);
        check_error(&err, EQ_EINPUT, "tokenizer.json", cases[i].word, NULL);
    }
}

static void memory_runs_out(void **state) {
    (void)state;
    tiny_tokenizer s = {.pieces = "<unk> 0;a -1;ab -1.5;<0xC3> -2;<0xA9> -2",
                        .model = "'unk_id':0,'byte_fallback':true"};
    const char *path = tiny_tokenizer_file(&s);
    int64_t before = eq_mem_current();
    for (int64_t nth = 1, failed = 1; failed; nth++) {
        eq_tokenizer *t = NULL;
        eq_ids ids = {0};
        eq_err err = {0};
        eq_mem_fail_nth(nth);
        eq_status st = eq_tokenizer_open(&t, path, &err);
        if (st == EQ_OK)
            st = eq_encode(t, &ids,
                           "aab\xc3\xa9zabababababababababababababababababababababababababababababa"
                           "bababababababab",
                           78, false, &err);
        failed = st != EQ_OK;
        eq_mem_fail_nth(0);
        if (failed) check_error(&err, EQ_ENOMEM, "memory", NULL);
        eq_ids_free(&ids);
        eq_tokenizer_close(t);
        assert_int_equal(eq_mem_current(), before);
        assert_true(nth < 500);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_way),         cmocka_unit_test(long_word_without_a_gap),
        cmocka_unit_test(unknown),          cmocka_unit_test(scores),
        cmocka_unit_test(equal_sums),       cmocka_unit_test(sums_of_the_whole_word),
        cmocka_unit_test(t5_kind),          cmocka_unit_test(charsmaps),
        cmocka_unit_test(broken_charsmaps), cmocka_unit_test(base64),
        cmocka_unit_test(errors),           cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

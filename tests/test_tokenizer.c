/* Tokenizers written on the spot, one for each feature of tokenizer.json. What is expected was
 * compared with Hugging Face `tokenizers` (tools/peer_tokenizer.py does so for every feature). */
#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "scratch.h"
#include "tiny_tokenizer.h"

#define META "\xe2\x96\x81" /* lower one eighth block: sentencepiece's space */
#define R "\xef\xbf\xbd"    /* the replacement character */
#define GH "\xc4\xa0"       /* byte-level BPE's space */
#define QWEN2 \
    "(?i:\\u0027s|\\u0027t|\\u0027re|\\u0027ve|\\u0027m|\\u0027ll|\\u0027d)|" \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|" \
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static const char spm_normalizer[] =
    "'normalizer':{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':'" META "'},"
    "{'type':'Replace','pattern':{'String':' '},'content':'" META "'}]}";

static void sentencepiece_kind(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = META "abc<>/s", .rest = spm_normalizer};
    s.merges = META " a;" META "a b;" META " " META;
    tiny_check(&s, "ab ab  ab", META "ab|" META "ab|" META "|" META "ab");
    tiny_check(&s, "", "");
    tiny_check(&s, " ", META META);
}

static void normalizers(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"{'type':'NFC'}", "e\xcc\x81\xcc\xa3", "\xe1\xba\xb9|\xcc\x81"},
        {"{'type':'NFD'}", "\xc3\xa9", "e|\xcc\x81"},
        {"{'type':'NFKC'}", "\xef\xac\x81", "f|i"},
        {"{'type':'NFKD'}", "\xef\xac\x81\xc3\xa9", "f|i|e|\xcc\x81"},
        {"{'type':'NFD'}", "e\xcc\x81\xcc\xa3", "e|\xcc\xa3|\xcc\x81"}, /* marks change places */
        {"{'type':'NFD'}", "e\xcc\x81\xe0\xa2\x98\xcc\xa3",
         "e|\xcc\x81|\xe0\xa2\x98|\xcc\xa3"}, /* U+0898 is too young */
        {"{'type':'Lowercase'}", "FE\xc4\xb0", "f|e|i|\xcc\x87"},
        {"{'type':'Strip','strip_left':true,'strip_right':false}", " \n f ", "f| "},
        {"{'type':'Strip','strip_left':false,'strip_right':true}", " f \xe3\x80\x80", " |f"},
        {"{'type':'Replace','pattern':{'Regex':'f+'},'content':'i'}", "ffef", "i|e|i"},
        {"{'type':'Replace','pattern':{'String':'ff'},'content':''}", "fffe", "f|e"},
        {"{'type':'Prepend','prepend':'if'}", "e", "i|f|e"},
        {"{'type':'Sequence','normalizers':[]}", "fe", "f|e"},
        {"{'type':'StripAccents'}",
         "e\xcc\x81\xe0\xa2\x98"
         "f",
         "e|\xe0\xa2\x98|f"}, /* too young */
        {"{'type':'Nmt'}",
         "f\xe2\x80\x8b"
         "e\x01i\n",
         "f| |e|i| "},
        {"null", "fe", "f|e"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char rest[300];
        snprintf(rest, sizeof rest, "'normalizer':%s", cases[i][0]);
        tiny_check(
            &(tiny_tokenizer){.chars = "fie \xe1\xba\xb9\xcc\x81\xcc\x87\xcc\xa3\xe0\xa2\x98",
                              .rest = rest},
            cases[i][1], cases[i][2]);
    }
}

static void check_words(const char *pre, const char *text, const char *expected) {
    /* Merges that glue everything within a word, so that the tokens are the words. */
    static const tiny_tokenizer glue = {.chars = "ab1,- " META,
                                        .merges =
                                            "a a;a b;b a;a 1;1 1;1 a;, ,;, a;a ,;- ,;- -;" META
                                            " a;" META " " META ";1 ,;ab a;, b;a -;11 1;b b"};
    tiny_tokenizer s = glue;
    char rest[500];
    snprintf(rest, sizeof rest, "'pre_tokenizer':%s", pre);
    s.rest = rest;
    tiny_check(&s, text, expected);
}

static void pretokenizers(void **state) {
    (void)state;
#define SPLIT(how, inv) \
    "{'type':'Split','pattern':{'String':'a'},'behavior':'" how "','invert':" inv "}"
    check_words(SPLIT("Removed", "false"), "baab", "b|b");
    check_words(SPLIT("Isolated", "false"), "baab", "b|a|a|b");
    check_words(SPLIT("MergedWithPrevious", "false"), "baab", "ba|a|b");
    check_words(SPLIT("MergedWithNext", "false"), "baab", "b|a|ab");
    check_words(SPLIT("Contiguous", "false"), "baab", "b|aa|b");
    check_words(SPLIT("Removed", "true"), "baab", "a|a");
    check_words(SPLIT("Contiguous", "true"), "bbaab", "bb|aa|b");
    check_words(SPLIT("MergedWithPrevious", "true"), "abba",
                "ab|b|a"); /* abb and a; abb is no token */
    check_words("{'type':'Split','pattern':{'Regex':'1+|,'},'behavior':'Isolated','invert':false}",
                "a11,a", "a|11|,|a");
    check_words("{'type':'Digits','individual_digits':true}", "a11", "a|1|1");
    check_words("{'type':'Digits','individual_digits':false}", "a11", "a|11");
    check_words("{'type':'Punctuation'}", "a,,a-", "a|,|,|a|-");
    check_words("{'type':'Punctuation','behavior':'Contiguous'}", "a,,a", "a|,,|a");
    check_words("{'type':'WhitespaceSplit'}", " a, \n aa", "a,|aa");
    check_words("{'type':'Whitespace'}", " a,, a", "a|,,|a");
    check_words("{'type':'Sequence','pretokenizers':[{'type':'Digits','individual_digits':true},{'"
                "type':'Punctuation'}]}",
                "a,11", "a|,|1|1");
    check_words("{'type':'Metaspace','replacement':'" META "'}", "a a", META "a|" META "a");
    check_words("{'type':'Metaspace','replacement':'" META "','prepend_scheme':'never'}", "a a",
                "a|" META "a");
    check_words("{'type':'Metaspace','replacement':'" META
                "','prepend_scheme':'always','split':false}",
                "  a", META "|" META "a");
    check_words("null", "aa", "aa");
    check_words("{'type':'UnicodeScripts'}", "  ab1 1,ab", "ab|1| |1,|ab"); /* spaces in front go */
    check_words("{'type':'FixedLength','length':2}", "aabab", "aa|ba|b");
    check_words("{'type':'CharDelimiterSplit','delimiter':'1'}", "1aa11b", "aa|b");
}

static void metaspace_first(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = META "ab", .merges = META " a", .tokens = "<s>"};
    s.rest = "'pre_tokenizer':{'type':'Metaspace','replacement':'" META
             "','prepend_scheme':'first','split':true},"
             "'added_tokens':[{'id':4,'content':'<s>','single_word':false,'lstrip':false,'rstrip':"
             "false,'normalized':false,'special':true}]";
    tiny_check(&s, "a a", META "a|" META "a");
    tiny_check(&s, "<s>a", "<s>|a"); /* not the beginning of the text */
    tiny_check(&s, "a<s>a", META "a|<s>|a");
}

static void byte_level(void **state) {
    (void)state;
    tiny_tokenizer s = {.merges = "a b;" GH " ab;' l;'l l;1 2;12 3;" GH " " GH
                                  ";\xc3\x83 \xc2\xa9;\xc4\x8a \xc4\x8a"};
    s.rest = "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true}";
    tiny_check(&s, "ab ab'll  ab123", "ab|" GH "ab|'ll|" GH "|" GH "ab|123");
    tiny_check(&s, "\xc3\xa9", "\xc3\x83\xc2\xa9"); /* two bytes, one token */
    s.rest = "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'use_"
             "regex':false}";
    tiny_check(&s, "ab", GH "ab");
    tiny_check(&s, " ab", GH "ab");
    /* Followed by another step, the alphabet is text. */
    s.rest =
        "'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'ByteLevel','add_prefix_space'"
        ":true,'trim_offsets':true},"
        "{'type':'Split','pattern':{'String':'" GH "'},'behavior':'Isolated','invert':false}]}";
    tiny_check(&s, "ab ab", GH "|ab|" GH "|ab");
}

static void qwen2_kind(void **state) {
    (void)state;
    tiny_tokenizer s = {
        .merges = "a b;" GH
                  " ab;' L;'L L;1 2;\xc3\x83 \xc2\xa9;\xc4\x8a \xc4\x8a;! !;!! \xc4\x8a\xc4\x8a"};
    s.rest =
        "'normalizer':{'type':'NFC'},'pre_tokenizer':{'type':'Sequence','pretokenizers':["
        "{'type':'Split','pattern':{'Regex':'" QWEN2 "'},'behavior':'Isolated','invert':false},"
        "{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':false,'use_regex':false}]}";
    tiny_check(&s, "ab ab'LLab", "ab|" GH "ab|'LL|ab");
    tiny_check(&s, "12", "1|2"); /* every digit alone */
    tiny_check(&s, "e\xcc\x81", "\xc3\x83\xc2\xa9");
    tiny_check(&s, "!!\n\nab", "!!\xc4\x8a\xc4\x8a|ab");
}

#define ADDED(id, text, flags) "{'id':" #id ",'content':'" text "'," flags "}"
#define PLAIN "'single_word':false,'lstrip':false,'rstrip':false,'normalized':false,'special':true"

static void added_tokens(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = "ab <>x", .merges = "a b"};
    s.rest = "'added_tokens':[" ADDED(7, "<x>", PLAIN) "," ADDED(8, "<x>x", PLAIN) "]";
    tiny_check(&s, "ab<x>ab<x>x<x", "ab|<x>|ab|<x>x|<|x"); /* the longest */
    s.rest = "'added_tokens':[" ADDED(
        7, "<x>",
        "'single_word':true,'lstrip':false,'rstrip':false,'normalized':false,'special':false") "]";
    tiny_check(&s, "a<x> <x> <x>b", "a|<|x|>| |<x>| |<|x|>|b");
    s.rest = "'added_tokens':[" ADDED(
        7, "<x>",
        "'single_word':false,'lstrip':true,'rstrip':true,'normalized':false,'special':false") "]";
    tiny_check(&s, "a  <x> \n b", "a|<x>|b");
    tiny_check(&s, "<x>  <x>", "<x>|<x>");
    /* One that is white space takes all of a run; the next match in it is empty and does not count.
     */
    s.rest = "'added_tokens':[" ADDED(
        7, "  ",
        "'single_word':false,'lstrip':true,'rstrip':true,'normalized':false,'special':false") "]";
    tiny_check(&s, "a     b", "a|  |b");
    s.rest = "'added_tokens':[" ADDED(
        7, "  ",
        "'single_word':false,'lstrip':false,'rstrip':true,'normalized':false,'special':false") "]";
    tiny_check(&s, "a     b", "a|  |  |b");
    /* Normalized ones are looked for in normalized text, by their own normal form. */
    s.rest = "'normalizer':{'type':'Lowercase'},'added_tokens':[" ADDED(
        7, "AxB",
        "'single_word':false,'lstrip':false,'rstrip':false,'normalized':true,'special':false") "]";
    tiny_check(&s, "aAXBb", "a|axb|b");
    s.rest = "'normalizer':{'type':'Lowercase'},'added_tokens':[" ADDED(7, "AxB", PLAIN) "]";
    tiny_check(&s, "axbAxB", "a|x|b|AxB");
    eq_tokenizer *t = tiny_tokenizer_open(&s);
    assert_int_equal(eq_token_id(t, "AxB"), 7);
    assert_int_equal(eq_token_id(t, "ab"), 6);
    assert_int_equal(eq_token_id(t, "zz"), -1);
    assert_int_equal(eq_tokenizer_size(t), 8);
    eq_tokenizer_close(t);
}

static void ends(void **state) {
    (void)state;
    static const char *const types[] = {
        "'RobertaProcessing','trim_offsets':true,'add_prefix_space':false", "'BertProcessing'"};
    for (int i = 0; i < 2; i++) {
        char rest[200];
        snprintf(rest, sizeof rest, "'post_processor':{'type':%s,'sep':['</s>',3],'cls':['<s>',2]}",
                 types[i]);
        eq_tokenizer *t = tiny_tokenizer_open(
            &(tiny_tokenizer){.chars = "ab", .tokens = "<s>;</s>", .rest = rest});
        assert_string_equal(tiny_tokens(t, "ab", 2, true), "<s>|a|b|</s>");
        assert_string_equal(tiny_tokens(t, "ab", 2, false), "a|b");
        eq_tokenizer_close(t);
    }
}

static void byte_level_normalizer(void **state) {
    (void)state;
    tiny_tokenizer s = {.merges = "a b;" GH " ab"};
    s.rest = "'normalizer':{'type':'ByteLevel'}";
    tiny_check(&s, "ab ab\xc3\xa9", "ab|" GH "ab|\xc3\x83|\xc2\xa9");
}

static void templates(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = "ab", .tokens = "<s>;</s>"};
    s.rest = "'post_processor':{'type':'Sequence','processors':[{'type':'ByteLevel','add_prefix_"
             "space':true,'trim_offsets':false},"
             "{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'<s>','type_id':0}},{'"
             "Sequence':{'id':'A','type_id':0}},"
             "{'SpecialToken':{'id':'e','type_id':0}}],'pair':[],'special_tokens':{'<s>':{'id':'<s>"
             "','ids':[2],'tokens':['<s>']},"
             "'e':{'id':'e','ids':[3,2],'tokens':['</s>','<s>']}}}]}";
    eq_tokenizer *t = tiny_tokenizer_open(&s);
    assert_string_equal(tiny_tokens(t, "ab", 2, true), "<s>|a|b|</s>|<s>");
    assert_string_equal(tiny_tokens(t, "ab", 2, false), "a|b");
    assert_string_equal(tiny_tokens(t, "", 0, true), "<s>|</s>|<s>");
    eq_tokenizer_close(t);
}

static void check_decode(const char *decoder, const int32_t *ids, int64_t n, bool skip,
                         const char *expected) {
    char rest[600];
    snprintf(rest, sizeof rest, "'decoder':%s,'added_tokens':[" ADDED(4, "<s>", PLAIN) "]",
             decoder);
    tiny_tokenizer s = {.chars = "a" META GH, .tokens = "<0xC3>;<s>;<0xA9>;" META "a;\xc3\xa9"};
    s.rest = rest;
    eq_tokenizer *t = tiny_tokenizer_open(&s);
    char *got = eq_decode(t, ids, n, skip);
    assert_string_equal(got, expected);
    eq_free(got);
    eq_tokenizer_close(t);
}

static void decoders(void **state) {
    (void)state;
    static const int32_t ids[] = {4, 6, 3, 5, 3, 0, 2, 99, -1}; /* <s> _a C3 A9 C3 a G, and none */
#define REPLACE "{'type':'Replace','pattern':{'String':'" META "'},'content':' '}"
    check_decode("null", ids, 3, true, META "a <0xC3>");
    check_decode(
        "{'type':'Sequence','decoders':[" REPLACE ",{'type':'ByteFallback'},{'type':'Fuse'},{'type'"
        ":'Strip','content':' ','start':1,'stop':0}]}",
        ids, 9, true, "a" R R R "a" GH); /* a row of bytes is text as a whole or not at all */
    check_decode("{'type':'Sequence','decoders':[{'type':'ByteFallback'}]}", ids, 6, false,
                 "<s>" META "a" R R R "a");
    check_decode("{'type':'Sequence','decoders':[{'type':'ByteFallback'}]}", ids + 2, 2, false,
                 "\xc3\xa9");
    check_decode("{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true}", ids + 5, 2,
                 false, "a ");
    check_decode("{'type':'Metaspace','replacement':'" META "','prepend_scheme':'always'}",
                 (int32_t[]){6, 6}, 2, false, "a a");
    check_decode("{'type':'Metaspace','replacement':'" META "','prepend_scheme':'never'}",
                 (int32_t[]){6, 6}, 2, false, " a a");
    check_decode("{'type':'Strip','content':'a','start':1,'stop':1}", (int32_t[]){6, 0, 6}, 3,
                 false, META META);
    check_decode("{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true}",
                 (int32_t[]){7, 6}, 2, false, "\xef\xbf\xbd" META "a");
    check_decode("{'type':'Fuse'}", ids, 0, false, "");
}

static void not_utf8(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = "a\xef\xbf\xbd"};
    tiny_check(&s,
               "a\xff"
               "a",
               "a|" R "|a");
    tiny_check(&s,
               "\xe2\x82"
               "a",
               R "|a");
    tiny_check(&s, "\xf0\x9f\xa6", R);
    tiny_check(&s, "\xed\xa0\x80", R "|" R "|" R);
    tiny_check(&s, "\xc0\x80", R "|" R);
    tiny_check(&s, "\xf4\x90\x80\x80", R "|" R "|" R "|" R);
    tiny_check(&s, "\xe1\x80\xe2\xf0\x91", R "|" R "|" R);
}

static void nul_is_a_character(void **state) {
    (void)state;
    tiny_tokenizer s = {
        .rest =
            "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true}"};
    eq_tokenizer *t = tiny_tokenizer_open(&s);
    assert_string_equal(tiny_tokens(t, "a\0b", 3, false), "a|\xc4\x80|b");
    eq_tokenizer_close(t);
}

/* ---- memory and threads ---------------------------------------------------------------------- */

static const tiny_tokenizer rich = {
    .chars = META "abe\xcc\x81",
    .merges = META " a",
    .tokens = "<unk>;<0xC3>;<0xA9>",
    .model = "'unk_token':'<unk>','byte_fallback':true",
    .rest = "'normalizer':{'type':'Sequence','normalizers':[{'type':'NFD'},{'type':'Prepend','"
            "prepend':' '},"
            "{'type':'Replace','pattern':{'Regex':' +'},'content':' '}]},"
            "'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Split','pattern':{'Regex'"
            ":'\\\\p{N}'},'behavior':'Isolated','invert':false},"
            "{'type':'Metaspace','replacement':'" META "'}]},"
            "'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'u','"
            "type_id':0}},{'Sequence':{'id':'A','type_id':0}}],"
            "'pair':[],'special_tokens':{'u':{'id':'u','ids':[6],'tokens':['u']}}},"
            "'decoder':{'type':'Sequence','decoders':[" REPLACE
            ",{'type':'ByteFallback'},{'type':'Fuse'}]},"
            "'added_tokens':[" ADDED(6, "<unk>", PLAIN) "," ADDED(
                9, "[x]",
                "'single_word':false,'lstrip':true,'rstrip':false,'normalized':true,'special':"
                "false") "]"};

/* Every allocation fails once: the call says so, nothing is lost, nothing stays behind. */
static void memory_runs_out(void **state) {
    (void)state;
    static const char text[] = "a\xc3\xa9  [x] \xff \xf0\x90\xb5\x80 "
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const char *path = tiny_tokenizer_file(&rich);
    int64_t before = eq_mem_current();
    for (int64_t nth = 1, failed = 1; failed; nth++) {
        eq_tokenizer *t = NULL;
        eq_ids ids = {0};
        eq_err err = {0};
        char *back = NULL;
        eq_mem_fail_nth(nth);
        eq_status st = eq_tokenizer_open(&t, path, &err);
        if (st == EQ_OK) st = eq_encode(t, &ids, text, sizeof text - 1, true, &err);
        if (st == EQ_OK) back = eq_decode(t, ids.p, ids.n, false);
        failed = st != EQ_OK || !back;
        eq_mem_fail_nth(0);
        if (st != EQ_OK) check_error(&err, EQ_ENOMEM, "memory", NULL);
        eq_free(back);
        eq_ids_free(&ids);
        eq_tokenizer_close(t);
        assert_int_equal(eq_mem_current(), before);
        assert_true(nth < 2000);
    }
}

typedef struct {
    const eq_tokenizer *t;
    eq_ids ids[16];
} job;

static void encode_item(void *ctx, int64_t i, int thread) {
    job *j = ctx;
    (void)thread;
    for (int k = 0; k < 20; k++) {
        j->ids[i].n = 0;
        if (eq_encode(j->t, j->ids + i,
                      "a aa b\xc3\xa9 1 [x]a<unk>\xff"
                      "b",
                      22, true, NULL) != EQ_OK)
            abort();
    }
}

static void threads_share_one(void **state) {
    (void)state;
    eq_tokenizer *t = tiny_tokenizer_open(&rich);
    job j = {.t = t};
    eq_par_threads(4);
    eq_par_for(16, encode_item, &j);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(j.ids[i].n, 17);
        assert_memory_equal(j.ids[i].p, j.ids[0].p, 17 * sizeof(int32_t));
    }
    for (int i = 0; i < 16; i++) eq_ids_free(j.ids + i);
    eq_par_shutdown();
    eq_tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece_kind),
        cmocka_unit_test(normalizers),
        cmocka_unit_test(pretokenizers),
        cmocka_unit_test(metaspace_first),
        cmocka_unit_test(byte_level),
        cmocka_unit_test(qwen2_kind),
        cmocka_unit_test(added_tokens),
        cmocka_unit_test(templates),
        cmocka_unit_test(decoders),
        cmocka_unit_test(not_utf8),
        cmocka_unit_test(nul_is_a_character),
        cmocka_unit_test(ends),
        cmocka_unit_test(byte_level_normalizer),

        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(threads_share_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A text in parts: whatever the parts, the ids are those of the whole, for every kind of tokenizer;
 * and where a tokenizer can be cut, ids come before the end. */
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "scratch.h"
#include "text/utf8.h"
#include "tiny_tokenizer.h"

#define META "\xe2\x96\x81"
#define GH "\xc4\xa0"
#define REGEX(re, how, invert) \
    "{'type':'Split','pattern':{'Regex':'" re "'},'behavior':'" how "','invert':" invert "}"
#define BYTES "{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true,'use_regex':false}"
#define GPT2 "{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true}"
#define LLAMA3 \
    "(?i:\\u0027s|\\u0027t|\\u0027re|\\u0027ve|\\u0027m|\\u0027ll|\\u0027d)|" \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| " \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|" \
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SEQUENCE(a, b) "{'type':'Sequence','pretokenizers':[" a "," b "]}"
#define ADDED(id, text, flags) "{'id':" #id ",'content':'" text "'," flags "}"
#define PLAIN "'single_word':false,'lstrip':false,'rstrip':false,'normalized':false,'special':true"
#define NORMAL "'single_word':false,'lstrip':false,'rstrip':false,'normalized':true,'special':false"
#define RSTRIP "'single_word':false,'lstrip':false,'rstrip':true,'normalized':false,'special':false"
#define LSTRIP "'single_word':false,'lstrip':true,'rstrip':false,'normalized':false,'special':false"
#define WORD "'single_word':true,'lstrip':false,'rstrip':false,'normalized':false,'special':false"
#define SPM \
    "'normalizer':{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':'" META "'}," \
    "{'type':'Replace','pattern':{'String':' '},'content':'" META "'}]}"
#define TEMPLATE \
    ",'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'b','type_id'" \
    ":" \
    "0}},{'Sequence':{'id':'A','type_id':0}},{'SpecialToken':{'id':'e','type_id':0}}],'pair':[]," \
    "'special_tokens':{'b':{'id':'b','ids':[3],'tokens':['b']},'e':{'id':'e','ids':[4,5],'tokens'" \
    ":[" \
    "'e','f']}}}"

/* chars NULL: the byte-level alphabet, 256 tokens; else 10 of them. */
static const struct {
    const char *name;
    bool local, spm;
    const char *rest;
} kinds[] = {
    {"gpt2", true, false, "'pre_tokenizer':" GPT2},
    {"llama3", true, false,
     "'pre_tokenizer':" SEQUENCE(REGEX(LLAMA3, "Isolated", "false"), BYTES) TEMPLATE},
    {"removed", true, false, "'pre_tokenizer':" SEQUENCE(REGEX(LLAMA3, "Removed", "true"), BYTES)},
    {"digits", true, false,
     "'pre_tokenizer':" SEQUENCE("{'type':'Digits','individual_digits':true}", GPT2)},
    {"qwen", true, false,
     "'normalizer':{'type':'NFC'},'pre_tokenizer':" SEQUENCE(REGEX(LLAMA3, "Isolated", "false"),
                                                             BYTES)},
    {"lower", true, false,
     "'normalizer':{'type':'Sequence','normalizers':[{'type':'Lowercase'},{'type':'NFKD'}]},'pre_"
     "tokenizer':" GPT2},
    {"added", true, false,
     "'pre_tokenizer':" GPT2 ",'added_tokens':[" ADDED(263, "<s>", PLAIN) "," ADDED(
         264, "<s>a", PLAIN) "," ADDED(265, "b1", NORMAL) "," ADDED(266, "<x>", RSTRIP) "]"},
    {"spm", true, true, SPM},
    {"spm added", true, true,
     SPM ",'added_tokens':[" ADDED(13, "<s>", PLAIN) "," ADDED(14, "a<", NORMAL) "," ADDED(
         15, "<x>", RSTRIP) "]" TEMPLATE},
    {"lstrip", false, false,
     "'pre_tokenizer':" GPT2 ",'added_tokens':[" ADDED(263, "<s>", LSTRIP) "]"},
    {"single word", false, false,
     "'pre_tokenizer':" GPT2 ",'added_tokens':[" ADDED(256, "ab", WORD) "]"},
    {"strip", false, true, "'normalizer':{'type':'Strip','strip_left':true,'strip_right':true}"},
    {"look behind", false, false,
     "'pre_tokenizer':" SEQUENCE(REGEX("(?<=a)b|.", "Isolated", "false"), BYTES)},
    {"contiguous", false, false,
     "'pre_tokenizer':" SEQUENCE(REGEX("a", "Contiguous", "false"), BYTES)},
    {"prefix space", false, false,
     "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true}"},
    {"metaspace cut", true, true,
     "'pre_tokenizer':{'type':'Metaspace','replacement':'" META
     "','prepend_scheme':'first','split':true}"},
    {"metaspace always", true, true,
     "'pre_tokenizer':{'type':'Metaspace','replacement':'" META
     "','prepend_scheme':'always','split':false},'added_tokens':[" ADDED(
         13, "<s>", PLAIN) "," ADDED(14, "a<", NORMAL) "]"},
    {"metaspace always cut", true, true,
     "'pre_tokenizer':{'type':'Metaspace','replacement':'" META
     "','prepend_scheme':'always','split':true},'added_tokens':[" ADDED(13, "<s>", PLAIN) "," ADDED(
         14, "a<", NORMAL) "]"},
    {"metaspace normalized", false, true,
     "'normalizer':{'type':'NFC'},'pre_tokenizer':{'type':'Metaspace','replacement':'" META
     "','prepend_scheme':'first','split':false}"},
    {"metaspace", true, true,
     "'pre_tokenizer':{'type':'Metaspace','replacement':'" META
     "','prepend_scheme':'first','split':false}"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static eq_tokenizer *open_kind(int k) {
    tiny_tokenizer s = {.rest = kinds[k].rest};
    s.merges = "a b;" GH " a;" GH "a b;1 2;ab ab;" GH " " GH ";\xc4\x8a \xc4\x8a";
    if (kinds[k].spm) {
        s.chars = META "ab12<>x.\n";
        s.merges = META " a;" META "a b;a b";
        s.tokens = "";
    }
    return tiny_tokenizer_open(&s);
}

/* Text of what makes tokenizers differ: runs of spaces and newlines, digits, marks, added tokens.
 */
static void make_text(eq_str *s, uint64_t seed, int64_t n) {
    static const char *const bits[] = {"a",
                                       "b",
                                       "ab",
                                       " ",
                                       "  ",
                                       "\n",
                                       "\n\n",
                                       " \n",
                                       "1",
                                       "12",
                                       ".",
                                       "<",
                                       "<s>",
                                       "<x>",
                                       "<x>  ",
                                       "'s",
                                       "'S",
                                       "e\xcc\x81",
                                       "\xcc\xa3",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "A",
                                       "\xef\xac\x81"};
    enum { BITS = sizeof bits / sizeof *bits };
    s->n = 0;
    eq_str_put(s, "", 0);
    for (uint64_t i = 0; s->n < n; i++) eq_str_puts(s, bits[eq_rand_u64(seed, i) % BITS]);
}

/* Parts of about `size` bytes (in whole characters); *early: ids that came before the last one. */
static void in_parts(const eq_tokenizer *t, const eq_str *text, int64_t size, eq_ids *out,
                     int64_t *early) {
    eq_encoder *e = eq_encoder_new(t);
    eq_err err = {0};
    eq_ids got = {0};
    assert_non_null(e);
    out->n = 0;
    for (int64_t at = 0; at < text->n || !text->n;) {
        int64_t k = at + size < text->n ? size : text->n - at;
        while (at + k < text->n && (text->p[at + k] & 0xc0) == 0x80) k++;
        bool last = at + k == text->n;
        *early = out->n;
        if (eq_encoder_put(e, &got, text->p + at, k, last, &err) != EQ_OK) fail_msg("%s", err.msg);
        int32_t *p = eq_realloc(out->p, out->n + got.n + 1, sizeof *p);
        assert_non_null(p);
        if (got.n) memcpy(p + out->n, got.p, (size_t)got.n * sizeof *p);
        out->p = p, out->n += got.n, out->cap = out->n + 1, got.n = 0;
        at += k;
        if (last) break;
    }
    eq_ids_free(&got);
    eq_encoder_free(e);
}

static void parts_are_the_whole(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 40, 1000};
    eq_str text = {0};
    for (int k = 0; k < KINDS; k++) {
        eq_tokenizer *t = open_kind(k);
        for (uint64_t seed = 0; seed < 60; seed++) {
            eq_ids whole = {0}, parts = {0};
            int64_t early;
            make_text(&text, seed, (int64_t)(seed * seed / 3));
            assert_int_equal(eq_encode(t, &whole, text.p, text.n, true, NULL), EQ_OK);
            for (int s = 0; s < 6; s++) {
                in_parts(t, &text, sizes[s], &parts, &early);
                if (whole.n != parts.n ||
                    (whole.n && memcmp(whole.p, parts.p, (size_t)whole.n * 4)))
                    fail_msg("%s, seed %d, parts of %d: %d ids, found %d", kinds[k].name, (int)seed,
                             (int)sizes[s], (int)whole.n, (int)parts.n);
            }
            eq_ids_free(&whole), eq_ids_free(&parts);
        }
        eq_tokenizer_close(t);
    }
    eq_str_free(&text);
}

/* Of 200000 bytes in parts of 1000 all but the last few thousand are ids before the end. */
static void ids_come_early(void **state) {
    (void)state;
    eq_str text = {0};
    make_text(&text, 7, 200000);
    for (int k = 0; k < KINDS; k++) {
        eq_tokenizer *t = open_kind(k);
        eq_encoder *e = eq_encoder_new(t);
        assert_int_equal(eq_encoder_local(e), kinds[k].local);
        eq_encoder_free(e);
        eq_ids parts = {0};
        int64_t early = 0;
        in_parts(t, &text, 1000, &parts, &early);
        if (kinds[k].local) assert_true(early > parts.n - 10000);
        eq_ids_free(&parts);
        eq_tokenizer_close(t);
    }
    eq_str_free(&text);
}

static void memory_runs_out(void **state) {
    (void)state;
    eq_str text = {0};
    make_text(&text, 3, 300);
    for (int k = 0; k < KINDS; k++) {
        eq_tokenizer *t = open_kind(k);
        int64_t before = eq_mem_current();
        eq_status st = EQ_ENOMEM;
        for (int64_t nth = 1; st != EQ_OK; nth++) {
            eq_ids ids = {0};
            eq_err err = {0};
            eq_mem_fail_nth(nth);
            eq_encoder *e = eq_encoder_new(t);
            st = e ? EQ_OK : EQ_ENOMEM;
            for (int64_t at = 0; at < text.n && st == EQ_OK;) {
                int64_t n = at + 20 < text.n ? 20 : text.n - at;
                while (at + n < text.n && (text.p[at + n] & 0xc0) == 0x80) n++;
                st = eq_encoder_put(e, &ids, text.p + at, n, at + n == text.n, &err);
                at += n;
            }
            eq_mem_fail_nth(0);
            if (e && st != EQ_OK) check_error(&err, EQ_ENOMEM, NULL);
            eq_encoder_free(e);
            eq_ids_free(&ids);
            assert_int_equal(eq_mem_current(), before);
            assert_true(nth < 2000);
        }
        eq_tokenizer_close(t);
    }
    eq_str_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_the_whole),
        cmocka_unit_test(ids_come_early),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

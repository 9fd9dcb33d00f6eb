/* What is not a tokenizer, or one that is not known: one line that names the file and the
 * feature. */
#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "tiny_tokenizer.h"

#define ADDED(id, text, flags) "{'id':" #id ",'content':'" text "'," flags "}"
#define PLAIN "'single_word':false,'lstrip':false,'rstrip':false,'normalized':false,'special':true"

static const struct {
    const char *model, *rest, *word;
} cases[] = {
    {NULL, "'normalizer':{'type':'BertNormalizer'}", "BertNormalizer"},
    {NULL, "'normalizer':{'type':'Precompiled'}", "precompiled_charsmap"},
    {NULL, "'pre_tokenizer':{'type':'FixedLength','length':0}", "length"},
    {NULL, "'pre_tokenizer':{'type':'CharDelimiterSplit','delimiter':'ab'}", "one character"},
    {NULL, "'normalizer':{'type':'Strip','strip_left':true}", "strip_right"},
    {NULL, "'normalizer':{'type':'NFC','more':1}", "more"},
    {NULL, "'normalizer':[]", "normalizer"},
    {NULL, "'pre_tokenizer':{'type':'BertPreTokenizer'}", "BertPreTokenizer"},
    {NULL,
     "'pre_tokenizer':{'type':'Split','pattern':{'String':'a'},'behavior':'Eaten','invert':"
     "false}",
     "Eaten"},
    {NULL,
     "'pre_tokenizer':{'type':'Split','pattern':{'Regex':'(a'},'behavior':'Removed','invert':"
     "false}",
     "group without"},
    {NULL, "'pre_tokenizer':{'type':'Metaspace','replacement':'ab'}", "one character"},
    {NULL, "'pre_tokenizer':{'type':'Metaspace','replacement':'_','add_prefix_space':false}",
     "never"},
    {NULL, "'post_processor':{'type':'RobertaProcessing'}", "cls"},
    {NULL, "'post_processor':{'type':'BertProcessing','cls':['a',0],'sep':['b',-1]}", "sep"},
    {NULL,
     "'post_processor':{'type':'TemplateProcessing','single':[],'pair':[],'special_tokens':{}}",
     "0 times"},
    {NULL, "'decoder':{'type':'WordPiece'}", "WordPiece"},
    {NULL, "'decoder':{'type':'Strip','content':'a','start':-1,'stop':0}", "-1"},
    {NULL, "'added_tokens':[" ADDED(9, "x", PLAIN) "]", "expected id 3"},
    {NULL, "'added_tokens':[" ADDED(0, "a", PLAIN) "," ADDED(0, "a", PLAIN) "]", "twice"},
    {NULL, "'added_tokens':[{'id':0,'content':'a'}]", "single_word"},
    {NULL,
     "'normalizer':{'type':'Strip','strip_left':true,'strip_right':true},'added_tokens':"
     "[" ADDED(3, " ",
               "'single_word':false,'lstrip':false,'rstrip':false,'normalized':true,'special':"
               "false") "]",
     "nothing is left"},
    {NULL, "'extra':1", "extra"},
    {"'type':'WordPiece'", NULL, "WordPiece"},
    {"'dropout':0.1", NULL, "dropout"},
    {"'continuing_subword_prefix':'##'", NULL, "continuing_subword_prefix"},
    {"'end_of_word_suffix':'</w>'", NULL, "end_of_word_suffix"},
    {"'byte_fallback':1", NULL, "byte_fallback"},
    {"'window':1", NULL, "window"},
    {"'merges':['a']", NULL, "merge 0"},
    {"'merges':['a b','a z']", NULL, "merge 1"},
    {"'merges':['b a']", NULL, "ba"},
    {"'merges':{}", NULL, "merges"},
    {"'vocab':{'a':0,'b':0},'merges':[]", NULL, "two tokens"},
    {"'vocab':{'a':-1},'merges':[]", NULL, "id"},
    {"'vocab':{'a':2147483647},'merges':[]", NULL, "id"},
    {"'vocab':[]", NULL, "vocabulary"},
};

static void errors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_tokenizer s = {
            .chars = "ab", .merges = "a b", .model = cases[i].model, .rest = cases[i].rest};
        eq_tokenizer *t;
        eq_err err = {0};
        if (eq_tokenizer_open(&t, tiny_tokenizer_file(&s), &err) == EQ_OK)
            fail_msg("%s %s is accepted", cases[i].model, cases[i].rest);
        check_error(&err, EQ_EINPUT, "tokenizer.json", cases[i].word, NULL);
        assert_null(t);
    }
}

static void folders(void **state) {
    (void)state;
    eq_tokenizer *t;
    eq_err err = {0};
    assert_int_equal(eq_mkdir(scratch_path("gpt2"), NULL), EQ_OK);
    scratch_text("gpt2/vocab.json",
                 "{\"a\":0,\"b\":1,\"ab\":2,\"\xc4\xa0\":3,\"<|endoftext|>\":4}");
    scratch_text("gpt2/merges.txt", "#version: 0.2\r\na b\n");
    if (eq_tokenizer_open(&t, scratch_path("gpt2"), &err) != EQ_OK) fail_msg("%s", err.msg);
    eq_ids ids = {0};
    assert_int_equal(eq_encode(t, &ids, "ab b<|endoftext|>a", 18, true, NULL), EQ_OK);
    assert_int_equal(ids.n, 5);
    assert_memory_equal(ids.p, ((int32_t[]){2, 3, 1, 4, 0}), 20);
    char *text = eq_decode(t, ids.p, ids.n, true);
    assert_string_equal(text, "ab ba");
    eq_free(text);
    eq_ids_free(&ids);
    eq_tokenizer_close(t);
    scratch_text("gpt2/merges.txt", "a b c\n");
    assert_int_equal(eq_tokenizer_open(&t, scratch_path("gpt2"), &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "vocab.json", "merge 0", NULL);
    err = (eq_err){0};
    assert_int_equal(eq_mkdir(scratch_path("sp"), NULL), EQ_OK);
    assert_int_not_equal(eq_tokenizer_open(&t, scratch_path("sp"), &err), EQ_OK);
    check_error(&err, EQ_EINPUT, "sp", "tokenizer.json", NULL);
    err = (eq_err){0};
    scratch_text("sp/tokenizer.model", "x");
    assert_int_not_equal(eq_tokenizer_open(&t, scratch_path("sp"), &err), EQ_OK);
    check_error(&err, EQ_EINPUT, "sp", "tokenizer.model", "sentencepiece", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(errors), cmocka_unit_test(folders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

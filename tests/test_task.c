/* Rows of data sets become prompts: every form of file, Python's text functions, and rows that
 * cannot be used, which are refused with file and line. Expected texts were written out by hand. */
#include "base/io.h"
#include "base/mem.h"
#include "eval/eval_report.h"
#include "eval/pytext.h"
#include "eval/request.h"
#include "eval/task.h"
#include "scratch.h"
#include "tiny_tokenizer.h"

static eq_item_sets sets;
static void read_one(const char *task, const char *path, int shots) {
    eq_err err = {0};
    char *names = eq_sprintf("%s=%s", task, path);
    if (eq_item_sets_read(&sets, names, NULL, shots, 0, &err)) fail_msg("%s", err.msg);
    eq_free(names);
}
static void refused(const char *task, const char *path, const char *word, const char *more) {
    eq_err err = {0};
    char *names = eq_sprintf("%s=%s", task, path);
    eq_status st = eq_item_sets_read(&sets, names, NULL, 0, 0, &err);
    if (st == EQ_OK) fail_msg("%s was taken", names);
    check_error(&err, EQ_EINPUT, word, more, NULL);
    eq_free(names);
}
/* Of set s, item i, choice k. */
static void is(int s, int i, int k, const char *context, const char *continuation) {
    const eq_items *items = &sets.set[s].items;
    const eq_choice *c = &items->choice[items->item[i].first + k];
    char *a = eq_sprintf("%.*s", (int)c->context.n, items->text.p + c->context.at);
    char *b = eq_sprintf("%.*s", (int)c->continuation.n, items->text.p + c->continuation.at);
    assert_string_equal(a, context);
    assert_string_equal(b, continuation);
    eq_free(a), eq_free(b);
}
static int gold(int s, int i) { return sets.set[s].items.item[i].gold; }

/* ---- prompts --------------------------------------------------------------------------------- */

static void piqa(void **state) {
    (void)state;
    const char *rows = "{\"goal\": \"Boil\", \"sol1\": \"heat \", \"sol2\": \"caf\\u00e9\"}\n\n"
                       "{\"goal\": \"Cool\", \"sol1\": \"a\", \"sol2\": \"b\"}\n";
    scratch_text("valid-labels.lst", "1\n0\n");
    read_one("piqa", scratch_text("valid.jsonl", rows), 0);
    assert_int_equal(sets.n, 1);
    assert_int_equal(sets.set[0].items.n, 2);
    is(0, 0, 0, "Question: Boil\nAnswer:", " heat ");
    is(0, 0, 1, "Question: Boil\nAnswer:", " caf\xc3\xa9");
    assert_int_equal(sets.set[0].items.choice[0].chars, 5);
    assert_int_equal(sets.set[0].items.choice[1].chars, 4);
    assert_int_equal(gold(0, 0), 1);
    assert_int_equal(gold(0, 1), 0);
    assert_int_equal(sets.set[0].items.item[1].line, 3);
    eq_item_sets_free(&sets);
    /* the hub's rows: a list, and the viewer's */
    read_one("piqa",
             scratch_text("a.json", "[{\"goal\":\"g\",\"sol1\":\"x\",\"sol2\":\"y\","
                                    "\"label\":1}]"),
             0);
    assert_int_equal(gold(0, 0), 1);
    eq_item_sets_free(&sets);
    read_one("piqa",
             scratch_text("b.json", "{\"rows\":[{\"row_idx\":0,\"row\":{\"goal\":\"g\","
                                    "\"sol1\":\"x\",\"sol2\":\"y\",\"label\":0}}]}"),
             0);
    is(0, 0, 1, "Question: g\nAnswer:", " y");
    eq_item_sets_free(&sets);
}

static void winogrande(void **state) {
    (void)state;
    read_one("winogrande",
             scratch_text("w.jsonl",
                          "{\"sentence\": \"Ann gave _ the box_ .\", \"option1\": \"Bob\","
                          " \"option2\": \"Eve\", \"answer\": \"2\"}\n"),
             0);
    is(0, 0, 0, "Ann gave Bob", " the box_ .");
    is(0, 0, 1, "Ann gave Eve", " the box_ .");
    assert_int_equal(gold(0, 0), 1);
    eq_item_sets_free(&sets);
}

static void hellaswag(void **state) {
    (void)state;
    read_one(
        "hellaswag",
        scratch_text("h.jsonl",
                     "{\"activity_label\": \"Tea\", \"ctx_a\": \"A cup.\", \"ctx_b\": \"the "
                     "MAN [x]  sits\", \"endings\": [\" [title] Go\", \"a [b] c [title] d "
                     "[\"], \"label\": \"1\"}\n"
                     "{\"query\": \"As  it is [x]\", \"endings\": [\" a\", \"b\"], \"label\": 0}"),
        0);
    /* "[title]" at the beginning is a bracket like any other; of three blanks two are left */
    is(0, 0, 0, "Tea: A cup. The man  sits", "  Go");
    is(0, 0, 1, "Tea: A cup. The man  sits", " a c. d [");
    assert_int_equal(gold(0, 0), 1);
    is(0, 1, 0, "As  it is [x]", "  a");
    eq_item_sets_free(&sets);
}

static void arc(void **state) {
    (void)state;
    read_one(
        "arc_easy",
        scratch_text("e.jsonl",
                     "{\"question\": {\"stem\": \"Why?\", \"choices\": [{\"text\": \"x\", "
                     "\"label\": \"1\"}, {\"text\": \"y\", \"label\": \"2\"}]}, \"answerKey\": "
                     "\"2\"}\n{\"question\": \"How?\", \"choices\": {\"text\": [\"p\", \"q\", "
                     "\"r\"], \"label\": [\"A\", \"B\", \"C\"]}, \"answerKey\": \"A\"}\n"),
        0);
    is(0, 0, 1, "Question: Why?\nAnswer:", " y");
    assert_int_equal(gold(0, 0), 1);
    is(0, 1, 2, "Question: How?\nAnswer:", " r");
    assert_int_equal(gold(0, 1), 0);
    assert_int_equal(sets.set[0].items.item[1].n, 3);
    eq_item_sets_free(&sets);
}

static void lambada(void **state) {
    (void)state;
    read_one("lambada",
             scratch_text("l.jsonl", "{\"text\": \"It was  a cat\"}\n{\"context\": \"Say\","
                                     " \"continuation\": \"yes\"}\n"),
             0);
    is(0, 0, 0, "It was  a", " cat");
    is(0, 1, 0, "Say", " yes");
    eq_item_sets_free(&sets);
}

static const char *mmlu_folder(void) {
    eq_err err = {0};
    assert_int_equal(eq_mkdir(scratch_path("m/dev"), &err), EQ_OK);
    assert_int_equal(eq_mkdir(scratch_path("m/test"), &err), EQ_OK);
    scratch_text("m/dev/us_foreign_policy_dev.csv",
                 "First?,a,b,c,d,B\n\"Second, \"\"q\"\"\",1,2,3,4,D\n");
    scratch_text("m/test/us_foreign_policy_test.csv",
                 "\" Which\n\"\"one\"\"? \",\"w, x\",y, z,v,C\r\n");
    return scratch_path("m");
}
static void mmlu(void **state) {
    (void)state;
    const char *folder = mmlu_folder();
    read_one("mmlu_us_foreign_policy", folder, 1);
    is(0, 0, 2,
       "The following are multiple choice questions (with answers) about us foreign policy.\n\n"
       "First?\nA. a\nB. b\nC. c\nD. d\nAnswer: B\n\n"
       "Which\n\"one\"?\nA. w, x\nB. y\nC.  z\nD. v\nAnswer:",
       " C");
    assert_int_equal(gold(0, 0), 2);
    assert_string_equal(sets.set[0].parent, "mmlu_social_sciences");
    eq_item_sets_free(&sets);
    eq_err err = {0};
    char *names = eq_sprintf("mmlu_us_foreign_policy=%s", folder);
    assert_int_equal(eq_item_sets_read(&sets, names, NULL, 3, 0, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "us_foreign_policy", "expected 3 examples, found 2", NULL);
    eq_free(names);
    refused("mmlu_anatomy", folder, "anatomy_test.csv", "found none");
}

/* ---- what cannot be used --------------------------------------------------------------------- */

static void bad_rows(void **state) {
    (void)state;
    static const struct {
        const char *task, *text, *word, *more;
    } bad[] = {
        {"piqa", "{\"goal\":\"g\",\"sol1\":\"x\",\"sol2\":\"y\"}", "line 1", "expected a label"},
        {"piqa", "{\"goal\":\"g\",\"sol1\":\"\",\"sol2\":\"y\",\"label\":0}", "line 1: choice 1",
         "found nothing"},
        {"piqa", "{\"goal\":\"g\",\"sol1\":\"x\",\"sol2\":\"y\",\"label\":2}", "line 1",
         "expected an answer among 2 choices, found number 3"},
        {"piqa", "\n{\"goal\":\"g\",\"sol1\":\"x\",\"label\":0}", "line 2", "\"sol2\""},
        {"piqa", "{\"goal\":\"g\"", "line 1, column", "not JSON"},
        {"piqa", "[]", "expected rows", "found none"},
        {"piqa", "[3]", "row 1", "expected an object, found an integer"},
        {"winogrande",
         "{\"sentence\":\"a b\",\"option1\":\"x\",\"option2\":\"y\",\"answer\":\"1\"}", "line 1",
         "expected a \"_\""},
        {"winogrande",
         "{\"sentence\":\"a _ \",\"option1\":\"x\",\"option2\":\"y\",\"answer\":\"1\"}", "line 1",
         "expected a text behind"},
        {"hellaswag", "{\"query\":\"q\",\"endings\":[\"a\"],\"label\":0}", "line 1",
         "expected at least 2 choices, found 1"},
        {"hellaswag", "{\"query\":\"q\",\"endings\":\"a\",\"label\":0}", "line 1",
         "expected a list"},
        {"arc_easy",
         "{\"question\":\"q\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\"]},"
         "\"answerKey\":\"A\"}",
         "line 1", "\"label\": expected texts"},
        {"arc_easy",
         "{\"question\":\"q\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\",\"B\"]},"
         "\"answerKey\":\"C\"}",
         "line 1", "found \"C\""},
        {"lambada", "{\"text\":\"word\"}", "line 1", "in front of the choices"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].task, scratch_text("bad.jsonl", bad[i].text), bad[i].word, bad[i].more);
    refused("piqua", "x", "unknown task \"piqua\"", "did you mean piqa?");
    refused("piqa", "/no/such/file", "/no/such/file", "no such file");
    refused("mmlu_stemm", "x", "unknown task", "did you mean mmlu_stem?");
}

static void bad_labels(void **state) {
    (void)state;
    const char *rows = "{\"goal\":\"g\",\"sol1\":\"x\",\"sol2\":\"y\"}\n"
                       "{\"goal\":\"g\",\"sol1\":\"x\",\"sol2\":\"y\",\"label\":1}\n";
    const char *path = scratch_text("v.jsonl", rows);
    scratch_text("v-labels.lst", "1\n");
    refused("piqa", path, "line 2", "expected a label for every row, found 1");
    scratch_text("v-labels.lst", "1\n0\n");
    refused("piqa", path, "line 2", "the row says 1, the file of labels 0");
    scratch_text("v-labels.lst", "1\n1\n1\n");
    refused("piqa", path, "v-labels.lst", "expected 2 labels");
    scratch_text("v-labels.lst", "1\nx\n");
    refused("piqa", path, "v-labels.lst: line 2", "expected a number");
}

/* ---- Python's text functions ----------------------------------------------------------------- */

static eq_text t(const char *s) { return (eq_text){s, (int64_t)strlen(s)}; }
static void as_python(void **state) {
    (void)state;
    eq_str s = {0};
    eq_text a = eq_py_strip(t("\xc2\xa0 \x1c x y\xe3\x80\x80\n"));
    assert_int_equal(a.n, 3);
    assert_memory_equal(a.p, "x y", 3);
    assert_int_equal(eq_py_strip(t(" \t")).n, 0);
    assert_int_equal(eq_py_len(t("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")), 4);
    eq_py_capitalize(&s, t("\xc3\xa9TA \xc3\x89"));
    assert_string_equal(s.p, "\xc3\x89ta \xc3\xa9");
    s.n = 0;
    eq_py_replace(&s, t("a   b    "), "  ", " ");
    assert_string_equal(s.p, "a  b  ");
    s.n = 0;
    eq_py_drop_brackets(&s, t("[a]b[c\n]d[[e]f]"));
    assert_string_equal(s.p, "b[c\n]df]");
    eq_str_free(&s);
}

/* ---- the best choice --------------------------------------------------------------------------
 */

static void best(void **state) {
    (void)state;
    static const double equal[] = {-3, -2, -2}, long_one[] = {-4, -9, -5};
    eq_choice c[3] = {{.chars = 1}, {.chars = 6}, {.chars = 2}};
    eq_items items = {.choice = c};
    eq_item item = {.n = 3};
    assert_int_equal(eq_eval_best(&items, &item, equal, false), 1); /* the first of equals */
    assert_int_equal(eq_eval_best(&items, &item, long_one, false), 0);
    assert_int_equal(eq_eval_best(&items, &item, long_one, true), 1); /* -1.5 a character */
}

/* ---- token ids ------------------------------------------------------------------------------- */

/* "ab" is one token, so the border between context and answer moves with what follows. */
static void split(void **state) {
    (void)state;
    tiny_tokenizer s = {.chars = "abcx _", .merges = "a b", .tokens = "<s>"};
    eq_tokenizer *tok = tiny_tokenizer_open(&s);
    eq_items items = {0};
    eq_asked a;
    eq_err err = {0};
    assert_int_equal(eq_items_open(&items, 0, 4, &err), EQ_OK);
    eq_span context = eq_items_put(&items, "cab  ", 5);
    eq_choice one = {context, eq_items_put(&items, " b", 2), 1};
    eq_choice two = {context, eq_items_put(&items, "x", 1), 1};
    assert_int_equal(eq_items_choice(&items, one, &err), EQ_OK);
    assert_int_equal(eq_items_choice(&items, two, &err), EQ_OK);
    assert_int_equal(eq_asked_make(&a, tok, &items, items.item, false, 32, "f", &err), EQ_OK);
    /* c ab | _ _ _ b: the blanks belong to the answer */
    assert_int_equal(a.request[0].n_context, 2);
    assert_int_equal(a.request[0].n_continuation, 4);
    assert_int_equal(a.request[1].n_continuation, 3);
    assert_int_equal(a.longest, 5);
    assert_int_equal(a.rows, 5); /* c ab _ _ are inputs of both */
    eq_asked_free(&a);
    /* a model of four tokens: of the longer one the first is cut */
    assert_int_equal(eq_asked_make(&a, tok, &items, items.item, false, 4, "f", &err), EQ_OK);
    assert_int_equal(a.request[0].context, 1);
    assert_int_equal(a.request[0].n_context, 1);
    assert_int_equal(a.request[1].n_context, 2);
    eq_asked_free(&a);
    assert_int_equal(eq_asked_make(&a, tok, &items, items.item, false, 3, "f", &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "f: line 4: choice 1", "at most 3 tokens", NULL);
    eq_asked_free(&a);
    eq_items_free(&items);
    eq_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(piqa),     cmocka_unit_test(winogrande), cmocka_unit_test(hellaswag),
        cmocka_unit_test(arc),      cmocka_unit_test(lambada),    cmocka_unit_test(mmlu),
        cmocka_unit_test(bad_rows), cmocka_unit_test(bad_labels), cmocka_unit_test(as_python),
        cmocka_unit_test(best),     cmocka_unit_test(split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

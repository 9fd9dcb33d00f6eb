/* Instruction rows: ids and labels of transformers (tests/golden/instruct.json, made by
 * tools/peer_instruct.py), what is refused, and windows of rows: order, filling, packing, mixing.
 */
#include <jansson.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/instruct_windows.h"
#include "scratch.h"

static const char model[] = "assets/demo/model";
static eq_tokenizer *tok;
static eq_chat *chatml;
static eq_str notes;

static void hear(void *ctx, const char *line) {
    (void)ctx;
    eq_str_puts(&notes, line), eq_str_puts(&notes, "|");
}
static const eq_observer ears = {.note = hear};

static int open_all(void **state) {
    (void)state;
    eq_err err = {0};
    while (notes.n < 1 << 12) eq_str_puts(&notes, "room"); /* no test of memory sees them grow */
    if (eq_tokenizer_open(&tok, model, &err) || eq_chat_open(&chatml, model, "chatml", &err))
        return fprintf(stderr, "%s\n", err.msg), 1;
    return 0;
}
static int close_all(void **state) {
    (void)state;
    eq_tokenizer_close(tok);
    eq_chat_close(chatml);
    eq_str_free(&notes);
    return 0;
}

static eq_instruct_read reading(void) {
    notes.n = 0;
    return (eq_instruct_read){.tok = tok,
                              .chat = chatml,
                              .source_limit = 384,
                              .target_limit = 128,
                              .length = 1000000,
                              .vocab = 1024,
                              .bos = eq_tokenizer_bos_id(tok),
                              .eos = eq_tokenizer_eos(tok),
                              .obs = &ears};
}

static eq_status read_rows(eq_examples *x, const char *path, const eq_instruct_read *o,
                           eq_err *err) {
    eq_sources s;
    *x = (eq_examples){0};
    EQ_TRY(eq_sources_open(&s, path, err));
    eq_status st = eq_examples_read(x, s.p, o, err);
    eq_sources_close(&s);
    return st;
}

/* ---- beside transformers --------------------------------------------------------------------- */

static void check_list(const json_t *want, const char *what, size_t row, int64_t i, int got) {
    if (json_integer_value(json_array_get(want, (size_t)i)) != got)
        fail_msg("row %zu, %s %lld: wanted %lld, found %d", row, what, (long long)i,
                 (long long)json_integer_value(json_array_get(want, (size_t)i)), got);
}

static void golden(void **state) {
    (void)state;
    json_t *all = json_load_file("tests/golden/instruct.json", 0, NULL), *one;
    size_t k;
    assert_true(json_array_size(all) >= 12);
    json_array_foreach(all, k, one) {
        eq_examples x;
        eq_err err = {0};
        eq_instruct_read o = reading();
        const json_t *ids = json_object_get(one, "ids"), *learn = json_object_get(one, "learn");
        o.turns = json_is_true(json_object_get(one, "turns"));
        o.all = json_is_true(json_object_get(one, "all"));
        char *row = json_dumps(json_object_get(one, "row"), 0);
        if (read_rows(&x, scratch_text("golden.jsonl", row), &o, &err)) fail_msg("%s", err.msg);
        assert_int_equal(x.n, 1);
        assert_int_equal(x.end[0], json_array_size(ids));
        for (int64_t i = 0; i < x.end[0]; i++) {
            check_list(ids, "id", k, i, x.ids[i]);
            check_list(learn, "label", k, i, x.learn[i]);
        }
        eq_examples_free(&x);
        free(row);
    }
    json_decref(all);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *row, *word, *word2;
    } cases[] = {
        {"{\"text\":\"a\"}", "found none of them", "\"conversations\""},
        {"{\"instruction\":\"a\"}", "\"output\": expected a string", "found nothing"},
        {"{\"instruction\":\"a\",\"output\":\" \\n\"}", "\"output\"", "an empty answer"},
        {"{\"instruction\":7,\"output\":\"a\"}", "\"instruction\"", "found a number"},
        {"{\"instruction\":\"a\\u0000\",\"output\":\"a\"}", "\"instruction\"", "NUL"},
        {"{\"messages\":[]}", "without an answer", ""},
        {"{\"messages\":{}}", "a list of turns", "found an object"},
        {"{\"messages\":[7]}", "turn 1", "found a number"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "without an answer", ""},
        {"{\"messages\":[{\"role\":\"asistant\",\"content\":\"a\"}]}", "turn 1", "\"asistant\""},
        {"{\"messages\":[{\"content\":\"a\"}]}", "\"role\"", "found nothing"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}", "\"content\"", "found null"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}]}", "turn 1", "empty answer"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", "parts",
         "image"},
        {"{\"conversations\":[{\"from\":\"gpt\",\"value\":\"\\ud800\"}]}", "\"value\"",
         "surrogate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        eq_examples x;
        eq_err err = {0};
        eq_instruct_read o = reading();
        int64_t before = eq_mem_current();
        snprintf(text, sizeof text, "[{\"instruction\":\"a\",\"output\":\"b\"},\n%s]",
                 cases[i].row);
        const char *path = scratch_text("bad.json", text);
        assert_int_equal(read_rows(&x, path, &o, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, "bad.json: element 2 (line 2): ", cases[i].word,
                    cases[i].word2, NULL);
        assert_int_equal(eq_mem_current(), before);
        o.skip_bad = true, err = (eq_err){0};
        assert_int_equal(read_rows(&x, path, &o, &err), EQ_OK);
        assert_int_equal(x.n, 1);
        assert_non_null(strstr(notes.p, "1 rows passed over (--skip-bad), the first: "));
        eq_examples_free(&x);
    }
    eq_examples x;
    eq_err err = {0};
    eq_instruct_read o = reading();
    o.chat = NULL;
    assert_int_equal(
        read_rows(
            &x,
            scratch_text("c.jsonl", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}"),
            &o, &err),
        EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "c.jsonl: line 1", "needs a template", NULL);
    err = (eq_err){0};
    assert_int_equal(read_rows(&x, scratch_text("c.txt", "a"), &o, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "c.txt", ".json", NULL);
}

/* Parts of a message's content are joined; what the limits leave nothing of is left out. */
static void limits(void **state) {
    (void)state;
    eq_examples a, b;
    eq_err err = {0};
    eq_instruct_read o = reading();
    const char *parts =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"
        "\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":\"c\"}]}";
    const char *whole =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"assistant\","
        "\"content\":\"c\"}]}";
    assert_int_equal(read_rows(&a, scratch_text("parts.jsonl", parts), &o, &err), EQ_OK);
    assert_int_equal(read_rows(&b, scratch_text("whole.jsonl", whole), &o, &err), EQ_OK);
    assert_true(a.end[0] == b.end[0] && !memcmp(a.ids, b.ids, (size_t)a.end[0] * 4));
    int64_t n = a.end[0], answer = 0;
    while (!a.learn[answer]) answer++;
    eq_examples_free(&b);
    o.length = answer + 1;
    assert_int_equal(read_rows(&b, scratch_text("whole.jsonl", whole), &o, &err), EQ_OK);
    assert_true(b.n == 1 && b.end[0] == answer + 1 && b.cut == 1 && answer + 1 < n);
    eq_examples_free(&b);
    o.length = answer;
    assert_int_equal(read_rows(&b, scratch_text("whole.jsonl", whole), &o, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "whole.jsonl", "of 1 rows nothing", NULL);
    eq_examples_free(&a);
}

/* ---- windows --------------------------------------------------------------------------------- */

/* Rows whose answers are i + 1 words long, in an order of no kind. */
static const char *put_rows(const char *name, int n) {
    eq_str s = {0};
    for (int i = 0; i < n; i++) {
        eq_str_printf(&s, "{\"instruction\":\"say %d\",\"output\":\"", i);
        for (int k = 0; k <= i * 7 % n; k++) eq_str_puts(&s, "word ");
        eq_str_puts(&s, ".\"}\n");
    }
    const char *path = scratch_file(name, s.p, s.n);
    eq_str_free(&s);
    return path;
}

static eq_window_opts opts(void) {
    return (eq_window_opts){
        .tok = tok, .vocab = 1024, .seqlen_default = 64, .seed = 3, .obs = &ears};
}

/* Every row once, filled up with nothing that counts; little filling within a batch. */
static void rows(void **state) {
    (void)state;
    enum { N = 70, BATCH = 4 };
    eq_windows w, again, other;
    eq_examples x;
    eq_err err = {0};
    eq_instruct_read r = reading();
    eq_window_opts o = opts();
    const char *path = put_rows("r.jsonl", N);
    eq_instruct_set s = {.data = path, .batch = BATCH, .read = &r};
    assert_int_equal(read_rows(&x, path, &r, &err), EQ_OK);
    assert_int_equal(eq_windows_instruct(&w, &s, &o, &err), EQ_OK);
    assert_int_equal(w.n, N);
    bool seen[N] = {false};
    int64_t real = 0, filled = 0, in_order = 0;
    for (int64_t i = 0; i < N; i++) {
        int64_t k = 0, from = 0;
        for (; k < N; k++) {
            from = eq_example_start(&x, k);
            if (x.end[k] - from == w.len[i] &&
                !memcmp(x.ids + from, w.ids + i * w.T, (size_t)w.len[i] * 4))
                break;
        }
        assert_true(k < N && !seen[k]);
        seen[k] = true, in_order += k == i;
        assert_memory_equal(x.learn + from, w.learn + i * w.T, w.len[i]);
        for (int64_t t = w.len[i]; t < w.T; t++)
            assert_true(!w.ids[i * w.T + t] && !w.learn[i * w.T + t]);
        int64_t longest = 0, first = i / BATCH * BATCH;
        for (int64_t j = first; j < first + BATCH && j < N; j++)
            if (w.len[j] > longest) longest = w.len[j];
        real += w.len[i], filled += longest;
    }
    assert_true(in_order < N / 2);
    assert_true((double)filled < 1.1 * (double)real);
    assert_int_equal(eq_windows_instruct(&again, &s, &o, &err), EQ_OK);
    assert_string_equal(w.digest.hex, again.digest.hex);
    o.seed = 4, s.n = 50;
    assert_int_equal(eq_windows_instruct(&other, &s, &o, &err), EQ_OK);
    assert_int_equal(other.n, 50);
    assert_string_not_equal(w.digest.hex, other.digest.hex);
    eq_windows_free(&other);
    s.in_order = true, s.n = 3;
    assert_int_equal(eq_windows_instruct(&other, &s, &o, &err), EQ_OK);
    for (int64_t i = 0; i < 3; i++)
        assert_memory_equal(other.ids + i * other.T, x.ids + eq_example_start(&x, i),
                            other.len[i] * 4);
    eq_windows_free(&w), eq_windows_free(&again), eq_windows_free(&other);
    eq_examples_free(&x);
}

/* Rows end to end: all of them but the tail, and the same ids carry loss. */
static void packed(void **state) {
    (void)state;
    eq_windows w;
    eq_examples x;
    eq_err err = {0};
    eq_instruct_read r = reading();
    eq_window_opts o = opts();
    o.pack = true;
    const char *path = put_rows("p.jsonl", 20);
    eq_instruct_set s = {.data = path, .batch = 4, .in_order = true, .read = &r};
    assert_int_equal(read_rows(&x, path, &r, &err), EQ_OK);
    assert_int_equal(eq_windows_instruct(&w, &s, &o, &err), EQ_OK);
    assert_true(w.T == 64 && w.n == x.end[19] / 64);
    assert_memory_equal(w.ids, x.ids, w.n * 64 * 4);
    for (int64_t i = 0; i < w.n * 64; i++) assert_int_equal(w.learn[i], i % 64 ? x.learn[i] : 0);
    eq_windows_free(&w), eq_examples_free(&x);
}

static void mixed(void **state) {
    (void)state;
    eq_windows w;
    eq_err err = {0};
    eq_instruct_read r = reading();
    eq_window_opts o = opts();
    char text[300], data[300];
    o.seqlen = 8;
    eq_str s = {0};
    for (int i = 0; i < 400; i++) eq_str_printf(&s, "%d ", i);
    snprintf(text, sizeof text, "%s:1", scratch_text("m.txt", s.p));
    snprintf(data, sizeof data, "%s:3", put_rows("m.jsonl", 20));
    eq_str_free(&s);
    eq_instruct_set set = {.data = data, .text = text, .n = 16, .batch = 4, .read = &r};
    assert_int_equal(eq_windows_instruct(&w, &set, &o, &err), EQ_OK);
    assert_int_equal(w.n, 16);
    int texts = 0;
    for (int64_t i = 0; i < 16; i++) {
        if (w.len[i] != 8) continue;
        texts++;
        for (int64_t t = 0; t < w.T; t++) assert_int_equal(w.learn[i * w.T + t], t > 0 && t < 8);
    }
    assert_int_equal(texts, 4);
    assert_int_equal(w.inputs.n, 2);
    eq_windows_free(&w);
    set.data = scratch_path("m.jsonl");
    assert_int_equal(eq_windows_instruct(&w, &set, &o, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "a weight for each", NULL);
}

static void memory_runs_out(void **state) {
    (void)state;
    const char *path = put_rows("f.jsonl", 12);
    eq_status st = EQ_ENOMEM;
    int64_t before = eq_mem_current();
    for (int64_t nth = 1; st != EQ_OK; nth++) {
        eq_windows w = {0};
        eq_err err = {0};
        eq_instruct_read r = reading();
        eq_window_opts o = opts();
        eq_instruct_set s = {.data = path, .batch = 4, .read = &r};
        eq_mem_fail_nth(nth);
        st = eq_windows_instruct(&w, &s, &o, &err);
        eq_mem_fail_nth(0);
        if (st != EQ_OK) check_error(&err, EQ_ENOMEM, NULL);
        eq_windows_free(&w);
        assert_int_equal(eq_mem_current(), before);
        assert_true(nth < 5000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),          cmocka_unit_test(refused),
        cmocka_unit_test(limits),          cmocka_unit_test(rows),
        cmocka_unit_test(packed),          cmocka_unit_test(mixed),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}

/* Drawing tokens and handing on text: shares of draws against closed forms, settings out of range,
 * whole characters whatever the tokens cut, stop texts across tokens, and eq_generate as a whole.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "infer/sample.h"
#include "infer/text_out.h"
#include "scratch.h"
#include "text/utf8.h"
#include "tiny_model.h"
#include "tiny_tokenizer.h"

static eq_err err;
static void ok(eq_status st) {
    if (st != EQ_OK) fail_msg("%s", err.msg);
}

/* ---- drawing --------------------------------------------------------------------------------- */

enum { V = 6, DRAWS = 40000 };
/* Probabilities 0.4, 0.3, 0.15, 0.1, 0.04, 0.01, in another order of ids. */
static const double shares[V] = {0.1, 0.4, 0.01, 0.3, 0.15, 0.04};

static void draw(const eq_sampling *o, const int32_t *seen, int64_t n, double got[V]) {
    eq_sampler *s;
    ok(eq_sampler_new(&s, o, V, &err));
    for (int i = 0; i < V; i++) got[i] = 0;
    for (int k = 0; k < DRAWS; k++) {
        float logits[V];
        int32_t id;
        for (int i = 0; i < V; i++) logits[i] = (float)log(shares[i]) - 2.0f;
        eq_sampler_saw(s, seen, n);
        ok(eq_sampler_next(s, logits, &id, &err));
        assert_true(id >= 0 && id < V);
        got[id] += 1.0 / DRAWS;
    }
    eq_sampler_free(s);
}
/* want: in proportion. Four standard deviations of a share at most. */
static void expect(const eq_sampling *o, const int32_t *seen, int64_t n, const double want[V]) {
    double got[V], sum = 0;
    draw(o, seen, n, got);
    for (int i = 0; i < V; i++) sum += want[i];
    for (int i = 0; i < V; i++) {
        double p = want[i] / sum, by = 4 * sqrt(p * (1 - p) / DRAWS);
        if (fabs(got[i] - p) > by) fail_msg("token %d: %g of the draws, not %g", i, got[i], p);
    }
}

static eq_sampling sampling(double temperature) {
    eq_sampling o;
    eq_sampling_init(&o);
    o.temperature = temperature, o.seed = 11;
    return o;
}

static void drawing(void **state) {
    (void)state;
    eq_sampling o = sampling(1);
    double want[V];
    expect(&o, NULL, 0, shares);
    o.temperature = 2;
    for (int i = 0; i < V; i++) want[i] = sqrt(shares[i]);
    expect(&o, NULL, 0, want);
    o = sampling(1), o.top_k = 3;
    expect(&o, NULL, 0, (double[V]){0, 0.4, 0, 0.3, 0.15, 0});
    o = sampling(1), o.top_p = 0.75; /* 0.4 + 0.3 are not enough */
    expect(&o, NULL, 0, (double[V]){0, 0.4, 0, 0.3, 0.15, 0});
    o = sampling(1), o.min_p = 0.24; /* of 0.4 */
    expect(&o, NULL, 0, (double[V]){0.1, 0.4, 0, 0.3, 0.15, 0});
    o = sampling(1), o.top_k = 4, o.top_p = 0.8, o.min_p = 0.5; /* 0.4 + 0.3 + 0.15 of 0.95 */
    expect(&o, NULL, 0, (double[V]){0, 0.4, 0, 0.3, 0, 0});
    o = sampling(1), o.repetition_penalty = 1.5; /* logits are negative: times 1.5 */
    int32_t seen[] = {1, 1, 4};
    for (int i = 0; i < V; i++) want[i] = shares[i];
    want[1] = exp(1.5 * (log(0.4) - 2) + 2), want[4] = exp(1.5 * (log(0.15) - 2) + 2);
    expect(&o, seen, 3, want);
}

static void greedy(void **state) {
    (void)state;
    eq_sampling o = sampling(0);
    double got[V];
    draw(&o, NULL, 0, got);
    assert_true(got[1] > 0.999);
    o = sampling(5), o.top_k = 1;
    draw(&o, NULL, 0, got);
    assert_true(got[1] > 0.999);
    o = sampling(5), o.top_p = 1e-6;
    draw(&o, NULL, 0, got);
    assert_true(got[1] > 0.999);
    /* the first of equals */
    eq_sampler *s;
    int32_t id;
    o = sampling(0);
    ok(eq_sampler_new(&s, &o, 4, &err));
    float equal[] = {1, 3, 3, 2}, bad[] = {1, NAN, 0, 0}, large[] = {1, 0, INFINITY, 0};
    ok(eq_sampler_next(s, equal, &id, &err));
    assert_int_equal(id, 1);
    assert_int_equal(eq_sampler_next(s, bad, &id, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "finite", "token 1", NULL);
    err = (eq_err){0};
    assert_int_equal(eq_sampler_next(s, large, &id, &err), EQ_EINPUT);
    err = (eq_err){0};
    eq_sampler_free(s);
}

static void ranges(void **state) {
    (void)state;
    static const struct {
        const char *name;
        eq_sampling o;
    } wrong[] = {
        {"temperature", {.temperature = -1, .top_p = 1, .repetition_penalty = 1}},
        {"temperature", {.temperature = NAN, .top_p = 1, .repetition_penalty = 1}},
        {"top_k", {.top_k = -1, .top_p = 1, .repetition_penalty = 1}},
        {"top_p", {.top_p = 0, .repetition_penalty = 1}},
        {"top_p", {.top_p = 1.5, .repetition_penalty = 1}},
        {"min_p", {.top_p = 1, .min_p = 2, .repetition_penalty = 1}},
        {"repetition_penalty", {.top_p = 1}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        eq_sampler *s;
        err = (eq_err){0};
        assert_int_equal(eq_sampler_new(&s, &wrong[i].o, 5, &err), EQ_EINPUT);
        assert_null(s);
        check_error(&err, EQ_EINPUT, wrong[i].name, "expected", "found", NULL);
    }
    err = (eq_err){0};
}

/* ---- text ------------------------------------------------------------------------------------ */

static eq_str pieces;
static int piece_count;
static void hear(void *ctx, const char *piece) {
    (void)ctx;
    int64_t n = (int64_t)strlen(piece);
    assert_true(n > 0);
    assert_int_equal(eq_utf8_valid(piece, n), n);
    eq_str_put(&pieces, piece, n);
    piece_count++;
}

static const tiny_tokenizer bytes = {
    .rest = "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true,"
            "'use_regex':false},'decoder':{'type':'ByteLevel','add_prefix_space':true,"
            "'trim_offsets':true,'use_regex':true}"};

/* The text of `text`, a token at a time, behind a prompt of `prompt` tokens. */
static const char *say(const char *text, int64_t prompt, bool echo, const char *const *stops,
                       int n) {
    eq_tokenizer *tok = tiny_tokenizer_open(&bytes);
    eq_ids ids = {0};
    ok(eq_encode(tok, &ids, text, (int64_t)strlen(text), false, &err));
    assert_int_equal(ids.n, strlen(text)); /* a token a byte */
    eq_text_out t = {.tok = tok, .stops = stops, .stop_count = n, .text = hear};
    pieces.n = 0, piece_count = 0;
    eq_str_put(&pieces, "", 0);
    ok(eq_text_out_begin(&t, ids.p, prompt, echo, &err));
    for (int64_t i = prompt; i < ids.n && !t.stopped; i++) ok(eq_text_out_put(&t, ids.p[i], &err));
    ok(eq_text_out_end(&t, &err));
    assert_int_equal(t.all.n, pieces.n);
    if (pieces.n) assert_string_equal(t.all.p, pieces.p);
    eq_text_out_free(&t);
    eq_ids_free(&ids);
    eq_tokenizer_close(tok);
    return pieces.p;
}

static void whole_characters(void **state) {
    (void)state;
    static const char text[] = "h\xc3\xa9llo \xf0\x9f\xa6\x9c w\xc3\xb6rld \xe2\x82\xac";
    assert_string_equal(say(text, 0, true, NULL, 0), text);
    assert_true(piece_count > 10);
    assert_string_equal(say(text, 5, true, NULL, 0), text);
    assert_string_equal(say(text, 5, false, NULL, 0), text + 5);
    /* an end within a character is said as such */
    assert_string_equal(say("ab\xf0\x9f\xa6", 1, false, NULL, 0), "b\xef\xbf\xbd");
}

static void stop_texts(void **state) {
    (void)state;
    static const char *const stops[] = {"wor", "\n\n", "xyz"};
    assert_string_equal(say("hello world", 1, true, stops, 3), "hello ");
    assert_string_equal(say("hello wo", 1, true, stops, 3), "hello wo"); /* held until the end */
    assert_string_equal(say("a\nb\n\nc", 1, true, stops, 3), "a\nb");
    assert_string_equal(say("xxyxyz!", 1, true, stops, 3), "xxy");
    assert_string_equal(say("world peace", 3, true, stops, 3), "world peace"); /* of the prompt */
    assert_string_equal(say("wowowor", 0, false, stops, 3), "wowo");
}

/* ---- the whole ------------------------------------------------------------------------------- */

static char *model(void) {
    char *dir = tiny_dir(), *to;
    tiny_write(dir, tiny_config("llama", false), &(tiny_opts){.seed = 6});
    to = tiny_path(dir, "tokenizer.json");
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX";
    ok(eq_copy_file(
        tiny_tokenizer_file(&(tiny_tokenizer){.chars = chars, .rest = "'decoder':{'type':'Fuse'}"}),
        to, &err));
    eq_free(to);
    return dir;
}

static void generating(void **state) {
    (void)state;
    char *dir = model();
    eq_generate_opts o;
    eq_generate_result r, again;
    eq_generate_opts_init(&o);
    o.model = dir, o.prompt = "ab", o.max_tokens = 12, o.text = hear;
    o.sampling.temperature = 2, o.sampling.seed = 5, o.compute.precision = EQ_PREC_F32;
    pieces.n = 0;
    ok(eq_generate(&o, NULL, &r, &err));
    assert_string_equal(r.text, pieces.p);
    assert_int_equal(r.prompt_tokens, 2);
    assert_int_equal(r.tokens, 12);
    assert_int_equal(r.end, EQ_END_LENGTH);
    assert_int_equal(strlen(r.text), 14);
    assert_true(r.seconds >= 0 && r.prompt_seconds >= 0);
    /* a stop text of what came, and the same seed up to there */
    char stop[3] = {r.text[7], r.text[8], 0};
    const char *stops[] = {stop}, *first = strstr(r.text + 2, stop);
    o.stops = stops, o.stop_count = 1, o.compute.threads = 3;
    ok(eq_generate(&o, NULL, &again, &err));
    assert_int_equal(again.end, EQ_END_STOP);
    assert_int_equal(strlen(again.text), first - r.text);
    assert_memory_equal(again.text, r.text, strlen(again.text));
    eq_text_free(again.text);
    /* the model's context of 32 */
    o.stop_count = 0, o.max_tokens = 100;
    ok(eq_generate(&o, NULL, &again, &err));
    assert_int_equal(again.end, EQ_END_CONTEXT);
    assert_int_equal(strlen(again.text), 32);
    assert_memory_equal(again.text, r.text, 14);
    eq_text_free(again.text);
    /* somebody asks for an end */
    volatile int stop_now = 1;
    eq_observer obs = {.stop = &stop_now};
    ok(eq_generate(&o, &obs, &again, &err));
    assert_int_equal(again.end, EQ_END_ASKED);
    assert_string_equal(again.text, "ab");
    eq_text_free(again.text), eq_text_free(r.text);
    tiny_remove(dir);
}

static void refused(void **state) {
    (void)state;
    char *dir = model(), text[80];
    eq_generate_opts o;
    eq_generate_result r;
    memset(text, 'a', sizeof text), text[40] = 0;
    eq_generate_opts_init(&o);
    o.model = dir, o.prompt = text;
    assert_int_equal(eq_generate(&o, NULL, &r, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "prompt", "1 to 31 tokens", "found 40", NULL);
    assert_null(r.text);
    o.prompt = "", err = (eq_err){0};
    assert_int_equal(eq_generate(&o, NULL, &r, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "prompt", "found 0", NULL);
    o.prompt = "abc", o.context = 3, err = (eq_err){0};
    assert_int_equal(eq_generate(&o, NULL, &r, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "1 to 2 tokens", "found 3", NULL);
    o.context = 33, err = (eq_err){0};
    assert_int_equal(eq_generate(&o, NULL, &r, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "context", "1 to 32", "found 33", NULL);
    o.context = 0, o.sampling.top_p = 7, err = (eq_err){0};
    assert_int_equal(eq_generate(&o, NULL, &r, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "top_p", NULL);
    o.sampling.top_p = 1, err = (eq_err){0};
    for (int nth = 1;; nth++) { /* every allocation fails once */
        eq_mem_fail_nth(nth);
        eq_status st = eq_generate(&o, NULL, &r, &err);
        eq_mem_fail_nth(0);
        if (st == EQ_OK) break;
        assert_int_equal(st, EQ_ENOMEM);
        err = (eq_err){0};
    }
    eq_text_free(r.text);
    tiny_remove(dir);
}

/* ---- a conversation -------------------------------------------------------------------------- */

static const char letters[] =
    "{% for m in messages %}{{ 'U' if m['role'] == 'user' else 'S' if m['role'] == 'system' else "
    "'A' }}"
    "{{ m['content'] }}E{% endfor %}{% if add_generation_prompt %}A{% endif %}";

/* What eq_generate says behind a prompt, up to the template's end of a turn. */
static char *continued(const char *dir, const char *prompt) {
    static const char *const stops[] = {"E"};
    eq_generate_opts o;
    eq_generate_result r;
    eq_generate_opts_init(&o);
    o.model = dir, o.prompt = prompt, o.max_tokens = 4, o.stops = stops, o.stop_count = 1;
    o.compute.precision = EQ_PREC_F32;
    ok(eq_generate(&o, NULL, &r, &err));
    return r.text;
}

static void conversing(void **state) {
    (void)state;
    char *dir = model(), *all, prompt[64];
    eq_talk_opts o;
    eq_talk *t;
    eq_generate_result first, second, again;
    tiny_text(dir, "chat_template.jinja", letters);
    eq_talk_opts_init(&o);
    o.model = dir, o.max_tokens = 4, o.system = "no", o.compute.precision = EQ_PREC_F32;
    o.text = hear, pieces.n = 0;
    ok(eq_talk_open(&t, &o, &err));
    assert_non_null(strstr(eq_talk_template(t), "chat_template.jinja"));
    ok(eq_talk_say(t, "ab", NULL, &first, &err));
    assert_string_equal(first.text, pieces.n ? pieces.p : "");
    all = continued(dir, "SnoEUabEA");
    assert_string_equal(first.text, all + 9);
    eq_text_free(all);
    assert_int_equal(first.prompt_tokens, 9);
    /* the second turn sees the first, and reads only what is new */
    ok(eq_talk_say(t, "cd", NULL, &second, &err));
    snprintf(prompt, sizeof prompt, "SnoEUabEA%sEUcdEA", first.text);
    all = continued(dir, prompt);
    assert_string_equal(second.text, all + strlen(prompt));
    eq_text_free(all);
    assert_true(second.prompt_tokens <= 7);
    /* what is too long was not said */
    err = (eq_err){0};
    assert_int_equal(eq_talk_say(t, "abcdefghijklmnopqr", NULL, &again, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "conversation", "at most 31 tokens", NULL);
    assert_null(again.text);
    err = (eq_err){0};
    eq_talk_forget(t);
    ok(eq_talk_say(t, "ab", NULL, &again, &err));
    assert_string_equal(again.text, first.text);
    /* an end that was asked for */
    volatile int now = 1;
    eq_observer obs = {.stop = &now};
    eq_text_free(second.text);
    ok(eq_talk_say(t, "x", &obs, &second, &err));
    assert_int_equal(second.end, EQ_END_ASKED);
    assert_string_equal(second.text, "");
    eq_text_free(first.text), eq_text_free(second.text), eq_text_free(again.text);
    eq_talk_close(t);
    /* templates that are not there */
    o.template_name = "nonsense";
    assert_int_equal(eq_talk_open(&t, &o, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "nonsense", "chatml", NULL);
    assert_null(t);
    err = (eq_err){0};
    for (int nth = 1;; nth++) { /* every allocation fails once */
        o.template_name = NULL;
        eq_mem_fail_nth(nth);
        eq_status st = eq_talk_open(&t, &o, &err);
        if (st == EQ_OK) st = eq_talk_say(t, "ab", NULL, &again, &err);
        eq_mem_fail_nth(0);
        eq_talk_close(t);
        if (st == EQ_OK) break;
        assert_int_equal(st, EQ_ENOMEM);
        err = (eq_err){0};
    }
    eq_text_free(again.text);
    tiny_remove(dir);
}

static int tear_down(void **state) {
    (void)state;
    eq_str_free(&pieces);
    eq_par_shutdown();
    return eq_mem_current() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawing),    cmocka_unit_test(greedy),
        cmocka_unit_test(ranges),     cmocka_unit_test(whole_characters),
        cmocka_unit_test(stop_texts), cmocka_unit_test(generating),
        cmocka_unit_test(refused),    cmocka_unit_test(conversing),
    };
    return cmocka_run_group_tests_name("writing", tests, NULL, tear_down);
}

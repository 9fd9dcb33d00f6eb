/* Perplexity and generation on tiny models: what is no number is an error, limits hold, and a text
 * ends at every id that the folder calls an end. */
#include <stdlib.h>

#include <jansson.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "eqat.h"
#include "format/npy.h"
#include "scratch.h"
#include "tiny_model.h"
#include "tiny_tokenizer.h"

static eq_str notes;
static void hear(void *ctx, const char *line) {
    (void)ctx;
    eq_str_puts(&notes, line), eq_str_puts(&notes, "|");
}
static const eq_observer ears = {.note = hear};

/* A folder of the tiny llama (50 tokens, context 32), its config changed by the members `extra`. */
static char *model(const tiny_opts *o, const char *extra) {
    char *dir = tiny_dir(), members[128];
    snprintf(members, sizeof members, "{%s}", extra);
    json_t *config = json_loads(tiny_config("llama", false), 0, NULL);
    json_t *more = json_loads(members, 0, NULL);
    assert_non_null(more);
    json_object_update(config, more);
    char *text = json_dumps(config, 0);
    tiny_write(dir, text, o);
    free(text), json_decref(config), json_decref(more);
    return dir;
}

static const char *windows(int64_t n, int64_t T) {
    int32_t *ids = eq_calloc(n * T, 4);
    for (int64_t i = 0; i < n * T; i++) ids[i] = (int32_t)(i * 17 % 50);
    const char *path = scratch_path("ids.npy");
    assert_int_equal(eq_npy_write(path, ids, n, T, true, NULL), EQ_OK);
    eq_free(ids);
    return path;
}

static eq_status ppl(const char *dir, const char *data, int64_t memory, eq_ppl_result *r,
                     eq_err *err) {
    eq_ppl_opts o;
    eq_ppl_opts_init(&o);
    o.model = dir, o.data = data, o.compute.precision = EQ_PREC_F32, o.batch = 2;
    o.compute.memory_limit = memory, o.compute.threads = 2;
    *err = (eq_err){0}, notes.n = 0;
    return eq_ppl(&o, &ears, r, err);
}

static void not_finite(void **state) {
    (void)state;
    eq_ppl_result r = {0};
    eq_err err;
    char *dir = model(&(tiny_opts){.seed = 5}, "");
    assert_int_equal(ppl(dir, windows(3, 9), 0, &r, &err), EQ_OK);
    assert_true(r.windows == 3 && r.ppl > 1 && r.ppl < 1e4);
    tiny_remove(dir);
    /* weights that are finite and overflow on their way through the model */
    dir = model(&(tiny_opts){.seed = 5, .huge = "lm_head.weight"}, "");
    r = (eq_ppl_result){.windows = 77};
    assert_int_equal(ppl(dir, windows(3, 9), 0, &r, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, dir, "window 1 of 3", "finite", NULL);
    assert_int_equal(r.windows, 77); /* no result */
    tiny_remove(dir);
}

static void beyond_the_context(void **state) {
    (void)state;
    eq_ppl_result r = {0};
    eq_err err;
    char *dir = model(&(tiny_opts){.seed = 5}, "\"max_position_embeddings\":16");
    assert_int_equal(ppl(dir, windows(2, 16), 0, &r, &err), EQ_OK);
    assert_int_equal(notes.n, 0);
    assert_int_equal(ppl(dir, windows(2, 17), 0, &r, &err), EQ_OK);
    assert_non_null(strstr(notes.p, "17 tokens are longer than the model's context of 16"));
    tiny_remove(dir);
}

static void memory_limit(void **state) {
    (void)state;
    eq_ppl_result r = {0};
    eq_err err;
    char *dir = model(&(tiny_opts){.seed = 5}, "");
    assert_int_equal(ppl(dir, windows(3, 32), 1 << 16, &r, &err), EQ_ENOMEM);
    check_error(&err, EQ_ENOMEM, "limit", NULL);
    assert_int_equal(ppl(dir, windows(3, 32), 1 << 26, &r, &err), EQ_OK);
    tiny_remove(dir);
}

/* Every token is one character, so the text shows the ids. */
static char *generate(const char *dir, int64_t memory, eq_err *err) {
    eq_generate_opts o;
    eq_generate_result r;
    eq_generate_opts_init(&o);
    o.model = dir, o.prompt = "a", o.max_tokens = 12, o.compute.precision = EQ_PREC_F32;
    o.sampling.temperature = 1, o.sampling.seed = 1, o.compute.memory_limit = memory;
    *err = (eq_err){0};
    if (eq_generate(&o, NULL, &r, err) != EQ_OK) return NULL;
    return r.text;
}

static void every_end_of_text(void **state) {
    (void)state;
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX";
    static const char none[] = "\"eos_token_id\":null";
    eq_err err;
    char *dir = model(&(tiny_opts){.seed = 6}, none), ends[128], config[64];
    char *tokenizer = tiny_path(dir, "tokenizer.json");
    assert_int_equal(eq_copy_file(tiny_tokenizer_file(&(tiny_tokenizer){
                                      .chars = chars, .rest = "'decoder':{'type':'Fuse'}"}),
                                  tokenizer, NULL),
                     EQ_OK);
    char *whole = generate(dir, 0, &err);
    if (!whole) fail_msg("%s", err.msg);
    assert_int_equal(strlen(whole), 13);
    int last = 12; /* a token whose first place is not the first one */
    while (strchr(whole, whole[last]) != whole + last) last--;
    int id = (int)(strchr(chars, whole[last]) - chars);
    assert_true(last > 1);
    for (int where = 0; where < 2; where++) { /* the second of a list, in either file */
        snprintf(ends, sizeof ends, "{\"eos_token_id\":[49,%d]}", id);
        snprintf(config, sizeof config, "\"eos_token_id\":[49,%d]", id);
        char *with = model(&(tiny_opts){.seed = 6}, where ? config : none);
        char *to = tiny_path(with, "tokenizer.json");
        if (strchr(whole, 'X')) ends[0] = 0; /* 49 itself must not end it before */
        assert_int_not_equal(ends[0], 0);
        if (!where) tiny_text(with, "generation_config.json", ends);
        assert_int_equal(eq_copy_file(tokenizer, to, NULL), EQ_OK);
        char *cut = generate(with, 0, &err);
        if (!cut) fail_msg("%s", err.msg);
        assert_int_equal(strlen(cut), last);
        assert_memory_equal(cut, whole, (size_t)last);
        eq_free(cut), eq_free(to);
        tiny_remove(with);
    }
    tiny_text(dir, "generation_config.json", "{\"eos_token_id\":\"x\"}");
    assert_null(generate(dir, 0, &err));
    check_error(&err, EQ_EINPUT, "generation_config.json", "eos_token_id", NULL);
    tiny_text(dir, "generation_config.json", "{}");
    assert_null(generate(dir, 1 << 14, &err));
    check_error(&err, EQ_ENOMEM, "limit", NULL);
    eq_free(whole), eq_free(tokenizer);
    tiny_remove(dir);
}

/* The result says whether a text began with a BOS, and the choice changes the windows. */
static void bos(void **state) {
    (void)state;
    eq_ppl_opts o;
    eq_ppl_result r[3] = {{0}};
    eq_err err = {0};
    char *dir = model(&(tiny_opts){.seed = 7}, "\"bos_token_id\":3"), text[400];
    char *tokenizer = tiny_path(dir, "tokenizer.json");
    assert_int_equal(
        eq_copy_file(tiny_tokenizer_file(&(tiny_tokenizer){.chars = "abcdefgh"}), tokenizer, NULL),
        EQ_OK);
    for (int i = 0; i < 400; i++) text[i] = (char)('a' + i * i % 7);
    eq_ppl_opts_init(&o);
    o.model = dir, o.data = scratch_file("bos.txt", text, 400), o.seqlen = 20;
    for (int i = 0; i < 3; i++) {
        o.bos = (eq_bos)i;
        if (eq_ppl(&o, NULL, &r[i], &err) != EQ_OK) fail_msg("%s", err.msg);
        assert_true(r[i].text && r[i].bos == (i == EQ_BOS_YES));
    }
    assert_true(r[EQ_BOS_AUTO].nll == r[EQ_BOS_NO].nll && r[EQ_BOS_AUTO].nll != r[EQ_BOS_YES].nll);
    o.data = windows(3, 20);
    assert_int_equal(eq_ppl(&o, NULL, &r[0], &err), EQ_OK);
    assert_false(r[0].text || r[0].bos);
    eq_free(tokenizer);
    tiny_remove(dir);
}

static int clean(void **state) {
    (void)state;
    eq_str_free(&notes);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_finite),   cmocka_unit_test(beyond_the_context),
        cmocka_unit_test(memory_limit), cmocka_unit_test(every_end_of_text),
        cmocka_unit_test(bos),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}

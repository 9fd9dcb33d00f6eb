/* See tiny_docs.h. */
#include "tiny_docs.h"

#include <zlib.h>

#include "format/npy.h"

eq_tokenizer *tok;
eq_str notes;
volatile int stop;

static void hear(void *ctx, const char *line) {
    (void)ctx;
    eq_str_puts(&notes, line), eq_str_puts(&notes, "|");
}
static const eq_observer ears = {.note = hear, .stop = &stop};

eq_window_opts opts(int64_t seqlen) {
    notes.n = 0;
    return (eq_window_opts){.tok = tok,
                            .vocab = VOCAB,
                            .seqlen = seqlen,
                            .seqlen_default = 40,
                            .seed = 2,
                            .obs = &ears};
}

int make_tokenizer(void **state) {
    (void)state;
    eq_str s = {0};
    while (notes.n < 1 << 12) eq_str_puts(&notes, "room"); /* no test of memory sees them grow */
    eq_str_puts(
        &s,
        "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":256,"
        "\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
        "\"normalized\":false,\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":{"
        "\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
        "\"use_regex\":true},\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
        "\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
        "\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{"
        "\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[256],"
        "\"tokens\":[\"<s>\"]}}},\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
        "\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"dropout\":null,"
        "\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
        "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{");
    for (int b = 0, next = 256; b < 256; b++) {
        bool own = (b >= '!' && b <= '~') || (b >= 161 && b <= 172) || b >= 174;
        eq_str_printf(&s, "\"\\u%04x\":%d,", own ? b : next++, b);
    }
    eq_str_puts(&s, "\"<s>\":256},\"merges\":[]}}");
    eq_err err = {0};
    eq_status st = eq_tokenizer_open(&tok, scratch_file("tokenizer.json", s.p, s.n), &err);
    if (st != EQ_OK) fprintf(stderr, "%s\n", err.msg);
    eq_str_free(&s);
    return st;
}

int free_tokenizer(void **state) {
    (void)state;
    eq_tokenizer_close(tok);
    eq_str_free(&notes);
    return 0;
}

/* ---- documents that say where they are from -------------------------------------------------- */

int64_t doc_bytes(int64_t i) { return i * 37 % 90 + 5; }
char doc_char(int64_t i, int64_t k) { return (char)('a' + (i * 7 + k * 3 + k / 26) % 26); }
int32_t doc_id(int64_t i, int64_t k) { return k ? doc_char(i, k - 1) : BOS; }

/* Documents [from, to). */
const char *put_some_docs(const char *name, int64_t from, int64_t to) {
    eq_str s = {0};
    for (int64_t i = from; i < to; i++) {
        eq_str_puts(&s, "{\"text\":\"");
        for (int64_t k = 0; k < doc_bytes(i); k++) eq_str_put(&s, (char[]){doc_char(i, k)}, 1);
        eq_str_puts(&s, "\"}\n");
    }
    const char *path = scratch_file(name, s.p, s.n);
    if (eq_ends_with(name, ".gz")) {
        gzFile f = gzopen(path, "wb");
        assert_int_equal(gzwrite(f, s.p, (unsigned)s.n), s.n);
        gzclose(f);
    }
    eq_str_free(&s);
    return path;
}

const char *put_docs(const char *name, int64_t n) { return put_some_docs(name, 0, n); }

const char *put_npy(const char *name, int64_t rows, int64_t cols, bool is_2d) {
    int32_t *ids = eq_calloc(rows * cols, 4);
    for (int64_t i = 0; i < rows * cols; i++) ids[i] = (int32_t)(i * 31 % VOCAB);
    const char *path = scratch_path(name);
    assert_int_equal(eq_npy_write(path, ids, rows, cols, is_2d, NULL), EQ_OK);
    eq_free(ids);
    return path;
}

void calibrate(eq_windows *a, eq_windows *b, const char *path, const char *val, int64_t n_train,
               int64_t n_val, const eq_window_opts *o) {
    eq_err err = {0};
    if (eq_windows_calibration(a, b, path, val, n_train, n_val, o, &err) != EQ_OK)
        fail_msg("%s", err.msg);
}

void bad_calibration(const char *path, const char *val, int64_t n_val, const eq_window_opts *o,
                     const char *word, const char *word2) {
    eq_windows a, b;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    assert_int_not_equal(eq_windows_calibration(&a, &b, path, val, 6, n_val, o, &err), EQ_OK);
    check_error(&err, EQ_EINPUT, word, word2, NULL);
    assert_true(!a.ids && !b.ids);
    assert_int_equal(eq_mem_current(), before);
}

void check_notes(const char *word, const char *word2) {
    if (!notes.n || !strstr(notes.p, word) || (word2 && !strstr(notes.p, word2)))
        fail_msg("wanted \"%s\", \"%s\" in: %.*s", word, word2 ? word2 : "", (int)notes.n, notes.p);
}

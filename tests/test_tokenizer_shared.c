/* Real tokenizers on real text, where ../shared is: public vectors, and ids that Hugging Face
 * `tokenizers` gave (tests/golden/tokenizer.txt, made by tools/peer_tokenizer.py --golden). */
#include <stdlib.h>
#include <zlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "text/tokenizer.h"

static const char mark[] = "\n__ggml_vocab_test__\n";

static eq_tokenizer *open_or_skip(const char *path) {
    eq_tokenizer *t;
    eq_err err = {0};
    if (!eq_exists(path)) {
        printf("SKIP %s is not here\n", path);
        return NULL;
    }
    if (eq_tokenizer_open(&t, path, &err) != EQ_OK) fail_msg("%s", err.msg);
    return t;
}

/* One item of the vectors: text, and the line of its ids. */
static void check_item(const eq_tokenizer *t, const char *text, int64_t n, const char *line) {
    eq_ids ids = {0};
    char *end;
    assert_int_equal(eq_encode(t, &ids, text, n, false, NULL), EQ_OK);
    for (int64_t i = 0; i < ids.n; i++, line = end) {
        long want = strtol(line, &end, 10);
        assert_ptr_not_equal(line, end);
        if (ids.p[i] != want)
            fail_msg("id %d of \"%.*s\": wanted %ld, found %d", (int)i, (int)n, text, want,
                     ids.p[i]);
    }
    assert_true(*line == '\n' || !*line);
    eq_ids_free(&ids);
}

static void check_vectors(const char *vectors, const char *tokenizer) {
    char in[200], out[200];
    eq_map m;
    snprintf(in, sizeof in, "../shared/tokenizers/vectors/ggml-vocab-%s.gguf.inp", vectors);
    snprintf(out, sizeof out, "../shared/tokenizers/vectors/ggml-vocab-%s.gguf.out", vectors);
    eq_tokenizer *t = open_or_skip(tokenizer);
    if (!t) return;
    assert_int_equal(eq_map_open(&m, in, NULL), EQ_OK);
    FILE *f = fopen(out, "r");
    assert_non_null(f);
    char line[4096] = "";
    int items = 0;
    for (const char *s = (const char *)m.data, *end = s + m.size; s <= end; items++) {
        const char *stop = s;
        while (stop + sizeof mark - 1 <= end && memcmp(stop, mark, sizeof mark - 1)) stop++;
        bool last = stop + sizeof mark - 1 > end;
        if (last) stop = end;
        line[0] = 0;
        assert_true(fgets(line, sizeof line, f) || last);
        check_item(t, s, stop - s, line);
        s = last ? end + 1 : stop + sizeof mark - 1;
    }
    assert_true(items > 40);
    fclose(f);
    eq_map_close(&m);
    eq_tokenizer_close(t);
}

static void vectors(void **state) {
    (void)state;
    check_vectors("llama-spm", "../shared/tokenizers/llama2");
    check_vectors("gpt-2", "../shared/tokenizers/gpt2");
    /* tools/make_llama3_tokenizer.py writes it. */
    check_vectors("llama-bpe", "build/llama3/tokenizer.json");
}

static void check_file(const eq_tokenizer *t, const char *name, const char *file, long bytes,
                       long count, unsigned long crc) {
    char path[300];
    eq_map m;
    eq_ids ids = {0};
    eq_err err = {0};
    snprintf(path, sizeof path, "../shared/%s", file);
    if (eq_map_open(&m, path, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_true(m.size >= bytes);
    if (eq_encode(t, &ids, (const char *)m.data, bytes, true, &err) != EQ_OK)
        fail_msg("%s", err.msg);
    unsigned long got = crc32(0, (const Bytef *)ids.p, (uInt)(ids.n * 4));
    if (ids.n != count || got != crc)
        fail_msg("%s %s: wanted %ld ids %08lx, found %ld ids %08lx", name, file, count, crc,
                 (long)ids.n, got);
    eq_ids_free(&ids);
    eq_map_close(&m);
}

static void goldens(void **state) {
    (void)state;
    FILE *f = fopen("tests/golden/tokenizer.txt", "r");
    assert_non_null(f);
    char line[300], name[100], file[100], path[300], open[100] = "";
    long bytes, count;
    unsigned long crc;
    eq_tokenizer *t = NULL;
    int checked = 0;
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        assert_int_equal(sscanf(line, "%99s %99s %ld %ld %lx", name, file, &bytes, &count, &crc),
                         5);
        if (strcmp(name, open)) {
            eq_tokenizer_close(t);
            snprintf(path, sizeof path, "../shared/%s", name);
            strcpy(open, name);
            t = open_or_skip(path);
        }
        if (t) check_file(t, name, file, bytes, count, crc);
        checked += t != NULL;
    }
    eq_tokenizer_close(t);
    fclose(f);
    printf("%d goldens\n", checked);
}

/* The sentencepiece model alone gives the ids of the tokenizer.json that was made of it. */
static void alone(void **state) {
    (void)state;
    static const char *const names[] = {"llama2", "mistral"};
    static const char config[] = "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_bos_token\":false}";
    for (int i = 0; i < 2; i++) {
        char path[100];
        snprintf(path, sizeof path, "../shared/tokenizers/%s", names[i]);
        eq_tokenizer *whole = open_or_skip(path), *t;
        if (!whole) return;
        assert_int_equal(eq_mkdir(scratch_path(names[i]), NULL), EQ_OK);
        snprintf(path, sizeof path, "%s/tokenizer_config.json", names[i]);
        scratch_text(path, config);
        char from[100], to[100];
        snprintf(from, sizeof from, "../shared/tokenizers/%s/tokenizer.model", names[i]);
        snprintf(to, sizeof to, "%s/tokenizer.model", names[i]);
        assert_int_equal(eq_copy_file(from, scratch_path(to), NULL), EQ_OK);
        eq_err err = {0};
        if (eq_tokenizer_open(&t, scratch_path(names[i]), &err) != EQ_OK) fail_msg("%s", err.msg);
        eq_map m;
        eq_ids a = {0}, b = {0};
        assert_int_equal(eq_map_open(&m, "../shared/text/web/web.txt", NULL), EQ_OK);
        int64_t n = m.size < 300000 ? m.size : 300000;
        assert_int_equal(eq_encode(whole, &a, (const char *)m.data, n, false, NULL), EQ_OK);
        assert_int_equal(eq_encode(t, &b, (const char *)m.data, n, false, NULL), EQ_OK);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.p, b.p, (size_t)a.n * sizeof *a.p);
        eq_map_close(&m);
        eq_ids_free(&a), eq_ids_free(&b);
        eq_tokenizer_close(whole), eq_tokenizer_close(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(goldens),
                                       cmocka_unit_test(alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The first byte chooses the kind of corpus and what becomes of bad lines, the rest is the file.
 * What is handed out must be UTF-8. */
#include <utf8proc.h>

#include "format/corpus.h"
#include "fuzz_main.h"

static void check_utf8(const char *p, int64_t n) {
    for (int64_t i = 0; i < n;) {
        utf8proc_int32_t cp;
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)p + i, n - i, &cp);
        FUZZ_CHECK(k > 0);
        i += k;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"a.txt",     "a.jsonl",    "a.txt.gz",
                                        "a.txt.zst", "a.jsonl.gz", "a.jsonl.zst"};
    const eq_corpus_opts o = {.skip_bad = size && data[0] >= 128, .memory = 1 << 24};
    if (!size) return 0;
    const char *path = fuzz_file(names[data[0] % 6], data + 1, size - 1);
    eq_corpus *c;
    eq_err err = {0};
    int64_t before = eq_mem_current(), bytes = 0;
    eq_file f = eq_file_of(path);
    eq_status st = eq_corpus_open(&c, &f, &o, &err);
    while (st == EQ_OK && bytes < 1 << 24) {
        const char *text;
        int64_t n;
        st = eq_corpus_next(c, &text, &n, &err);
        if (st != EQ_OK || !text) break;
        check_utf8(text, n);
        bytes += n + 1;
        int64_t at, whole;
        eq_corpus_place(c, &at, &whole);
        FUZZ_CHECK(at >= 0 && at <= whole);
    }
    if (st != EQ_OK) fuzz_check_error(&err);
    eq_corpus_close(c);
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}

/* Any bytes as tokenizer.model: a sentencepiece model, or tiktoken's ranks. What opens must encode
 * and give the same ids again. */
#include "fuzz_main.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "a b  ab<s>\xc3\xa9\n\xff 12";
    fuzz_file("tokenizer.model", data, size);
    eq_tokenizer *t;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (eq_tokenizer_open(&t, fuzz_dir, &err) == EQ_OK) {
        eq_ids a = {0}, b = {0};
        eq_status st = eq_encode(t, &a, text, sizeof text - 1, true, &err);
        if (st != EQ_OK) fuzz_check_error(&err);
        FUZZ_CHECK(eq_encode(t, &b, text, sizeof text - 1, true, NULL) == st && a.n == b.n);
        FUZZ_CHECK(!a.n || !memcmp(a.p, b.p, (size_t)a.n * sizeof *a.p));
        char *back = eq_decode(t, a.p, a.n, false);
        FUZZ_CHECK(back);
        eq_free(back);
        eq_ids_free(&a), eq_ids_free(&b);
        eq_tokenizer_close(t);
    } else {
        fuzz_check_error(&err);
        FUZZ_CHECK(!t);
    }
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
